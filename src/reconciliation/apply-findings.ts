/**
 * Findings joined as evidence, through the same unit of work and by the same rules as every other word of a platform: the bill is its
 * strongest one. Payments come before refunds, since a refund needs the money it returns, in whatever order the bill has them. Only what
 * stands in the bill is evidence; what it lacks is none.
 */
import type { Deps } from '../payment/deps.js';
import { joinEvidence } from '../payment/join-evidence.js';
import type { ApplyOutcome, Payment } from '../payment/payment.js';
import type { Act } from '../payment/payment-log.js';
import type { BillRow, RefundReport } from '../payment/platform.js';
import { joinRefundReport } from '../refund/join-refund-report.js';
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

function joinPayment(view: View, payment: Payment, { at, word, amount, platformTransactionId: transactionId }: Row, act: Act): ApplyOutcome | null {
  if (transactionId === '') return ask(view, payment);
  const evidence = { class: 'PAID', at, word, amount, transactionId, merchantAccount: null, refundedTotal: null, refundable: true } as const;
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

/** A refund that was made elsewhere: a row of its own under the platform's number, as soon as it fits beside what is refunded and reserved. */
function joinExternal(view: View, payment: Payment, row: Row, act: Act): ApplyOutcome | null {
  const number = row.platformRefundNo || row.platformRefundId;
  if (number === '') return ask(view, payment);
  const refund = { amount: row.amount.minorUnits, platformRefundId: row.platformRefundId || null, at: row.at };
  const outcome = payment.joinRefundElsewhere(number, refund, SOURCE, view.refunds(payment), act);
  // Refunds of ours that hold the rest cannot all come to pass; which, the platform is asked.
  if (payment.reservedAmount > 0n) ask(view, payment);
  return outcome;
}

function ask(view: View, payment: Payment): null {
  view.syncDue(payment, view.at);
  return null;
}

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
