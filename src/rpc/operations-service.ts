/** The handlers of OperationsService. */
import * as ops from '../gen/payment/v1/operations_service.js';
import type { FeedHealth } from '../feed/feed.js';
import { listNotifications } from '../notification/list-notifications.js';
import { replayNotification } from '../notification/replay-notification.js';
import type { Deps } from '../payment/deps.js';
import { explainPayment } from '../payment/explain-payment.js';
import { findPayment, nextSyncOf } from '../payment/get-payment.js';
import { illegalTransition, reportableFrom, type Payment } from '../payment/payment.js';
import { isPaid, isSettled, PAYMENT_STATUSES, PAYMENT_TRANSITIONS, type PaymentStatus } from '../payment/payment-status.js';
import type { Place } from '../payment/read-chains.js';
import { resolveReview } from '../payment/resolve-review.js';
import { verifyPaymentLog, verifyPaymentLogs } from '../payment/verify-payment-log.js';
import { getReconciliation } from '../reconciliation/get-reconciliation.js';
import { runReconciliation, type ReconciliationDeps } from '../reconciliation/run-reconciliation.js';
import { recordExternalRefund } from '../refund/record-external-refund.js';
import { REFUND_STATUSES, REFUND_TRANSITIONS } from '../refund/refund-status.js';
import { resolveRefund } from '../refund/resolve-refund.js';
import { getSystemHealth } from '../stats/get-system-health.js';
import type { Unsettled } from '../stats/unsettled.js';
import * as decode from './decode.js';
import {
  codeOf,
  encodeDuration,
  encodeExplanation,
  encodeLogCheck,
  encodeFinding,
  encodeNotification,
  encodePayment,
  encodeReconciliation,
  encodeRefund,
  encodeTime,
  paymentStatusCode,
  platformCode,
  refundStatusCode,
} from './encode.js';
import type { PageTokens } from './page-token.js';
import type { Call } from './serve.js';

export interface OperationsDeps extends Deps, ReconciliationDeps {
  readonly version: string;
  readonly pages: PageTokens;
  readonly feedHealth: () => FeedHealth;
  readonly entranceHealth: () => ops.EntranceHealth;
}

