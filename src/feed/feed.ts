/** The status feed of one process: sequencer, tail and watches put together. */
import type { MikroORM } from '@mikro-orm/postgresql';
import pg from 'pg';
import type { Clock } from '../clock.js';
import type { Logger } from '../logger.js';
import { storeFailure, storeUnavailable } from '../store/store-failure.js';
import { Batches } from './batches.js';
import type { Carrier, CarrierHealth } from './carrier.js';
import { Cursors } from './cursor.js';
import { FilterIndex } from './filter-index.js';
import { connectionOptions, type ConnectionLimits } from './listener.js';
import type { NatsOptions, RelayParts } from './nats/relay.js';
import { Pages } from './pages.js';
import { PaymentLookup } from './payment-lookup.js';
import { Sequencer } from './sequencer.js';
import { Tail } from './tail.js';
import { findStart } from './watch-start.js';
import { withDefaults, type FilledRequest, type WatchRequest } from './watch.js';
import { Watcher, type WatcherDeps, type WatcherLimits } from './watcher.js';
import { Watchers, type WatchersLimits } from './watchers.js';

export interface FeedOptions extends Partial<FeedLimits> {
  readonly orm: MikroORM;
  /** Must lead to the primary itself, not to a pooler in transaction mode. */
  readonly databaseUrl: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Seals cursors; the same on every replica. */
  readonly cursorKey: string;
  /** Null: every replica reads each event from the database. Else JetStream brings it, as long as it can. */
  readonly nats?: NatsOptions | null;
}

export interface FeedLimits extends WatcherLimits, WatchersLimits, ConnectionLimits {
  readonly ringEventsMax: number;
  /** Connections for reading history, besides the one that listens. */
  readonly connectionsMax: number;
  readonly bookmarkIntervalMinMs: number;
  readonly peekMs: number;
  readonly pollMs: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/** How late a bookmark may be. */
const TICK_MS = 250;

const DEFAULTS: FeedLimits = {
  watchesMax: 10_000,
  watchesPerCallerMax: 100,
  ringEventsMax: 100_000,
  connectionsMax: 4,
  connectMaxMs: 5_000,
  answerMaxMs: 10_000,
  bookmarkIntervalMinMs: 1_000,
  slowConsumerMs: 30_000,
  storeLostMs: 60_000,
  ageMaxMs: Infinity,
  reconnectAfterMs: 1_000,
  peekMs: 1_000,
  pollMs: 100,
  retryMinMs: 50,
  retryMaxMs: 5_000,
};

export interface FeedHealth {
  readonly head: bigint;
  readonly epoch: number;
  /** The oldest revision that can still be read. */
  readonly earliest: bigint;
  /** Everything committed before this moment has its revision. */
  readonly asOf: Date;
  readonly lagMs: number;
  readonly openWatches: number;
  readonly isListening: boolean;
  readonly isStoreLost: boolean;
  /** Events that this replica has read from the database since the start. */
  readonly eventsRead: bigint;
  /** Null where the database itself is the transport. */
  readonly carrier: CarrierHealth | null;
}

/** Opens the feed of a migrated database. Rejects where it is away, a standby, or commits asynchronously. */
export async function openFeed(options: FeedOptions): Promise<Feed> {
  const limits: FeedLimits = { ...DEFAULTS, ...options };
  const { orm, databaseUrl, clock, log } = options;
  const connection = connectionOptions(databaseUrl, limits);
  const pool = new pg.Pool({ ...connection, application_name: 'paystate feed', max: limits.connectionsMax });
  pool.on('error', (error) => log.warn({ err: error }, 'an idle connection of the feed is lost'));

  const watchers = new Watchers(limits);
  let tail: Tail | null = null;
  let carrier: Carrier | null = null;
  let index: FilterIndex;
  const pages = new Pages(pool, (head) => tail?.observe(head));
  const { peekMs, pollMs, retryMinMs, retryMaxMs } = limits;
  const sequencer = new Sequencer({
    connection, pool, clock, log, peekMs, pollMs, retryMinMs, retryMaxMs,
    onClosed: (closure) => {
      tail?.close(closure);
      carrier?.advanced(closure);
    },
    readAlong: async (client) => await tail?.readAlong(client),
    onNotice: (head) => {
      tail?.moveTo(head);
      carrier?.heard(head);
    },
    onStore: () => watchers.wake(),
    onCompaction: () => {
      watchers.remind();
      pages.head().then(() => watchers.wake(), () => undefined);
    },
  });

  try {
    const closure = await sequencer.start();
    const head = await pages.head();
    index = new FilterIndex(head.rev);
    tail = new Tail(head, pages, {
      ringEventsMax: limits.ringEventsMax,
      log,
      isWatched: () => watchers.count > 0,
      isBrought: (epoch) => carrier?.brings(epoch) ?? false,
      onEvents: (events) => {
        index.see(events);
        watchers.wakeRestless();
      },
      onSkipped: (rev) => index.reset(rev),
      onChanged: () => watchers.wake(),
    });
    tail.close(closure);
    if (options.nats != null) carrier = await openRelay({ tail, pages, log }, options.nats);
  } catch (error) {
    await sequencer[Symbol.asyncDispose]();
    await pool.end();
    throw error;
  }
  const sources = { orm, sequencer, pages, tail, cursors: new Cursors(options.cursorKey) };
  const batches = new Batches({ ...sources, index, lookup: new PaymentLookup(orm), eventsMax: limits.ringEventsMax });
  const ofWatches = { ...sources, index, batches, limits, isDraining: () => watchers.isDraining, onClose: (one: Watcher) => watchers.remove(one) };
  return new Feed(ofWatches, { limits, watchers, pool, clock, carrier });
}

/** Its library is loaded only where it is wanted. */
async function openRelay(parts: RelayParts, options: NatsOptions): Promise<Carrier> {
  const { Relay } = await import('./nats/relay.js');
  return new Relay(parts, options);
}

interface Parts {
  readonly limits: FeedLimits;
  readonly watchers: Watchers;
  readonly pool: pg.Pool;
  readonly clock: Clock;
  readonly carrier: Carrier | null;
}

export class Feed implements AsyncDisposable {
  private readonly ticking: NodeJS.Timeout;

