/** What was stored is verified again from its bytes and applied: by hand, and by the worker for what could not be applied at once. */
import { UniqueConstraintViolationException } from '@mikro-orm/postgresql';
import type { Deps } from '../payment/deps.js';
import { DomainError } from '../payment/errors.js';
import { Payment } from '../payment/payment.js';
import type { PlatformAdapter, PlatformName } from '../payment/platform.js';
import { Notification } from './notification.js';
import { applyStored, orderOf, readStored, type VerifiedReading } from './receive-notification.js';

export interface Replayed {
  readonly notification: Notification;
  readonly payment: Payment | null;
}

/** Replaying changes nothing that was applied already. NOTIFICATION_NOT_FOUND, PLATFORM_NOT_CONFIGURED. */
export async function replayNotification(deps: Deps, id: string): Promise<Replayed> {
  const row = await deps.orm.em.fork().findOne(Notification, { id });
  if (row === null) throw new DomainError('NOTIFICATION_NOT_FOUND', `there is no notification ${id}`, { metadata: { notification_id: id } });

  const adapter = deps.platforms.adapter(row.platform, row.merchantAccount);
  const reading = readStored(adapter, row);
  if (reading.verified) {
    if (row.status === 'QUARANTINED') await promote(deps, row, reading);
    await apply(deps, adapter, reading);
  }

  const em = deps.orm.em.fork();
  const notification = await em.findOneOrFail(Notification, { id });
  const payment = notification.paymentId === null ? null : await em.findOne(Payment, { id: notification.paymentId });
  return { notification, payment };
}

async function apply(deps: Deps, adapter: PlatformAdapter, reading: VerifiedReading): Promise<void> {
  const order = orderOf(adapter, reading);
  const key = { platform: adapter.platform, notificationId: reading.notificationId };
  const changed = await deps.work.run({
    order,
    notification: key,
    decide: (view) => {
      const row = view.notification(key);
      return row !== undefined && applyStored(view, { row, payment: view.paymentOfOrder(order), reading });
    },
  });
  if (changed) deps.wakeSync();
}

/** Put aside unproven, and proven now, as by a key that was configured since. Where the genuine copy came as well, it stays aside. */
async function promote(deps: Deps, row: Notification, { notificationId, order }: VerifiedReading): Promise<void> {
  try {
    await deps.orm.em.fork().nativeUpdate(
      Notification,
      { id: row.id, status: 'QUARANTINED' },
      {
        status: 'STORED',
        notificationId,
        merchantOrderNo: order.merchantOrderNo,
        platformOrderTime: order.platformOrderTime,
        why: 'verified by a replay',
      },
    );
  } catch (error) {
    if (!(error instanceof UniqueConstraintViolationException)) throw error;
  }
}

const SWEEP_MAX = 200;
/** Registering an order applies its orphans itself; this is for what it may have missed. */
const ORPHAN_AGE_MAX_MS = 24 * 3600_000;

/** Applies what waits although its order is recorded. Answers how many that were; rejects, once all were tried, where some could not be. */
export async function sweepInbox(deps: Deps): Promise<number> {
  const since = new Date(deps.clock.now().getTime() - ORPHAN_AGE_MAX_MS).toISOString();
  const rows = await deps.orm.em.fork().execute<{ id: string; platform: PlatformName; account: string }[]>(
    `select n.id, n.platform, n.merchant_account as account from notification n
      where (n.status = 'STORED' or (n.status = 'ORPHAN' and n.received_at > ?))
        and exists (select 1 from payment p where p.platform = n.platform and p.merchant_account = n.merchant_account
                       and p.merchant_order_no = n.merchant_order_no and p.platform_order_time = n.platform_order_time)
      order by n.id limit ${SWEEP_MAX}`,
    [since],
  );
  const ours = rows.filter(({ platform, account }) => deps.platforms.find(platform, account) !== undefined);
  const failures: unknown[] = [];
  // One that cannot be applied must not keep back those behind it.
  for (const { id } of ours) await replayNotification(deps, id).catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} of ${ours.length} waiting notifications could not be applied`);
  return ours.length;
}
