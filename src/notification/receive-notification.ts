import type { Deps } from '../payment/deps.js';
import { uuidv7 } from '../payment/ids.js';
import { joinEvidence } from '../payment/join-evidence.js';
import type { ApplyOutcome, Payment } from '../payment/payment.js';
import type { Act } from '../payment/payment-log.js';
import type { Delivery, HttpReply, PlatformAdapter, Reading } from '../payment/platform.js';
import { joinRefundReport } from '../refund/join-refund-report.js';
import type { OrderKey, View } from '../store/unit-of-work.js';
import { contentHash, keptHeaders } from './delivery.js';
import { Notification } from './notification.js';
import type { Quarantine } from './quarantine.js';

export type VerifiedReading = Extract<Reading, { verified: true }>;

/**
 * Takes one delivery: verified, stored and applied in one unit of work, and only then acknowledged. Unverified input is put aside
 * and changes nothing. Rejects when the delivery could not be stored; then it must not be acknowledged.
 */
export async function receiveNotification(deps: Deps, quarantine: Quarantine, adapter: PlatformAdapter, delivery: Delivery): Promise<HttpReply> {
  const reading = adapter.readNotification(delivery);
  if (!reading.verified) {
    await quarantine.put(deps, adapter, delivery, reading);
    return adapter.replies.refused;
  }

  await storeAndApply(deps, adapter, delivery, reading).catch(async (cause: unknown) => {
    // Whatever is wrong with applying it, the platform's word must not be lost; if storing fails too, nothing is acknowledged.
    await storeAlone(deps, adapter, delivery, reading, cause);
  });
  return adapter.replies.stored;
}

async function storeAndApply(deps: Deps, adapter: PlatformAdapter, delivery: Delivery, reading: VerifiedReading): Promise<void> {
  const order = orderOf(adapter, reading);
  const key = { platform: adapter.platform, notificationId: reading.notificationId };
  const wake = await deps.work.run({
    order,
    notification: key,
    decide: (view) => {
      // Refused, where the payment is held by somebody, before anything is changed.
      const payment = view.paymentOfOrder(order);
      const known = view.notification(key);
      const row = known ?? newRow(adapter, delivery, reading, view.at);
      if (known === undefined) view.add(row);
      else known.deliveries += 1;

      return applyStored(view, { row, payment, reading });
    },
  });
  if (wake) deps.wakeSync();
}

async function storeAlone(
  deps: Deps,
  adapter: PlatformAdapter,
  delivery: Delivery,
  reading: VerifiedReading,
  cause: unknown,
): Promise<void> {
  const key = { platform: adapter.platform, notificationId: reading.notificationId };
  await deps.work.run({
    notification: key,
    decide: (view) => {
      if (view.notification(key) !== undefined) return;
      const why = `not applied: ${cause instanceof Error ? cause.message : 'unknown cause'}`;
      view.add(Object.assign(newRow(adapter, delivery, reading, view.at), { status: 'STORED', why } as const));
    },
  });
}

/** Joins a stored notification into its payment, unless there is none or it was joined before; answers whether it did. */
export function applyStored(
  view: View,
  { row, payment, reading }: { row: Notification; payment: Payment | undefined; reading: VerifiedReading },
): boolean {
  if (payment === undefined || row.status === 'APPLIED') return false;
  applyNotification(view, { row, payment, reading }, view.act({ type: 'PLATFORM', id: row.platform }));
  return true;
}

function applyNotification(
  view: View,
  target: { row: Notification; payment: Payment; reading: VerifiedReading },
  act: Act,
): void {
  const { row, payment, reading } = target;
  let outcome: ApplyOutcome = 'STALE';
  if (reading.evidence !== null) {
    outcome = joinEvidence(view, payment, { evidence: reading.evidence, source: 'NOTIFICATION' }, act);
  }
  if (reading.refund !== null) {
    const refunds = view.refunds(payment);
    const refund = refunds.findByPlatformNo(reading.refund.platformRefundNo);
    const { platformRefundNo, report } = reading.refund;
    if (refund === undefined && isOfTransaction(reading, payment) && report?.status === 'SUCCEEDED' && report.amount !== null) {
      outcome = payment.joinRefundElsewhere(platformRefundNo, { ...report, amount: report.amount }, 'NOTIFICATION', refunds, act);
    } else if (refund !== undefined && report !== null && joinRefundReport({ payment, refunds, refund }, report, 'NOTIFICATION', act) !== 'UNCHANGED') {
      outcome = 'APPLIED';
    }
    // A number nobody here knows, a notification without a verdict, or one that denies a success: the platform is asked.
    if (refund === undefined || report === null || refund.isDenied) view.syncDue(payment, act.at);
  }
  Object.assign(row, { status: 'APPLIED', paymentId: payment.id, outcome, appliedAt: act.at, why: '' } as const);
}

/** What others refund is told under their own references: the transaction of the platform is what ties it to the payment. */
const isOfTransaction = ({ order }: VerifiedReading, { platformTransactionId }: Payment): boolean =>
  platformTransactionId === null || order.platformTransactionId === platformTransactionId;

/** Applies the notifications that came before their payment was recorded; they are verified again from their bytes. */
export function applyWaiting(adapters: (payment: Payment) => PlatformAdapter | undefined) {
  return (view: View, payment: Payment, act: Act): void => {
    for (const row of view.waitingNotifications(payment)) {
      const adapter = adapters(payment);
      const reading = adapter === undefined ? null : readStored(adapter, row);
      if (reading?.verified !== true) continue;
      applyNotification(view, { row, payment, reading }, { ...act, actor: { type: 'PLATFORM', id: payment.platform } });
    }
  };
}

/** As it was when it came: a signature must be fresh at that moment, not now. */
export function readStored(adapter: PlatformAdapter, { headers, body, receivedAt }: Notification): Reading {
  return adapter.readNotification({ headers, body: Buffer.from(body), receivedAt });
}

function newRow(adapter: PlatformAdapter, delivery: Delivery, reading: VerifiedReading, at: Date): Notification {
  return Object.assign(new Notification(), {
    id: uuidv7(at),
    platform: adapter.platform,
    merchantAccount: adapter.merchantAccount,
    notificationId: reading.notificationId,
    contentHash: contentHash(delivery.body),
    status: 'ORPHAN',
    merchantOrderNo: reading.order.merchantOrderNo,
    platformOrderTime: reading.order.platformOrderTime,
    paymentId: null,
    outcome: null,
    why: 'its order is not recorded',
    headers: keptHeaders(adapter, delivery),
    body: delivery.body,
    deliveries: 1,
    receivedAt: at,
    appliedAt: null,
  } satisfies Notification);
}

export function orderOf(adapter: PlatformAdapter, reading: VerifiedReading): OrderKey {
  const { merchantOrderNo, platformOrderTime } = reading.order;
  return { platform: adapter.platform, merchantAccount: adapter.merchantAccount, merchantOrderNo, platformOrderTime };
}
