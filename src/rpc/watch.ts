/** The status feed and the long poll on it, as messages of the contract. */
import { z } from 'zod';
import * as rpc from '../gen/payment/v1/payment_service.js';
import type { FeedEvent } from '../feed/event.js';
import type { Feed } from '../feed/feed.js';
import { EVERYTHING } from '../feed/filter.js';
import { nextSyncOf } from '../payment/get-payment.js';
import { waitForPayment } from '../feed/wait-for-payment.js';
import type { WatchMessage, WatchRequest, WatchStart } from '../feed/watch.js';
import type { Watcher } from '../feed/watcher.js';
import { decodeWaitForPayment } from './decode.js';
import { encodeDuration, encodePayment, encodeTime, codeOf, paymentStatusCode } from './encode.js';
import * as field from './fields.js';
import { decode } from './fields.js';
import { Encoded, type Call, type Source } from './serve.js';

export interface WatchDeps {
  readonly feed: Feed;
}

export function watchHandlers({ feed }: WatchDeps) {
  const unary = {
    waitForPayment: async (request: rpc.WaitForPaymentRequest, call: Call): Promise<rpc.WaitForPaymentResponse> => {
      const { payment, reached } = await waitForPayment(feed, { ...decodeWaitForPayment(request), caller: call.actor.id }, call.signal);
      return { payment: encodePayment(payment, await nextSyncOf({ orm: feed.orm }, payment)), reached };
    },
  };
  const streams = {
    watchPayments: async (request: rpc.WatchPaymentsRequest, call: Call): Promise<Source<rpc.WatchPaymentsResponse>> => {
      const decoded = decodeWatchPayments(request, call);
      return new WatchSource(await feed.watch(decoded), ENCODE[decoded.view]);
    },
  };
  return { unary, streams };
}

const SECOND = 1_000;
const filter = z.object({
  paymentIds: z.array(field.uuid).max(1_000, 'at most 1000'),
  orderIds: z.array(field.requiredId).max(100, 'at most 100'),
  userIds: z.array(field.requiredId).max(100, 'at most 100'),
  appIds: z.array(field.requiredId).max(100, 'at most 100'),
  platforms: z.array(field.platform).max(3, 'at most 3'),
  statuses: z.array(field.paymentStatus).max(10, 'at most 10'),
  settledOnly: z.boolean(),
});
const VIEWS = ['STATUS', 'KEYS', 'STATUS', 'FULL'] as const;
const STARTS = ['NOW', 'NOW', 'EARLIEST', 'SNAPSHOT'] as const;
const watchPayments = z.object({
  afterCursor: z.instanceof(Uint8Array).refine((bytes) => bytes.length <= 512, 'is not a cursor').optional(),
  startAt: z.number().min(0).max(STARTS.length - 1, 'is not a known value').optional(),
  since: field.time.optional(),
  filter: filter.optional(),
  bookmarkInterval: field.duration({ minMs: SECOND, maxMs: 60 * SECOND }),
  maxEventsPerMessage: z.number().max(1_000, 'must be at most 1000'),
  maxLinger: field.duration({ minMs: 0, maxMs: SECOND }),
  stopWhenSettled: z.boolean(),
  stopAtHead: z.boolean(),
  view: z.number().min(0).max(VIEWS.length - 1, 'is not a known value'),
});

function decodeWatchPayments(request: rpc.WatchPaymentsRequest, call: Call): WatchRequest {
  const decoded = decode(watchPayments, request);
  return {
    caller: call.actor.id,
    start: startOf(decoded),
    filter: decoded.filter ?? EVERYTHING,
    view: VIEWS[decoded.view]!,
    bookmarkIntervalMs: decoded.bookmarkInterval,
    eventsPerMessageMax: decoded.maxEventsPerMessage === 0 ? null : decoded.maxEventsPerMessage,
    lingerMs: decoded.maxLinger,
    stopWhenSettled: decoded.stopWhenSettled,
    stopAtHead: decoded.stopAtHead,
  };
}

