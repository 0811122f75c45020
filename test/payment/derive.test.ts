import { NO_FACTS, derive, resolutionOf, type Facts, type RefundSums } from '../../src/payment/facts.js';
import { statusClass } from '../../src/payment/payment-status.js';
import type { EvidenceSource } from '../../src/payment/facts.js';
import type { PaymentEvidence } from '../../src/payment/platform.js';
import { closed, CNY, failed, heard, minutes, newPayment, paid } from '../support/payments.js';

const sums = (change: Partial<RefundSums> = {}): RefundSums => ({ refunded: 0n, reserved: 0n, sent: 0n, reversed: 0n, ...change });
const paidFact = { amount: 10_000n, currency: 'CNY', transactionId: 'tx-1', at: minutes(5), source: 'QUERY' } as const;
const mismatch = { reason: 'AMOUNT_MISMATCH', at: minutes(5), recorded: '10000 CNY', seen: '1 CNY' } as const;
const negative = (at: number, notFound = false) => ({ status: 'CLOSED', at: minutes(at), notFound }) as const;
const open = (status: 'PENDING' | 'PROCESSING' | 'UNKNOWN', at = 1) => ({ status, at: minutes(at) });
const resolved = (facts: Facts, decision: 'PAID' | 'FAILED'): Facts => ({
  ...facts,
  resolution: resolutionOf(facts, decision, 'operator', minutes(90)),
});

test.each<[string, Facts, RefundSums, string, string | null]>([
  ['nothing is known', {}, sums(), 'PENDING', null],
  ['awaiting the buyer', { open: open('PENDING') }, sums(), 'PENDING', null],
  ['in progress', { open: open('PROCESSING') }, sums(), 'PROCESSING', null],
  ['an act of ours is in doubt', { open: open('UNKNOWN') }, sums(), 'UNKNOWN', null],
  ['rule 8: the schedule ran out', { exhausted: { at: minutes(60) } }, sums(), 'REVIEW', 'SYNC_EXHAUSTED'],
  ['rule 8: it ran out after the last word', { open: open('PENDING', 59), exhausted: { at: minutes(60) } }, sums(), 'REVIEW', 'SYNC_EXHAUSTED'],
  ['rule 9: a newer word ends the exhaustion', { open: open('PROCESSING', 61), exhausted: { at: minutes(60) } }, sums(), 'PROCESSING', null],
  ['rule 7: never paid', { negative: negative(31) }, sums(), 'CLOSED', null],
  ['rule 7 before 8', { negative: negative(31), exhausted: { at: minutes(60) } }, sums(), 'CLOSED', null],
  ['rule 6: paid', { paid: paidFact }, sums(), 'SUCCEEDED', null],
  ['rule 6: partly refunded', { paid: paidFact }, sums({ refunded: 1n }), 'PARTIALLY_REFUNDED', null],
  ['rule 6: refunded to the last fen', { paid: paidFact }, sums({ refunded: 10_000n }), 'REFUNDED', null],
  ['rule 6: a reservation is no refund', { paid: paidFact }, sums({ reserved: 10_000n }), 'SUCCEEDED', null],
  ['rule 6 before 9: paid whatever was open', { paid: paidFact, open: open('UNKNOWN', 99) }, sums(), 'SUCCEEDED', null],
  ['rule 5: money may have moved', { unclear: { at: minutes(1) } }, sums(), 'REVIEW', 'MONEY_UNCLEAR'],
  ['rule 5 before 7', { unclear: { at: minutes(1) }, negative: negative(31) }, sums(), 'REVIEW', 'MONEY_UNCLEAR'],
  ['rule 6: paid clears it up', { unclear: { at: minutes(1) }, paid: paidFact }, sums(), 'SUCCEEDED', null],
  ['rule 4: refunded elsewhere', { paid: paidFact, refundedTotal: 500n }, sums(), 'REVIEW', 'EXTERNAL_REFUND'],
  ['rule 4: our refund explains it', { paid: paidFact, refundedTotal: 500n }, sums({ refunded: 500n }), 'PARTIALLY_REFUNDED', null],
  ['rule 4: a reversed refund explains it', { paid: paidFact, refundedTotal: 500n }, sums({ reversed: 500n }), 'SUCCEEDED', null],
  ['rule 4 waits for open refunds of ours', { paid: paidFact, refundedTotal: 900n }, sums({ reserved: 500n, sent: 500n }), 'SUCCEEDED', null],
  ['rule 3: paid after it was closed', { paid: paidFact, negative: negative(4) }, sums(), 'REVIEW', 'LATE_SUCCESS'],
  ['rule 3: paid in the instant of closing', { paid: paidFact, negative: negative(5) }, sums(), 'REVIEW', 'LATE_SUCCESS'],
  ['rule 3: said to be closed after it was paid', { paid: paidFact, negative: negative(6) }, sums(), 'REVIEW', 'CONTRADICTION'],
  ['rule 3: not found after it was paid says nothing', { paid: paidFact, negative: negative(60, true) }, sums(), 'SUCCEEDED', null],
  ['rule 3: paid after it was given up as not found', { paid: paidFact, negative: negative(4, true) }, sums(), 'REVIEW', 'LATE_SUCCESS'],
  ['rule 2: another amount', { mismatch }, sums(), 'REVIEW', 'AMOUNT_MISMATCH'],
  ['rule 2 before 3', { mismatch, paid: paidFact, negative: negative(4) }, sums(), 'REVIEW', 'AMOUNT_MISMATCH'],
  ['a refund contradicts', { paid: paidFact, refundContradiction: { at: minutes(9), refundId: 'r' } }, sums(), 'REVIEW', 'REFUND_CONTRADICTION'],
  ['rule 1: decided as paid', resolved({ paid: paidFact, negative: negative(4) }, 'PAID'), sums(), 'SUCCEEDED', null],
  ['rule 1: paid variants are computed', resolved({ paid: paidFact, negative: negative(4) }, 'PAID'), sums({ refunded: 1n }), 'PARTIALLY_REFUNDED', null],
  ['rule 1: decided as failed', resolved({ mismatch }, 'FAILED'), sums(), 'FAILED', null],
  ['rule 1: a repeated fact does not re-open', { ...resolved({ paid: paidFact, negative: negative(4) }, 'PAID'), negative: negative(3) }, sums(), 'SUCCEEDED', null],
  ['rule 1: a new fact re-opens', { ...resolved({ paid: paidFact, negative: negative(4) }, 'PAID'), mismatch }, sums(), 'REVIEW', 'AMOUNT_MISMATCH'],
  ['rule 1: money refunded elsewhere is not covered', { ...resolved({ paid: paidFact, negative: negative(4) }, 'PAID'), refundedTotal: 1n }, sums(), 'REVIEW', 'EXTERNAL_REFUND'],
])('derive: %s', (_name, facts, refunds, status, reviewReason) => {
  expect(derive({ ...NO_FACTS, ...facts }, refunds)).toEqual({ status, reviewReason });
});