  constructor(
    private readonly sources: WatcherDeps,
    private readonly parts: Parts,
  ) {
    const { watchers, limits } = parts;
    this.ticking = setInterval(() => watchers.tick(), Math.min(TICK_MS, limits.slowConsumerMs / 4)).unref();
  }

  get orm(): MikroORM {
    return this.sources.orm;
  }

  /** To be called after each own commit that gave a payment a new version. */
  readonly kick = (): void => this.sources.sequencer.kick();

  /**
   * Opens a watch. Everything that can be refused is refused here: FIELD_INVALID, CURSOR_EXPIRED, FEED_HISTORY_DIVERGED,
   * PAYMENT_NOT_FOUND, OVERLOADED, SERVER_DRAINING, STORE_UNAVAILABLE. The signal ends it without an error.
   */
  async watch(request: WatchRequest, signal?: AbortSignal): Promise<Watcher> {
    const { watchers, limits } = this.parts;
    const filled = withDefaults(request, limits);
    watchers.reserve(filled.caller);
    try {
      return await this.open(filled, signal);
    } catch (error) {
      watchers.release(filled.caller);
      throw storeFailure(error) === 'UNAVAILABLE' ? storeUnavailable(error) : error;
    }
  }

  health(): FeedHealth {
    const { tail, sequencer, pages } = this.sources;
    const { asOf, at, rev, epoch } = sequencer.closed!;
    return {
      head: rev,
      epoch,
      earliest: tail.head.compactRev + 1n,
      asOf,
      lagMs: Math.max(0, this.parts.clock.now().getTime() - at.getTime()),
      openWatches: this.parts.watchers.count,
      isListening: sequencer.isListening,
      isStoreLost: sequencer.storeLostSince !== null,
      eventsRead: pages.eventsRead,
      carrier: this.parts.carrier?.health() ?? null,
    };
  }

  /** Each watch says goodbye and ends with SERVER_DRAINING; resolves when the last one is closed. */
  async drain(): Promise<void> {
    await this.parts.watchers.drain();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.ticking);
    await this.parts.watchers.close();
    await this.parts.carrier?.[Symbol.asyncDispose]();
    await this.sources.sequencer[Symbol.asyncDispose]();
    await this.parts.pool.end();
  }

  private async open(request: FilledRequest, signal: AbortSignal | undefined): Promise<Watcher> {
    const start = await findStart(this.sources, request);
    const watcher = new Watcher(this.sources, request, start);
    this.parts.watchers.add(watcher, request.caller);
    signal?.addEventListener('abort', () => void watcher.return(), { once: true });
    if (signal?.aborted === true) await watcher.return();
    return watcher;
  }
}
