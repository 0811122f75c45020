import type { Act } from '../payment/payment-log.js';
import type { Payment } from '../payment/payment.js';
import type { RefundReport } from '../payment/platform.js';
import type { PaymentRefunds } from './payment-refunds.js';
import type { Refund, RefundOutcome, RefundReportSource } from './refund.js';
import { isOpenRefund } from './refund-status.js';

/** Joins what the platform says about one refund, and brings the payment's money up to date in the same unit of work. */
export function joinRefundReport(
  target: { payment: Payment; refunds: PaymentRefunds; refund: Refund },
  report: RefundReport,
  source: RefundReportSource,
  act: Act,
): RefundOutcome {
  const { payment, refunds, refund } = target;
  const before = refund.status;
  const outcome = refund.apply(report, source, act.at);
  if (!isOpenRefund(refund.status)) payment.clearRefund(refund.id);
  else if (report.moneyUnclear === true) payment.unclearRefund(refund.id, report, refunds, act);

  if (outcome === 'AMOUNT_MISMATCH') {
    payment.mismatchRefund(refund.id, refund.amount, report.amount ?? 0n, refunds, act);
    return outcome;
  }
  if (outcome === 'CONTRADICTION') {
    payment.contradictRefund(refund.id, `refund is ${before} here, the platform says ${report.word}`, refunds, act);
    return outcome;
  }

  if (report.irrefundable === true && refund.status === 'FAILED') payment.endRefunds();
  const text = {
    kind: 'REFUND_CHANGED',
    source,
    refundId: refund.id,
    reason: `platform says ${report.word}`,
    occurredAt: report.at,
    error: report.failure,
    evidence: {
      refund_from: before,
      refund_to: refund.status,
      amount: `${refund.amount} ${refund.currency}`,
      ...(report.unmapped === true ? { class: 'UNMAPPED', word: report.word } : {}),
    },
  } as const;
  const visible = payment.settleRefunds(refunds, act, text);
  // A refund may move without moving the payment's money; the log shows that, too. Repeated answers of queries are not news, words
  // without a mapping always are.
  const isNews = outcome === 'CHANGED' || source !== 'QUERY' || report.unmapped === true;
  if (!visible && isNews) payment.note(act, text);
  return outcome;
}
