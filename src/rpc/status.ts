/** Domain errors as gRPC statuses: one total table, google.rpc.Status details, nothing of the cause beyond a sentence. */
import * as grpc from '@grpc/grpc-js';
import { BadRequest, ErrorInfo, PreconditionFailure, RetryInfo } from '../gen/google/rpc/error_details.js';
import { Status } from '../gen/google/rpc/status.js';
import { DomainError, type ErrorReason } from '../payment/errors.js';
import { storeFailure, storeUnavailable } from '../store/store-failure.js';

export const ERROR_DOMAIN = 'payment.v1';

export const STATUS_OF_REASON: Record<ErrorReason, grpc.status> = {
  FIELD_INVALID: grpc.status.INVALID_ARGUMENT,
  PAYMENT_NOT_FOUND: grpc.status.NOT_FOUND,
  REFUND_NOT_FOUND: grpc.status.NOT_FOUND,
  NOTIFICATION_NOT_FOUND: grpc.status.NOT_FOUND,
  RECONCILIATION_NOT_FOUND: grpc.status.NOT_FOUND,
  ILLEGAL_TRANSITION: grpc.status.FAILED_PRECONDITION,
  REFUND_EXCEEDS_REFUNDABLE: grpc.status.FAILED_PRECONDITION,
  REFUNDABLE_MISMATCH: grpc.status.ABORTED,
  PAYMENT_NOT_REFUNDABLE: grpc.status.FAILED_PRECONDITION,
  PAYMENT_NOT_CLOSABLE: grpc.status.FAILED_PRECONDITION,
  REFUND_NOT_CANCELABLE: grpc.status.FAILED_PRECONDITION,
  VERSION_MISMATCH: grpc.status.ABORTED,
  REQUEST_ID_REUSED: grpc.status.ALREADY_EXISTS,
  ORDER_EXISTS: grpc.status.ALREADY_EXISTS,
  CURSOR_EXPIRED: grpc.status.OUT_OF_RANGE,
  FEED_HISTORY_DIVERGED: grpc.status.FAILED_PRECONDITION,
  SLOW_CONSUMER: grpc.status.RESOURCE_EXHAUSTED,
  OVERLOADED: grpc.status.RESOURCE_EXHAUSTED,
  PLATFORM_UNREACHABLE: grpc.status.UNAVAILABLE,
  PLATFORM_NOT_CONFIGURED: grpc.status.FAILED_PRECONDITION,
  PLATFORM_REJECTED: grpc.status.FAILED_PRECONDITION,
  STORE_UNAVAILABLE: grpc.status.UNAVAILABLE,
  SERVER_DRAINING: grpc.status.UNAVAILABLE,
  DEADLINE_EXCEEDED: grpc.status.DEADLINE_EXCEEDED,
  CALLER_UNKNOWN: grpc.status.UNAUTHENTICATED,
  CALLER_NOT_ALLOWED: grpc.status.PERMISSION_DENIED,
  NOT_IMPLEMENTED: grpc.status.UNIMPLEMENTED,
  INTERNAL: grpc.status.INTERNAL,
};

/** Refusals whose precondition is named for programs. */
const PRECONDITION_TYPE: Partial<Record<ErrorReason, string>> = {
  ILLEGAL_TRANSITION: 'STATUS',
  PAYMENT_NOT_REFUNDABLE: 'STATUS',
  PAYMENT_NOT_CLOSABLE: 'STATUS',
  REFUND_NOT_CANCELABLE: 'STATUS',
  REFUND_EXCEEDS_REFUNDABLE: 'REFUNDABLE',
};

const SENTENCE_MAX = 512;
const DESCRIPTION_MAX = 120;
const VIOLATIONS_MAX = 20;
const METADATA_VALUE_MAX = 256;
/** C-core clients turn larger trailers into another error. */
const DETAILS_MAX_BYTES = 4_096;

export interface RpcError {
  readonly code: grpc.status;
  readonly details: string;
  readonly metadata: grpc.Metadata;
}

/** What may be said of whatever was thrown. Anything but a refusal or an absent database is INTERNAL, with the request id only. */
export function domainErrorOf(error: unknown, requestId: string): DomainError {
  if (error instanceof DomainError) return error;
  const failure = storeFailure(error);
  if (failure === 'UNAVAILABLE' || failure === 'LOCKED' || failure === 'CONFLICT') return storeUnavailable(error);
  return new DomainError('INTERNAL', `internal error; request id ${requestId}`, { metadata: { request_id: requestId }, cause: error });
}

/** Whatever was thrown, as what a caller sees. */
export function rpcError(error: unknown, requestId: string): RpcError {
  const domainError = domainErrorOf(error, requestId);
  const code = STATUS_OF_REASON[domainError.reason];
  const message = clean(domainError.message, SENTENCE_MAX);
  const metadata = new grpc.Metadata();
  metadata.set('grpc-status-details-bin', encodeDetails(domainError, code, message));
  if (domainError.retryAfterMs !== undefined) metadata.set('grpc-retry-pushback-ms', `${domainError.retryAfterMs}`);
  return { code, details: message, metadata };
}

function encodeDetails(error: DomainError, code: grpc.status, message: string): Buffer {
  // Descriptions are cut before violations are dropped; dropping starts at the end.
  for (let violations = VIOLATIONS_MAX; ; violations = Math.floor(violations / 2)) {
    const encoded = Status.encode({ code, message, details: detailsOf(error, violations) }).finish();
    if (encoded.length <= DETAILS_MAX_BYTES || violations === 0) return Buffer.from(encoded);
  }
}

function detailsOf(error: DomainError, violationsMax: number) {
  const metadata = Object.fromEntries(Object.entries(error.metadata).map(([key, value]) => [key, clean(value, METADATA_VALUE_MAX)]));
  const details = [packed('ErrorInfo', ErrorInfo.encode({ reason: error.reason, domain: ERROR_DOMAIN, metadata }).finish())];

  if (error.violations.length > 0) {
    const fieldViolations = error.violations.slice(0, violationsMax).map((violation) => ({
      ...BadRequest.fromPartial({ fieldViolations: [{}] }).fieldViolations[0]!,
      field: clean(violation.field, DESCRIPTION_MAX),
      description: clean(violation.description, DESCRIPTION_MAX),
    }));
    details.push(packed('BadRequest', BadRequest.encode({ fieldViolations }).finish()));
  }
  const type = PRECONDITION_TYPE[error.reason];
  if (type !== undefined) {
    const subject = error.metadata['payment_id'] ?? error.metadata['refund_id'] ?? '';
    const violations = [{ type, subject, description: clean(error.message, DESCRIPTION_MAX) }];
    details.push(packed('PreconditionFailure', PreconditionFailure.encode({ violations }).finish()));
  }
  if (error.retryAfterMs !== undefined) {
    const retryDelay = {
      seconds: BigInt(Math.floor(error.retryAfterMs / 1_000)),
      nanos: Math.round((error.retryAfterMs % 1_000) * 1e6),
    };
    details.push(packed('RetryInfo', RetryInfo.encode({ retryDelay }).finish()));
  }
  return details;
}

const packed = (name: string, value: Uint8Array) => ({
  typeUrl: `type.googleapis.com/google.rpc.${name}`,
  value: Buffer.from(value),
});

/** grpc-js dies of a lone surrogate in a status message, and control characters have no place in one. */
function clean(text: string, lengthMax: number): string {
   
  return text.slice(0, lengthMax).toWellFormed().replace(/[\u0000-\u001f\u007f]/g, ' ');
}
