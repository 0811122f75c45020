/** Payments through the whole service at a simulated Alipay: real HTTP, real signatures, real database. */
import { createHash } from 'node:crypto';
import { CheckoutKind, PaymentStatus, Platform, RefundRetry, RefundStatus, ReviewReason, type Payment } from '../src/gen/payment/v1/payment.js';
import * as rpc from '../src/gen/payment/v1/payment_service.js';
import type { FaultKind } from '../src/simulator/faults.js';
import type { NotificationMode } from '../src/simulator/alipay/notifications.js';
import { alipayAccount } from '../src/simulator/accounts.js';
import { startAlipaySimulator, type AlipaySimulator } from '../src/simulator/alipay/server.js';
import { Notification } from '../src/notification/notification.js';
import { promised } from '../src/cli/promised.js';
import { accountsOf, callOptions, startTestApp, type TestApp } from './support/app.js';
import { initiated, logOf, refundOf, registered, reported, yuan } from './support/requests.js';
import { until } from './support/until.js';

let simulator: AlipaySimulator;
let service: TestApp;
/** The service's clock is the system's, moved ahead by the tests together with the platform's. */
let aheadMs = 0;
const now = (): Date => new Date(Date.now() + aheadMs);

beforeAll(async () => {
  simulator = await startAlipaySimulator({ now, refundSpacingMs: 0 });
  service = await startTestApp({ config: { platforms: accountsOf({ alipay: [alipayAccount(simulator)] }) }, clock: { now }, manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await simulator.stop();
});
afterEach(() => {
  simulator.control.faults.clear();
  simulator.control.notificationPlan({ mode: 'normal' });
});

const S = PaymentStatus;
const create = async (changes: object = {}): Promise<Payment> => (await service.payments.createPayment(initiated(changes))).payment!;
const read = (paymentId: string): Promise<rpc.GetPaymentResponse> =>
  service.payments.getPayment(rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } }, view: rpc.PaymentView.PAYMENT_VIEW_FULL }));
const statusOf = async (paymentId: string): Promise<PaymentStatus> => (await read(paymentId)).payment!.status;
/** Pays and waits until the notification was answered. */
async function pay(payment: Payment, amount?: bigint): Promise<void> {
  simulator.control.buyerPays(payment.merchantOrderNo, amount === undefined ? {} : { amountOverride: amount });
  await simulator.control.idle();
}
async function paid(): Promise<Payment> {
  const payment = await create();
  await pay(payment);
  return (await read(payment.paymentId)).payment!;
}
const close = (paymentId: string) =>
  service.payments.closePayment(rpc.ClosePaymentRequest.fromPartial({ requestId: `close-${paymentId}`, paymentId, reason: 'the buyer left' }));
const sync = (...paymentIds: string[]) =>
  service.payments.syncPayments({ target: { $case: 'payments', value: { refs: paymentIds.map((value) => ({ ref: { $case: 'paymentId', value } })) } } });
const inbox = (merchantOrderNo: string): Promise<Notification[]> =>
  service.app.deps.orm.em.fork().find(Notification, { merchantOrderNo }, { orderBy: { receivedAt: 'asc' } });
/** Lets the sync worker look at everything that is due after a time. */
async function later(ms: number): Promise<void> {
  aheadMs += ms;
  while ((await service.app.worker.runOnce()) > 0);
}
const deliver = (body: string, headers: Record<string, string> = { 'content-type': 'application/x-www-form-urlencoded' }): Promise<Response> =>
  fetch(`http://127.0.0.1:${service.app.notificationPort}/notifications/alipay/alipay`, { method: 'POST', headers, body });

