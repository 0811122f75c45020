/** Two of everything at once: two server processes on one database and at one platform. */
import { randomUUID } from 'node:crypto';
import { PaymentStatus } from '../src/gen/payment/v1/payment.js';
import * as rpc from '../src/gen/payment/v1/payment_service.js';
import { Payment } from '../src/payment/payment.js';
import { isLegalTransition } from '../src/payment/payment-status.js';
import { PaymentLogEntry } from '../src/payment/payment-log.js';
import { Refund } from '../src/refund/refund.js';
import { alipayAccount } from '../src/simulator/accounts.js';
import { startAlipaySimulator, type AlipaySimulator } from '../src/simulator/alipay/server.js';
import { accountsOf, startTestApp, type SeenError, type TestApp } from './support/app.js';
import { freshDatabase, type FreshDatabase } from './support/database.js';
import { initiated, logOf, refundOf, registered, reported } from './support/requests.js';
import { startServiceProcess, type ServiceProcess } from './support/service-process.js';

let database: FreshDatabase;
let simulator: AlipaySimulator;
let near: TestApp;
let far: ServiceProcess;
beforeAll(async () => {
  database = await freshDatabase();
  simulator = await startAlipaySimulator({ refundSpacingMs: 0 });
  const platforms = { alipay: [alipayAccount(simulator)] };
  near = await startTestApp({ databaseUrl: database.url, config: { platforms: accountsOf(platforms) } });
  far = await startServiceProcess({
    DATABASE_URL: database.url,
    PAYSTATE_PLATFORMS: JSON.stringify(platforms),
    PAYSTATE_NOTIFICATION_BASE_URL: `http://127.0.0.1:${near.app.notificationPort}`,
  });
});
afterAll(async () => {
  await far.end('SIGTERM');
  await near[Symbol.asyncDispose]();
  await simulator.stop();
  await database[Symbol.asyncDispose]();
});

type Server = Pick<TestApp, 'payments' | 'operations'>;
const either = (index: number): Server => (index % 2 === 0 ? near : far);
const create = (server: Server, request: rpc.CreatePaymentRequest) =>
  server.payments.createPayment(request);
const refund = (server: Server, request: rpc.CreateRefundRequest) =>
  server.payments.createRefund(request);

test('100 payments × 20 refunds at once, four times what was paid: never more than was paid', async () => {
  const paid = await Promise.all(
    Array.from({ length: 100 }, async (_, index) => {
      const { payment } = await create(either(index), registered());
      await either(index).payments.updatePaymentStatus(reported(payment!.paymentId));
      return payment!.paymentId;
    }),
  );

  const outcomes = await Promise.allSettled(
    paid.flatMap((paymentId) => Array.from({ length: 20 }, (_, index) => refund(either(index), refundOf(paymentId, 2_000n)))),
  );
  const refusals = outcomes.filter(({ status }) => status === 'rejected').map((outcome) => (outcome as PromiseRejectedResult).reason as SeenError);
  expect(new Set(refusals.map(({ reason }) => reason))).toEqual(new Set(['REFUND_EXCEEDS_REFUNDABLE']));
  expect(outcomes.length - refusals.length).toBe(500);

  const em = near.app.deps.orm.em.fork();
  for (const payment of await em.find(Payment, { id: { $in: paid } })) {
    const rows = await em.find(Refund, { paymentId: payment.id });
    expect(rows.reduce((sum, row) => sum + row.amount, 0n)).toBe(10_000n);
    expect(payment).toMatchObject({ reservedAmount: 10_000n, refundedAmount: 0n, refundableAmount: 0n });
  }
  await expectLegalHistories(paid);
}, 60_000);

test('50 creations with one request id make one payment', async () => {
  const request = registered();
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => create(either(index), request)));
  expect(new Set(answers.map(({ payment }) => payment!.paymentId)).size).toBe(1);
  expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
});

test('a creation that is repeated while nobody knows the first one has an order at the platform: a refusal is not its end', async () => {
  simulator.control.faults.add({ operation: 'precreate', kind: 'hold' });
  simulator.control.faults.add({ operation: 'precreate', kind: 'error-response', ordinal: 2, code: '40004', subCode: 'ACQ.INVALID_PARAMETER' });
  const request = initiated();
  const first = create(far, request);
  await simulator.control.holding('precreate');

  const { payment } = await create(near, request);
  expect(payment).toMatchObject({ status: PaymentStatus.PAYMENT_STATUS_PENDING });
  simulator.control.release();
  expect((await first).payment).toMatchObject({ paymentId: payment!.paymentId, status: PaymentStatus.PAYMENT_STATUS_PENDING, checkout: expect.anything() });
});

