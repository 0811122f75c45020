import { watch, type WatchMessage } from '../../src/feed/watch.js';
import { EVERYTHING, predicateOf } from '../../src/feed/filter.js';
import { PAYMENT_STATUSES } from '../../src/payment/payment-status.js';
import type { Payment } from '../../src/payment/payment.js';
import { until } from '../support/until.js';
import { after, commitMany, create, eventsOf, idsOf, only, openBench, pull, read, refusal, report, wish, type Bench, type Wish } from './bench.js';

async function paid(bench: Bench, count: number): Promise<Payment[]> {
  const payments = await Promise.all(Array.from({ length: count }, () => create(bench.deps)));
  return await Promise.all(payments.map((payment) => report(bench.deps, payment, 'SUCCEEDED')));
}

test.each([1, 3, 1_000])('whoever resumes after any message gets exactly the rest: %i events a message', async (eventsPerMessageMax) => {
  await using bench = await openBench();
  await paid(bench, 12);
  const all = await read(bench.feed, { eventsPerMessageMax });
  const events = eventsOf(all);
  expect(events).toHaveLength(24);
  expect(Math.max(...only(all, 'events').map((message) => message.events.length))).toBe(Math.min(24, eventsPerMessageMax));

  // Another replica serves the rest from the database, this one from memory.
  const other = await bench.anotherFeed();
  for (const [index, message] of all.entries()) {
    const rest = eventsOf(all.slice(index + 1));
    for (const feed of [bench.feed, other]) expect(eventsOf(await read(feed, { start: after(message), eventsPerMessageMax: 5 }))).toEqual(rest);
  }
});

test('a watch that falls behind the ring goes on from the database', async () => {
  await using bench = await openBench({ ringEventsMax: 10 });
  const behind = await bench.feed.watch(wish({ eventsPerMessageMax: 7 }));
  await pull(behind, 'created');
  await paid(bench, 60);

  const events: string[] = [];
  while (events.length < 120) events.push(...idsOf([await pull(behind, 'events')]));
  expect(events).toEqual(idsOf(await read(bench.feed)));
});

test('a watch from now on sees nothing from before and everything after', async () => {
  await using bench = await openBench();
  const before = await create(bench.deps);
  const live = await bench.feed.watch(wish({ start: { kind: 'NOW' } }));
  expect(await pull(live, 'created')).toMatchObject({ startRevision: 1n, epoch: 1, bookmarkIntervalMs: 10_000 });

  await report(bench.deps, before, 'SUCCEEDED');
  expect(idsOf([await pull(live, 'events')])).toEqual([`${before.id}:2`]);
});

test('a watch since a time starts with the first change that was sequenced then', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  await read(bench.feed);
  const [{ at }] = (await bench.sql<{ at: Date }>(`select now() as at`)) as [{ at: Date }];
  await bench.sql(`update feed set sequenced_at = $1::timestamptz - interval '1 hour'`, [at]);
  await report(bench.deps, payment, 'SUCCEEDED');

  const since = (time: Date): Wish => ({ start: { kind: 'SINCE', since: time } });
  expect(idsOf(await read(bench.feed, since(new Date(at.getTime() - 60_000))))).toEqual([`${payment.id}:2`]);
  expect(idsOf(await read(bench.feed, since(new Date(0))))).toHaveLength(2);
  expect(idsOf(await read(bench.feed, since(new Date(at.getTime() + 3600_000))))).toEqual([]);
});

