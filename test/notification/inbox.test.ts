/** What becomes of notifications between the entrance and their payment: orphans, what could not be applied, replays. */
import pg from 'pg';
import { WechatNotifications, type Told } from '../../bench/wechat-notifications.js';
import { NotificationStatus, ListNotificationsRequest } from '../../src/gen/payment/v1/operations_service.js';
import { PaymentFlag, PaymentStatus, Platform, type Payment } from '../../src/gen/payment/v1/payment.js';
import { sweepInbox } from '../../src/notification/replay-notification.js';
import { freshDatabase, type FreshDatabase } from '../support/database.js';
import { accountsOf, startTestApp, type TestApp } from '../support/app.js';
import { logOf, registered, yuan } from '../support/requests.js';
import { until } from '../support/until.js';

const wechat = new WechatNotifications();
const stranger = new WechatNotifications();
let database: FreshDatabase;
let service: TestApp;
beforeAll(async () => {
  database = await freshDatabase();
  service = await startTestApp({ databaseUrl: database.url, config: { platforms: accountsOf({ wechatpay: [wechat.account] }) }, manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

let count = 0;
const number = (): string => `N${String((count += 1)).padStart(9, '0')}`;
const tell = async ({ headers, body }: Told): Promise<number> =>
  (await fetch(`http://127.0.0.1:${service.app.notificationPort}/notifications/wechatpay/wechatpay`, { method: 'POST', headers, body })).status;
const register = async (merchantOrderNo: string, changes: object = {}): Promise<Payment> => {
  const kind = { $case: 'registered', value: { merchantOrderNo, platformOrderTime: '', platformTransactionId: '' } };
  return (await service.payments.createPayment(registered({ merchantAccount: 'wechatpay', amount: yuan(8_888n), kind, ...changes }))).payment!;
};
const read = async (merchantOrderNo: string): Promise<Payment> => {
  const order = { platform: Platform.PLATFORM_WECHATPAY, merchantAccount: '', merchantOrderNo, platformOrderTime: '' };
  return (await service.payments.getPayment({ ref: { ref: { $case: 'platformOrder', value: order } }, view: 0 })).payment!;
};
const inbox = async (filter: object) => (await service.operations.listNotifications(ListNotificationsRequest.fromPartial(filter))).notifications;
const S = PaymentStatus;
const N = NotificationStatus;

test('a notification and the registration of its order at the same moment find each other', async () => {
  const numbers = Array.from({ length: 60 }, number);
  const told = numbers.map((one) => wechat.paid(one));
  await Promise.all(numbers.flatMap((one, at) => [tell(told[at]!), register(one)]));
  for (const one of numbers) expect(await read(one)).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED });
  expect(await inbox({ status: N.NOTIFICATION_STATUS_ORPHAN })).toEqual([]);
});

test('a notification of an order that is not recorded waits as an orphan until it is', async () => {
  const one = number();
  expect(await tell(wechat.paid(one))).toBe(200);
  expect(await inbox({ merchantOrderNo: one })).toMatchObject([{ status: N.NOTIFICATION_STATUS_ORPHAN, why: 'its order is not recorded', paymentId: '' }]);
  const payment = await register(one);
  expect(payment.status).toBe(S.PAYMENT_STATUS_SUCCEEDED);
  expect(await inbox({ merchantOrderNo: one })).toMatchObject([{ status: N.NOTIFICATION_STATUS_APPLIED, paymentId: payment.paymentId, deliveries: 1 }]);
});

test('the second paid payment of an order, told before it was registered, stands and is flagged', async () => {
  const [first, second] = [number(), number()];
  await register(first, { orderId: 'paid-twice' });
  await tell(wechat.paid(first));
  await tell(wechat.paid(second));
  const payment = await register(second, { orderId: 'paid-twice' });
  expect(payment).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, flags: [PaymentFlag.PAYMENT_FLAG_DUPLICATE_PAYMENT] });
});

