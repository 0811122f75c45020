/** Payments of the fake: made, found, reported, closed. Rules and words are those of the service; what it does not do, it refuses. */
import { CheckoutKind, Payment, PaymentOrigin, PaymentStatus, Platform } from '../../gen/payment/v1/payment.js';
import * as rpc from '../../gen/payment/v1/payment_service.js';
import { toTimestamp } from '../input.js';
import { isPaid, isSettled, statusName } from '../status.js';
import type { FakeBook } from './fake-book.js';
import { fieldInvalid, Refusal } from './refusal.js';

const EXPIRY_MS = 2 * 3600_000;
const PAGE = 50;
const PAGE_MAX = 500;
const OPEN: readonly PaymentStatus[] = [PaymentStatus.PAYMENT_STATUS_PENDING, PaymentStatus.PAYMENT_STATUS_PROCESSING, PaymentStatus.PAYMENT_STATUS_UNKNOWN];
const REPORTABLE = ['PENDING', 'PROCESSING', 'SUCCEEDED', 'FAILED', 'CLOSED', 'CANCELED', 'UNKNOWN'];

export const isOpen = (status: PaymentStatus): boolean => OPEN.includes(status);

export function createPayment(book: FakeBook, request: rpc.CreatePaymentRequest): rpc.CreatePaymentResponse {
  requireCreatable(request);
  const earlier = book.earlier('CreatePayment', request.appId, request);
  if (earlier !== undefined) return { payment: book.payment(earlier.paymentId), replayed: true };

  const created = newPayment(book, request);
  const taken = [...book.payments.values()].find((other) => orderText(other) === orderText(created));
  if (taken !== undefined) {
    const metadata = { payment_id: taken.paymentId, merchant_order_no: taken.merchantOrderNo, platform: platformName(taken) };
    throw new Refusal('ORDER_EXISTS', `order ${taken.merchantOrderNo} of ${platformName(taken)} is payment ${taken.paymentId} already`, { metadata });
  }
  const payment = book.put(created);
  book.remember('CreatePayment', request.appId, request, { paymentId: payment.paymentId });
  return { payment, replayed: false };
}

function requireCreatable({ appId, orderId, platform, amount, subject, kind }: rpc.CreatePaymentRequest): void {
  if (appId === '') throw fieldInvalid('app_id', 'is required');
  if (orderId === '') throw fieldInvalid('order_id', 'is required');
  if (platform === Platform.PLATFORM_UNSPECIFIED) throw fieldInvalid('platform', 'is required');
  if (amount === undefined) throw fieldInvalid('amount', 'is required');
  if (amount.minorUnits < 1n) throw fieldInvalid('amount.minor_units', 'must be positive');
  if (kind === undefined) throw fieldInvalid('kind', 'initiated or registered is required');
  if (kind.$case === 'initiated' && subject === '') throw fieldInvalid('subject', 'is required for initiated payments');
}

function newPayment(book: FakeBook, { amount, kind, metadata, ...given }: rpc.CreatePaymentRequest): Payment {
  const paymentId = book.newId();
  const none = { currencyCode: amount!.currencyCode, minorUnits: 0n };
  const registered = kind?.$case === 'registered' ? kind.value : undefined;
  const initiated = kind?.$case === 'initiated' ? kind.value : undefined;
  const expireTime = given.expireTime ?? (initiated === undefined ? undefined : toTimestamp(new Date(book.now().getTime() + EXPIRY_MS)));
  return {
    ...Payment.fromPartial({}),
    paymentId,
    appId: given.appId,
    orderId: given.orderId,
    userId: given.userId,
    platform: given.platform,
    subject: given.subject,
    metadata,
    merchantAccount: given.merchantAccount === '' ? 'default' : given.merchantAccount,
    merchantOrderNo: registered?.merchantOrderNo ?? paymentId.replaceAll('-', ''),
    platformOrderTime: registered?.platformOrderTime ?? '',
    platformTransactionId: registered?.platformTransactionId ?? '',
    origin: registered === undefined ? PaymentOrigin.PAYMENT_ORIGIN_INITIATED : PaymentOrigin.PAYMENT_ORIGIN_REGISTERED,
    amount,
    paidAmount: none,
    refundedAmount: none,
    reservedAmount: none,
    refundableAmount: none,
    status: PaymentStatus.PAYMENT_STATUS_PENDING,
    checkout: initiated === undefined ? undefined : { form: checkoutOf(initiated.checkoutKind, paymentId) },
    createTime: toTimestamp(book.now()),
    expireTime,
  };
}

