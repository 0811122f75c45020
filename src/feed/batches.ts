/**
 * Finds the next message of a watch. Watches of one group that stand at the same revision are given the very same message, so that it is
 * chosen, and by whoever sends it encoded, once. What was found is kept for those who come a little later, up to a number of events.
 */
import type { Cursors } from './cursor.js';
import type { FeedEvent } from './event.js';
import type { FilterIndex, Group } from './filter-index.js';
import type { FeedPosition } from './history.js';
import { countThatFits } from './message-size.js';
import type { PaymentLookup } from './payment-lookup.js';
import { fromStore } from './store-read.js';
import type { Tail } from './tail.js';
import type { WatchMessage } from './watch.js';

export interface Batch {
  /** Null: nothing matches up to `toRev`. */
  readonly message: Extract<WatchMessage, { kind: 'events' }> | null;
  /** Where a watch stands that has it. */
  readonly toRev: bigint;
  /** Whether no more events would have been put into it. */
  readonly isFull: boolean;
}

export interface BatchesOptions {
  readonly tail: Tail;
  readonly index: FilterIndex;
  readonly cursors: Cursors;
  readonly lookup: PaymentLookup;
  readonly eventsMax: number;
}

/** Revisions looked at in one go; then the watch thinks of its bookmark again. */
const SCAN_MAX = 10_000;
const STEP = 1_000;
/** The full view shows payments as they are now; besides, payments need a hundred times the memory of events. */
const PAYMENTS_FRESH_MS = 1_000;

export class Batches {
  /** Oldest first. */
  private readonly kept = new Set<{ readonly batches: Group['batches']; readonly from: bigint; readonly size: number }>();
  private keptEvents = 0;

  constructor(private readonly options: BatchesOptions) {}

  /** What follows a position. At once where it comes from memory. `see` is shown every event once, matching or not. */
  after(group: Group, position: FeedPosition, see: ((event: FeedEvent) => void) | null): Batch | Promise<Batch> {
    const { rev } = position;
    if (see !== null) return this.find(group, position, see);
    const known = group.batches.get(rev);
    if (known !== undefined && (known instanceof Promise || this.isGood(group, known))) return known;

    const clearRev = this.options.index.clearUpTo(group, rev);
    if (clearRev !== null) return { message: null, toRev: clearRev, isFull: false };
    const found = this.find(group, position, null);
    if (!(found instanceof Promise)) return this.keep(group, position, found);
    const kept = found.then(
      (batch) => this.keep(group, position, batch),
      (error: unknown) => {
        group.batches.delete(rev);
        throw error;
      },
    );
    group.batches.set(rev, kept);
    return kept;
  }

  private isGood({ lastHit }: Group, { isFull, toRev }: Batch): boolean {
    // One that was made before more matched is too small a step for who comes later.
    return isFull || lastHit <= toRev;
  }

  private keep({ batches, members, shape }: Group, { rev: from, epoch }: FeedPosition, batch: Batch): Batch {
    const size = batch.message?.events.length ?? 0;
    batches.delete(from);
    if (size === 0 || members.size < 2 || epoch !== this.options.tail.head.epoch) return batch;
    batches.set(from, batch);
    if (shape.view === 'FULL') setTimeout(() => batches.delete(from), PAYMENTS_FRESH_MS).unref();
    this.kept.add({ batches, from, size });
    this.keptEvents += size;
    for (const oldest of this.kept) {
      if (this.keptEvents <= this.options.eventsMax) break;
      this.kept.delete(oldest);
      this.keptEvents -= oldest.size;
      oldest.batches.delete(oldest.from);
    }
    return batch;
  }

  private find(group: Group, position: FeedPosition, see: ((event: FeedEvent) => void) | null): Batch | Promise<Batch> {
    const { tail } = this.options;
    const { eventsPerMessageMax, view } = group.shape;
    const matching: FeedEvent[] = [];
    let toRev = position.rev;
    for (let left = SCAN_MAX; matching.length < eventsPerMessageMax && left > 0; ) {
      const events = tail.recent(toRev, STEP);
      if (events === null) return this.findOlder(group, position, see);
      if (events.length === 0) break;
      left -= events.length;
      toRev = choose(group, events, matching, see);
    }
    return this.batchOf(position, { matching, toRev, isFull: matching.length === eventsPerMessageMax }, view);
  }

  /** Behind what is in memory: one block of history at a time. */
  private async findOlder(group: Group, position: FeedPosition, see: ((event: FeedEvent) => void) | null): Promise<Batch> {
    const { tail, cursors } = this.options;
    const from = position.rev;
    const events = await fromStore(() => tail.older(from));
    // A gap in what was read is no gap in the feed: it was removed.
    const isRemoved = events.length === 0 ? from < tail.head.compactRev && !tail.holds(from) : events[0]!.revision !== from + 1n;
    if (isRemoved) throw cursors.expired(position, tail.head);
    const matching: FeedEvent[] = [];
    const toRev = events.length === 0 ? from : choose(group, events, matching, see);
    return await this.batchOf(position, { matching, toRev, isFull: true }, group.shape.view);
  }

  private batchOf(position: FeedPosition, found: { matching: readonly FeedEvent[]; toRev: bigint; isFull: boolean }, view: Group['shape']['view']): Batch | Promise<Batch> {
    const { matching, toRev, isFull } = found;
    if (matching.length === 0) return { message: null, toRev, isFull };
    const { tail, cursors } = this.options;
    const made = (events: readonly FeedEvent[], rev: bigint, isWhole: boolean): Batch => ({
      message: { cursor: cursors.seal({ feedId: tail.head.feedId, position: { ...position, rev }, phase: null }), kind: 'events', events },
      toRev: rev,
      isFull: isFull || !isWhole,
    });
    return view === 'FULL' ? this.withPayments(matching).then(({ events, all }) => made(events, all ? toRev : events.at(-1)!.revision, all)) : made(matching, toRev, true);
  }

  private async withPayments(matching: readonly FeedEvent[]): Promise<{ events: readonly FeedEvent[]; all: boolean }> {
    const payments = await fromStore(() => this.options.lookup.find(matching.map(({ paymentId }) => paymentId)));
    const fitting = countThatFits(matching.map(({ paymentId }) => payments.get(paymentId)!));
    const events = matching.slice(0, fitting).map((event) => ({ ...event, payment: payments.get(event.paymentId)! }));
    return { events, all: fitting === matching.length };
  }
}

/** Adds what matches, until there is enough of it; returns the last revision looked at. */
function choose({ matches, shape }: Group, events: readonly FeedEvent[], matching: FeedEvent[], see: ((event: FeedEvent) => void) | null): bigint {
  let last = events[0]!.revision - 1n;
  for (const event of events) {
    if (matching.length === shape.eventsPerMessageMax) break;
    last = event.revision;
    if (matches(event)) matching.push(event);
    see?.(event);
  }
  return last;
}
