import type { FeedEvent } from '../../src/feed/event.js';
import { Publisher } from '../../src/feed/nats/publisher.js';
import { FeedStream } from '../../src/feed/nats/stream.js';
import { after, create, eventsOf, idsOf, openBench, pull, read, report, wish, type Bench } from '../feed/bench.js';
import { startNatsServer } from '../support/nats-server.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { collect, isCarried, openNatsBench, revisions } from './bench.js';

/** Gives revisions as a replica does that dies before it has published them. */
const advanceAndDie = (bench: Bench) => bench.sql(`select feed_advance(0::smallint, 'feed')`);

test('a repeated publish changes nothing, and one that is behind is refused', async () => {
  await using stage = await openNatsBench();
  const { bench } = stage;
  const reader = await stage.replica();
  const watch = await reader.watch(wish());
  for (let number = 0; number < 3; number++) await create(bench.deps);
  await until(() => bench.feed.health().carrier?.lastRev === 3n);

  const { client, manager } = await stage.jetstream();
  const stored = await manager.streams.getMessage('PAYFEED_0_e1', { seq: 2 });
  const again = { msgID: stored!.header.get('Nats-Msg-Id'), expect: { lastSequence: 1 } };
  expect(await client.publish(stored!.subject, stored!.data, again)).toMatchObject({ seq: 2, duplicate: true });
  await expect(client.publish(stored!.subject, stored!.data, { ...again, msgID: 'long after' })).rejects.toThrow('wrong last sequence: 3');
  expect((await manager.streams.info('PAYFEED_0_e1')).state.last_seq).toBe(3);

  const events: FeedEvent[] = [];
  while (events.length < 3) events.push(...(await pull(watch, 'events')).events);
  expect(events.map(({ revision }) => revision)).toEqual(revisions(1, 3));
});

test('a publisher that is ahead of the stream is refused, looks where the stream ends and goes on from there', async () => {
  await using stage = await openNatsBench({ patienceMs: 60_000 }, { peekMs: 60_000 });
  const { bench, server } = stage;
  const silent = await bench.anotherWriter();
  for (let number = 0; number < 3; number++) await create(bench.deps);
  await until(() => bench.feed.health().carrier?.lastRev === 3n);
  for (let number = 0; number < 3; number++) await create(silent);
  await advanceAndDie(bench);

  const pages = stage.pages();
  await using stream = await FeedStream.open({ urls: [server.url], replicas: 1, maxAgeMs: 60_000, connectMaxMs: 5_000, answerMaxMs: 5_000, heartbeatMs: 1_000 }, await pages.head());
  const events = async (from: bigint, to: bigint) => (await pages.read(from, to)).events;
  const ahead = new Publisher(stream, 4n, events);
  ahead.heal(6n);
  await until(() => ahead.refusedCount === 2 && ahead.lastRev === 3n);
  ahead.heal(6n);
  await until(() => ahead.lastRev === 6n);

  // One that is behind repeats what is known, until there is something new.
  await create(silent);
  await advanceAndDie(bench);
  const behind = new Publisher(stream, 2n, events);
  behind.heal(7n);
  await until(() => behind.lastRev === 7n);
  expect(behind.refusedCount).toBe(0);
  const { manager } = await stage.jetstream();
  expect((await manager.streams.info('PAYFEED_0_e1')).state).toMatchObject({ messages: 7, last_seq: 7 });
});

test('two replicas that give revisions at the same time leave one gapless stream', async () => {
  await using stage = await openNatsBench({ patienceMs: 1 }, { peekMs: 1 });
  const { bench } = stage;
  const other = await stage.replica();
  const writer = await bench.anotherWriter();
  const seen = collect(other, 600);
  await Promise.all([bench.deps, writer].flatMap((deps) => Array.from({ length: 10 }, async () => {
    for (let round = 0; round < 30; round++) await create(deps);
  })));
  expect((await seen).map(({ revision }) => revision)).toEqual(revisions(1, 600));
  await until(() => bench.feed.health().carrier?.lastRev === 600n);
  const { manager } = await stage.jetstream();
  expect((await manager.streams.info('PAYFEED_0_e1')).state).toMatchObject({ messages: 600, last_seq: 600 });
});

