import { randomUUID } from 'node:crypto';
import * as grpc from '@grpc/grpc-js';
import * as rpc from '../../src/gen/payment/v1/payment_service.js';
import * as ops from '../../src/gen/payment/v1/operations_service.js';
import { beijingDay } from '../../src/reconciliation/bill-day.js';
import { alipayAccount } from '../../src/simulator/accounts.js';
import { startAlipaySimulator, type AlipaySimulator } from '../../src/simulator/alipay/server.js';
import { accountsOf, seen, startTestApp, type TestApp } from '../support/app.js';
import { initiated, refundOf, registered, reported, yuan } from '../support/requests.js';

let platform: AlipaySimulator;
let service: TestApp;
beforeAll(async () => {
  platform = await startAlipaySimulator();
  service = await startTestApp({ config: { platforms: accountsOf({ alipay: [alipayAccount(platform)] }) } });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await platform.stop();
});

const long = (length: number): string => 'x'.repeat(length);
const seconds = (at: number) => ({ seconds: BigInt(Math.floor(at / 1_000)), nanos: 0 });
const manyKeys = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`k${index}`, 'v']));
const registeredKind = (value: object) => ({ $case: 'registered', value: { merchantOrderNo: 'n', platformOrderTime: '', platformTransactionId: '', ...value } });

test.each<[string, object, string[]]>([
  ['an empty request id', { requestId: '' }, ['request_id']],
  ['an oversized request id', { requestId: long(65) }, ['request_id']],
  ['a request id with a space', { requestId: 'a b' }, ['request_id']],
  ['a request id with a NUL', { requestId: 'a\u0000b' }, ['request_id']],
  ['an empty app id', { appId: '' }, ['app_id']],
  ['an empty order id', { orderId: '' }, ['order_id']],
  ['an oversized user id', { userId: long(65) }, ['user_id']],
  ['no platform', { platform: 0 }, ['platform']],
  ['an unknown platform', { platform: 99 }, ['platform']],
  ['a negative platform', { platform: -1 }, ['platform']],
  ['no amount', { amount: undefined }, ['amount']],
  ['an amount of zero', { amount: yuan(0n) }, ['amount.minor_units']],
  ['a negative amount', { amount: yuan(-1n) }, ['amount.minor_units']],
  ['an overflowing amount', { amount: yuan(2n ** 63n - 1n) }, ['amount.minor_units']],
  ['an unknown currency', { amount: { currencyCode: 'XXQ', minorUnits: 1n } }, ['amount.currency_code']],
  ['a currency in small letters', { amount: { currencyCode: 'cny', minorUnits: 1n } }, ['amount.currency_code']],
  ['an oversized subject', { subject: long(257) }, ['subject']],
  ['a NUL in the subject', { subject: 'tea\u0000pot' }, ['subject']],
  ['a lone surrogate in the subject', { subject: 'tea \ud83d' }, ['subject']],
  ['a bidi override in the subject', { subject: 'tea \u202e pot' }, ['subject']],
  ['10,000 metadata keys', { metadata: manyKeys }, ['metadata']],
  ['an oversized metadata value', { metadata: { k: long(257) } }, ['metadata.k']],
  ['an empty metadata key', { metadata: { '': 'v' } }, ['metadata.']],
  ['no kind', { kind: undefined }, ['kind']],
  ['a registered payment without its number', { kind: registeredKind({ merchantOrderNo: '' }) }, ['registered.merchant_order_no']],
  ['a number with a line break', { kind: registeredKind({ merchantOrderNo: 'a\nb' }) }, ['registered.merchant_order_no']],
  ['several at once', { requestId: '', appId: '', amount: yuan(-5n) }, ['request_id', 'app_id', 'amount.minor_units']],
])('CreatePayment names what is wrong with %s', async (_what, changes, fields) => {
  await expect(service.payments.createPayment(registered(changes))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    reason: 'FIELD_INVALID',
    fields,
  });
});

