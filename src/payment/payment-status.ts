/** The statuses of a payment and the complete table of legal transitions; anything not listed is illegal. */
export const PAYMENT_STATUSES = [
  'PENDING',
  'PROCESSING',
  'UNKNOWN',
  'SUCCEEDED',
  'PARTIALLY_REFUNDED',
  'REFUNDED',
  'FAILED',
  'CLOSED',
  'CANCELED',
  'REVIEW',
] as const;

export type PaymentStatus = (typeof PAYMENT_STATUSES)[number];

export type PaidStatus = 'SUCCEEDED' | 'PARTIALLY_REFUNDED' | 'REFUNDED';
export type NegativeStatus = 'FAILED' | 'CLOSED' | 'CANCELED';
export type OpenStatus = 'PENDING' | 'PROCESSING' | 'UNKNOWN';

/** PARTIALLY_REFUNDED → itself is a further refund; the paid statuses move back only after a refund was REVERSED. */
export const PAYMENT_TRANSITIONS: Record<PaymentStatus, readonly PaymentStatus[]> = {
  PENDING: ['PROCESSING', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED', 'UNKNOWN', 'REVIEW'],
  PROCESSING: ['PENDING', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED', 'UNKNOWN', 'REVIEW'],
  UNKNOWN: ['PENDING', 'PROCESSING', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED', 'REVIEW'],
  SUCCEEDED: ['PARTIALLY_REFUNDED', 'REFUNDED', 'REVIEW'],
  PARTIALLY_REFUNDED: ['PARTIALLY_REFUNDED', 'REFUNDED', 'SUCCEEDED', 'REVIEW'],
  REFUNDED: ['PARTIALLY_REFUNDED', 'SUCCEEDED', 'REVIEW'],
  FAILED: ['REVIEW'],
  CLOSED: ['REVIEW'],
  CANCELED: ['REVIEW'],
  REVIEW: [
    'PENDING',
    'PROCESSING',
    'UNKNOWN',
    'SUCCEEDED',
    'PARTIALLY_REFUNDED',
    'REFUNDED',
    'FAILED',
    'CLOSED',
    'CANCELED',
  ],
};

export type StatusClass = 'OPEN' | 'PAID' | 'NEGATIVE' | 'REVIEW';

const CLASS_OF: Record<PaymentStatus, StatusClass> = {
  PENDING: 'OPEN',
  PROCESSING: 'OPEN',
  UNKNOWN: 'OPEN',
  SUCCEEDED: 'PAID',
  PARTIALLY_REFUNDED: 'PAID',
  REFUNDED: 'PAID',
  FAILED: 'NEGATIVE',
  CLOSED: 'NEGATIVE',
  CANCELED: 'NEGATIVE',
  REVIEW: 'REVIEW',
};

export const statusClass = (status: PaymentStatus): StatusClass => CLASS_OF[status];
export const isPaid = (status: PaymentStatus): status is PaidStatus => CLASS_OF[status] === 'PAID';
export const isOpen = (status: PaymentStatus): status is OpenStatus => CLASS_OF[status] === 'OPEN';
export const isNegative = (status: PaymentStatus): status is NegativeStatus => CLASS_OF[status] === 'NEGATIVE';

/** Settled means that nobody is expected to act: paid in any form, or definitely never paid. */
export const isSettled = (status: PaymentStatus): boolean => isPaid(status) || isNegative(status);

export const isLegalTransition = (from: PaymentStatus, to: PaymentStatus): boolean =>
  PAYMENT_TRANSITIONS[from].includes(to);

/**
 * The legal edges from one status to another: one step, or two where one observation implies both (first seen as already
 * refunded; a late success accepted by policy). Between classes that have no common edge the way leads through REVIEW.
 */
export function legalPath(from: PaymentStatus, to: PaymentStatus): readonly PaymentStatus[] {
  if (from === to) return [];
  if (isLegalTransition(from, to)) return [to];
  if (isOpen(from) && isPaid(to)) return ['SUCCEEDED', to];
  return ['REVIEW', to];
}
