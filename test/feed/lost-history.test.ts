import pg from 'pg';
import { Cursors, cursorText } from '../../src/feed/cursor.js';
import type { FeedEvent } from '../../src/feed/event.js';
import { Pages } from '../../src/feed/pages.js';
import type { Watcher } from '../../src/feed/watcher.js';
import { connected } from '../support/pg-client.js';
import { until } from '../support/until.js';
import { after, create, eventsOf, idsOf, openBench, pull, read, refusal, report, wish, type Bench } from './bench.js';

/** As a compaction does: the mark first, then the rows. */
async function compact(bench: Bench, rev: number): Promise<void> {
  await bench.sql('update feed_head set compact_rev = $1', [rev]);
  await bench.sql('delete from feed where rev <= $1', [rev]);
}

/** As a promotion looks to the feed, of a standby that had not received what was sequenced after the revision. */
async function failOver(bench: Bench, lastRev: number): Promise<void> {
  await bench.sql('alter table payment_log disable trigger all');
  await bench.sql('alter table payment disable trigger all');
  await bench.sql('delete from payment_log l using feed f where f.rev > $1 and l.payment_id = f.payment_id and l.version = f.version', [lastRev]);
  await bench.sql('delete from feed where rev > $1', [lastRev]);
  await bench.sql(`update feed_head set rev = $1, lineage = lineage || '-lost'`, [lastRev]);
}

/** So many events, however they are cut into messages: some of them may still be in memory. */
async function pullAll(watcher: Watcher, count: number): Promise<FeedEvent[]> {
  const events: FeedEvent[] = [];
  while (events.length < count) events.push(...eventsOf([await pull(watcher, 'events')]));
  return events;
}

async function payments(bench: Bench, count: number): Promise<void> {
  for (let number = 0; number < count; number++) await create(bench.deps);
}

test('a cursor into what was removed has expired, and says where the feed begins now', async () => {
  await using bench = await openBench();
  await payments(bench, 10);
  const all = await read(bench.feed, { eventsPerMessageMax: 1 });
  await compact(bench, 4);
  const fresh = await bench.anotherFeed();

  for (const [index, message] of all.slice(0, 11).entries()) {
    if (index >= 4) {
      expect(eventsOf(await read(fresh, { start: after(message) }))).toEqual(eventsOf(all).slice(index));
      continue;
    }
    const error = await refusal(fresh.watch(wish({ start: after(message) })));
    expect(error).toMatchObject({ reason: 'CURSOR_EXPIRED', metadata: { compact_revision: '4', earliest_cursor: expect.any(String) } });
    const earliest = Buffer.from(error.metadata['earliest_cursor']!, 'base64url');
    expect(eventsOf(await read(fresh, { start: { kind: 'CURSOR', cursor: earliest } }))).toEqual(eventsOf(all).slice(4));
  }
  expect(eventsOf(await read(fresh))).toEqual(eventsOf(all).slice(4));
  expect(fresh.health().earliest).toBe(5n);
  expect(await refusal(fresh.watch(wish({ start: { kind: 'SINCE', since: new Date(0) } })))).toMatchObject({ reason: 'CURSOR_EXPIRED' });
});

test('a watch that is overtaken by a removal ends, and skips nothing', async () => {
  await using bench = await openBench({ ringEventsMax: 2 });
  await payments(bench, 10);
  await read(bench.feed);
  const behind = await bench.feed.watch(wish({ eventsPerMessageMax: 1 }));
  expect(idsOf([await pull(behind, 'events')])).toHaveLength(1);
  await compact(bench, 6);
  expect(await refusal(pull(behind, 'events'))).toMatchObject({ reason: 'CURSOR_EXPIRED', metadata: { compact_revision: '6' } });
});