test('created, paid by the buyer, notified, partly and then fully refunded', async () => {
  const payment = await create();
  expect(payment).toMatchObject({ status: S.PAYMENT_STATUS_PENDING, checkout: { form: { $case: 'qrText' } } });

  await pay(payment);
  const { payment: after } = await read(payment.paymentId);
  expect(after).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, paidAmount: yuan(10_000n), refundableAmount: yuan(10_000n) });

  const first = await service.payments.createRefund(refundOf(payment.paymentId, 3_000n));
  expect(first.refund).toMatchObject({ status: RefundStatus.REFUND_STATUS_SUCCEEDED, attempts: 1 });
  expect(first.payment).toMatchObject({ status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(3_000n), refundableAmount: yuan(7_000n) });
  const second = await service.payments.createRefund(refundOf(payment.paymentId, 7_000n));
  expect(second.payment).toMatchObject({ status: S.PAYMENT_STATUS_REFUNDED, refundableAmount: yuan(0n) });

  await simulator.control.idle();
  expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REFUNDED, refundedAmount: yuan(10_000n) }, refunds: [{}, {}] });
  expect(await service.operations.verifyPaymentLog(logOf(payment.paymentId))).toMatchObject({ valid: true });
});

test('the page checkout is a signed form that the platform accepts', async () => {
  const payment = await create({
    subject: `A "pot" of <tea> & 'cake' 茶`,
    kind: { $case: 'initiated', value: { checkoutKind: CheckoutKind.CHECKOUT_KIND_PAGE, returnUrl: 'https://shop.example/back?a=1&b=2', buyerId: '', buyerIp: '' } },
  });
  const html = String(payment.checkout?.form?.value);
  const unescape = (text: string): string => text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => ({ amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" })[name]!);
  const action = unescape(/action="([^"]*)"/.exec(html)![1]!);
  const content = unescape(/name="biz_content" value="([^"]*)"/.exec(html)![1]!);
  const page = await fetch(action, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ biz_content: content }) });
  expect(await page.text()).toMatch(new RegExp(`100\\.00[^]*${payment.merchantOrderNo}`));
  await pay(payment);
  expect(await statusOf(payment.paymentId)).toBe(S.PAYMENT_STATUS_SUCCEEDED);
});

test('a repeated creation is the same order at the platform', async () => {
  const request = initiated();
  const first = await service.payments.createPayment(request);
  const again = await service.payments.createPayment(request);
  expect(again).toMatchObject({ replayed: true, payment: { paymentId: first.payment!.paymentId, checkout: first.payment!.checkout } });
});

test.each<FaultKind>(['commit-then-drop', 'http-500', 'html-body', 'truncated', 'bad-signature', 'no-signature', 'unsigned-error-response', 'system-error', 'drop-before-commit'])(
  'creation with %s is UNKNOWN and no error; the same request again places the same order once',
  async (kind) => {
    const request = initiated();
    simulator.control.faults.add({ operation: 'alipay.trade.precreate', kind });
    const { payment } = await service.payments.createPayment(request);
    expect(payment).toMatchObject({ status: S.PAYMENT_STATUS_UNKNOWN, checkout: undefined });

    const again = await service.payments.createPayment(request);
    expect(again).toMatchObject({ replayed: true, payment: { status: S.PAYMENT_STATUS_PENDING, checkout: { form: { $case: 'qrText' } } } });
    await pay(payment!);
    expect(await statusOf(payment!.paymentId)).toBe(S.PAYMENT_STATUS_SUCCEEDED);
  },
);

test('a lost creation is placed again by the service itself', async () => {
  simulator.control.faults.add({ operation: 'alipay.trade.precreate', kind: 'drop-before-commit' });
  const { paymentId } = await create();
  await later(1_000);
  expect(await read(paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_PENDING, checkout: { form: { $case: 'qrText' } } } });
});

test('a platform that takes no calls leaves nothing placed and says so', async () => {
  const request = initiated();
  simulator.control.faults.add({ operation: 'alipay.trade.precreate', kind: 'rate-limit' });
  await expect(service.payments.createPayment(request)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'PLATFORM_UNREACHABLE', metadata: { platform_code: 'isv.app-call-limited' } });
  // The pause that the platform asked for.
  aheadMs += 1_001;
  await expect(service.payments.createPayment(request)).resolves.toMatchObject({ replayed: true, payment: { status: S.PAYMENT_STATUS_PENDING } });
});

