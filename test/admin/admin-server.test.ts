/** What those who run the service see of it: how much is open, how long it has been stuck, and that both ways of asking agree. */
import { jest } from '@jest/globals';
import { once } from 'node:events';
import { connect } from 'node:net';
import { startAdminServer } from '../../src/admin/admin-server.js';
import { Metrics } from '../../src/admin/metrics.js';
import { createLogger } from '../../src/logger.js';
import type { SystemHealth } from '../../src/stats/get-system-health.js';
import { WechatNotifications } from '../../bench/wechat-notifications.js';
import { PaymentStatus as S, Platform, RefundStatus as R, type Payment } from '../../src/gen/payment/v1/payment.js';
import { accountsOf, startTestApp, type TestApp } from '../support/app.js';
import { refundOf, registered, reported } from '../support/requests.js';
import { Payment as PaymentEntity } from '../../src/payment/payment.js';
import { Refund } from '../../src/refund/refund.js';

const HOUR = 3_600_000;
const START = Date.now();
let aheadMs = 0;
const clock = { now: () => new Date(START + aheadMs) };
let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ config: { platforms: accountsOf({ wechatpay: [new WechatNotifications().account] }) }, clock, manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

const secondsOf = (ms: number) => ({ seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1e6 });
const register = async (expireTime?: ReturnType<typeof secondsOf>): Promise<Payment> =>
  (await service.payments.createPayment({ ...registered({ merchantAccount: 'wechatpay' }), expireTime })).payment!;
/** As if the platform had led it there. */
const set = ({ paymentId }: Payment, changes: Partial<PaymentEntity>) => service.app.deps.orm.em.fork().nativeUpdate(PaymentEntity, { id: paymentId }, changes);
const get = (path: string) => fetch(`http://127.0.0.1:${service.app.adminPort}${path}`);

test('what is open is counted, and what is stuck is told with its age, by platform and status', async () => {
  await register();
  await register(secondsOf(START + 30 * 60_000));
  await set(await register(), { status: 'UNKNOWN' });
  await set(await register(), { status: 'REVIEW', reviewReason: 'SYNC_EXHAUSTED' });
  const paid = await register();
  await service.payments.updatePaymentStatus(reported(paid.paymentId));
  const { refund } = await service.payments.createRefund(refundOf(paid.paymentId, 1n));
  await service.app.deps.orm.em.fork().nativeUpdate(Refund, { id: refund!.refundId }, { status: 'SUBMITTED', attempts: 1 });

  const seen = async (hours: number) => {
    aheadMs = hours * HOUR;
    const { unsettled, openRefunds } = await service.operations.getSystemHealth({});
    const rows = [...unsettled.map((row) => ({ ...row, name: S[row.status].slice('PAYMENT_STATUS_'.length) })), ...openRefunds.map((row) => ({ ...row, name: R[row.status] }))];
    expect(rows.map(({ platform }) => platform)).toEqual(rows.map(() => Platform.PLATFORM_WECHATPAY));
    return rows.map(({ name, count, stuckCount, stuckSinceTime }) => [name, count, stuckCount, stuckSinceTime === undefined ? null : Number(stuckSinceTime.seconds) - Math.floor(START / 1_000)]);
  };
  expect(await seen(0)).toEqual([
    ['PENDING', 2n, 0n, null],
    ['REVIEW', 1n, 1n, 0],
    ['UNKNOWN', 1n, 0n, null],
    ['REFUND_STATUS_SUBMITTED', 1n, 0n, null],
  ]);
  expect(await seen(2)).toEqual([
    ['PENDING', 2n, 1n, 1.5 * 3_600],
    ['REVIEW', 1n, 1n, 0],
    ['UNKNOWN', 1n, 1n, 900],
    ['REFUND_STATUS_SUBMITTED', 1n, 0n, null],
  ]);
  expect(await seen(97)).toEqual([
    ['PENDING', 2n, 2n, 1.5 * 3_600],
    ['REVIEW', 1n, 1n, 0],
    ['UNKNOWN', 1n, 1n, 900],
    ['REFUND_STATUS_SUBMITTED', 1n, 1n, 96 * 3_600],
  ]);

  const answer = await get('/metrics');
  expect(answer.headers.get('content-type')).toContain('text/plain');
  const lines = (await answer.text()).split('\n').filter((line) => /^(payments|refunds|store_up|sync_waiting)/.test(line));
  expect(lines).toEqual([
    'store_up 1',
    'payments_unsettled{platform="WECHATPAY",status="PENDING"} 2',
    'payments_unsettled{platform="WECHATPAY",status="REVIEW"} 1',
    'payments_unsettled{platform="WECHATPAY",status="UNKNOWN"} 1',
    'payments_stuck{platform="WECHATPAY",status="PENDING"} 2',
    'payments_stuck{platform="WECHATPAY",status="REVIEW"} 1',
    'payments_stuck{platform="WECHATPAY",status="UNKNOWN"} 1',
    `payments_stuck_age_seconds{platform="WECHATPAY",status="PENDING"} ${95.5 * 3_600}`,
    `payments_stuck_age_seconds{platform="WECHATPAY",status="REVIEW"} ${97 * 3_600}`,
    `payments_stuck_age_seconds{platform="WECHATPAY",status="UNKNOWN"} ${96.75 * 3_600}`,
    'refunds_open{platform="WECHATPAY",status="SUBMITTED"} 1',
    'refunds_stuck{platform="WECHATPAY",status="SUBMITTED"} 1',
    `refunds_stuck_age_seconds{platform="WECHATPAY",status="SUBMITTED"} ${3_600}`,
    'sync_waiting 5',
  ]);
});

