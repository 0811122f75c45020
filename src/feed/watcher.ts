/**
 * One watch: a position in the feed that its consumer pulls along. Nothing is queued for it; between two pulls it is only a
 * position, and a consumer that does not pull for too long loses it with a cursor to resume from.
 *
 * `next` looks at everything anew before each message: whether the watch is over, the snapshot's pages, a bookmark that is due,
 * events. Bookmarks and events leave through the same door in the order of the feed, so that no bookmark overtakes an event.
 */
import { DomainError } from '../payment/errors.js';
import { Bell } from './bell.js';
import { cursorText, type SnapshotPhase } from './cursor.js';
import type { FeedEvent } from './event.js';
import { EventScan } from './event-scan.js';
import { predicateOf } from './filter.js';
import type { FeedPosition } from './history.js';
import { countThatFits } from './message-size.js';
import type { PaymentLookup } from './payment-lookup.js';
import { Snapshot } from './snapshot.js';
import { fromStore, StoreFailed, StorePatience } from './store-patience.js';
import type { Sources, Start } from './watch-start.js';
import type { FilledRequest, GoodbyeReason, WatchBody, WatchMessage } from './watch.js';

export interface WatcherLimits {
  readonly slowConsumerMs: number;
  readonly storeLostMs: number;
  readonly ageMaxMs: number;
  readonly reconnectAfterMs: number;
}

export interface WatcherDeps extends Sources {
  readonly lookup: PaymentLookup;
  readonly limits: WatcherLimits;
  isDraining(): boolean;
  onClose(watcher: Watcher): void;
}

/** One look at everything: a message to send, nothing to do for now, nothing ever again, or (empty) look again. */
interface Look {
  readonly message?: WatchMessage;
  readonly idle?: true;
  readonly over?: true;
}

const STORE_RETRY_MS = 250;

export class Watcher implements AsyncIterableIterator<WatchMessage, undefined>, AsyncDisposable {
  readonly bell = new Bell();
  private readonly end = new AbortController();
  private readonly scan: EventScan;
  private readonly snapshot: Snapshot;
  private readonly patience: StorePatience;
  private readonly openedAt = performance.now();
  private position: FeedPosition;
  private phase: SnapshotPhase | null;
  private greeted = false;
  private saidGoodbye = false;
  private complete = false;
  private closed = false;
  private bookmarkAt: number;
  /** Since when the consumer has a message and has not come back. */
  private consumerSince: number | null = performance.now();

  constructor(
    private readonly deps: WatcherDeps,
    private readonly request: FilledRequest,
    private readonly start: Start,
    private readonly signal: AbortSignal,
  ) {
    this.scan = new EventScan({
      tail: deps.tail,
      bell: this.bell,
      matches: predicateOf(request.filter),
      eventsMax: request.eventsPerMessageMax,
      lingerMs: request.lingerMs,
      onEvent: (event) => start.settlement?.see(event),
      check: (rev, next) => this.requireNext(rev, next),
      isDisturbed: () => this.isDisturbed(),
    });
    this.patience = new StorePatience(deps.limits.storeLostMs);
    this.snapshot = new Snapshot(deps.orm, request.filter);
    this.position = start.position;
    this.phase = start.phase;
    this.bookmarkAt = this.openedAt + request.bookmarkIntervalMs;
    signal.addEventListener('abort', this.onAbort, { once: true });
  }