test('without any notification the sync worker finds the payment', async () => {
  simulator.control.notificationPlan({ mode: 'never' });
  const payment = await create();
  await pay(payment);
  expect(await statusOf(payment.paymentId)).toBe(S.PAYMENT_STATUS_PENDING);
  await later(10_000);
  expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_SUCCEEDED, nextSyncTime: undefined } });
});

test('a failed query changes nothing and leaves its trace', async () => {
  const payment = await create();
  simulator.control.faults.add({ operation: 'alipay.trade.query', kind: 'html-body' });
  const { items } = await sync(payment.paymentId);
  expect(items[0]).toMatchObject({ outcome: rpc.ApplyOutcome.APPLY_OUTCOME_ERROR, payment: { status: S.PAYMENT_STATUS_PENDING, version: 1 } });
  expect((await read(payment.paymentId)).recentLog[0]).toMatchObject({ reason: 'query: UNKNOWN', errorCode: 'BAD_ANSWER' });
});

test.each<[NotificationMode, string]>([
  ['forged', 'the signature does not verify'],
  ['altered-amount', 'the signature does not verify'],
  ['truncated', ''],
])('a notification that is %s changes nothing, is refused and quarantined', async (mode, why) => {
  const payment = await create();
  simulator.control.notificationPlan({ mode: mode });
  await pay(payment);
  expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_PENDING, version: 1 } });
  const attempt = simulator.control.notifications().at(-1)!.attempts.at(-1)!;
  expect(attempt).toMatchObject({ status: 400, acknowledged: false });

  const { body } = simulator.control.notifications().at(-1)!.notification;
  const row = await service.app.deps.orm.em.fork().findOneOrFail(Notification, { contentHash: createHash('sha256').update(body).digest('hex') });
  expect(row).toMatchObject({ status: 'QUARANTINED', notificationId: null, deliveries: 1 });
  expect(row.why).toContain(why);
  // The truth is asked for instead: a genuine notification may have been damaged on its way.
  await later(0);
  if (row.merchantOrderNo !== null) expect(await statusOf(payment.paymentId)).toBe(S.PAYMENT_STATUS_SUCCEEDED);
});

test('money that went to another seller goes to review, and is acknowledged', async () => {
  const payment = await create();
  simulator.control.notificationPlan({ mode: 'other-seller' });
  await pay(payment);
  expect((await read(payment.paymentId)).payment).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW, reviewReason: ReviewReason.REVIEW_REASON_IDENTITY_MISMATCH, paidAmount: yuan(0n) });
  expect(simulator.control.notifications().at(-1)!.attempts).toMatchObject([{ status: 200, acknowledged: true }]);
});

test('a replayed notification changes nothing and is acknowledged again', async () => {
  const payment = await paid();
  const { id } = simulator.control.notifications().at(-1)!.notification;
  await simulator.control.redeliver(id);
  expect(await read(payment.paymentId)).toMatchObject({ payment: { version: payment.version } });
  expect(await inbox(payment.merchantOrderNo)).toMatchObject([{ status: 'APPLIED', deliveries: 2, notificationId: id }]);
});

test.each<[string, string, Record<string, string> | undefined, number]>([
  ['an empty body', '', undefined, 400],
  ['a body that is no form', '{"trade_status":"TRADE_SUCCESS"}', { 'content-type': 'application/json' }, 400],
  ['a body of 65 KiB', 'a='.padEnd(65 * 1024, 'x'), undefined, 413],
  ['a compressed body', 'a=1', { 'content-encoding': 'gzip' }, 415],
  ['RSA instead of RSA2', 'sign_type=RSA&sign=AAAA&out_trade_no=1', undefined, 400],
  ['a name twice', 'out_trade_no=1&out_trade_no=2&sign_type=RSA2', undefined, 400],
])('%s at the entrance is refused', async (_what, body, headers, status) => {
  const response = await deliver(body, headers);
  expect(response.status).toBe(status);
  expect(await response.text()).not.toBe('success');
});

