/** When a payment is looked at again. Figures: the platforms' guidance where there is one, chosen here where not. */
import type { Payment } from '../payment/payment.js';
import { NOT_FOUND_MARGIN_MS } from '../payment/payment.js';
import { isOpen, isSettled } from '../payment/payment-status.js';
import type { Refund } from '../refund/refund.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const PENDING_MS = [5, 10, 20, 30, 60, 120, 300].map((seconds) => seconds * SECOND);
const UNKNOWN_MS = [1, 2, 4, 8, 15, 30, 60, 120, 300].map((seconds) => seconds * SECOND);
const REFUND_MS = [10 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 30 * MINUTE, HOUR];

/** An order that was never settled is asked about this long after its expiry, or after its creation where it has none. */
const GIVE_UP_MS = 48 * HOUR;

export interface Next {
  readonly at: Date;
}

/** Null where nothing is left to ask. `attempts` counts the looks since the payment last came due by itself. */
export function nextLook(payment: Payment, refunds: readonly Refund[], attempts: number, now: Date): Next | null {
  const delays: number[] = [];
  if (isOpen(payment.status)) delays.push(pendingDelay(payment, attempts, now));
  if (refunds.some((refund) => refund.isAsked)) delays.push(stepOf(REFUND_MS, attempts));
  if (delays.length === 0) return null;
  // Full spread above the lower half, so that what came due together does not stay together.
  const delay = Math.min(...delays) * (0.75 + Math.random() * 0.5);
  return { at: new Date(now.getTime() + Math.round(delay)) };
}

/** Whether the schedule of queries has run out without an answer. */
export function isExhausted(payment: Payment, now: Date): boolean {
  if (isSettled(payment.status) || payment.status === 'REVIEW') return false;
  const since = payment.expireAt ?? payment.createdAt;
  return now.getTime() > since.getTime() + GIVE_UP_MS;
}

/** Cards take up to three days; what is open for longer will not be settled by waiting. */
const OVERDUE_MS = 4 * 24 * HOUR;

/** Whether a refund goes on being asked about without hope that the platform settles it by itself. */
export const isOverdue = (refund: Refund, now: Date): boolean =>
  refund.isAsked && refund.sentAt !== null && now.getTime() > refund.createdAt.getTime() + OVERDUE_MS;

function pendingDelay(payment: Payment, attempts: number, now: Date): number {
  const delay = stepOf(payment.status === 'UNKNOWN' ? UNKNOWN_MS : PENDING_MS, attempts);
  if (payment.expireAt === null) return delay;
  // Not later than its expiry, and then not later than the end of the margin: those are the moments that settle it.
  for (const moment of [payment.expireAt.getTime() + SECOND, payment.expireAt.getTime() + NOT_FOUND_MARGIN_MS + SECOND]) {
    const until = moment - now.getTime();
    if (until > 0) return Math.min(delay, until);
  }
  return delay;
}

const stepOf = (steps: readonly number[], attempts: number): number => steps[Math.min(attempts, steps.length - 1)]!;