function checkoutOf(kind: CheckoutKind, paymentId: string): NonNullable<Payment['checkout']>['form'] {
  const address = `https://pay.invalid/${paymentId}`;
  switch (kind) {
    case CheckoutKind.CHECKOUT_KIND_QR_CODE:
      return { $case: 'qrText', value: address };
    case CheckoutKind.CHECKOUT_KIND_PAGE:
      return { $case: 'formHtml', value: `<form action="${address}"></form>` };
    case CheckoutKind.CHECKOUT_KIND_WAP:
      return { $case: 'redirectUrl', value: address };
    case CheckoutKind.CHECKOUT_KIND_APP:
    case CheckoutKind.CHECKOUT_KIND_JSAPI:
      return { $case: 'appParameters', value: address };
    default:
      throw fieldInvalid('initiated.checkout_kind', 'is required');
  }
}

const orderText = (payment: Payment): string => `${payment.platform} ${payment.merchantAccount} ${payment.merchantOrderNo} ${payment.platformOrderTime}`;
const platformName = ({ platform }: Payment): string => Platform[platform].replace('PLATFORM_', '');

export function getPayment(book: FakeBook, { ref, view }: rpc.GetPaymentRequest): rpc.GetPaymentResponse {
  const payment = find(book, ref?.ref);
  const refunds = view === rpc.PaymentView.PAYMENT_VIEW_FULL ? book.refundsOf(payment.paymentId) : [];
  return { payment, refunds, recentLog: [] };
}

function find(book: FakeBook, ref: NonNullable<rpc.GetPaymentRequest['ref']>['ref']): Payment {
  if (ref === undefined) throw fieldInvalid('ref', 'payment_id or platform_order is required');
  if (ref.$case === 'paymentId') return book.payment(ref.value);
  const { platform, merchantOrderNo } = ref.value;
  const found = [...book.payments.values()].find((payment) => payment.platform === platform && payment.merchantOrderNo === merchantOrderNo);
  return found ?? book.payment(merchantOrderNo);
}

export function listPayments(book: FakeBook, { filter, pageSize, pageToken }: rpc.ListPaymentsRequest): rpc.ListPaymentsResponse {
  const matches = (payment: Payment): boolean =>
    filter === undefined ||
    ((filter.appId === '' || filter.appId === payment.appId) &&
      (filter.orderId === '' || filter.orderId === payment.orderId) &&
      (filter.userId === '' || filter.userId === payment.userId) &&
      (filter.platform === Platform.PLATFORM_UNSPECIFIED || filter.platform === payment.platform) &&
      (filter.statuses.length === 0 || filter.statuses.includes(payment.status)));
  const { page, nextPageToken } = pageOf([...book.payments.values()].filter(matches), 'paymentId', { pageSize, pageToken });
  return { payments: page, nextPageToken };
}

/** Newest first; the token is the last id of the page before. */
export function pageOf<Key extends string, Row extends Record<Key, string>>(
  rows: readonly Row[],
  key: Key,
  { pageSize, pageToken }: { pageSize: number; pageToken: string },
): { page: Row[]; nextPageToken: string } {
  const size = pageSize === 0 ? PAGE : Math.min(pageSize, PAGE_MAX);
  const rest = rows.filter((row) => pageToken === '' || row[key] < pageToken).sort((a, b) => (a[key] < b[key] ? 1 : -1));
  const page = rest.slice(0, size);
  return { page, nextPageToken: rest.length > size ? page.at(-1)![key] : '' };
}

