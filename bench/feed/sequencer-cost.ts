/** What giving every change its place in the feed costs those who write: the same writer with and without it, round by round. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.js';
import { openFeed } from '../../src/feed/feed.js';
import { createLogger } from '../../src/logger.js';
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.js';
import { migrateUp } from '../../src/store/migrate.js';
import { openOrm } from '../../src/store/orm.js';
import { UnitOfWork } from '../../src/store/unit-of-work.js';
import { creation } from '../../test/support/store.js';

const IN_FLIGHT = 256;

/** Changes a second. */
export async function measureSequencerCost({ rounds, seconds }: { rounds: number; seconds: number }): Promise<{ plain: number; sequenced: number }> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'paystate-bench-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const postgres = stack.use(await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') }));
  const url = postgres.url('paystate');
  await migrateUp(url, { createDatabase: true });
  const orm = await openOrm(url);
  stack.defer(() => orm.close(true));

  const sums = { plain: 0, sequenced: 0 };
  await write(new UnitOfWork(orm, systemClock), 1);
  for (let round = 0; round < rounds; round += 1) {
    sums.plain += await write(new UnitOfWork(orm, systemClock), seconds);
    await using feed = await openFeed({ orm, databaseUrl: url, clock: systemClock, log: createLogger('error'), cursorKey: 'a key of this bench' });
    sums.sequenced += await write(new UnitOfWork(orm, systemClock, { onCommit: feed.kick }), seconds);
  }
  return { plain: sums.plain / rounds, sequenced: sums.sequenced / rounds };
}

async function write(work: UnitOfWork, seconds: number): Promise<number> {
  let made = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      for (; performance.now() - began < seconds * 1_000; made += 1) await work.run(creation());
    }),
  );
  await work.whenIdle();
  return made / ((performance.now() - began) / 1_000);
}
