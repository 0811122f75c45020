/**
 * NATS JetStream as the carrier of the feed. The database stays the truth: whatever does not come by the stream in time, or cannot be
 * published, is read from there, so that a fault of NATS costs latency and no event.
 *
 * The relay lives from one stream to the next: connect, find where the stream ends, follow it and publish, until anything at all is wrong
 * with it; then the tail reads the database, and the relay starts anew.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { Logger } from '../../logger.js';
import type { Carrier, CarrierHealth } from '../carrier.js';
import type { FeedEvent } from '../event.js';
import type { Pages } from '../pages.js';
import type { Closure } from '../sequencer.js';
import type { Tail } from '../tail.js';
import type { Received } from './ordered-messages.js';
import { Publisher } from './publisher.js';
import { FeedStream, type StreamOptions } from './stream.js';

export interface NatsOptions extends Partial<RelayLimits> {
  readonly urls: readonly string[];
}

interface RelayLimits extends StreamOptions {
  /** What the head promises and the stream does not bring for so long is read from the database, and published by this replica. */
  readonly patienceMs: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** How often the head is looked at, which otherwise comes with the pages: it says what was removed. */
  readonly headMaxAgeMs: number;
}

const DEFAULTS: Omit<RelayLimits, 'urls'> = {
  replicas: 1,
  maxAgeMs: 30 * 86_400_000,
  connectMaxMs: 2_000,
  answerMaxMs: 5_000,
  heartbeatMs: 1_000,
  patienceMs: 250,
  retryMinMs: 50,
  retryMaxMs: 5_000,
  headMaxAgeMs: 30_000,
};

export interface RelayParts {
  readonly tail: Tail;
  readonly pages: Pages;
  readonly log: Logger;
}

/** Doublings of the patience. */
const OVERDUE_MAX = 4;

/** The stream of an epoch that is over. */
class EpochEnded extends Error {}

export class Relay implements Carrier {
  private readonly limits: RelayLimits;
  private readonly stopping = new AbortController();
  private readonly running: Promise<void>;
  private live: { readonly stream: FeedStream; readonly publisher: Publisher } | null = null;
  private fault: string | null = 'not connected yet';
  private headRev: bigint;
  private timer: NodeJS.Timeout | undefined;
  /** How often in a row patience was lost. */
  private overdue = 0;
  private brought = 0n;
  private headReadAt = performance.now();

  constructor(
    private readonly parts: RelayParts,
    options: NatsOptions,
  ) {
    this.limits = { ...DEFAULTS, ...options };
    this.headRev = parts.tail.head.rev;
    this.running = this.run();
  }

  brings(epoch: number): boolean {
    return this.live?.stream.place.epoch === epoch;
  }

  advanced({ epoch, rev, appended }: Closure): void {
    if (appended > 0 && this.brings(epoch)) this.live!.publisher.append(rev - BigInt(appended), rev);
    this.heard({ epoch, rev });
    if (performance.now() - this.headReadAt > this.limits.headMaxAgeMs) this.readHead();
  }

  heard({ epoch, rev }: { epoch: number; rev: bigint }): void {
    const current = this.live?.stream.place.epoch ?? epoch;
    if (epoch > current) return this.live!.stream.fail(new EpochEnded(`epoch ${epoch} has begun`));
    if (epoch === current && rev > this.headRev) this.headRev = rev;
    this.watchOver();
  }

  health(): CarrierHealth {
    const { live, fault, brought } = this;
    return { isLive: live !== null, fault: live === null ? fault : null, lastRev: live?.publisher.lastRev ?? 0n, brought, refused: live?.publisher.refusedCount ?? 0 };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopping.abort();
    this.live?.stream.fail(new Error('the relay is stopped'));
    await this.running;
  }

