import type { View } from '../store/unit-of-work.js';
import { isOpenRefund } from '../refund/refund-status.js';
import type { EvidenceSource } from './facts.js';
import { followPolicy } from './late-success.js';
import { PaidOrder } from './paid-order.js';
import type { ApplyOutcome, Payment } from './payment.js';
import type { Act } from './payment-log.js';
import { isPaid } from './payment-status.js';
import type { PaymentEvidence } from './platform.js';

/** Joins what a platform said about a payment, with everything that follows from it inside the same unit of work. */
export function joinEvidence(
  view: View,
  payment: Payment,
  heard: { evidence: PaymentEvidence; source: EvidenceSource },
  act: Act,
): ApplyOutcome {
  const { evidence, source } = heard;
  const refunds = view.refunds(payment);
  const outcome = payment.joinEvidence(evidence, source, refunds, act);
  followPolicy(view, payment, act);
  claimOrder(view, payment, act);

  // The platform's sum says that a refund of ours may be done: ask about each one that is still open.
  const refunded = evidence.class === 'PAID' && evidence.refundedTotal !== null && evidence.refundedTotal > payment.refundedAmount;
  const asked = refunds.rows.some((refund) => isOpenRefund(refund.status) && refund.attempts > 0);
  if (refunded && asked) view.syncDue(payment, act.at);
  return outcome;
}

/** Two paid payments for one order both stand; the second is flagged. */
export function claimOrder(view: View, payment: Payment, act: Act): void {
  if (!isPaid(payment.status)) return;
  const first = view.paidOrder(payment.appId, payment.orderId);
  if (first === undefined) {
    const { appId, orderId, id: paymentId } = payment;
    view.add(Object.assign(new PaidOrder(), { appId, orderId, paymentId }));
  } else if (first.paymentId !== payment.id) {
    payment.flagDuplicate(act);
  }
}
