/** One platform and one database, the callers and buyers of some payments there, and the time that passes for all of them. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { Platform } from '../../src/gen/payment/v1/payment.js';
import { ClosePaymentRequest } from '../../src/gen/payment/v1/payment_service.js';
import { createLogger } from '../../src/logger.js';
import { NOT_FOUND_MARGIN_MS } from '../../src/payment/payment.js';
import type { Account } from '../../src/platform/accounts.js';
import type { Delivery } from '../../src/simulator/notifier.js';
import type { Simulators } from '../../src/simulator/simulators.js';
import { SyncWorker } from '../../src/sync/sync-worker.js';
import { platformBooks, type PlatformOrder } from '../chaos/books.js';
import { accountsOf, startTestApp, testConfig, type TestApp } from '../support/app.js';
import { Errand } from '../support/crossings.js';
import { freshDatabase } from '../support/database.js';
import { initiated, logOf, refundOf } from '../support/requests.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
const EXPIRY_MS = 45 * MINUTE;

const PLATFORMS = { alipay: Platform.PLATFORM_ALIPAY, wechatpay: Platform.PLATFORM_WECHATPAY, unionpay: Platform.PLATFORM_UNIONPAY };
export type PlatformKey = keyof typeof PLATFORMS;

const PAUSES = { 'ten minutes': 10 * MINUTE, 'until it expires': EXPIRY_MS, 'until it is forgotten': NOT_FOUND_MARGIN_MS + SECOND };
type Pause = keyof typeof PAUSES;
/** What a caller asks for; it may ask again after a crash, or never be heard of again. */
export type Request = 'create' | 'refund' | 'close';
export type Act = Request | Pause | 'buyer pays' | 'platform notifies';

export const isRequest = (act: Act): act is Request => act === 'create' || act === 'refund' || act === 'close';
const isPause = (act: Act): act is Pause => act in PAUSES;

export class ManualClock {
  private ms = Date.parse('2026-03-10T02:00:00Z');

  readonly now = (): Date => new Date(this.ms);

  pass(ms: number): void {
    this.ms += ms;
  }
}

/** One payment in the course of its story. */
export class Telling extends Errand {
  readonly requestIds: Readonly<Record<Request, string>> = { create: randomUUID(), refund: randomUUID(), close: randomUUID() };
  readonly expireTime: { readonly seconds: bigint; readonly nanos: number };
  /** Of the acts that were told to their end, the crossings up to there. */
  readonly told: number[] = [];
  paymentId: string | null = null;

  constructor(readonly acts: readonly Act[], at: Date, stopsAt = Infinity) {
    super(`order-${randomUUID()}`, stopsAt);
    this.expireTime = { seconds: BigInt(at.getTime() + EXPIRY_MS) / 1_000n, nanos: 0 };
  }

  /** The act that it stands in. */
  get stoppedIn(): Act {
    return this.acts[this.told.length]!;
  }
}

interface Hand {
  buyerPays(orderNo: string): unknown;
  notifications(): readonly Delivery[];
  redeliver(id: string): Promise<unknown>;
  notificationPlan(plan: { mode: 'never' }): void;
}

export class Scene implements AsyncDisposable {
  private readonly foreign: ReadonlySet<string>;

  private constructor(
    private readonly simulators: Simulators,
    private readonly clock: ManualClock,
    private readonly key: PlatformKey,
    private readonly parts: { url: string; database: pg.Pool; entrance: { host: string; port: number }; baseUrl: string; dispose(): Promise<void> },
  ) {
    this.foreign = new Set(platformBooks(simulators).keys());
    // They are delivered as an act of their own.
    this.hand.notificationPlan({ mode: 'never' });
  }

  static async open(simulators: Simulators, clock: ManualClock, key: PlatformKey): Promise<Scene> {
    const fresh = await freshDatabase();
    const database = new pg.Pool({ connectionString: fresh.url, max: 4 });
    // Dropping the database may be faster than their goodbye.
    database.on('error', () => undefined);
    // Its address is part of every order, so it stays while the process behind it changes.
    const entrance = { host: '127.0.0.1', port: 0 };
    const door = await startTcpProxy({ target: entrance });
    const dispose = async (): Promise<void> => {
      await door.close();
      await database.end();
      await fresh[Symbol.asyncDispose]();
    };
    return new Scene(simulators, clock, key, { url: fresh.url, database, entrance, baseUrl: `http://127.0.0.1:${door.port}`, dispose });
  }

  get database(): pg.Pool {
    return this.parts.database;
  }

  get accounts(): readonly Account[] {
    return accountsOf({ [this.key]: this.simulators.platforms[this.key] });
  }

  async start(platforms: readonly Account[]): Promise<TestApp> {
    const { url: databaseUrl, entrance, baseUrl } = this.parts;
    const notifications = { ...testConfig(databaseUrl).notifications, baseUrl };
    const service = await startTestApp({ databaseUrl, config: { platforms, notifications }, clock: this.clock, manualSync: true });
    entrance.port = service.app.notificationPort;
    return service;
  }

  /** Tells one story of many payments side by side, of each as far as it may go; `reference` is one that was told it before. */
  async tell(service: TestApp, tellings: readonly Telling[], reference?: Telling): Promise<void> {
    for (const [at, act] of (tellings[0]?.acts ?? []).entries()) {
      this.clock.pass(isPause(act) ? PAUSES[act] : SECOND);
      const living = tellings.filter(({ isStopped }) => !isStopped);
      if (isPause(act)) await this.lookOnce(service, living, reference?.told[at]);
      else await Promise.all(living.map(async (telling) => await telling.through(this.perform(service, telling, act))));
      for (const telling of living) if (!telling.isStopped) telling.told.push(telling.crossed.length);
    }
  }

