/**
 * Follows the feed for all watchers of this process: each event is read once into the ring, and who is behind the ring reads
 * blocks of history. Without watchers nothing is read.
 */
import type { Client } from 'pg';
import type { Logger } from '../logger.js';
import type { FeedEvent } from './event.js';
import { divergence, SHARD, type FeedHead } from './history.js';
import { FeedBroken, PAGE_SIZE, type Page, type Pages } from './pages.js';
import { Ring } from './ring.js';
import type { Closure } from './sequencer.js';

export interface TailOptions {
  readonly ringEventsMax: number;
  readonly log: Logger;
  isWatched(): boolean;
  /** Whether the events that follow in this epoch are brought, so that they need not be read. */
  isBrought(epoch: number): boolean;
  /** The next events of the feed, each once. */
  onEvents(events: readonly FeedEvent[]): void;
  /** There are no events between the last ones and this revision, or none that are known; what was made of older ones is worth nothing. */
  onSkipped(rev: bigint): void;
  /** Nothing is as it was: a fault, or another history. */
  onChanged(): void;
}

/** More at once comes seldom, and in pages. */
const ALONG_MAX = 256n;
/** Enough for the time between two looks of a watcher. */
const CLOSURES_MAX = 256;

export class Tail {
  private readonly ring: Ring;
  private readonly closures: Closure[] = [];
  private current: FeedHead;
  private reading = false;
  /** Up to where it is to be read; ANY: the end, wherever that is now. */
  private wanted: bigint | 'ANY' | null = null;
  private fault: FeedBroken | null = null;

  constructor(
    head: FeedHead,
    private readonly pages: Pages,
    private readonly options: TailOptions,
  ) {
    this.current = head;
    this.ring = new Ring(head.rev, options.ringEventsMax);
  }

  /** The newest head that was seen. */
  get head(): FeedHead {
    return this.current;
  }

  /** Set while the feed in the database is broken; nobody may be served then. */
  get broken(): FeedBroken | null {
    return this.fault;
  }

  /** The latest moment for which a reader at this revision has seen everything committed before it; null where unknown. */
  asOf(rev: bigint): Date | null {
    return this.closures.findLast((closure) => closure.rev <= rev)?.asOf ?? null;
  }

  /** Whether the next events after the revision come from memory. */
  holds(rev: bigint): boolean {
    return this.ring.covers(rev);
  }

  /** Up to so many events after a revision from memory; none at the end, null for who is too far behind. */
  recent(rev: bigint, max: number): readonly FeedEvent[] | null {
    if (rev >= this.ring.head) return [];
    return this.ring.covers(rev) ? this.ring.after(rev, max) : null;
  }

  /** Some events after a revision, from the database. */
  async older(rev: bigint): Promise<readonly FeedEvent[]> {
    const { head, events } = await this.pages.block(rev);
    this.requireCurrent(head);
    const start = events.findIndex(({ revision }) => revision > rev);
    return start === -1 ? [] : events.slice(start);
  }

  close(closure: Closure): void {
    if (this.closures.at(-1)?.rev === closure.rev) this.closures.pop();
    this.closures.push(closure);
    if (this.closures.length > CLOSURES_MAX) this.closures.shift();
    this.moveTo(closure);
  }

  moveTo({ epoch, rev }: { epoch: number; rev: bigint }): void {
    if (epoch === this.current.epoch && this.fault === null) {
      if (rev <= this.ring.head) return;
      if (!this.options.isWatched()) return this.skipTo(rev);
      if (this.options.isBrought(epoch)) return this.know(rev);
      return this.startReading(rev);
    }
    this.startReading('ANY');
  }

  /** The last revision that was read or skipped. */
  get seenRev(): bigint {
    return this.ring.head;
  }

  /** Takes events that were brought, dense among themselves; what is missing before them is read. Returns how many were of use. */
  offer(epoch: number, events: readonly FeedEvent[]): number {
    const rev = events.at(-1)!.revision;
    if (epoch !== this.current.epoch || this.fault !== null || rev <= this.ring.head) return 0;
    const first = events[0]!.revision;
    if (!this.options.isWatched()) this.skipTo(rev);
    else if (first <= this.ring.head + 1n) return this.append(events.slice(Number(this.ring.head + 1n - first)));
    else this.startReading(rev);
    return 0;
  }