  /** Aborted with the error as its reason when the watch ends while its consumer does not pull. */
  get ended(): AbortSignal {
    return this.end.signal;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<WatchMessage, undefined>> {
    this.consumerSince = null;
    try {
      const value = await this.nextMessage();
      if (value !== null) {
        this.consumerSince = performance.now();
        return { done: false, value };
      }
    } catch (error) {
      this.close();
      throw error;
    }
    this.close();
    return { done: true, value: undefined };
  }

  return(): Promise<IteratorResult<WatchMessage, undefined>> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** Ends the watch of a consumer that has not pulled for too long. */
  endIfSlow(now: number): void {
    if (this.consumerSince === null || now - this.consumerSince < this.deps.limits.slowConsumerMs) return;
    const metadata = { cursor: this.cursorText(), behind: `${this.behind}` };
    this.end.abort(new DomainError('SLOW_CONSUMER', 'the watch was not read for too long; resume with the last cursor', { metadata }));
    this.close();
  }

  private async nextMessage(): Promise<WatchMessage | null> {
    for (;;) {
      if (this.signal.aborted) return null;
      this.end.signal.throwIfAborted();
      if (this.closed) return null;

      try {
        const { message, idle, over } = await this.look();
        this.patience.found();
        if (message !== undefined) return message;
        if (over === true) return null;
        if (idle !== true) continue;
        this.requireStore(null);
        await this.bell.sleep(this.nextDueAt() - performance.now());
      } catch (error) {
        if (!(error instanceof StoreFailed)) throw error;
        this.patience.lost();
        this.requireStore(error.cause);
        await this.bell.sleep(STORE_RETRY_MS);
      }
    }
  }

  private async look(): Promise<Look> {
    if (!this.greeted) return { message: this.greeting() };
    if (this.deps.tail.broken !== null) throw this.deps.tail.broken;
    this.followHistory();

    const farewell = this.farewell();
    if (farewell !== null) return { message: farewell };
    if (this.phase?.kind === 'PAGES') return await this.snapshotPage(this.phase.lastPaymentId);
    if (this.phase?.kind === 'REPLAY' && this.position.rev >= this.phase.untilRev) return { message: this.completion() };
    if (this.isOver()) return this.complete ? { over: true } : { message: this.lastBookmark() };
    if (performance.now() >= this.bookmarkAt && this.deps.sequencer.storeLostSince === null) return { message: this.bookmark() };
    return await this.events();
  }

  // The parts of a message.

  private say(body: WatchBody): WatchMessage {
    const { feedId } = this.start;
    return { cursor: this.deps.cursors.seal({ feedId, position: this.position, phase: this.phase }), ...body };
  }

  private greeting(): WatchMessage {
    this.greeted = true;
    const { bookmarkIntervalMs } = this.request;
    return this.say({ kind: 'created', startRevision: this.position.rev, epoch: this.position.epoch, bookmarkIntervalMs });
  }

  private bookmark(snapshotComplete = false): WatchMessage {
    this.bookmarkAt = performance.now() + this.request.bookmarkIntervalMs;
    const asOf = this.phase === null ? this.deps.tail.asOf(this.position.rev) : null;
    return this.say({ kind: 'bookmark', asOf, headRevision: this.headRev, behind: this.behind, snapshotComplete });
  }

  /** Says where to go on, however little of the feed matched. */
  private lastBookmark(): WatchMessage {
    this.complete = true;
    return this.bookmark();
  }

  /** All pages were sent and everything is replayed that happened under them. */
  private completion(): WatchMessage {
    this.phase = null;
    return this.bookmark(true);
  }

  private farewell(): WatchMessage | null {
    const aged = performance.now() - this.openedAt >= this.deps.limits.ageMaxMs;
    if (!aged && !this.deps.isDraining()) return null;
    if (this.saidGoodbye) {
      throw new DomainError('SERVER_DRAINING', 'this server ends its watches; resume elsewhere with the cursor', {
        metadata: { cursor: this.cursorText() },
      });
    }
    this.saidGoodbye = true;
    const reason: GoodbyeReason = this.deps.isDraining() ? 'DRAINING' : 'MAX_AGE';
    return this.say({ kind: 'goodbye', reason, reconnectAfterMs: Math.round(Math.random() * this.deps.limits.reconnectAfterMs) });
  }

  private async snapshotPage(after: string): Promise<Look> {
    const payments = await fromStore(() => this.snapshot.page(after, this.request.eventsPerMessageMax));
    const last = payments.at(-1);
    if (last === undefined) {
      const { rev } = await fromStore(() => this.deps.sequencer.catchUp());
      this.phase = { kind: 'REPLAY', untilRev: rev };
      return {};
    }
    this.phase = { kind: 'PAGES', lastPaymentId: last.id };
    return { message: this.say({ kind: 'snapshot', payments }) };
  }

  private async events(): Promise<Look> {
    const { matching, scannedRev } = await this.scan.run(this.position.rev);
    if (matching.length === 0) {
      const moved = scannedRev > this.position.rev;
      this.moveTo(scannedRev);
      return moved ? {} : { idle: true };
    }

    const { events, all } = await this.inView(matching);
    this.moveTo(all ? scannedRev : events.at(-1)!.revision);
    this.scan.sent();
    return { message: this.say({ kind: 'events', events }) };
  }

  private async inView(matching: readonly FeedEvent[]): Promise<{ events: readonly FeedEvent[]; all: boolean }> {
    if (this.request.view !== 'FULL') return { events: matching, all: true };
    const payments = await fromStore(() => this.deps.lookup.find(matching.map(({ paymentId }) => paymentId)));
    const fitting = countThatFits(matching.map(({ paymentId }) => payments.get(paymentId)!));
    const events = matching.slice(0, fitting).map((event) => ({ ...event, payment: payments.get(event.paymentId)! }));
    return { events, all: fitting === matching.length };
  }

  // Where the watch stands.

  private get headRev(): bigint {
    const { rev } = this.deps.tail.head;
    return rev > this.position.rev ? rev : this.position.rev;
  }

  private get behind(): bigint {
    return this.headRev - this.position.rev;
  }

  private cursorText(): string {
    const { feedId } = this.start;
    return cursorText(this.deps.cursors.seal({ feedId, position: this.position, phase: this.phase }));
  }

  private moveTo(rev: bigint): void {
    this.position = { ...this.position, rev };
  }

  /** A new epoch keeps the watch where it is, or ends it where the revisions that it has read are lost. */
  private followHistory(): void {
    const { head } = this.deps.tail;
    if (head.epoch <= this.position.epoch) return;
    this.deps.cursors.requireWithin(this.position, head);
    this.position = { ...this.position, epoch: head.epoch };
  }

  /** A gap in what was read is no gap in the feed: it was removed, or the history changed under the watch. */
  private requireNext(rev: bigint, next: FeedEvent | undefined): void {
    const { tail, cursors } = this.deps;
    this.followHistory();
    const isRemoved = next === undefined ? rev < tail.head.compactRev && !tail.holds(rev) : next.revision !== rev + 1n;
    if (isRemoved) throw cursors.expired({ ...this.position, rev }, tail.head);
  }

  private isOver(): boolean {
    const { settlement, headRev } = this.start;
    if (this.phase !== null || this.position.rev < headRev) return false;
    return this.request.stopAtHead || (settlement !== null && this.position.rev >= this.scan.seenRev && settlement.isComplete);
  }

  private isDisturbed(): boolean {
    return this.signal.aborted || this.end.signal.aborted || this.closed || this.deps.isDraining();
  }

  private nextDueAt(): number {
    const { ageMaxMs, storeLostMs } = this.deps.limits;
    const lostSince = this.deps.sequencer.storeLostSince;
    const heartbeat = lostSince === null ? this.bookmarkAt : lostSince + storeLostMs;
    return Math.min(heartbeat, this.saidGoodbye ? Infinity : this.openedAt + ageMaxMs);
  }

  private requireStore(cause: unknown): void {
    if (!this.patience.isOver(this.deps.sequencer.storeLostSince)) return;
    throw new DomainError('STORE_UNAVAILABLE', 'the database has been away for too long; resume with the cursor', {
      metadata: { cursor: this.cursorText() },
      retryAfterMs: this.deps.limits.reconnectAfterMs,
      cause,
    });
  }

  private close(): void {
    if (this.closed) return;
    this.closed = true;
    this.consumerSince = null;
    this.signal.removeEventListener('abort', this.onAbort);
    this.bell.ring();
    this.deps.onClose(this);
  }

  private readonly onAbort = (): void => this.close();
}