/** Every kind of evidence that a platform or reporter can give, each at several times and from several sources. */
const EVIDENCE: readonly { name: string; evidence: PaymentEvidence; source: EvidenceSource }[] = [
  { name: 'awaiting', evidence: heard('AWAITING_BUYER', minutes(1)), source: 'QUERY' },
  { name: 'in progress', evidence: heard('IN_PROGRESS', minutes(2)), source: 'QUERY' },
  { name: 'inconclusive act', evidence: heard('INCONCLUSIVE', minutes(2)), source: 'SYNC_REPLY' },
  { name: 'inconclusive query', evidence: heard('INCONCLUSIVE', minutes(3)), source: 'QUERY' },
  { name: 'unmapped', evidence: heard('UNMAPPED', minutes(3)), source: 'QUERY' },
  { name: 'not found early', evidence: heard('NOT_FOUND', minutes(2)), source: 'QUERY' },
  { name: 'not found late', evidence: heard('NOT_FOUND', minutes(60)), source: 'QUERY' },
  { name: 'unclear', evidence: heard('MONEY_UNCLEAR', minutes(2)), source: 'QUERY' },
  { name: 'paid', evidence: paid(minutes(5)), source: 'NOTIFICATION' },
  { name: 'paid by bill', evidence: paid(minutes(5)), source: 'SETTLEMENT_BILL' },
  { name: 'paid late', evidence: paid(minutes(70)), source: 'QUERY' },
  { name: 'paid by another transaction', evidence: paid(minutes(6), { transactionId: 'tx-2' }), source: 'QUERY' },
  { name: 'paid to another account', evidence: paid(minutes(5), { merchantAccount: 'other' }), source: 'NOTIFICATION' },
  { name: 'paid another amount', evidence: paid(minutes(5), { amount: CNY(9_999n) }), source: 'NOTIFICATION' },
  { name: 'paid another currency', evidence: paid(minutes(5), { amount: { currency: 'USD', minorUnits: 10_000n } }), source: 'QUERY' },
  { name: 'partly refunded elsewhere', evidence: paid(minutes(5), { refundedTotal: 300n }), source: 'NOTIFICATION' },
  { name: 'refunded elsewhere', evidence: paid(minutes(5), { refundedTotal: 10_000n }), source: 'QUERY' },
  { name: 'closed', evidence: closed(minutes(31)), source: 'QUERY' },
  { name: 'closed early', evidence: closed(minutes(3)), source: 'SYNC_REPLY' },
  { name: 'failed', evidence: failed(minutes(4)), source: 'REPORTED' },
];

test('every triple of evidence, in every order and with repetitions, ends in one status class and one sum of money', () => {
  for (const [first, a] of EVIDENCE.entries()) {
    for (const [second, b] of EVIDENCE.slice(first).entries()) {
      for (const c of EVIDENCE.slice(first + second)) {
        const ends = new Set(orders([a, b, c]).map(endOf));
        if (ends.size !== 1) throw new Error(`${a.name}, ${b.name}, ${c.name}: ${[...ends].join(' | ')}`);
      }
    }
  }
});

function orders<T>([a, b, c]: [T, T, T]): T[][] {
  return [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a], [a, b, c, a, b, c], [c, c, b, a, b]];
}

/** Where a payment ends after hearing these in this order; walks the real entity and checks each edge by its log. */
function endOf(order: readonly (typeof EVIDENCE)[number][]): string {
  const fixture = newPayment();
  const { payment, refunds } = fixture;
  order.forEach(({ evidence, source }, index) => payment.joinEvidence(evidence, source, refunds, fixture.act(minutes(100 + index))));

  let version = 0;
  for (const entry of fixture.log) {
    if (entry.version === null) continue;
    version += 1;
    expect(entry.version).toBe(version);
    const fromPaid = entry.prevStatus !== null && statusClass(entry.prevStatus) === 'PAID';
    if (fromPaid) expect(['PAID', 'REVIEW']).toContain(statusClass(entry.status));
  }
  expect(version).toBe(payment.version);
  return [statusClass(payment.status), payment.reviewReason, payment.paidAmount, payment.refundedAmount, payment.refundableAmount].join(' ');
}
