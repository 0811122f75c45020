import { PaymentStatus } from '../../src/gen/payment/v1/payment.js';
import * as rpc from '../../src/gen/payment/v1/payment_service.js';
import { joinEvidence } from '../../src/payment/join-evidence.js';
import { PAYMENT_STATUSES, type PaymentStatus as Status } from '../../src/payment/payment-status.js';
import { startTestApp, type TestApp } from '../support/app.js';
import { registered, reported } from '../support/requests.js';

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

const code = (status: Status): PaymentStatus => PaymentStatus[`PAYMENT_STATUS_${status}` as keyof typeof PaymentStatus];
const create = async (): Promise<string> => {
  const { payment } = await service.payments.createPayment(registered());
  return payment!.paymentId;
};
const report = (paymentId: string, status: Status, changes: object = {}) =>
  service.payments.updatePaymentStatus(reported(paymentId, { status: code(status), ...changes }));

/** How a caller brings a registered payment into each status. */
const REACH: Record<Status, (paymentId: string) => Promise<unknown>> = {
  PENDING: () => Promise.resolve(),
  PROCESSING: (id) => report(id, 'PROCESSING'),
  UNKNOWN: (id) => report(id, 'UNKNOWN'),
  SUCCEEDED: (id) => report(id, 'SUCCEEDED'),
  // Without a configured adapter refunds stay reserved; the platform's answers have tests of their own.
  PARTIALLY_REFUNDED: (id) => report(id, 'SUCCEEDED').then(() => booked(id, 1n)),
  REFUNDED: (id) => report(id, 'SUCCEEDED').then(() => booked(id, 10_000n)),
  FAILED: (id) => report(id, 'FAILED'),
  CLOSED: (id) => report(id, 'CLOSED'),
  CANCELED: (id) => report(id, 'CANCELED'),
  REVIEW: (id) => report(id, 'CLOSED').then(() => contradicted(id)),
};

