import { create, pull, report, wish } from '../feed/bench.js';
import { until } from '../support/until.js';
import { collect, openNatsBench, revisions } from './bench.js';

test('what is written through one replica is watched on the other, which reads no event from the database', async () => {
  await using stage = await openNatsBench({ patienceMs: 10_000 });
  const { bench } = stage;
  // A peek that comes first gives revisions, and who gives them reads them.
  const reader = await stage.replica({ patienceMs: 10_000 }, { peekMs: 60_000 });
  const [near, far] = [collect(bench.feed, 300), collect(reader, 300)];
  await Promise.all([bench.feed, reader].map((feed) => until(() => feed.health().openWatches === 1)));

  await Promise.all(Array.from({ length: 10 }, async () => {
    for (let round = 0; round < 15; round++) await report(bench.deps, await create(bench.deps), 'SUCCEEDED');
  }));
  expect((await far).map(({ revision }) => revision)).toEqual(revisions(1, 300));
  expect(await far).toEqual(await near);
  expect(reader.health()).toMatchObject({ eventsRead: 0n, carrier: { brought: 300n, lastRev: 300n } });
});

test('a watch on another replica hears a change at once, and its bookmark claims no more than what was delivered', async () => {
  await using stage = await openNatsBench({ patienceMs: 10_000 });
  const { bench } = stage;
  const reader = await stage.replica({ patienceMs: 10_000 });
  const watch = await reader.watch(wish({ start: { kind: 'NOW' }, bookmarkIntervalMs: 1 }));
  await pull(watch, 'created');

  let seen = 0n;
  for (let number = 0; number < 20; number++) {
    const payment = await create(bench.deps, { appId: 'a.b *>' });
    const committed = new Date();
    for (;;) {
      const { value: message } = await watch.next();
      if (message?.kind === 'events') seen = message.events.at(-1)!.revision;
      if (message?.kind !== 'bookmark') continue;
      // Whoever hears that everything before now is there must have this change.
      if (message.asOf !== null && message.asOf > committed) break;
    }
    expect(seen).toBe(BigInt(number + 1));
    expect(payment.version).toBe(1);
  }
  expect(reader.health().carrier!.brought).toBeGreaterThan(0n);
});

test('the stream has the revisions, the subjects and the ids that it is to have', async () => {
  await using stage = await openNatsBench();
  const { bench } = stage;
  const payment = await create(bench.deps, { appId: 'a.b *>' });
  await report(bench.deps, payment, 'SUCCEEDED');
  await until(() => bench.feed.health().carrier?.lastRev === 2n);

  const { manager } = await stage.jetstream();
  const { config } = await manager.streams.info('PAYFEED_0_e1');
  expect(config).toMatchObject({ storage: 'file', deny_delete: true, deny_purge: true, num_replicas: 1, max_age: 30 * 86_400e9 });
  const message = await manager.streams.getMessage('PAYFEED_0_e1', { seq: 2 });
  const [{ feed_id: feedId }] = await bench.sql<{ feed_id: number }>('select feed_id from feed_head') as [{ feed_id: number }];
  expect(message!.subject).toBe('payfeed.0.e1.WECHATPAY.a%2Eb%20%2A%3E.SUCCEEDED');
  expect(message!.header.get('Nats-Msg-Id')).toBe(`${feedId}-1-0-2`);
  expect(message!.json()).toMatchObject({ v: 1, rev: '2', payment_id: payment.id, version: 2, previous_status: 'PENDING', status: 'SUCCEEDED', app_id: 'a.b *>' });
});
