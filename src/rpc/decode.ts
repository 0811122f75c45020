/** Requests of the contract as inputs of the domain. */
import { isIP } from 'node:net';
import { z } from 'zod';
import * as ops from '../gen/payment/v1/operations_service.js';
import * as rpc from '../gen/payment/v1/payment_service.js';
import type { NotificationFilter } from '../notification/list-notifications.js';
import type { NotificationStatus } from '../notification/notification.js';
import type { ClosePayment } from '../payment/close-payment.js';
import type { CreatePayment } from '../payment/create-payment.js';
import { fieldInvalid } from '../payment/errors.js';
import type { PaymentRef } from '../payment/get-payment.js';
import { bodyHash } from '../payment/idempotency.js';
import type { PaymentFilter } from '../payment/list-payments.js';
import type { Actor } from '../payment/payment-log.js';
import type { CreationRange } from '../payment/read-chains.js';
import type { ResolveReview } from '../payment/resolve-review.js';
import type { UpdatePaymentStatus } from '../payment/update-payment-status.js';
import { beijingDay, isDay } from '../reconciliation/bill-day.js';
import type { RunReconciliation } from '../reconciliation/run-reconciliation.js';
import type { CancelRefund } from '../refund/cancel-refund.js';
import type { CreateRefund } from '../refund/create-refund.js';
import type { RefundFilter } from '../refund/list-refunds.js';
import type { RecordExternalRefund } from '../refund/record-external-refund.js';
import type { ResolveRefund } from '../refund/resolve-refund.js';
import type { StatsQuery } from '../stats/get-payment-stats.js';
import * as field from './fields.js';
import { decode } from './fields.js';
import type { Call } from './serve.js';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const BATCH_MAX = 500;

const platformOrder = z.object({
  platform: field.platform,
  merchantAccount: field.orNull(field.id),
  merchantOrderNo: field.requiredId,
  platformOrderTime: field.id,
});
const ref = z
  .object({ paymentId: field.uuid.optional(), platformOrder: platformOrder.optional() }, 'is required')
  .transform((value, context): PaymentRef => {
    if (value.paymentId !== undefined) return { paymentId: value.paymentId };
    if (value.platformOrder !== undefined) return value.platformOrder;
    context.addIssue({ code: 'custom', message: 'payment_id or platform_order is required' });
    return z.NEVER;
  });
const refs = z.array(ref).min(1, 'at least one is required').max(BATCH_MAX, `at most ${BATCH_MAX}`);

const initiated = z
  .object({ checkoutKind: field.checkoutKind, returnUrl: field.text(256), buyerId: field.orNull(field.id), buyerIp: field.text(45) })
  .superRefine((value, context) => {
    if (value.returnUrl !== '' && !/^https?:\/\/[^\s]+$/.test(value.returnUrl)) {
      context.addIssue({ code: 'custom', path: ['returnUrl'], message: 'must be an http(s) address' });
    }
    if (value.buyerIp !== '' && isIP(value.buyerIp) === 0) {
      context.addIssue({ code: 'custom', path: ['buyerIp'], message: 'must be an IP address' });
    }
  });
const registered = z.object({
  merchantOrderNo: field.requiredId,
  platformOrderTime: field.id,
  platformTransactionId: field.orNull(field.id),
});
const createPayment = z
  .object({
    requestId: field.requiredId,
    appId: field.requiredId,
    orderId: field.requiredId,
    userId: field.id,
    platform: field.platform,
    merchantAccount: field.orNull(field.id),
    amount: field.money,
    subject: field.text(256),
    metadata: field.metadata,
    expireTime: field.optionalTime,
    initiated: initiated.optional(),
    registered: registered.optional(),
  })
  .superRefine((value, context) => {
    if (value.initiated === undefined && value.registered === undefined) {
      context.addIssue({ code: 'custom', path: ['kind'], message: 'initiated or registered is required' });
    }
    if (value.initiated !== undefined && value.subject === '') {
      context.addIssue({ code: 'custom', path: ['subject'], message: 'is required for initiated payments' });
    }
  });

