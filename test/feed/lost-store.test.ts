import { jest } from '@jest/globals';
import { systemClock } from '../../src/clock.js';
import { openFeed } from '../../src/feed/feed.js';
import { Snapshot } from '../../src/feed/snapshot.js';
import { createLogger } from '../../src/logger.js';
import { openOrm } from '../../src/store/orm.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { after, create, eventsOf, idsOf, openBench, pull, read, refusal, wish, type Bench } from './bench.js';

const LISTENER = `application_name = 'paystate feed listen' and datname = current_database()`;

/** A second feed of the same database that reaches it through a proxy. */
async function openBehindProxy(bench: Bench, storeLostMs: number) {
  const stack = new AsyncDisposableStack();
  const url = new URL(bench.url);
  const proxy = stack.use(await startTcpProxy({ target: { host: url.hostname, port: Number(url.port) } }));
  url.port = `${proxy.port}`;
  const orm = stack.adopt(await openOrm(url.href, 4), (own) => own.close(true));
  const feed = stack.use(
    await openFeed({
      orm, databaseUrl: url.href, clock: systemClock, log: createLogger('silent'), cursorKey: 'a key of these tests',
      bookmarkIntervalMinMs: 1, storeLostMs, peekMs: 10, pollMs: 10, retryMinMs: 5, retryMaxMs: 20, connectMaxMs: 100, answerMaxMs: 100,
    }),
  );
  return { feed, proxy, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test('deliveries go on while the listening connection is killed again and again', async () => {
  await using bench = await openBench({ peekMs: 100, pollMs: 5, retryMinMs: 200 });
  const other = await bench.anotherWriter();
  const live = await bench.feed.watch(wish());
  await pull(live, 'created');

  const created: string[] = [];
  const delivered: string[] = [];
  for (let round = 0; round < 5; round++) {
    const killed = await bench.sql(`select pg_terminate_backend(pid) from pg_stat_activity where ${LISTENER}`);
    expect(killed.length).toBe(1);
    await until(() => !bench.feed.health().isListening);
    // Nobody kicks for this writer: polling finds it.
    for (let count = 0; count < 3; count++) created.push(`${(await create(other)).id}:1`);
    while (delivered.length < created.length) delivered.push(...idsOf([await pull(live, 'events')]));
    await until(() => bench.feed.health().isListening);
  }
  expect(delivered).toEqual(created);
});

test('a notification of another replica is enough', async () => {
  await using bench = await openBench({ peekMs: 600_000 });
  const deaf = await bench.anotherFeed();
  const live = await bench.feed.watch(wish());
  await pull(live, 'created');
  const payment = await create(await bench.anotherWriter());
  deaf.kick();
  expect(idsOf([await pull(live, 'events')])).toEqual([`${payment.id}:1`]);
});

test('a short absence of the database ends no watch: bookmarks pause, then everything comes', async () => {
  await using bench = await openBench();
  await using lone = await openBehindProxy(bench, 60_000);
  const live = await lone.feed.watch(wish({ bookmarkIntervalMs: 10 }));
  await pull(live, 'bookmark');

  lone.proxy.freeze();
  lone.proxy.cutAll();
  await until(() => lone.feed.health().isStoreLost);
  const { asOf } = lone.feed.health();
  const payments = [await create(bench.deps), await create(bench.deps)];
  expect(lone.feed.health().asOf).toEqual(asOf);

  lone.proxy.resume();
  lone.proxy.cutAll();
  const delivered: string[] = [];
  while (delivered.length < 2) delivered.push(...idsOf([await pull(live, 'events')]));
  expect(delivered).toEqual(payments.map(({ id }) => `${id}:1`));
  expect(lone.feed.health().asOf.getTime()).toBeGreaterThan(asOf.getTime());
});

test('a connection that hangs is given up, and deliveries go on with another', async () => {
  await using bench = await openBench();
  await using lone = await openBehindProxy(bench, 60_000);
  const live = await lone.feed.watch(wish());
  await pull(live, 'created');
  lone.proxy.freeze();
  await until(() => !lone.feed.health().isListening);
  const payment = await create(bench.deps);
  lone.proxy.resume();
  expect(idsOf([await pull(live, 'events')])).toEqual([`${payment.id}:1`]);
  await until(() => lone.feed.health().isListening);
});

test('a long absence ends the watches, live ones and those behind, with where to resume', async () => {
  await using bench = await openBench();
  for (let count = 0; count < 4; count++) await create(bench.deps);
  await using lone = await openBehindProxy(bench, 100);
  const live = await lone.feed.watch(wish());
  await pull(live, 'events');
  const behind = await lone.feed.watch(wish({ eventsPerMessageMax: 1 }));
  const first = await pull(behind, 'events');

  await lone.proxy.close();
  const errors = [await refusal(pull(live, 'events')), await refusal(pull(behind, 'goodbye'))];
  for (const error of errors) expect(error).toMatchObject({ reason: 'STORE_UNAVAILABLE', metadata: { cursor: expect.any(String) } });
  expect(await refusal(lone.feed.watch(wish({ start: { kind: 'NOW' } })))).toMatchObject({ reason: 'STORE_UNAVAILABLE' });

  const rest = await read(bench.feed, { start: after(first) });
  expect(eventsOf(rest)).toHaveLength(3);
  const cursor = Buffer.from(errors[0]!.metadata['cursor']!, 'base64url');
  expect(eventsOf(await read(bench.feed, { start: { kind: 'CURSOR', cursor } }))).toEqual([]);
});

test('a snapshot that cannot be read is tried again at a pace, also when a bookmark would be due', async () => {
  await using bench = await openBench({ storeLostMs: 600 });
  await create(bench.deps);
  const watcher = await bench.feed.watch(wish({ start: { kind: 'SNAPSHOT' }, bookmarkIntervalMs: 1 }));
  await pull(watcher, 'created');
  await bench.sql('alter table payment rename to payment_away');
  const reads = jest.spyOn(Snapshot.prototype, 'page');
  expect(await refusal(pull(watcher, 'snapshot'))).toMatchObject({ reason: 'STORE_UNAVAILABLE' });
  expect(reads.mock.calls.length).toBeGreaterThanOrEqual(2);
  expect(reads.mock.calls.length).toBeLessThanOrEqual(4);
});