export function operationsHandlers(deps: OperationsDeps) {
  const startedAt = performance.now();
  return {
    describeStatusMachine: async (request: ops.DescribeStatusMachineRequest): Promise<ops.DescribeStatusMachineResponse> => {
      const paymentId = decode.decodeDescribeStatusMachine(request);
      return describe(paymentId === null ? null : await findPayment(deps, { paymentId }));
    },

    verifyPaymentLog: async (request: ops.VerifyPaymentLogRequest, call: Call): Promise<ops.VerifyPaymentLogResponse> => {
      const wanted = decode.decodeVerifyPaymentLog(request);
      if ('paymentId' in wanted) return encodeLogCheck(await verifyPaymentLog(deps, wanted.paymentId), '');

      const { range, size, token } = wanted;
      const after = placeOf(deps.pages.open(range, token));
      const check = await verifyPaymentLogs(deps, range, { size, after }, call);
      return encodeLogCheck(check, deps.pages.seal(range, check.next === null ? null : placeText(check.next)));
    },

    getSystemHealth: async (): Promise<ops.GetSystemHealthResponse> => {
      const health = await getSystemHealth(deps);
      const feed = deps.feedHealth();
      return {
        version: deps.version,
        uptime: encodeDuration(performance.now() - startedAt),
        database: { version: health.databaseVersion, latency: encodeDuration(health.databaseLatencyMs) },
        platforms: health.platforms.map(({ platform, merchantAccount, openCircuits }) => ({
          platform: platformCode(platform),
          merchantAccount,
          openCircuits: [...openCircuits],
        })),
        sync: { waiting: health.sync.waiting, due: health.sync.due, oldestDueTime: encodeTime(health.sync.oldestDueAt) },
        unsettled: health.unsettled.map((row) => ({ ...encodeUnsettled(row), status: paymentStatusCode(row.status) })),
        openRefunds: health.openRefunds.map((row) => ({ ...encodeUnsettled(row), status: refundStatusCode(row.status) })),
        reconciliations: health.reconciliations.map(({ platform, merchantAccount, last, failed }) => ({
          platform: platformCode(platform),
          merchantAccount,
          lastComparedDay: last?.day ?? '',
          findingCount: last?.findings ?? 0n,
          endTime: encodeTime(last?.endedAt ?? null),
          failedCount: failed,
        })),
        feed: {
          headRevision: feed.head,
          earliestRevision: feed.earliest,
          epoch: feed.epoch,
          asOfTime: encodeTime(feed.asOf),
          openWatches: feed.openWatches,
          transport: encodeTransport(feed),
        },
        inbox: health.inbox.map((row) => ({
          status: codeOf(ops.NotificationStatus, 'NOTIFICATION_STATUS_', row.status),
          count: row.count,
        })),
        unmappedWords: health.unmappedWords.map(({ platform, word, count, last }) => ({
          platform: platformCode(platform),
          word,
          count,
          lastTime: encodeTime(last),
        })),
        entrance: deps.entranceHealth(),
      };
    },

    explainPayment: async (request: ops.ExplainPaymentRequest): Promise<ops.ExplainPaymentResponse> => {
      return encodeExplanation(await explainPayment(deps, decode.decodeExplainPayment(request)));
    },

    listNotifications: async (request: ops.ListNotificationsRequest): Promise<ops.ListNotificationsResponse> => {
      const { filter, size, token } = decode.decodeListNotifications(request);
      const page = await listNotifications(deps, filter, { size, before: deps.pages.open(filter, token) });
      return { notifications: page.notifications.map(encodeNotification), nextPageToken: deps.pages.seal(filter, page.next) };
    },

    replayNotification: async (request: ops.ReplayNotificationRequest): Promise<ops.ReplayNotificationResponse> => {
      const { notification, payment } = await replayNotification(deps, decode.decodeReplayNotification(request));
      return { notification: encodeNotification(notification), payment: payment === null ? undefined : encodePayment(payment) };
    },

    resolveReview: async (request: ops.ResolveReviewRequest, call: Call): Promise<ops.ResolveReviewResponse> => {
      const payment = await resolveReview(deps, decode.decodeResolveReview(request, call), call.signal);
      return { payment: encodePayment(payment, await nextSyncOf(deps, payment)) };
    },

    resolveRefund: async (request: ops.ResolveRefundRequest, call: Call): Promise<ops.ResolveRefundResponse> => {
      const { refund, payment } = await resolveRefund(deps, decode.decodeResolveRefund(request, call), call.signal);
      return { refund: encodeRefund(refund), payment: encodePayment(payment, await nextSyncOf(deps, payment)) };
    },

    recordExternalRefund: async (request: ops.RecordExternalRefundRequest, call: Call): Promise<ops.RecordExternalRefundResponse> => {
      const { refund, payment } = await recordExternalRefund(deps, decode.decodeRecordExternalRefund(request, call), call.signal);
      return { refund: encodeRefund(refund), payment: encodePayment(payment, await nextSyncOf(deps, payment)) };
    },

    runReconciliation: async (request: ops.RunReconciliationRequest, call: Call): Promise<ops.RunReconciliationResponse> => {
      const run = await runReconciliation(deps, decode.decodeRunReconciliation(request, call, deps.clock.now()));
      return { reconciliation: encodeReconciliation(run) };
    },

    getReconciliation: async (request: ops.GetReconciliationRequest): Promise<ops.GetReconciliationResponse> => {
      const { filter, size, token } = decode.decodeGetReconciliation(request);
      const { run, findings, next } = await getReconciliation(deps, filter.reconciliationId, { size, after: deps.pages.open(filter, token) });
      return { reconciliation: encodeReconciliation(run), findings: findings.map(encodeFinding), nextPageToken: deps.pages.seal(filter, next) };
    },
  };
}

