import pg from 'pg';
import { MikroORM } from '@mikro-orm/postgresql';
import type { Migrator } from '@mikro-orm/migrations';
import { Pages } from '../../src/feed/pages.js';
import type { WatchMessage } from '../../src/feed/watch.js';
import { ormConfig } from '../../src/store/orm.js';
import { emptyDatabase } from '../support/database.js';
import { until } from '../support/until.js';
import { after, create, eventsOf, idsOf, only, openBench, pull, read, refusal, report, wish, type Bench } from './bench.js';
import { age, createMany, makeSmallPartitions, partitions, retentionOf } from './small-partitions.js';

const compactRev = async (bench: Bench): Promise<number> => {
  const [row] = await bench.sql<{ rev: string }>('select compact_rev as rev from feed_head');
  return Number(row!.rev);
};

test('partitions go once the newest row of each is older than the retention, and new ones are made ahead', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 4);
  await createMany(bench, 35);
  const all = eventsOf(await read(bench.feed));
  await age(bench, 29);

  const retention = retentionOf(bench);
  expect(await retention.runOnce()).toBe(true);
  expect(await partitions(bench)).toEqual(['feed_rest', ...[30, 40, 50, 60].map((to) => `feed_to_${to}`)]);
  expect(await compactRev(bench)).toBe(20);
  expect(eventsOf(await read(bench.feed))).toEqual(all.slice(20));
  await until(() => bench.feed.health().earliest === 21n);

  // Where nothing is too old and there is room, nothing is done; the partition that the head is in stays, however old it is.
  await age(bench, 35);
  await retention.runOnce();
  await retention.runOnce();
  expect(await partitions(bench)).toEqual(['feed_rest', ...[40, 50, 60].map((to) => `feed_to_${to}`)]);
  expect(eventsOf(await read(bench.feed))).toEqual(all.slice(30));
});

test('the sequencer never lacks a place: what finds no partition goes to the default one, and partitions go on beyond it', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 1);
  await createMany(bench, 25);
  const rest = () => bench.sql('select 1 from feed_rest');
  expect(idsOf(await read(bench.feed))).toHaveLength(25);
  expect(await rest()).toHaveLength(15);

  const retention = retentionOf(bench);
  await retention.runOnce();
  // A day has 25 revisions, hence partitions of 30; one of them lies between the head and the first.
  expect(await partitions(bench)).toEqual(['feed_rest', 'feed_to_10', 'feed_to_90']);
  await createMany(bench, 50);
  await retention.runOnce();
  await createMany(bench, 20);
  const all = eventsOf(await read(bench.feed));
  expect(all.map(({ revision }) => Number(revision))).toEqual(Array.from({ length: 95 }, (_, index) => index + 1));
  expect(await rest()).toHaveLength(50);

  await age(bench, 95);
  await retention.runOnce();
  expect(await rest()).toHaveLength(0);
  expect(eventsOf(await read(bench.feed))).toEqual(all.slice(90));
});

test('a day with many revisions makes larger partitions', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 4);
  await createMany(bench, 33);
  await read(bench.feed);
  await retentionOf(bench).runOnce();
  expect(await partitions(bench)).toEqual(['feed_rest', ...[10, 20, 30, 40, 80, 120].map((to) => `feed_to_${to}`)]);
});

test('of many replicas one at a time looks after the feed', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 3);
  await createMany(bench, 15);
  await read(bench.feed);
  await age(bench, 10);

  const { promise: paused, resolve: goOn } = Promise.withResolvers<void>();
  let pauses = 0;
  const first = retentionOf(bench, { pause: () => ((pauses += 1), paused) }).runOnce();
  await until(() => pauses === 1);
  expect(await retentionOf(bench).runOnce()).toBe(false);
  expect(await compactRev(bench)).toBe(0);
  goOn();
  expect(await first).toBe(true);
  expect(await retentionOf(bench).runOnce()).toBe(true);
});