test('two receipts at once, with a query and a closing beside them, leave one legal history', async () => {
  const payments = await Promise.all(Array.from({ length: 10 }, () => create()));
  simulator.control.notificationPlan({ mode: 'duplicate' });
  await Promise.all(payments.map(async (payment) => {
    await Promise.allSettled([pay(payment), sync(payment.paymentId), close(payment.paymentId), sync(payment.paymentId)]);
  }));
  for (const { paymentId } of payments) {
    expect(await statusOf(paymentId)).toBe(S.PAYMENT_STATUS_SUCCEEDED);
    expect(await service.operations.verifyPaymentLog(logOf(paymentId))).toMatchObject({ valid: true });
  }
});

test('another amount than asked for goes to review with both values kept', async () => {
  const payment = await create();
  await pay(payment, 9_999n);
  const { payment: after, recentLog } = await read(payment.paymentId);
  expect(after).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW, reviewReason: 1, paidAmount: yuan(0n) });
  expect(recentLog[0]?.evidence).toMatchObject({ amount: '9999 CNY' });
  await expect(service.payments.createRefund(refundOf(payment.paymentId, 1n))).rejects.toMatchObject({ reason: 'PAYMENT_NOT_REFUNDABLE' });
});

test('a notification that comes before its payment is recorded waits for it', async () => {
  const elsewhere = await startTestApp({ config: { platforms: accountsOf({ alipay: [alipayAccount(simulator)] }) }, manualSync: true });
  const { payment: placed } = await elsewhere.payments.createPayment(initiated());
  simulator.control.notificationPlan({ mode: 'never' });
  simulator.control.buyerPays(placed!.merchantOrderNo);
  const { body } = simulator.control.notifications().at(-1)!.notification;
  await elsewhere[Symbol.asyncDispose]();

  expect(await (await deliver(body)).text()).toBe('success');
  expect(await inbox(placed!.merchantOrderNo)).toMatchObject([{ status: 'ORPHAN' }]);
  const kind = { $case: 'registered', value: { merchantOrderNo: placed!.merchantOrderNo, platformOrderTime: '', platformTransactionId: '' } };
  const { payment } = await service.payments.createPayment(registered({ platform: Platform.PLATFORM_ALIPAY, merchantAccount: 'alipay', kind }));
  expect(payment).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, version: 2 });
  expect(await inbox(placed!.merchantOrderNo)).toMatchObject([{ status: 'APPLIED', paymentId: payment!.paymentId }]);
});

test('closing: at the platform first, and the answer says what happened', async () => {
  const scanned = await create();
  simulator.control.buyerScans(scanned.merchantOrderNo);
  await expect(close(scanned.paymentId)).resolves.toMatchObject({ outcome: rpc.CloseOutcome.CLOSE_OUTCOME_CLOSED, payment: { status: S.PAYMENT_STATUS_CLOSED } });
  await expect(close(scanned.paymentId)).resolves.toMatchObject({ outcome: rpc.CloseOutcome.CLOSE_OUTCOME_CLOSED });

  const unscanned = await create();
  await expect(close(unscanned.paymentId)).resolves.toMatchObject({
    outcome: rpc.CloseOutcome.CLOSE_OUTCOME_CLOSE_AT_EXPIRY,
    payment: { status: S.PAYMENT_STATUS_PENDING, closeRequested: true },
  });

  simulator.control.notificationPlan({ mode: 'never' });
  const alreadyPaid = await create();
  await pay(alreadyPaid);
  await expect(close(alreadyPaid.paymentId)).resolves.toMatchObject({ outcome: rpc.CloseOutcome.CLOSE_OUTCOME_PAID, payment: { status: S.PAYMENT_STATUS_SUCCEEDED } });

  const lost = await create();
  simulator.control.buyerScans(lost.merchantOrderNo);
  simulator.control.faults.add({ operation: 'alipay.trade.close', kind: 'commit-then-drop' });
  await expect(close(lost.paymentId)).resolves.toMatchObject({ outcome: rpc.CloseOutcome.CLOSE_OUTCOME_IN_DOUBT, payment: { status: S.PAYMENT_STATUS_UNKNOWN } });
  await later(0);
  expect(await statusOf(lost.paymentId)).toBe(S.PAYMENT_STATUS_CLOSED);
});