test('a filter chooses by payment, order, user, app, platform and by the new or the previous status', async () => {
  await using bench = await openBench();
  const tea = await create(bench.deps, { appId: 'tea', orderId: 'order-a', userId: 'ann' });
  const coffee = await create(bench.deps, { appId: 'coffee', orderId: 'order-b', userId: 'bob' });
  for (const payment of [tea, coffee]) await report(bench.deps, payment, 'PROCESSING');
  await report(bench.deps, tea, 'SUCCEEDED');

  const ids = async (filter: Wish['filter']) => idsOf(await read(bench.feed, { filter: filter! }));
  const [teas, coffees] = [[1, 2, 3].map((version) => `${tea.id}:${version}`), [1, 2].map((version) => `${coffee.id}:${version}`)];
  expect(await ids({ paymentIds: [tea.id] })).toEqual(teas);
  expect(await ids({ orderIds: ['order-a', 'order-z'] })).toEqual(teas);
  expect(await ids({ userIds: ['bob'] })).toEqual(coffees);
  expect(await ids({ appIds: ['coffee'], userIds: ['bob'] })).toEqual(coffees);
  expect(await ids({ appIds: ['coffee'], userIds: ['ann'] })).toEqual([]);
  expect(await ids({ platforms: ['WECHATPAY'] })).toHaveLength(5);
  expect(await ids({ platforms: ['ALIPAY'] })).toEqual([]);
  expect(await ids({ statuses: ['PENDING'], appIds: ['tea'] })).toEqual(teas.slice(0, 2));
  expect(await ids({ statuses: ['SUCCEEDED'] })).toEqual([teas[2]]);
});

test('a watch of settled payments only sees what settles them, and its snapshot those that are settled', async () => {
  await using bench = await openBench();
  const [sold, open, dropped] = [await create(bench.deps), await create(bench.deps), await create(bench.deps)];
  for (const payment of [sold, open, dropped]) await report(bench.deps, payment, 'PROCESSING');
  await report(bench.deps, sold, 'SUCCEEDED');
  await report(bench.deps, dropped, 'CLOSED');
  const settled = { settledOnly: true };

  expect(idsOf(await read(bench.feed, { filter: settled }))).toEqual([`${sold.id}:3`, `${dropped.id}:3`]);
  expect(idsOf(await read(bench.feed, { filter: { ...settled, paymentIds: [dropped.id] } }))).toEqual([`${dropped.id}:3`]);
  // Both hold: from PENDING or PROCESSING, and settled.
  expect(idsOf(await read(bench.feed, { filter: { ...settled, statuses: ['PROCESSING', 'PENDING'] } }))).toEqual([`${sold.id}:3`, `${dropped.id}:3`]);

  const now = async (filter: Wish['filter']): Promise<string[]> =>
    only(await read(bench.feed, { start: { kind: 'SNAPSHOT' }, filter: filter! }), 'snapshot').flatMap(({ payments }) => payments.map(({ id }) => id));
  expect(await now(settled)).toEqual([sold.id, dropped.id]);
  expect(await now({ ...settled, statuses: ['PROCESSING'] })).toEqual([]);
  expect(await now({ ...settled, statuses: ['SUCCEEDED', 'REVIEW'] })).toEqual([sold.id]);

  const [event] = eventsOf(await read(bench.feed));
  const matches = predicateOf({ ...EVERYTHING, ...settled });
  expect(PAYMENT_STATUSES.filter((status) => matches({ ...event!, previousStatus: 'SUCCEEDED', status }))).toEqual([
    'SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED', 'FAILED', 'CLOSED', 'CANCELED',
  ]);
});

test('bookmarks move a watch that nothing matches', async () => {
  await using bench = await openBench({ peekMs: 5 });
  const watching = await bench.feed.watch(wish({ filter: { appIds: ['nobody'] }, bookmarkIntervalMs: 5 }));
  await paid(bench, 10);
  const acknowledged = Date.now();

  let bookmark = await pull(watching, 'bookmark');
  while (bookmark.behind > 0n || (bookmark.asOf?.getTime() ?? 0) <= acknowledged) bookmark = await pull(watching, 'bookmark');
  expect(bookmark.headRevision).toBe(20n);
  expect(idsOf(await read(bench.feed, { start: after(bookmark) }))).toEqual([]);
});

