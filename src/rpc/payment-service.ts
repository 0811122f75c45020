/** The handlers of PaymentService: decode, one operation of the domain, encode. */
import type * as pb from '../gen/payment/v1/payment.js';
import * as rpc from '../gen/payment/v1/payment_service.js';
import { closePayment } from '../payment/close-payment.js';
import { createPayment } from '../payment/create-payment.js';
import type { Deps } from '../payment/deps.js';
import { getPayment, nextSyncOf, nextSyncs } from '../payment/get-payment.js';
import { listPaymentLogs } from '../payment/list-payment-logs.js';
import { listPayments } from '../payment/list-payments.js';
import type { Payment } from '../payment/payment.js';
import { updatePaymentStatus, type ReportOutcome } from '../payment/update-payment-status.js';
import { syncPayments, verifyPayments } from '../payment/verify-payments.js';
import { cancelRefund } from '../refund/cancel-refund.js';
import { createRefund } from '../refund/create-refund.js';
import { getRefund, listRefunds } from '../refund/list-refunds.js';
import { getPaymentStats } from '../stats/get-payment-stats.js';
import { markDue } from '../sync/mark-due.js';
import * as decode from './decode.js';
import { codeOf, encodeLogEntry, encodePayment, encodeRefund, encodeSynced, encodeTime, encodeVerified, platformCode, paymentStatusCode, refundStatusCode } from './encode.js';
import type { PageTokens } from './page-token.js';
import type { Call } from './serve.js';

export interface HandlerDeps extends Deps {
  readonly pages: PageTokens;
}

