/** Batches of payments at several platforms, through the whole service: what one platform does is no matter of another's. */
import { promised } from '../src/cli/promised.js';
import { PaymentStatus, Platform, type Payment } from '../src/gen/payment/v1/payment.js';
import * as rpc from '../src/gen/payment/v1/payment_service.js';
import type { Account } from '../src/platform/accounts.js';
import { alipayAccount, unionPayAccount, wechatPayAccount } from '../src/simulator/accounts.js';
import { startAlipaySimulator, type AlipaySimulator } from '../src/simulator/alipay/server.js';
import { startUnionPaySimulator, type UnionPaySimulator } from '../src/simulator/unionpay/server.js';
import { startWechatPaySimulator, type WechatPaySimulator } from '../src/simulator/wechatpay/server.js';
import { accountsOf, callOptions, startTestApp, type TestApp } from './support/app.js';
import { initiated, logOf, registered } from './support/requests.js';

let hanging: AlipaySimulator;
let answering: WechatPaySimulator;
let numbered: UnionPaySimulator;
let platforms: readonly Account[];
let service: TestApp;
beforeAll(async () => {
  [hanging, answering, numbered] = await Promise.all([startAlipaySimulator(), startWechatPaySimulator(), startUnionPaySimulator()]);
  platforms = accountsOf({ alipay: [alipayAccount(hanging)], wechatpay: [wechatPayAccount(answering)], unionpay: [unionPayAccount(numbered)] });
  service = await startTestApp({ config: { platforms }, manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await Promise.all([hanging.stop(), answering.stop(), numbered.stop()]);
});
afterEach(() => {
  hanging.control.faults.clear();
  hanging.control.release();
});

const R = rpc.VerifyResult;
const create = async (platform: Platform): Promise<Payment> => (await service.payments.createPayment(initiated({ platform }))).payment!;
const created = (platform: Platform, count: number) => Promise.all(Array.from({ length: count }, () => create(platform)));
const byId = (value: string): rpc.PaymentRef => ({ ref: { $case: 'paymentId', value } });
const byOrder = ({ platform, merchantOrderNo }: Payment, platformOrderTime = '', merchantAccount = ''): rpc.PaymentRef => ({
  ref: { $case: 'platformOrder', value: { platform, merchantAccount, merchantOrderNo, platformOrderTime } },
});
const entriesOf = async (payment: Payment): Promise<number> =>
  (await service.operations.verifyPaymentLog(logOf(payment.paymentId))).entries;

test.each([[false], [true]])('a platform that hangs starves no item of another one (apply: %s)', async (apply) => {
  const [silent, lively] = await Promise.all([created(Platform.PLATFORM_ALIPAY, 100), created(Platform.PLATFORM_WECHATPAY, 40)]);
  hanging.control.faults.add({ operation: 'query', kind: 'hold', times: 1_000 });

  // With circuits of its own: none is open yet.
  await using other = await startTestApp({ databaseUrl: service.app.databaseUrl, config: { platforms }, manualSync: true });
  const hurried = promised(other.client, { ...callOptions, deadlineMs: 3_000 });
  // Those that hang come first and would hold every place there is.
  const { items } = await hurried.verifyPayments({ refs: [...silent, ...lively].map(({ paymentId }) => byId(paymentId)), apply });
  expect(items.map(({ ref }) => ref)).toEqual([...silent, ...lively].map(({ paymentId }) => byId(paymentId)));
  expect(items.map(({ result }) => result)).toEqual([
    ...silent.map(() => R.VERIFY_RESULT_PLATFORM_UNREACHABLE),
    ...lively.map(() => R.VERIFY_RESULT_MATCH),
  ]);
  expect(items.slice(0, 100).filter(({ error }) => !['TIMEOUT', 'CIRCUIT_OPEN', 'DEADLINE_EXCEEDED'].includes(error?.reason ?? ''))).toEqual([]);
  expect(items.slice(100).every(({ outcome }) => (outcome !== rpc.ApplyOutcome.APPLY_OUTCOME_UNSPECIFIED) === apply)).toBe(true);
});

test('a batch that is faster than its account may be is paced, and answered whole', async () => {
  const slow = accountsOf({ wechatpay: [{ ...wechatPayAccount(answering), calls_per_second: 40 }] });
  await using other = await startTestApp({ databaseUrl: service.app.databaseUrl, config: { platforms: slow }, manualSync: true });
  const payments = await created(Platform.PLATFORM_WECHATPAY, 60);
  const { items } = await other.payments.verifyPayments({ refs: payments.map(({ paymentId }) => byId(paymentId)), apply: false });
  expect(items.map(({ result }) => result)).toEqual(payments.map(() => R.VERIFY_RESULT_MATCH));
});

test('waiting for a turn that never comes ends with the caller\'s time', async () => {
  const narrow = accountsOf({ alipay: [{ ...alipayAccount(hanging), calls_at_a_time: 1 }] });
  await using other = await startTestApp({ databaseUrl: service.app.databaseUrl, config: { platforms: narrow }, manualSync: true });
  const payments = await created(Platform.PLATFORM_ALIPAY, 3);
  hanging.control.faults.add({ operation: 'query', kind: 'hold', times: 1_000 });
  // Somebody with more time holds the only place.
  const holding = other.payments.verifyPayments({ refs: [byId(payments[0]!.paymentId)], apply: false });
  await hanging.control.holding('query');

  const hurried = promised(other.client, { ...callOptions, deadlineMs: 2_500 });
  const { items } = await hurried.verifyPayments({ refs: payments.map(({ paymentId }) => byId(paymentId)), apply: false });
  expect(items.map(({ result }) => result)).toEqual(payments.map(() => R.VERIFY_RESULT_PLATFORM_UNREACHABLE));
  hanging.control.release();
  expect((await holding).items).toMatchObject([{ error: undefined }]);
});

test('each reference finds its own payment or says why there is none', async () => {
  const [first, second, ordered] = [await create(Platform.PLATFORM_WECHATPAY), await create(Platform.PLATFORM_WECHATPAY), await create(Platform.PLATFORM_UNIONPAY)];
  const twice = { platform: Platform.PLATFORM_UNIONPAY, merchantAccount: '' };
  const at = (platformOrderTime: string) => ({ ...twice, kind: { $case: 'registered', value: { merchantOrderNo: 'TWICE000001', platformOrderTime, platformTransactionId: '' } } });
  const [morning, evening] = [
    (await service.payments.createPayment(registered(at('20260101080000')))).payment!,
    (await service.payments.createPayment(registered(at('20260101200000')))).payment!,
  ];
  const elsewhere = (await service.payments.createPayment(registered({ merchantAccount: 'not-here' }))).payment!;

  const { items } = await service.payments.verifyPayments({
    refs: [
      byOrder(second),
      byId(first.paymentId),
      byOrder(ordered),
      byOrder(evening, '20260101200000'),
      byOrder(evening),
      byOrder(morning, '20260101080000'),
      byOrder(morning, '20260101080001'),
      byId('00000000-0000-7000-8000-000000000000'),
      byOrder(elsewhere),
      byOrder(elsewhere, '', 'not-here'),
      byOrder(second),
    ],
    apply: false,
  });
  expect(items.map(({ payment, error }) => payment?.paymentId ?? error?.reason)).toEqual([
    second.paymentId,
    first.paymentId,
    ordered.paymentId,
    evening.paymentId,
    'FIELD_INVALID',
    morning.paymentId,
    'PAYMENT_NOT_FOUND',
    'PAYMENT_NOT_FOUND',
    'PAYMENT_NOT_FOUND',
    elsewhere.paymentId,
    second.paymentId,
  ]);
  expect(items[9]).toMatchObject({ result: R.VERIFY_RESULT_PLATFORM_UNREACHABLE, error: { reason: 'PLATFORM_NOT_CONFIGURED' } });
});

test('applying carries the plan out, item by item: what could not be asked is only noted', async () => {
  const [paid, silent] = [await create(Platform.PLATFORM_WECHATPAY), await create(Platform.PLATFORM_ALIPAY)];
  answering.control.notificationPlan({ mode: 'never' });
  answering.control.buyerPays(paid.merchantOrderNo);
  hanging.control.faults.add({ operation: 'query', kind: 'http-500', times: 1_000 });
  const refs = [paid, silent].map(({ paymentId }) => byId(paymentId));
  const before = [await entriesOf(paid), await entriesOf(silent)];

  const plan = await service.payments.verifyPayments({ refs, apply: false });
  expect(plan.items).toMatchObject([
    { result: R.VERIFY_RESULT_MISMATCH, outcome: 0, differences: [{ field: 'status', recorded: 'PENDING' }, {}] },
    { result: R.VERIFY_RESULT_PLATFORM_UNREACHABLE, outcome: 0 },
  ]);
  expect([await entriesOf(paid), await entriesOf(silent)]).toEqual(before);

  const carriedOut = await service.payments.verifyPayments({ refs, apply: true });
  expect(carriedOut.items).toMatchObject([
    { result: R.VERIFY_RESULT_MISMATCH, outcome: rpc.ApplyOutcome.APPLY_OUTCOME_APPLIED, payment: { status: PaymentStatus.PAYMENT_STATUS_SUCCEEDED }, error: undefined },
    { result: R.VERIFY_RESULT_PLATFORM_UNREACHABLE, outcome: 0, payment: { status: PaymentStatus.PAYMENT_STATUS_PENDING }, error: { reason: expect.anything() } },
  ]);
  expect(await entriesOf(silent)).toBe(before[1]! + 1);
});
