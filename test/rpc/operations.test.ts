/** What operators and policies decide, through the real server: late money, reviews, refunds that nobody will answer. */
import { randomUUID } from 'node:crypto';
import { WechatNotifications } from '../../bench/wechat-notifications.js';
import { RefundResolution, ResolveReviewRequest, ReviewDecision, type RecordExternalRefundRequest } from '../../src/gen/payment/v1/operations_service.js';
import { ActorType, PaymentStatus, RefundStatus, ReviewReason, type Payment } from '../../src/gen/payment/v1/payment.js';
import { GetPaymentRequest, ListPaymentLogsRequest, ListRefundsRequest } from '../../src/gen/payment/v1/payment_service.js';
import { Refund } from '../../src/refund/refund.js';
import { accountsOf, startTestApp, type TestApp } from '../support/app.js';
import { logOf, refundOf, registered, reported, yuan } from '../support/requests.js';

const wechat = new WechatNotifications();
let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({
    config: { platforms: accountsOf({ wechatpay: [wechat.account] }), lateSuccessPolicies: { accepting: 'ACCEPT', returning: 'REFUND' } },
    manualSync: true,
  });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

const S = PaymentStatus;
const R = RefundStatus;
let count = 0;
const seconds = (at: number) => ({ seconds: BigInt(Math.floor(at / 1_000)), nanos: 0 });
async function register(appId = 'shop'): Promise<Payment> {
  const merchantOrderNo = `O${String((count += 1)).padStart(9, '0')}`;
  const kind = { $case: 'registered', value: { merchantOrderNo, platformOrderTime: '', platformTransactionId: '' } };
  return (await service.payments.createPayment(registered({ appId, orderId: merchantOrderNo, merchantAccount: 'wechatpay', amount: yuan(8_888n), kind }))).payment!;
}
const read = async ({ paymentId }: Payment): Promise<Payment> =>
  (await service.payments.getPayment(GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } } }))).payment!;
const refundsOf = async ({ paymentId }: Payment) => (await service.payments.listRefunds(ListRefundsRequest.fromPartial({ paymentId }))).refunds;
async function tell({ merchantOrderNo }: Payment): Promise<void> {
  const { headers, body } = wechat.paid(merchantOrderNo);
  const { status } = await fetch(`http://127.0.0.1:${service.app.notificationPort}/notifications/wechatpay/wechatpay`, { method: 'POST', headers, body });
  expect(status).toBe(200);
}
async function paidAfterItWasClosed(appId?: string): Promise<Payment> {
  const payment = await register(appId);
  const closed = { status: S.PAYMENT_STATUS_CLOSED, amount: undefined, platformTransactionId: '', occurredTime: seconds(Date.now() - 60_000) };
  await service.payments.updatePaymentStatus(reported(payment.paymentId, closed));
  await tell(payment);
  return await read(payment);
}
const resolve = (payment: Payment, changes: Partial<ResolveReviewRequest> = {}) =>
  service.operations.resolveReview({
    ...ResolveReviewRequest.fromPartial({
      requestId: randomUUID(), paymentId: payment.paymentId, decision: ReviewDecision.REVIEW_DECISION_PAID, reason: 'the goods have gone out', evidence: 'ticket 42', expectedVersion: payment.version,
    }),
    ...changes,
  });

test('late money: held for a person, accepted, or given back, as the app wants it', async () => {
  expect(await paidAfterItWasClosed()).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW, reviewReason: ReviewReason.REVIEW_REASON_LATE_SUCCESS, paidAmount: yuan(8_888n) });

  const accepted = await paidAfterItWasClosed('accepting');
  expect(accepted).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, reviewReason: 0 });
  const { entries } = await service.payments.listPaymentLogs(ListPaymentLogsRequest.fromPartial({ paymentId: accepted.paymentId }));
  expect(entries.slice(-2)).toMatchObject([
    { previousStatus: S.PAYMENT_STATUS_CLOSED, status: S.PAYMENT_STATUS_REVIEW, actorType: ActorType.ACTOR_TYPE_PLATFORM },
    { previousStatus: S.PAYMENT_STATUS_REVIEW, status: S.PAYMENT_STATUS_SUCCEEDED, actorType: ActorType.ACTOR_TYPE_WORKER, evidence: { decision: 'PAID', decided_by: 'policy ACCEPT' } },
  ]);

  const returned = await paidAfterItWasClosed('returning');
  expect(returned).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW, reservedAmount: yuan(8_888n), nextSyncTime: expect.anything() });
  expect(await refundsOf(returned)).toMatchObject([{ status: R.REFUND_STATUS_CREATED, amount: yuan(8_888n) }]);
  await tell(returned);
  expect(await refundsOf(returned)).toHaveLength(1);
});

