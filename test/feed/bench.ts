/** A database with a feed on it, and as many writing processes beside it as a test wants. */
import pg from 'pg';
import { systemClock } from '../../src/clock.js';
import { EVERYTHING, type FeedFilter } from '../../src/feed/filter.js';
import { openFeed, type Feed, type FeedLimits, type FeedOptions } from '../../src/feed/feed.js';
import type { WatchMessage, WatchRequest, WatchStart } from '../../src/feed/watch.js';
import { createLogger } from '../../src/logger.js';
import { createPayment } from '../../src/payment/create-payment.js';
import type { Deps } from '../../src/payment/deps.js';
import { DomainError } from '../../src/payment/errors.js';
import type { Payment } from '../../src/payment/payment.js';
import type { PaymentStatus } from '../../src/payment/payment-status.js';
import { PlatformRegistry } from '../../src/payment/platform-registry.js';
import { updatePaymentStatus } from '../../src/payment/update-payment-status.js';
import { openOrm } from '../../src/store/orm.js';
import { UnitOfWork } from '../../src/store/unit-of-work.js';
import { freshDatabase } from '../support/database.js';
import { CNY } from '../support/payments.js';

const ACTOR = { type: 'CALLER', id: 'test' } as const;

export type FeedSettings = Partial<FeedLimits & Pick<FeedOptions, 'nats' | 'databaseUrl'>>;

export interface Bench extends AsyncDisposable {
  readonly url: string;
  readonly feed: Feed;
  /** A writer with its own pool that kicks the feed. */
  readonly deps: Deps;
  /** A writing process of its own; it kicks nobody, as one that dies before it could. */
  anotherWriter(): Promise<Deps>;
  anotherFeed(settings?: FeedSettings): Promise<Feed>;
  sql<Row extends object = Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>;
}