function startOf(decoded: z.infer<typeof watchPayments>): WatchStart {
  if (decoded.afterCursor !== undefined) return { kind: 'CURSOR', cursor: decoded.afterCursor };
  if (decoded.since !== undefined) return { kind: 'SINCE', since: decoded.since };
  return { kind: STARTS[decoded.startAt ?? 0]! };
}

class WatchSource implements Source<rpc.WatchPaymentsResponse> {
  constructor(
    private readonly watcher: Watcher,
    private readonly encode: (typeof ENCODE)[WatchRequest['view']],
  ) {}

  get ended(): AbortSignal {
    return this.watcher.ended;
  }

  next(): Promise<rpc.WatchPaymentsResponse | Encoded | null> {
    return this.watcher.next().then(this.encode);
  }

  return(): void {
    void this.watcher.return();
  }
}

/** Watches of one group get the very same messages, which are encoded once. */
const encodings = new WeakMap<WatchMessage, Encoded>();

const encodeIn =
  (view: WatchRequest['view']) =>
  ({ value }: IteratorResult<WatchMessage, undefined>): rpc.WatchPaymentsResponse | Encoded | null =>
    value === undefined ? null : shared(value, view);

/** One function for all watches of a view. */
const ENCODE = { KEYS: encodeIn('KEYS'), STATUS: encodeIn('STATUS'), FULL: encodeIn('FULL') };

function shared(message: WatchMessage, view: WatchRequest['view']): rpc.WatchPaymentsResponse | Encoded {
  if (message.kind !== 'events') return encodeMessage(message, view);
  let encoded = encodings.get(message);
  if (encoded === undefined) {
    encoded = new Encoded(Buffer.from(rpc.WatchPaymentsResponse.encode(encodeMessage(message, view)).finish()));
    encodings.set(message, encoded);
  }
  return encoded;
}

function encodeMessage(message: WatchMessage, view: WatchRequest['view']): rpc.WatchPaymentsResponse {
  return { cursor: Buffer.from(message.cursor), kind: encodeKind(message, view) };
}

function encodeKind(message: WatchMessage, view: WatchRequest['view']): NonNullable<rpc.WatchPaymentsResponse['kind']> {
  switch (message.kind) {
    case 'created': {
      const { startRevision, epoch, bookmarkIntervalMs } = message;
      return { $case: 'created', value: { startRevision, epoch, bookmarkInterval: encodeDuration(bookmarkIntervalMs) } };
    }
    case 'events':
      return { $case: 'events', value: { events: message.events.map((event) => encodeEvent(event, view)) } };
    case 'bookmark': {
      const { asOf, headRevision, behind, snapshotComplete } = message;
      return { $case: 'bookmark', value: { asOfTime: encodeTime(asOf), headRevision, behind, snapshotComplete } };
    }
    case 'snapshot':
      return { $case: 'snapshot', value: { payments: message.payments.map((payment) => encodePayment(payment)) } };
    case 'goodbye': {
      const reason = codeOf(rpc.GoodbyeReason, 'GOODBYE_REASON_', message.reason);
      return { $case: 'goodbye', value: { reason, reconnectAfter: encodeDuration(message.reconnectAfterMs) } };
    }
  }
}

function encodeEvent(event: FeedEvent, view: WatchRequest['view']): rpc.PaymentEvent {
  const keys = view === 'KEYS';
  return {
    eventId: event.eventId,
    revision: event.revision,
    shard: event.shard,
    epoch: event.epoch,
    paymentId: event.paymentId,
    version: event.version,
    previousStatus: keys ? 0 : paymentStatusCode(event.previousStatus),
    status: keys ? 0 : paymentStatusCode(event.status),
    occurredTime: keys ? undefined : encodeTime(event.occurredAt),
    payment: event.payment === undefined ? undefined : encodePayment(event.payment),
  };
}