test('a bookmark says nothing of a time whose changes are not all delivered', async () => {
  await using bench = await openBench({ peekMs: 3 });
  const watching = await bench.feed.watch(wish({ eventsPerMessageMax: 2, bookmarkIntervalMs: 1 }));
  const acknowledged: { eventId: string; at: number }[] = [];
  const write = async (): Promise<void> => {
    for (let round = 0; round < 30; round++) {
      const payment = await create(bench.deps);
      acknowledged.push({ eventId: `${payment.id}:1`, at: Date.now() });
    }
  };
  const writing = Promise.all([write(), write(), write()]);

  const delivered = new Set<string>();
  let promised = 0;
  while (delivered.size < 90) {
    const { value } = await watching.next();
    if (value?.kind === 'events') for (const { eventId } of value.events) delivered.add(eventId);
    if (value?.kind !== 'bookmark' || value.asOf === null) continue;
    // The database runs on this machine and has the same clock.
    const older = acknowledged.filter(({ at }) => at < value.asOf!.getTime());
    promised = Math.max(promised, older.length);
    expect(older.filter(({ eventId }) => !delivered.has(eventId))).toEqual([]);
  }
  await writing;
  expect(promised).toBeGreaterThan(0);
});

test('a watch that stops when its payments are settled ends with the last of them, and at once where they are', async () => {
  await using bench = await openBench();
  const [first, second] = [await create(bench.deps), await create(bench.deps)];
  const filter = { paymentIds: [first.id, second.id] };
  const messages: WatchMessage[] = [];
  const watching = (async () => {
    for await (const message of watch(bench.feed, wish({ start: { kind: 'NOW' }, filter, stopWhenSettled: true }))) messages.push(message);
  })();
  await until(() => messages.length > 0);

  await report(bench.deps, first, 'SUCCEEDED');
  await report(bench.deps, second, 'PROCESSING');
  await report(bench.deps, second, 'CLOSED');
  await watching;
  expect(idsOf(messages)).toEqual([`${first.id}:2`, `${second.id}:2`, `${second.id}:3`]);
  expect(messages.at(-1)).toMatchObject({ kind: 'bookmark', behind: 0n });

  const again = await read(bench.feed, { start: { kind: 'NOW' }, filter, stopWhenSettled: true, stopAtHead: false });
  expect(again.map(({ kind }) => kind)).toEqual(['created', 'bookmark']);
  const replay = await read(bench.feed, { filter, stopWhenSettled: true, stopAtHead: false, eventsPerMessageMax: 1 });
  expect(idsOf(replay)).toHaveLength(5);
});

test('a settlement that the filter hides ends the watch, also where a bookmark comes first', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  const filter = { paymentIds: [payment.id], statuses: ['REFUNDED' as const] };
  const watcher = await bench.feed.watch(wish({ start: { kind: 'NOW' }, filter, stopWhenSettled: true, bookmarkIntervalMs: 20 }));
  await pull(watcher, 'created');
  await report(bench.deps, payment, 'SUCCEEDED');
  await read(bench.feed);

  watcher.remind();
  const messages: WatchMessage[] = [];
  for await (const message of watcher) if (messages.push(message) > 10) break;
  expect(messages.length).toBeLessThanOrEqual(10);
});

test('a watch for the settlement of a payment that does not exist is refused', async () => {
  await using bench = await openBench();
  const filter = { paymentIds: ['00000000-0000-7000-8000-000000000001'] };
  expect(await refusal(bench.feed.watch(wish({ filter, stopWhenSettled: true })))).toMatchObject({ reason: 'PAYMENT_NOT_FOUND' });
  expect(bench.feed.health().openWatches).toBe(0);
});

test('a watch that stops at the head has everything that was committed before the call', async () => {
  await using bench = await openBench({ peekMs: 600_000 });
  const silent = await bench.anotherWriter();
  const payment = await create(silent);
  expect(idsOf(await read(bench.feed))).toEqual([`${payment.id}:1`]);
});