export function decodeCreatePayment(request: rpc.CreatePaymentRequest, call: Call): CreatePayment {
  const { requestId, expireTime, initiated: initiate, registered: register, ...rest } = decode(createPayment, request);

  const kind =
    initiate !== undefined
      ? ({
          origin: 'INITIATED',
          checkout: initiate.checkoutKind,
          returnUrl: initiate.returnUrl === '' ? null : initiate.returnUrl,
          buyerId: initiate.buyerId,
          buyerIp: initiate.buyerIp === '' ? null : initiate.buyerIp,
        } as const)
      : ({ origin: 'REGISTERED', ...register! } as const);
  const body = { ...rest, expireAt: expireTime, kind };
  return { ...body, actor: call.actor, request: requestOf('CreatePayment', requestId, body) };
}

const getPayment = z.object({ ref, view: z.number().max(2, 'is not a known value').min(0) });
export function decodeGetPayment(request: rpc.GetPaymentRequest): { ref: PaymentRef; view: 'BASIC' | 'FULL' } {
  const decoded = decode(getPayment, request);
  return { ref: decoded.ref, view: decoded.view === (rpc.PaymentView.PAYMENT_VIEW_FULL as number) ? 'FULL' : 'BASIC' };
}

const filter = z.object({
  appId: field.orNull(field.id),
  orderId: field.orNull(field.id),
  userId: field.orNull(field.id),
  platform: field.optionalPlatform,
  statuses: z.array(field.paymentStatus).max(10, 'at most 10'),
  createdFrom: field.optionalTime,
  createdTo: field.optionalTime,
});
const NO_FILTER: PaymentFilter = {
  appId: null,
  orderId: null,
  userId: null,
  platform: null,
  statuses: [],
  createdFrom: null,
  createdTo: null,
};
const listPayments = z.object({ filter: filter.optional(), pageSize: field.pageSize, pageToken: field.pageToken });
export function decodeListPayments(request: rpc.ListPaymentsRequest) {
  const decoded = decode(listPayments, request);
  return { filter: decoded.filter ?? NO_FILTER, size: decoded.pageSize, token: decoded.pageToken };
}

export function decodeVerifyPayments(request: rpc.VerifyPaymentsRequest) {
  return decode(z.object({ refs, apply: z.boolean() }), request);
}

const syncPayments = z.object({ payments: z.object({ refs }).optional(), filter: filter.optional() });
export function decodeSyncPayments(request: rpc.SyncPaymentsRequest): { refs: readonly PaymentRef[] } | { filter: PaymentFilter } {
  const decoded = decode(syncPayments, request);
  if (decoded.payments !== undefined) return { refs: decoded.payments.refs };
  if (decoded.filter !== undefined) return { filter: decoded.filter };
  throw fieldInvalid({ field: 'target', description: 'payments or filter is required' });
}

const CLOCK_SKEW_MS = 5 * MINUTE;
const updatePaymentStatus = z
  .object({
    requestId: field.requiredId,
    paymentId: field.uuid,
    status: field.paymentStatus,
    reporter: field.requiredId,
    reason: field.requiredText(500),
    expectedVersion: field.expectedVersion,
    amount: field.optionalMoney,
    platformTransactionId: field.id,
    occurredTime: field.optionalTime,
  })
  .superRefine((value, context) => {
    if (value.status !== 'SUCCEEDED') return;
    if (value.amount === null) context.addIssue({ code: 'custom', path: ['amount'], message: 'is required for SUCCEEDED' });
    if (value.platformTransactionId === '') {
      context.addIssue({ code: 'custom', path: ['platformTransactionId'], message: 'is required for SUCCEEDED' });
    }
  });
export function decodeUpdatePaymentStatus(request: rpc.UpdatePaymentStatusRequest, call: Call, now: Date): UpdatePaymentStatus {
  const decoded = decode(updatePaymentStatus, request);
  const { requestId, paymentId, reporter, expectedVersion, occurredTime: at, platformTransactionId: transactionId } = decoded;
  if (at !== null && at.getTime() > now.getTime() + CLOCK_SKEW_MS) {
    throw fieldInvalid({ field: 'occurred_time', description: 'must not be more than 5 minutes ahead' });
  }
  const paid = decoded.amount === null ? null : { amount: decoded.amount, transactionId };
  const body = { paymentId, reporter, expectedVersion, report: { status: decoded.status, reason: decoded.reason, at, paid } };
  return { ...body, actor: call.actor, request: requestOf('UpdatePaymentStatus', requestId, body) };
}

