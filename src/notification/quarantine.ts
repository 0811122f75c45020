import type { Deps } from '../payment/deps.js';
import { uuidv7 } from '../payment/ids.js';
import type { PaymentId } from '../payment/payment.js';
import { isSettled, type PaymentStatus } from '../payment/payment-status.js';
import type { Delivery, PlatformAdapter, Reading } from '../payment/platform.js';
import { contentHash, keptHeaders } from './delivery.js';

type Unverified = Extract<Reading, { verified: false }>;

/** Rows kept at most; a flood of forgeries must not fill the disk. */
const ROWS_MAX = 10_000;
/** Of a flood only this many a second are written down, after a first burst; the others are refused all the same, and counted. */
const KEPT_PER_SECOND = 20;
const BURST = 200;
const SECOND_MS = 1_000;
/** When it is full, what is older makes room. */
const KEPT_MS = 24 * 3600_000;
const ROOM_ROWS = 1_000;

/** Puts unverified input aside, one row for each content. It changes nothing, and cannot take the database's time from what does. */
export class Quarantine {
  private budget = BURST;
  private filledAt: number | null = null;
  private isFull = false;
  private countedAt: number | null = null;
  /** Since the start: what was refused, and how much of it was written down. */
  refused = 0;
  kept = 0;

  async put(deps: Deps, adapter: PlatformAdapter, delivery: Delivery, reading: Unverified): Promise<void> {
    this.refused += 1;
    const at = deps.clock.now();
    if (!this.mayKeep(at) || (await this.hasNoRoom(deps, at))) return;
    const claimedOrderNo = reading.claimedOrderNo();
    await keep(deps, adapter, delivery, { why: reading.why, claimedOrderNo, at });
    this.kept += 1;
    // A genuine notification that was damaged on its way is found by asking about what it claims.
    if (claimedOrderNo !== null) await askAboutClaim(deps, adapter, claimedOrderNo);
  }

  private mayKeep(at: Date): boolean {
    const now = at.getTime();
    const elapsed = Math.max(0, now - (this.filledAt ?? now));
    this.filledAt = now;
    this.budget = Math.min(BURST, this.budget + (elapsed * KEPT_PER_SECOND) / SECOND_MS);
    if (this.budget < 1) return false;
    this.budget -= 1;
    return true;
  }

  private async hasNoRoom(deps: Deps, at: Date): Promise<boolean> {
    if (this.countedAt === null || at.getTime() - this.countedAt >= SECOND_MS) {
      this.countedAt = at.getTime();
      const [row] = await deps.orm.em
        .fork()
        .execute<[{ rows: string }]>(`select count(*)::text as rows from (select 1 from notification where status = 'QUARANTINED' limit ${ROWS_MAX}) kept`);
      this.isFull = BigInt(row.rows) >= ROWS_MAX && (await makeRoom(deps, at)) === 0n;
    }
    return this.isFull;
  }
}

/** Drops the oldest rows; answers how many. */
async function makeRoom(deps: Deps, at: Date): Promise<bigint> {
  const [row] = await deps.orm.em.fork().execute<[{ dropped: string }]>(
    `with dropped as (
       delete from notification where status = 'QUARANTINED' and id in (
         select id from notification where status = 'QUARANTINED' and received_at < ? order by id limit ${ROOM_ROWS}) returning 1)
     select count(*)::text as dropped from dropped`,
    [new Date(at.getTime() - KEPT_MS).toISOString()],
  );
  return BigInt(row.dropped);
}

async function keep(
  deps: Deps,
  adapter: PlatformAdapter,
  delivery: Delivery,
  { why, claimedOrderNo, at }: { why: string; claimedOrderNo: string | null; at: Date },
): Promise<void> {
  await deps.orm.em.fork().execute(
    `insert into notification (id, platform, merchant_account, notification_id, content_hash, status, merchant_order_no,
       platform_order_time, why, headers, body, deliveries, received_at)
     values (?, ?, ?, null, ?, 'QUARANTINED', ?, '', ?, ?::jsonb, decode(?, 'hex'), 1, ?)
     on conflict (platform, content_hash) where status = 'QUARANTINED'
     do update set deliveries = least(notification.deliveries + 1, 2147483647)`,
    [
      uuidv7(at),
      adapter.platform,
      adapter.merchantAccount,
      contentHash(delivery.body),
      claimedOrderNo,
      why,
      JSON.stringify(keptHeaders(adapter, delivery)),
      delivery.body.toString('hex'),
      at.toISOString(),
    ],
  );
}

async function askAboutClaim(deps: Deps, adapter: PlatformAdapter, merchantOrderNo: string): Promise<void> {
  const { platform, merchantAccount } = adapter;
  const [payment] = await deps.orm.em.fork().execute<{ id: PaymentId; status: PaymentStatus }[]>(
    'select id, status from payment where platform = ? and merchant_account = ? and merchant_order_no = ? limit 1',
    [platform, merchantAccount, merchantOrderNo],
  );
  if (payment === undefined || isSettled(payment.status)) return;
  await deps.work.run({
    payments: [payment.id],
    decide: (view) => view.syncDue(view.payment(payment.id), view.at),
  });
  deps.wakeSync();
}