test('at expiry no timer closes: the platform does, or does not know the order after the margin', async () => {
  const scanned = await create();
  const unscanned = await create();
  simulator.control.buyerScans(scanned.merchantOrderNo);
  await later(2 * 3_600_000 + 2_000);
  expect(await statusOf(scanned.paymentId)).toBe(S.PAYMENT_STATUS_CLOSED);
  expect(await statusOf(unscanned.paymentId)).toBe(S.PAYMENT_STATUS_PENDING);
  await later(10 * 60_000 + 2_000);
  expect(await statusOf(unscanned.paymentId)).toBe(S.PAYMENT_STATUS_CLOSED);
});

test.each<FaultKind>(['commit-then-drop', 'drop-before-commit', 'http-500', 'bad-signature', 'system-error'])(
  'a refund with %s is UNKNOWN, keeps its reservation and converges under the same number, money moved once',
  async (kind) => {
    const payment = await paid();
    simulator.control.faults.add({ operation: 'alipay.trade.refund', kind });
    const { refund, payment: held } = await service.payments.createRefund(refundOf(payment.paymentId, 4_000n));
    expect(refund).toMatchObject({ status: RefundStatus.REFUND_STATUS_UNKNOWN, retry: RefundRetry.REFUND_RETRY_SAME_NUMBER });
    expect(held).toMatchObject({ reservedAmount: yuan(4_000n), refundableAmount: yuan(6_000n) });

    await later(60_000);
    await later(60_000);
    const { payment: after, refunds } = await read(payment.paymentId);
    expect(refunds).toMatchObject([{ refundId: refund!.refundId, platformRefundNo: refund!.platformRefundNo, status: RefundStatus.REFUND_STATUS_SUCCEEDED }]);
    expect(after).toMatchObject({ status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(4_000n), reservedAmount: yuan(0n) });
    expect(simulator.control.getTrade(payment.merchantOrderNo).refunds).toHaveLength(1);
  },
);

test('a shortage of balance keeps the refund open under its number until there is money', async () => {
  const payment = await paid();
  simulator.control.setBalance(0n);
  const { refund } = await service.payments.createRefund(refundOf(payment.paymentId, 4_000n));
  expect(refund).toMatchObject({ status: RefundStatus.REFUND_STATUS_CREATED, retry: RefundRetry.REFUND_RETRY_SAME_NUMBER, failureCode: 'ACQ.SELLER_BALANCE_NOT_ENOUGH' });
  await expect(service.payments.cancelRefund({ requestId: `cancel-${payment.paymentId}`, refundId: refund!.refundId, reason: 'too late' })).rejects.toMatchObject({
    code: 'FAILED_PRECONDITION',
    reason: 'REFUND_NOT_CANCELABLE',
  });
  simulator.control.setBalance(null);
  await later(60_000);
  expect((await read(payment.paymentId)).refunds).toMatchObject([{ status: RefundStatus.REFUND_STATUS_SUCCEEDED, attempts: 2 }]);
});

test('money refunded elsewhere becomes a refund of its own; more can no longer be refunded than is left', async () => {
  const payment = await paid();
  simulator.control.refundOutside(payment.merchantOrderNo, 2_500n);
  await simulator.control.idle();
  const { payment: after, refunds } = await read(payment.paymentId);
  expect(after).toMatchObject({ status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(2_500n), refundableAmount: yuan(7_500n) });
  expect(refunds).toMatchObject([{ external: true, amount: yuan(2_500n), status: RefundStatus.REFUND_STATUS_SUCCEEDED }]);
  await expect(service.payments.createRefund(refundOf(payment.paymentId, 7_501n))).rejects.toMatchObject({ reason: 'REFUND_EXCEEDS_REFUNDABLE', metadata: { refundable: '7500' } });
});

