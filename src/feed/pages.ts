/** Reads the sequenced feed from the database, a known range of revisions at a time. */
import type { Pool } from 'pg';
import type { PaymentStatus } from '../payment/payment-status.js';
import type { PlatformName } from '../payment/platform.js';
import type { FeedEvent } from './event.js';
import { epochOf, SHARD, type Epoch, type FeedHead } from './history.js';

export interface Page {
  /** As of the same snapshot as the events. */
  readonly head: FeedHead;
  /** Dense: the first follows the asked revision, or the removed ones where these reach further. */
  readonly events: readonly FeedEvent[];
}

/** The feed in the database is not what the sequencer writes: a revision is missing. Nothing may be delivered beyond it. */
export class FeedBroken extends Error {}

/** Revisions in one page; blocks of the history are aligned to it, so that watchers who are far behind share them. */
export const PAGE_SIZE = 1_000n;
/** Far-behind watchers that read the database at once; the others wait for them. */
const READS_MAX = 8;
const BLOCKS_MAX = 16;

export class Pages {
  private epochs: readonly Epoch[] = [];
  private readonly blocks = new Map<bigint, Promise<Page>>();
  private readonly slots = new Slots(READS_MAX);
  private eventsReadCount = 0n;

  /** `onHead` sees the head of each page before its reader does. */
  constructor(
    private readonly pool: Pool,
    private readonly onHead: (head: FeedHead) => void,
  ) {}

  /** How many events were read from the database since the start. */
  get eventsRead(): bigint {
    return this.eventsReadCount;
  }

  async head(): Promise<FeedHead> {
    return (await this.read(0n, 0n)).head;
  }

  /** The first revision given at or after a time; null where there is none. */
  async firstSince(time: Date): Promise<bigint | null> {
    const { rows } = await this.pool.query<{ rev: string | null }>({
      name: 'feed_since',
      text: SINCE,
      values: [SHARD, time],
    });
    return rows[0]?.rev == null ? null : BigInt(rows[0].rev);
  }

  /** The aligned block of history that holds the next revision. Complete blocks never change and are kept for a while. */
  async block(after: bigint): Promise<Page> {
    const start = (after / PAGE_SIZE) * PAGE_SIZE;
    const known = this.blocks.get(start);
    if (known !== undefined) return await known;

    const read = this.slots.run(() => this.read(start, start + PAGE_SIZE));
    this.blocks.set(start, read);
    if (this.blocks.size > BLOCKS_MAX) this.blocks.delete(this.blocks.keys().next().value!);
    try {
      const page = await read;
      if (page.head.rev < start + PAGE_SIZE) this.forget(start, read);
      return page;
    } catch (error) {
      this.forget(start, read);
      throw error;
    }
  }

  /** After a change of history nothing that was read is worth anything. */
  clear(): void {
    this.blocks.clear();
  }

  /** Events after one revision, up to and with another. */
  async read(after: bigint, to: bigint, client: Reader = this.pool): Promise<Page> {
    const { rows } = await client.query<Row>({ name: 'feed_page', text: PAGE, values: [SHARD, `${after}`, `${to}`] });
    const first = rows[0];
    if (first === undefined) throw new FeedBroken(`shard ${SHARD} has no row in feed_head`);
    const head = await this.headOf(first, client);

    const events = first.rev === null ? [] : rows.map((row) => eventOf(row, head));
    requireDense(events, { after: larger(after, head.compactRev), to: to < head.rev ? to : head.rev });
    this.eventsReadCount += BigInt(events.length);
    this.onHead(head);
    return { head, events };
  }

  private async headOf(row: Row, client: Reader): Promise<FeedHead> {
    // Epochs are only ever added, so that a later look at their table is as good as one in the page's snapshot; but not one at another
    // server, as a pool may have it, which is the primary of before.
    if (this.epochs.at(-1)?.epoch !== row.epoch) this.epochs = await readEpochs(client);
    if (!this.epochs.some(({ epoch }) => epoch === row.epoch)) throw new Error(`epoch ${row.epoch} is not in the history of the feed that was read after it`);
    return {
      feedId: row.feed_id,
      epoch: row.epoch,
      rev: BigInt(row.head),
      compactRev: BigInt(row.compact_rev),
      epochs: this.epochs.filter(({ epoch }) => epoch <= row.epoch),
    };
  }