test.each<[string, Wish]>([
  ['bookmark_interval', { bookmarkIntervalMs: 60_001 }],
  ['max_events_per_message', { eventsPerMessageMax: 0 }],
  ['max_events_per_message', { eventsPerMessageMax: 1_001 }],
  ['max_linger', { lingerMs: 1_001 }],
  ['stop_when_settled', { stopWhenSettled: true }],
  ['since', { start: { kind: 'SINCE', since: new Date(Number.NaN) } }],
  ['filter.payment_ids', { filter: { paymentIds: ['x'] } }],
  ['filter.order_ids', { filter: { orderIds: Array.from({ length: 1_001 }, String) } }],
  ['after_cursor', { start: { kind: 'CURSOR', cursor: Uint8Array.of(1) } }],
])('a watch with a wrong %s is refused before its first message', async (field, what) => {
  await using bench = await openBench();
  const error = await refusal(bench.feed.watch(wish(what)));
  expect([error.reason, error.violations.map((violation) => violation.field)]).toEqual(['FIELD_INVALID', [field]]);
  expect(bench.feed.health().openWatches).toBe(0);
});

test('a caller, and the process, have so many watches and no more', async () => {
  await using bench = await openBench({ watchesMax: 3, watchesPerCallerMax: 2 });
  const own = [await bench.feed.watch(wish()), await bench.feed.watch(wish())];
  expect(await refusal(bench.feed.watch(wish()))).toMatchObject({ reason: 'OVERLOADED', retryAfterMs: 1_000 });
  await bench.feed.watch(wish({ caller: 'another' }));
  expect(await refusal(bench.feed.watch(wish({ caller: 'third' })))).toMatchObject({ reason: 'OVERLOADED' });

  await own[0]!.return();
  const again = new AbortController();
  const last = await bench.feed.watch(wish(), again.signal);
  await pull(last, 'created');
  const end = last.next();
  again.abort();
  expect(await end).toEqual({ done: true, value: undefined });
  expect(bench.feed.health().openWatches).toBe(2);
});

test('a consumer that does not pull loses its watch with a cursor, keeps nothing in memory and resumes without a loss', async () => {
  await using bench = await openBench({ slowConsumerMs: 50 });
  await paid(bench, 10);
  await read(bench.feed);
  const slow = await bench.feed.watch(wish({ eventsPerMessageMax: 5 }));
  const first = idsOf([await pull(slow, 'events')]);

  await until(() => slow.ended.aborted);
  expect(bench.feed.health().openWatches).toBe(0);
  const error = await refusal(slow.next());
  expect(error).toMatchObject({ reason: 'SLOW_CONSUMER', metadata: { behind: `${20 - first.length}`, cursor: expect.any(String) } });
  const cursor = Buffer.from(error.metadata['cursor']!, 'base64url');
  expect([...first, ...idsOf(await read(bench.feed, { start: { kind: 'CURSOR', cursor } }))]).toEqual(idsOf(await read(bench.feed)));
});

test('a drain says goodbye, ends each watch with where to resume, and lets nobody in', async () => {
  await using bench = await openBench();
  const [idle, busy] = [await bench.feed.watch(wish()), await bench.feed.watch(wish())];
  for (const each of [idle, busy]) await pull(each, 'created');
  const waiting = pull(idle, 'goodbye');
  await paid(bench, 5);
  const got = idsOf([await pull(busy, 'events')]);

  const drained = bench.feed.drain();
  const goodbye = await pull(busy, 'goodbye');
  expect(goodbye).toMatchObject({ reason: 'DRAINING', reconnectAfterMs: expect.any(Number) });
  expect(await refusal(busy.next())).toMatchObject({ reason: 'SERVER_DRAINING', metadata: { cursor: expect.any(String) } });
  await waiting;
  expect(await refusal(idle.next())).toMatchObject({ reason: 'SERVER_DRAINING' });
  await drained;
  expect(await refusal(bench.feed.watch(wish()))).toMatchObject({ reason: 'SERVER_DRAINING' });

  const other = await bench.anotherFeed();
  expect([...got, ...idsOf(await read(other, { start: after(goodbye) }))]).toEqual(idsOf(await read(other)));
});

