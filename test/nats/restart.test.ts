import { create, report } from '../feed/bench.js';
import { until } from '../support/until.js';
import { collect, isCarried, openNatsBench, revisions } from './bench.js';

test('nothing is lost, repeated or out of order while the server is killed and started again under load', async () => {
  await using stage = await openNatsBench();
  const { bench, server } = stage;
  const reader = await stage.replica();
  const total = 900;
  const seen = [bench.feed, reader].map((feed) => collect(feed, total));

  let written = 0;
  const lanes = Array.from({ length: 10 }, async () => {
    for (let round = 0; round < 30; round++) {
      const payment = await create(bench.deps);
      await report(bench.deps, payment, 'PROCESSING');
      await report(bench.deps, payment, 'SUCCEEDED');
      written += 3;
    }
  });
  for (const at of [200, 500]) {
    await until(() => written > at);
    await server.kill();
    await until(() => ![bench.feed, reader].some(isCarried));
    await until(() => written > at + 100);
    await server.start();
    await until(() => [bench.feed, reader].every(isCarried));
  }
  await Promise.all(lanes);

  const [near, far] = await Promise.all(seen);
  expect(near!.map(({ revision }) => revision)).toEqual(revisions(1, total));
  expect(far).toEqual(near);
  await until(() => reader.health().carrier?.lastRev === BigInt(total));
  const { manager } = await stage.jetstream();
  expect((await manager.streams.info('PAYFEED_0_e1')).state).toMatchObject({ messages: total, first_seq: 1, last_seq: total });
});
