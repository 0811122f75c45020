/**
 * Findings joined as evidence, through the same unit of work and by the same rules as every other word of a platform: the bill is its
 * strongest one. Payments come before refunds, since a refund needs the money it returns, in whatever order the bill has them. Only what
 * stands in the bill is evidence; what it lacks is none.
 */
import type { Deps } from '../payment/deps.js';
import { uuidv7 } from '../payment/ids.js';
import { joinEvidence } from '../payment/join-evidence.js';
import type { ApplyOutcome, Payment } from '../payment/payment.js';
import type { Act } from '../payment/payment-log.js';
import type { BillRow, PaidEvidence, RefundReport } from '../payment/platform.js';
import { joinRefundReport } from '../refund/join-refund-report.js';
import { Refund, type RefundId } from '../refund/refund.js';
import type { View } from '../store/unit-of-work.js';
import type { Lease } from './lease.js';
import { ReconciliationFinding, type FindingKind } from './reconciliation.js';

const SOURCE = 'SETTLEMENT_BILL';
const APPLICABLE: readonly FindingKind[] = ['MISSING_HERE', 'AMOUNT_DIFFERS', 'STATUS_DIFFERS'];
/** Enough to fill units of work, few enough for their queue. */
const TOGETHER_MAX = 200;

export async function applyFindings(deps: Deps, lease: Lease, signal: AbortSignal): Promise<void> {
  for (const about of ['PAYMENT', 'REFUND'] as const) {
    for (;;) {
      signal.throwIfAborted();
      const findings = await waiting(deps, lease, about);
      if (findings.length === 0) break;
      const outcomes = await Promise.all(findings.map((finding) => apply(deps, finding, lease.run.operator)));
      await remember(deps, lease, findings.map((finding, at) => ({ place: finding.place, outcome: outcomes[at] ?? null })));
    }
  }
  deps.wakeSync();
}

async function waiting({ orm }: Deps, { run }: Lease, about: BillRow['kind']): Promise<ReconciliationFinding[]> {
  const where = { reconciliationId: run.id, about, kind: { $in: [...APPLICABLE] }, paymentId: { $ne: null }, appliedAt: null };
  return await orm.em.fork().find(ReconciliationFinding, where, { orderBy: { place: 'asc' }, limit: TOGETHER_MAX });
}

/** A crash in between leaves findings that are applied once more, which changes nothing. */
async function remember({ clock }: Deps, lease: Lease, applied: readonly { place: bigint; outcome: ApplyOutcome | null }[]): Promise<void> {
  await lease.write(async (em) => {
    const at = clock.now();
    for (const { place, outcome } of applied) {
      await em.nativeUpdate(ReconciliationFinding, { reconciliationId: lease.run.id, place }, { outcome, appliedAt: at });
    }
  });
}

async function apply(deps: Deps, { paymentId, billRow }: ReconciliationFinding, operator: string): Promise<ApplyOutcome | null> {
  const { minorUnits, currency, at, ...rest } = billRow!;
  const row: Row = { ...rest, amount: { currency, minorUnits: BigInt(minorUnits) }, at: new Date(at) };
  return await deps.work.run({
    payments: [paymentId!],
    decide: (view) => {
      const payment = view.payment(paymentId!);
      const act = view.act({ type: 'OPERATOR', id: operator });
      // Money that has not moved is for the platform to explain.
      if (row.state !== 'DONE') return ask(view, payment);
      return row.kind === 'PAYMENT' ? joinPayment(view, payment, row, act) : joinRefund(view, payment, row, act);
    },
  });
}

type Row = Omit<BillRow, 'fee'>;

function joinPayment(view: View, payment: Payment, row: Row, act: Act): ApplyOutcome | null {
  if (row.platformTransactionId === '') return ask(view, payment);
  return join(view, payment, { at: row.at, word: row.word, amount: row.amount, transactionId: row.platformTransactionId }, act);
}

function join(
  view: View,
  payment: Payment,
  said: Pick<PaidEvidence, 'amount' | 'transactionId'> & { at: Date; word: string; refundedTotal?: bigint },
  act: Act,
): ApplyOutcome {
  const evidence = { class: 'PAID', merchantAccount: null, refundedTotal: null, refundable: true, ...said } as const;
  return joinEvidence(view, payment, { evidence, source: SOURCE }, act);
}

function joinRefund(view: View, payment: Payment, row: Row, act: Act): ApplyOutcome | null {
  const refunds = view.refunds(payment);
  const refund = refunds.findByPlatformNo(row.platformRefundNo) ?? refunds.rows.find(({ platformRefundId }) => row.platformRefundId !== '' && platformRefundId === row.platformRefundId);
  if (refund !== undefined) {
    const { version } = payment;
    const outcome = joinRefundReport({ payment, refunds, refund }, reportOf(row), SOURCE, act);
    if (outcome === 'CHANGED') return 'APPLIED';
    return outcome === 'UNCHANGED' || payment.version === version ? 'DUPLICATE' : 'CONFLICT';
  }

  // A refund proves a payment, but not which: the platform is asked.
  if (payment.facts.paid === undefined) return ask(view, payment);
  // Of a second payment of the same order, which is a question for a person already.
  if (row.platformTransactionId !== '' && row.platformTransactionId !== payment.facts.paid.transactionId) return null;
  // It may be this very money that is recorded under a number of our own; booked again it would count twice.
  if (refunds.rows.some(({ isUnnumbered }) => isUnnumbered)) return null;
  return joinExternal(view, payment, row, act);
}

/** A refund that was made elsewhere: a row of its own under the platform's number, where it fits beside what is refunded and reserved. */
function joinExternal(view: View, payment: Payment, row: Row, act: Act): ApplyOutcome {
  const refunds = view.refunds(payment);
  const { amount } = row;
  const room = payment.paidAmount - payment.refundedAmount - payment.reservedAmount;
  if (amount.minorUnits <= room) {
    const id = uuidv7(act.at) as RefundId;
    const fields = { id, amount: amount.minorUnits, reason: 'refunded elsewhere', platformRefundNo: row.platformRefundNo || null, succeededAt: row.at };
    refunds.add(Refund.external(payment, fields, act.at));
    payment.settleRefunds(refunds, act, { ...textOf(row), kind: 'REFUND_CHANGED', refundId: id });
    return 'APPLIED';
  }
  if (payment.reservedAmount > 0n) {
    // Refunds of ours that hold the rest cannot all come to pass; which, the platform is asked, and the next bill or run books this one.
    payment.note(act, { ...textOf(row), kind: 'EVIDENCE' });
    ask(view, payment);
    return 'STALE';
  }
  const { amount: paid, currency, transactionId, at } = payment.facts.paid!;
  const refundedTotal = payment.refundedAmount + refunds.sums().reversed + amount.minorUnits;
  return join(view, payment, { at, word: row.word, amount: { currency, minorUnits: paid }, transactionId, refundedTotal }, act);
}

function ask(view: View, payment: Payment): null {
  view.syncDue(payment, view.at);
  return null;
}

const textOf = ({ word, at, amount, platformRefundNo }: Row) =>
  ({
    source: SOURCE,
    reason: `platform's bill says ${word}`,
    occurredAt: at,
    evidence: { billed_refund: `${amount.minorUnits} ${amount.currency}`, platform_refund_no: platformRefundNo },
  }) as const;

const reportOf = ({ amount, platformRefundId, at, word }: Row): RefundReport => ({
  status: 'SUCCEEDED',
  retry: null,
  amount: amount.minorUnits,
  platformRefundId: platformRefundId === '' ? null : platformRefundId,
  at,
  word,
  failure: null,
  notExecuted: false,
});
