/** A database, a nats-server, and feeds that stand for replicas; `jetstream` is what anybody else may see of it. */
import { jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import pg from 'pg';
import type { FeedEvent } from '../../src/feed/event.js';
import type { Feed } from '../../src/feed/feed.js';
import type { NatsOptions } from '../../src/feed/nats/relay.js';
import { Pages } from '../../src/feed/pages.js';
import { openBench, wish, type Bench, type FeedSettings, type Wish } from '../feed/bench.js';
import { startNatsServer, type NatsServer } from '../support/nats-server.js';
import { until } from '../support/until.js';

export interface NatsBench extends AsyncDisposable {
  readonly server: NatsServer;
  readonly bench: Bench;
  /** A replica on JetStream that is connected to it. */
  replica(options?: Partial<NatsOptions>, settings?: FeedSettings): Promise<Feed>;
  /** The feed as the database has it. */
  pages(): Pages;
  jetstream(): Promise<{ client: JetStreamClient; manager: JetStreamManager }>;
}

/** The bench's own feed is a replica on JetStream as well. */
export async function openNatsBench(natsOptions: Partial<NatsOptions> = {}, settings: FeedSettings = {}): Promise<NatsBench> {
  const stack = new AsyncDisposableStack();
  const server = stack.use(await startNatsServer());
  const nats = { urls: [server.url], retryMaxMs: 50, ...natsOptions };
  const bench = stack.use(await openBench({ peekMs: 50, nats, ...settings }));
  await until(() => isCarried(bench.feed));
  return {
    server,
    bench,
    replica: async (own = {}, ownSettings = {}) => {
      const feed = await bench.anotherFeed({ nats: { ...nats, ...own }, ...ownSettings });
      await until(() => isCarried(feed));
      return feed;
    },
    pages: () => new Pages(stack.adopt(new pg.Pool({ connectionString: bench.url, max: 2 }), (pool) => pool.end()), () => undefined),
    jetstream: async () => {
      const connection = stack.adopt(await connect({ servers: server.url.slice('nats://'.length), reconnect: false }), (one) => one.close());
      return { client: jetstream(connection), manager: await jetstreamManager(connection) };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

export const isCarried = (feed: Feed): boolean => feed.health().carrier?.isLive === true;

/** Follows a feed until it has given so many events. */
export async function collect(feed: Feed, count: number, what: Wish = {}): Promise<FeedEvent[]> {
  const events: FeedEvent[] = [];
  for await (const message of await feed.watch(wish(what))) {
    if (message.kind === 'events') events.push(...message.events);
    if (events.length >= count) break;
  }
  return events;
}

export const revisions = (first: number, last: number): bigint[] => Array.from({ length: last - first + 1 }, (_, index) => BigInt(first + index));