/** Every reporter is trusted; only registered payments take reports as facts. */
export function updatePaymentStatus(book: FakeBook, request: rpc.UpdatePaymentStatusRequest): rpc.UpdatePaymentStatusResponse {
  const payment = book.payment(request.paymentId);
  const earlier = book.earlier('UpdatePaymentStatus', payment.appId, request);
  if (earlier !== undefined) return { payment, outcome: earlier.outcome, explanation: '' };
  requireVersion(payment, request.expectedVersion);

  const done = (now: Payment, outcome: rpc.ReportOutcome): rpc.UpdatePaymentStatusResponse => {
    book.remember('UpdatePaymentStatus', payment.appId, request, { paymentId: payment.paymentId, outcome });
    return { payment: now, outcome, explanation: '' };
  };
  if (payment.origin !== PaymentOrigin.PAYMENT_ORIGIN_REGISTERED) return done(payment, rpc.ReportOutcome.REPORT_OUTCOME_CLAIM_RECORDED);
  if (payment.status === request.status) return done(payment, rpc.ReportOutcome.REPORT_OUTCOME_DUPLICATE);
  requireReportable(payment, request.status);
  const { status, amount, platformTransactionId } = request;
  const paid = isPaid(status) ? paidFields(amount ?? payment.amount!, platformTransactionId) : {};
  return done(book.put({ ...payment, ...paid, status }), rpc.ReportOutcome.REPORT_OUTCOME_APPLIED);
}

export const paidFields = (amount: { currencyCode: string; minorUnits: bigint }, platformTransactionId: string): Partial<Payment> => ({
  paidAmount: amount,
  refundableAmount: amount,
  platformTransactionId,
});

function requireReportable({ status }: Payment, wanted: PaymentStatus): void {
  const [from, to] = [statusName(status), statusName(wanted)];
  const allowed = isOpen(status) ? REPORTABLE.filter((name) => name !== from) : [];
  if (allowed.includes(to)) return;
  throw new Refusal('ILLEGAL_TRANSITION', `${to} cannot be reached from ${from}`, { metadata: { from, to, allowed: allowed.join(',') } });
}

/** The platform of the fake always can close what is not paid. */
export function closePayment(book: FakeBook, request: rpc.ClosePaymentRequest): rpc.ClosePaymentResponse {
  const payment = book.payment(request.paymentId);
  const { status } = payment;
  if (book.earlier('ClosePayment', payment.appId, request) !== undefined) return { payment, outcome: closeOutcome(status) };
  requireVersion(payment, request.expectedVersion);
  if (status === PaymentStatus.PAYMENT_STATUS_FAILED || status === PaymentStatus.PAYMENT_STATUS_REVIEW) {
    const metadata = { payment_id: payment.paymentId, status: statusName(status) };
    throw new Refusal('PAYMENT_NOT_CLOSABLE', `a payment that is ${statusName(status)} cannot be closed`, { metadata });
  }
  book.remember('ClosePayment', payment.appId, request, { paymentId: payment.paymentId });
  const now = isOpen(status) ? book.put({ ...payment, status: PaymentStatus.PAYMENT_STATUS_CLOSED }) : payment;
  return { payment: now, outcome: closeOutcome(now.status) };
}

const closeOutcome = (status: PaymentStatus): rpc.CloseOutcome =>
  isPaid(status) ? rpc.CloseOutcome.CLOSE_OUTCOME_PAID : isSettled(status) ? rpc.CloseOutcome.CLOSE_OUTCOME_CLOSED : rpc.CloseOutcome.CLOSE_OUTCOME_IN_DOUBT;

export function requireVersion({ paymentId, version }: Payment, expected: number | undefined): void {
  if (expected === undefined || expected === version) return;
  const metadata = { payment_id: paymentId, current: `${version}`, expected: `${expected}` };
  throw new Refusal('VERSION_MISMATCH', `payment ${paymentId} is at version ${version}, not ${expected}`, { metadata });
}
