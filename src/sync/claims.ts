/** What is due, in a narrow table of its own: claimed by any number of replicas, and given back with the next due time. */
import type { MikroORM } from '@mikro-orm/postgresql';
import type { PlatformName } from '../payment/platform.js';
import { boundQuery } from '../store/bound-query.js';

export interface AccountKey {
  readonly platform: PlatformName;
  readonly merchantAccount: string;
}

export interface Claim {
  readonly paymentId: string;
  readonly attempts: number;
  readonly leaseUntil: Date;
}

export interface Release {
  readonly claim: Claim;
  /** Null: it leaves the schedule. */
  readonly next: Date | null;
  /** When the platform was asked; null where the look does not count as one of the schedule's, for nobody was. */
  readonly askedAt: Date | null;
}

/** A process that dies leaves its claims to expire. */
export const LEASE_MS = 60_000;

const CLAIM = `
  update payment_sync s set due_at = $4, lease_until = $4
    from (select payment_id from payment_sync where platform = $1 and merchant_account = $2 and due_at <= $3
           order by due_at limit $5 for update skip locked) due
   where s.payment_id = due.payment_id returning s.payment_id, s.attempts`;

export async function claimDue(orm: MikroORM, { platform, merchantAccount }: AccountKey, now: Date, countMax: number): Promise<Claim[]> {
  const leaseUntil = new Date(now.getTime() + LEASE_MS);
  const values = [platform, merchantAccount, now.toISOString(), leaseUntil.toISOString(), countMax];
  const rows = await boundQuery<{ payment_id: string; attempts: number }>(orm.em.fork(), CLAIM, values);
  return rows.map((row) => ({ paymentId: row.payment_id, attempts: row.attempts, leaseUntil }));
}

/** When the account's next payment comes due; null while none is in the schedule. */
export async function nextDueAt(orm: MikroORM, { platform, merchantAccount }: AccountKey): Promise<Date | null> {
  const sql = 'select min(due_at)::text as due from payment_sync where platform = $1 and merchant_account = $2';
  const [row] = await boundQuery<{ due: string | null }>(orm.em.fork(), sql, [platform, merchantAccount]);
  return row?.due == null ? null : new Date(row.due);
}

/** Moved by one statement: a million of them would take longer than a statement may. */
const FORWARD_STEP = 10_000;
/** What has moved lies before what comes next, so that nothing moves twice. */
const BRING_FORWARD = `
  with step as (
         select max(due_at) as until from (
           select due_at from payment_sync where platform = $1 and merchant_account = $2 and due_at > $3::timestamptz
            order by due_at limit $4::int) next),
       moved as (
         update payment_sync s set due_at = greatest($5::timestamptz, s.due_at - $6::int8 * interval '1 millisecond') from step
          where s.platform = $1 and s.merchant_account = $2 and s.due_at > $3::timestamptz and s.due_at <= step.until)
  select until::text from step`;

/**
 * After the clock went back by so much: what was scheduled by it, and leased, comes due when it would have. Whatever was scheduled before
 * it had gone forward comes too early, which does no harm.
 */
export async function bringForward(orm: MikroORM, { platform, merchantAccount }: AccountKey, now: Date, byMs: number): Promise<void> {
  for (let from: string | null = now.toISOString(); from !== null; ) {
    const values: unknown[] = [platform, merchantAccount, from, FORWARD_STEP, now.toISOString(), byMs];
    const [step]: { until: string | null }[] = await boundQuery<{ until: string | null }>(orm.em.fork(), BRING_FORWARD, values);
    from = step?.until ?? null;
  }
}

/** A lease that was lost meanwhile is nobody's to give back; a due time that news has moved stays as it is. */
const GIVE_BACK = `
  update payment_sync s
     set due_at = case when s.due_at = s.lease_until then k.due_at else s.due_at end, lease_until = null,
         attempts = s.attempts + (k.asked_at is not null)::int, asked_at = coalesce(k.asked_at, s.asked_at)
    from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[]) as k (payment_id, lease_until, due_at, asked_at)
   where s.payment_id = k.payment_id and s.lease_until = k.lease_until`;
const LEAVE = `
  delete from payment_sync s using unnest($1::uuid[], $2::timestamptz[]) as k (payment_id, lease_until)
   where s.payment_id = k.payment_id and s.lease_until = k.lease_until and s.due_at = s.lease_until`;

export async function release(orm: MikroORM, releases: readonly Release[]): Promise<void> {
  const [back, gone] = [releases.filter(({ next }) => next !== null), releases.filter(({ next }) => next === null)];
  const keys = (some: readonly Release[]): unknown[] => [some.map(({ claim }) => claim.paymentId), some.map(({ claim }) => claim.leaseUntil.toISOString())];
  if (back.length > 0) {
    await boundQuery(orm.em.fork(), GIVE_BACK, [...keys(back), back.map(({ next }) => next!.toISOString()), back.map(({ askedAt }) => askedAt?.toISOString() ?? null)]);
  }
  if (gone.length > 0) await boundQuery(orm.em.fork(), LEAVE, keys(gone));
}