test('a pass that dies before the rows are gone is finished by the next one', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 3);
  await createMany(bench, 15);
  await read(bench.feed);
  await age(bench, 10);

  let pauses = 0;
  const dying = retentionOf(bench, { pause: () => (++pauses === 2 ? Promise.reject(new Error('killed')) : Promise.resolve()) });
  await expect(dying.runOnce()).rejects.toThrow('killed');
  expect([await compactRev(bench), (await partitions(bench)).includes('feed_to_10')]).toEqual([10, true]);
  expect(eventsOf(await read(bench.feed))).toHaveLength(5);

  await retentionOf(bench).runOnce();
  expect(await partitions(bench)).not.toContain('feed_to_10');
});

test('compaction lets no idle watch expire, on any replica: each says first where it stands', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 4);
  await createMany(bench, 3);
  const old = (await read(bench.feed, { eventsPerMessageMax: 1 }))[1]!;
  const feeds = [bench.feed, await bench.anotherFeed(), await bench.anotherFeed({ ringEventsMax: 2 })];
  const idle = await Promise.all(feeds.map((feed) => feed.watch(wish({ filter: { appIds: ['nobody'] }, bookmarkIntervalMs: 60_000 }))));
  for (const watch of idle) await pull(watch, 'created');
  await createMany(bench, 32);
  await read(bench.feed);
  await age(bench, 30);

  const marks = idle.map((watch) => pull(watch, 'bookmark'));
  let cursors: WatchMessage[] = [];
  const pauses: number[] = [];
  const pause = async (): Promise<void> => {
    pauses.push(await compactRev(bench));
    if (pauses.length === 1) cursors = await Promise.all(marks);
  };
  await retentionOf(bench, { pause }).runOnce();
  expect(pauses).toEqual([0, 30]);

  // What they said before the compaction is good after it; and they go on.
  for (const cursor of cursors) expect(eventsOf(await read(bench.feed, { start: after(cursor) })).length).toBeLessThanOrEqual(5);
  const last = await create(bench.deps, { appId: 'nobody' });
  for (const watch of idle) expect(idsOf([await pull(watch, 'events')])).toEqual([`${last.id}:1`]);

  const error = await refusal(bench.feed.watch(wish({ start: after(old) })));
  expect(error).toMatchObject({ reason: 'CURSOR_EXPIRED', metadata: { compact_revision: '30', earliest_cursor: expect.any(String) } });
  const cursor = Buffer.from(error.metadata['earliest_cursor']!, 'base64url');
  expect(eventsOf(await read(bench.feed, { start: { kind: 'CURSOR', cursor } })).map(({ revision }) => revision)).toEqual([31n, 32n, 33n, 34n, 35n, 36n]);
});

test('what is committed at the very moment of a compaction is delivered, to live watches and to those behind', async () => {
  await using bench = await openBench({ bookmarkIntervalMinMs: 1 });
  await makeSmallPartitions(bench, 6);
  await createMany(bench, 25);
  const history = await read(bench.feed, { eventsPerMessageMax: 1 });
  await age(bench, 20);
  const small = await bench.anotherFeed({ ringEventsMax: 2 });
  const live = await bench.feed.watch(wish({ start: { kind: 'NOW' } }));
  const behind = await small.watch(wish({ start: after(only(history, 'events')[20]!), eventsPerMessageMax: 1 }));
  for (const watch of [live, behind]) await pull(watch, 'created');

  // Between the bookmark and the mark, between the mark and the drop, and all the time.
  const committed: string[] = [];
  const commit = async (): Promise<void> => void committed.push(`${(await create(bench.deps)).id}:1`);
  let compacting = true;
  const other = await bench.anotherWriter();
  const writing = (async () => {
    for (let count = 0; compacting || count < 5; count++) committed.push(`${(await create(other)).id}:1`);
  })();
  await retentionOf(bench, { pause: commit }).runOnce();
  compacting = false;
  await writing;
  bench.feed.kick();

  expect([await compactRev(bench), (await partitions(bench)).includes('feed_to_20')]).toEqual([20, false]);
  const delivered = async (watch: AsyncIterator<WatchMessage>, count: number): Promise<bigint[]> => {
    const revisions: bigint[] = [];
    const ids: string[] = [];
    while (revisions.length < count) {
      const { events } = await pull(watch, 'events');
      revisions.push(...events.map(({ revision }) => revision));
      ids.push(...events.map(({ eventId }) => eventId));
    }
    expect(ids.slice(-committed.length).sort()).toEqual(committed.toSorted());
    return revisions;
  };
  const dense = (from: number, count: number): bigint[] => Array.from({ length: count }, (_, index) => BigInt(from + index));
  expect(await delivered(live, committed.length)).toEqual(dense(26, committed.length));
  expect(await delivered(behind, committed.length + 4)).toEqual(dense(22, committed.length + 4));
});

