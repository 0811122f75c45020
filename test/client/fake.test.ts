/** What a test of a user can have the fake do; what it shares with the server is in conformance.test.ts. */
import { randomUUID } from 'node:crypto';
import { PaystateError } from '../../src/client/errors.js';
import { createFakeClient, type FakeClient } from '../../src/client/fake/fake-client.js';
import { statusName } from '../../src/client/status.js';
import { Platform, RefundStatus, type Payment } from '../../src/gen/payment/v1/payment.js';
import { until } from '../support/until.js';

const amount = { currencyCode: 'CNY', minorUnits: 8_888n };
const order = () => ({
  appId: 'shop',
  orderId: randomUUID(),
  platform: Platform.PLATFORM_ALIPAY,
  amount,
  kind: { $case: 'registered' as const, value: { merchantOrderNo: randomUUID() } },
});
async function created(fake: FakeClient): Promise<Payment> {
  return (await fake.payments.createPayment(order())).payment!;
}

test('a failure before the act leaves nothing, one after it leaves all; a repetition under the same id mends both', async () => {
  using fake = createFakeClient();
  for (const afterwards of [false, true]) {
    const before = fake.world.payments.length;
    fake.world.failNext('createPayment', { reason: 'STORE_UNAVAILABLE', metadata: { outcome: 'unknown' }, afterwards });
    const request = order();
    const error = await fake.payments.createPayment(request).catch((reason: unknown) => reason as PaystateError);
    expect(error).toMatchObject({ reason: 'STORE_UNAVAILABLE', isOutcomeUnknown: true });
    expect(fake.world.payments.length - before).toBe(afterwards ? 1 : 0);

    const { requestId } = error as PaystateError;
    expect((await fake.payments.createPayment({ ...request, requestId })).replayed).toBe(afterwards);
    expect(fake.world.payments.length - before).toBe(1);
  }
});

test('a refund that takes its time holds its amount until the platform decides', async () => {
  using fake = createFakeClient({ refunds: 'LATER' });
  const { paymentId } = await created(fake);
  fake.world.pays(paymentId);
  const refund = async (minorUnits: bigint) => await fake.payments.createRefund({ paymentId, amount: { ...amount, minorUnits }, reason: 'returned' });
  const { refund: first, payment } = await refund(8_000n);
  expect([RefundStatus[first!.status], statusName(payment!.status), payment!.refundableAmount!.minorUnits]).toEqual(['REFUND_STATUS_SUBMITTED', 'SUCCEEDED', 888n]);
  await expect(refund(889n)).rejects.toMatchObject({ reason: 'REFUND_EXCEEDS_REFUNDABLE', metadata: { refundable: '888' } });

  fake.world.settlesRefund(first!.refundId, 'FAILED');
  fake.world.settlesRefund((await refund(8_888n)).refund!.refundId, 'SUCCEEDED');
  expect(fake.world.payments.map(({ status, refundedAmount }) => [statusName(status), refundedAmount!.minorUnits])).toEqual([['REFUNDED', 8_888n]]);
});

test('what happens in the world is what waits and watches see', async () => {
  using fake = createFakeClient();
  const [paid, wrong, ended] = [await created(fake), await created(fake), await created(fake)];
  const seen: string[] = [];
  const watching = (async () => {
    for await (const item of fake.watch({ from: 'EARLIEST' }, { backoff: { firstMs: 1, maxMs: 1 } })) {
      if (item.kind === 'events') seen.push(...item.events.map(({ eventId, status }) => `${eventId} ${statusName(status)}`));
    }
  })();
  await until(() => seen.length === 3);

  const waiting = fake.waitFor(paid.paymentId);
  fake.world.cutWatches();
  fake.world.pays(paid.paymentId);
  fake.world.pays(wrong.paymentId, 1n);
  fake.world.ends(ended.paymentId);
  expect(statusName((await waiting).status)).toBe('SUCCEEDED');
  await until(() => seen.length === 6);
  expect(seen.slice(3)).toEqual([`${paid.paymentId}:2 SUCCEEDED`, `${wrong.paymentId}:2 REVIEW`, `${ended.paymentId}:2 CLOSED`]);
  expect(() => fake.world.pays(ended.paymentId)).toThrow('is CLOSED');
  fake.close();
  await watching;
});

test('a watch fails as the test wants, and an answer belongs to whoever got it', async () => {
  using fake = createFakeClient();
  const payment = await created(fake);
  payment.amount!.minorUnits = 1n;
  expect(fake.world.payments[0]!.amount).toEqual(amount);
  fake.world.failNext('watchPayments', { reason: 'CURSOR_EXPIRED' });
  await expect(fake.watch().next()).rejects.toMatchObject({ reason: 'CURSOR_EXPIRED' });
});

test('what the fake does not have it refuses', async () => {
  using fake = createFakeClient();
  await expect(fake.operations.explainPayment({})).rejects.toMatchObject({ reason: 'NOT_IMPLEMENTED' });
  await expect(fake.payments.getPaymentStats({})).rejects.toBeInstanceOf(PaystateError);
});
