/**
 * The stream of one epoch, over one connection. Its first message is the revision after its base, so that base + sequence = revision;
 * the base is where the feed stood when the stream was made, and stands in its description for all replicas. What lies before it
 * is read from the database.
 *
 * Each message is published with the sequence that must come before it. That, not the message id, keeps the stream gapless and in order
 * whoever publishes: one that lags behind, or repeats, is refused.
 */
import { AckPolicy, DeliverPolicy, jetstream, JetStreamApiError, StorageType, type JetStreamClient, type JetStreamManager, type StreamInfo } from '@nats-io/jetstream';
import { createInbox, nanos, type NatsConnection } from '@nats-io/transport-node';
import type { FeedEvent } from '../event.js';
import { SHARD, type FeedHead } from '../history.js';
import { connectTo } from './connection.js';
import { OrderedMessages, type Received } from './ordered-messages.js';
import { messageId, streamName, subjectOf, subjectsOf, type Place } from './names.js';
import { encodeEvent } from './payload.js';

export interface StreamOptions {
  readonly urls: readonly string[];
  /** Copies of the stream in the cluster of NATS. */
  readonly replicas: number;
  /** How long messages are kept: as long as the feed. */
  readonly maxAgeMs: number;
  readonly connectMaxMs: number;
  readonly answerMaxMs: number;
  readonly heartbeatMs: number;
}

const WRONG_LAST_SEQUENCE = 10_071;
const NAME_IN_USE = 10_058;
const STREAM_NOT_FOUND = 10_059;
const DUPLICATE_WINDOW_MS = 120_000;

export class FeedStream implements AsyncDisposable {
  private readonly ended = Promise.withResolvers<Error>();
  private messages: OrderedMessages | null = null;

  private constructor(
    private readonly connection: NatsConnection,
    private readonly client: JetStreamClient,
    private readonly manager: JetStreamManager,
    private readonly feedId: number,
    readonly place: Place,
    readonly baseRev: bigint,
    private readonly options: StreamOptions,
  ) {
    void connection.closed().then((error) => this.fail(error instanceof Error ? error : new Error('the connection to NATS was closed')));
  }

  /** Finds the stream of the head's epoch, or makes it; refuses one of another feed. */
  static async open(options: StreamOptions, head: FeedHead): Promise<FeedStream> {
    const connection = await connectTo(options.urls, options.connectMaxMs);
    try {
      const client = jetstream(connection, { timeout: options.answerMaxMs });
      const manager = await client.jetstreamManager();
      const place = { shard: SHARD, epoch: head.epoch };
      const baseRev = baseOf(await findOrMake(manager, place, head, options), head.feedId);
      return new FeedStream(connection, client, manager, head.feedId, place, baseRev, options);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Resolves with the reason when the stream can no longer be used by this object. */
  get lost(): Promise<Error> {
    return this.ended.promise;
  }

  fail(error: Error): void {
    this.ended.resolve(error);
  }

  /** The last revision in the stream; its base while there is none. */
  async lastRev(): Promise<bigint> {
    const info = await this.manager.streams.info(streamName(this.place));
    // An operator may have removed it, and another replica made it again.
    if (baseOf(info, this.feedId) !== this.baseRev) throw new Error(`${streamName(this.place)} was made anew`);
    return this.baseRev + BigInt(info.state.last_seq);
  }

  /** REFUSED where the stream does not end with the revision before; what was stored before is stored once. */
  async publish(event: FeedEvent): Promise<'STORED' | 'REFUSED'> {
    const sequence = this.sequenceOf(event.revision);
    try {
      const { seq } = await this.client.publish(subjectOf(event), encodeEvent(event), {
        msgID: messageId(this.feedId, this.place, event.revision),
        expect: { streamName: streamName(this.place), lastSequence: sequence - 1 },
        timeout: this.options.answerMaxMs,
      });
      if (seq !== sequence) throw new Error(`revision ${event.revision} has sequence ${seq} in ${streamName(this.place)}, not ${sequence}`);
      return 'STORED';
    } catch (error) {
      if (error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE) return 'REFUSED';
      throw error;
    }
  }

  /** Has everything after a revision brought, in order, and goes on so until the stream is lost. */
  async follow(afterRev: bigint, onReceived: (received: readonly Received[]) => void): Promise<void> {
    const deliverSubject = createInbox();
    const { baseRev, feedId, place } = this;
    this.messages = new OrderedMessages(this.connection, {
      deliverSubject,
      silenceMaxMs: this.options.heartbeatMs * 3,
      idOf: (sequence) => messageId(feedId, place, baseRev + BigInt(sequence)),
      place,
      onReceived,
      onLost: (error) => this.fail(error),
    });
    await this.manager.consumers.add(streamName(place), {
      deliver_subject: deliverSubject,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.sequenceOf(afterRev + 1n),
      ack_policy: AckPolicy.None,
      max_deliver: 1,
      mem_storage: true,
      num_replicas: 1,
      flow_control: true,
      idle_heartbeat: nanos(this.options.heartbeatMs),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.messages?.stop();
    await this.connection.close();
  }

  private sequenceOf(rev: bigint): number {
    return Number(rev - this.baseRev);
  }
}

async function findOrMake(manager: JetStreamManager, place: Place, head: FeedHead, options: StreamOptions): Promise<StreamInfo> {
  const name = streamName(place);
  try {
    return await manager.streams.info(name);
  } catch (error) {
    if (!isRefusal(error, STREAM_NOT_FOUND)) throw error;
  }
  try {
    return await manager.streams.add({
      name,
      description: descriptionOf(head),
      subjects: [subjectsOf(place)],
      storage: StorageType.File,
      num_replicas: options.replicas,
      max_age: nanos(options.maxAgeMs),
      duplicate_window: nanos(Math.min(DUPLICATE_WINDOW_MS, options.maxAgeMs)),
      deny_delete: true,
      deny_purge: true,
    });
  } catch (error) {
    // Another replica made it at the same time, and the head had moved between the two.
    if (isRefusal(error, NAME_IN_USE)) return await manager.streams.info(name);
    throw error;
  }
}

const descriptionOf = ({ feedId, rev }: FeedHead): string => `paystate feed ${feedId}, the revisions after ${rev}`;

function baseOf({ config }: StreamInfo, feedId: number): bigint {
  const [, owner, base] = /^paystate feed (\d+), the revisions after (\d+)$/.exec(config.description ?? '') ?? [];
  if (owner === `${feedId}` && base !== undefined) return BigInt(base);
  throw new Error(`the stream ${config.name} is not of this feed (${feedId}): it says "${config.description ?? ''}"; each database needs a NATS account of its own`);
}

function isRefusal(error: unknown, code: number): boolean {
  return error instanceof JetStreamApiError && error.code === code;
}
