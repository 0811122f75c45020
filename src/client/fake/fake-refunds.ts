/** Refunds of the fake: the amount is reserved first and never exceeds what was paid. */
import { Refund, RefundStatus, type Payment } from '../../gen/payment/v1/payment.js';
import type * as rpc from '../../gen/payment/v1/payment_service.js';
import { toTimestamp } from '../input.js';
import { isPaid, statusName } from '../status.js';
import type { FakeBook } from './fake-book.js';
import { pageOf } from './fake-payments.js';
import { fieldInvalid, Refusal } from './refusal.js';

/** Whether a refund ends with the call, or stays SUBMITTED until the test settles it; platforms do either. */
export type RefundPace = 'AT_ONCE' | 'LATER';

export function createRefund(book: FakeBook, request: rpc.CreateRefundRequest, pace: RefundPace): rpc.CreateRefundResponse {
  const payment = book.payment(request.paymentId);
  const earlier = book.earlier('CreateRefund', payment.appId, request);
  if (earlier !== undefined) return { refund: book.refund(earlier.refundId), payment, replayed: true };
  requireRefundable(payment, request);

  const refundId = book.newId();
  const created: Refund = {
    ...Refund.fromPartial({}),
    refundId,
    paymentId: payment.paymentId,
    amount: request.amount,
    status: RefundStatus.REFUND_STATUS_CREATED,
    reason: request.reason,
    platformRefundNo: refundId.replaceAll('-', ''),
    createTime: toTimestamp(book.now()),
  };
  book.putRefund(created);
  book.remember('CreateRefund', payment.appId, request, { paymentId: payment.paymentId, refundId });
  const sent = { ...created, attempts: 1, status: RefundStatus.REFUND_STATUS_SUBMITTED };
  // The platform's accepting it changes the refund and nothing of the payment.
  book.refunds.set(refundId, sent);
  if (pace === 'AT_ONCE') settleRefund(book, sent, RefundStatus.REFUND_STATUS_SUCCEEDED);
  return { refund: book.refund(refundId), payment: book.payment(payment.paymentId), replayed: false };
}

export function settleRefund(book: FakeBook, refund: Refund, status: RefundStatus): Payment {
  const succeededTime = status === RefundStatus.REFUND_STATUS_SUCCEEDED ? toTimestamp(book.now()) : undefined;
  return book.putRefund({ ...refund, status, succeededTime });
}

function requireRefundable(payment: Payment, { amount, reason, expectedRefundable }: rpc.CreateRefundRequest): void {
  if (amount === undefined) throw fieldInvalid('amount', 'is required');
  if (amount.minorUnits < 1n) throw fieldInvalid('amount.minor_units', 'must be positive');
  if (reason === '') throw fieldInvalid('reason', 'is required');
  const { currencyCode, minorUnits: refundable } = payment.refundableAmount!;
  if (amount.currencyCode !== currencyCode) throw fieldInvalid('amount.currency_code', `the payment is in ${currencyCode}`);
  if (!isPaid(payment.status)) {
    const metadata = { payment_id: payment.paymentId, status: statusName(payment.status) };
    throw new Refusal('PAYMENT_NOT_REFUNDABLE', `payment cannot be refunded: it is ${metadata.status}`, { metadata });
  }

  const metadata = { payment_id: payment.paymentId, refundable: `${refundable}`, currency: currencyCode };
  if (expectedRefundable !== undefined && expectedRefundable.minorUnits !== refundable) {
    throw new Refusal('REFUNDABLE_MISMATCH', `refundable is ${refundable} minor units of ${currencyCode}, not what was expected`, { metadata });
  }
  if (amount.minorUnits > refundable) {
    throw new Refusal('REFUND_EXCEEDS_REFUNDABLE', `only ${refundable} minor units of ${currencyCode} can still be refunded`, { metadata });
  }
}

export function listRefunds(book: FakeBook, { paymentId, appId, statuses, pageSize, pageToken }: rpc.ListRefundsRequest): rpc.ListRefundsResponse {
  const matches = (refund: Refund): boolean =>
    (paymentId === '' || paymentId === refund.paymentId) &&
    (appId === '' || appId === book.payment(refund.paymentId).appId) &&
    (statuses.length === 0 || statuses.includes(refund.status));
  const { page, nextPageToken } = pageOf([...book.refunds.values()].filter(matches), 'refundId', { pageSize, pageToken });
  return { refunds: page, nextPageToken };
}

/** The fake sends every refund at once, so there is never one that can still be canceled. */
export function cancelRefund(book: FakeBook, { refundId }: rpc.CancelRefundRequest): rpc.CancelRefundResponse {
  const { status, attempts } = book.refund(refundId);
  const name = RefundStatus[status].replace('REFUND_STATUS_', '');
  const metadata = { refund_id: refundId, status: name, attempts: `${attempts}` };
  throw new Refusal('REFUND_NOT_CANCELABLE', `a refund that is ${name} cannot be canceled`, { metadata });
}