test.each<[string, object, string[]]>([
  ['an expiry in the past', { expireTime: seconds(Date.now() - 1_000) }, ['expire_time']],
  ['an expiry in half a minute', { expireTime: seconds(Date.now() + 30_000) }, ['expire_time']],
  ['an expiry in sixteen days', { expireTime: seconds(Date.now() + 16 * 86_400_000) }, ['expire_time']],
  ['an expiry beyond all calendars', { expireTime: { seconds: 2n ** 62n, nanos: 0 } }, ['expire_time']],
  ['an expiry with negative nanos', { expireTime: { seconds: 2_000_000_000n, nanos: -1 } }, ['expire_time']],
  ['a currency that the platform does not take', { amount: { currencyCode: 'USD', minorUnits: 1n } }, ['amount.currency_code']],
  ['a checkout that needs the buyer', { kind: { $case: 'initiated', value: { checkoutKind: 5, returnUrl: '', buyerId: '', buyerIp: '' } } }, ['initiated.buyer_id']],
  ['a buyer at no address', { kind: { $case: 'initiated', value: { checkoutKind: 1, returnUrl: '', buyerId: '', buyerIp: '300.1.1.1' } } }, ['initiated.buyer_ip']],
  ['no subject', { subject: '' }, ['subject']],
  ['no checkout kind', { kind: { $case: 'initiated', value: { checkoutKind: 0, returnUrl: '', buyerId: '', buyerIp: '' } } }, ['initiated.checkout_kind']],
  ['a return address of another scheme', { kind: { $case: 'initiated', value: { checkoutKind: 2, returnUrl: 'javascript:alert(1)', buyerId: '', buyerIp: '' } } }, ['initiated.return_url']],
])('an initiated payment with %s is refused', async (_what, changes, fields) => {
  await expect(service.payments.createPayment(initiated(changes))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    fields,
  });
});

test('a registered payment may be past its expiry', async () => {
  const request = registered({ expireTime: seconds(Date.now() - 86_400_000) });
  await expect(service.payments.createPayment(request)).resolves.toMatchObject({ replayed: false });
});

