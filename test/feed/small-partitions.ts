/** A feed whose partitions are so small that a test can fill them, and history that is as old as a test says. */
import { Retention, type RetentionOptions } from '../../src/feed/retention.js';
import { createLogger } from '../../src/logger.js';
import { create, type Bench } from './bench.js';

export const SIZE = 10;

/** To be called while the feed is empty. */
export async function makeSmallPartitions(bench: Bench, count: number): Promise<void> {
  for (const name of await partitions(bench)) if (name !== 'feed_rest') await bench.sql(`drop table ${name}`);
  for (let to = SIZE; to <= count * SIZE; to += SIZE) {
    await bench.sql(`create table feed_to_${to} partition of feed for values from (${to - SIZE + 1}) to (${to + 1})`);
  }
}

/** Each pass looks after the feed at once; `pause` stands for the time that it gives to watches and to pages. */
export function retentionOf(bench: Bench, options: Partial<RetentionOptions> = {}): Retention {
  return new Retention({
    databaseUrl: bench.url,
    days: 30,
    log: createLogger('silent'),
    partitionRevsMin: BigInt(SIZE),
    pause: () => Promise.resolve(),
    ...options,
  });
}

/** Makes everything up to a revision older than the retention. */
export async function age(bench: Bench, rev: number): Promise<void> {
  await bench.sql(`update feed set sequenced_at = now() - interval '31 days' where rev <= $1`, [rev]);
}

export async function createMany(bench: Bench, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => create(bench.deps)));
}

export async function partitions(bench: Bench): Promise<string[]> {
  const rows = await bench.sql<{ name: string }>(
    `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'feed'::regclass order by length(c.relname), 1`,
  );
  return rows.map(({ name }) => name);
}