  async perform(service: TestApp, telling: Telling, act: Act): Promise<void> {
    await this.find(telling);
    const { orderId, merchantOrderNo, requestIds, expireTime, paymentId } = telling;
    if (act === 'create') {
      await service.payments.createPayment(initiated({ requestId: requestIds.create, platform: PLATFORMS[this.key], orderId, expireTime }));
      return;
    }
    if (paymentId === null) return;
    if (act === 'refund') await service.payments.createRefund(refundOf(paymentId, 4_000n, { requestId: requestIds.refund }));
    if (act === 'close') await service.payments.closePayment(ClosePaymentRequest.fromPartial({ requestId: requestIds.close, paymentId, reason: 'the buyer left' }));
    if (act === 'buyer pays' && this.orderOf(telling)?.paid === null) this.hand.buyerPays(merchantOrderNo);
    if (act === 'platform notifies') await this.notify(telling);
  }

  /** The worker looks whenever something comes due, for so long. */
  async follow(service: TestApp, ms: number, stepMs: number): Promise<void> {
    const end = new Date(this.clock.now().getTime() + ms);
    for (let due = await this.nextDue(); due !== null && due < end; due = await this.nextDue()) {
      this.clock.pass(Math.max(0, due.getTime() - this.clock.now().getTime()) + stepMs);
      await service.app.worker.runOnce();
    }
    this.clock.pass(Math.max(0, end.getTime() - this.clock.now().getTime()));
  }

  /** What a payment has come to here and in the platform's own book; null where there is none. */
  async endOf(service: TestApp, telling: Telling): Promise<object | null> {
    await this.find(telling);
    const { rows } = await this.database.query<Record<string, unknown>>(
      `select status, review_reason, flags, paid_amount as paid, refunded_amount as refunded, reserved_amount as reserved, external_unallocated as external,
              (select json_agg(array[r.status, r.amount::text]) from refund r where r.payment_id = p.id) as refunds,
              (select count(*) from payment_sync s where s.payment_id = p.id) as due
         from payment p where order_id = $1`,
      [telling.orderId],
    );
    if (telling.paymentId === null) return null;
    const { valid } = await service.operations.verifyPaymentLog(logOf(telling.paymentId));
    const { orders = 0, paid = null, refunds = [] } = this.orderOf(telling) ?? {};
    return { payments: rows, validLog: valid, there: { orders, paid: `${paid}`, refunds: refunds.map(({ amount, state }) => `${amount} ${state}`) } };
  }

  async hasHeard(telling: Telling, request: Request): Promise<boolean> {
    const { rowCount } = await this.database.query('select 1 from request where request_id = $1', [telling.requestIds[request]]);
    return rowCount === 1;
  }

  orderOf({ merchantOrderNo }: Telling): PlatformOrder | undefined {
    return platformBooks(this.simulators).get(merchantOrderNo);
  }

  /** Numbers of orders at the platform that nobody here knows. */
  async strays(): Promise<string[]> {
    const { rows } = await this.database.query<{ no: string }>('select merchant_order_no as no from payment');
    const known = new Set(rows.map(({ no }) => no));
    return [...platformBooks(this.simulators).keys()].filter((no) => !this.foreign.has(no) && !known.has(no));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.parts.dispose();
  }

  private get hand(): Hand {
    return this.simulators[this.key].control;
  }

  private async find(telling: Telling): Promise<void> {
    const { rows } = await this.database.query<{ id: string; no: string }>('select id, merchant_order_no as no from payment where order_id = $1', [telling.orderId]);
    telling.paymentId = rows[0]?.id ?? null;
    if (rows[0] !== undefined) telling.merchantOrderNo = rows[0].no;
  }

  private async notify(telling: Telling): Promise<void> {
    const numbers = [telling.merchantOrderNo, ...(this.orderOf(telling)?.refunds ?? []).map(({ no }) => no)];
    for (const { notification, state } of this.hand.notifications()) {
      const isAboutIt = Object.values(notification.about).some((value) => numbers.includes(value));
      if (isAboutIt && state !== 'acknowledged') await this.hand.redeliver(notification.id);
    }
  }

  /** One look at what is due. Those that stop in it never end, so that the others are waited for by the crossings they have to go over. */
  private async lookOnce(service: TestApp, tellings: readonly Telling[], crossings?: number): Promise<void> {
    const looking = new SyncWorker(() => service.app.deps, createLogger('silent')).runOnce();
    if (crossings === undefined) return void (await looking);
    // What it is killed in is nobody's failure.
    looking.catch(() => undefined);

    await until(() => tellings.every(({ isStopped, crossed }) => isStopped || crossed.length >= crossings));
    const living = tellings.filter(({ isStopped }) => !isStopped).map(({ orderId }) => orderId);
    const leased = 'select 1 from payment_sync s join payment p on p.id = s.payment_id where s.lease_until is not null and p.order_id = any($1)';
    await until(async () => (await this.database.query(leased, [living])).rowCount === 0);
  }

  private async nextDue(): Promise<Date | null> {
    const { rows } = await this.database.query<{ due: Date | null }>('select min(due_at) as due from payment_sync');
    return rows[0]?.due ?? null;
  }
}