test('after a lost tail whoever has read it is told the safe position, even when the new history has overtaken it', async () => {
  await using bench = await openBench();
  await payments(bench, 10);
  const before = await read(bench.feed, { eventsPerMessageMax: 1 });
  const live = await bench.feed.watch(wish({ eventsPerMessageMax: 1_000 }));
  expect(await pullAll(live, 10)).toHaveLength(10);
  const early = await bench.feed.watch(wish({ eventsPerMessageMax: 1 }));
  await pull(early, 'events');

  await failOver(bench, 6);
  await payments(bench, 20);
  bench.feed.kick();
  const error = await refusal(pull(live, 'events'));
  expect(error).toMatchObject({ reason: 'FEED_HISTORY_DIVERGED', metadata: { epoch: '2' } });
  await until(() => bench.feed.health().head === 26n);
  expect(bench.feed.health().epoch).toBe(2);

  // One event was sent to the watch that is early; the other nineteen and five are of the history that both have.
  const rest: FeedEvent[] = [];
  while (rest.length < 25) rest.push(...(await pull(early, 'events')).events);
  const history = eventsOf(await read(bench.feed));
  expect(rest).toEqual(history.slice(1));
  expect(history.map(({ epoch }) => epoch)).toEqual([...Array<number>(6).fill(1), ...Array<number>(20).fill(2)]);

  for (const feed of [bench.feed, await bench.anotherFeed()]) {
    for (const [rev, message] of before.entries()) {
      if (message.kind === 'bookmark') continue;
      if (rev <= 6) expect(eventsOf(await read(feed, { start: after(message) }))).toEqual(history.slice(rev));
      else {
        const diverged = await refusal(feed.watch(wish({ start: after(message) })));
        expect(diverged).toMatchObject({ reason: 'FEED_HISTORY_DIVERGED', metadata: error.metadata });
      }
    }
    const cursor = Buffer.from(error.metadata['safe_cursor']!, 'base64url');
    expect(eventsOf(await read(feed, { start: { kind: 'CURSOR', cursor } }))).toEqual(history.slice(6));
  }
});

test('a watch from now on that comes right after a lost tail is given nothing of the lost one', async () => {
  await using bench = await openBench({ peekMs: 600_000 });
  const live = await bench.feed.watch(wish());
  await payments(bench, 10);
  for (let seen = 0; seen < 10; ) seen += (await pull(live, 'events')).events.length;
  await failOver(bench, 6);

  // The sequencer does not read the payments, and whoever reads pages of the feed does.
  await bench.sql('begin');
  await bench.sql('lock table payment in access exclusive mode');
  bench.feed.kick();
  await until(() => bench.feed.health().epoch === 2);
  const { asOf } = bench.feed.health();
  const next = bench.feed.watch(wish({ start: { kind: 'NOW' } })).then((watch) => pull(watch, 'events'));
  await until(() => bench.feed.health().asOf > asOf);
  await bench.sql('commit');

  await refusal(pull(live, 'events'));
  const payment = await create(bench.deps);
  expect(idsOf([await next])).toEqual([`${payment.id}:1`]);
});