const ID = randomUUID();
const ref = (value: object) => ({ ref: value, view: 0 });
const cases: [string, keyof typeof service.payments, object, string[]][] = [
  ['GetPayment without a reference', 'getPayment', rpc.GetPaymentRequest.fromPartial({}), ['ref']],
  ['GetPayment with an empty reference', 'getPayment', ref({ ref: undefined }), ['ref']],
  ['GetPayment with an id that is none', 'getPayment', ref({ ref: { $case: 'paymentId', value: "1' or '1'='1" } }), ['ref.payment_id']],
  ['GetPayment with an unknown view', 'getPayment', { ...ref({ ref: { $case: 'paymentId', value: ID } }), view: 9 }, ['view']],
  ['ListPayments with a negative page size', 'listPayments', rpc.ListPaymentsRequest.fromPartial({ pageSize: -1 }), ['page_size']],
  ['ListPayments with an invented page token', 'listPayments', rpc.ListPaymentsRequest.fromPartial({ pageToken: 'AAAA' }), ['page_token']],
  ['ListPayments with an oversized page token', 'listPayments', rpc.ListPaymentsRequest.fromPartial({ pageToken: long(513) }), ['page_token']],
  ['ListPayments with an unknown status', 'listPayments', rpc.ListPaymentsRequest.fromPartial({ filter: { statuses: [77 as never] } }), ['filter.statuses.0']],
  ['VerifyPayments of nothing', 'verifyPayments', rpc.VerifyPaymentsRequest.fromPartial({}), ['refs']],
  ['VerifyPayments of 501', 'verifyPayments', rpc.VerifyPaymentsRequest.fromPartial({ refs: Array.from({ length: 501 }, () => ({ ref: { $case: 'paymentId', value: ID } })) }), ['refs']],
  ['SyncPayments without a target', 'syncPayments', rpc.SyncPaymentsRequest.fromPartial({}), ['target']],
  ['UpdatePaymentStatus to no status', 'updatePaymentStatus', reported(ID, { status: 0 }), ['status']],
  ['UpdatePaymentStatus to an unknown status', 'updatePaymentStatus', reported(ID, { status: 42 }), ['status']],
  ['UpdatePaymentStatus to SUCCEEDED without money', 'updatePaymentStatus', reported(ID, { amount: undefined, platformTransactionId: '' }), ['amount', 'platform_transaction_id']],
  ['UpdatePaymentStatus from the future', 'updatePaymentStatus', reported(ID, { occurredTime: seconds(Date.now() + 3_600_000) }), ['occurred_time']],
  ['UpdatePaymentStatus without a reason', 'updatePaymentStatus', reported(ID, { reason: '' }), ['reason']],
  ['UpdatePaymentStatus with version 0', 'updatePaymentStatus', reported(ID, { expectedVersion: 0 }), ['expected_version']],
  ['ClosePayment without a reason', 'closePayment', rpc.ClosePaymentRequest.fromPartial({ requestId: 'r', paymentId: ID }), ['reason']],
  ['CreateRefund of a negative amount', 'createRefund', refundOf(ID, -1n), ['amount.minor_units']],
  ['CreateRefund with an oversized reason', 'createRefund', refundOf(ID, 1n, { reason: long(257) }), ['reason']],
  ['GetRefund with an id that is none', 'getRefund', { refundId: '' }, ['refund_id']],
  ['ListRefunds with an unknown status', 'listRefunds', rpc.ListRefundsRequest.fromPartial({ statuses: [50 as never] }), ['statuses.0']],
  ['CancelRefund without an id', 'cancelRefund', rpc.CancelRefundRequest.fromPartial({ requestId: 'r', reason: 'x' }), ['refund_id']],
  ['ListPaymentLogs with an unknown order', 'listPaymentLogs', rpc.ListPaymentLogsRequest.fromPartial({ paymentId: ID, order: 5 as never }), ['order']],
  ['GetPaymentStats without a start', 'getPaymentStats', rpc.GetPaymentStatsRequest.fromPartial({}), ['start_time']],
  ['GetPaymentStats of two years', 'getPaymentStats', rpc.GetPaymentStatsRequest.fromPartial({ startTime: seconds(0), endTime: seconds(86_400_000 * 730) }), ['end_time']],
  ['WaitForPayment for an hour', 'waitForPayment', rpc.WaitForPaymentRequest.fromPartial({ paymentId: ID, timeout: { seconds: 3_600n } }), ['timeout']],
];
test.each(cases)('%s is refused by name', async (_what, method, request, fields) => {
  await expect(service.payments[method](request as never)).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    reason: 'FIELD_INVALID',
    fields,
  });
});