test('an operator decides what is known; repetitions of it never open the review again, news do', async () => {
  const payment = await paidAfterItWasClosed();
  const request = { requestId: randomUUID() };
  const { payment: decided } = await resolve(payment, request);
  expect(decided).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, version: payment.version + 1, refundableAmount: yuan(8_888n) });
  expect((await resolve(payment, request)).payment).toMatchObject({ version: decided!.version });
  await tell(payment);
  expect(await read(payment)).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, version: decided!.version });

  const { entries } = await service.payments.listPaymentLogs(ListPaymentLogsRequest.fromPartial({ paymentId: payment.paymentId }));
  expect(entries.find(({ version }) => version === decided!.version)).toMatchObject({ actorType: ActorType.ACTOR_TYPE_OPERATOR, reason: 'the goods have gone out', evidence: { proof: 'ticket 42' } });
  expect((await service.operations.explainPayment({ ref: { ref: { $case: 'paymentId', value: payment.paymentId } } })).rule).toContain('decided PAID');

  await service.payments.updatePaymentStatus(reported(payment.paymentId, { platformTransactionId: 'another', amount: yuan(8_888n) })).catch(() => undefined);
  expect(await service.operations.verifyPaymentLog(logOf(payment.paymentId))).toMatchObject({ valid: true });
});

test('a decision that does not fit is refused and says why', async () => {
  const payment = await paidAfterItWasClosed();
  await expect(resolve(payment, { expectedVersion: payment.version - 1 })).rejects.toMatchObject({ code: 'ABORTED', reason: 'VERSION_MISMATCH', metadata: { current: `${payment.version}` } });
  await expect(resolve(payment, { paidAmount: yuan(1n), platformTransactionId: 'x' })).rejects.toMatchObject({ fields: ['paid_amount'] });
  await expect(resolve(payment, { paidAmount: yuan(1n) })).rejects.toMatchObject({ fields: ['platform_transaction_id'] });
  await expect(resolve(payment, { evidence: '', reason: '', expectedVersion: 0, decision: 0 })).rejects.toMatchObject({ fields: ['decision', 'reason', 'evidence', 'expected_version'] });
  const open = await register();
  await expect(resolve(open)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'ILLEGAL_TRANSITION', metadata: { from: 'PENDING' } });
  expect((await resolve(payment, { decision: ReviewDecision.REVIEW_DECISION_CANCELED })).payment).toMatchObject({ status: S.PAYMENT_STATUS_CANCELED });
});

test('another amount than was ordered is decided with what was really paid, and refundable up to that', async () => {
  const payment = await register();
  const other = reported(payment.paymentId, { amount: yuan(8_000n) });
  await service.payments.updatePaymentStatus(other);
  const review = await read(payment);
  expect(review).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW, reviewReason: ReviewReason.REVIEW_REASON_AMOUNT_MISMATCH, paidAmount: yuan(0n) });
  await expect(resolve(review)).rejects.toMatchObject({ fields: ['paid_amount'] });
  const { payment: decided } = await resolve(review, { paidAmount: yuan(8_000n), platformTransactionId: other.platformTransactionId });
  expect(decided).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, paidAmount: yuan(8_000n), refundableAmount: yuan(8_000n) });
});

async function paidWithRefund(status: keyof typeof R): Promise<{ payment: Payment; refundId: string }> {
  const payment = await register();
  await tell(payment);
  const { refund } = await service.payments.createRefund(refundOf(payment.paymentId, 3_000n));
  const em = service.app.deps.orm.em.fork();
  await em.nativeUpdate(Refund, { id: refund!.refundId }, { status: status.replace('REFUND_STATUS_', '') as never, attempts: 1, sendingUntil: null });
  return { payment, refundId: refund!.refundId };
}
const end = (refundId: string, resolution: RefundResolution, requestId = randomUUID()) =>
  service.operations.resolveRefund({ requestId, refundId, resolution, reason: 'their support says so', evidence: 'mail of Monday' });