/** The reports that each status takes; every other one is illegal. Repeating the same is known already. */
const ALLOWED: Record<Status, readonly Status[]> = {
  PENDING: ['PROCESSING', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED', 'UNKNOWN'],
  PROCESSING: ['PENDING', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED', 'UNKNOWN'],
  UNKNOWN: ['PENDING', 'PROCESSING', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED'],
  SUCCEEDED: [],
  PARTIALLY_REFUNDED: [],
  REFUNDED: [],
  FAILED: [],
  CLOSED: [],
  CANCELED: [],
  REVIEW: ['PENDING', 'PROCESSING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED'],
};

const cells = PAYMENT_STATUSES.flatMap((from) => PAYMENT_STATUSES.filter((to) => to !== from).map((to) => ({ from, to, legal: ALLOWED[from].includes(to) })));

test.each(cells)('a report of $to on a payment that is $from: legal is $legal', async ({ from, to, legal }) => {
  const paymentId = await create();
  await REACH[from](paymentId);
  const before = await read(paymentId);
  expect(before.payment?.status).toBe(code(from));

  const outcome = report(paymentId, to);
  if (legal) {
    const { payment } = await outcome;
    // What is contradictory stays in review, whatever is reported on top of it.
    expect(payment?.status).toBe(from === 'REVIEW' ? PaymentStatus.PAYMENT_STATUS_REVIEW : code(to));
    return;
  }
  await expect(outcome).rejects.toMatchObject({
    code: 'FAILED_PRECONDITION',
    reason: 'ILLEGAL_TRANSITION',
    metadata: { from, to, allowed: ALLOWED[from].join(',') },
  });
  const after = await read(paymentId);
  expect(after.payment?.version).toBe(before.payment?.version);
  expect(after.recentLog[0]).toMatchObject({ errorCode: 'ILLEGAL_TRANSITION', version: undefined });
});

test('the same report again is known already', async () => {
  const paymentId = await create();
  await report(paymentId, 'SUCCEEDED');
  await expect(report(paymentId, 'SUCCEEDED')).resolves.toMatchObject({ outcome: rpc.ReportOutcome.REPORT_OUTCOME_DUPLICATE });
});

test('a report with the wrong amount goes to review with both values kept', async () => {
  const paymentId = await create();
  const { payment, outcome } = await report(paymentId, 'SUCCEEDED', { amount: { currencyCode: 'CNY', minorUnits: 9_999n } });
  expect(outcome).toBe(rpc.ReportOutcome.REPORT_OUTCOME_CONFLICT);
  expect(payment).toMatchObject({ status: code('REVIEW'), paidAmount: { minorUnits: 0n } });
  const log = await read(paymentId);
  expect(log.recentLog[0]?.evidence).toMatchObject({ amount: '9999 CNY' });
});

test('an expected version that has passed aborts and leaves its trace', async () => {
  const paymentId = await create();
  await report(paymentId, 'PROCESSING', { expectedVersion: 1 });
  await expect(report(paymentId, 'SUCCEEDED', { expectedVersion: 1 })).rejects.toMatchObject({
    code: 'ABORTED',
    reason: 'VERSION_MISMATCH',
    metadata: { current: '2', expected: '1' },
  });
  expect((await read(paymentId)).recentLog[0]).toMatchObject({ errorCode: 'VERSION_MISMATCH' });
});

test('a reporter that nobody trusts leaves a claim, and a query is due at once', async () => {
  await using strict = await startTestApp({ manualSync: true, config: { trustedReporters: ['shop:the-trusted-one'] } });
  const { payment } = await strict.payments.createPayment(registered());
  const claim = reported(payment!.paymentId);
  const answer = await strict.payments.updatePaymentStatus(claim);
  expect(answer).toMatchObject({ outcome: rpc.ReportOutcome.REPORT_OUTCOME_CLAIM_RECORDED, payment: { status: code('PENDING'), version: 1 } });
  expect(Number(answer.payment!.nextSyncTime!.seconds)).toBeLessThanOrEqual(Date.now() / 1_000);
  const trusted = { ...claim, requestId: 'by-the-trusted-one', reporter: 'the-trusted-one' };
  await expect(strict.payments.updatePaymentStatus(trusted)).resolves.toMatchObject({ outcome: rpc.ReportOutcome.REPORT_OUTCOME_APPLIED });
});

test('two paid payments of one order both stand and the second is flagged', async () => {
  const request = registered();
  const again = registered({ orderId: request.orderId });
  for (const one of [request, again]) {
    const { payment } = await service.payments.createPayment(one);
    await report(payment!.paymentId, 'SUCCEEDED');
  }
  const { payments } = await service.payments.listPayments(rpc.ListPaymentsRequest.fromPartial({ filter: { orderId: request.orderId } }));
  expect(payments.map(({ status, flags }) => [status, flags])).toEqual([
    [code('SUCCEEDED'), [1]],
    [code('SUCCEEDED'), []],
  ]);
});

function read(paymentId: string): Promise<rpc.GetPaymentResponse> {
  const request = rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } }, view: rpc.PaymentView.PAYMENT_VIEW_FULL });
  return service.payments.getPayment(request);
}

/** Money that the platform says was refunded, joined as evidence as a query would. */
async function booked(paymentId: string, refundedTotal: bigint): Promise<void> {
  await service.app.deps.work.run({
    payments: [paymentId],
    decide: (view) => {
      const payment = view.payment(paymentId);
      const paid = payment.facts.paid!;
      joinEvidence(
        view,
        payment,
        {
          source: 'QUERY',
          evidence: {
            class: 'PAID', at: paid.at, word: 'REFUND', amount: { currency: paid.currency, minorUnits: paid.amount },
            transactionId: paid.transactionId, merchantAccount: null, refundedTotal, refundable: true,
          },
        },
        view.act({ type: 'PLATFORM', id: 'test' }),
      );
    },
  });
}

/** Money that came after the order was closed. */
async function contradicted(paymentId: string): Promise<void> {
  await service.app.deps.work.run({
    payments: [paymentId],
    decide: (view) => {
      const payment = view.payment(paymentId);
      const evidence = {
        class: 'PAID', at: new Date(Date.now() + 1_000), word: 'SUCCESS', amount: payment.money, transactionId: `tx-${paymentId}`,
        merchantAccount: null, refundedTotal: null, refundable: true,
      } as const;
      joinEvidence(view, payment, { source: 'QUERY', evidence }, view.act({ type: 'PLATFORM', id: 'test' }));
    },
  });
}