test('a watch that stands in what is being removed ends with the error before the rows go, and is told as often as it asks', async () => {
  await using bench = await openBench({ ringEventsMax: 2 });
  await makeSmallPartitions(bench, 4);
  await createMany(bench, 25);
  await read(bench.feed);
  const behind = await bench.feed.watch(wish({ eventsPerMessageMax: 1 }));
  const first = await pull(behind, 'events');
  await age(bench, 20);

  const errors: unknown[] = [];
  const pause = async (): Promise<void> => {
    if ((await compactRev(bench)) === 0) return;
    errors.push(await refusal(pull(behind, 'events')), await refusal(bench.feed.watch(wish({ start: after(first) }))));
    expect(await bench.sql('select 1 from feed where rev <= 20')).toHaveLength(20);
  };
  await retentionOf(bench, { pause }).runOnce();
  errors.push(await refusal(bench.feed.watch(wish({ start: after(first) }))), await refusal((await bench.anotherFeed()).watch(wish({ start: after(first) }))));
  expect(errors).toHaveLength(4);
  for (const error of errors) expect(error).toMatchObject({ reason: 'CURSOR_EXPIRED', metadata: { compact_revision: '20', earliest_cursor: expect.any(String) } });
});

test('a snapshot whose replay was removed under it ends with the error and is never called complete', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 4);
  const payments = await Promise.all(Array.from({ length: 8 }, () => create(bench.deps)));
  const small = await bench.anotherFeed({ ringEventsMax: 2 });
  const snapshots = await Promise.all([bench.feed, small].map((feed) => feed.watch(wish({ start: { kind: 'SNAPSHOT' }, eventsPerMessageMax: 1 }))));
  const pages: WatchMessage[] = [];
  for (const watch of snapshots) pages.push(await pull(watch, 'snapshot'));
  for (const payment of payments) await report(bench.deps, payment, 'PROCESSING');
  for (const payment of payments) await report(bench.deps, payment, 'SUCCEEDED');
  await read(small);
  await age(bench, 20);
  await retentionOf(bench).runOnce();

  // One replica still has in memory what was removed and ends well; the other must not skip it.
  const [held, lost] = snapshots as unknown as [AsyncIterator<WatchMessage>, AsyncIterator<WatchMessage>];
  const replayed: WatchMessage[] = [];
  while (!only(replayed, 'bookmark').some(({ snapshotComplete }) => snapshotComplete)) replayed.push((await held.next()).value as WatchMessage);
  expect(eventsOf(replayed)).toHaveLength(16);

  const seen: WatchMessage[] = [];
  const error = await refusal(
    (async () => {
      for (;;) seen.push((await lost.next()).value as WatchMessage);
    })(),
  );
  expect(error).toMatchObject({ reason: 'CURSOR_EXPIRED', metadata: { compact_revision: '20' } });
  expect(only(seen, 'events')).toEqual([]);
  expect(only(seen, 'bookmark').filter(({ snapshotComplete }) => snapshotComplete)).toEqual([]);

  // Nor does one that resumes; it starts over.
  for (const feed of [small, await bench.anotherFeed()]) {
    expect(await refusal(feed.watch(wish({ start: after(pages[1]!) })))).toMatchObject({ reason: 'CURSOR_EXPIRED' });
  }
  const again = await read(small, { start: { kind: 'SNAPSHOT' } });
  expect(only(again, 'snapshot').flatMap((page) => page.payments.map(({ status }) => status))).toEqual(payments.map(() => 'SUCCEEDED'));
});

