/** Calls that are answered in memory. Messages pass through the codecs, so that nobody shares an object with the book. */
import { status } from '@grpc/grpc-js';
import {
  PaymentServiceService,
  type WaitForPaymentRequest,
  type WaitForPaymentResponse,
  type WatchPaymentsRequest,
} from '../../gen/payment/v1/payment_service.js';
import { PaystateError, type ErrorReason, type FieldViolation } from '../errors.js';
import { durationMs } from '../input.js';
import { isSettled } from '../status.js';
import type { CallTerms, Transport, UnaryMethod, WatchCall } from '../transport.js';
import type { FakeBook } from './fake-book.js';
import { watchFeed } from './fake-feed.js';
import { closePayment, createPayment, getPayment, listPayments, updatePaymentStatus } from './fake-payments.js';
import { cancelRefund, createRefund, listRefunds, type RefundPace } from './fake-refunds.js';
import { Refusal } from './refusal.js';

export interface Failure {
  readonly reason: ErrorReason;
  readonly details?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fieldViolations?: readonly FieldViolation[];
  readonly retryAfterMs?: number;
  /** The act is carried out and only its answer is lost. */
  readonly afterwards?: boolean;
}

type Answer = (request: never, terms: CallTerms) => object | Promise<object>;

export class FakeTransport implements Transport {
  readonly generation = 0;
  private readonly failures = new Map<string, Failure[]>();
  private readonly watches = new Set<AbortController>();
  private readonly answers: Readonly<Record<string, Answer>>;

  constructor(
    private readonly book: FakeBook,
    pace: RefundPace,
  ) {
    const bound = <Request, Response extends object>(handler: (book: FakeBook, request: Request) => Response): Answer => (request) => handler(book, request);
    this.answers = {
      CreatePayment: bound(createPayment),
      GetPayment: bound(getPayment),
      ListPayments: bound(listPayments),
      UpdatePaymentStatus: bound(updatePaymentStatus),
      ClosePayment: bound(closePayment),
      CreateRefund: (request) => createRefund(book, request, pace),
      GetRefund: (request: { refundId: string }) => ({ refund: book.refund(request.refundId) }),
      ListRefunds: bound(listRefunds),
      CancelRefund: bound(cancelRefund),
      WaitForPayment: (request, terms) => this.waitForPayment(request, terms),
    };
  }

  /** Later calls of the method fail in this order, one failure a call. */
  fail(method: string, failure: Failure): void {
    this.failures.set(method, [...(this.failures.get(method) ?? []), failure]);
  }

  async unary<Request, Response>(method: UnaryMethod<Request, Response>, request: Request, terms: CallTerms): Promise<Response> {
    const name = method.path.slice(method.path.lastIndexOf('/') + 1);
    // As over a network, nothing is answered in the same turn.
    await Promise.resolve();
    terms.signal?.throwIfAborted();
    try {
      const failure = this.nextFailure(name);
      if (failure !== undefined && failure.afterwards !== true) throw refusalOf(failure);
      const answer = this.answers[name];
      if (answer === undefined) throw new Refusal('NOT_IMPLEMENTED', `${name} is not part of the fake`);
      const response = await answer(method.requestDeserialize(method.requestSerialize(request)) as never, terms);
      if (failure !== undefined) throw refusalOf(failure);
      return method.responseDeserialize(method.responseSerialize(response as Response));
    } catch (error) {
      throw errorOf(error, method.path, terms);
    }
  }

  watch(request: WatchPaymentsRequest): WatchCall {
    const { path, responseSerialize, responseDeserialize } = PaymentServiceService.watchPayments;
    const end = new AbortController();
    this.watches.add(end);
    const terms = { requestId: '', isMutation: false };
    const failure = this.nextFailure('WatchPayments');
    const messages = watchFeed(this.book, request, end.signal);
    return {
      next: async () => {
        try {
          if (failure !== undefined) throw refusalOf(failure);
          const next = await messages.next();
          return next.done === true ? next : { done: false, value: responseDeserialize(responseSerialize(next.value)) };
        } catch (error) {
          throw errorOf(error, path, terms);
        }
      },
      cancel: () => {
        this.watches.delete(end);
        end.abort(lost(path, status.CANCELLED, 'Cancelled on client'));
      },
    };
  }

  cutWatches(): void {
    for (const end of this.watches) end.abort(lost(PaymentServiceService.watchPayments.path, status.UNAVAILABLE, 'Connection dropped'));
    this.watches.clear();
  }

  renew(): void {
    // There is no connection.
  }

  close(): void {
    this.cutWatches();
  }

  private nextFailure(name: string): Failure | undefined {
    return this.failures.get(name)?.shift();
  }

  private async waitForPayment({ paymentId, statuses, afterVersion, timeout }: WaitForPaymentRequest, { signal }: CallTerms): Promise<WaitForPaymentResponse> {
    const isReached = (): boolean => {
      const payment = this.book.payment(paymentId);
      if (afterVersion !== undefined && payment.version > afterVersion) return true;
      return statuses.length === 0 ? isSettled(payment.status) : statuses.includes(payment.status);
    };
    const end = new AbortController();
    const stop = (): void => end.abort();
    const timer = setTimeout(stop, durationMs(timeout) ?? 30_000);
    signal?.addEventListener('abort', stop, { once: true });
    try {
      while (!isReached() && !end.signal.aborted) await this.book.news(end.signal);
      signal?.throwIfAborted();
      return { payment: this.book.payment(paymentId), reached: isReached() };
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }
}

const refusalOf = ({ reason, details, ...more }: Failure): Refusal => new Refusal(reason, details ?? `the test wants ${reason}`, more);

const lost = (path: string, code: status, details: string): PaystateError => new PaystateError({ code, details, method: path.slice(1), isMutation: false });

function errorOf(error: unknown, path: string, { requestId, isMutation }: { requestId: string; isMutation: boolean }): unknown {
  if (!(error instanceof Refusal)) return error;
  const { code, reason, details, more } = error;
  return new PaystateError({ code, reason, details, ...more, method: path.slice(1), requestId, isMutation, cause: error });
}
