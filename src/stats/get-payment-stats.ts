/** Counts and sums, exact, straight from the tables. */
import type { Deps } from '../payment/deps.js';
import { fieldInvalid } from '../payment/errors.js';
import { statusClass, type PaymentStatus } from '../payment/payment-status.js';
import type { PlatformName } from '../payment/platform.js';
import type { RefundStatus } from '../refund/refund-status.js';

export interface StatsQuery {
  /** Payments created from inclusive to exclusive. */
  readonly from: Date;
  readonly to: Date;
  readonly appId: string | null;
  readonly platforms: readonly PlatformName[];
  readonly groupBy: { readonly platform: boolean; readonly status: boolean; readonly bucket: 'hour' | 'day' | null };
}

export interface StatsGroup {
  readonly platform: PlatformName | null;
  readonly status: PaymentStatus | null;
  readonly currency: string;
  readonly bucketStart: Date | null;
  readonly count: bigint;
  readonly amount: bigint;
  readonly paidAmount: bigint;
  readonly refundedAmount: bigint;
}

export interface PaymentStats {
  readonly groups: readonly StatsGroup[];
  /** Paid among settled: the success rate as an exact fraction. */
  readonly paidCount: bigint;
  readonly settledCount: bigint;
  readonly totalCount: bigint;
  readonly refunds: readonly { readonly currency: string; readonly status: RefundStatus; readonly count: bigint; readonly amount: bigint }[];
}

type Row = Record<'count' | 'amount' | 'paid' | 'refunded' | 'currency', string> & {
  platform: PlatformName | null;
  status: PaymentStatus | null;
  bucket: string | Date | null;
};

const INT64_MAX = 2n ** 63n - 1n;

export async function getPaymentStats(deps: Pick<Deps, 'orm'>, query: StatsQuery): Promise<PaymentStats> {
  const em = deps.orm.em.fork();
  const { where, values } = whereOf(query);
  const { groupBy } = query;
  // Grouped by status in any case: the success rate needs it. The text is made of constants only.
  const bucket = groupBy.bucket === null ? 'null::timestamptz' : `date_trunc('${groupBy.bucket}', created_at, 'UTC')`;
  const platform = groupBy.platform ? 'platform' : 'null::text';
  const rows = await em.execute<Row[]>(
    `select ${platform} as platform, status, currency, ${bucket} as bucket, count(*)::text as count, sum(amount)::text as amount,
            sum(paid_amount)::text as paid, sum(refunded_amount)::text as refunded
       from payment where ${where} group by 1, 2, 3, 4 order by 4 nulls first, 1 nulls first, 2, 3`,
    values,
  );
  const refunds = await em.execute<{ currency: string; status: RefundStatus; count: string; amount: string }[]>(
    `select r.currency, r.status, count(*)::text as count, sum(r.amount)::text as amount
       from refund r where r.payment_id in (select id from payment where ${where}) group by 1, 2 order by 1, 2`,
    values,
  );

  const groups = rows.map(groupOf);
  const countOf = (keep: (status: PaymentStatus) => boolean): bigint =>
    groups.filter((group) => keep(group.status!)).reduce((sum, group) => sum + group.count, 0n);
  return {
    groups: groupBy.status ? groups : withoutStatus(groups),
    paidCount: countOf((status) => statusClass(status) === 'PAID'),
    settledCount: countOf((status) => statusClass(status) === 'PAID' || statusClass(status) === 'NEGATIVE'),
    totalCount: countOf(() => true),
    refunds: refunds.map((row) => ({ ...row, count: BigInt(row.count), amount: bounded(row.amount) })),
  };
}

function whereOf(query: StatsQuery): { where: string; values: string[] } {
  const conditions = ['created_at >= ?', 'created_at < ?'];
  const values = [query.from.toISOString(), query.to.toISOString()];
  if (query.appId !== null) {
    conditions.push('app_id = ?');
    values.push(query.appId);
  }
  if (query.platforms.length > 0) {
    conditions.push(`platform in (${query.platforms.map(() => '?').join(', ')})`);
    values.push(...query.platforms);
  }
  return { where: conditions.join(' and '), values };
}

function groupOf(row: Row): StatsGroup {
  return {
    platform: row.platform,
    status: row.status,
    currency: row.currency,
    bucketStart: row.bucket === null ? null : new Date(row.bucket),
    count: BigInt(row.count),
    amount: bounded(row.amount),
    paidAmount: bounded(row.paid),
    refundedAmount: bounded(row.refunded),
  };
}

function withoutStatus(groups: readonly StatsGroup[]): StatsGroup[] {
  const joined = new Map<string, StatsGroup>();
  for (const group of groups) {
    const key = JSON.stringify([group.platform, group.currency, group.bucketStart]);
    const known = joined.get(key);
    joined.set(key, {
      ...group,
      status: null,
      count: group.count + (known?.count ?? 0n),
      amount: group.amount + (known?.amount ?? 0n),
      paidAmount: group.paidAmount + (known?.paidAmount ?? 0n),
      refundedAmount: group.refundedAmount + (known?.refundedAmount ?? 0n),
    });
  }
  return [...joined.values()];
}

/** A sum beyond int64 has no place in the answer; saying so is better than a wrong number. */
function bounded(sum: string): bigint {
  const value = BigInt(sum);
  if (value > INT64_MAX) throw fieldInvalid({ field: 'start_time', description: 'the sum of this range exceeds 64 bits; narrow it' });
  return value;
}