test('a payment held by somebody outside stalls nobody else; its notification is stored, acknowledged and applied by the worker', async () => {
  const [one, other] = [number(), number()];
  const payment = await register(one);
  const outsider = new pg.Client(database.url);
  outsider.on('error', () => undefined);
  await outsider.connect();
  await outsider.query('begin');
  await outsider.query('select 1 from payment where id = $1 for update', [payment.paymentId]);

  const [status, neighbour] = await Promise.all([tell(wechat.paid(one)), register(other)]);
  expect([status, neighbour.status]).toEqual([200, S.PAYMENT_STATUS_PENDING]);
  expect(await inbox({ merchantOrderNo: one })).toMatchObject([{ status: N.NOTIFICATION_STATUS_STORED, why: expect.stringContaining('held by somebody else') }]);
  expect((await read(one)).status).toBe(S.PAYMENT_STATUS_PENDING);

  await outsider.query('rollback');
  await outsider.end();
  expect(await sweepInbox(service.app.deps)).toBe(1);
  expect((await read(one)).status).toBe(S.PAYMENT_STATUS_SUCCEEDED);
  expect(await sweepInbox(service.app.deps)).toBe(0);
});

test('a refused notification verifies by a replay once its key is configured, and a replay of an applied one changes nothing', async () => {
  const one = number();
  await register(one);
  expect(await tell(stranger.paid(one))).toBe(401);
  const [aside] = await inbox({ merchantOrderNo: '', status: N.NOTIFICATION_STATUS_QUARANTINED });
  const replay = (app: TestApp) => app.operations.replayNotification({ notificationId: aside!.notificationId });
  expect(await replay(service)).toMatchObject({ notification: { status: N.NOTIFICATION_STATUS_QUARANTINED, platformNotificationId: '' }, payment: undefined });

  await using renewed = await startTestApp({ databaseUrl: database.url, config: { platforms: accountsOf({ wechatpay: [stranger.account] }) }, manualSync: true });
  const applied = await replay(renewed);
  expect(applied).toMatchObject({ notification: { status: N.NOTIFICATION_STATUS_APPLIED, merchantOrderNo: one }, payment: { status: S.PAYMENT_STATUS_SUCCEEDED } });
  expect(await replay(renewed)).toEqual(applied);
  // Whoever does not have the key leaves it as it is, too.
  expect(await replay(service)).toEqual(applied);
});

test('an orphan replayed without its order stays one; a notification that nobody has is not found', async () => {
  const one = number();
  await tell(wechat.paid(one));
  const [orphan] = await inbox({ merchantOrderNo: one });
  expect(await service.operations.replayNotification({ notificationId: orphan!.notificationId })).toMatchObject({ notification: { status: N.NOTIFICATION_STATUS_ORPHAN } });
  await expect(service.operations.replayNotification({ notificationId: '00000000-0000-7000-8000-000000000000' })).rejects.toMatchObject({
    code: 'NOT_FOUND', reason: 'NOTIFICATION_NOT_FOUND',
  });
});

test('the inbox is listed newest first, page by page, and filtered', async () => {
  const numbers = Array.from({ length: 5 }, number);
  for (const one of numbers) await tell(wechat.paid(one));
  const page = (pageToken: string) => service.operations.listNotifications(ListNotificationsRequest.fromPartial({ status: N.NOTIFICATION_STATUS_ORPHAN, pageSize: 2, pageToken }));
  const seen: string[] = [];
  for (let token = ''; ; ) {
    const { notifications, nextPageToken } = await page(token);
    seen.push(...notifications.map(({ merchantOrderNo }) => merchantOrderNo));
    if (nextPageToken === '') break;
    token = nextPageToken;
  }
  expect(seen.slice(0, 5)).toEqual(numbers.toReversed());
  expect(await inbox({ platform: Platform.PLATFORM_ALIPAY })).toEqual([]);
});

test('a flood of forgeries is refused and counted, and only a sample of it is kept', async () => {
  const flood = Array.from({ length: 400 }, () => wechat.paid(number(), 'forged'));
  const before = (await service.operations.getSystemHealth({})).entrance!;
  const statuses = await Promise.all(flood.map(tell));
  expect(new Set(statuses)).toEqual(new Set([401]));
  const after = (await service.operations.getSystemHealth({})).entrance!;
  expect(after.refused - before.refused).toBe(400n);
  expect(after.quarantined - before.quarantined).toBeLessThan(400n);
  await until(async () => (await inbox({ status: N.NOTIFICATION_STATUS_QUARANTINED, pageSize: 500 })).length > 100);
});

