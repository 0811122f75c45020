/** A kept connection to the notification entrance that sends bytes as they are, however little they look like HTTP should. */
import { connect, type Socket } from 'node:net';
import type { Input } from './input.js';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The entrance has 5 s for a request, and the platforms have no more for its answer. */
const ANSWER_MAX_MS = 10_000;

interface Waiting {
  readonly resolve: (answer: Answer | null) => void;
  readonly timer: NodeJS.Timeout;
}

export class EntranceConnection {
  private socket: Socket | null = null;
  private received = '';
  private waiting: Waiting | null = null;

  constructor(private readonly address: { readonly host: string; readonly port: number; readonly path: string }) {}

  /** Null where no answer came. */
  async post(input: Input): Promise<Answer | null> {
    const socket = (this.socket ??= await this.open());
    if (socket === null) return null;
    return await new Promise((resolve) => {
      this.waiting = { resolve, timer: setTimeout(() => this.end(null), ANSWER_MAX_MS) };
      socket.write(this.bytesOf(input));
    });
  }

  close(): void {
    this.socket?.destroy();
    this.socket = null;
  }

  private open(): Promise<Socket | null> {
    const { host, port } = this.address;
    return new Promise((resolve) => {
      const socket = connect(port, host, () => resolve(socket));
      socket.setNoDelay(true).setEncoding('latin1');
      socket.on('data', (piece: string) => this.read(piece));
      // An answer that was complete before counts, whatever became of the connection then.
      socket.on('close', () => this.closed(socket));
      socket.on('error', () => resolve(null));
    });
  }

  private bytesOf({ headers, body }: Input): Buffer {
    const { host, path } = this.address;
    const lines = [['host', host], ['content-length', `${body.length}`], ...headers].map(([name, value]) => `${name}: ${value}\r\n`);
    return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1'), body]);
  }

  private read(piece: string): void {
    this.received += piece;
    const end = this.received.indexOf('\r\n\r\n');
    const length = /\r\ncontent-length: (\d+)/i.exec(this.received)?.[1];
    // Without a length it ends with the connection.
    if (end === -1 || length === undefined || this.received.length < end + 4 + Number(length)) return;
    const isLast = /\r\nconnection: close/i.test(this.received.slice(0, end));
    this.end(answerOf(this.received, end));
    if (isLast) this.close();
  }

  private closed(socket: Socket): void {
    if (this.socket !== socket) return;
    this.socket = null;
    const end = this.received.indexOf('\r\n\r\n');
    this.end(end === -1 ? null : answerOf(this.received, end));
  }

  private end(answer: Answer | null): void {
    const { waiting } = this;
    this.received = '';
    if (waiting === null) return;
    this.waiting = null;
    clearTimeout(waiting.timer);
    if (answer === null) this.close();
    waiting.resolve(answer);
  }
}

const answerOf = (received: string, end: number): Answer => ({
  status: Number(received.slice(9, 12)),
  body: Buffer.from(received.slice(end + 4), 'latin1').toString('utf8'),
});
