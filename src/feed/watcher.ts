/**
 * One watch: a position in the feed that its consumer pulls along. Nothing is queued for it; between two pulls it is only a
 * position, and a consumer that does not pull for too long loses it with a cursor to resume from.
 *
 * There may be ten thousand that wait, so that one which waits holds no more than its place: no suspended function, no signal.
 * Before each message everything is looked at anew: whether the watch is over, the snapshot's pages, a bookmark that is due,
 * events. Bookmarks and events leave through the same door in the order of the feed, so that no bookmark overtakes an event.
 */
import { DomainError } from '../payment/errors.js';
import type { Batch, Batches } from './batches.js';
import { cursorText, type SnapshotPhase } from './cursor.js';
import type { FilterIndex, Group, Member } from './filter-index.js';
import type { FeedPosition } from './history.js';
import type { Settlement } from './settlement.js';
import { Snapshot } from './snapshot.js';
import { fromStore, StoreFailed } from './store-read.js';
import type { Sources, Start } from './watch-start.js';
import type { FilledRequest, GoodbyeReason, WatchBody, WatchMessage } from './watch.js';

export interface WatcherLimits {
  readonly slowConsumerMs: number;
  readonly storeLostMs: number;
  readonly ageMaxMs: number;
  readonly reconnectAfterMs: number;
}

/** The same for all watches of a feed. */
export interface WatcherDeps extends Sources {
  readonly index: FilterIndex;
  readonly batches: Batches;
  readonly limits: WatcherLimits;
  isDraining(): boolean;
  onClose(watcher: Watcher): void;
}

/** What a look found: a message to send, nothing for now, nothing ever again, or reason to look again. */
type Found = WatchMessage | 'IDLE' | 'OVER' | 'AGAIN';
type Result = IteratorResult<WatchMessage, undefined>;

const STORE_RETRY_MS = 250;
/** Who waits for longer needs no timer of its own: the look that all watches are given now and then is exact enough for a bookmark. */
const OWN_TIMER_MAX_MS = 1_000;

export class Watcher implements AsyncIterableIterator<WatchMessage, undefined>, AsyncDisposable, Member {
  private readonly group: Group;
  private readonly openedAt = performance.now();
  private position: FeedPosition;
  private phase: SnapshotPhase | null;
  private snapshot: Snapshot | null = null;
  /** Since when its own reads of the database fail. */
  private lostSince: number | null = null;
  private greeted = false;
  private saidGoodbye = false;
  private complete = false;
  private closed = false;
  private bookmarkAt: number;
  private sentAt = 0;
  /** Who waits for the next message. */
  private consumer: PromiseWithResolvers<Result> | null = null;
  /** Since when the consumer has a message and has not come back. */
  private consumerSince: number | null = performance.now();
  private working = false;
  private rung = false;
  private alarm: NodeJS.Timeout | undefined;
  /** When it is to look again, where no timer is set for that. */
  private dueAt = Infinity;
  /** When it looks again by itself, before anything else is due. */
  private wakeAt = Infinity;
  private failure: DomainError | null = null;
  private end: AbortController | null = null;

  private readonly bookmarkIntervalMs: number;
  private readonly lingerMs: number;
  private readonly stopAtHead: boolean;
  private readonly settlement: Settlement | null;
  /** Where it may stop, if it is to stop. */
  private readonly untilRev: bigint;

  constructor(
    private readonly deps: WatcherDeps,
    request: FilledRequest,
    start: Start,
  ) {
    const { filter, view, eventsPerMessageMax } = request;
    this.group = deps.index.join({ filter, view, eventsPerMessageMax }, this);
    this.bookmarkIntervalMs = request.bookmarkIntervalMs;
    this.lingerMs = request.lingerMs;
    this.stopAtHead = request.stopAtHead;
    this.settlement = start.settlement;
    this.untilRev = start.headRev;
    this.position = start.position;
    this.phase = start.phase;
    this.bookmarkAt = this.openedAt + request.bookmarkIntervalMs;
  }

  /** Aborted with the error as its reason when the watch ends while its consumer does not pull. */
  get ended(): AbortSignal {
    this.end ??= new AbortController();
    if (this.failure !== null) this.end.abort(this.failure);
    return this.end.signal;
  }

  /** Whether it must look whenever the feed moves, also where nothing matches. */
  get isRestless(): boolean {
    return this.phase !== null || this.stopAtHead || this.settlement !== null;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    this.consumerSince = null;
    this.consumer = Promise.withResolvers();
    const { promise } = this.consumer;
    this.ring();
    return promise;
  }