test('one that cannot be applied keeps back none of those that wait behind it', async () => {
  const [held, free] = [number(), number()];
  const outsider = new pg.Client(database.url);
  outsider.on('error', () => undefined);
  await outsider.connect();
  const ids = await Promise.all([held, free].map(async (one) => (await register(one)).paymentId));
  await outsider.query('begin');
  await outsider.query('select 1 from payment where id = any($1) for update', [ids]);
  await Promise.all([held, free].map((one) => tell(wechat.paid(one))));
  expect(await inbox({ status: N.NOTIFICATION_STATUS_STORED })).toHaveLength(2);
  await outsider.query('rollback');
  await outsider.query('begin');
  await outsider.query('select 1 from payment where id = $1 for update', [ids[0]]);

  await expect(sweepInbox(service.app.deps)).rejects.toThrow('1 of 2 waiting notifications could not be applied');
  expect([(await read(held)).status, (await read(free)).status]).toEqual([S.PAYMENT_STATUS_PENDING, S.PAYMENT_STATUS_SUCCEEDED]);
  await outsider.query('rollback');
  await outsider.end();
  expect(await sweepInbox(service.app.deps)).toBe(1);
});

test("another service's refund, told before its payment, after it, and twice, is one refund of the payment", async () => {
  const one = number();
  const payment = await register(one);
  expect(await tell(wechat.refunded(one, { outRefundNo: 'E1', amount: 500n, status: 'SUCCESS' }))).toBe(200);
  expect((await read(one)).status).toBe(S.PAYMENT_STATUS_REVIEW);
  await tell(wechat.paid(one));
  expect(await read(one)).toMatchObject({ status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(500n) });
  await tell(wechat.refunded(one, { outRefundNo: 'E1', amount: 500n, status: 'SUCCESS' }));
  await tell(wechat.refunded(one, { outRefundNo: 'E2', amount: 8_388n, status: 'SUCCESS' }));
  await tell(wechat.refunded(one, { outRefundNo: 'E3', amount: 1n, status: 'ABNORMAL' }));
  expect(await read(one)).toMatchObject({ status: S.PAYMENT_STATUS_REFUNDED, refundedAmount: yuan(8_888n), paidAmount: yuan(8_888n) });
  expect(await service.operations.verifyPaymentLog(logOf(payment.paymentId))).toMatchObject({ valid: true });
});

test('a notification that denies a refund which succeeded has it asked about', async () => {
  const one = number();
  const { paymentId } = await register(one);
  await tell(wechat.paid(one));
  const refund = { outRefundNo: 'E1', amount: 500n };
  await tell(wechat.refunded(one, { ...refund, status: 'SUCCESS' }));
  const due = (): Promise<unknown[]> => service.app.deps.orm.em.fork().execute('select 1 from payment_sync where payment_id = ?', [paymentId]);
  await service.app.deps.orm.em.fork().execute(`update refund set external = false, attempts = 1, sent_at = now() where payment_id = ?`, [paymentId]);
  await service.app.deps.orm.em.fork().execute('delete from payment_sync where payment_id = ?', [paymentId]);
  await tell(wechat.refunded(one, { ...refund, status: 'ABNORMAL' }));
  expect(await due()).toHaveLength(1);
  expect((await read(one)).status).toBe(S.PAYMENT_STATUS_PARTIALLY_REFUNDED);
  // Nobody answers at its address: it stays a question.
  await service.app.worker.runOnce();
  expect(await due()).toHaveLength(1);
});

test('a quarantine that is full of old attempts makes room for new ones', async () => {
  const em = service.app.deps.orm.em.fork();
  await em.execute(
    `insert into notification (id, platform, merchant_account, content_hash, status, platform_order_time, why, headers, body, deliveries, received_at)
     select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'ALIPAY', 'old', n::text, 'QUARANTINED', '', 'old', '{}', '', 1, now() - interval '2 days' from generate_series(1, 10000) n`,
  );
  const one = number();
  await register(one);
  // The budget of the flood before comes back with time, the count of the rows is looked at once a second.
  await until(async () => {
    await tell(stranger.paid(one));
    return (await em.execute<{ kept: boolean }[]>(`select true as kept from notification where status = 'QUARANTINED' and merchant_account = 'wechatpay' and why = 'the signing key is not known' and received_at > now() - interval '5 seconds'`)).length > 0;
  });
  expect((await em.execute<[{ rows: string }]>(`select count(*)::text as rows from notification where status = 'QUARANTINED' and merchant_account = 'old'`))[0].rows).toBe('9000');
  await em.execute(`delete from notification where merchant_account = 'old'`);
});
