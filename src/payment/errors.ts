/**
 * Refusals of the domain. They know nothing of gRPC: `rpc/status.ts` maps every reason to a status code, and a reason without
 * a mapping does not compile. A bug is an ordinary Error and reaches callers as INTERNAL.
 */
export const ERROR_REASONS = [
  'FIELD_INVALID',
  'PAYMENT_NOT_FOUND',
  'REFUND_NOT_FOUND',
  'NOTIFICATION_NOT_FOUND',
  'RECONCILIATION_NOT_FOUND',
  'ILLEGAL_TRANSITION',
  'REFUND_EXCEEDS_REFUNDABLE',
  'PAYMENT_NOT_REFUNDABLE',
  'PAYMENT_NOT_CLOSABLE',
  'REFUND_NOT_CANCELABLE',
  'VERSION_MISMATCH',
  'REFUNDABLE_MISMATCH',
  'REQUEST_ID_REUSED',
  'ORDER_EXISTS',
  'CURSOR_EXPIRED',
  'FEED_HISTORY_DIVERGED',
  'SLOW_CONSUMER',
  'OVERLOADED',
  'PLATFORM_UNREACHABLE',
  'PLATFORM_NOT_CONFIGURED',
  'PLATFORM_REJECTED',
  'STORE_UNAVAILABLE',
  'SERVER_DRAINING',
  'DEADLINE_EXCEEDED',
  'CALLER_UNKNOWN',
  'CALLER_NOT_ALLOWED',
  'NOT_IMPLEMENTED',
  'INTERNAL',
] as const;

export type ErrorReason = (typeof ERROR_REASONS)[number];

export interface FieldViolation {
  /** Path of the field in proto names, such as `amount.minor_units`. */
  readonly field: string;
  readonly description: string;
}

export interface DomainErrorDetails {
  /** Everything dynamic in the sentence, for programs. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly FieldViolation[];
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export class DomainError extends Error {
  readonly reason: ErrorReason;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
  readonly retryAfterMs: number | undefined;

  constructor(reason: ErrorReason, sentence: string, details: DomainErrorDetails = {}) {
    super(sentence, { cause: details.cause });
    this.name = 'DomainError';
    this.reason = reason;
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryAfterMs = details.retryAfterMs;
  }
}

export function fieldInvalid(...violations: readonly FieldViolation[]): DomainError {
  const sentence = violations.map((violation) => `${violation.field}: ${violation.description}`).join('; ');
  return new DomainError('FIELD_INVALID', sentence, { violations });
}

export function paymentNotFound(paymentId: string): DomainError {
  return new DomainError('PAYMENT_NOT_FOUND', `there is no payment ${paymentId}`, { metadata: { payment_id: paymentId } });
}