test('who reads the feed for long keeps the rows, and neither the sequencer nor other readers', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 2);
  await createMany(bench, 15);
  await read(bench.feed);
  await age(bench, 10);
  await using dump = await connected(bench.url);
  await dump.query('begin; select count(*) from feed');

  await retentionOf(bench).runOnce();
  expect([await compactRev(bench), await partitions(bench)]).toEqual([10, ['feed_rest', 'feed_to_10', 'feed_to_20']]);
  await createMany(bench, 3);
  expect(idsOf(await read(bench.feed))).toHaveLength(8);

  await dump.query('commit');
  await retentionOf(bench).runOnce();
  expect(await partitions(bench)).toEqual(['feed_rest', ...[20, 30, 40].map((to) => `feed_to_${to}`)]);
});

test('a partition that a vacuum is at work in is left for later without a wait', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 3);
  await createMany(bench, 15);
  await read(bench.feed);
  await age(bench, 10);
  await using vacuum = await connected(bench.url);
  await vacuum.query('begin; lock table feed_to_10 in share update exclusive mode');
  await retentionOf(bench).runOnce();
  expect([await compactRev(bench), (await partitions(bench)).includes('feed_to_10')]).toEqual([10, true]);
  await vacuum.query('commit');
  await retentionOf(bench).runOnce();
  expect(await partitions(bench)).not.toContain('feed_to_10');
});

test('a page of the history looks at its own partition alone, however often it is read', async () => {
  await using bench = await openBench();
  await makeSmallPartitions(bench, 5);
  await createMany(bench, 42);
  await read(bench.feed);
  await using client = await connected(bench.url);
  await client.query('begin');
  const pages = new Pages(client as unknown as pg.Pool, () => undefined);
  for (let round = 0; round < 10; round++) expect((await pages.read(20n, 30n)).events).toHaveLength(10);
  const { rows } = await client.query<{ name: string; scans: string }>(
    `select relname as name, coalesce(pg_stat_get_xact_numscans(i.indexrelid), 0)::text as scans
       from pg_inherits h join pg_class c on c.oid = h.inhrelid join pg_index i on i.indrelid = c.oid and i.indisprimary
      where h.inhparent = 'feed'::regclass`,
  );
  expect(rows.filter(({ scans }) => scans !== '0').map(({ name }) => name)).toEqual(['feed_to_30']);
  expect(Number(rows.find(({ name }) => name === 'feed_to_30')!.scans)).toBe(10);
});

test('a feed without partitions keeps its rows and its cursors when it gets them', async () => {
  await using database = await emptyDatabase();
  const orm = await MikroORM.init(ormConfig(database.url, 3));
  await using client = await connected(database.url);
  try {
    await (orm.migrator as Migrator).up({ to: '20261126_insight' });
    await client.query(
      `insert into feed (shard, rev, payment_id, version, status, platform, app_id)
       select 0, n, gen_random_uuid(), 1, 'PENDING', 'ALIPAY', 'shop' from generate_series(999900, 1000100) n`,
    );
    await client.query('update feed_head set rev = 1000100, compact_rev = 999899');
    const before = await client.query('select * from feed order by rev');
    await (orm.migrator as Migrator).up();
    expect((await client.query('select * from feed order by rev')).rows).toEqual(before.rows);
  } finally {
    await orm.close(true);
  }
  const { rows } = await client.query<{ bounds: string }>(
    `select c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid) as bounds from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'feed'::regclass order by 1`,
  );
  expect(rows.map(({ bounds }) => bounds)).toEqual([
    'feed_rest DEFAULT',
    `feed_to_2000000 FOR VALUES FROM (MINVALUE) TO ('2000001')`,
    `feed_to_3000000 FOR VALUES FROM ('2000001') TO ('3000001')`,
  ]);
});

async function connected(url: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client(url);
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}