const closePayment = z.object({
  requestId: field.requiredId,
  paymentId: field.uuid,
  reason: field.requiredText(500),
  expectedVersion: field.expectedVersion,
});
export function decodeClosePayment(request: rpc.ClosePaymentRequest, call: Call): ClosePayment {
  const { requestId, ...body } = decode(closePayment, request);
  return { ...body, actor: call.actor, request: requestOf('ClosePayment', requestId, body) };
}

const createRefund = z.object({
  requestId: field.requiredId,
  paymentId: field.uuid,
  amount: field.money,
  reason: field.requiredText(256),
  expectedRefundable: field.expectedMoney,
});
export function decodeCreateRefund(request: rpc.CreateRefundRequest, call: Call): CreateRefund {
  const { requestId, ...body } = decode(createRefund, request);
  return { ...body, actor: call.actor, request: requestOf('CreateRefund', requestId, body) };
}

export const decodeGetRefund = (request: rpc.GetRefundRequest) => decode(z.object({ refundId: field.uuid }), request).refundId;

const listRefunds = z.object({
  paymentId: field.optionalUuid,
  appId: field.orNull(field.id),
  statuses: z.array(field.refundStatus).max(8, 'at most 8'),
  pageSize: field.pageSize,
  pageToken: field.pageToken,
});
export function decodeListRefunds(request: rpc.ListRefundsRequest): { filter: RefundFilter; size: number; token: string } {
  const { paymentId, appId, statuses, pageSize: size, pageToken: token } = decode(listRefunds, request);
  return { filter: { paymentId: paymentId === '' ? null : paymentId, appId, statuses }, size, token };
}

const cancelRefund = z.object({ requestId: field.requiredId, refundId: field.uuid, reason: field.requiredText(500) });
export function decodeCancelRefund(request: rpc.CancelRefundRequest, call: Call): CancelRefund {
  const { requestId, ...body } = decode(cancelRefund, request);
  return { ...body, actor: call.actor, request: requestOf('CancelRefund', requestId, body) };
}

const listPaymentLogs = z.object({
  paymentId: field.uuid,
  order: z.number().min(0).max(2, 'is not a known value'),
  pageSize: field.pageSize,
  pageToken: field.pageToken,
});
export function decodeListPaymentLogs(request: rpc.ListPaymentLogsRequest) {
  const { paymentId, order, pageSize: size, pageToken: token } = decode(listPaymentLogs, request);
  const newestFirst = order === (rpc.LogOrder.LOG_ORDER_NEWEST_FIRST as number);
  return { filter: { paymentId, order: newestFirst ? ('desc' as const) : ('asc' as const) }, size, token };
}

const DIMENSIONS = ['PLATFORM', 'STATUS', 'HOUR', 'DAY'] as const;
const getPaymentStats = z.object({
  startTime: z.unknown().refine((value) => value !== undefined, 'is required').pipe(field.time),
  endTime: field.optionalTime,
  appId: field.orNull(field.id),
  platforms: z.array(field.platform).max(3, 'at most 3'),
  groupBy: z.array(field.known(rpc.StatsDimension, 'STATS_DIMENSION_', DIMENSIONS)).max(4, 'at most 4'),
});
export function decodeGetPaymentStats(request: rpc.GetPaymentStatsRequest, now: Date): StatsQuery {
  const { startTime: from, endTime, appId, platforms, groupBy } = decode(getPaymentStats, request);
  const to = endTime ?? now;
  const [hour, day] = [groupBy.includes('HOUR'), groupBy.includes('DAY')];
  if (hour && day) throw fieldInvalid({ field: 'group_by', description: 'HOUR and DAY exclude each other' });
  const daysMax = hour ? 31 : 366;
  if (from >= to || to.getTime() - from.getTime() > daysMax * DAY) {
    throw fieldInvalid({ field: 'end_time', description: `must be after start_time by at most ${daysMax} days` });
  }
  const bucket = hour ? 'hour' : day ? 'day' : null;
  return { from, to, appId, platforms, groupBy: { platform: groupBy.includes('PLATFORM'), status: groupBy.includes('STATUS'), bucket } };
}

