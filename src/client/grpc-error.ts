/** A gRPC status with its google.rpc details, as the error that users see. */
import { status, type ServiceError } from '@grpc/grpc-js';
import { BadRequest, ErrorInfo, RetryInfo } from '../gen/google/rpc/error_details.js';
import { Status } from '../gen/google/rpc/status.js';
import { PaystateError, type ErrorReason } from './errors.js';

export function errorOf(error: ServiceError, call: { method: string; requestId: string; isMutation: boolean }): PaystateError {
  const details = detailsOf(error);
  const info = details.get('ErrorInfo');
  const { reason, metadata } = info === undefined ? { reason: undefined, metadata: {} } : ErrorInfo.decode(info);
  const bad = details.get('BadRequest');
  const retry = details.get('RetryInfo');
  const delay = retry === undefined ? undefined : RetryInfo.decode(retry).retryDelay;
  return new PaystateError({
    ...call,
    code: error.code,
    // `message` has the code in front of it.
    details: error.details,
    reason: (reason as ErrorReason | undefined) ?? (error.code === status.DEADLINE_EXCEEDED ? 'DEADLINE_EXCEEDED' : undefined),
    metadata,
    fieldViolations: bad === undefined ? [] : BadRequest.decode(bad).fieldViolations.map(({ field, description }) => ({ field, description })),
    retryAfterMs: delay === undefined ? undefined : Number(delay.seconds) * 1_000 + delay.nanos / 1e6,
    cause: error,
  });
}

/** The details by the name of their message; none where whoever answered is not this service. */
function detailsOf(error: ServiceError): ReadonlyMap<string, Uint8Array> {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!Buffer.isBuffer(bytes)) return new Map();
  try {
    return new Map(Status.decode(bytes).details.map(({ typeUrl, value }) => [typeUrl.slice(typeUrl.lastIndexOf('.') + 1), value]));
  } catch {
    return new Map();
  }
}
