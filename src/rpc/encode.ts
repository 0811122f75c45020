/** Values of the domain as messages of the contract. */
import type { Duration } from '../gen/google/protobuf/duration.js';
import type { Timestamp } from '../gen/google/protobuf/timestamp.js';
import * as ops from '../gen/payment/v1/operations_service.js';
import * as pb from '../gen/payment/v1/payment.js';
import * as rpc from '../gen/payment/v1/payment_service.js';
import type { Notification } from '../notification/notification.js';
import type { Explanation } from '../payment/explain-payment.js';
import type { PaymentRef } from '../payment/get-payment.js';
import type { Payment } from '../payment/payment.js';
import type { PaymentLogEntry } from '../payment/payment-log.js';
import { isOpen, type PaymentStatus } from '../payment/payment-status.js';
import type { Checkout, PlatformName } from '../payment/platform.js';
import type { LogCheck } from '../payment/verify-payment-log.js';
import type { SyncedItem, VerifiedItem } from '../payment/verify-payments.js';
import type { Reconciliation, ReconciliationFinding } from '../reconciliation/reconciliation.js';
import type { Refund } from '../refund/refund.js';
import type { RefundStatus } from '../refund/refund-status.js';

/** The number of an enum's value by the domain's name of it. A name that the contract lacks is a bug. */
export function codeOf(codes: Record<string, string | number>, prefix: string, name: string | null): number {
  if (name === null) return 0;
  const code = codes[prefix + name];
  if (typeof code !== 'number') throw new Error(`the contract has no ${prefix}${name}`);
  return code;
}

export const platformCode = (name: PlatformName): pb.Platform => codeOf(pb.Platform, 'PLATFORM_', name);
export const paymentStatusCode = (name: PaymentStatus | null): pb.PaymentStatus => codeOf(pb.PaymentStatus, 'PAYMENT_STATUS_', name);
export const refundStatusCode = (name: RefundStatus): pb.RefundStatus => codeOf(pb.RefundStatus, 'REFUND_STATUS_', name);

export function encodeTime(at: Date): Timestamp;
export function encodeTime(at: Date | null): Timestamp | undefined;
export function encodeTime(at: Date | null): Timestamp | undefined {
  if (at === null) return undefined;
  const ms = at.getTime();
  const seconds = Math.floor(ms / 1_000);
  return { seconds: BigInt(seconds), nanos: (ms - seconds * 1_000) * 1e6 };
}

export function encodeDuration(ms: number): Duration {
  const seconds = Math.floor(ms / 1_000);
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1_000) * 1e6) };
}

export function encodePayment(payment: Payment, nextSyncAt: Date | null = null): pb.Payment {
  const money = (minorUnits: bigint): pb.Money => ({ currencyCode: payment.currency, minorUnits });
  return {
    paymentId: payment.id,
    appId: payment.appId,
    orderId: payment.orderId,
    userId: payment.userId,
    platform: platformCode(payment.platform),
    merchantAccount: payment.merchantAccount,
    merchantOrderNo: payment.merchantOrderNo,
    platformOrderTime: payment.platformOrderTime,
    platformTransactionId: payment.platformTransactionId ?? '',
    origin: codeOf(pb.PaymentOrigin, 'PAYMENT_ORIGIN_', payment.origin),
    subject: payment.subject,
    metadata: payment.metadata,
    amount: money(payment.amount),
    paidAmount: money(payment.paidAmount),
    refundedAmount: money(payment.refundedAmount),
    reservedAmount: money(payment.reservedAmount),
    refundableAmount: money(payment.refundableAmount),
    status: paymentStatusCode(payment.status),
    reviewReason: codeOf(pb.ReviewReason, 'REVIEW_REASON_', payment.reviewReason),
    flags: payment.flags.map((flag) => codeOf(pb.PaymentFlag, 'PAYMENT_FLAG_', flag)),
    version: payment.version,
    checkout: encodeCheckout(payment.checkout),
    createTime: encodeTime(payment.createdAt),
    updateTime: encodeTime(payment.updatedAt),
    paidTime: encodeTime(payment.paidAt),
    expireTime: encodeTime(payment.expireAt),
    lastVerifiedTime: encodeTime(payment.lastVerifiedAt),
    lastEvidenceSource: codeOf(pb.EvidenceSource, 'EVIDENCE_SOURCE_', payment.lastEvidenceSource),
    nextSyncTime: encodeTime(nextSyncAt),
    platformStatus: payment.platformStatus ?? '',
    closeRequested: payment.closeRequestedAt !== null && isOpen(payment.status),
  };
}

