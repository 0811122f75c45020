import { closeAtPlatform } from '../payment/close-payment.js';
import type { Deps } from '../payment/deps.js';
import { Payment, type PaymentId } from '../payment/payment.js';
import { isOpen } from '../payment/payment-status.js';
import { placeOrder } from '../payment/place-order.js';
import { queryPayment } from '../payment/query-payment.js';
import { Refund } from '../refund/refund.js';
import { driveRefund } from '../refund/send-refund.js';
import { isExhausted } from './schedule.js';

const WORKER = { type: 'WORKER', id: 'sync' } as const;

/** One look at a payment: what is in doubt is asked, what was never sent is sent, what has expired is closed. */
export async function syncPayment(deps: Deps, id: PaymentId): Promise<{ payment: Payment; refunds: Refund[] } | null> {
  const before = await read(deps, id);
  if (before === null) return null;
  if (deps.platforms.find(before.payment.platform, before.payment.merchantAccount) === undefined) return null;

  for (const refund of before.refunds) {
    if (refund.isAsked) await driveRefund(deps, before.payment, refund);
  }
  if (isOpen(before.payment.status) || before.payment.status === 'REVIEW') await drivePayment(deps, before.payment);
  return await read(deps, id);
}

async function drivePayment(deps: Deps, payment: Payment): Promise<void> {
  const asked = await queryPayment(deps, payment, WORKER);
  const now = deps.clock.now();
  if (!isOpen(asked.payment.status)) return;

  if (isExhausted(asked.payment, now)) {
    await deps.work.run({
      payments: [payment.id],
      decide: (view) => {
        const locked = view.payment(payment.id);
        if (isOpen(locked.status)) locked.exhaust(view.refunds(locked), view.act(WORKER));
      },
    });
    return;
  }

  const wanted = asked.payment.closeRequestedAt !== null || (asked.payment.isExpired(now) && asked.payment.origin === 'INITIATED');
  if (wanted) {
    await closeAtPlatform(deps, asked.payment, WORKER);
  } else if (asked.payment.status === 'UNKNOWN' && asked.payment.origin === 'INITIATED' && asked.payment.checkout === null) {
    // The reply to placing it was lost; the same order again is the same order.
    await placeOrder(deps, asked.payment);
  }
}

async function read(deps: Deps, id: PaymentId): Promise<{ payment: Payment; refunds: Refund[] } | null> {
  const em = deps.orm.em.fork();
  const payment = await em.findOne(Payment, { id });
  if (payment === null) return null;
  return { payment, refunds: await em.find(Refund, { paymentId: id }, { orderBy: { id: 'asc' } }) };
}