const waitForPayment = z.object({
  paymentId: field.uuid,
  statuses: z.array(field.paymentStatus).max(10, 'at most 10'),
  afterVersion: z
    .number()
    .int()
    .min(0, 'must not be negative')
    .optional()
    .transform((value) => value ?? null),
  timeout: field.duration({ minMs: 0, maxMs: 5 * MINUTE }),
});
export function decodeWaitForPayment(request: rpc.WaitForPaymentRequest) {
  const { timeout, ...rest } = decode(waitForPayment, request);
  return { ...rest, timeoutMs: timeout ?? 30_000 };
}

const AUDIT_PAGE_MAX = 100_000;
const AUDIT_DAYS_MAX = 31;
const verifyPaymentLog = z
  .object({
    paymentId: field.optionalUuid,
    startTime: field.optionalTime,
    endTime: field.optionalTime,
    pageSize: z.number().int().min(0, 'must not be negative').max(AUDIT_PAGE_MAX, `must be at most ${AUDIT_PAGE_MAX}`),
    pageToken: field.pageToken,
  })
  .superRefine(({ paymentId, startTime, endTime, pageSize, pageToken }, context) => {
    const issue = (name: string, message: string): void => context.addIssue({ code: 'custom', path: [name], message });
    const ofRange = Object.entries({ startTime: startTime !== null, endTime: endTime !== null, pageSize: pageSize > 0, pageToken: pageToken !== '' });
    const given = ofRange.filter(([, isGiven]) => isGiven).map(([name]) => name);
    if (paymentId !== '') return given.forEach((name) => issue(name, 'is of a range and excludes payment_id'));
    if (given.length === 0) return issue('paymentId', 'is required, or start_time and end_time');
    if (startTime === null) issue('startTime', 'is required with a range');
    if (endTime === null) issue('endTime', 'is required with a range');
    if (startTime === null || endTime === null) return;
    if (startTime < endTime && endTime.getTime() - startTime.getTime() <= AUDIT_DAYS_MAX * DAY) return;
    issue('endTime', `must be after start_time by at most ${AUDIT_DAYS_MAX} days`);
  });
export function decodeVerifyPaymentLog(request: ops.VerifyPaymentLogRequest): { paymentId: string } | { range: CreationRange; size: number; token: string } {
  const { paymentId, startTime, endTime, pageSize, pageToken: token } = decode(verifyPaymentLog, request);
  if (paymentId !== '') return { paymentId };
  return { range: { from: startTime!, to: endTime! }, size: pageSize === 0 ? AUDIT_PAGE_MAX : pageSize, token };
}

const explainPayment = z.object({ ref });
export const decodeExplainPayment = (request: ops.ExplainPaymentRequest): PaymentRef => decode(explainPayment, request).ref;

const NOTIFICATION_STATUSES = ['APPLIED', 'STORED', 'ORPHAN', 'QUARANTINED'] as const satisfies readonly NotificationStatus[];
const listNotifications = z.object({
  platform: field.optionalPlatform,
  status: field.optionally(field.known(ops.NotificationStatus, 'NOTIFICATION_STATUS_', NOTIFICATION_STATUSES)),
  merchantOrderNo: field.orNull(field.id),
  pageSize: field.pageSize,
  pageToken: field.pageToken,
});
export function decodeListNotifications(request: ops.ListNotificationsRequest): { filter: NotificationFilter; size: number; token: string } {
  const { pageSize: size, pageToken: token, ...filter } = decode(listNotifications, request);
  return { filter, size, token };
}

