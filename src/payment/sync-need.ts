import type { Refund } from '../refund/refund.js';
import { isOpen, isSettled, type PaymentStatus } from './payment-status.js';

/** What a change means for the schedule of queries: a payment that is open again must be asked about, one that is settled no more. */
export type SyncNeed = 'BEGINS' | 'ENDS' | 'SAME';

export function syncNeed(before: PaymentStatus, after: PaymentStatus, refunds: readonly Refund[]): SyncNeed {
  if (isOpen(after)) return isOpen(before) ? 'SAME' : 'BEGINS';
  const isAsked = refunds.some((refund) => refund.isAsked);
  return isSettled(after) && !isSettled(before) && !isAsked ? 'ENDS' : 'SAME';
}