const operatorCases: [string, keyof typeof service.operations, object, string[]][] = [
  ['ExplainPayment without a reference', 'explainPayment', {}, ['ref']],
  ['DescribeStatusMachine of an id that is none', 'describeStatusMachine', { paymentId: 'x' }, ['payment_id']],
  ['VerifyPaymentLog of nothing', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({}), ['payment_id']],
  ['VerifyPaymentLog of an id that is none', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ paymentId: 'x' }), ['payment_id']],
  ['VerifyPaymentLog of a payment and a range', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ paymentId: ID, startTime: seconds(0), endTime: seconds(1_000), pageSize: 1 }), ['start_time', 'end_time', 'page_size']],
  ['VerifyPaymentLog of a payment by pages', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ paymentId: ID, pageToken: 'AAAA' }), ['page_token']],
  ['VerifyPaymentLog without an end', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: seconds(0) }), ['end_time']],
  ['VerifyPaymentLog without a start', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ endTime: seconds(0) }), ['start_time']],
  ['VerifyPaymentLog of a page of no range', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ pageSize: 10 }), ['start_time', 'end_time']],
  ['VerifyPaymentLog of an empty range', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: seconds(1_000), endTime: seconds(1_000) }), ['end_time']],
  ['VerifyPaymentLog of a range that runs backwards', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: seconds(2_000), endTime: seconds(1_000) }), ['end_time']],
  ['VerifyPaymentLog of 32 days', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: seconds(0), endTime: seconds(86_400_000 * 32) }), ['end_time']],
  ['VerifyPaymentLog of a range beyond all calendars', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: { seconds: 2n ** 62n, nanos: 0 }, endTime: seconds(0) }), ['start_time']],
  ['VerifyPaymentLog of a negative page', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: seconds(0), endTime: seconds(1_000), pageSize: -1 }), ['page_size']],
  ['VerifyPaymentLog of a million at once', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: seconds(0), endTime: seconds(1_000), pageSize: 1_000_000 }), ['page_size']],
  ['VerifyPaymentLog with an invented page token', 'verifyPaymentLog', ops.VerifyPaymentLogRequest.fromPartial({ startTime: seconds(0), endTime: seconds(1_000), pageToken: 'AAAA' }), ['page_token']],
  ['ListNotifications with an unknown status', 'listNotifications', ops.ListNotificationsRequest.fromPartial({ status: 9 as never }), ['status']],
  ['ListNotifications with an unknown platform', 'listNotifications', ops.ListNotificationsRequest.fromPartial({ platform: 9 as never }), ['platform']],
  ['ListNotifications with an invented page token', 'listNotifications', ops.ListNotificationsRequest.fromPartial({ pageToken: 'AAAA' }), ['page_token']],
  ['RunReconciliation of nothing', 'runReconciliation', ops.RunReconciliationRequest.fromPartial({}), ['request_id', 'platform', 'day']],
  ['RunReconciliation of an unknown platform', 'runReconciliation', ops.RunReconciliationRequest.fromPartial({ requestId: 'r', platform: 99 as never, day: '2026-01-01' }), ['platform']],
  ['RunReconciliation with an oversized account', 'runReconciliation', ops.RunReconciliationRequest.fromPartial({ requestId: 'r', platform: 1, merchantAccount: long(65), day: '2026-01-01' }), ['merchant_account']],
  ...['2026-02-30', '2026-13-01', '2026-1-1', '20260101', '2026-01-01T00:00:00Z', "2026-01-01'; --", '2999-01-01', beijingDay(new Date())].map(
    (day): [string, keyof typeof service.operations, object, string[]] => [`RunReconciliation of ${day}`, 'runReconciliation', ops.RunReconciliationRequest.fromPartial({ requestId: 'r', platform: 1, day }), ['day']],
  ),
  ['GetReconciliation of an id that is none', 'getReconciliation', ops.GetReconciliationRequest.fromPartial({ reconciliationId: 'x' }), ['reconciliation_id']],
  ['GetReconciliation with a negative page size', 'getReconciliation', ops.GetReconciliationRequest.fromPartial({ reconciliationId: ID, pageSize: -1 }), ['page_size']],
  ['GetReconciliation with an invented page token', 'getReconciliation', ops.GetReconciliationRequest.fromPartial({ reconciliationId: ID, pageToken: 'AAAA' }), ['page_token']],
  ['ReplayNotification of an id that is none', 'replayNotification', { notificationId: '1' }, ['notification_id']],
];
test.each(operatorCases)('%s is refused by name', async (_what, method, request, fields) => {
  await expect(service.operations[method](request as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'FIELD_INVALID', fields });
});

test('a reconciliation of an account that is not configured, and one that nobody asked for, are told so', async () => {
  const request = ops.RunReconciliationRequest.fromPartial({ requestId: 'nowhere', platform: 1, day: '2026-01-01' });
  const refused = { code: 'FAILED_PRECONDITION', reason: 'PLATFORM_NOT_CONFIGURED' };
  await expect(service.operations.runReconciliation({ ...request, merchantAccount: 'nobody' })).rejects.toMatchObject(refused);
  await expect(service.operations.runReconciliation({ ...request, platform: 3 })).rejects.toMatchObject(refused);
  await expect(service.operations.getReconciliation(ops.GetReconciliationRequest.fromPartial({ reconciliationId: ID }))).rejects.toMatchObject({ code: 'NOT_FOUND', reason: 'RECONCILIATION_NOT_FOUND' });
});

