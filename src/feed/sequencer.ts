/**
 * Drives `feed_advance`, which gives committed changes their revision. There is no leader: every replica calls it after its own
 * commits, and as a read-only peek on a timer for the commits of replicas that died before they called it.
 */
import type { Client, ClientConfig, Pool } from 'pg';
import type { Clock } from '../clock.js';
import type { Logger } from '../logger.js';
import { SHARD } from './history.js';
import { Listener } from './listener.js';

/** Everything that was committed before `asOf` has a revision up to `rev`. */
export interface Closure {
  readonly epoch: number;
  readonly rev: bigint;
  /** By the database's clock. */
  readonly asOf: Date;
  /** The same moment by ours. */
  readonly at: Date;
  /** Of these revisions the newest so many were given by this very look. */
  readonly appended: number;
}

export interface SequencerOptions {
  readonly connection: ClientConfig;
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Logger;
  readonly peekMs: number;
  /** The peek's interval while no notification can arrive. */
  readonly pollMs: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  onClosed(closure: Closure): void;
  /** Reads what the statement before it on this connection has given a revision; never rejects. */
  readAlong(client: Client): Promise<void>;
  /** Another replica says that the head is there now. */
  onNotice(head: { epoch: number; rev: bigint }): void;
  /** Old history is about to be removed, or was removed just now. */
  onCompaction(): void;
  /** The database was lost or found. */
  onStore(): void;
}

export const CHANNEL = 'feed';
/** The payload that is no head. */
export const COMPACTION = 'compaction';

export class Sequencer implements AsyncDisposable {
  private readonly listener: Listener;
  private next: (PromiseWithResolvers<Closure> & { full: boolean }) | null = null;
  private running: Promise<void> | null = null;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;
  private lostSince: number | null = null;
  private lastClosure: Closure | null = null;

  constructor(private readonly options: SequencerOptions) {
    const { connection, log, retryMinMs, retryMaxMs } = options;
    this.listener = new Listener({
      connection,
      channel: CHANNEL,
      log,
      retryMinMs,
      retryMaxMs,
      onNotice: (payload) => this.heed(payload),
      onConnected: () => this.kick(),
      onLost: () => this.schedule(),
    });
  }

  /** Connects, and advances once in full: only that looks at whether another server is writing now. */
  async start(): Promise<Closure> {
    await this.listener.start();
    const closure = await this.request(true);
    this.schedule();
    return closure;
  }

  get isListening(): boolean {
    return this.listener.client !== null;
  }

  /** Since when (`performance.now()`) the database does not answer; null while it does. */
  get storeLostSince(): number | null {
    return this.lostSince;
  }

  /** The last one; null only before the start. */
  get closed(): Closure | null {
    return this.lastClosure;
  }

  /** Something was committed here. At most one call is in flight and one pending, however many commits there are. */
  kick(): void {
    this.request(true).catch(() => undefined);
  }

  /** Resolves once everything that is committed now has its revision. */
  async catchUp(): Promise<Closure> {
    return await this.request(false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.running;
    await this.listener[Symbol.asyncDispose]();
  }

  private request(full: boolean): Promise<Closure> {
    if (this.stopped) return Promise.reject(new Error('the sequencer is stopped'));
    this.next ??= { ...Promise.withResolvers<Closure>(), full: false };
    this.next.full ||= full;
    const { promise } = this.next;
    this.running ??= this.run();
    return promise;
  }

  private async run(): Promise<void> {
    for (let call = this.next; call !== null; call = this.next) {
      this.next = null;
      try {
        const closure = await this.advance(call.full);
        this.storeFound();
        this.lastClosure = closure;
        this.options.onClosed(closure);
        call.resolve(closure);
      } catch (error) {
        this.storeLost(error);
        call.reject(error);
      }
    }
    this.running = null;
  }

  private async advance(full: boolean): Promise<Closure> {
    const client = this.listener.client;
    const at = this.options.clock.now();
    try {
      const advancing = (client ?? this.options.pool).query<Row>({ name: 'feed_advance', text: ADVANCE, values: [SHARD, CHANNEL, !full] });
      // Sent at once and not after the answer: that saves a turn through a busy process.
      const along = full && client !== null ? this.options.readAlong(client) : null;
      const { rows } = await advancing;
      await along;
      const row = rows[0]!;
      if (row.standby) throw new Error('the feed must be sequenced on the primary, but this server is a standby');
      if (row.rev === null) throw new Error(`shard ${SHARD} has no row in feed_head`);
      return { epoch: row.epoch, rev: BigInt(row.rev), asOf: row.as_of, at, appended: row.appended };
    } catch (error) {
      // Without a code it was not the server that answered: the connection hangs or is gone.
      if (client !== null && !(error instanceof Error && 'code' in error)) this.listener.drop(client, error);
      throw error;
    }
  }

  private schedule(): void {
    clearTimeout(this.timer);
    if (this.stopped) return;
    const { peekMs, pollMs } = this.options;
    const pause = this.isListening ? peekMs * (0.75 + Math.random() / 2) : pollMs;
    this.timer = setTimeout(() => {
      this.request(false)
        .catch(() => undefined)
        .finally(() => this.schedule());
    }, pause);
  }

  /** A notification wakes; what it says only saves a read that would find nothing. */
  private heed(payload: string): void {
    if (payload === COMPACTION) return this.options.onCompaction();
    const [shard, epoch, rev] = payload.split(':');
    if (shard === `${SHARD}` && epoch !== undefined && rev !== undefined) this.options.onNotice({ epoch: Number(epoch), rev: BigInt(rev) });
  }

  private storeLost(error: unknown): void {
    if (this.lostSince !== null) return;
    this.lostSince = performance.now();
    this.options.log.error({ err: error }, 'the feed cannot be advanced');
    this.options.onStore();
  }

  private storeFound(): void {
    if (this.lostSince === null) return;
    this.options.log.info({ lost_ms: Math.round(performance.now() - this.lostSince) }, 'the feed advances again');
    this.lostSince = null;
    this.options.onStore();
  }
}

interface Row {
  readonly epoch: number;
  readonly rev: string | null;
  readonly appended: number;
  readonly as_of: Date;
  readonly standby: boolean;
}

/** One statement, hence its own READ COMMITTED transaction. Its start lies before every snapshot that it takes. */
const ADVANCE = `select a.epoch, a.rev::text, a.appended, statement_timestamp() as as_of, pg_is_in_recovery() as standby
                   from feed_advance($1::smallint, $2, $3) a`;
