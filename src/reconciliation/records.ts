/** The records that rows of a bill speak of, looked up many at a time, and the records of a day that a bill should have. */
import type { EntityManager } from '@mikro-orm/postgresql';
import { platformNumber } from '../payment/ids.js';
import type { PaymentStatus } from '../payment/payment-status.js';
import type { BillRow } from '../payment/platform.js';
import type { RefundStatus } from '../refund/refund-status.js';
import type { Period } from './bill-day.js';
import { query } from './query.js';
import type { Reconciliation } from './reconciliation.js';

export interface RecordedPayment {
  readonly id: string;
  readonly merchantOrderNo: string;
  readonly transactionId: string | null;
  readonly amount: bigint;
  readonly currency: string;
  readonly paidAmount: bigint;
  readonly paidAt: Date | null;
  readonly status: PaymentStatus;
}

export interface RecordedRefund {
  readonly id: string;
  readonly paymentId: string;
  readonly platformRefundNo: string;
  readonly platformRefundId: string | null;
  readonly amount: bigint;
  readonly currency: string;
  readonly status: RefundStatus;
  /** Money refunded elsewhere, under a number that the platform does not know. */
  readonly isUnnumbered: boolean;
  readonly succeededAt: Date | null;
  readonly updatedAt: Date;
}

/** A row with the records that it is about, as far as there are any. */
export interface Match {
  readonly row: BillRow;
  readonly payment: RecordedPayment | null;
  readonly refund: RecordedRefund | null;
}

/** By the order's number, else by the platform's own; of several payments under one number the one that fits best. */
export async function matchRows(em: EntityManager, run: Reconciliation, rows: readonly BillRow[]): Promise<Match[]> {
  const byOrder = Map.groupBy(
    await paymentsBy(em, run, 'merchant_order_no', rows.map(({ merchantOrderNo }) => merchantOrderNo)),
    ({ merchantOrderNo }) => merchantOrderNo,
  );
  const ofOrder = rows.map((row) => fitting(row, byOrder.get(row.merchantOrderNo) ?? []));
  const unknown = rows.filter((_row, at) => ofOrder[at] === null).map(({ platformTransactionId }) => platformTransactionId);
  const byTransaction = Map.groupBy(await paymentsBy(em, run, 'platform_transaction_id', unknown), ({ transactionId }) => transactionId);
  const payments = rows.map((row, at) => ofOrder[at] ?? byTransaction.get(row.platformTransactionId)?.[0] ?? null);

  const refunded = payments.flatMap((payment, at) => (payment !== null && rows[at]!.kind === 'REFUND' ? [payment.id] : []));
  const refunds = Map.groupBy(await refundsBy(em, 'payment_id', refunded), ({ paymentId }) => paymentId);
  return rows.map((row, at) => {
    const payment = payments[at]!;
    const refund = row.kind === 'PAYMENT' || payment === null ? null : refundOf(row, refunds.get(payment.id) ?? []);
    return { row, payment, refund };
  });
}

function fitting({ platformTransactionId }: BillRow, payments: readonly RecordedPayment[]): RecordedPayment | null {
  const same = payments.find(({ transactionId }) => transactionId === platformTransactionId);
  return same ?? only(payments.filter(({ transactionId }) => transactionId === null)) ?? only(payments);
}

const only = <T>(some: readonly T[]): T | null => (some.length === 1 ? some[0]! : null);

function refundOf({ platformRefundNo, platformRefundId }: BillRow, refunds: readonly RecordedRefund[]): RecordedRefund | null {
  const byNumber = refunds.find((refund) => refund.platformRefundNo === platformRefundNo);
  return byNumber ?? refunds.find((refund) => platformRefundId !== '' && refund.platformRefundId === platformRefundId) ?? null;
}

interface PaymentRow {
  readonly id: string;
  readonly merchant_order_no: string;
  readonly platform_transaction_id: string | null;
  readonly amount: string;
  readonly currency: string;
  readonly paid_amount: string;
  readonly paid_at: string | null;
  readonly status: PaymentStatus;
}

/** Instants come as milliseconds: their text depends on the session. */
const millis = (column: string): string => `(extract(epoch from ${column}) * 1000)::bigint::text as ${column.split('.')[1]}`;
const instant = (ms: string): Date => new Date(Number(ms));
const instantOrNull = (ms: string | null): Date | null => (ms === null ? null : instant(ms));