test('after the refund window the payment stays paid and refuses refunds', async () => {
  const payment = await paid();
  simulator.control.finish(payment.merchantOrderNo);
  await simulator.control.idle();
  expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_SUCCEEDED, refundableAmount: yuan(0n), version: payment.version } });
  await expect(service.payments.createRefund(refundOf(payment.paymentId, 1n))).rejects.toMatchObject({ reason: 'PAYMENT_NOT_REFUNDABLE' });
});

test('verifying compares both sides and changes nothing unless told to', async () => {
  simulator.control.notificationPlan({ mode: 'never' });
  const [open, quiet, unscanned] = [await create(), await create(), await create()];
  simulator.control.buyerScans(open.merchantOrderNo);
  await pay(quiet);
  const refs = [open, quiet, unscanned].map(({ paymentId: value }) => ({ ref: { $case: 'paymentId' as const, value } }));
  refs.push({ ref: { $case: 'paymentId', value: '00000000-0000-7000-8000-000000000000' } });

  const R = rpc.VerifyResult;
  const dry = await service.payments.verifyPayments({ refs, apply: false });
  expect(dry.items.map(({ result }) => result)).toEqual([R.VERIFY_RESULT_MATCH, R.VERIFY_RESULT_MISMATCH, R.VERIFY_RESULT_NOT_FOUND_AT_PLATFORM, R.VERIFY_RESULT_NOT_FOUND]);
  expect(dry.items[1]?.differences[0]).toEqual({ field: 'status', recorded: 'PENDING', platform: 'TRADE_SUCCESS' });
  expect(await statusOf(quiet.paymentId)).toBe(S.PAYMENT_STATUS_PENDING);

  const wet = await service.payments.verifyPayments({ refs, apply: true });
  expect(wet.items[1]).toMatchObject({ outcome: rpc.ApplyOutcome.APPLY_OUTCOME_APPLIED, payment: { status: S.PAYMENT_STATUS_SUCCEEDED } });
});

test('a claim about a payment of ours is no evidence, and is answered by asking the platform', async () => {
  simulator.control.notificationPlan({ mode: 'never' });
  const payment = await create();
  await pay(payment);
  const answer = await service.payments.updatePaymentStatus(reported(payment.paymentId, { status: S.PAYMENT_STATUS_FAILED }));
  expect(answer).toMatchObject({ outcome: rpc.ReportOutcome.REPORT_OUTCOME_CLAIM_RECORDED, payment: { status: S.PAYMENT_STATUS_PENDING } });
  await later(0);
  expect(await statusOf(payment.paymentId)).toBe(S.PAYMENT_STATUS_SUCCEEDED);
});

test('syncing by filter marks what is unsettled as due', async () => {
  simulator.control.notificationPlan({ mode: 'never' });
  const payment = await create({ appId: 'filtered' });
  await create({ appId: 'other' });
  await pay(payment);
  const answer = await service.payments.syncPayments({ target: { $case: 'filter', value: rpc.PaymentFilter.fromPartial({ appId: 'filtered' }) } });
  expect(answer.marked).toBe(1n);
  await later(0);
  await until(async () => (await statusOf(payment.paymentId)) === S.PAYMENT_STATUS_SUCCEEDED);
});

