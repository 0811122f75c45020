/**
 * A TCP proxy that breaks connections on purpose, for what a database or a gateway never does when asked. It knows no protocol:
 * a hook sees every chunk of the client before the server does and decides what becomes of it.
 *
 * To lose a COMMIT on its way, or only its answer:
 *
 *     proxy.onClientData((chunk) => (isCommit(chunk) ? 'drop-and-cut' : 'pass'));
 *     proxy.onClientData((chunk) => (isCommit(chunk) ? 'pass-then-cut' : 'pass'));
 *
 * After 'pass-then-cut' the client sees a reset at once, while the server reads the COMMIT and then the end of the stream;
 * `connection.ended` resolves when the server is done with it, so a test can wait for that instead of sleeping.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** 'drop': the server never sees the chunk, and nobody is told. */
export type Verdict = 'pass' | 'drop' | 'drop-and-cut' | 'pass-then-cut';
export type ClientDataHook = (chunk: Buffer, connection: ProxyConnection) => Verdict;

export interface ProxyConnection {
  /** Counts from 1 in the order of arrival. */
  readonly id: number;
  /** Both sides are closed. */
  readonly ended: Promise<void>;
  /** Resets both sides. */
  cut(): void;
  /** Nothing passes on this one any more, whatever becomes of the others. */
  freeze(): void;
}

export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** The connections that are open now. */
  readonly connections: ReadonlySet<ProxyConnection>;
  cutAll(): void;
  /** Nothing passes in either direction and nothing is closed, as when a network swallows packets; new connections hang. */
  freeze(): void;
  resume(): void;
  /** Replaces the hook before; it is asked again for every chunk, of connections that are already open too. */
  onClientData(hook: ClientDataHook): void;
  /** New connections lead elsewhere from now on, as when a server comes back at another place. */
  redirect(target: { host: string; port: number }): void;
  /** Stops listening and resets what is open. */
  close(): Promise<void>;
}

export async function startTcpProxy(options: { target: { host: string; port: number } }): Promise<TcpProxy> {
  const connections = new Set<Connection>();
  let hook: ClientDataHook = () => 'pass';
  let { target } = options;
  let frozen = false;
  let lastId = 0;

  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (client) => {
    const upstream = connect({ ...target, allowHalfOpen: true, noDelay: true });
    const connection = new Connection(++lastId, client, upstream, (chunk, of) => hook(chunk, of));
    connections.add(connection);
    void connection.ended.then(() => connections.delete(connection));
    if (frozen) connection.freeze();
    else connection.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const cutAll = (): void => connections.forEach((connection) => connection.cut());
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closed ??= new Promise((resolve, reject) => {
      server.close((error) => (error === undefined ? resolve() : reject(error)));
      cutAll();
    }));
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    cutAll,
    close,
    freeze: () => {
      frozen = true;
      connections.forEach((connection) => connection.freeze());
    },
    resume: () => {
      frozen = false;
      connections.forEach((connection) => connection.resume());
    },
    onClientData: (next) => void (hook = next),
    redirect: (next) => void (target = next),
    [Symbol.asyncDispose]: close,
  };
}

class Connection implements ProxyConnection {
  readonly ended: Promise<void>;
  private open = true;

  constructor(
    readonly id: number,
    private readonly client: Socket,
    private readonly upstream: Socket,
    private readonly ask: ClientDataHook,
  ) {
    this.ended = Promise.all([client, upstream].map((side) => new Promise<void>((resolve) => side.once('close', () => resolve())))).then(() => undefined);
    client.on('data', (chunk) => this.fromClient(chunk));
    upstream.on('data', (chunk) => void (this.open && client.write(chunk)));
    client.on('end', () => upstream.end());
    upstream.on('end', () => client.end());
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.resetAndDestroy());
  }

  freeze(): void {
    this.client.pause();
    this.upstream.pause();
  }

  resume(): void {
    this.client.resume();
    this.upstream.resume();
  }

  cut(): void {
    this.open = false;
    this.client.resetAndDestroy();
    this.upstream.resetAndDestroy();
  }

  private fromClient(chunk: Buffer): void {
    if (!this.open) return;
    const verdict = this.ask(chunk, this);
    if (verdict === 'drop') return;
    if (verdict === 'drop-and-cut') return this.cut();

    this.upstream.write(chunk);
    if (verdict === 'pass-then-cut') {
      // No reset on the server's side: it could overtake the chunk there.
      this.open = false;
      this.client.resetAndDestroy();
      this.upstream.end();
    }
  }
}

/**
 * Whether a chunk holds a COMMIT of the simple query protocol. A message of PostgreSQL is one byte of type, a big-endian 32-bit
 * length that counts itself and the body but not the type, and the body; of the type 'Q' the body is the SQL and a NUL:
 *
 *     51  00 00 00 0b  63 6f 6d 6d 69 74 00        Q, 11, "commit\0"
 *
 * The first messages of a connection (SSL request, startup) have no type byte and never look like this. A COMMIT may share its
 * chunk with other messages; that it is split over two chunks does not happen on loopback, where a client writes it at once.
 */
export function isCommit(chunk: Buffer): boolean {
  const messages = chunk.toString('latin1').matchAll(/Q\0\0\0([^])(\s*commit\s*;?\s*)\0/gi);
  return [...messages].some(([message, length = '', sql = '']) => message.startsWith('Q') && length.charCodeAt(0) === 4 + sql.length + 1);
}