export async function paymentsBy(
  em: EntityManager,
  { platform, merchantAccount }: Reconciliation,
  column: 'id' | 'merchant_order_no' | 'platform_transaction_id',
  values: readonly string[],
): Promise<RecordedPayment[]> {
  const wanted = distinct(values);
  if (wanted.length === 0) return [];
  const rows = await query<PaymentRow>(
    em,
    `select p.id, p.merchant_order_no, p.platform_transaction_id, p.amount, p.currency, p.paid_amount, ${millis('p.paid_at')}, p.status
       from unnest($3::text[]) as k (value)
       join payment p on p.platform = $1 and p.merchant_account = $2 and p.${column} = k.value${column === 'id' ? '::uuid' : ''}
      order by p.id`,
    [platform, merchantAccount, wanted],
  );
  return rows.map(({ id, merchant_order_no: merchantOrderNo, platform_transaction_id: transactionId, amount, currency, paid_amount: paidAmount, paid_at: paidAt, status }) => ({
    id,
    merchantOrderNo,
    transactionId,
    amount: BigInt(amount),
    currency,
    paidAmount: BigInt(paidAmount),
    paidAt: instantOrNull(paidAt),
    status,
  }));
}

interface RefundRow {
  readonly id: string;
  readonly payment_id: string;
  readonly platform_refund_no: string;
  readonly platform_refund_id: string | null;
  readonly amount: string;
  readonly currency: string;
  readonly status: RefundStatus;
  readonly external: boolean;
  readonly succeeded_at: string | null;
  readonly updated_at: string;
}

export async function refundsBy(em: EntityManager, column: 'id' | 'payment_id', ids: readonly string[]): Promise<RecordedRefund[]> {
  const wanted = distinct(ids);
  if (wanted.length === 0) return [];
  const rows = await query<RefundRow>(
    em,
    `select r.id, r.payment_id, r.platform_refund_no, r.platform_refund_id, r.amount, r.currency, r.status, r.external,
            ${millis('r.succeeded_at')}, ${millis('r.updated_at')}
       from unnest($1::uuid[]) as k (value) join refund r on r.${column} = k.value order by r.id`,
    [wanted],
  );
  return rows.map(({ id, payment_id: paymentId, platform_refund_no: platformRefundNo, platform_refund_id: platformRefundId, amount, currency, status, external, succeeded_at: succeededAt, updated_at: updatedAt }) => ({
    id,
    paymentId,
    platformRefundNo,
    platformRefundId,
    amount: BigInt(amount),
    currency,
    status,
    isUnnumbered: external && platformRefundNo === platformNumber(id),
    succeededAt: instantOrNull(succeededAt),
    updatedAt: instant(updatedAt),
  }));
}

/** Ids of payments that were paid, or refunds that succeeded, in a period by their records; a bounded number of them at a time. */
export async function* recordedIn(
  em: EntityManager,
  { platform, merchantAccount }: Reconciliation,
  what: { about: BillRow['kind']; period: Period; pageSize: number },
): AsyncGenerator<string[]> {
  const { about, period, pageSize } = what;
  const [from, at] = about === 'PAYMENT' ? ['payment p', 'p.paid_at'] : ['refund r join payment p on p.id = r.payment_id', 'r.succeeded_at'];
  const id = about === 'PAYMENT' ? 'p.id' : 'r.id';
  let after = { at: period.from, id: NO_ID };
  for (;;) {
    const rows = await query<{ id: string; at: string }>(
      em,
      `select ${id} as id, (extract(epoch from ${at}) * 1000)::bigint::text as at from ${from}
        where p.platform = $1 and p.merchant_account = $2 and (${at}, ${id}) > ($3::timestamptz, $4::uuid) and ${at} < $5::timestamptz
        order by ${at}, ${id} limit $6`,
      [platform, merchantAccount, after.at.toISOString(), after.id, period.to.toISOString(), pageSize],
    );
    if (rows.length > 0) yield rows.map((row) => row.id);
    if (rows.length < pageSize) return;
    const last = rows.at(-1)!;
    after = { at: instant(last.at), id: last.id };
  }
}

const NO_ID = '00000000-0000-0000-0000-000000000000';

const distinct = (values: readonly string[]): string[] => [...new Set(values)].filter((value) => value !== '');