test('what a replica has given and not published before it died, another one publishes', async () => {
  await using stage = await openNatsBench({ patienceMs: 20 }, { peekMs: 60_000 });
  const { bench } = stage;
  const watch = await bench.feed.watch(wish());
  const silent = await bench.anotherWriter();
  const payments = [await create(silent), await create(silent)];
  await advanceAndDie(bench);

  await until(() => bench.feed.health().carrier?.lastRev === 2n);
  const events: FeedEvent[] = [];
  while (events.length < 2) events.push(...(await pull(watch, 'events')).events);
  expect(events.map(({ paymentId }) => paymentId)).toEqual(payments.map(({ id }) => id));

  await create(bench.deps);
  await until(() => bench.feed.health().carrier?.lastRev === 3n);
});

test('a watch goes on at another transport with the same cursor, in both directions and from before the stream', async () => {
  await using server = await startNatsServer();
  await using bench = await openBench();
  const early = [await create(bench.deps), await create(bench.deps)];
  const onNats = await bench.anotherFeed({ nats: { urls: [server.url] } });
  await until(() => isCarried(onNats) && onNats.health().head === 2n);
  const late = [await create(bench.deps), await report(bench.deps, early[0]!, 'SUCCEEDED')];
  await until(() => onNats.health().carrier?.lastRev === 4n);

  const expected = [...early, ...late].map(({ id, version }) => `${id}:${version}`);
  const [onPostgres, brought] = [await read(bench.feed, { eventsPerMessageMax: 1 }), await read(onNats, { eventsPerMessageMax: 1 })];
  expect(idsOf(onPostgres)).toEqual(expected);
  expect(eventsOf(brought)).toEqual(eventsOf(onPostgres));
  for (const [from, to] of [[onPostgres, onNats], [brought, bench.feed]] as const) {
    const messages = from.filter(({ kind }) => kind === 'events');
    for (const [index, message] of messages.entries()) expect(idsOf(await read(to, { start: after(message) }))).toEqual(expected.slice(index + 1));
  }
});

test('a new epoch has a stream of its own, and watches go on into it', async () => {
  await using stage = await openNatsBench();
  const { bench } = stage;
  const reader = await stage.replica();
  const watch = await reader.watch(wish());
  await create(bench.deps);
  await until(() => reader.health().carrier?.lastRev === 1n);

  // As a promotion looks to the feed.
  await bench.sql(`update feed_head set lineage = lineage || '-before'`);
  await create(bench.deps);
  await until(() => [bench.feed, reader].every((feed) => isCarried(feed) && feed.health().carrier?.lastRev === 2n));
  await create(bench.deps);
  const events: FeedEvent[] = [];
  while (events.length < 3) events.push(...(await pull(watch, 'events')).events);
  expect(events.map(({ revision, epoch }) => [revision, epoch])).toEqual([[1n, 1], [2n, 2], [3n, 2]]);

  await until(() => reader.health().carrier?.lastRev === 3n);
  const { manager } = await stage.jetstream();
  const { config, state } = await manager.streams.info('PAYFEED_0_e2');
  const [, base] = /after (\d+)$/.exec(config.description!)!;
  expect(Number(base) + state.last_seq).toBe(3);
});

test('without NATS from the start everything is delivered, the health says so, and it is used when it comes', async () => {
  await using server = await startNatsServer();
  await server.kill();
  await using bench = await openBench({ nats: { urls: [server.url], retryMaxMs: 50 } });
  const watch = await bench.feed.watch(wish());
  const first = await create(bench.deps);
  expect(idsOf([await pull(watch, 'events')])).toEqual([`${first.id}:1`]);
  expect(bench.feed.health().carrier).toMatchObject({ isLive: false, fault: expect.stringMatching(/refused/i), brought: 0n });

  await server.start();
  await until(() => isCarried(bench.feed));
  const second = await create(bench.deps);
  expect(idsOf([await pull(watch, 'events')])).toEqual([`${second.id}:1`]);
  await until(() => bench.feed.health().carrier?.lastRev === 2n);
  expect(bench.feed.health().carrier).toMatchObject({ isLive: true, fault: null });
});