const FORM_CASE = {
  QR_TEXT: 'qrText',
  FORM_HTML: 'formHtml',
  REDIRECT_URL: 'redirectUrl',
  APP_PARAMETERS: 'appParameters',
} as const satisfies Record<Checkout['form'], string>;

function encodeCheckout(checkout: Checkout | null): pb.Checkout | undefined {
  return checkout === null ? undefined : { form: { $case: FORM_CASE[checkout.form], value: checkout.value } };
}

export function encodeRefund(refund: Refund): pb.Refund {
  return {
    refundId: refund.id,
    paymentId: refund.paymentId,
    amount: { currencyCode: refund.currency, minorUnits: refund.amount },
    status: refundStatusCode(refund.status),
    reason: refund.reason,
    platformRefundNo: refund.platformRefundNo,
    platformRefundId: refund.platformRefundId ?? '',
    retry: codeOf(pb.RefundRetry, 'REFUND_RETRY_', refund.retry),
    external: refund.external,
    attempts: refund.attempts,
    failureCode: refund.failureCode ?? '',
    failureMessage: refund.failureMessage ?? '',
    createTime: encodeTime(refund.createdAt),
    updateTime: encodeTime(refund.updatedAt),
    succeededTime: encodeTime(refund.succeededAt),
  };
}

export function encodeLogEntry(entry: PaymentLogEntry): pb.PaymentLogEntry {
  return {
    paymentId: entry.paymentId,
    seq: entry.seq,
    version: entry.version ?? undefined,
    kind: codeOf(pb.LogKind, 'LOG_KIND_', entry.kind),
    actorType: codeOf(pb.ActorType, 'ACTOR_TYPE_', entry.actorType),
    actorId: entry.actorId,
    source: codeOf(pb.EvidenceSource, 'EVIDENCE_SOURCE_', entry.source),
    previousStatus: paymentStatusCode(entry.prevStatus),
    status: paymentStatusCode(entry.status),
    refundId: entry.refundId ?? '',
    reason: entry.reason,
    errorCode: entry.errorCode ?? '',
    errorMessage: entry.errorMessage ?? '',
    evidence: entry.evidence,
    occurredTime: encodeTime(entry.occurredAt),
    recordedTime: encodeTime(entry.recordedAt),
    prevHash: entry.prevHash ?? '',
    hash: entry.hash,
  };
}

export function encodeLogCheck({ payments, entries, faults }: LogCheck, nextPageToken: string): ops.VerifyPaymentLogResponse {
  const [first] = faults;
  return {
    valid: first === undefined,
    entries,
    faultSeq: first?.seq ?? 0,
    fault: first?.what ?? '',
    payments,
    faults: [...faults],
    nextPageToken,
  };
}

export function encodeNotification(notification: Omit<Notification, 'body' | 'headers'>): ops.Notification {
  return {
    notificationId: notification.id,
    platform: platformCode(notification.platform),
    merchantAccount: notification.merchantAccount,
    platformNotificationId: notification.notificationId ?? '',
    status: codeOf(ops.NotificationStatus, 'NOTIFICATION_STATUS_', notification.status),
    merchantOrderNo: notification.merchantOrderNo ?? '',
    paymentId: notification.paymentId ?? '',
    outcome: codeOf(rpc.ApplyOutcome, 'APPLY_OUTCOME_', notification.outcome),
    why: notification.why,
    deliveries: notification.deliveries,
    receiveTime: encodeTime(notification.receivedAt),
    applyTime: encodeTime(notification.appliedAt),
  };
}

