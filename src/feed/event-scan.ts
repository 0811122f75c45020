import type { Bell } from './bell.js';
import type { FeedEvent } from './event.js';
import type { Predicate } from './filter.js';
import { fromStore } from './store-patience.js';
import type { Tail } from './tail.js';

export interface EventScanOptions {
  readonly tail: Tail;
  readonly bell: Bell;
  readonly matches: Predicate;
  readonly eventsMax: number;
  readonly lingerMs: number;
  /** Sees every event once, matching or not. */
  readonly onEvent: (event: FeedEvent) => void;
  /** Refuses to go on where the position, or what was read after it, is no longer in the history. */
  readonly check: (rev: bigint, next: FeedEvent | undefined) => void;
  readonly isDisturbed: () => boolean;
}

/** Revisions looked at in one go; then the watch thinks of its bookmark again. */
const SCAN_MAX = 10_000;
const STEP = 1_000;

/** Finds the events of the next message. What is found stays found nowhere: the watch moves on only when it sends them. */
export class EventScan {
  private seen = 0n;
  private sentAt = 0;

  constructor(private readonly options: EventScanOptions) {}

  /** Up to where events were looked at, sent or not. */
  get seenRev(): bigint {
    return this.seen;
  }

  sent(): void {
    this.sentAt = performance.now();
  }

  /** Looks on from a revision until the message is full, the head is reached, or enough was looked at. */
  async run(from: bigint): Promise<{ matching: readonly FeedEvent[]; scannedRev: bigint }> {
    const { eventsMax, bell } = this.options;
    const matching: FeedEvent[] = [];
    let scannedRev = from;

    for (let left = SCAN_MAX; matching.length < eventsMax && left > 0; ) {
      const events = await this.after(scannedRev, matching.length > 0);
      left -= events.length;
      scannedRev = this.choose(events, matching) ?? scannedRev;
      if (events.length > 0) continue;

      const restMs = this.lingerLeft();
      if (matching.length === 0 || restMs <= 0 || this.options.isDisturbed()) break;
      await bell.sleep(restMs);
    }
    return { matching, scannedRev };
  }

  /** Adds what matches; returns the last revision looked at. */
  private choose(events: readonly FeedEvent[], matching: FeedEvent[]): bigint | undefined {
    const { matches, onEvent, eventsMax } = this.options;
    let last: bigint | undefined;
    for (const event of events) {
      if (matching.length === eventsMax) break;
      last = event.revision;
      if (matches(event)) matching.push(event);
      if (last <= this.seen) continue;
      onEvent(event);
      this.seen = last;
    }
    return last;
  }

  private async after(rev: bigint, hasSome: boolean): Promise<readonly FeedEvent[]> {
    const { tail, check } = this.options;
    try {
      const events = await fromStore(() => tail.after(rev, STEP));
      check(rev, events[0]);
      return events;
    } catch (error) {
      // What was found goes out first; the next look meets the fault again.
      if (hasSome) return [];
      throw error;
    }
  }

  /** Who got a message a moment ago is under load and waits for company; a lone event leaves at once. */
  private lingerLeft(): number {
    return this.sentAt + this.options.lingerMs - performance.now();
  }
}