test('a server that hangs is given up by its silence, and meanwhile the database is read', async () => {
  await using stage = await openNatsBench({ heartbeatMs: 100, patienceMs: 20, connectMaxMs: 200 }, { peekMs: 20 });
  const { bench, server } = stage;
  const reader = await stage.replica();
  const watch = await reader.watch(wish());
  server.freeze();
  try {
    const payment = await create(bench.deps);
    expect(idsOf([await pull(watch, 'events')])).toEqual([`${payment.id}:1`]);
    await until(() => !isCarried(reader));
  } finally {
    server.thaw();
  }
  await until(() => [bench.feed, reader].every((feed) => isCarried(feed) && feed.health().carrier?.lastRev === 1n));
});

test('a stream of another feed, and one that the database has fallen behind, are left alone', async () => {
  await using stage = await openNatsBench();
  await create(stage.bench.deps);
  await until(() => stage.bench.feed.health().carrier?.lastRev === 1n);

  await using others = await openBench();
  await others.sql('update feed_head set feed_id = feed_id + 1');
  const stranger = await others.anotherFeed({ nats: { urls: [stage.server.url] } });
  await until(() => stranger.health().carrier?.fault?.includes('is not of this feed') === true);
  const payment = await create(others.deps);
  expect(idsOf(await read(stranger))).toEqual([`${payment.id}:1`]);

  // Restored from a copy without an epoch: what the stream has is not what the database will have.
  await stage.bench.sql('delete from feed');
  await stage.bench.sql('update feed_head set rev = 0');
  const restored = await stage.bench.anotherFeed({ nats: { urls: [stage.server.url] } });
  await until(() => restored.health().carrier?.fault?.includes('went back without a new epoch') === true);
});

test('a replica that cannot reach NATS reads what the others give, by their notifications', async () => {
  await using stage = await openNatsBench();
  const { bench, server } = stage;
  await using proxy = await startTcpProxy({ target: { host: '127.0.0.1', port: Number(new URL(server.url).port) } });
  const cutOff = await stage.replica({ urls: [`nats://127.0.0.1:${proxy.port}`] }, { peekMs: 60_000 });
  const watch = await cutOff.watch(wish());
  await pull(watch, 'created');
  await proxy.close();
  await until(() => !isCarried(cutOff));

  const payment = await create(bench.deps);
  expect(idsOf([await pull(watch, 'events')])).toEqual([`${payment.id}:1`]);
  expect(cutOff.health()).toMatchObject({ eventsRead: 1n, carrier: { isLive: false } });
});

test('what a later version has published in its own layout is read from the database, when more comes and when nothing does', async () => {
  for (const [patienceMs, payments] of [[60_000, 2], [20, 1]] as const) {
    await using stage = await openNatsBench({ patienceMs }, { peekMs: 60_000 });
    const { bench } = stage;
    const watch = await bench.feed.watch(wish());
    await pull(watch, 'created');
    const { client } = await stage.jetstream();
    const [{ id }] = (await bench.sql<{ id: string }>(`select feed_id || '-1-0-1' as id from feed_head`)) as [{ id: string }];
    await client.publish('payfeed.0.e1.ALIPAY.shop.PENDING', JSON.stringify({ v: 2 }), { msgID: id, expect: { lastSequence: 0 } });
    await until(() => bench.feed.health().carrier?.lastRev === 1n);

    for (let number = 0; number < payments; number++) await create(bench.deps);
    const events: FeedEvent[] = [];
    while (events.length < payments) events.push(...(await pull(watch, 'events')).events);
    expect(events.map(({ revision }) => revision)).toEqual(revisions(1, payments));
  }
});

test('a message that is not what its place says ends the use of the stream, and nothing of it is delivered', async () => {
  await using stage = await openNatsBench();
  const { bench } = stage;
  const watch = await bench.feed.watch(wish());
  const { client } = await stage.jetstream();
  await client.publish('payfeed.0.e1.ALIPAY.shop.PENDING', '{}', { msgID: 'a stranger', expect: { lastSequence: 0 } });
  await until(() => bench.feed.health().carrier?.fault?.includes('the stream has a stranger where') === true);
  const payment = await create(bench.deps);
  expect(idsOf([await pull(watch, 'events')])).toEqual([`${payment.id}:1`]);
});
