/** What to watch, as users write it, and what is asked of the server for it. */
import { WatchPaymentsRequest, WatchStart } from '../gen/payment/v1/payment_service.js';
import { messageOf, toDuration, type Input } from './input.js';
import type { Cursor } from './watch-item.js';

export interface WatchRequest extends Omit<Input<WatchPaymentsRequest>, 'start' | 'bookmarkInterval' | 'maxLinger'> {
  /** Goes on behind this cursor; null or undefined, as on the very first run, starts at `from`. */
  readonly after?: Cursor | null | undefined;
  /** NOW (the default), the EARLIEST change that is kept, a SNAPSHOT of all payments and then the changes, or a moment. */
  readonly from?: 'NOW' | 'EARLIEST' | 'SNAPSHOT' | Date | undefined;
  /** 1 to 60 s, default 10 s. */
  readonly bookmarkIntervalMs?: number | undefined;
  /** How long events may be gathered into one item: 0 to 1 s, default 2 ms. */
  readonly maxLingerMs?: number | undefined;
}

export const BOOKMARK_INTERVAL_MS = 10_000;

export function firstRequest({ after, from, bookmarkIntervalMs, maxLingerMs, ...rest }: WatchRequest): WatchPaymentsRequest {
  const request = messageOf<WatchPaymentsRequest>(WatchPaymentsRequest, {
    ...rest,
    bookmarkInterval: toDuration(bookmarkIntervalMs ?? BOOKMARK_INTERVAL_MS),
    maxLinger: maxLingerMs === undefined ? undefined : toDuration(maxLingerMs),
    start: from instanceof Date ? { $case: 'since', value: from } : { $case: 'startAt', value: START[from ?? 'NOW'] },
  });
  return after === undefined || after === null ? request : requestAfter(request, after);
}

/** The same watch, going on behind a cursor. */
export function requestAfter(request: WatchPaymentsRequest, cursor: Cursor): WatchPaymentsRequest {
  return { ...request, start: { $case: 'afterCursor', value: Buffer.from(cursor, 'base64url') } };
}

/** The same watch, starting over with everything as it is. */
export function requestSnapshot(request: WatchPaymentsRequest): WatchPaymentsRequest {
  return { ...request, start: { $case: 'startAt', value: WatchStart.WATCH_START_SNAPSHOT } };
}

const START = {
  NOW: WatchStart.WATCH_START_NOW,
  EARLIEST: WatchStart.WATCH_START_EARLIEST,
  SNAPSHOT: WatchStart.WATCH_START_SNAPSHOT,
} as const;