test('a drain does not wait for a watch that is far behind: it resumes elsewhere without a loss', async () => {
  await using bench = await openBench({ ringEventsMax: 1_000 });
  await commitMany(bench, 10_000);
  const behind = await bench.feed.watch(wish());
  const got = idsOf([await pull(behind, 'events'), await pull(behind, 'events'), await pull(behind, 'events')]);
  expect(got).toHaveLength(300);

  const drained = bench.feed.drain();
  const farewell = await behind.next();
  expect(farewell.value).toMatchObject({ kind: 'goodbye', reason: 'DRAINING' });
  expect(await refusal(behind.next())).toMatchObject({ reason: 'SERVER_DRAINING' });
  await drained;

  const other = await bench.anotherFeed();
  const rest = eventsOf(await read(other, { start: after(farewell.value as WatchMessage), eventsPerMessageMax: 1_000 }));
  expect(rest.map(({ revision }) => Number(revision))).toEqual(Array.from({ length: 9_700 }, (_, index) => 301 + index));
  expect(new Set([...got, ...rest.map(({ eventId }) => eventId)]).size).toBe(10_000);
});

test('fifty watches, busy ones and idle ones, are drained and lose nothing', async () => {
  await using bench = await openBench({ ringEventsMax: 100 });
  const other = await bench.anotherFeed();
  const writing = paid(bench, 150);
  const filters: Wish['filter'][] = [{}, { settledOnly: true }, { appIds: ['nobody'] }];
  const consume = async (filter: Wish['filter'], index: number): Promise<string[]> => {
    const ids: string[] = [];
    let last: WatchMessage | null = null;
    try {
      for await (const message of await bench.feed.watch(wish({ filter: filter!, eventsPerMessageMax: 1 + index }))) {
        last = message;
        ids.push(...idsOf([message]));
        if (index === 0 && ids.length === 20) void bench.feed.drain();
      }
    } catch (error) {
      expect(error).toMatchObject({ reason: 'SERVER_DRAINING' });
    }
    await writing;
    return [...ids, ...idsOf(await read(other, { start: after(last!), filter: filter! }))];
  };

  const seen = await Promise.all(Array.from({ length: 50 }, (_, index) => consume(filters[index % 3], index)));
  expect(bench.feed.health().openWatches).toBe(0);
  const expected = await Promise.all(filters.map(async (filter) => idsOf(await read(other, { filter: filter! }))));
  expect(expected.map(({ length }) => length)).toEqual([300, 150, 0]);
  for (const [index, ids] of seen.entries()) expect(ids).toEqual(expected[index % 3]);
});

test('an old watch says goodbye', async () => {
  await using bench = await openBench({ ageMaxMs: 1 });
  const old = await bench.feed.watch(wish());
  expect(await pull(old, 'goodbye')).toMatchObject({ reason: 'MAX_AGE' });
  expect(await refusal(old.next())).toMatchObject({ reason: 'SERVER_DRAINING' });
});

test('a full view is cut into messages that a client can take', async () => {
  await using bench = await openBench();
  const payments = await Promise.all(Array.from({ length: 8 }, () => create(bench.deps)));
  await bench.sql(`update payment set metadata = jsonb_build_object('note', repeat('x', 200000))`);

  for (const start of ['EARLIEST', 'SNAPSHOT'] as const) {
    const messages = await read(bench.feed, { start: { kind: start }, view: 'FULL' });
    const sizes = messages.map((message) => (message.kind === 'events' ? message.events.length : message.kind === 'snapshot' ? message.payments.length : 0));
    expect(Math.max(...sizes)).toBe(2);
    expect(sizes.reduce((sum, size) => sum + size)).toBe(payments.length);
  }
});