  return(): Promise<Result> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** Something may have changed: it looks, or where it is looking already, looks once more. */
  ring(): void {
    this.rung = true;
    if (this.consumer !== null && !this.working) this.work();
  }

  /** A bookmark is due now. */
  remind(): void {
    this.bookmarkAt = 0;
    this.ring();
  }

  /** Called now and then: looks when that is due, and ends the watch of a consumer that has not pulled for too long. */
  tick(now: number): void {
    if (now >= this.dueAt) this.ring();
    if (this.consumerSince === null || now - this.consumerSince < this.deps.limits.slowConsumerMs) return;
    const metadata = { cursor: cursorText(this.cursor()), behind: `${this.behind}` };
    this.failure = new DomainError('SLOW_CONSUMER', 'the watch was not read for too long; resume with the last cursor', { metadata });
    this.end?.abort(this.failure);
    this.close();
  }

  private work(): void {
    this.working = true;
    this.wakeAt = Infinity;
    this.dueAt = Infinity;
    clearTimeout(this.alarm);
    this.goOn();
  }

  /** Looks until there is an answer for the consumer or nothing to do. Only a read of the database makes it wait. */
  private goOn(): void {
    try {
      while (this.rung) {
        this.rung = false;
        const found = this.find();
        if (found instanceof Promise) return void found.then((one) => this.settle(one) || this.goOn(), (error: unknown) => this.fail(error));
        if (this.settle(found)) return;
      }
      this.working = false;
      this.sleep();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Whether the consumer has its answer. */
  private settle(found: Found): boolean {
    if (found === 'AGAIN') this.rung = true;
    if (found === 'AGAIN' || found === 'IDLE') return false;
    if (found === 'OVER') this.close();
    this.answer(found === 'OVER' ? { done: true, value: undefined } : { done: false, value: found });
    this.working = false;
    return true;
  }

  private find(): Found | Promise<Found> {
    if (this.failure !== null) throw this.failure;
    if (this.closed) return 'OVER';
    try {
      const found = this.look();
      return found instanceof Promise ? found.then((one) => this.found(one), (error: unknown) => this.bear(error)) : this.found(found);
    } catch (error) {
      return this.bear(error);
    }
  }

  private found(found: Found): Found {
    this.lostSince = null;
    if (found === 'IDLE') this.requireStore(null);
    return found;
  }

  /** The database may be away for a while; everything else ends the watch. */
  private bear(error: unknown): Found {
    if (!(error instanceof StoreFailed)) throw error;
    this.lostSince ??= performance.now();
    this.requireStore(error.cause);
    this.wakeAt = performance.now() + STORE_RETRY_MS;
    return 'IDLE';
  }

  private look(): Found | Promise<Found> {
    if (!this.greeted) return this.greeting();
    if (this.deps.tail.broken !== null) throw this.deps.tail.broken;
    this.followHistory();

    const farewell = this.farewell();
    if (farewell !== null) return farewell;
    if (this.phase?.kind === 'PAGES') return this.snapshotPage(this.phase.lastPaymentId);
    if (this.phase?.kind === 'REPLAY' && this.position.rev >= this.phase.untilRev) return this.completion();
    if (this.isOver()) return this.complete ? 'OVER' : this.lastBookmark();
    if (performance.now() >= this.bookmarkAt && this.deps.sequencer.storeLostSince === null) return this.bookmark();
    return this.events();
  }

  // The parts of a message.

  private say(body: WatchBody): WatchMessage {
    return { cursor: this.cursor(), ...body };
  }

  private greeting(): WatchMessage {
    this.greeted = true;
    const { bookmarkIntervalMs } = this;
    return this.say({ kind: 'created', startRevision: this.position.rev, epoch: this.position.epoch, bookmarkIntervalMs });
  }

  private bookmark(snapshotComplete = false): WatchMessage {
    this.bookmarkAt = performance.now() + this.bookmarkIntervalMs;
    // Who waits for settlements looks at every event itself: one that the filter hides may be the last that it needs.
    const clearRev = this.phase === null && this.settlement === null ? this.deps.index.clearUpTo(this.group, this.position.rev) : null;
    if (clearRev !== null) this.moveTo(clearRev);
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
        metadata: { cursor: cursorText(this.cursor()) },
      });
    }
    this.saidGoodbye = true;
    const reason: GoodbyeReason = this.deps.isDraining() ? 'DRAINING' : 'MAX_AGE';
    return this.say({ kind: 'goodbye', reason, reconnectAfterMs: Math.round(Math.random() * this.deps.limits.reconnectAfterMs) });
  }

  private async snapshotPage(after: string): Promise<Found> {
    const { filter, eventsPerMessageMax } = this.group.shape;
    this.snapshot ??= new Snapshot(this.deps.orm, filter);
    const { snapshot } = this;
    const payments = await fromStore(() => snapshot.page(after, eventsPerMessageMax));
    const last = payments.at(-1);
    if (last === undefined) {
      const { rev } = await fromStore(() => this.deps.sequencer.catchUp());
      this.phase = { kind: 'REPLAY', untilRev: rev };
      this.snapshot = null;
      return 'AGAIN';
    }
    this.phase = { kind: 'PAGES', lastPaymentId: last.id };
    return this.say({ kind: 'snapshot', payments });
  }

  private events(): Found | Promise<Found> {
    const batch = this.deps.batches.after(this.group, this.position, this.settlement?.see ?? null);
    return batch instanceof Promise ? batch.then((one) => this.take(one)) : this.take(batch);
  }

  private take({ message, toRev, isFull }: Batch): Found {
    if (message === null) {
      const moved = toRev > this.position.rev;
      this.moveTo(toRev);
      return moved ? 'AGAIN' : 'IDLE';
    }
    // Who got a message a moment ago is under load and waits for company; a lone event leaves at once.
    const now = performance.now();
    const companyUntil = this.sentAt + this.lingerMs;
    if (!isFull && now < companyUntil) {
      this.wakeAt = companyUntil;
      return 'IDLE';
    }
    this.sentAt = now;
    this.moveTo(toRev);
    return this.phase === null ? message : this.say({ kind: 'events', events: message.events });
  }

  // Where the watch stands.

  private get headRev(): bigint {
    const { rev } = this.deps.tail.head;
    return rev > this.position.rev ? rev : this.position.rev;
  }

  private get behind(): bigint {
    return this.headRev - this.position.rev;
  }

  private cursor(): Uint8Array {
    return this.deps.cursors.seal({ feedId: this.deps.tail.head.feedId, position: this.position, phase: this.phase });
  }

  private moveTo(rev: bigint): void {
    if (rev !== this.position.rev) this.position = { ...this.position, rev };
  }

  /** A new epoch keeps the watch where it is, or ends it where the revisions that it has read are lost. */
  private followHistory(): void {
    const { head } = this.deps.tail;
    if (head.epoch <= this.position.epoch) return;
    this.deps.cursors.requireWithin(this.position, head);
    this.position = { ...this.position, epoch: head.epoch };
  }

  private isOver(): boolean {
    const { settlement, position } = this;
    if (this.phase !== null || position.rev < this.untilRev) return false;
    return this.stopAtHead || (settlement !== null && position.rev >= settlement.seenRev && settlement.isComplete);
  }

  private requireStore(cause: unknown): void {
    const since = this.lostSince ?? this.deps.sequencer.storeLostSince;
    if (since === null || performance.now() - since < this.deps.limits.storeLostMs) return;
    throw new DomainError('STORE_UNAVAILABLE', 'the database has been away for too long; resume with the cursor', {
      metadata: { cursor: cursorText(this.cursor()) },
      retryAfterMs: this.deps.limits.reconnectAfterMs,
      cause,
    });
  }

  // How it waits and ends.

  private sleep(): void {
    const { ageMaxMs, storeLostMs } = this.deps.limits;
    const lostSince = this.deps.sequencer.storeLostSince;
    // While its own reads fail nothing but the next attempt is of use, not even a bookmark that is due.
    const bookmarkAt = this.lostSince === null ? this.bookmarkAt : Infinity;
    const heartbeatAt = lostSince === null ? bookmarkAt : lostSince + storeLostMs;
    const agedAt = this.saidGoodbye ? Infinity : this.openedAt + ageMaxMs;
    const at = Math.min(heartbeatAt, agedAt, this.wakeAt);
    const ms = at - performance.now();
    if (ms > OWN_TIMER_MAX_MS) this.dueAt = at;
    else this.alarm = setTimeout(ringOf, Math.max(0, ms), this);
  }

  private answer(result: Result): void {
    const { resolve } = this.consumer!;
    this.consumer = null;
    if (result.done !== true) this.consumerSince = performance.now();
    resolve(result);
  }

  private fail(error: unknown): void {
    const { reject } = this.consumer!;
    this.consumer = null;
    this.close();
    this.working = false;
    reject(error);
  }

  private close(): void {
    if (this.closed) return;
    this.closed = true;
    this.consumerSince = null;
    this.dueAt = Infinity;
    clearTimeout(this.alarm);
    this.deps.index.leave(this.group, this);
    this.deps.onClose(this);
    // Whoever waits is told.
    this.ring();
  }
}

/** One function for the timers of all watches that have one. */
const ringOf = (watcher: Watcher): void => watcher.ring();
