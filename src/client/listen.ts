/**
 * The messages of one watch at one server, with a watchdog: a server sends at least a bookmark in every interval, so silence for
 * three of them means that the connection is dead, whatever TCP believes.
 */
import { status } from '@grpc/grpc-js';
import type { WatchPaymentsRequest, WatchPaymentsResponse } from '../gen/payment/v1/payment_service.js';
import { PaystateError } from './errors.js';
import type { Transport } from './transport.js';

/** Ends when the server ends the watch or the signal fires; throws a PaystateError when it breaks. */
export async function* listen(
  transport: Transport,
  request: WatchPaymentsRequest,
  { silenceMaxMs, signal }: { silenceMaxMs: number; signal: AbortSignal },
): AsyncGenerator<WatchPaymentsResponse, void, void> {
  const { generation } = transport;
  const call = transport.watch(request);
  const cancel = (): void => call.cancel();
  signal.addEventListener('abort', cancel, { once: true });

  try {
    while (!signal.aborted) {
      // The time in which the consumer is busy is not the server's silence.
      const next = await within(call.next(), silenceMaxMs);
      if (next === null) {
        transport.renew(generation);
        throw silence(silenceMaxMs);
      }
      if (next.done === true) return;
      yield next.value;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', cancel);
    call.cancel();
  }
}

/** What a promise comes to, or null when it takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => (timer = setTimeout(() => resolve(null), ms)));
  // Once it is late nobody listens any more.
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function silence(ms: number): PaystateError {
  const details = `nothing was heard for ${ms} ms; the connection is given up`;
  return new PaystateError({ code: status.UNAVAILABLE, details, method: 'payment.v1.PaymentService/WatchPayments', isMutation: false });
}
