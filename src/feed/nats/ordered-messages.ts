/**
 * The messages of a stream as the server pushes them: without acknowledgements, with heartbeats and flow control. The library's own ordered
 * consumer waits for a heartbeat for a minute; a feed that stands still for so long would be noticed by everybody else before.
 *
 * What is missing is left to whoever receives: it sees the gap in the revisions and has the database.
 */
import type { Msg, NatsConnection, Subscription } from '@nats-io/transport-node';
import type { FeedEvent } from '../event.js';
import type { Place } from './names.js';
import { decodeEvent } from './payload.js';

/** `event` is null where it is in a layout of a later version. */
export interface Received {
  readonly rev: bigint;
  readonly event: FeedEvent | null;
}

export interface MessagesOptions {
  readonly deliverSubject: string;
  /** Without a message or a heartbeat for so long the stream is lost. */
  readonly silenceMaxMs: number;
  readonly place: Place;
  /** The id that the message at a sequence must have. */
  idOf(sequence: number): string;
  /** What came in one turn of the event loop. */
  onReceived(received: readonly Received[]): void;
  onLost(error: Error): void;
}

export class OrderedMessages {
  private readonly subscription: Subscription;
  private readonly watchdog: NodeJS.Timeout;
  private heardAt = performance.now();
  private gathered: Received[] = [];

  constructor(
    private readonly connection: NatsConnection,
    private readonly options: MessagesOptions,
  ) {
    const { deliverSubject, silenceMaxMs } = options;
    this.subscription = connection.subscribe(deliverSubject, { callback: (error, message) => this.take(error, message) });
    this.watchdog = setInterval(() => {
      if (performance.now() - this.heardAt > silenceMaxMs) options.onLost(new Error(`nothing was heard from NATS for ${silenceMaxMs} ms`));
    }, silenceMaxMs / 4);
  }

  stop(): void {
    clearInterval(this.watchdog);
    this.subscription.unsubscribe();
  }

  private take(error: Error | null, message: Msg): void {
    if (error !== null) return this.options.onLost(error);
    this.heardAt = performance.now();
    try {
      if (message.subject === this.options.deliverSubject) this.obey(message);
      else this.gather(message);
    } catch (cause) {
      this.options.onLost(cause instanceof Error ? cause : new Error(String(cause)));
    }
  }

  private gather(message: Msg): void {
    const id = message.headers?.get('Nats-Msg-Id');
    const expected = this.options.idOf(sequenceOf(message.reply ?? ''));
    if (id !== expected) throw new Error(`the stream has ${id ?? 'a message without an id'} where ${expected} belongs`);

    if (this.gathered.length === 0) queueMicrotask(() => this.hand());
    this.gathered.push({ rev: BigInt(expected.slice(expected.lastIndexOf('-') + 1)), event: decodeEvent(message.string(), this.options.place) });
  }

  private hand(): void {
    const received = this.gathered;
    this.gathered = [];
    this.options.onReceived(received);
  }

  /** Messages of the server itself: heartbeats, and questions whether we keep up. */
  private obey(message: Msg): void {
    const code = message.headers?.code ?? 0;
    if (code >= 400) throw new Error(`NATS ended the delivery: ${message.headers?.description ?? code}`);
    const stalled = message.headers?.get('Nats-Consumer-Stalled') ?? '';
    if (message.reply !== undefined && message.reply !== '') message.respond();
    else if (stalled !== '') this.connection.publish(stalled);
  }
}

/** `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<of the delivery>.<time>.<pending>`, since 2.9 also with domain and account before. */
function sequenceOf(reply: string): number {
  const tokens = reply.split('.');
  const sequence = Number(tokens[tokens.length > 9 ? 7 : 5]);
  if (!reply.startsWith('$JS.ACK.') || !Number.isSafeInteger(sequence)) throw new Error(`"${reply}" says no sequence`);
  return sequence;
}