const X = RefundResolution;
test.each<[keyof typeof R, RefundResolution, keyof typeof R | null]>([
  ['REFUND_STATUS_CREATED', X.REFUND_RESOLUTION_FAILED, 'REFUND_STATUS_FAILED'],
  ['REFUND_STATUS_UNKNOWN', X.REFUND_RESOLUTION_FAILED, 'REFUND_STATUS_FAILED'],
  ['REFUND_STATUS_ABNORMAL', X.REFUND_RESOLUTION_FAILED, 'REFUND_STATUS_FAILED'],
  ['REFUND_STATUS_SUBMITTED', X.REFUND_RESOLUTION_FAILED, null],
  ['REFUND_STATUS_CREATED', X.REFUND_RESOLUTION_SUCCEEDED, null],
  ['REFUND_STATUS_SUBMITTED', X.REFUND_RESOLUTION_SUCCEEDED, null],
  ['REFUND_STATUS_UNKNOWN', X.REFUND_RESOLUTION_SUCCEEDED, 'REFUND_STATUS_SUCCEEDED'],
  ['REFUND_STATUS_ABNORMAL', X.REFUND_RESOLUTION_SUCCEEDED, 'REFUND_STATUS_SUCCEEDED'],
  ['REFUND_STATUS_UNKNOWN', X.REFUND_RESOLUTION_REVERSED, null],
])('an operator ends a refund that is %s as %i: %s', async (from, resolution, to) => {
  const { payment, refundId } = await paidWithRefund(from);
  if (to === null) {
    await expect(end(refundId, resolution)).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'ILLEGAL_TRANSITION' });
    expect(await read(payment)).toMatchObject({ reservedAmount: yuan(3_000n) });
    return;
  }
  const ended = await end(refundId, resolution);
  const succeeded = to === 'REFUND_STATUS_SUCCEEDED';
  expect(ended).toMatchObject({
    refund: { status: R[to] },
    payment: { status: succeeded ? S.PAYMENT_STATUS_PARTIALLY_REFUNDED : S.PAYMENT_STATUS_SUCCEEDED, reservedAmount: yuan(0n), refundedAmount: yuan(succeeded ? 3_000n : 0n) },
  });
});

test('money that came back after its refund is refundable again', async () => {
  const { payment, refundId } = await paidWithRefund('REFUND_STATUS_UNKNOWN');
  await end(refundId, X.REFUND_RESOLUTION_SUCCEEDED);
  const requestId = randomUUID();
  const reversed = await end(refundId, X.REFUND_RESOLUTION_REVERSED, requestId);
  expect(reversed).toMatchObject({ refund: { status: R.REFUND_STATUS_REVERSED }, payment: { status: S.PAYMENT_STATUS_SUCCEEDED, refundedAmount: yuan(0n), refundableAmount: yuan(8_888n) } });
  expect(await end(refundId, X.REFUND_RESOLUTION_REVERSED, requestId)).toEqual(reversed);
  await expect(end(refundId, X.REFUND_RESOLUTION_REVERSED)).rejects.toMatchObject({ reason: 'ILLEGAL_TRANSITION' });
  expect(await service.operations.verifyPaymentLog(logOf(payment.paymentId))).toMatchObject({ valid: true });
});

test('money refunded elsewhere is booked beside what is refunded and reserved, and never beyond what was paid', async () => {
  const { payment } = await paidWithRefund('REFUND_STATUS_UNKNOWN');
  const book = (changes: Partial<RecordExternalRefundRequest> = {}) =>
    service.operations.recordExternalRefund({ requestId: randomUUID(), paymentId: payment.paymentId, amount: yuan(5_888n), platformRefundNo: 'CONSOLE1', reason: 'refunded in the console', evidence: 'export', ...changes });
  await expect(book({ amount: yuan(5_889n) })).rejects.toMatchObject({ reason: 'REFUND_EXCEEDS_REFUNDABLE', metadata: { refundable: '5888' } });
  const requestId = randomUUID();
  const booked = await book({ requestId });
  expect(booked).toMatchObject({ refund: { external: true, status: R.REFUND_STATUS_SUCCEEDED, platformRefundNo: 'CONSOLE1' }, payment: { refundedAmount: yuan(5_888n), reservedAmount: yuan(3_000n), refundableAmount: yuan(0n) } });
  expect((await book({ requestId })).refund).toEqual(booked.refund);
  await expect(book()).rejects.toMatchObject({ fields: ['platform_refund_no'] });
  await expect(service.operations.recordExternalRefund({ requestId: randomUUID(), paymentId: (await register()).paymentId, amount: yuan(1n), platformRefundNo: '', reason: 'r', evidence: 'e' })).rejects.toMatchObject({ reason: 'PAYMENT_NOT_REFUNDABLE' });
});
