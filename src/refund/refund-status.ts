/** The statuses of a refund, what they mean for money, and the complete table of legal transitions. */
export const REFUND_STATUSES = [
  'CREATED',
  'SUBMITTED',
  'UNKNOWN',
  'ABNORMAL',
  'SUCCEEDED',
  'FAILED',
  'CANCELED',
  'REVERSED',
] as const;

export type RefundStatus = (typeof REFUND_STATUSES)[number];

export const REFUND_TRANSITIONS: Record<RefundStatus, readonly RefundStatus[]> = {
  CREATED: ['SUBMITTED', 'SUCCEEDED', 'UNKNOWN', 'FAILED', 'CANCELED'],
  SUBMITTED: ['SUCCEEDED', 'FAILED', 'ABNORMAL', 'UNKNOWN'],
  UNKNOWN: ['SUBMITTED', 'SUCCEEDED', 'FAILED', 'ABNORMAL'],
  ABNORMAL: ['SUBMITTED', 'SUCCEEDED', 'FAILED'],
  SUCCEEDED: ['REVERSED'],
  FAILED: [],
  CANCELED: [],
  REVERSED: [],
};

/** What a refund in this status does to the payment's money. */
export const REFUND_MONEY: Record<RefundStatus, 'RESERVED' | 'REFUNDED' | 'REVERSED' | 'RELEASED'> = {
  CREATED: 'RESERVED',
  SUBMITTED: 'RESERVED',
  UNKNOWN: 'RESERVED',
  ABNORMAL: 'RESERVED',
  SUCCEEDED: 'REFUNDED',
  FAILED: 'RELEASED',
  CANCELED: 'RELEASED',
  REVERSED: 'REVERSED',
};

export const isLegalRefundTransition = (from: RefundStatus, to: RefundStatus): boolean =>
  REFUND_TRANSITIONS[from].includes(to);

/** Open refunds hold their reservation and are driven until the platform answers. */
export const isOpenRefund = (status: RefundStatus): boolean => REFUND_MONEY[status] === 'RESERVED';
