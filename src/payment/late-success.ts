import { uuidv7 } from './ids.js';
import type { Payment } from './payment.js';
import type { Act } from './payment-log.js';
import { Refund } from '../refund/refund.js';
import type { View } from '../store/unit-of-work.js';

/** What an app wants done with money that comes after its payment had ended: take it, give it back, or have a person decide. */
export const LATE_SUCCESS_POLICIES = ['ACCEPT', 'REFUND', 'HOLD'] as const;
export type LateSuccessPolicy = (typeof LATE_SUCCESS_POLICIES)[number];

/** Follows the app's policy in the unit of work that learned of the money. Doing it again changes nothing. */
export function followPolicy(view: View, payment: Payment, act: Act): void {
  if (payment.reviewReason !== 'LATE_SUCCESS') return;
  const refunds = view.refunds(payment);
  const policy = view.lateSuccessPolicy(payment.appId);
  const policyAct: Act = { ...act, actor: { type: 'WORKER', id: 'policy' }, record: (entry) => act.record(entry) };

  if (policy === 'ACCEPT') {
    const decision = { decision: 'PAID', by: 'policy ACCEPT', reason: 'money that came late is accepted', proof: '', paid: null } as const;
    payment.resolve(decision, refunds, policyAct);
  }
  if (policy === 'REFUND' && refunds.rows.length === 0 && payment.refundableAmount > 0n) {
    const reason = 'money that came late goes back';
    const refund = Refund.create(payment, { id: uuidv7(act.at), amount: payment.refundableAmount, reason }, act.at);
    refunds.add(refund);
    payment.settleRefunds(refunds, policyAct, {
      kind: 'REFUND_CHANGED',
      refundId: refund.id,
      reason,
      evidence: { refund_to: refund.status, amount: `${refund.amount} ${refund.currency}` },
    });
    view.syncDue(payment, act.at);
  }
}
