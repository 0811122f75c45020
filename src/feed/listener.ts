/**
 * The direct connection of the feed: LISTEN, and the sequencer's own statements while it lives. It reconnects by itself and for
 * ever. A direct connection because a transaction-mode pooler delivers no notification. Statements may be sent while others are under way;
 * each is a transaction of its own.
 */
import pg from 'pg';
import type { Logger } from '../logger.js';

export interface ListenerOptions {
  readonly connection: pg.ClientConfig;
  readonly channel: string;
  readonly log: Logger;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  onNotice(payload: string): void;
  onConnected(): void;
  onLost(): void;
}

export class Listener implements AsyncDisposable {
  private connected: pg.Client | null = null;
  private retries = 0;
  private retryTimer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(private readonly options: ListenerOptions) {}

  /** The live connection, or null. */
  get client(): pg.Client | null {
    return this.connected;
  }

  /** Rejects where the first attempt fails; later ones are repeated. */
  async start(): Promise<void> {
    await this.connect();
  }

  /** Gives up a connection that no longer answers. */
  drop(client: pg.Client, error: unknown): void {
    if (this.connected !== client) return;
    this.connected = null;
    this.options.log.warn({ err: error }, 'the connection of the feed is lost');
    client.removeAllListeners('notification');
    void client.end().catch(() => undefined);
    this.options.onLost();
    this.retryLater();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopped = true;
    clearTimeout(this.retryTimer);
    const client = this.connected;
    this.connected = null;
    await client?.end().catch(() => undefined);
  }

  private async connect(): Promise<void> {
    // The types of pg do not know this option yet.
    const pipelined: pg.ClientConfig & { pipeline: boolean } = { ...this.options.connection, application_name: 'paystate feed listen', pipeline: true };
    const client = new pg.Client(pipelined);
    client.on('error', (error) => this.drop(client, error));
    client.on('end', () => this.drop(client, new Error('the server closed the connection')));
    client.on('notification', ({ payload }) => this.options.onNotice(payload ?? ''));
    try {
      await client.connect();
      await requirePrimary(client);
      await client.query(`listen ${client.escapeIdentifier(this.options.channel)}`);
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    if (this.stopped) return await client.end();
    this.retries = 0;
    this.connected = client;
    this.options.onConnected();
  }

  private retryLater(): void {
    if (this.stopped) return;
    const { retryMinMs, retryMaxMs, log } = this.options;
    const pause = Math.min(retryMaxMs, retryMinMs * 2 ** this.retries) * (0.5 + Math.random() / 2);
    this.retries += 1;
    this.retryTimer = setTimeout(() => {
      this.connect().catch((error: unknown) => {
        log.warn({ err: error, retries: this.retries }, 'the feed cannot reach the database');
        this.retryLater();
      });
    }, pause);
  }
}

export interface ConnectionLimits {
  readonly connectMaxMs: number;
  readonly answerMaxMs: number;
}

/**
 * Every query of the feed is a look-up by key; a plan made on an empty table must not become a scan of a full one. Without
 * synchronous commits a delivered revision could vanish in a crash, whatever the role's default is.
 */
export function connectionOptions(databaseUrl: string, { connectMaxMs, answerMaxMs }: ConnectionLimits): pg.ClientConfig {
  return {
    connectionString: databaseUrl,
    options: '-c enable_seqscan=off -c enable_bitmapscan=off -c synchronous_commit=on',
    connectionTimeoutMillis: connectMaxMs,
    statement_timeout: answerMaxMs,
    // The server's own time-out comes first, unless the server is not there.
    query_timeout: answerMaxMs * 1.2,
    keepAlive: true,
  };
}

/** On a standby the sequencer would lose events; a pooler in between may drop the settings of the connection. */
async function requirePrimary(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ standby: boolean; commit: string }>(
    "select pg_is_in_recovery() as standby, current_setting('synchronous_commit') as commit",
  );
  const { standby, commit } = rows[0]!;
  if (standby) throw new Error('the feed must be sequenced on the primary, but this server is a standby');
  if (commit !== 'on') throw new Error(`synchronous_commit must be on for the feed, but it is ${commit}; is a pooler in between?`);
}
