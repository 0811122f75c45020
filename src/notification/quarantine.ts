import type { Deps } from '../payment/deps.js';
import { uuidv7 } from '../payment/ids.js';
import { Payment } from '../payment/payment.js';
import { isSettled } from '../payment/payment-status.js';
import type { Delivery, PlatformAdapter, Reading } from '../payment/platform.js';
import { contentHash, keptHeaders } from './delivery.js';

/** Kept at most; a flood of forgeries must not fill the disk. Beyond it deliveries are refused without a row. */
const QUARANTINE_MAX = 10_000;

/**
 * Puts unverified input aside, one row for each content, and has the payment that it claims to be about looked at: a genuine
 * notification that was damaged on its way is then found by the query.
 */
export async function quarantine(
  deps: Deps,
  adapter: PlatformAdapter,
  delivery: Delivery,
  reading: Extract<Reading, { verified: false }>,
): Promise<void> {
  const at = deps.clock.now();
  await deps.orm.em.fork().execute(
    `insert into notification (id, platform, merchant_account, notification_id, content_hash, status, merchant_order_no,
       platform_order_time, why, headers, body, deliveries, received_at)
     select ?, ?, ?, null, ?, 'QUARANTINED', ?, '', ?, ?::jsonb, decode(?, 'hex'), 1, ?
      where (select count(*) from (select 1 from notification where status = 'QUARANTINED' limit ${QUARANTINE_MAX}) kept)
            < ${QUARANTINE_MAX}
     on conflict (platform, content_hash) where status = 'QUARANTINED'
     do update set deliveries = least(notification.deliveries + 1, 2147483647)`,
    [
      uuidv7(at),
      adapter.platform,
      adapter.merchantAccount,
      contentHash(delivery.body),
      reading.claimedOrderNo,
      reading.why,
      JSON.stringify(keptHeaders(delivery)),
      delivery.body.toString('hex'),
      at.toISOString(),
    ],
  );
  if (reading.claimedOrderNo !== null) await askAboutClaim(deps, adapter, reading.claimedOrderNo);
}

async function askAboutClaim(deps: Deps, adapter: PlatformAdapter, merchantOrderNo: string): Promise<void> {
  const { platform, merchantAccount } = adapter;
  const payment = await deps.orm.em.fork().findOne(Payment, { platform, merchantAccount, merchantOrderNo });
  if (payment === null || isSettled(payment.status)) return;
  await deps.work.run({
    payments: [payment.id],
    decide: (view) => view.syncDue(view.payment(payment.id), view.at),
  });
  deps.wakeSync();
}
