/** What carries the calls of a client: gRPC, or the fake. Everything that users see is built on this and the same over both. */
import type { WatchPaymentsRequest, WatchPaymentsResponse } from '../gen/payment/v1/payment_service.js';

/** A unary method of a generated service definition. */
export interface UnaryMethod<Request = never, Response = unknown> {
  /** Such as /payment.v1.PaymentService/CreateRefund. */
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: false;
  requestSerialize(request: Request): Buffer;
  requestDeserialize(bytes: Buffer): Request;
  responseSerialize(response: Response): Buffer;
  responseDeserialize(bytes: Buffer): Response;
}

export interface CallTerms {
  readonly deadlineMs: number;
  /** The request_id of a mutation; else an id of the call for the server's log. */
  readonly requestId: string;
  readonly isMutation: boolean;
  readonly signal: AbortSignal | undefined;
}

/** One watch at one server, until it ends or breaks. */
export interface WatchCall {
  next(): Promise<IteratorResult<WatchPaymentsResponse, unknown>>;
  /** Also with a `next` under way, which then rejects. */
  cancel(): void;
}

export interface Transport {
  /** Rejects with a PaystateError, or with the signal's own reason when it fired. */
  unary<Request, Response>(method: UnaryMethod<Request, Response>, request: Request, terms: CallTerms): Promise<Response>;
  watch(request: WatchPaymentsRequest): WatchCall;
  /** Counts the connections that were given up. */
  readonly generation: number;
  /** Gives the connection of a generation up, because it swallows everything; calls from now on take a new one. */
  renew(generation: number): void;
  close(): void;
}
