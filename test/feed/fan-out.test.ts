/** What many watches share: the index that finds whom an event concerns, and messages that are made once. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { EVERYTHING, predicateOf, type FeedFilter } from '../../src/feed/filter.js';
import { FilterIndex, type Group } from '../../src/feed/filter-index.js';
import type { FeedEvent } from '../../src/feed/event.js';
import { PAYMENT_STATUSES } from '../../src/payment/payment-status.js';
import { PLATFORMS } from '../../src/payment/platform.js';
import { until } from '../support/until.js';
import { create, eventsOf, idsOf, openBench, pull, report, wish } from './bench.js';

const some = <T>(values: readonly T[]) => fc.uniqueArray(fc.constantFrom(...values), { maxLength: 3 });
const names = (kind: string) => ['1', '2', '3', '4'].map((n) => `${kind}-${n}`);
const filters: fc.Arbitrary<FeedFilter> = fc.record({
  paymentIds: some(names('payment')),
  orderIds: some(names('order')),
  userIds: some(names('user')),
  appIds: some(names('app')),
  platforms: some(PLATFORMS),
  statuses: some(PAYMENT_STATUSES),
  settledOnly: fc.boolean(),
});
const changes = fc.record({
  paymentId: fc.constantFrom(...names('payment')),
  orderId: fc.constantFrom(...names('order')),
  userId: fc.constantFrom(...names('user')),
  appId: fc.constantFrom(...names('app')),
  platform: fc.constantFrom(...PLATFORMS),
  status: fc.constantFrom(...PAYMENT_STATUSES),
  previousStatus: fc.option(fc.constantFrom(...PAYMENT_STATUSES)),
});
const numbered = (changed: object[], from = 1) => changed.map((change, at) => ({ ...change, revision: BigInt(from + at) }) as FeedEvent);

test('the index finds exactly the watches whose filter matches, and forgets those that left', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(filters, fc.boolean()), { maxLength: 12 }), fc.array(changes, { minLength: 1, maxLength: 8 }), (watches, changed) => {
      const index = new FilterIndex(0n);
      const events = numbered(changed);
      const joined = watches.map(([filter, leaves]) => {
        const member = { rings: 0, ring: () => void (member.rings += 1) };
        return { filter, leaves, member, group: index.join({ filter, view: 'STATUS', eventsPerMessageMax: 100 }, member) };
      });
      for (const { leaves, member, group } of joined) if (leaves) index.leave(group, member);
      index.see(events);
      for (const { filter, leaves, member, group } of joined) {
        const matching = events.filter(predicateOf(filter));
        expect(member.rings).toBe(leaves || matching.length === 0 ? 0 : 1);
        if (!leaves) expect(group.lastHit).toBe(matching.at(-1)?.revision ?? 0n);
      }
    }),
  );
});

test('a watch knows how far it is clear only from where its group was held against the feed, and only without a match', () => {
  const index = new FilterIndex(10n);
  const member = { ring: () => undefined };
  const group: Group = index.join({ filter: { ...EVERYTHING, appIds: ['app-1'] }, view: 'STATUS', eventsPerMessageMax: 100 }, member);
  const event = (revision: number, appId: string) => numbered([{ appId }], revision);
  index.see(event(11, 'app-2'));
  index.see(event(12, 'app-2'));
  expect([9n, 10n, 11n, 12n].map((rev) => index.clearUpTo(group, rev))).toEqual([null, 12n, 12n, null]);
  index.see(event(13, 'app-1'));
  index.see(event(14, 'app-2'));
  expect([10n, 12n, 13n].map((rev) => index.clearUpTo(group, rev))).toEqual([null, null, 14n]);
  index.reset(20n);
  index.see(event(21, 'app-2'));
  expect([14n, 20n].map((rev) => index.clearUpTo(group, rev))).toEqual([null, 21n]);
});

test('watches that ask the same are given the very same messages, others their own', async () => {
  await using bench = await openBench();
  const same = [await bench.feed.watch(wish({ filter: { appIds: ['one'] } })), await bench.feed.watch(wish({ filter: { appIds: ['one'] }, caller: 'another' }))];
  const other = await bench.feed.watch(wish({ filter: { appIds: ['one'] }, view: 'KEYS' }));
  const pulling = Promise.all([...same, other].map((watcher) => pull(watcher, 'events')));
  await create(bench.deps, { appId: 'two' });
  const payment = await create(bench.deps, { appId: 'one' });
  const [first, second, third] = await pulling;
  expect(first).toBe(second);
  expect(third).not.toBe(first);
  for (const message of [first!, third!]) expect(idsOf([message])).toEqual([`${payment.id}:1`]);
});

test('watches of one group at different places all have everything, once', async () => {
  await using bench = await openBench({ ringEventsMax: 20 });
  const all: string[] = [];
  const make = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += 1) all.push(`${(await create(bench.deps)).id}:1`);
  };
  const readAll = async (from: { cursor: Uint8Array } | null, count: number): Promise<{ ids: string[]; cursor: Uint8Array }> => {
    const start = from === null ? ({ kind: 'EARLIEST' } as const) : ({ kind: 'CURSOR', cursor: from.cursor } as const);
    await using watcher = await bench.feed.watch(wish({ start, eventsPerMessageMax: 7 }));
    const ids: string[] = [];
    for (;;) {
      const message = await pull(watcher, 'events');
      ids.push(...idsOf([message]));
      if (ids.length >= count) return { ids, cursor: message.cursor };
    }
  };
  await make(15);
  const early = await readAll(null, 7);
  const open = [await bench.feed.watch(wish({ eventsPerMessageMax: 7 })), await bench.feed.watch(wish({ eventsPerMessageMax: 7 }))];
  await make(40);
  const [behind, again] = await Promise.all([readAll(early, all.length - early.ids.length), readAll(null, all.length)]);
  expect([...early.ids, ...behind.ids]).toEqual(all);
  expect(again.ids).toEqual(all);
  for (const watcher of open) {
    const ids: string[] = [];
    while (ids.length < all.length) ids.push(...eventsOf([await pull(watcher, 'events')]).map(({ eventId }) => eventId));
    expect(ids).toEqual(all);
    await watcher.return();
  }
});

test('a watch that nothing matches sleeps through what it has no use for, and its bookmark is behind it all', async () => {
  await using bench = await openBench();
  const { id } = await create(bench.deps);
  const watcher = await bench.feed.watch(wish({ filter: { paymentIds: [id] }, bookmarkIntervalMs: 60_000, start: { kind: 'NOW' } }));
  await pull(watcher, 'created');
  const next = pull(watcher, 'events');
  for (let n = 0; n < 20; n += 1) await create(bench.deps);
  await report(bench.deps, { id }, 'SUCCEEDED');
  const message = await next;
  expect(idsOf([message])).toEqual([`${id}:2`]);
  expect(eventsOf([message])[0]!.revision).toBe(22n);
});

test('payments of a full view are not kept beyond their moment, and nothing is kept for a group that ended', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await using bench = await openBench();
  await create(bench.deps);
  const shared = async (view: 'FULL' | 'STATUS') => {
    const watchers = [await bench.feed.watch(wish({ view })), await bench.feed.watch(wish({ view }))];
    const [first, second] = [await pull(watchers[0]!, 'events'), await pull(watchers[1]!, 'events')];
    expect(first).toBe(second);
    return { message: new WeakRef(first), end: () => Promise.all(watchers.map((watcher) => watcher.return())) };
  };
  const isCollected = (message: WeakRef<object>) => until(() => (collect(), message.deref() === undefined), 5_000);

  const full = await shared('FULL');
  await isCollected(full.message);
  const lean = await shared('STATUS');
  await lean.end();
  await isCollected(lean.message);
});
