import { PLATFORM_CALL_MAX_MS, type Deps } from '../payment/deps.js';
import type { Payment, PaymentId } from '../payment/payment.js';
import type { Failure, NewRefund, PlatformAdapter, RefundIdentity } from '../payment/platform.js';
import { DomainError } from '../payment/errors.js';
import type { View } from '../store/unit-of-work.js';
import { joinRefundReport } from './join-refund-report.js';
import type { PaymentRefunds } from './payment-refunds.js';
import type { Refund, RefundId, RefundReportSource } from './refund.js';
import { isOpenRefund } from './refund-status.js';

/** Longer than any call may take, so that a mark expires only when its sender is gone. */
const SENDING_MS = 2 * PLATFORM_CALL_MAX_MS;

type Located = { payment: Payment; refund: Refund };
type Ids = { paymentId: PaymentId; refundId: RefundId };
/** Whether the platform was called, and whether a limit or an open circuit held a call back. */
type Driven = Located & { asked: boolean; heldBack: boolean };
const NOT_CALLED = { asked: false, heldBack: false } as const;
const CALLED = { asked: true, heldBack: false } as const;
const HELD_BACK = { asked: false, heldBack: true } as const;

/** Sends a refund that may be sent now, and records the outcome; answers with it as it is where it may not. */
export async function sendRefund(deps: Deps, paymentId: PaymentId, refundId: RefundId): Promise<Driven> {
  const at = deps.clock.now();
  const marked = await deps.work.run({
    payments: [paymentId],
    decide: (view): Located & { order: NewRefund | null } => {
      const { payment, refund } = locate(view, paymentId, refundId);
      if (!refund.canSend(at)) return { payment, refund, order: null };
      const { sentAt } = refund;
      refund.markSending({ at, until: new Date(at.getTime() + SENDING_MS) });
      view.syncDue(payment, new Date(at.getTime() + SENDING_MS));
      return { payment, refund, order: { ...refund.order(payment), sentAt } };
    },
  });
  const { payment, refund, order } = marked;
  if (order === null) return { payment, refund, ...NOT_CALLED };

  const report = await adapterOf(deps, payment).refund(order, { at, signal: AbortSignal.timeout(PLATFORM_CALL_MAX_MS) });
  if (report.failure?.heldBack === true) return await takeBack(deps, { paymentId, refundId }, { at, sentAt: order.sentAt, failure: report.failure });
  return await joinReport(deps, { paymentId, refundId }, report, 'SYNC_REPLY');
}

/** One look at a refund that is not settled: what is in doubt is asked, what was never sent or not taken in is sent. */
export async function driveRefund(deps: Deps, payment: Payment, refund: Refund): Promise<Driven> {
  if (refund.isBeingSent(deps.clock.now())) return { payment, refund, ...NOT_CALLED };
  if (refund.attempts === 0) return await sendUnlessHeldBack(deps, { payment, refund });

  const settled = refund.sendingUntil === null ? { payment, refund } : await giveUpSending(deps, payment.id, refund.id);
  // Asked before it is sent again, but for what was refused at the door: the first send may have been taken in.
  const isRefused = settled.refund.status === 'CREATED' && settled.refund.retry === 'SAME_NUMBER';
  const told = isRefused ? { ...settled, ...NOT_CALLED } : await queryRefund(deps, settled.payment, settled.refund);
  if (told.heldBack || !told.refund.canSend(deps.clock.now())) return told;
  const sent = await sendUnlessHeldBack(deps, told);
  return { ...sent, asked: told.asked || sent.asked };
}

/** What would be held back is not marked as being sent. */
async function sendUnlessHeldBack(deps: Deps, { payment, refund }: Located): Promise<Driven> {
  if (adapterOf(deps, payment).holdsBack?.('refund') === true) return { payment, refund, ...HELD_BACK };
  return await sendRefund(deps, payment.id, refund.id);
}

/** Asks the platform about a refund that was sent. */
async function queryRefund(deps: Deps, payment: Payment, refund: Refund): Promise<Driven> {
  const identity: RefundIdentity = refund.identity(payment);
  const call = { at: deps.clock.now(), signal: AbortSignal.timeout(PLATFORM_CALL_MAX_MS) };
  const report = await adapterOf(deps, payment).queryRefund(identity, call);
  if (report.failure?.heldBack === true) return { payment, refund, ...HELD_BACK };
  return await joinReport(deps, { paymentId: payment.id, refundId: refund.id }, report, 'QUERY');
}

/** Nothing was sent after all: the mark goes, and with it the attempt. It comes again when the mark would have expired. */
async function takeBack(deps: Deps, ids: Ids, mark: { at: Date; sentAt: Date | null; failure: Failure }): Promise<Driven> {
  return await deps.work.run({
    payments: [ids.paymentId],
    decide: (view) => {
      const { payment, refund } = locate(view, ids.paymentId, ids.refundId);
      refund.unmarkSending(mark);
      return { payment, refund, ...HELD_BACK };
    },
  });
}

/** A mark that expired without an outcome turns into UNKNOWN: its sender is gone and nobody can tell what happened. */
async function giveUpSending(deps: Deps, paymentId: PaymentId, refundId: RefundId): Promise<Located> {
  return await deps.work.run({
    payments: [paymentId],
    decide: (view) => {
      const { payment, refund, refunds } = locate(view, paymentId, refundId);
      const before = refund.status;
      if (refund.giveUpSending(view.at)) {
        payment.note(view.act({ type: 'WORKER', id: 'sync' }), {
          kind: 'REFUND_CHANGED',
          refundId,
          reason: 'the sender is gone without an outcome',
          evidence: { refund_from: before, refund_to: refund.status },
        });
      }
      return { payment, refund, refunds };
    },
  });
}

function joinReport(
  deps: Deps,
  ids: Ids,
  report: Awaited<ReturnType<PlatformAdapter['refund']>>,
  source: RefundReportSource,
): Promise<Driven> {
  return deps.work.run({
    payments: [ids.paymentId],
    decide: (view) => {
      const located = locate(view, ids.paymentId, ids.refundId);
      const act = view.act({ type: 'PLATFORM', id: located.payment.platform });
      joinRefundReport(located, report, source, act);
      // Just sent: the first question comes at the platform's own pace, the later ones by the schedule.
      if (source === 'SYNC_REPLY' && isOpenRefund(located.refund.status)) {
        view.syncDue(located.payment, new Date(act.at.getTime() + adapterOf(deps, located.payment).paces.refund[0]!));
      }
      return { ...located, ...CALLED };
    },
  });
}

function locate(view: View, paymentId: PaymentId, refundId: RefundId): Located & { refunds: PaymentRefunds } {
  const payment = view.payment(paymentId);
  const refunds = view.refunds(payment);
  const refund = refunds.find(refundId);
  if (refund === undefined) throw refundNotFound(refundId);
  return { payment, refund, refunds };
}

export function refundNotFound(refundId: RefundId): DomainError {
  return new DomainError('REFUND_NOT_FOUND', `there is no refund ${refundId}`, { metadata: { refund_id: refundId } });
}

const adapterOf = (deps: Deps, payment: Payment): PlatformAdapter => deps.platforms.adapter(payment.platform, payment.merchantAccount);