test.each([
  ['/healthz', 200],
  ['/readyz', 200],
  ['/', 404],
  ['/metrics/more', 404],
])('%s is answered with %i', async (path, status) => {
  expect((await get(path)).status).toBe(status);
});

test('nothing is written here', async () => {
  expect((await fetch(`http://127.0.0.1:${service.app.adminPort}/metrics`, { method: 'POST', body: 'x' })).status).toBe(405);
});

const EMPTY: SystemHealth = {
  databaseLatencyMs: 1, databaseVersion: '15', platforms: [], sync: { waiting: 3n, due: 2n, oldestDueAt: null },
  unsettled: [], openRefunds: [], reconciliations: [], inbox: [], unmappedWords: [],
};
const sourcesOf = (systemHealth: () => Promise<SystemHealth>) => ({
  systemHealth,
  feedHealth: () => ({ head: 1n, epoch: 1, earliest: 1n, asOf: new Date(), lagMs: 0, openWatches: 0, isListening: true, isStoreLost: false, eventsRead: 0n, carrier: null }),
  entranceHealth: () => ({ refused: 0n, quarantined: 0n }),
  isServing: () => true,
  now: () => new Date(),
});

test('while the database is away nothing is told of what is in it', async () => {
  const text = await new Metrics(sourcesOf(() => Promise.reject(new Error('away')))).scrape();
  const lines = text.split('\n').filter((line) => /^(store|payments|refunds|sync|platform|notifications|reconciliation)_/.test(line));
  expect(lines).toEqual(['store_up 0', 'notifications_refused 0', 'notifications_quarantined 0']);
});

test('scrapes that come while the database takes its time are given the figures of the first', async () => {
  const asked: PromiseWithResolvers<SystemHealth>[] = [];
  const metrics = new Metrics(sourcesOf(() => (asked.push(Promise.withResolvers()), asked.at(-1)!.promise)));
  const slow = jest.spyOn(performance, 'now').mockReturnValue(0);
  const first = metrics.scrape();
  slow.mockReturnValue(60_000);
  const second = metrics.scrape();
  slow.mockRestore();
  for (const { resolve } of asked) resolve({ ...EMPTY, unmappedWords: [{ platform: 'ALIPAY', word: 'NEW', count: 7n, last: new Date() }] });
  for (const text of await Promise.all([first, second])) expect(text).toContain('platform_unmapped_words{platform="ALIPAY"} 7');
  expect(asked).toHaveLength(1);
});

test('a connection that says nothing does not keep the service from ending', async () => {
  const admin = await startAdminServer(sourcesOf(() => Promise.resolve(EMPTY)), { host: '127.0.0.1', port: 0, log: createLogger('silent') });
  const silent = connect(admin.port, '127.0.0.1').on('error', () => undefined);
  await once(silent, 'connect');
  await fetch(`http://127.0.0.1:${admin.port}/healthz`);
  await admin[Symbol.asyncDispose]();
  silent.destroy();
});