test('what one watch was given of a lost tail is not given to the next, where the tail of the process had not come so far', async () => {
  await using bench = await openBench({ peekMs: 600_000, pollMs: 600_000, retryMinMs: 600_000, retryMaxMs: 600_000 });
  await payments(bench, 4);
  await read(bench.feed);
  await bench.sql(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'paystate feed listen' and datname = current_database()`);
  await until(() => !bench.feed.health().isListening);
  const writer = await bench.anotherWriter();
  const another = await bench.anotherFeed();
  for (let number = 0; number < 6; number++) await create(writer);
  await read(another);

  const [first, second] = [await bench.feed.watch(wish()), await bench.feed.watch(wish())];
  expect(await pullAll(first, 10)).toHaveLength(10);
  await failOver(bench, 6);
  await create(writer);
  another.kick();
  await until(() => another.health().head === 7n && another.health().epoch === 2);
  const history = eventsOf(await read(another));
  await bench.feed.watch(wish());
  expect(await pullAll(second, history.length)).toEqual(history);
  expect(await refusal(pull(first, 'events'))).toMatchObject({ reason: 'FEED_HISTORY_DIVERGED' });
});

test('a cursor of a revision that was never given is refused with the newest position that is surely common', async () => {
  await using bench = await openBench();
  await payments(bench, 3);
  const last = (await read(bench.feed)).at(-1)!;
  const cursors = new Cursors('a key of these tests');
  const { feedId, position } = cursors.open(last.cursor);
  const future = (fields: { rev?: bigint; epoch?: number }) => after({ cursor: cursors.seal({ feedId, position: { ...position, ...fields }, phase: null }) });

  for (const feed of [bench.feed, await bench.anotherFeed()]) {
    for (const fields of [{ rev: 4n }, { rev: 2n ** 62n }, { epoch: 2 }, { epoch: 2, rev: 4n }]) {
      const error = await refusal(feed.watch(wish({ start: future(fields) })));
      expect(error).toMatchObject({ reason: 'FEED_HISTORY_DIVERGED', metadata: { epoch: '1', safe_cursor: expect.any(String) } });
      const cursor = Buffer.from(error.metadata['safe_cursor']!, 'base64url');
      const rest = eventsOf(await read(feed, { start: { kind: 'CURSOR', cursor } }));
      expect(rest.at(-1)?.revision ?? 3n).toBe(3n);
    }
  }
  expect(eventsOf(await read(bench.feed, { start: future({ rev: 3n }) }))).toEqual([]);
  expect(bench.feed.health().openWatches).toBe(0);
});

test('a promotion that lost nothing keeps every watch and every cursor', async () => {
  await using bench = await openBench();
  await payments(bench, 3);
  await read(bench.feed);
  const live = await bench.feed.watch(wish());
  const first = await pull(live, 'events');
  expect(first.events).toHaveLength(3);
  await bench.sql(`update feed_head set lineage = lineage || '-promoted'`);
  const payment = await create(bench.deps);
  const second = await pull(live, 'events');
  expect(second.events).toMatchObject([{ revision: 4n, epoch: 2, eventId: `${payment.id}:1` }]);
  expect(eventsOf(await read(bench.feed, { start: after(first) }))).toEqual(second.events);
  expect(cursorText(second.cursor)).not.toBe(cursorText(first.cursor));
});

test('a revision that is missing in the database stops all watches instead of being skipped', async () => {
  await using bench = await openBench({ peekMs: 5 });
  await payments(bench, 3);
  await read(bench.feed);
  const live = await bench.feed.watch(wish());
  await pull(live, 'events');
  await bench.sql('update feed_head set rev = rev + 1');
  await create(bench.deps);
  await expect(pull(live, 'events')).rejects.toThrow('revision 4 is missing');
});

test('the sequencer refuses to run inside a writing transaction and under repeatable read', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  await report(bench.deps, payment, 'SUCCEEDED');
  const advance = async (isolation: string, prepare: string): Promise<unknown> => {
    await bench.sql(`begin isolation level ${isolation}`);
    try {
      await bench.sql(prepare);
      return await bench.sql(`select feed_advance(0::smallint, 'feed')`);
    } finally {
      await bench.sql('rollback');
    }
  };
  const refused = { code: '25000', message: 'feed_advance must be its own READ COMMITTED transaction' };
  await expect(advance('read committed', 'select pg_current_xact_id()')).rejects.toMatchObject(refused);
  await expect(advance('repeatable read', 'select 1')).rejects.toMatchObject(refused);
  expect(idsOf(await read(bench.feed))).toHaveLength(2);
});

test('the epochs of a page are read where the page was read: the pool may still be at the primary of before', async () => {
  await using old = await openBench();
  await using promoted = await openBench();
  await promoted.sql(`update feed_head set lineage = lineage || '-lost'`);
  for (const { deps } of [old, promoted]) await create(deps);
  await until(() => promoted.feed.health().epoch === 2);
  await using stack = new AsyncDisposableStack();
  const pool = stack.adopt(new pg.Pool({ connectionString: old.url }), (own) => own.end());
  const pages = new Pages(pool, () => undefined);
  expect((await pages.read(0n, 10n)).head.epochs.map(({ epoch }) => epoch)).toEqual([1]);
  await using client = await connected(promoted.url);
  expect((await pages.read(0n, 10n, client)).head).toMatchObject({ epoch: 2, epochs: [{ epoch: 1 }, { epoch: 2 }] });

  const torn = { query: (query: { name: string }): unknown => (query.name === 'feed_page' ? client : pool).query(query as never) };
  await expect(new Pages(pool, () => undefined).read(0n, 10n, torn as never)).rejects.toThrow('epoch 2 is not in the history');
});