test('statistics count what is there', async () => {
  const request = rpc.GetPaymentStatsRequest.fromPartial({
    startTime: { seconds: BigInt(Math.floor(now().getTime() / 1_000)) - 86_400n },
    endTime: { seconds: BigInt(Math.floor(now().getTime() / 1_000)) + 86_400n },
    appId: 'counted',
    groupBy: [rpc.StatsDimension.STATS_DIMENSION_STATUS, rpc.StatsDimension.STATS_DIMENSION_PLATFORM],
  });
  const [first, , closed] = [await create({ appId: 'counted' }), await create({ appId: 'counted' }), await create({ appId: 'counted' })];
  await pay(first);
  await service.payments.createRefund(refundOf(first.paymentId, 1_000n));
  simulator.control.buyerScans(closed.merchantOrderNo);
  await close(closed.paymentId);

  const stats = await service.payments.getPaymentStats(request);
  expect(stats).toMatchObject({ totalCount: 3n, settledCount: 2n, paidCount: 1n, successRatePerTenThousand: 5_000 });
  expect(stats.groups.map(({ status, count, amount, paidAmount, refundedAmount }) => [status, count, amount, paidAmount, refundedAmount])).toEqual(
    expect.arrayContaining([
      [S.PAYMENT_STATUS_PARTIALLY_REFUNDED, 1n, 10_000n, 10_000n, 1_000n],
      [S.PAYMENT_STATUS_PENDING, 1n, 10_000n, 0n, 0n],
      [S.PAYMENT_STATUS_CLOSED, 1n, 10_000n, 0n, 0n],
    ]),
  );
  expect(stats.refunds).toEqual([{ currencyCode: 'CNY', status: RefundStatus.REFUND_STATUS_SUCCEEDED, count: 1n, amount: 1_000n }]);
});

test('a repetition of a creation is answered although its expiry is near by now', async () => {
  const request = initiated({ expireTime: { seconds: BigInt(Math.ceil(now().getTime() / 1_000) + 62), nanos: 0 } });
  const { payment } = await service.payments.createPayment(request);
  aheadMs += 5_000;
  await expect(service.payments.createPayment(request)).resolves.toMatchObject({ replayed: true, payment: { paymentId: payment!.paymentId } });
  await expect(service.payments.createPayment({ ...request, requestId: 'another' })).rejects.toMatchObject({ fields: ['expire_time'] });
});

test('a refund that was reserved and never sent is sent by the worker, under the number it was given', async () => {
  const payment = await paid();
  // As after a crash between the two: a replica without the account reserves and cannot send.
  await using other = await startTestApp({ databaseUrl: service.app.databaseUrl, clock: { now }, manualSync: true });
  const { refund } = await other.payments.createRefund(refundOf(payment.paymentId, 2_500n));
  expect(refund).toMatchObject({ status: RefundStatus.REFUND_STATUS_CREATED, attempts: 0 });
  await later(5_000);
  expect((await read(payment.paymentId)).refunds).toMatchObject([{ platformRefundNo: refund!.platformRefundNo, status: RefundStatus.REFUND_STATUS_SUCCEEDED, attempts: 1 }]);
});

test('a batch at a platform that hangs is answered in the time of its caller, item by item', async () => {
  const payments = await Promise.all(Array.from({ length: 40 }, () => create()));
  const platforms = accountsOf({ alipay: [alipayAccount(simulator)] });
  await using other = await startTestApp({ databaseUrl: service.app.databaseUrl, config: { platforms }, clock: { now }, manualSync: true });
  simulator.control.faults.add({ operation: 'query', kind: 'delay', delayMs: 3_000, times: 1_000 });
  const hurried = promised(other.client, { ...callOptions, deadlineMs: 2_500 });
  const { items } = await hurried.verifyPayments({ refs: payments.map(({ paymentId: value }) => ({ ref: { $case: 'paymentId', value } })), apply: false });
  expect(items).toHaveLength(40);
  expect(new Set(items.map(({ result }) => result))).toEqual(new Set([rpc.VerifyResult.VERIFY_RESULT_PLATFORM_UNREACHABLE]));
  expect(items.every(({ error }) => ['TIMEOUT', 'CIRCUIT_OPEN', 'DEADLINE_EXCEEDED'].includes(error?.reason ?? ''))).toBe(true);
});
