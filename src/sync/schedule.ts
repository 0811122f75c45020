/** When a payment is looked at again: by the paces of its platform, at the moments that settle it, and as long as anything is open. */
import type { Payment } from '../payment/payment.js';
import { NOT_FOUND_MARGIN_MS } from '../payment/payment.js';
import { isOpen, isSettled } from '../payment/payment-status.js';
import type { Paces } from '../payment/platform.js';
import type { Refund } from '../refund/refund.js';

const SECOND = 1_000;
const HOUR = 3_600_000;

/** A review that the platform's next answer may end: seldom, and for as long as it takes. */
const REVIEW_MS = [HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR];
const ENDS_BY_ITSELF: readonly string[] = ['SYNC_EXHAUSTED', 'MONEY_UNCLEAR'];

/** An order that was never settled is asked about this long after its expiry, or after its creation where it has none. */
const GIVE_UP_MS = 48 * HOUR;

export interface Look {
  readonly payment: Payment;
  readonly refunds: readonly Refund[];
  /** Looks since the payment came into the schedule. */
  readonly attempts: number;
  readonly now: Date;
}

/** Null where nothing is left to ask. */
export function nextLook({ payment, refunds, attempts, now }: Look, paces: Paces): Date | null {
  const delays: number[] = [];
  if (isOpen(payment.status)) delays.push(stepOf(payment.status === 'UNKNOWN' ? paces.unknown : paces.open, attempts));
  if (payment.status === 'REVIEW' && ENDS_BY_ITSELF.includes(payment.reviewReason!)) delays.push(stepOf(REVIEW_MS, attempts));
  if (refunds.some((refund) => refund.isAsked)) delays.push(stepOf(paces.refund, attempts));
  if (delays.length === 0) return null;

  const paced = now.getTime() + spread(Math.min(...delays));
  const moment = isOpen(payment.status) ? settlingMoment(payment, now) : null;
  return new Date(Math.round(moment === null ? paced : Math.min(paced, moment + Math.random() * SECOND)));
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

/** Half to one and a half of it, so that what came due together, as after an outage, does not stay together. */
export const spread = (delayMs: number): number => delayMs * (0.5 + Math.random());

/** Its expiry, then the end of the margin after it: what was never paid is settled at these and not between them. */
function settlingMoment({ expireAt }: Payment, now: Date): number | null {
  if (expireAt === null) return null;
  const moments = [expireAt.getTime() + SECOND, expireAt.getTime() + NOT_FOUND_MARGIN_MS + SECOND];
  return moments.find((moment) => moment > now.getTime()) ?? null;
}

const stepOf = (steps: readonly number[], attempts: number): number => steps[Math.min(attempts, steps.length - 1)]!;