export function encodeReconciliation(run: Reconciliation): ops.Reconciliation {
  return {
    reconciliationId: run.id,
    platform: platformCode(run.platform),
    merchantAccount: run.merchantAccount,
    day: run.day,
    status: codeOf(ops.ReconciliationStatus, 'RECONCILIATION_STATUS_', run.status),
    billRows: run.billRows,
    matched: run.matched,
    findingCount: run.findingCount,
    feeTotal: run.feeTotal,
    failure: run.failure,
    startTime: encodeTime(run.startedAt),
    endTime: encodeTime(run.endedAt),
    apply: run.apply,
  };
}

export function encodeFinding(finding: ReconciliationFinding): ops.ReconciliationFinding {
  return {
    kind: codeOf(ops.FindingKind, 'FINDING_KIND_', finding.kind),
    paymentId: finding.paymentId ?? '',
    refundId: finding.refundId ?? '',
    merchantOrderNo: finding.merchantOrderNo,
    recorded: finding.recorded,
    billed: finding.billed,
    outcome: codeOf(rpc.ApplyOutcome, 'APPLY_OUTCOME_', finding.outcome),
    platformTransactionId: finding.platformTransactionId,
    platformRefundNo: finding.platformRefundNo,
  };
}

export function encodeExplanation(explanation: Explanation): ops.ExplainPaymentResponse {
  const { payment, rule, facts, nextSyncAt, blockedBy, suggestedAct, unmappedWords } = explanation;
  return {
    payment: encodePayment(payment, nextSyncAt),
    rule,
    facts: facts.map(({ name, text, source, at }) => ({
      name,
      text,
      source: codeOf(pb.EvidenceSource, 'EVIDENCE_SOURCE_', source),
      occurredTime: encodeTime(at),
    })),
    evidence: explanation.evidence.map(({ source, rank, text, logSeq, occurredAt, recordedAt }) => ({
      source: codeOf(pb.EvidenceSource, 'EVIDENCE_SOURCE_', source),
      rank,
      text,
      logSeq,
      occurredTime: encodeTime(occurredAt),
      recordTime: encodeTime(recordedAt),
    })),
    lastQueryTime: encodeTime(explanation.lastQueryAt),
    lastNotificationTime: encodeTime(explanation.lastNotificationAt),
    nextSyncTime: encodeTime(nextSyncAt),
    blockedBy,
    suggestedAct,
    unmappedWords: [...unmappedWords],
  };
}

export function encodeRef(ref: PaymentRef): rpc.PaymentRef {
  if ('paymentId' in ref) return { ref: { $case: 'paymentId', value: ref.paymentId } };
  const { merchantOrderNo, platformOrderTime } = ref;
  const order = { platform: platformCode(ref.platform), merchantAccount: ref.merchantAccount ?? '', merchantOrderNo, platformOrderTime };
  return { ref: { $case: 'platformOrder', value: order } };
}

export function encodeVerified(item: VerifiedItem, nextSyncAt: Date | null): rpc.VerifiedPayment {
  const { evidence } = item;
  return {
    ref: encodeRef(item.ref),
    result: codeOf(rpc.VerifyResult, 'VERIFY_RESULT_', item.result),
    payment: item.payment === null ? undefined : encodePayment(item.payment, nextSyncAt),
    platformStatus: evidence?.word ?? '',
    platformAmount:
      evidence?.class === 'PAID' ? { currencyCode: evidence.amount.currency, minorUnits: evidence.amount.minorUnits } : undefined,
    differences: [...item.differences],
    outcome: codeOf(rpc.ApplyOutcome, 'APPLY_OUTCOME_', item.applied),
    error: item.error ?? undefined,
  };
}

export function encodeSynced(item: SyncedItem, nextSyncAt: Date | null): rpc.SyncedPayment {
  return {
    ref: encodeRef(item.ref),
    payment: item.payment === null ? undefined : encodePayment(item.payment, nextSyncAt),
    outcome: codeOf(rpc.ApplyOutcome, 'APPLY_OUTCOME_', item.outcome),
    error: item.error ?? undefined,
  };
}