const encodeUnsettled = ({ platform, count, oldest, stuck }: Unsettled<unknown>) => ({
  platform: platformCode(platform),
  count,
  oldestCreateTime: encodeTime(oldest),
  stuckCount: stuck.count,
  stuckSinceTime: encodeTime(stuck.since),
});

const placeText = ({ createdAt, id }: Place): string => `${createdAt.getTime()} ${id}`;

function encodeTransport({ carrier, eventsRead }: FeedHealth): ops.FeedTransportHealth {
  return {
    transport: carrier === null ? ops.FeedTransport.FEED_TRANSPORT_POSTGRES : ops.FeedTransport.FEED_TRANSPORT_NATS,
    live: carrier?.isLive ?? true,
    fault: carrier?.fault ?? '',
    lastRevision: carrier?.lastRev ?? 0n,
    broughtCount: carrier?.brought ?? 0n,
    readCount: eventsRead,
  };
}

function placeOf(text: string | null): Place | null {
  if (text === null) return null;
  const [at, id] = text.split(' ') as [string, string];
  return { createdAt: new Date(Number(at)), id };
}

function describe(payment: Payment | null): ops.DescribeStatusMachineResponse {
  return {
    statuses: PAYMENT_STATUSES.map((status) => ({
      status: paymentStatusCode(status),
      settled: isSettled(status),
      paid: isPaid(status),
      computed: status === 'PARTIALLY_REFUNDED' || status === 'REFUNDED' || status === 'REVIEW',
    })),
    edges: PAYMENT_STATUSES.flatMap((from) =>
      PAYMENT_TRANSITIONS[from].map((to) => ({ from: paymentStatusCode(from), to: paymentStatusCode(to), guard: guardOf(from, to) })),
    ),
    refundEdges: REFUND_STATUSES.flatMap((from) =>
      REFUND_TRANSITIONS[from].map((to) => ({ from: refundStatusCode(from), to: refundStatusCode(to) })),
    ),
    mermaid: mermaid(),
    current: paymentStatusCode(payment?.status ?? null),
    next: payment === null ? [] : nextOf(payment),
  };
}

const GUARD: Record<PaymentStatus, string> = {
  PENDING: 'the platform awaits the buyer',
  PROCESSING: 'the platform says that the buyer is paying',
  UNKNOWN: 'an act of ours is in doubt, or the platform used an unknown word',
  SUCCEEDED: 'paid; amount, currency, merchant and order number match',
  PARTIALLY_REFUNDED: '0 < refunded < paid',
  REFUNDED: 'refunded = paid',
  FAILED: 'a definite negative answer of the platform',
  CLOSED: 'never paid; expiry or closing is confirmed at the platform',
  CANCELED: 'revoked before payment',
  REVIEW: 'sources contradict, mismatch, late money, money moved elsewhere, or the schedule of queries ran out',
};

function guardOf(from: PaymentStatus, to: PaymentStatus): string {
  if (from === 'REVIEW') return `${GUARD[to]}; by new evidence, a policy or an operator`;
  return isPaid(from) && to === 'SUCCEEDED' ? 'only after a refund was REVERSED' : GUARD[to];
}

function nextOf(payment: Payment): ops.NextStatus[] {
  const allowed = payment.origin === 'REGISTERED' ? reportableFrom(payment.status) : [];
  return PAYMENT_STATUSES.filter((status) => status !== payment.status).map((status) => {
    if (allowed.includes(status)) return { status: paymentStatusCode(status), allowed: true, whyNot: '' };
    const whyNot =
      payment.origin === 'INITIATED'
        ? 'this service placed the order and asks the platform itself; a report is only a claim'
        : illegalTransition(payment.status, status, allowed).message;
    return { status: paymentStatusCode(status), allowed: false, whyNot };
  });
}

/** The table as a diagram, for the README and for people. */
export function mermaid(): string {
  const edges = PAYMENT_STATUSES.flatMap((from) => PAYMENT_TRANSITIONS[from].map((to) => `  ${from} --> ${to}`));
  return ['stateDiagram-v2', '  [*] --> PENDING', ...edges].join('\n');
}
