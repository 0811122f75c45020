/**
 * Keeps the feed's history for as long as it was promised and not for ever: makes partitions ahead of the head, and drops those
 * whose newest row is older than the retention. Every replica runs it, one at a time.
 *
 * The order of a compaction is what nobody may miss it by:
 *
 *   1. a bookmark to every watch, so that also those that nothing matches have a newer cursor;
 *   2. `compact_rev` is committed: from then on an older cursor is refused with CURSOR_EXPIRED, and a watch that stands there ends
 *      with it, although the rows are still there;
 *   3. after the longest time that a page may take, the rows go.
 *
 * A pass that dies anywhere is finished by the next one, whoever runs it.
 *
 * Nobody has to say that a snapshot is under way. It replays what was sequenced after it began, and a partition is dropped only when
 * all of it is older than a whole number of days: a snapshot has a day at least, on any replica and across reconnects.
 */
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../logger.js';
import { SHARD } from './history.js';
import { connectionOptions } from './listener.js';
import { clearRest, dropPartition, isOlder, makePartition, partitionsOf, revisionsInDay } from './partitions.js';
import { CHANNEL, COMPACTION } from './sequencer.js';

export interface RetentionOptions {
  readonly databaseUrl: string;
  /** At least 1. */
  readonly days: number;
  readonly log: Logger;
  /** Revisions in a partition; more where a day has more, so that there are never too many partitions to plan a query over. */
  readonly partitionRevsMin?: bigint;
  /** Gives bookmarks the time to leave and pages the time to end. */
  readonly pause?: () => Promise<void>;
}

/** Any number works; it only has to be the same in every process and taken by nothing else. */
const RETENTION_LOCK = 7_205_759_404;
const EVERY_MS = 60_000;
const CONNECT_MAX_MS = 5_000;
/** No page and no statement of the feed takes longer; see `answerMaxMs` of the feed. */
const PAGE_MAX_MS = 10_000;
/** Whoever waits for a lock makes others wait behind it. */
const LOCK_MAX_MS = 100;
const LOCK_NOT_AVAILABLE = '55P03';

export class Retention implements AsyncDisposable {
  private readonly stopping = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private running: Promise<void> = Promise.resolve();
  private readonly partitionRevsMin: bigint;

  constructor(private readonly options: RetentionOptions) {
    this.partitionRevsMin = options.partitionRevsMin ?? 1_000_000n;
  }

  start(): void {
    this.timer = setTimeout(() => {
      this.running = this.runOnce()
        .then(() => undefined, (error: unknown) => this.report(error))
        .finally(() => {
          if (!this.stopping.signal.aborted) this.start();
        });
    }, EVERY_MS * (0.5 + Math.random())).unref();
  }

  /** One pass; false where another replica is at it. */
  async runOnce(): Promise<boolean> {
    const client = this.newClient();
    try {
      await client.connect();
      // It ends with the connection, and every step goes over that: who has lost the lock can do nothing more.
      const { rows } = await client.query<{ mine: boolean }>('select pg_try_advisory_lock($1) as mine', [RETENTION_LOCK]);
      if (!rows[0]!.mine) return false;

      await this.unlessBusy(() => this.makeRoom(client));
      await this.unlessBusy(() => this.compact(client));
      await this.unlessBusy(() => this.drop(client));
      return true;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopping.abort();
    clearTimeout(this.timer);
    await this.running;
  }

  /** What needs a lock that somebody holds for long is left to the next pass. */
  private async unlessBusy(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || error.code !== LOCK_NOT_AVAILABLE) throw error;
      this.options.log.warn({ err: error }, 'the feed is busy: its partitions are looked after later');
    }
  }

  /** A day's worth ahead of the head, at least: a dump keeps every partition from being attached for as long as it runs. */
  private async makeRoom(client: pg.Client): Promise<void> {
    const { rev, compactRev } = await headOf(client);
    let last = (await partitionsOf(client)).at(-1)?.lastRev ?? compactRev;
    const size = roundUp(larger(await revisionsInDay(client, rev), this.partitionRevsMin), this.partitionRevsMin);
    if (last - rev >= size) return;

    if (rev >= last) {
      // What the head reaches meanwhile must not lie in the new partition's range: it is in the default one already.
      this.options.log.error({ head: `${rev}`, last: `${last}` }, 'the feed ran out of partitions; the default one holds what came after');
      last = roundUp(rev + size, this.partitionRevsMin);
      await makePartition(client, { after: last, to: last + size });
      return;
    }
    for (; last - rev < 2n * size; last += size) await makePartition(client, { after: last, to: last + size });
  }

  private async compact(client: pg.Client): Promise<void> {
    const { compactRev } = await headOf(client);
    const expiredRev = await this.expiredRev(client);
    if (expiredRev <= compactRev) return;

    await tellReplicas(client);
    await this.pause();
    await client.query('update feed_head set compact_rev = $2 where shard = $1 and compact_rev < $2', [SHARD, `${expiredRev}`]);
    this.options.log.info({ compact_revision: `${expiredRev}`, days: this.options.days }, 'revisions are older than the retention');
    await tellReplicas(client);
  }

  private async drop(client: pg.Client): Promise<void> {
    const { compactRev } = await headOf(client);
    const removed = (await partitionsOf(client)).filter(({ lastRev }) => lastRev <= compactRev);
    if (removed.length > 0) await this.pause();
    for (const partition of removed) await dropPartition(client, partition);
    await clearRest(client, compactRev);
  }

  /** The last revision of the oldest partitions that are full and too old. What lies between them in the default one is as old. */
  private async expiredRev(client: pg.Client): Promise<bigint> {
    const { rev, compactRev } = await headOf(client);
    let expired = 0n;
    for (const partition of await partitionsOf(client)) {
      const { lastRev } = partition;
      if (lastRev > rev) break;
      if (lastRev > compactRev && !(await isOlder(client, partition, this.options.days))) break;
      expired = lastRev;
    }
    return expired;
  }

  private async pause(): Promise<void> {
    if (this.options.pause !== undefined) return await this.options.pause();
    await wait(PAGE_MAX_MS, undefined, { signal: this.stopping.signal, ref: false });
  }

  private newClient(): pg.Client {
    const limits = { connectMaxMs: CONNECT_MAX_MS, answerMaxMs: PAGE_MAX_MS };
    const { options, ...connection } = connectionOptions(this.options.databaseUrl, limits);
    const client = new pg.Client({
      ...connection,
      application_name: 'paystate feed retention',
      options: `${options} -c lock_timeout=${LOCK_MAX_MS}`,
    });
    // The statement under way, or the next one, fails with it.
    client.on('error', () => undefined);
    return client;
  }

  private report(error: unknown): void {
    if (this.stopping.signal.aborted) return;
    this.options.log.error({ err: error }, 'the partitions of the feed could not be looked after');
  }
}

async function headOf(client: pg.Client): Promise<{ rev: bigint; compactRev: bigint }> {
  const { rows } = await client.query<{ rev: string; compact: string }>(
    'select rev::text, compact_rev::text as compact from feed_head where shard = $1',
    [SHARD],
  );
  const head = rows[0];
  if (head === undefined) throw new Error(`shard ${SHARD} has no row in feed_head`);
  return { rev: BigInt(head.rev), compactRev: BigInt(head.compact) };
}

/** Their watches say where they stand, and they look anew where the feed begins. */
async function tellReplicas(client: pg.Client): Promise<void> {
  await client.query('select pg_notify($1, $2)', [CHANNEL, COMPACTION]);
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const roundUp = (value: bigint, step: bigint): bigint => ((value + step - 1n) / step) * step;