  private forget(start: bigint, read: Promise<Page>): void {
    if (this.blocks.get(start) === read) this.blocks.delete(start);
  }
}

type Reader = Pick<Pool, 'query'>;

async function readEpochs(client: Reader): Promise<readonly Epoch[]> {
  const { rows } = await client.query<{ epoch: number; start_rev: string }>({
    name: 'feed_epochs',
    text: 'select epoch, start_rev::text from feed_epoch where shard = $1 order by epoch',
    values: [SHARD],
  });
  return rows.map(({ epoch, start_rev: startRev }) => ({ epoch, startRev: BigInt(startRev) }));
}

interface Row {
  readonly feed_id: number;
  readonly epoch: number;
  readonly head: string;
  readonly compact_rev: string;
  readonly rev: string | null;
  readonly payment_id: string;
  readonly version: number;
  readonly prev_status: PaymentStatus | null;
  readonly status: PaymentStatus;
  readonly occurred_at: Date;
  readonly platform: PlatformName;
  readonly app_id: string;
  readonly order_id: string;
  readonly user_id: string;
}

/**
 * By the index on time: the plain minimum of the revisions is looked for from the oldest one on. Time may have gone back a little
 * where a clock was set, so that the first by time is not always the first by revision.
 */
const SINCE = `
  with first as materialized (
         select sequenced_at as at from feed where shard = $1 and sequenced_at >= $2 order by sequenced_at limit 1),
       near as materialized (
         select f.rev from first cross join feed f where f.shard = $1 and f.sequenced_at between first.at and first.at + interval '1 minute')
  select min(rev)::text as rev from near`;

/**
 * One statement sees one snapshot, as a REPEATABLE READ transaction would, without its round trips. The range is known because
 * revisions are dense, and its bounds stand alone, as those of partitions do, so that no other partition is looked at; the laterals keep the planner from
 * reading the whole backlog for a page of it.
 */
const PAGE = `
  select h.feed_id, h.epoch, h.rev::text as head, h.compact_rev::text, e.*
    from feed_head h
    left join lateral (
      select f.rev::text as rev, f.rev as place, f.payment_id, f.version, l.prev_status, l.status, l.occurred_at, f.platform, f.app_id,
             p.order_id, p.user_id
        from feed f
       cross join lateral (select prev_status, status, occurred_at from payment_log l
                            where l.payment_id = f.payment_id and l.version = f.version limit 1) l
       cross join lateral (select order_id, user_id from payment p where p.id = f.payment_id limit 1) p
       where f.shard = h.shard and f.rev >= $2::bigint + 1 and f.rev > h.compact_rev and f.rev <= $3::bigint) e on true
   where h.shard = $1
   order by e.place`;

function eventOf(row: Row, head: FeedHead): FeedEvent {
  const revision = BigInt(row.rev!);
  return {
    eventId: `${row.payment_id}:${row.version}`,
    revision,
    shard: SHARD,
    epoch: epochOf(revision, head),
    paymentId: row.payment_id,
    version: row.version,
    previousStatus: row.prev_status,
    status: row.status,
    occurredAt: row.occurred_at,
    platform: row.platform,
    appId: row.app_id,
    orderId: row.order_id,
    userId: row.user_id,
  };
}

function requireDense(events: readonly FeedEvent[], { after, to }: { after: bigint; to: bigint }): void {
  let expected = after + 1n;
  for (const { revision } of events) {
    if (revision !== expected) throw new FeedBroken(`revision ${expected} is missing: ${revision} follows ${expected - 1n}`);
    expected += 1n;
  }
  if (expected <= to) throw new FeedBroken(`revision ${expected} is missing: the head is beyond it`);
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);

/** Lets so many run at once, the others in the order they came. */
class Slots {
  private readonly waiting: (() => void)[] = [];
  constructor(private free: number) {}

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.free += 1;
      else next();
    }
  }
}
