/** Refunds that no platform is asked about: what is reserved, canceled and refused, through the real server. */
import { PaymentStatus, RefundStatus } from '../../src/gen/payment/v1/payment.js';
import { GetPaymentRequest, ListRefundsRequest } from '../../src/gen/payment/v1/payment_service.js';
import { startTestApp, type TestApp } from '../support/app.js';
import { refundOf, registered, reported, yuan } from '../support/requests.js';

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

const S = PaymentStatus;
const R = RefundStatus;
async function paid(): Promise<string> {
  const { payment } = await service.payments.createPayment(registered());
  await service.payments.updatePaymentStatus(reported(payment!.paymentId));
  return payment!.paymentId;
}
const read = async (paymentId: string) => (await service.payments.getPayment(GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } } }))).payment!;
const cancel = (refundId: string, requestId = `cancel-${refundId}`) => service.payments.cancelRefund({ requestId, refundId, reason: 'the buyer keeps it' });

test('a refund that was never sent is canceled, releases what it held, and is canceled once however often that is asked', async () => {
  const paymentId = await paid();
  const { refund, payment } = await service.payments.createRefund(refundOf(paymentId, 4_000n));
  expect([refund, payment]).toMatchObject([{ status: R.REFUND_STATUS_CREATED, attempts: 0 }, { reservedAmount: yuan(4_000n), refundableAmount: yuan(6_000n) }]);

  const canceled = await cancel(refund!.refundId);
  expect(canceled).toMatchObject({ refund: { status: R.REFUND_STATUS_CANCELED }, payment: { status: S.PAYMENT_STATUS_SUCCEEDED, reservedAmount: yuan(0n), refundableAmount: yuan(10_000n) } });
  expect(await cancel(refund!.refundId)).toMatchObject({ refund: { status: R.REFUND_STATUS_CANCELED }, payment: { version: canceled.payment!.version } });
  await expect(cancel(refund!.refundId, 'another')).rejects.toMatchObject({ code: 'FAILED_PRECONDITION', reason: 'REFUND_NOT_CANCELABLE' });
  expect((await service.payments.listRefunds(ListRefundsRequest.fromPartial({ paymentId }))).refunds).toHaveLength(1);
});

test('a caller that expects another refundable amount is refused and told the true one', async () => {
  const paymentId = await paid();
  await service.payments.createRefund(refundOf(paymentId, 1_000n, { expectedRefundable: yuan(10_000n) }));
  await expect(service.payments.createRefund(refundOf(paymentId, 1_000n, { expectedRefundable: yuan(10_000n) }))).rejects.toMatchObject({
    code: 'ABORTED', reason: 'REFUNDABLE_MISMATCH', metadata: { refundable: '9000', currency: 'CNY' },
  });
  expect(await read(paymentId)).toMatchObject({ reservedAmount: yuan(1_000n) });
});

test('what open refunds hold is not refundable a second time, and all of it again once they are gone', async () => {
  const paymentId = await paid();
  const { refund } = await service.payments.createRefund(refundOf(paymentId, 10_000n));
  await expect(service.payments.createRefund(refundOf(paymentId, 1n))).rejects.toMatchObject({ reason: 'REFUND_EXCEEDS_REFUNDABLE', metadata: { refundable: '0' } });
  await cancel(refund!.refundId);
  await expect(service.payments.createRefund(refundOf(paymentId, 10_000n))).resolves.toMatchObject({ payment: { reservedAmount: yuan(10_000n) } });
});