  /** Reads on by a connection that has just been told to advance the head. What cannot be read so is read when the head is known. */
  async readAlong(client: Client): Promise<void> {
    const from = this.ring.head;
    if (this.fault !== null || this.reading || !this.options.isWatched() || this.options.isBrought(this.current.epoch)) return;
    // The notification of the same step comes before the page.
    this.reading = true;
    const page = await this.pages.read(from, from + ALONG_MAX, client).catch(() => null);
    try {
      if (page !== null) this.take(page, from);
    } catch (error) {
      this.failed(error);
    }
    this.reading = false;
    if (this.isWanted) void this.follow();
  }

  /** What should have been brought by now is read. */
  readUpTo(rev: bigint): void {
    if (rev > this.ring.head && this.options.isWatched()) this.startReading(rev);
  }

  /** Every head that is read passes here, in whatever order the answers come. */
  observe(head: FeedHead): void {
    const { current } = this;
    if (head.epoch > current.epoch) return this.changeHistory(head);
    if (head.epoch < current.epoch) return;
    const compactRev = head.compactRev > current.compactRev ? head.compactRev : current.compactRev;
    this.current = head.rev >= current.rev ? { ...head, compactRev } : { ...current, compactRev };
  }

  private skipTo(rev: bigint): void {
    this.reset(rev);
    this.know(rev);
  }

  private know(rev: bigint): void {
    if (rev > this.current.rev) this.current = { ...this.current, rev };
  }

  private startReading(rev: bigint | 'ANY'): void {
    if (rev === 'ANY' || this.wanted === null || (this.wanted !== 'ANY' && rev > this.wanted)) this.wanted = rev;
    if (!this.reading) void this.follow();
  }

  private get isWanted(): boolean {
    return this.wanted === 'ANY' || (this.wanted !== null && this.wanted > this.ring.head);
  }

  private async follow(): Promise<void> {
    this.reading = true;
    try {
      // Two tell of each step of the head, its sequencer and the notification: what came with the last page is not read again.
      while (this.isWanted) {
        this.wanted = null;
        await this.readOn();
      }
      this.wanted = null;
    } catch (error) {
      this.failed(error);
    } finally {
      this.reading = false;
    }
  }

  /** The next peek asks again. */
  private failed(error: unknown): void {
    if (error instanceof FeedBroken) this.fault = error;
    this.options.log.error({ err: error, revision: this.ring.head }, 'the feed could not be read');
    this.options.onChanged();
  }

  private async readOn(): Promise<void> {
    for (let more = true; more; ) {
      const from = this.ring.head;
      const page = await this.pages.read(from, from + PAGE_SIZE);
      const wasBroken = this.fault !== null;
      this.fault = null;
      more = this.take(page, from);
      if (wasBroken) this.options.onChanged();
    }
  }

  /** Returns whether there is more to read. */
  private take({ head, events }: Page, from: bigint): boolean {
    this.requireCurrent(head);
    // A change of history moved the ring while the page was read.
    if (this.ring.head !== from) return this.ring.head < this.current.rev;

    if (head.rev < from) throw new FeedBroken(`the head went back from revision ${from} to ${head.rev} without a new epoch`);
    if (from < head.compactRev) {
      this.reset(head.rev);
      this.options.onChanged();
    } else if (events.length > 0) {
      this.append(events);
    }
    return this.ring.head < head.rev;
  }

  private append(events: readonly FeedEvent[]): number {
    this.ring.append(events);
    this.know(this.ring.head);
    this.options.onEvents(events);
    return events.length;
  }

  private changeHistory(head: FeedHead): void {
    const before = { shard: SHARD, epoch: this.current.epoch, rev: this.ring.head };
    const safeRev = divergence(before, head);
    this.options.log.error({ epoch: head.epoch, before, lost_after: safeRev }, 'the feed has a new epoch');
    this.current = head;
    this.pages.clear();
    if (safeRev === null) {
      // Who read pages was further than the ring, so that what was made of them may be lost although nothing in the ring is.
      this.options.onSkipped(this.ring.head);
    } else {
      this.reset(safeRev);
      this.closures.length = 0;
    }
    this.options.onChanged();
  }

  private reset(rev: bigint): void {
    this.ring.reset(rev);
    this.options.onSkipped(rev);
  }

  /** A server that was the primary before may still answer; what it says is no longer the history. */
  private requireCurrent(head: FeedHead): void {
    if (head.epoch === this.current.epoch) return;
    throw new Error(`a page of epoch ${head.epoch} was read while the epoch is ${this.current.epoch}`);
  }
}
