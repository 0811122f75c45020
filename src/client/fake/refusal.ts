/** A refusal of the fake; its transport makes the error of it that a server's would be. */
import { status } from '@grpc/grpc-js';
import type { ErrorReason, FieldViolation } from '../errors.js';

/** The code that the service answers with each reason. */
export const CODE_OF_REASON: Readonly<Record<ErrorReason, status>> = {
  FIELD_INVALID: status.INVALID_ARGUMENT,
  PAYMENT_NOT_FOUND: status.NOT_FOUND,
  REFUND_NOT_FOUND: status.NOT_FOUND,
  NOTIFICATION_NOT_FOUND: status.NOT_FOUND,
  RECONCILIATION_NOT_FOUND: status.NOT_FOUND,
  ILLEGAL_TRANSITION: status.FAILED_PRECONDITION,
  REFUND_EXCEEDS_REFUNDABLE: status.FAILED_PRECONDITION,
  REFUNDABLE_MISMATCH: status.ABORTED,
  PAYMENT_NOT_REFUNDABLE: status.FAILED_PRECONDITION,
  PAYMENT_NOT_CLOSABLE: status.FAILED_PRECONDITION,
  REFUND_NOT_CANCELABLE: status.FAILED_PRECONDITION,
  VERSION_MISMATCH: status.ABORTED,
  REQUEST_ID_REUSED: status.ALREADY_EXISTS,
  ORDER_EXISTS: status.ALREADY_EXISTS,
  CURSOR_EXPIRED: status.OUT_OF_RANGE,
  FEED_HISTORY_DIVERGED: status.FAILED_PRECONDITION,
  SLOW_CONSUMER: status.RESOURCE_EXHAUSTED,
  OVERLOADED: status.RESOURCE_EXHAUSTED,
  PLATFORM_UNREACHABLE: status.UNAVAILABLE,
  PLATFORM_NOT_CONFIGURED: status.FAILED_PRECONDITION,
  PLATFORM_REJECTED: status.FAILED_PRECONDITION,
  STORE_UNAVAILABLE: status.UNAVAILABLE,
  SERVER_DRAINING: status.UNAVAILABLE,
  DEADLINE_EXCEEDED: status.DEADLINE_EXCEEDED,
  CALLER_UNKNOWN: status.UNAUTHENTICATED,
  CALLER_NOT_ALLOWED: status.PERMISSION_DENIED,
  NOT_IMPLEMENTED: status.UNIMPLEMENTED,
  INTERNAL: status.INTERNAL,
};

export class Refusal extends Error {
  readonly code: status;

  constructor(
    readonly reason: ErrorReason,
    readonly details: string,
    readonly more: {
      readonly metadata?: Readonly<Record<string, string>>;
      readonly fieldViolations?: readonly FieldViolation[];
      readonly retryAfterMs?: number;
    } = {},
  ) {
    super(details);
    this.code = CODE_OF_REASON[reason];
  }
}

export function fieldInvalid(field: string, description: string): Refusal {
  return new Refusal('FIELD_INVALID', `${field}: ${description}`, { fieldViolations: [{ field, description }] });
}