  private async run(): Promise<void> {
    const { retryMinMs, retryMaxMs } = this.limits;
    const { signal } = this.stopping;
    for (let retries = 0; !signal.aborted; retries += 1) {
      try {
        const end = await this.serve();
        retries = 0;
        if (signal.aborted) return;
        this.say(end);
        if (end instanceof EpochEnded) continue;
      } catch (error) {
        this.say(error);
      }
      const pause = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(retries, 20)) * (0.5 + Math.random() / 2);
      await wait(pause, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Serves from one stream until it is lost; returns why. */
  private async serve(): Promise<Error> {
    const { tail, pages, log } = this.parts;
    const stream = await FeedStream.open(this.limits, await pages.head());
    try {
      const lastRev = await stream.lastRev();
      // Read after the stream's end: the database is never behind it, unless it went back.
      const head = await pages.head();
      if (lastRev > head.rev) throw new Error(`the stream ends with revision ${lastRev}, the database with ${head.rev}: it went back without a new epoch`);
      if (lastRev < head.compactRev) throw new Error(`the stream ends with revision ${lastRev}, and what follows up to ${head.compactRev} is gone: remove the stream, and it is made anew`);
      if (head.epoch !== stream.place.epoch) return new EpochEnded(`epoch ${head.epoch} has begun`);

      const publisher = new Publisher(stream, lastRev, (after, to) => this.read(stream, after, to));
      const from = [tail.seenRev, lastRev].reduce((a, b) => (a < b ? a : b));
      await stream.follow(from > stream.baseRev ? from : stream.baseRev, (received) => this.receive(stream, publisher, received));
      this.live = { stream, publisher };
      this.headRev = head.rev;
      this.watchOver();
      log.info({ epoch: head.epoch, base: stream.baseRev, last: lastRev, head: head.rev }, 'NATS carries the feed');
      return await stream.lost;
    } finally {
      this.live = null;
      clearTimeout(this.timer);
      this.timer = undefined;
      tail.readUpTo(this.headRev);
      await stream[Symbol.asyncDispose]();
    }
  }

  private receive(stream: FeedStream, publisher: Publisher, received: readonly Received[]): void {
    for (const events of denseRuns(received)) this.brought += BigInt(this.parts.tail.offer(stream.place.epoch, events));
    publisher.seen(received.at(-1)!.rev);
  }

  /** For the publisher. This replica's own watchers need not wait for the stream to bring back what was read here. */
  private async read({ place: { epoch } }: FeedStream, after: bigint, to: bigint): Promise<readonly FeedEvent[]> {
    const { tail, pages } = this.parts;
    if (tail.head.epoch === epoch) {
      const recent = tail.recent(after, Number(to - after));
      if (recent !== null && recent.length > 0) return recent;
    }
    const { head, events } = await pages.read(after, to);
    if (head.epoch !== epoch) throw new EpochEnded(`epoch ${head.epoch} has begun`);
    if (after < head.compactRev) throw new Error(`revision ${after + 1n} is gone before it was published`);
    if (events.length > 0) tail.offer(epoch, events);
    return events;
  }

  /** Whoever should have published may have died, and NATS may be slow. */
  private watchOver(): void {
    if (this.live === null || this.timer !== undefined) return;
    const { headRev: target, live } = this;
    if (live.publisher.lastRev >= target && this.parts.tail.seenRev >= target) {
      this.overdue = 0;
      return;
    }
    const before = live.publisher.lastRev;
    // The replicas do not all lose patience at once, and none of them asks a database that is away all the time.
    const pause = this.limits.patienceMs * 2 ** Math.min(this.overdue, OVERDUE_MAX) * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.overdue += 1;
      this.parts.tail.readUpTo(target);
      const { lastRev } = live.publisher;
      // Where it moves somebody is at it.
      if (lastRev < target && lastRev === before) live.publisher.heal(this.headRev);
      this.watchOver();
    }, pause);
  }

  private readHead(): void {
    this.headReadAt = performance.now();
    this.parts.pages.head().catch((error: unknown) => this.parts.log.debug({ err: error }, 'the head of the feed could not be read'));
  }

  private say(error: unknown): void {
    const fault = error instanceof Error ? error.message : String(error);
    if (fault === this.fault) return;
    this.fault = fault;
    this.parts.log.warn({ err: error }, 'the feed is read from the database: NATS does not carry it');
  }
}

/** What is missing between two runs, or is in an unknown layout, the tail reads from the database when the next run comes. */
function* denseRuns(received: readonly Received[]): Iterable<readonly FeedEvent[]> {
  let run: FeedEvent[] = [];
  for (const { event } of received) {
    const isNext = event !== null && (run.length === 0 || event.revision === run.at(-1)!.revision + 1n);
    if (!isNext && run.length > 0) {
      yield run;
      run = [];
    }
    if (event !== null) run.push(event);
  }
  if (run.length > 0) yield run;
}
