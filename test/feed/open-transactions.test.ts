/**
 * What an open transaction may do to a feed, beside the control: a reader below the horizon, which delivers by (xid, id) what is older
 * than every open transaction. No transaction is open for seconds here; what counts is how much is committed while it is.
 */
import pg from 'pg';
import type { Payment } from '../../src/payment/payment.js';
import { freshDatabase } from '../support/database.js';
import { until } from '../support/until.js';
import { create, eventsOf, idsOf, openBench, pull, read, report, wish, type Bench } from './bench.js';

/** In the order in which a reader below the horizon delivers; what it must still wait for is not in it. */
async function belowHorizon(bench: Bench): Promise<string[]> {
  const rows = await bench.sql<{ event: string }>(
    `select payment_id || ':' || version as event from payment_log
      where version is not null and xid < pg_snapshot_xmin(pg_current_snapshot()) order by xid, id`,
  );
  return rows.map(({ event }) => event);
}

async function waitingForLocks(bench: Bench): Promise<number> {
  return (await bench.sql(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)).length;
}

async function begin(url: string, statement: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query(`begin; ${statement}`);
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

test('an open transaction of any database holds up nobody, where a reader below the horizon waits for it', async () => {
  await using bench = await openBench();
  await using elsewhere = await freshDatabase();
  await using open = await begin(elsewhere.url, 'select pg_current_xact_id()');
  const live = await bench.feed.watch(wish());
  await pull(live, 'created');

  const committed: string[] = [];
  const delivered: string[] = [];
  for (let round = 0; round < 20; round++) {
    const payments = await Promise.all(Array.from({ length: 10 }, () => create(bench.deps)));
    committed.push(...payments.map(({ id }) => `${id}:1`));
    while (delivered.length < committed.length) delivered.push(...idsOf([await pull(live, 'events')]));
  }
  expect(delivered.toSorted()).toEqual(committed.toSorted());
  expect(await belowHorizon(bench)).toEqual([]);

  await open.query('commit');
  await until(async () => (await belowHorizon(bench)).length === committed.length);
});

test('a transaction that wrote early and commits last has its event delivered then, after two hundred others', async () => {
  await using bench = await openBench();
  const payments = await Promise.all(Array.from({ length: 100 }, () => create(bench.deps)));
  const live = await bench.feed.watch(wish({ start: { kind: 'NOW' } }));
  await pull(live, 'created');

  // The creation has its log entry and waits for the table that it writes last; reports of progress leave that table alone.
  await using holder = await begin(bench.url, 'lock table payment_sync in exclusive mode');
  const creating = create(await bench.anotherWriter());
  await until(async () => (await waitingForLocks(bench)) === 1);
  const delivered: string[] = [];
  for (const status of ['PROCESSING', 'PENDING'] as const) {
    await Promise.all(payments.map((payment) => report(bench.deps, payment, status)));
    const expected = delivered.length + payments.length;
    while (delivered.length < expected) delivered.push(...idsOf([await pull(live, 'events')]));
  }
  expect(new Set(delivered).size).toBe(200);

  await holder.query('commit');
  const late = await creating;
  bench.feed.kick();
  expect(idsOf([await pull(live, 'events')])).toEqual([`${late.id}:1`]);
  expect(eventsOf(await read(bench.feed)).map(({ revision }) => Number(revision))).toEqual(Array.from({ length: 301 }, (_, index) => index + 1));
});

test('an entry that is rolled back is no event and leaves no gap', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  {
    await using undone = await begin(bench.url, COPY_WITH_NEXT_VERSION);
    await create(bench.deps);
    expect(idsOf(await read(bench.feed))).toHaveLength(2);
    await undone.query('rollback');
  }
  await report(bench.deps, payment, 'SUCCEEDED');
  expect(eventsOf(await read(bench.feed)).map(({ revision, version }) => [revision, version])).toEqual([[1n, 1], [2n, 1], [3n, 2]]);
});

test('versions of a hot payment come in their order, where a reader below the horizon misorders them', async () => {
  await using bench = await openBench();
  const [cold, hot] = [await create(bench.deps), await create(bench.deps)].sort((a, b) => (a.id < b.id ? -1 : 1)) as [Payment, Payment];

  // One transaction is for both, has its id, and waits for the first of them; meanwhile a younger one changes the second.
  await using holder = await begin(bench.url, `select 1 from payment where id = '${cold.id}' for update`);
  const other = await bench.anotherWriter();
  const both = [report(other, cold, 'PROCESSING'), report(other, hot, 'SUCCEEDED')];
  await until(async () => (await waitingForLocks(bench)) === 1);
  await report(bench.deps, hot, 'PROCESSING');
  await holder.query('commit');
  await Promise.all(both);

  const [created, middle, last] = [1, 2, 3].map((version) => `${hot.id}:${version}`);
  const isHot = (id: string): boolean => id.startsWith(hot.id);
  await until(async () => (await belowHorizon(bench)).filter(isHot).length === 3);
  expect((await belowHorizon(bench)).filter(isHot)).toEqual([created, last, middle]);
  expect(idsOf(await read(bench.feed)).filter(isHot)).toEqual([created, middle, last]);
});

const COPY_WITH_NEXT_VERSION = `
  insert into payment_log (payment_id, seq, version, kind, actor_type, actor_id, status, reason, evidence, platform, app_id, occurred_at,
                           recorded_at, hash)
  select payment_id, seq + 1, version + 1, kind, actor_type, actor_id, status, reason, evidence, platform, app_id, occurred_at, recorded_at, hash
    from payment_log`;
