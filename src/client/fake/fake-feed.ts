/** The feed of the fake: its events in their one order, from any cursor, and a bookmark wherever nothing more is there. */
import type { Payment } from '../../gen/payment/v1/payment.js';
import {
  WatchStart,
  WatchView,
  type PaymentEvent,
  type WatchFilter,
  type WatchPaymentsRequest,
  type WatchPaymentsResponse,
} from '../../gen/payment/v1/payment_service.js';
import { toTimestamp } from '../input.js';
import { isSettled } from '../status.js';
import type { FakeBook } from './fake-book.js';
import { fieldInvalid, Refusal } from './refusal.js';

const EVENTS_PER_MESSAGE = 100;
const CURSOR = /^fake feed (\d+)$/;

type Kind = NonNullable<WatchPaymentsResponse['kind']>;

/** Ends as the request says; the signal ends it with its reason as the error. */
export async function* watchFeed(book: FakeBook, request: WatchPaymentsRequest, signal: AbortSignal): AsyncGenerator<WatchPaymentsResponse, void, void> {
  requireWatchable(book, request);
  const { bookmarkInterval } = request;
  const headAtStart = BigInt(book.events.length);
  let revision = startOf(book, request);
  let toldRevision: bigint | null = null;
  const say = (kind: Kind): WatchPaymentsResponse => ({ cursor: Buffer.from(`fake feed ${revision}`), kind });
  const bookmark = (snapshotComplete = false): WatchPaymentsResponse => {
    toldRevision = revision;
    const headRevision = BigInt(book.events.length);
    const value = { asOfTime: toTimestamp(book.now()), headRevision, behind: headRevision - revision, snapshotComplete };
    return say({ $case: 'bookmark', value });
  };

  yield say({ $case: 'created', value: { startRevision: revision, epoch: 1, bookmarkInterval } });
  if (request.start?.$case === 'startAt' && request.start.value === WatchStart.WATCH_START_SNAPSHOT) {
    const payments = [...book.payments.values()].filter((payment) => matches(request.filter, payment, [payment.status]));
    if (payments.length > 0) yield say({ $case: 'snapshot', value: { payments } });
    yield bookmark(true);
  }

  for (;;) {
    signal.throwIfAborted();
    const { events, reached } = after(book, request, revision);
    revision = reached;
    if (events.length > 0) {
      yield say({ $case: 'events', value: { events } });
      continue;
    }
    if (request.stopAtHead && revision >= headAtStart) return yield bookmark();
    if (request.stopWhenSettled && request.filter!.paymentIds.every((id) => isSettled(book.payment(id).status))) return yield bookmark();
    if (toldRevision === revision) await book.news(signal);
    else yield bookmark();
  }
}

function requireWatchable(book: FakeBook, { stopWhenSettled, filter }: WatchPaymentsRequest): void {
  if (!stopWhenSettled) return;
  if (filter === undefined || filter.paymentIds.length === 0) throw fieldInvalid('stop_when_settled', 'needs filter.payment_ids');
  for (const id of filter.paymentIds) book.payment(id);
}

function startOf(book: FakeBook, { start }: WatchPaymentsRequest): bigint {
  const head = BigInt(book.events.length);
  switch (start?.$case) {
    case 'afterCursor': {
      const revision = CURSOR.exec(Buffer.from(start.value).toString())?.[1];
      if (revision === undefined) throw fieldInvalid('after_cursor', 'is not a cursor of this service');
      if (BigInt(revision) > head) throw new Refusal('FEED_HISTORY_DIVERGED', `revision ${revision} is not in the history`, { metadata: { epoch: '1' } });
      return BigInt(revision);
    }
    case 'since': {
      const { seconds, nanos } = start.value;
      const first = book.events.find(({ occurredTime: at }) => at!.seconds > seconds || (at!.seconds === seconds && at!.nanos >= nanos));
      return first === undefined ? head : first.revision - 1n;
    }
    default:
      return start?.value === WatchStart.WATCH_START_EARLIEST ? 0n : head;
  }
}

function after(book: FakeBook, request: WatchPaymentsRequest, revision: bigint): { events: PaymentEvent[]; reached: bigint } {
  const max = request.maxEventsPerMessage === 0 ? EVENTS_PER_MESSAGE : request.maxEventsPerMessage;
  const found = book.events
    .slice(Number(revision))
    .filter((event) => matches(request.filter, book.payment(event.paymentId), [event.status, event.previousStatus]))
    .slice(0, max);
  const reached = found.length === max ? found.at(-1)!.revision : BigInt(book.events.length);
  return { events: found.map((event) => inView(book, event, request.view)), reached };
}

function matches(filter: WatchFilter | undefined, payment: Payment, statuses: readonly number[]): boolean {
  if (filter === undefined) return true;
  const allows = <T>(values: readonly T[], value: T): boolean => values.length === 0 || values.includes(value);
  return (
    allows(filter.paymentIds, payment.paymentId) &&
    allows(filter.orderIds, payment.orderId) &&
    allows(filter.userIds, payment.userId) &&
    allows(filter.appIds, payment.appId) &&
    allows(filter.platforms, payment.platform) &&
    (filter.statuses.length === 0 || filter.statuses.some((status) => statuses.includes(status)))
  );
}

function inView(book: FakeBook, event: PaymentEvent, view: WatchView): PaymentEvent {
  if (view === WatchView.WATCH_VIEW_FULL) return { ...event, payment: book.payment(event.paymentId) };
  if (view === WatchView.WATCH_VIEW_KEYS) return { ...event, status: 0, previousStatus: 0, occurredTime: undefined };
  return event;
}
