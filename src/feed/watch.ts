/** What a watch is asked and what it says. */
import { fieldInvalid, type FieldViolation } from '../payment/errors.js';
import type { Payment } from '../payment/payment.js';
import type { FeedEvent } from './event.js';
import type { Feed } from './feed.js';
import { requireFilter, type FeedFilter } from './filter.js';

export interface WatchRequest {
  /** Whose streams are counted together. */
  readonly caller: string;
  readonly start: WatchStart;
  readonly filter: FeedFilter;
  /** FULL adds the payment to each event. */
  readonly view: 'KEYS' | 'STATUS' | 'FULL';
  /** 1 s to 60 s; null: 10 s. */
  readonly bookmarkIntervalMs: number | null;
  /** 1 to 1000; null: 100. */
  readonly eventsPerMessageMax: number | null;
  /** Under load events are gathered this long into one message, 0 to 1 s; null: 2 ms. A lone event never waits. */
  readonly lingerMs: number | null;
  /** Ends once every payment of the filter is settled. */
  readonly stopWhenSettled: boolean;
  /** Ends once everything that was committed before the call is delivered. */
  readonly stopAtHead: boolean;
}

export type WatchStart =
  /** Exclusive. */
  | { readonly kind: 'CURSOR'; readonly cursor: Uint8Array }
  | { readonly kind: 'NOW' | 'EARLIEST' }
  /** The current payments, then the changes. */
  | { readonly kind: 'SNAPSHOT' }
  /** The first change sequenced at or after this time. */
  | { readonly kind: 'SINCE'; readonly since: Date };

/** The cursor is good once the whole message is processed. */
export type WatchMessage = { readonly cursor: Uint8Array } & WatchBody;

export type WatchBody =
  | { readonly kind: 'created'; readonly startRevision: bigint; readonly epoch: number; readonly bookmarkIntervalMs: number }
  | { readonly kind: 'events'; readonly events: readonly FeedEvent[] }
  | Bookmark
  | { readonly kind: 'snapshot'; readonly payments: readonly Payment[] }
  | { readonly kind: 'goodbye'; readonly reason: GoodbyeReason; readonly reconnectAfterMs: number };

export interface Bookmark {
  readonly kind: 'bookmark';
  /** Everything committed before this moment has been delivered; null while the watch is far behind. */
  readonly asOf: Date | null;
  readonly headRevision: bigint;
  /** Revisions between the cursor and the head, matching or not. */
  readonly behind: bigint;
  readonly snapshotComplete: boolean;
}

export type GoodbyeReason = 'DRAINING' | 'MAX_AGE';

/**
 * The messages of a watch in the order of the feed: at least once each, gapless, resumable by any message's cursor. Refusals and
 * endings are thrown; see `Feed.watch`. Where a consumer may stall while it is not pulling, use `Feed.watch` and its `ended`.
 */
export async function* watch(feed: Feed, request: WatchRequest, signal?: AbortSignal): AsyncGenerator<WatchMessage, void, void> {
  await using watcher = await feed.watch(request, signal);
  yield* watcher;
}

/** A request with its defaults filled in; FIELD_INVALID names everything that is out of range. */
export function withDefaults(request: WatchRequest, { bookmarkIntervalMinMs }: { bookmarkIntervalMinMs: number }) {
  const filled = {
    ...request,
    bookmarkIntervalMs: request.bookmarkIntervalMs ?? 10_000,
    eventsPerMessageMax: request.eventsPerMessageMax ?? 100,
    lingerMs: request.lingerMs ?? 2,
  };
  const violations: FieldViolation[] = [];
  const within = (field: string, value: number, [min, max, unit]: readonly [number, number, string]): void => {
    if (!(value >= min && value <= max)) violations.push({ field, description: `must be ${min} to ${max}${unit}, not ${value}` });
  };
  within('bookmark_interval', filled.bookmarkIntervalMs, [bookmarkIntervalMinMs, 60_000, ' ms']);
  within('max_events_per_message', filled.eventsPerMessageMax, [1, 1_000, '']);
  within('max_linger', filled.lingerMs, [0, 1_000, ' ms']);
  if (request.stopWhenSettled && request.filter.paymentIds.length === 0) {
    violations.push({ field: 'stop_when_settled', description: 'needs filter.payment_ids' });
  }
  if (request.start.kind === 'SINCE' && Number.isNaN(request.start.since.getTime())) {
    violations.push({ field: 'since', description: 'is not a time' });
  }
  if (violations.length > 0) throw fieldInvalid(...violations);
  requireFilter(request.filter);
  return filled;
}

export type FilledRequest = ReturnType<typeof withDefaults>;
