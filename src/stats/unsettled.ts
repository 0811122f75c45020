/** What has not ended, by platform and status, and since when the worst of it ought to have. */
import type { EntityManager } from '@mikro-orm/postgresql';
import type { PaymentStatus } from '../payment/payment-status.js';
import type { PlatformName } from '../payment/platform.js';
import type { RefundStatus } from '../refund/refund-status.js';

export interface Unsettled<Status> {
  readonly platform: PlatformName;
  readonly status: Status;
  readonly count: bigint;
  /** Creation of the oldest. */
  readonly oldest: Date;
  /** Those that ought to have ended by now, and since when the worst of them ought to have. */
  readonly stuck: { readonly count: bigint; readonly since: Date | null };
}

/** When a payment counts as stuck: each moment is later than what the sync worker needs while its platform answers. */
const PAYMENT_STUCK_AT = `case status
  when 'REVIEW' then updated_at
  when 'UNKNOWN' then updated_at + interval '15 minutes'
  else coalesce(expire_at + interval '1 hour', created_at + interval '1 day') end`;

/** Cards take up to three days; what is ABNORMAL waits for a person. */
const REFUND_STUCK_AT = `case r.status when 'ABNORMAL' then r.updated_at else r.created_at + interval '4 days' end`;

interface Row<Status> {
  readonly platform: PlatformName;
  readonly status: Status;
  readonly count: string;
  readonly oldest: string;
  readonly stuck: string;
  readonly since: string | null;
}

export async function unsettledPayments(em: EntityManager, now: Date): Promise<Unsettled<PaymentStatus>[]> {
  const rows = await em.execute<Row<PaymentStatus>[]>(
    `select platform, status, count(*)::text as count, min(created_at)::text as oldest,
            count(*) filter (where stuck_at <= ?)::text as stuck, (min(stuck_at) filter (where stuck_at <= ?))::text as since
       from (select platform, status, created_at, ${PAYMENT_STUCK_AT} as stuck_at from payment
              where status in ('PENDING', 'PROCESSING', 'UNKNOWN', 'REVIEW')) unsettled
      group by 1, 2 order by 1, 2`,
    [now.toISOString(), now.toISOString()],
  );
  return rows.map(unsettledOf);
}

export async function openRefunds(em: EntityManager, now: Date): Promise<Unsettled<RefundStatus>[]> {
  const rows = await em.execute<Row<RefundStatus>[]>(
    `select platform, status, count(*)::text as count, min(created_at)::text as oldest,
            count(*) filter (where stuck_at <= ?)::text as stuck, (min(stuck_at) filter (where stuck_at <= ?))::text as since
       from (select p.platform, r.status, r.created_at, ${REFUND_STUCK_AT} as stuck_at from refund r join payment p on p.id = r.payment_id
              where r.status in ('CREATED', 'SUBMITTED', 'UNKNOWN', 'ABNORMAL')) open_refunds
      group by 1, 2 order by 1, 2`,
    [now.toISOString(), now.toISOString()],
  );
  return rows.map(unsettledOf);
}

function unsettledOf<Status>({ platform, status, count, oldest, stuck, since }: Row<Status>): Unsettled<Status> {
  const until = { count: BigInt(stuck), since: since === null ? null : new Date(since) };
  return { platform, status, count: BigInt(count), oldest: new Date(oldest), stuck: until };
}
