import pg from 'pg';
import type { FeedEvent } from '../../src/feed/event.js';
import type { Feed } from '../../src/feed/feed.js';
import type { Deps } from '../../src/payment/deps.js';
import { until } from '../support/until.js';
import { create, eventsOf, idsOf, openBench, pull, read, report, wish, type Bench } from './bench.js';

const WRITERS = 4;
const PAYMENTS_EACH = 150;

test('every change of many processes is delivered once, in one order for all', async () => {
  await using bench = await openBench({ peekMs: 20 });
  const feeds = [bench.feed, await bench.anotherFeed(), await bench.anotherFeed({ ringEventsMax: 50 })];
  const writers = [bench.deps, ...(await Promise.all(Array.from({ length: WRITERS - 1 }, () => bench.anotherWriter())))];

  const total = WRITERS * PAYMENTS_EACH * 3;
  const seen = feeds.map((feed) => collect(feed, total));
  await Promise.all(writers.map(write));

  const [first, ...others] = await Promise.all(seen);
  expect(first!.map(({ revision }) => revision)).toEqual(Array.from({ length: total }, (_, index) => BigInt(index + 1)));
  expect(new Set(first!.map(({ eventId }) => eventId)).size).toBe(total);
  expectVersionsInOrder(first!);
  for (const other of others) expect(other).toEqual(first);

  const logged = await bench.sql<{ id: string }>(`select payment_id || ':' || version as id from payment_log where version is not null`);
  expect(first!.map(({ eventId }) => eventId).sort()).toEqual(logged.map(({ id }) => id).sort());
});

test('an entry that was numbered first and committed last is delivered, where a reader by id loses it', async () => {
  await using bench = await openBench();
  const known = await create(bench.deps);
  const watch = await bench.feed.watch(wish({ start: { kind: 'NOW' } }));
  await pull(watch, 'created');
  let lastId = '0';
  const readById = async () => {
    const rows = await bench.sql<{ id: string; event: string }>(
      `select id::text, payment_id || ':' || version as event from payment_log where version is not null and id > $1 order by id`,
      [lastId],
    );
    lastId = rows.at(-1)?.id ?? lastId;
    return rows.map(({ event }) => event);
  };
  expect(await readById()).toEqual([`${known.id}:1`]);

  // The creation has its log entry and is held up before it commits.
  await using holder = await holdUp(bench, 'payment_sync');
  const creating = create(await bench.anotherWriter());
  await until(async () => (await bench.sql(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)).length > 0);
  // A change that leaves that table alone.
  await report(bench.deps, known, 'PROCESSING');
  expect(await readById()).toEqual([`${known.id}:2`]);
  expect(idsOf([await pull(watch, 'events')])).toEqual([`${known.id}:2`]);

  await holder.release();
  const late = await creating;
  bench.feed.kick();
  expect(idsOf([await pull(watch, 'events')])).toEqual([`${late.id}:1`]);
  expect(await readById()).toEqual([]);
});

test('a change without anybody to kick for it is found by the peek', async () => {
  await using bench = await openBench({ peekMs: 10 });
  const silent = await bench.anotherWriter();
  const watch = await bench.feed.watch(wish());
  await pull(watch, 'created');

  const payment = await create(silent);
  const { events } = await pull(watch, 'events');
  expect(events.map(({ eventId }) => eventId)).toEqual([`${payment.id}:1`]);
});

test('two versions of one payment in one transaction come in their order, between others that share it', async () => {
  await using bench = await openBench();
  const payments = await Promise.all(Array.from({ length: 40 }, () => create(bench.deps)));
  // Two reports in one batch: the unit of work puts operations of one payment that arrive together into one transaction.
  await Promise.all(payments.toReversed().flatMap((payment) => [report(bench.deps, payment, 'PROCESSING'), report(bench.deps, payment, 'SUCCEEDED')]));

  const shared = await bench.sql(`select 1 from payment_log where version is not null group by xid, payment_id having count(*) > 1`);
  expect(shared.length).toBeGreaterThan(0);
  const events = eventsOf(await read(bench.feed));
  expect(events).toHaveLength(120);
  expectVersionsInOrder(events);
});

test('an entry without a version is in the log and not in the feed', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  await report(bench.deps, payment, 'SUCCEEDED');
  await expect(report(bench.deps, payment, 'PENDING')).rejects.toThrow();
  await report(bench.deps, payment, 'SUCCEEDED');

  const log = await bench.sql<{ version: number | null }>('select version from payment_log order by seq');
  expect(log.filter(({ version }) => version === null).length).toBeGreaterThan(0);
  expect(idsOf(await read(bench.feed))).toEqual([`${payment.id}:1`, `${payment.id}:2`]);
  const [idle] = await bench.sql(`select appended from feed_advance(0::smallint, 'feed', true)`);
  expect(idle).toEqual({ appended: 0 });
});

test('an event says what changed', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps, { appId: 'app-7', orderId: 'order-7', userId: 'user-7' });
  const paid = await report(bench.deps, payment, 'SUCCEEDED');

  const [created, succeeded] = eventsOf(await read(bench.feed, { view: 'FULL' }));
  const common = { shard: 0, epoch: 1, paymentId: payment.id, platform: 'WECHATPAY', appId: 'app-7', orderId: 'order-7', userId: 'user-7' };
  expect(created).toMatchObject({ ...common, revision: 1n, version: 1, previousStatus: null, status: 'PENDING' });
  expect(succeeded).toMatchObject({ ...common, revision: 2n, version: 2, previousStatus: 'PENDING', status: 'SUCCEEDED', occurredAt: expect.any(Date) });
  // The payment is shown as it is now, also beside an older event.
  expect([created!.payment?.version, succeeded!.payment?.version]).toEqual([2, 2]);
  expect(created!.payment?.paidAmount).toBe(paid.paidAmount);
});

async function write(deps: Deps): Promise<void> {
  const lanes = Array.from({ length: 10 }, async () => {
    for (let round = 0; round < PAYMENTS_EACH / 10; round++) {
      const payment = await create(deps);
      await report(deps, payment, 'PROCESSING');
      await report(deps, payment, 'SUCCEEDED');
    }
  });
  await Promise.all(lanes);
}

/** Whoever has inserted into the table waits at the end of his statement. */
async function holdUp(bench: Bench, table: string): Promise<{ release(): Promise<void> } & AsyncDisposable> {
  await bench.sql('create function hold_up() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(4711); return null; end $$');
  await bench.sql(`create trigger hold_up after insert on ${table} for each row execute function hold_up()`);
  const client = new pg.Client(bench.url);
  await client.connect();
  await client.query('select pg_advisory_lock(4711)');
  return { release: async () => void (await client.query('select pg_advisory_unlock(4711)')), [Symbol.asyncDispose]: () => client.end() };
}

async function collect(feed: Feed, count: number): Promise<FeedEvent[]> {
  const events: FeedEvent[] = [];
  for await (const message of await feed.watch(wish())) {
    if (message.kind === 'events') events.push(...message.events);
    if (events.length >= count) break;
  }
  return events;
}

function expectVersionsInOrder(events: readonly FeedEvent[]): void {
  const versions = new Map<string, number>();
  for (const { paymentId, version } of events) {
    expect(version).toBe((versions.get(paymentId) ?? 0) + 1);
    versions.set(paymentId, version);
  }
}
