/**
 * What JetStream does for the feed: `npm run bench:nats -- [--quick] [--per-second 200]`, with a nats-server on the PATH.
 *
 * Two replicas in processes of their own on a durable database: one writes, the other is watched. Both, the database, the NATS server
 * and this process share the machine. The transports take turns, because the machine is never the same twice.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import pg from 'pg';
import { promised } from '../src/cli/promised.js';
import type { FeedEvent } from '../src/feed/event.js';
import { Publisher } from '../src/feed/nats/publisher.js';
import { FeedStream } from '../src/feed/nats/stream.js';
import { OperationsServiceClient } from '../src/gen/payment/v1/operations_service.js';
import { PaymentServiceClient, WatchPaymentsRequest, WatchView } from '../src/gen/payment/v1/payment_service.js';
import { startNatsServer } from '../test/support/nats-server.js';
import { registered } from '../test/support/requests.js';
import { changesIn, decoded, openWatches } from './feed/watches.js';
import { startReplica, startService, type Service } from './service.js';

const { values: given } = parseArgs({ options: { quick: { type: 'boolean', default: false }, 'per-second': { type: 'string', default: '200' } } });
const say = (line: string): void => void process.stdout.write(`${line}\n`);

for (const round of given.quick ? [1] : [1, 2, 3]) await publishing(round);
const perSecond = Number(given['per-second']);
for (const round of given.quick ? [1] : [1, 2, 3]) {
  for (const transport of ['postgres', 'nats'] as const) await latency(transport, { perSecond, round });
}
process.exit(0);

/** The service's own publisher: each message names the sequence before it, and a thousand are on their way at once. */
async function publishing(round: number): Promise<void> {
  const count = given.quick ? 5_000 : 50_000;
  await using server = await startNatsServer();
  const head = { feedId: 1, epoch: 1, rev: 0n, compactRev: 0n, epochs: [{ epoch: 1, startRev: 0n }] };
  const limits = { replicas: 1, maxAgeMs: 86_400_000, connectMaxMs: 5_000, answerMaxMs: 30_000, heartbeatMs: 1_000 };
  await using stream = await FeedStream.open({ urls: [server.url], ...limits }, head);
  const events = Array.from({ length: count }, (_, index) => madeUp(BigInt(index + 1)));
  let brought = 0;
  let inOrder = true;
  const all = Promise.withResolvers<void>();
  await stream.follow(0n, (received) => {
    for (const { rev } of received) inOrder &&= rev === BigInt(++brought);
    if (brought === count) all.resolve();
  });
  const publisher = new Publisher(stream, 0n, (after, to) => Promise.resolve(events.slice(Number(after), Number(to))));
  const began = performance.now();
  publisher.heal(BigInt(count));
  await all.promise;
  const seconds = (performance.now() - began) / 1_000;
  say(`publish   ${Math.round(count / seconds)} messages a second published with the fence and brought back, ${brought} of ${count}${inOrder ? ', in order' : ', OUT OF ORDER'} (round ${round})`);
}

/** From the commit, by the database's clock, to the message in another process, by the same machine's. */
async function latency(transport: 'postgres' | 'nats', { perSecond, round }: { perSecond: number; round: number }): Promise<void> {
  const seconds = given.quick ? 3 : 15;
  await using server = await startNatsServer();
  const environment = { PAYSTATE_FEED_TRANSPORT: transport, PAYSTATE_NATS_URL: server.url };
  await using writer = await startService({}, { track_commit_timestamp: 'on' }, environment);
  await using reader = await startReplica(writer.databaseUrl, { ...environment, PAYSTATE_PLATFORMS: '{}' });
  await Promise.all([writer, reader].map(isLive));

  const heard = new Map<string, number>();
  const request = WatchPaymentsRequest.fromPartial({ view: WatchView.WATCH_VIEW_STATUS });
  const watches = openWatches(reader.address, 1, () => request, (_at, bytes) => {
    const now = performance.timeOrigin + performance.now();
    if (changesIn(bytes) === 0) return;
    const { kind } = decoded(bytes);
    if (kind?.$case === 'events') for (const { eventId } of kind.value.events) heard.set(eventId, now);
  });
  await watches.open;
  const made = await makeChanges(writer, perSecond, seconds);
  while (heard.size < made) await wait(20);

  const client = new pg.Client(writer.databaseUrl);
  await client.connect();
  const { rows } = await client.query<{ id: string; at: string }>(
    `select payment_id || ':' || version as id, (extract(epoch from pg_xact_commit_timestamp(xid::xid)) * 1000)::text as at from payment_log where version is not null`,
  );
  await client.end();
  const delays = rows.map(({ id, at }) => heard.get(id)! - Number(at)).sort((a, b) => a - b);
  const [p50, p99] = [0.5, 0.99].map((share) => delays[Math.floor(delays.length * share)]!.toFixed(1));
  const { broughtCount, readCount } = (await healthOf(reader)).feed!.transport!;
  say(`latency   ${transport.padEnd(8)} ${perSecond} changes a second, commit to a watch on another replica: p50 ${p50} ms, p99 ${p99} ms; brought ${broughtCount}, read ${readCount} (round ${round})`);
  watches.close();
}

async function makeChanges({ address }: Service, perSecond: number, seconds: number): Promise<number> {
  const count = perSecond * seconds;
  const client = new PaymentServiceClient(address, grpc.credentials.createInsecure());
  const { createPayment } = promised(client, { deadlineMs: 10_000 });
  const began = performance.now();
  const calls: Promise<unknown>[] = [];
  while (calls.length < count) {
    const due = Math.min(count, Math.ceil(((performance.now() - began) / 1_000) * perSecond));
    while (calls.length < due) calls.push(createPayment(registered({ appId: 'live' })));
    await wait(1);
  }
  await Promise.all(calls);
  client.close();
  return count;
}

async function isLive(service: Service): Promise<void> {
  while (!(await healthOf(service)).feed!.transport!.live) await wait(20);
}

async function healthOf({ address }: Service) {
  const client = new OperationsServiceClient(address, grpc.credentials.createInsecure());
  try {
    return await promised(client, { deadlineMs: 10_000 }).getSystemHealth({});
  } finally {
    client.close();
  }
}

function madeUp(revision: bigint): FeedEvent {
  const paymentId = `0198c0de-0000-7000-8000-${`${revision}`.padStart(12, '0')}`;
  return {
    eventId: `${paymentId}:2`,
    revision,
    shard: 0,
    epoch: 1,
    paymentId,
    version: 2,
    previousStatus: 'PENDING',
    status: 'SUCCEEDED',
    occurredAt: new Date(),
    platform: 'ALIPAY',
    appId: 'shop',
    orderId: `order-${revision}`,
    userId: 'user-1',
  };
}
