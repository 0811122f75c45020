/** HTTP requests over kept connections, one after the other on each, and how long each took. */
import { connect, type Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly ms: number;
}

export interface Request {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Made once for a request that is sent again and again. */
const BYTES = new WeakMap<Request, Buffer>();

/** A connection that speaks just enough HTTP to cost the machine little: the load must not outweigh what it measures. */
class Connection {
  private waiting: { resolve: (answer: Answer) => void; since: number } | null = null;
  private received = '';

  private constructor(private readonly socket: Socket, private readonly path: string, private readonly host: string) {
    socket.setNoDelay(true).setEncoding('latin1');
    socket.on('data', (piece: string) => this.read(piece));
    // The entrance is gone: the measurement has failed, and says so.
    socket.on('error', (error) => { throw error; });
  }

  static async open(url: string): Promise<Connection> {
    const { hostname, port, pathname, host } = new URL(url);
    const socket = connect(Number(port), hostname);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new Connection(socket, pathname, host);
  }

  post(request: Request): Promise<Answer> {
    return new Promise((resolve) => {
      this.waiting = { resolve, since: performance.now() };
      this.socket.write(this.bytesOf(request));
    });
  }

  private bytesOf(request: Request): Buffer {
    const known = BYTES.get(request);
    if (known !== undefined) return known;
    const { headers, body } = request;
    const lines = Object.entries({ host: this.host, 'content-length': `${Buffer.byteLength(body)}`, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    const bytes = Buffer.from(`POST ${this.path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
    BYTES.set(request, bytes);
    return bytes;
  }

  close(): void {
    this.socket.destroy();
  }

  private read(piece: string): void {
    this.received += piece;
    const end = this.received.indexOf('\r\n\r\n');
    if (end === -1) return;
    const length = Number(/content-length: (\d+)/i.exec(this.received)?.[1] ?? 0);
    if (this.received.length < end + 4 + length) return;

    const status = Number(this.received.slice(9, 12));
    this.received = '';
    const { resolve, since } = this.waiting!;
    resolve({ status, ms: performance.now() - since });
  }
}

/** Sends everything as fast as that many connections allow. */
export async function burst(url: string, requests: readonly Request[], connections: number): Promise<Answer[]> {
  const answers: Answer[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const connection = await Connection.open(url);
      for (let request = requests[next++]; request !== undefined; request = requests[next++]) answers.push(await connection.post(request));
      connection.close();
    }),
  );
  return answers;
}

/** Sends so many a second, evenly, for as long as `requests` yields; each waits for a free connection, which counts as its time. */
export async function paced(url: string, requests: Iterable<Request>, options: { perSecond: number; connections: number }): Promise<Answer[]> {
  const free = await Promise.all(Array.from({ length: options.connections }, () => Connection.open(url)));
  const all = [...free];
  const queue: { request: Request; due: number }[] = [];
  const answers: Answer[] = [];
  const pending = new Set<Promise<void>>();
  const serve = (): void => {
    while (free.length > 0 && queue.length > 0) {
      const connection = free.pop()!;
      const { request, due } = queue.shift()!;
      const done = connection.post(request).then(({ status }) => {
        answers.push({ status, ms: performance.now() - due });
        free.push(connection);
        pending.delete(done);
        serve();
      });
      pending.add(done);
    }
  };

  const began = performance.now();
  const source = requests[Symbol.iterator]();
  let sent = 0;
  for (let ended = false; !ended; ) {
    const target = Math.floor(((performance.now() - began) * options.perSecond) / 1_000);
    for (; sent < target && !ended; sent += 1) {
      const one = source.next();
      ended = one.done === true;
      if (one.done !== true) queue.push({ request: one.value, due: began + (sent * 1_000) / options.perSecond });
    }
    serve();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  while (pending.size > 0 || queue.length > 0) await Promise.race(pending);
  for (const connection of all) connection.close();
  return answers;
}

export function percentile(answers: readonly Answer[], share: number): number {
  const sorted = answers.map(({ ms }) => ms).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