export function paymentHandlers(deps: HandlerDeps) {
  const now = (): Date => deps.clock.now();
  const encodeAll = async (payments: readonly Payment[]): Promise<pb.Payment[]> => {
    const due = await nextSyncs(deps, payments.map(({ id }) => id));
    return payments.map((payment) => encodePayment(payment, due.get(payment.id) ?? null));
  };
  const withNextSync = async <Item extends { readonly payment: Payment | null }, Message>(
    items: readonly Item[],
    encode: (item: Item, nextSyncAt: Date | null) => Message,
  ): Promise<Message[]> => {
    const due = await nextSyncs(deps, items.flatMap(({ payment }) => payment?.id ?? []));
    return items.map((item) => encode(item, due.get(item.payment?.id ?? '') ?? null));
  };
  const encodeOne = async (payment: Payment): Promise<pb.Payment> => encodePayment(payment, await nextSyncOf(deps, payment));

  return {
    createPayment: async (request: rpc.CreatePaymentRequest, call: Call): Promise<rpc.CreatePaymentResponse> => {
      const { payment, replayed } = await createPayment(deps, decode.decodeCreatePayment(request, call), call.signal);
      return { payment: await encodeOne(payment), replayed };
    },

    getPayment: async (request: rpc.GetPaymentRequest): Promise<rpc.GetPaymentResponse> => {
      const { ref, view } = decode.decodeGetPayment(request);
      const { payment, nextSyncAt, refunds, recentLog } = await getPayment(deps, ref, view);
      return { payment: encodePayment(payment, nextSyncAt), refunds: refunds.map(encodeRefund), recentLog: recentLog.map(encodeLogEntry) };
    },

    listPayments: async (request: rpc.ListPaymentsRequest): Promise<rpc.ListPaymentsResponse> => {
      const { filter, size, token } = decode.decodeListPayments(request);
      const page = await listPayments(deps, filter, { size, before: deps.pages.open(filter, token) });
      return { payments: await encodeAll(page.payments), nextPageToken: deps.pages.seal(filter, page.next) };
    },

    verifyPayments: async (request: rpc.VerifyPaymentsRequest, call: Call): Promise<rpc.VerifyPaymentsResponse> => {
      const { refs, apply } = decode.decodeVerifyPayments(request);
      const items = await verifyPayments(deps, refs, call, { apply });
      return { items: await withNextSync(items, encodeVerified) };
    },

    syncPayments: async (request: rpc.SyncPaymentsRequest, call: Call): Promise<rpc.SyncPaymentsResponse> => {
      const target = decode.decodeSyncPayments(request);
      if ('filter' in target) return { items: [], marked: await markDue(deps, target.filter) };
      const items = await syncPayments(deps, target.refs, call);
      return { items: await withNextSync(items, encodeSynced), marked: 0n };
    },

    updatePaymentStatus: async (request: rpc.UpdatePaymentStatusRequest, call: Call): Promise<rpc.UpdatePaymentStatusResponse> => {
      const input = decode.decodeUpdatePaymentStatus(request, call, now());
      const { payment, outcome } = await updatePaymentStatus(deps, input, call.signal);
      return {
        payment: await encodeOne(payment),
        outcome: codeOf(rpc.ReportOutcome, 'REPORT_OUTCOME_', outcome),
        explanation: REPORT_EXPLANATION[outcome],
      };
    },

    closePayment: async (request: rpc.ClosePaymentRequest, call: Call): Promise<rpc.ClosePaymentResponse> => {
      const { payment, outcome } = await closePayment(deps, decode.decodeClosePayment(request, call), call.signal);
      return { payment: await encodeOne(payment), outcome: codeOf(rpc.CloseOutcome, 'CLOSE_OUTCOME_', outcome) };
    },

    createRefund: async (request: rpc.CreateRefundRequest, call: Call): Promise<rpc.CreateRefundResponse> => {
      const { refund, payment, replayed } = await createRefund(deps, decode.decodeCreateRefund(request, call), call.signal);
      return { refund: encodeRefund(refund), payment: await encodeOne(payment), replayed };
    },

    getRefund: async (request: rpc.GetRefundRequest): Promise<rpc.GetRefundResponse> => {
      return { refund: encodeRefund(await getRefund(deps, decode.decodeGetRefund(request))) };
    },

    listRefunds: async (request: rpc.ListRefundsRequest): Promise<rpc.ListRefundsResponse> => {
      const { filter, size, token } = decode.decodeListRefunds(request);
      const page = await listRefunds(deps, filter, { size, before: deps.pages.open(filter, token) });
      return { refunds: page.refunds.map(encodeRefund), nextPageToken: deps.pages.seal(filter, page.next) };
    },

    cancelRefund: async (request: rpc.CancelRefundRequest, call: Call): Promise<rpc.CancelRefundResponse> => {
      const { refund, payment } = await cancelRefund(deps, decode.decodeCancelRefund(request, call), call.signal);
      return { refund: encodeRefund(refund), payment: await encodeOne(payment) };
    },

    listPaymentLogs: async (request: rpc.ListPaymentLogsRequest): Promise<rpc.ListPaymentLogsResponse> => {
      const { filter, size, token } = decode.decodeListPaymentLogs(request);
      const position = deps.pages.open(filter, token);
      const after = position === null ? null : Number.parseInt(position, 10);
      const page = await listPaymentLogs(deps, filter.paymentId, { size, after, order: filter.order });
      const next = page.next === null ? null : `${page.next}`;
      return { entries: page.entries.map(encodeLogEntry), nextPageToken: deps.pages.seal(filter, next) };
    },

    getPaymentStats: async (request: rpc.GetPaymentStatsRequest): Promise<rpc.GetPaymentStatsResponse> => {
      return encodeStats(await getPaymentStats(deps, decode.decodeGetPaymentStats(request, now())));
    },
  };
}

const REPORT_EXPLANATION: Record<ReportOutcome, string> = {
  APPLIED: 'applied as a fact reported by a trusted reporter; verified evidence of the platform outranks it later',
  DUPLICATE: 'everything in it was known already',
  STALE: 'recorded; what is known outranks it',
  CONFLICT: 'it contradicts what is known; the payment is in review',
  CLAIM_RECORDED: 'recorded as a claim; the status stays and the platform is asked now',
};

function encodeStats(stats: Awaited<ReturnType<typeof getPaymentStats>>): rpc.GetPaymentStatsResponse {
  const rate = stats.settledCount === 0n ? undefined : Number((stats.paidCount * 10_000n) / stats.settledCount);
  return {
    groups: stats.groups.map((group) => ({
      platform: group.platform === null ? 0 : platformCode(group.platform),
      status: paymentStatusCode(group.status),
      currencyCode: group.currency,
      bucketStart: encodeTime(group.bucketStart),
      count: group.count,
      amount: group.amount,
      paidAmount: group.paidAmount,
      refundedAmount: group.refundedAmount,
    })),
    totalCount: stats.totalCount,
    settledCount: stats.settledCount,
    paidCount: stats.paidCount,
    successRatePerTenThousand: rate,
    timeToSettleP50: undefined,
    timeToSettleP95: undefined,
    timeToSettleP99: undefined,
    refunds: stats.refunds.map((group) => ({
      currencyCode: group.currency,
      status: refundStatusCode(group.status),
      count: group.count,
      amount: group.amount,
    })),
  };
}