const DECISIONS = ['PAID', 'FAILED', 'CLOSED', 'CANCELED'] as const;
const resolveReview = z
  .object({
    requestId: field.requiredId,
    paymentId: field.uuid,
    decision: field.known(ops.ReviewDecision, 'REVIEW_DECISION_', DECISIONS),
    reason: field.requiredText(500),
    evidence: field.requiredText(500),
    expectedVersion: z.number().int().min(1, 'is required'),
    paidAmount: field.optionalMoney,
    platformTransactionId: field.id,
  })
  .superRefine((value, context) => {
    if ((value.paidAmount === null) === (value.platformTransactionId === '')) return;
    const path = [value.paidAmount === null ? 'paidAmount' : 'platformTransactionId'];
    context.addIssue({ code: 'custom', path, message: 'paid_amount and platform_transaction_id come together' });
  });
export function decodeResolveReview(request: ops.ResolveReviewRequest, call: Call): ResolveReview {
  const { requestId, evidence: proof, paidAmount: amount, platformTransactionId: transactionId, ...rest } = decode(resolveReview, request);
  const body = { ...rest, proof, paid: amount === null ? null : { amount, transactionId } };
  return { ...body, actor: operatorOf(call), request: requestOf('ResolveReview', requestId, body) };
}

const RESOLUTIONS = ['FAILED', 'SUCCEEDED', 'REVERSED'] as const;
const resolveRefund = z.object({
  requestId: field.requiredId,
  refundId: field.uuid,
  resolution: field.known(ops.RefundResolution, 'REFUND_RESOLUTION_', RESOLUTIONS),
  reason: field.requiredText(500),
  evidence: field.requiredText(500),
});
export function decodeResolveRefund(request: ops.ResolveRefundRequest, call: Call): ResolveRefund {
  const { requestId, evidence: proof, ...rest } = decode(resolveRefund, request);
  const body = { ...rest, proof };
  return { ...body, actor: operatorOf(call), request: requestOf('ResolveRefund', requestId, body) };
}

const recordExternalRefund = z.object({
  requestId: field.requiredId,
  paymentId: field.uuid,
  amount: field.money,
  platformRefundNo: field.orNull(field.id),
  reason: field.requiredText(256),
  evidence: field.requiredText(500),
});
export function decodeRecordExternalRefund(request: ops.RecordExternalRefundRequest, call: Call): RecordExternalRefund {
  const { requestId, evidence: proof, ...rest } = decode(recordExternalRefund, request);
  const body = { ...rest, proof };
  return { ...body, actor: operatorOf(call), request: requestOf('RecordExternalRefund', requestId, body) };
}

const runReconciliation = z.object({
  requestId: field.requiredId,
  platform: field.platform,
  merchantAccount: field.orNull(field.id),
  day: z.string('must be text').refine(isDay, 'must be a day of the calendar, as YYYY-MM-DD'),
  apply: z.boolean(),
});
export function decodeRunReconciliation(request: ops.RunReconciliationRequest, call: Call, now: Date): RunReconciliation {
  const { requestId, ...body } = decode(runReconciliation, request);
  const today = beijingDay(now);
  if (body.day >= today) throw fieldInvalid({ field: 'day', description: `must be over; in Beijing it is ${today}` });
  return { ...body, actor: operatorOf(call), request: requestOf('RunReconciliation', requestId, body) };
}

const getReconciliation = z.object({ reconciliationId: field.uuid, pageSize: field.pageSize, pageToken: field.pageToken });
export function decodeGetReconciliation(request: ops.GetReconciliationRequest): { filter: { reconciliationId: string }; size: number; token: string } {
  const { reconciliationId, pageSize: size, pageToken: token } = decode(getReconciliation, request);
  return { filter: { reconciliationId }, size, token };
}

const operatorOf = ({ actor }: Call): Actor => ({ type: 'OPERATOR', id: actor.id });

export const decodeReplayNotification = (request: ops.ReplayNotificationRequest): string =>
  decode(z.object({ notificationId: field.uuid }), request).notificationId;

export const decodeDescribeStatusMachine = (request: ops.DescribeStatusMachineRequest) => {
  const { paymentId } = decode(z.object({ paymentId: field.optionalUuid }), request);
  return paymentId === '' ? null : paymentId;
};

function requestOf(method: string, requestId: string, body: object) {
  return { method, requestId, bodyHash: bodyHash(body) };
}
