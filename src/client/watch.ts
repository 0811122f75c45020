/**
 * A watch that does not break: wherever its server or connection is lost, it goes on at the position up to which its consumer is
 * done. The consumer is done with an item when it asks for the next one; leaving the loop, or throwing out of it, moves nothing.
 */
import type { WatchPaymentsRequest } from '../gen/payment/v1/payment_service.js';
import { Backoff, pause, type BackoffLimits } from './backoff.js';
import { isReason, isTransient, PaystateError } from './errors.js';
import { durationMs } from './input.js';
import { listen } from './listen.js';
import { SeenVersions } from './seen-versions.js';
import type { Transport } from './transport.js';
import { cursorOf, itemOf, type Cursor, type WatchItem } from './watch-item.js';
import { BOOKMARK_INTERVAL_MS, firstRequest, requestAfter, requestSnapshot, type WatchRequest } from './watch-request.js';

export interface WatchOptions {
  /** Ends the loop, without an error. */
  readonly signal?: AbortSignal | undefined;
  /** Told before each new attempt: for logs and metrics. Resumption needs nothing of it. */
  readonly onReconnect?: ((reconnect: Reconnect) => void) | undefined;
  /**
   * CURSOR_EXPIRED: the feed no longer has what comes after the cursor. `throw`, the default, or start over with a `snapshot`: its
   * consumer then sees every payment as it is, and not what happened in between.
   */
  readonly onExpired?: 'throw' | 'snapshot' | undefined;
  /**
   * FEED_HISTORY_DIVERGED: the database lost its newest changes, and this consumer has seen some of them. `throw`, the default, or
   * `resume` where both histories agree. Either way somebody should look at what was done because of the lost ones.
   */
  readonly onDiverged?: 'throw' | 'resume' | undefined;
  /** Reconnects after this long without a message; default three bookmark intervals. */
  readonly silenceMaxMs?: number | undefined;
  readonly backoff?: BackoffLimits | undefined;
  /** How many payments are remembered in order to drop what comes again; default 10,000. */
  readonly rememberedPaymentsMax?: number | undefined;
}

export interface Reconnect {
  /** What ended the watch; undefined where the server said goodbye. */
  readonly error: PaystateError | undefined;
  readonly delayMs: number;
  /** Where it goes on; undefined where it has no position yet. */
  readonly cursor: Cursor | undefined;
}

const BACKOFF: BackoffLimits = { firstMs: 100, maxMs: 5_000 };
const REMEMBERED_PAYMENTS = 10_000;

export async function* watch(
  transport: Transport,
  wish: WatchRequest,
  options: WatchOptions & { readonly signal: AbortSignal },
): AsyncGenerator<WatchItem, void, void> {
  const { signal } = options;
  const silenceMaxMs = options.silenceMaxMs ?? 3 * (wish.bookmarkIntervalMs ?? BOOKMARK_INTERVAL_MS);
  const backoff = new Backoff(options.backoff ?? BACKOFF);
  const seen = new SeenVersions(options.rememberedPaymentsMax ?? REMEMBERED_PAYMENTS);
  let request = firstRequest(wish);

  while (!signal.aborted) {
    let error: PaystateError | undefined;
    let waitMs: number | undefined;
    try {
      for await (const message of listen(transport, request, { silenceMaxMs, signal })) {
        const item = itemOf(message, seen);
        if (item !== null) yield item;
        request = requestAfter(request, cursorOf(message));

        if (message.kind?.$case === 'goodbye') waitMs = durationMs(message.kind.value.reconnectAfter);
        else if (message.kind?.$case !== 'created') backoff.reset();
      }
      if (signal.aborted || (waitMs === undefined && endsByItself(request))) return;
    } catch (failure) {
      if (!(failure instanceof PaystateError)) throw failure;
      error = failure;
      request = recovered(request, failure, options);
      if (isReason(failure, 'FEED_HISTORY_DIVERGED')) seen.forget();
    }

    const delayMs = (waitMs ?? error?.retryAfterMs ?? 0) + backoff.next();
    options.onReconnect?.({ error: waitMs === undefined ? error : undefined, delayMs, cursor: positionOf(request) });
    await pause(delayMs, signal);
  }
}

/** How to go on after a failure; throws it where that is for the consumer to decide. */
function recovered(request: WatchPaymentsRequest, error: PaystateError, { onExpired, onDiverged }: WatchOptions): WatchPaymentsRequest {
  if (isTransient(error)) return request;
  if (isReason(error, 'CURSOR_EXPIRED') && onExpired === 'snapshot') return requestSnapshot(request);
  const safe = error.metadata['safe_cursor'];
  // Versions of the lost history are given again to other changes: those must not be taken for known.
  if (isReason(error, 'FEED_HISTORY_DIVERGED') && onDiverged === 'resume' && safe !== undefined) return requestAfter(request, safe);
  throw error;
}

const endsByItself = ({ stopAtHead, stopWhenSettled }: WatchPaymentsRequest): boolean => stopAtHead || stopWhenSettled;

function positionOf({ start }: WatchPaymentsRequest): Cursor | undefined {
  return start?.$case === 'afterCursor' ? Buffer.from(start.value).toString('base64url') : undefined;
}
