/** How long each call may take, unless its caller says otherwise. The server itself ends everything but waiting after 30 seconds. */
import type { WaitForPaymentRequest } from '../gen/payment/v1/payment_service.js';

/** One call of the server to a platform. */
const PLATFORM_CALL_MS = 15_000;
const MARGIN_MS = 5_000;
const SERVER_MAX_MS = 30_000;
const WAIT_DEFAULT_MS = 30_000;

export const DEADLINE_MS = 5_000;

/** Calls that ask platforms or read much; their answers are worth waiting for, as nobody knows the outcome without them. */
const LONGER_MS: Readonly<Record<string, number>> = {
  createPayment: PLATFORM_CALL_MS + MARGIN_MS,
  createRefund: PLATFORM_CALL_MS + MARGIN_MS,
  // It asks what became of the order where the platform refuses.
  closePayment: SERVER_MAX_MS,
  verifyPayments: SERVER_MAX_MS,
  syncPayments: SERVER_MAX_MS,
  getPaymentStats: SERVER_MAX_MS,
  verifyPaymentLog: SERVER_MAX_MS,
};

/** The deadline of a method by its name in the client; `defaultMs` is what the client was created with. */
export function deadlineOf(method: string, request: object, defaultMs: number): number {
  if (method === 'waitForPayment') return waitMs(request as WaitForPaymentRequest) + MARGIN_MS;
  return Math.max(LONGER_MS[method] ?? 0, defaultMs);
}

function waitMs({ timeout }: WaitForPaymentRequest): number {
  return timeout === undefined ? WAIT_DEFAULT_MS : Number(timeout.seconds) * 1_000 + timeout.nanos / 1e6;
}
