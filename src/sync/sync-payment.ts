import { closeAtPlatform } from '../payment/close-payment.js';
import type { Deps } from '../payment/deps.js';
import { DomainError } from '../payment/errors.js';
import type { Payment } from '../payment/payment.js';
import { isOpen } from '../payment/payment-status.js';
import { placeOrder } from '../payment/place-order.js';
import { queryPayment } from '../payment/query-payment.js';
import type { Refund } from '../refund/refund.js';
import { driveRefund } from '../refund/send-refund.js';
import { isExhausted } from './schedule.js';

const WORKER = { type: 'WORKER', id: 'sync' } as const;

export interface Looked {
  readonly payment: Payment;
  readonly refunds: readonly Refund[];
  /** Nobody was asked: a limit or an open circuit held the calls back. */
  readonly heldBack: boolean;
}

/** One look at a payment as it was read: what is in doubt is asked, what was never sent is sent, what has expired is closed. */
export async function syncPayment(deps: Deps, read: { payment: Payment; refunds: readonly Refund[] }): Promise<Looked> {
  let { payment } = read;
  let [asked, heldBack] = [false, false];
  const refunds: Refund[] = [];
  for (const refund of read.refunds) {
    const driven = refund.isAsked ? await driveRefund(deps, payment, refund) : { payment, refund, asked: false, heldBack: false };
    asked ||= driven.asked;
    heldBack ||= driven.heldBack;
    payment = driven.payment;
    refunds.push(driven.refund);
  }
  if (isOpen(payment.status) || payment.status === 'REVIEW') {
    const answer = await queryPayment(deps, payment, WORKER);
    const isHeldBack = answer.failure?.heldBack === true && !isExhausted(payment, deps.clock.now());
    if (isHeldBack) heldBack = true;
    else [asked, payment] = [true, await drivePayment(deps, answer.payment)];
  }
  return { payment, refunds, heldBack: heldBack && !asked };
}

/** What an open payment needs after it was asked about. */
async function drivePayment(deps: Deps, payment: Payment): Promise<Payment> {
  const now = deps.clock.now();
  if (!isOpen(payment.status)) return payment;
  if (isExhausted(payment, now)) return await exhaust(deps, payment);

  const isDone = payment.isExpired(now) && payment.origin === 'INITIATED';
  if (payment.closeRequestedAt !== null || isDone) return await closeAndAsk(deps, payment);

  return isUnplaced(payment) ? await quietly(payment, () => placeOrder(deps, payment, { isFirst: false })) : payment;
}

/**
 * Nobody has heard what became of placing it, as when the reply was lost or the process died, and the platform answers without knowing
 * more: the same order again is the same order.
 */
function isUnplaced({ origin, checkout, status, facts, queryFailure }: Payment): boolean {
  const isUnheardOf = status === 'UNKNOWN' || facts.open === undefined;
  return origin === 'INITIATED' && checkout === null && isUnheardOf && queryFailure === null;
}

/** Closed at the platform, and then asked once more: a buyer may have been faster. */
async function closeAndAsk(deps: Deps, payment: Payment): Promise<Payment> {
  const closed = await quietly(payment, async () => (await closeAtPlatform(deps, payment, WORKER)).payment);
  return closed.status === 'CLOSED' && payment.status !== 'CLOSED' ? (await queryPayment(deps, closed, WORKER)).payment : closed;
}

function exhaust(deps: Deps, { id }: Payment): Promise<Payment> {
  return deps.work.run({
    payments: [id],
    decide: (view) => {
      const locked = view.payment(id);
      if (isOpen(locked.status)) locked.exhaust(view.refunds(locked), view.act(WORKER));
      return locked;
    },
  });
}

/** A platform that took no call is no failure of the look: what it said is in the log, and the schedule goes on. */
async function quietly(before: Payment, act: () => Promise<Payment>): Promise<Payment> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof DomainError && ['PLATFORM_UNREACHABLE', 'PLATFORM_REJECTED', 'ORDER_EXISTS'].includes(error.reason)) return before;
    throw error;
  }
}