test('ten kilobytes of metadata beside a request are refused by name', async () => {
  const metadata = new grpc.Metadata();
  metadata.set('x-note', long(9_000));
  const error = await new Promise<grpc.ServiceError | null>((resolve) => {
    service.client.listPayments(rpc.ListPaymentsRequest.fromPartial({}), metadata, (thrown) => resolve(thrown));
  });
  expect(seen(error!)).toMatchObject({ code: 'INVALID_ARGUMENT', fields: ['metadata'] });
});

test.each<[string, object, string]>([
  ['an invented cursor', { start: { $case: 'afterCursor', value: Buffer.from('nonsense') } }, 'after_cursor'],
  ['an oversized cursor', { start: { $case: 'afterCursor', value: Buffer.alloc(600) } }, 'after_cursor'],
  ['an unknown start', { start: { $case: 'startAt', value: 9 } }, 'start_at'],
  ['a bookmark each millisecond', { bookmarkInterval: { seconds: 0n, nanos: 1_000_000 } }, 'bookmark_interval'],
  ['10,000 events in a message', { maxEventsPerMessage: 10_000 }, 'max_events_per_message'],
  ['a stop without payments', { stopWhenSettled: true }, 'stop_when_settled'],
  ['a payment id that is none', { filter: { paymentIds: ['x'] } }, 'filter.payment_ids.0'],
  ['an unknown platform', { filter: { platforms: [9] } }, 'filter.platforms.0'],
])('a watch with %s ends with the name of the field', async (_what, request, field) => {
  const stream = service.client.watchPayments(rpc.WatchPaymentsRequest.fromPartial(request));
  const error = await new Promise<grpc.ServiceError>((resolve, reject) => {
    stream.on('error', (thrown) => resolve(thrown as grpc.ServiceError));
    stream.on('data', () => reject(new Error('the watch began')));
    stream.on('end', () => undefined);
  });
  expect(seen(error)).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'FIELD_INVALID', fields: [field] });
});

test.each<[string, Buffer]>([
  ['a truncated message', Buffer.from([0x0a, 0xff])],
  ['a field with a wrong wire type', Buffer.from([0x0f])],
  ['a string that is not UTF-8', Buffer.from([0x0a, 0x03, 0xed, 0xa0, 0x80])],
])('%s is INVALID_ARGUMENT and not INTERNAL', async (_what, bytes) => {
  const client = new grpc.Client(service.address, grpc.credentials.createInsecure());
  const error = await new Promise<grpc.ServiceError | null>((resolve) => {
    client.makeUnaryRequest('/payment.v1.PaymentService/CreatePayment', (raw: Buffer) => raw, (raw: Buffer) => raw, bytes, (thrown) => resolve(thrown));
  });
  client.close();
  expect(seen(error!)).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'FIELD_INVALID' });
});

test('a page token is good for its own filter only', async () => {
  for (let count = 0; count < 3; count += 1) await service.payments.createPayment(registered({ appId: 'paged' }));
  const page = (changes: object) =>
    service.payments.listPayments(rpc.ListPaymentsRequest.fromPartial({ filter: { appId: 'paged' }, pageSize: 2, ...changes }));
  const first = await page({});
  const second = await page({ pageToken: first.nextPageToken });
  expect([first.payments.length, second.payments.length, second.nextPageToken]).toEqual([2, 1, '']);
  expect(new Set([...first.payments, ...second.payments].map(({ paymentId }) => paymentId)).size).toBe(3);
  await expect(page({ pageToken: first.nextPageToken, filter: { appId: 'other' } })).rejects.toMatchObject({ fields: ['page_token'] });
});
