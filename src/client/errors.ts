/** What calls fail with. */
import { status } from '@grpc/grpc-js';
import type { ErrorReason as ErrorReasonCode } from '../gen/payment/v1/error_reason.js';

/** The reasons of the contract by name; payment.v1.ErrorReason says what each means and what its metadata holds. */
export type ErrorReason = Exclude<ReasonNamed<keyof typeof ErrorReasonCode>, 'UNSPECIFIED'>;
type ReasonNamed<Name> = Name extends `ERROR_REASON_${infer Reason}` ? Reason : never;

export interface FieldViolation {
  /** Path of the field in proto names, such as `amount.minor_units`. */
  readonly field: string;
  readonly description: string;
}

export interface PaystateErrorFields {
  readonly code: status;
  /** A sentence for people. */
  readonly details: string;
  readonly method: string;
  readonly isMutation: boolean;
  readonly reason?: ErrorReason | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly fieldViolations?: readonly FieldViolation[] | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly requestId?: string | undefined;
  readonly cause?: unknown;
}

export class PaystateError extends Error {
  override readonly name = 'PaystateError';
  /** gRPC's status code. */
  readonly code: status;
  /** Why, by the contract; undefined where no server answered. A newer server may know more reasons than this type. */
  readonly reason: ErrorReason | undefined;
  /** The sentence without the reason that `message` has in front. */
  readonly details: string;
  /** Everything dynamic in the sentence; which keys there are depends on the reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every wrong field of a FIELD_INVALID. */
  readonly fieldViolations: readonly FieldViolation[];
  /** When the server wants to be asked again, if it said so. */
  readonly retryAfterMs: number | undefined;
  /** The request_id of the message where it has one, also when the client filled it in; else the id of the call in the server's log. */
  readonly requestId: string | undefined;
  /** Such as payment.v1.PaymentService/CreateRefund. */
  readonly method: string;
  /**
   * True where an act may or may not have been carried out. Repeat the same request with `requestId` as its requestId: it is done
   * once, however often it is asked for.
   */
  readonly isOutcomeUnknown: boolean;

  constructor(fields: PaystateErrorFields) {
    super(`${fields.reason ?? status[fields.code]}: ${fields.details}`, { cause: fields.cause });
    this.code = fields.code;
    this.reason = fields.reason;
    this.details = fields.details;
    this.metadata = fields.metadata ?? {};
    this.fieldViolations = fields.fieldViolations ?? [];
    this.retryAfterMs = fields.retryAfterMs;
    this.requestId = fields.requestId;
    this.method = fields.method;
    this.isOutcomeUnknown = fields.isMutation && OUTCOME_UNKNOWN.has(fields.code);
  }
}

const OUTCOME_UNKNOWN: ReadonlySet<status> = new Set([
  status.CANCELLED,
  status.UNKNOWN,
  status.DEADLINE_EXCEEDED,
  status.INTERNAL,
  status.UNAVAILABLE,
]);

/** Whether something thrown is a refusal for one of these reasons. */
export function isReason<Reason extends ErrorReason>(
  error: unknown,
  ...reasons: readonly Reason[]
): error is PaystateError & { readonly reason: Reason } {
  return error instanceof PaystateError && (reasons as readonly (string | undefined)[]).includes(error.reason);
}

/**
 * Whether it is worth asking again about the same thing: the server is away, overloaded or took the call back, or the way to it
 * broke. A bug of the server, a refusal and a message that is too large stay what they are.
 */
export function isTransient({ code, reason, details }: PaystateError): boolean {
  switch (code) {
    case status.UNAVAILABLE:
    case status.CANCELLED:
    case status.DEADLINE_EXCEEDED:
      return true;
    case status.RESOURCE_EXHAUSTED:
      return !details.includes('larger than max');
    case status.INTERNAL:
    case status.UNKNOWN:
      return reason === undefined && /RST_STREAM|ECONNRESET|ETIMEDOUT/.test(details);
    default:
      return false;
  }
}
