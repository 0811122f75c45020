import type { FeedEvent } from './event.js';

/** The newest events in memory, dense by revision and bounded by count; watchers read it, nobody queues. */
export class Ring {
  private readonly events: FeedEvent[] = [];
  /** The last revision of the ring; the place of the next event, where the ring is empty. */
  private last: bigint;

  constructor(head: bigint, private readonly eventsMax: number) {
    this.last = head;
  }

  get head(): bigint {
    return this.last;
  }

  /** Whether everything after the revision and up to the head is here. */
  covers(rev: bigint): boolean {
    return rev <= this.last && rev >= this.last - BigInt(this.events.length);
  }

  append(events: readonly FeedEvent[]): void {
    for (const event of events) this.events.push(event);
    this.last += BigInt(events.length);
    // Cutting a tenth at a time keeps the cost of each event constant.
    if (this.events.length > this.eventsMax) this.events.splice(0, this.events.length - Math.floor(this.eventsMax * 0.9));
  }

  /** Forgets everything and goes on after this revision. */
  reset(head: bigint): void {
    this.events.length = 0;
    this.last = head;
  }

  after(rev: bigint, max: number): readonly FeedEvent[] {
    const start = this.events.length - Number(this.last - rev);
    return this.events.slice(start, start + max);
  }
}
