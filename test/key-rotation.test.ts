/** Platforms change their keys while the service runs: new ones are found by their serial number, and nothing is restarted. */
import { PaymentStatus, Platform, type Payment } from '../src/gen/payment/v1/payment.js';
import * as rpc from '../src/gen/payment/v1/payment_service.js';
import { alipayAccount, unionPayAccount, wechatPayAccount } from '../src/simulator/accounts.js';
import { startAlipaySimulator } from '../src/simulator/alipay/server.js';
import type { Delivery } from '../src/simulator/notifier.js';
import { startUnionPaySimulator } from '../src/simulator/unionpay/server.js';
import { startWechatPaySimulator } from '../src/simulator/wechatpay/server.js';
import { accountsOf, startTestApp, type TestApp } from './support/app.js';
import { initiated } from './support/requests.js';
import { until } from './support/until.js';

const open = (accounts: object): Promise<TestApp> => startTestApp({ config: { platforms: accountsOf(accounts) }, manualSync: true });

interface Hand {
  buyerPays(orderNo: string): unknown;
  idle(): Promise<void>;
  notifications(): readonly Delivery[];
  redeliver(id: string): Promise<unknown>;
}

const create = async (service: TestApp, platform: Platform): Promise<Payment> => (await service.payments.createPayment(initiated({ platform }))).payment!;
const query = async (service: TestApp, { paymentId }: Payment): Promise<string> => {
  const { items } = await service.payments.syncPayments({ target: { $case: 'payments', value: { refs: [{ ref: { $case: 'paymentId', value: paymentId } }] } } });
  return items[0]!.error?.reason ?? rpc.ApplyOutcome[items[0]!.outcome];
};
const statusOf = async (service: TestApp, { paymentId }: Payment): Promise<PaymentStatus> =>
  (await service.payments.getPayment(rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } } }))).payment!.status;
async function pay(service: TestApp, hand: Hand, payment: Payment): Promise<PaymentStatus> {
  hand.buyerPays(payment.merchantOrderNo);
  await hand.idle();
  return await statusOf(service, payment);
}
const PAID = PaymentStatus.PAYMENT_STATUS_SUCCEEDED;

test('Alipay in certificate mode: the new certificate is fetched by its number and believed under the roots', async () => {
  await using simulator = await startAlipaySimulator({ certificateMode: true });
  await using service = await open({ alipay: [alipayAccount(simulator)] });
  const [before, after] = [await create(service, Platform.PLATFORM_ALIPAY), await create(service, Platform.PLATFORM_ALIPAY)];
  expect(await pay(service, simulator.control, before)).toBe(PAID);

  simulator.control.renewCertificate();
  expect(await query(service, before)).toBe('APPLY_OUTCOME_STALE');
  expect(await pay(service, simulator.control, after)).toBe(PAID);
});

test('WeChat Pay in certificate mode: an unknown serial number is looked up, at most once a minute', async () => {
  await using simulator = await startWechatPaySimulator({ signWith: 'certificate-a' });
  const { public_keys: _keys, ...account } = wechatPayAccount(simulator);
  await using service = await open({ wechatpay: [account] });
  const [before, after] = [await create(service, Platform.PLATFORM_WECHATPAY), await create(service, Platform.PLATFORM_WECHATPAY)];
  expect(await pay(service, simulator.control, before)).toBe(PAID);

  simulator.control.signWith('certificate-b');
  expect(await query(service, before)).toBe('APPLY_OUTCOME_STALE');
  expect(await pay(service, simulator.control, after)).toBe(PAID);
});

test('WeChat Pay by certificates and a public key side by side, whichever signs', async () => {
  await using simulator = await startWechatPaySimulator({ signWith: 'alternate' });
  const platformCertificates = simulator.certificates.map(({ pem }) => pem).join('\n');
  await using service = await open({ wechatpay: [{ ...wechatPayAccount(simulator), platform_certificates: platformCertificates }] });
  for (let turn = 0; turn < 3; turn += 1) {
    const payment = await create(service, Platform.PLATFORM_WECHATPAY);
    expect(payment.status).toBe(PaymentStatus.PAYMENT_STATUS_PENDING);
    expect(await pay(service, simulator.control, payment)).toBe(PAID);
  }
});

test('WeChat Pay: a notification signed by a key that is not known yet is refused, and verifies when it comes again', async () => {
  await using simulator = await startWechatPaySimulator({ signWith: 'certificate-a' });
  const { public_keys: _keys, ...account } = wechatPayAccount(simulator);
  const [known] = simulator.certificates;
  await using service = await open({ wechatpay: [{ ...account, platform_certificates: known!.pem }] });
  const payment = await create(service, Platform.PLATFORM_WECHATPAY);

  simulator.control.signWith('certificate-b');
  expect(await pay(service, simulator.control, payment)).toBe(PaymentStatus.PAYMENT_STATUS_PENDING);
  const { notification } = simulator.control.notifications().at(-1)!;
  await until(async () => {
    await simulator.control.redeliver(notification.id);
    return (await statusOf(service, payment)) === PAID;
  });
});

test('WeChat Pay probes whether signatures are checked: the probe is refused, the notification taken', async () => {
  await using simulator = await startWechatPaySimulator({ probeShare: 1 });
  await using service = await open({ wechatpay: [wechatPayAccount(simulator)] });
  const payment = await create(service, Platform.PLATFORM_WECHATPAY);
  expect(await pay(service, simulator.control, payment)).toBe(PAID);
  const replies = simulator.control.notifications().map(({ notification, attempts }) => [notification.about['mode'], attempts.map(({ status }) => status)]);
  expect(replies).toEqual([['normal', [200]], ['probe-itself', [401]]]);
});

test('UnionPay: a new certificate under the same chain needs nothing', async () => {
  await using simulator = await startUnionPaySimulator();
  await using service = await open({ unionpay: [unionPayAccount(simulator)] });
  const payment = await create(service, Platform.PLATFORM_UNIONPAY);
  simulator.control.renewCertificate();
  expect(await pay(service, simulator.control, payment)).toBe(PAID);
  expect(await query(service, payment)).toBe('APPLY_OUTCOME_STALE');
});
