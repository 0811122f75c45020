/** Why a payment is in REVIEW. */
export const REVIEW_REASONS = [
  'AMOUNT_MISMATCH',
  'IDENTITY_MISMATCH',
  'CONTRADICTION',
  'LATE_SUCCESS',
  'EXTERNAL_REFUND',
  'REFUND_CONTRADICTION',
  'MONEY_UNCLEAR',
  'SYNC_EXHAUSTED',
] as const;

export type ReviewReason = (typeof REVIEW_REASONS)[number];
