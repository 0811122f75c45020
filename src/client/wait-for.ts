/** Waiting for a payment over as many calls as it takes, so that no restart of a server and no broken connection ends it. */
import { status } from '@grpc/grpc-js';
import type { Payment, PaymentStatus } from '../gen/payment/v1/payment.js';
import type { PaymentServiceService } from '../gen/payment/v1/payment_service.js';
import { Backoff, pause } from './backoff.js';
import { isTransient, PaystateError } from './errors.js';
import { toDuration } from './input.js';
import type { Transport } from './transport.js';
import type { UnaryApi } from './unary.js';

export interface WaitOptions {
  /** Any of these; default any settled status. */
  readonly until?: readonly PaymentStatus[] | undefined;
  /** Default one minute. */
  readonly timeoutMs?: number | undefined;
  /** Ends the waiting, which rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The time is over and the payment is not there yet. */
export class WaitTimeout extends Error {
  override readonly name = 'WaitTimeout';

  constructor(
    readonly paymentId: string,
    readonly timeoutMs: number,
    /** As it was last seen; undefined where no server could be reached at all, for which `cause` is the reason. */
    readonly payment: Payment | undefined,
    cause?: unknown,
  ) {
    super(`payment ${paymentId} is not there after ${timeoutMs} ms`, { cause });
  }
}

const TIMEOUT_MS = 60_000;
/** A wait at one server; short, so that a dead connection is noticed by an answer that does not come. */
const SLICE_MS = 20_000;
const ANSWER_MARGIN_MS = 5_000;
const BACKOFF = { firstMs: 100, maxMs: 2_000 };

export async function waitFor(
  via: { transport: Transport; payments: Pick<UnaryApi<PaymentServiceService>, 'waitForPayment'> },
  paymentId: string,
  { until = [], timeoutMs = TIMEOUT_MS, signal }: WaitOptions,
): Promise<Payment> {
  const endsAt = performance.now() + timeoutMs;
  const leftMs = (): number => Math.max(0, endsAt - performance.now());
  const backoff = new Backoff(BACKOFF);
  let seen: Payment | undefined;
  let trouble: PaystateError | undefined;

  do {
    const { generation } = via.transport;
    const sliceMs = Math.min(leftMs(), SLICE_MS);
    try {
      const request = { paymentId, statuses: until, timeout: toDuration(sliceMs) };
      const { payment, reached } = await via.payments.waitForPayment(request, { signal, deadlineMs: sliceMs + ANSWER_MARGIN_MS });
      if (reached) return payment!;
      seen = payment;
      backoff.reset();
    } catch (error) {
      if (!(error instanceof PaystateError) || !isTransient(error)) throw error;
      trouble = error;
      if (error.code === status.DEADLINE_EXCEEDED) via.transport.renew(generation);
      await pause(Math.min(leftMs(), (error.retryAfterMs ?? 0) + backoff.next()), signal);
      signal?.throwIfAborted();
    }
  } while (leftMs() > 0);
  throw new WaitTimeout(paymentId, timeoutMs, seen, trouble);
}