export async function openBench(settings: FeedSettings = {}): Promise<Bench> {
  const stack = new AsyncDisposableStack();
  const { url } = stack.use(await freshDatabase());
  const admin = new pg.Client(url);
  admin.on('error', () => undefined);
  await admin.connect();
  stack.defer(() => admin.end());

  const anotherOrm = async () => stack.adopt(await openOrm(url, 4), (orm) => orm.close(true));
  const anotherFeed = async (own: FeedSettings = {}): Promise<Feed> => {
    const options = { orm: await anotherOrm(), databaseUrl: url, clock: systemClock, log: createLogger('silent') };
    return stack.use(await openFeed({ bookmarkIntervalMinMs: 1, cursorKey: 'a key of these tests', ...options, ...settings, ...own }));
  };
  const writer = async (onCommit?: () => void): Promise<Deps> => {
    const orm = await anotherOrm();
    const work = new UnitOfWork(orm, systemClock, onCommit === undefined ? {} : { onCommit });
    stack.defer(() => work.whenIdle());
    return {
      orm,
      work,
      clock: systemClock,
      platforms: new PlatformRegistry([]),
      isTrustedReporter: () => true,
      applyWaiting: () => undefined,
      wakeSync: () => undefined,
    };
  };

  const feed = await anotherFeed();
  return {
    url,
    feed,
    deps: await writer(feed.kick),
    anotherWriter: () => writer(),
    anotherFeed,
    sql: async <Row extends object>(text: string, values: unknown[] = []) => (await admin.query<Row>(text, values)).rows,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

let numbers = 0;
const request = (method: string) => ({ method, requestId: `request-${++numbers}`, bodyHash: 'same' });

export async function create(deps: Deps, fields: { appId?: string; orderId?: string; userId?: string } = {}): Promise<Payment> {
  const number = ++numbers;
  const { payment } = await createPayment(deps, {
    request: request('CreatePayment'),
    actor: ACTOR,
    appId: 'shop',
    orderId: `order-${number}`,
    userId: 'user-1',
    platform: 'WECHATPAY',
    merchantAccount: 'shop-account',
    amount: CNY(10_000n),
    subject: 'tea',
    metadata: {},
    expireAt: null,
    kind: { origin: 'REGISTERED', merchantOrderNo: `no-${number}`, platformOrderTime: '', platformTransactionId: null },
    ...fields,
  });
  return payment;
}

/** So many payments at once, each with the change that created it, without a unit of work. */
export async function commitMany(bench: Bench, count: number): Promise<void> {
  await bench.sql(
    `with created as (
       insert into payment (id, app_id, order_id, user_id, platform, merchant_account, merchant_order_no, platform_order_time, origin, subject,
         metadata, amount, currency, paid_amount, refunded_amount, reserved_amount, external_unallocated, refund_allowed, status, flags, version,
         facts, created_at, updated_at, log_seq)
       select gen_random_uuid(), 'shop', 'order-' || n, 'user-1', 'WECHATPAY', 'shop-account', 'many-' || n, '', 'REGISTERED', 'tea', '{}', 8888,
         'CNY', 0, 0, 0, 0, true, 'PENDING', '{}', 1, '{}', now(), now(), 1 from generate_series(1, $1::int) n
       returning id)
     insert into payment_log (payment_id, seq, version, kind, actor_type, actor_id, status, reason, evidence, platform, app_id, occurred_at,
       recorded_at, hash)
     select id, 1, 1, 'CREATED', 'CALLER', 'test', 'PENDING', '', '{}', 'WECHATPAY', 'shop', now(), now(), '' from created`,
    [count],
  );
  bench.feed.kick();
}

export async function report(deps: Deps, { id }: { id: string }, status: PaymentStatus): Promise<Payment> {
  const paid = status === 'SUCCEEDED' ? { amount: CNY(10_000n), transactionId: `tx-${id}` } : null;
  const { payment } = await updatePaymentStatus(deps, {
    request: request('UpdatePaymentStatus'),
    actor: ACTOR,
    paymentId: id,
    reporter: 'shop',
    report: { status, reason: 'said so', at: null, paid },
    expectedVersion: null,
  });
  return payment;
}

export type Wish = Partial<Omit<WatchRequest, 'filter' | 'start'>> & { start?: WatchStart; filter?: Partial<FeedFilter> };

export function wish({ filter, ...rest }: Wish = {}): WatchRequest {
  return {
    caller: 'test',
    start: { kind: 'EARLIEST' },
    view: 'STATUS',
    bookmarkIntervalMs: null,
    eventsPerMessageMax: null,
    lingerMs: null,
    stopWhenSettled: false,
    stopAtHead: false,
    ...rest,
    filter: { ...EVERYTHING, ...filter },
  };
}

export const after = (message: { cursor: Uint8Array }): WatchStart => ({ kind: 'CURSOR', cursor: message.cursor });

/** Everything up to the head, as messages. */
export async function read(feed: Feed, what: Wish = {}): Promise<WatchMessage[]> {
  const messages: WatchMessage[] = [];
  for await (const message of await feed.watch(wish({ stopAtHead: true, ...what }))) messages.push(message);
  return messages;
}

export const eventsOf = (messages: readonly WatchMessage[]) => messages.flatMap((message) => (message.kind === 'events' ? message.events : []));
export const idsOf = (messages: readonly WatchMessage[]): string[] => eventsOf(messages).map(({ eventId }) => eventId);
export const only = <K extends WatchMessage['kind']>(messages: readonly WatchMessage[], kind: K) =>
  messages.filter((message): message is Extract<WatchMessage, { kind: K }> => message.kind === kind);

/** Pulls until a message of the kind came; returns it. */
export async function pull<K extends WatchMessage['kind']>(watch: AsyncIterator<WatchMessage>, kind: K): Promise<Extract<WatchMessage, { kind: K }>> {
  for (;;) {
    const { done, value } = await watch.next();
    if (done === true) throw new Error(`the watch ended before any ${kind}`);
    if (value.kind === kind) return value as Extract<WatchMessage, { kind: K }>;
  }
}

export async function refusal(promise: Promise<unknown>): Promise<DomainError> {
  const error: unknown = await promise.then(
    () => new Error('it was not refused'),
    (reason: unknown) => reason,
  );
  if (error instanceof DomainError) return error;
  throw error;
}