test('50 creations of one platform order under different request ids make one payment and 49 refusals', async () => {
  const request = registered();
  const outcomes = await Promise.allSettled(Array.from({ length: 50 }, (_, index) => create(either(index), { ...request, requestId: randomUUID() })));
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ reason: 'ORDER_EXISTS', code: 'ALREADY_EXISTS' });
});

test('one request id with two bodies at once: one wins, the other is refused', async () => {
  const request = registered();
  const other = { ...request, subject: 'coffee' };
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, (_, index) => create(either(index), index % 3 === 0 ? other : request)));
  const [winner] = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.payment!.subject] : []));
  outcomes.forEach((outcome, index) => {
    const subject = index % 3 === 0 ? 'coffee' : 'tea';
    if (subject === winner) expect(outcome.status).toBe('fulfilled');
    else expect(outcome).toMatchObject({ status: 'rejected', reason: { reason: 'REQUEST_ID_REUSED' } });
  });
});

test('contradicting reports at once leave one legal history each', async () => {
  const statuses = [PaymentStatus.PAYMENT_STATUS_SUCCEEDED, PaymentStatus.PAYMENT_STATUS_CLOSED, PaymentStatus.PAYMENT_STATUS_PROCESSING, PaymentStatus.PAYMENT_STATUS_FAILED];
  const ids = await Promise.all(Array.from({ length: 25 }, async (_, index) => (await create(either(index), registered())).payment!.paymentId));
  await Promise.allSettled(
    ids.flatMap((id) => statuses.map((status, index) => either(index).payments.updatePaymentStatus(reported(id, { status })))),
  );
  await expectLegalHistories(ids);
});

test('notification, query and closing at once leave one legal history each, and the money is never lost', async () => {
  simulator.control.notificationPlan({ mode: 'duplicate' });
  const payments = await Promise.all(Array.from({ length: 20 }, async (_, index) => (await create(either(index), initiated())).payment!));
  await Promise.all(
    payments.map(async ({ paymentId, merchantOrderNo }) => {
      const refs = [{ ref: { $case: 'paymentId' as const, value: paymentId } }];
      const query = (server: Server) => server.payments.syncPayments({ target: { $case: 'payments', value: { refs } } });
      const close = (server: Server) =>
        server.payments.closePayment(rpc.ClosePaymentRequest.fromPartial({ requestId: randomUUID(), paymentId, reason: 'the buyer left' }));
      simulator.control.buyerPays(merchantOrderNo);
      await Promise.allSettled([query(near), query(far), close(near), close(far)]);
    }),
  );
  await simulator.control.idle();
  for (const { paymentId } of payments) {
    const { payment } = await far.payments.getPayment(rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } } }));
    expect(payment).toMatchObject({ status: PaymentStatus.PAYMENT_STATUS_SUCCEEDED, paidAmount: { minorUnits: 10_000n } });
  }
  await expectLegalHistories(payments.map(({ paymentId }) => paymentId));
});

test('20 refunds at once through two servers reach the platform once each, and never exceed what was paid', async () => {
  simulator.control.notificationPlan({ mode: 'normal' });
  const { payment } = await create(near, initiated());
  simulator.control.buyerPays(payment!.merchantOrderNo);
  await simulator.control.idle();
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, (_, index) => refund(either(index), refundOf(payment!.paymentId, 1_000n))));
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
  const rows = simulator.control.getTrade(payment!.merchantOrderNo).refunds;
  expect(rows.map(({ amount }) => amount)).toEqual(Array.from({ length: 10 }, () => 1_000n));
  expect(new Set(rows.map(({ requestNo }) => requestNo)).size).toBe(10);
});

/** Every versioned edge is in the table, versions are 1..n, and the hash chain verifies. */
async function expectLegalHistories(ids: readonly string[]): Promise<void> {
  const em = near.app.deps.orm.em.fork();
  for (const id of ids) {
    const payment = await em.findOneOrFail(Payment, { id });
    const versioned = await em.find(PaymentLogEntry, { paymentId: id, version: { $ne: null } }, { orderBy: { seq: 'asc' } });
    expect(versioned.map(({ version }) => version)).toEqual(versioned.map((_, index) => index + 1));
    expect(versioned.at(-1)).toMatchObject({ version: payment.version, status: payment.status });
    for (const { prevStatus, status } of versioned.slice(1)) {
      if (prevStatus !== status) expect(isLegalTransition(prevStatus!, status)).toBe(true);
    }
    const verified = await far.operations.verifyPaymentLog(logOf(id));
    expect(verified).toMatchObject({ valid: true, fault: '' });
  }
}
