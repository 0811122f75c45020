/** What platforms say about refunds, joined row by row; the ugly rows included. */
import type { RefundReport } from '../../src/payment/platform.js';
import { joinRefundReport } from '../../src/refund/join-refund-report.js';
import type { RefundReportSource } from '../../src/refund/refund.js';
import { REFUND_STATUSES, type RefundStatus } from '../../src/refund/refund-status.js';
import { minutes, newPayment, paid, refundIn, T0, type Fixture } from '../support/payments.js';

function paidPayment(): Fixture {
  const fixture = newPayment();
  fixture.payment.joinEvidence(paid(), 'QUERY', fixture.refunds, fixture.act());
  return fixture;
}
const says = (status: RefundReport['status'], change: Partial<RefundReport> = {}): RefundReport => ({
  status, retry: null, amount: null, platformRefundId: null, at: minutes(9), word: status, failure: null, notExecuted: false, ...change,
});

/** For each status: where a query's word leads it. "!" marks what contradicts the record and sends the payment to review. */
const BY_QUERY: Record<RefundStatus, Record<'SUBMITTED' | 'SUCCEEDED' | 'FAILED' | 'ABNORMAL' | 'UNKNOWN' | 'UNCHANGED', string>> = {
  CREATED: { SUBMITTED: 'SUBMITTED', SUCCEEDED: 'SUCCEEDED', FAILED: 'FAILED', ABNORMAL: 'ABNORMAL', UNKNOWN: 'UNKNOWN', UNCHANGED: 'CREATED' },
  SUBMITTED: { SUBMITTED: 'SUBMITTED', SUCCEEDED: 'SUCCEEDED', FAILED: 'FAILED', ABNORMAL: 'ABNORMAL', UNKNOWN: 'UNKNOWN', UNCHANGED: 'SUBMITTED' },
  UNKNOWN: { SUBMITTED: 'SUBMITTED', SUCCEEDED: 'SUCCEEDED', FAILED: 'FAILED', ABNORMAL: 'ABNORMAL', UNKNOWN: 'UNKNOWN', UNCHANGED: 'UNKNOWN' },
  ABNORMAL: { SUBMITTED: 'SUBMITTED', SUCCEEDED: 'SUCCEEDED', FAILED: 'FAILED', ABNORMAL: 'ABNORMAL', UNKNOWN: 'ABNORMAL', UNCHANGED: 'ABNORMAL' },
  SUCCEEDED: { SUBMITTED: 'SUCCEEDED', SUCCEEDED: 'SUCCEEDED', FAILED: 'SUCCEEDED!', ABNORMAL: 'SUCCEEDED!', UNKNOWN: 'SUCCEEDED', UNCHANGED: 'SUCCEEDED' },
  FAILED: { SUBMITTED: 'FAILED', SUCCEEDED: 'FAILED!', FAILED: 'FAILED', ABNORMAL: 'FAILED', UNKNOWN: 'FAILED', UNCHANGED: 'FAILED' },
  CANCELED: { SUBMITTED: 'CANCELED', SUCCEEDED: 'CANCELED!', FAILED: 'CANCELED', ABNORMAL: 'CANCELED', UNKNOWN: 'CANCELED', UNCHANGED: 'CANCELED' },
  REVERSED: { SUBMITTED: 'REVERSED', SUCCEEDED: 'REVERSED', FAILED: 'REVERSED', ABNORMAL: 'REVERSED', UNKNOWN: 'REVERSED', UNCHANGED: 'REVERSED' },
};
const rows = REFUND_STATUSES.flatMap((from) => Object.entries(BY_QUERY[from]).map(([word, to]) => ({ from, word: word as RefundReport['status'], to })));

test.each(rows)('a query says $word of a refund that is $from: $to', ({ from, word, to }) => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, from, 3_000n);
  fixture.payment.settleRefunds(fixture.refunds, fixture.act(), { kind: 'REFUND_CHANGED' });
  joinRefundReport({ ...fixture, refund }, says(word), 'QUERY', fixture.act(minutes(10)));

  expect(refund.status).toBe(to.replace('!', ''));
  const { payment } = fixture;
  expect(payment.reviewReason).toBe(to.endsWith('!') ? 'REFUND_CONTRADICTION' : null);
  expect(payment.refundedAmount + payment.reservedAmount).toBe(['FAILED', 'CANCELED', 'REVERSED'].includes(refund.status) ? 0n : 3_000n);
});

test.each<[string, RefundStatus, number, RefundReportSource, RefundStatus]>([
  ['a first send', 'CREATED', 1, 'SYNC_REPLY', 'FAILED'],
  ['a repeated send of a refund that was not taken in', 'CREATED', 2, 'SYNC_REPLY', 'UNKNOWN'],
  ['a repeated send of a refund in doubt', 'UNKNOWN', 2, 'SYNC_REPLY', 'UNKNOWN'],
  ['a query after a repeated send', 'UNKNOWN', 2, 'QUERY', 'FAILED'],
])('a definite refusal by %s', (_what, from, attempts, source, to) => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, from, 3_000n);
  refund.attempts = attempts;
  joinRefundReport({ ...fixture, refund }, says('FAILED', { retry: 'NEW_NUMBER' }), source, fixture.act());
  expect(refund.status).toBe(to);
  expect(fixture.payment.reservedAmount).toBe(to === 'FAILED' ? 0n : 3_000n);
});

test('a refusal that no query has confirmed uses up no number', () => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, 'UNKNOWN', 3_000n);
  refund.attempts = 2;
  joinRefundReport({ ...fixture, refund }, says('FAILED', { retry: 'NEW_NUMBER', failure: { code: 'X', message: '' } }), 'SYNC_REPLY', fixture.act());
  expect(refund).toMatchObject({ status: 'UNKNOWN', retry: 'SAME_NUMBER', failureCode: 'X' });
  joinRefundReport({ ...fixture, refund }, says('FAILED', { retry: 'NEW_NUMBER', confirmed: true }), 'SYNC_REPLY', fixture.act());
  expect(refund).toMatchObject({ status: 'FAILED', retry: 'NEW_NUMBER' });
});

test.each(['FAILED', 'ABNORMAL'] as const)('a notification that says %s of a success has it asked about, and only a query makes a review of it', (word) => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, 'SUCCEEDED', 3_000n);
  const hear = (status: RefundReport['status'], source: RefundReportSource) => joinRefundReport({ ...fixture, refund }, says(status), source, fixture.act());
  expect(hear('SUCCEEDED', 'QUERY')).toBe('UNCHANGED');
  expect(refund.isAsked).toBe(false);
  expect(hear(word, 'NOTIFICATION')).toBe('UNCHANGED');
  expect([refund.status, refund.isAsked, refund.canSend(T0), fixture.payment.status]).toEqual(['SUCCEEDED', true, false, 'PARTIALLY_REFUNDED']);
  // A late repetition of the success answers nothing, nor does a query that fails.
  hear('SUCCEEDED', 'NOTIFICATION');
  hear('UNCHANGED', 'QUERY');
  expect(refund.isAsked).toBe(true);

  hear('SUCCEEDED', 'QUERY');
  expect([refund.isAsked, fixture.payment.reviewReason]).toEqual([false, null]);
  hear(word, 'NOTIFICATION');
  expect(hear(word, 'QUERY')).toBe('CONTRADICTION');
  expect([refund.status, refund.isAsked, fixture.payment.reviewReason]).toEqual(['SUCCEEDED', false, 'REFUND_CONTRADICTION']);
});

test('money of a refund that may have moved sends the paid payment to review until the refund is settled', () => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, 'SUBMITTED', 3_000n);
  joinRefundReport({ ...fixture, refund }, says('UNKNOWN', { moneyUnclear: true, word: '74' }), 'QUERY', fixture.act());
  expect(refund.status).toBe('UNKNOWN');
  expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'MONEY_UNCLEAR', reservedAmount: 3_000n });
  joinRefundReport({ ...fixture, refund }, says('SUCCEEDED'), 'QUERY', fixture.act());
  expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', reviewReason: null, refundedAmount: 3_000n });
  joinRefundReport({ ...fixture, refund }, says('UNKNOWN', { moneyUnclear: true, word: '74' }), 'NOTIFICATION', fixture.act());
  expect(fixture.payment.status).toBe('PARTIALLY_REFUNDED');
});

test('a refusal of every refund leaves nothing to be refunded', () => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, 'CREATED', 3_000n);
  joinRefundReport({ ...fixture, refund }, says('FAILED', { retry: 'NEW_NUMBER', irrefundable: true }), 'SYNC_REPLY', fixture.act());
  expect(fixture.payment).toMatchObject({ status: 'SUCCEEDED', refundAllowed: false, refundableAmount: 0n, reservedAmount: 0n });
});

test('a success with another amount changes no refund and sends the payment to review', () => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, 'SUBMITTED', 3_000n);
  joinRefundReport({ ...fixture, refund }, says('SUCCEEDED', { amount: 2_999n }), 'QUERY', fixture.act());
  expect(refund.status).toBe('SUBMITTED');
  expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'AMOUNT_MISMATCH', reservedAmount: 3_000n });
});

test('a reversed refund gives the money back to what may be refunded', () => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, 'SUBMITTED', 10_000n);
  joinRefundReport({ ...fixture, refund }, says('SUCCEEDED'), 'QUERY', fixture.act());
  expect(fixture.payment).toMatchObject({ status: 'REFUNDED', refundableAmount: 0n });
  refund.status = 'REVERSED';
  fixture.payment.settleRefunds(fixture.refunds, fixture.act(), { kind: 'REFUND_CHANGED' });
  expect(fixture.payment).toMatchObject({ status: 'SUCCEEDED', refundableAmount: 10_000n });
});

test('a refund is canceled only while no send was ever marked', () => {
  const fixture = paidPayment();
  const fresh = refundIn(fixture, 'CREATED', 100n);
  fresh.attempts = 0;
  fresh.cancel(minutes(1));
  expect(fresh.status).toBe('CANCELED');
  const marked = refundIn(fixture, 'CREATED', 100n);
  marked.markSending({ at: T0, until: minutes(1) });
  expect(() => marked.cancel(minutes(1))).toThrow('was sent 1 times');
});

test('a mark that expired without an outcome means UNKNOWN, and not before', () => {
  const fixture = paidPayment();
  const refund = refundIn(fixture, 'CREATED', 100n);
  refund.markSending({ at: T0, until: minutes(1) });
  expect(refund.giveUpSending(T0)).toBe(false);
  expect(refund.canSend(T0)).toBe(false);
  expect(refund.giveUpSending(minutes(2))).toBe(true);
  expect(refund).toMatchObject({ status: 'UNKNOWN', retry: 'SAME_NUMBER' });
  expect(refund.canSend(minutes(2))).toBe(true);
});

describe('money refunded elsewhere', () => {
  const hear = (fixture: Fixture, refundedTotal: bigint) => fixture.payment.joinEvidence(paid(minutes(5), { refundedTotal }), 'QUERY', fixture.refunds, fixture.act());

  test('is not seen in a sum that our own refunds explain', () => {
    const fixture = paidPayment();
    refundIn(fixture, 'SUCCEEDED', 2_000n);
    refundIn(fixture, 'SUBMITTED', 1_000n);
    hear(fixture, 3_000n);
    expect(fixture.refunds.rows.filter(({ external }) => external)).toEqual([]);
    expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', refundableAmount: 7_000n });
  });

  test('waits for our open refunds, counts against what may be refunded meanwhile, and is booked once they are final', () => {
    const fixture = paidPayment();
    const open = refundIn(fixture, 'SUBMITTED', 1_000n);
    hear(fixture, 1_500n);
    expect(fixture.payment).toMatchObject({ status: 'SUCCEEDED', externalUnallocated: 500n, refundableAmount: 8_500n });
    joinRefundReport({ ...fixture, refund: open }, says('SUCCEEDED'), 'QUERY', fixture.act());
    expect(fixture.refunds.rows.map(({ external, amount }) => [external, amount])).toEqual([[false, 1_000n], [true, 500n]]);
    expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', refundedAmount: 1_500n, externalUnallocated: 0n });
  });

  test('that does not fit goes to review', () => {
    const fixture = paidPayment();
    hear(fixture, 10_001n);
    expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'EXTERNAL_REFUND', externalUnallocated: 10_001n, refundableAmount: 0n });
  });

  test('is booked once, however often it is heard', () => {
    const fixture = paidPayment();
    for (const total of [300n, 300n, 200n, 700n, 700n]) hear(fixture, total);
    expect(fixture.refunds.rows.map(({ amount }) => amount)).toEqual([300n, 400n]);
    expect(fixture.payment.refundedAmount).toBe(700n);
  });

  const named = (fixture: Fixture, number: string, amount: bigint) =>
    fixture.payment.joinRefundElsewhere(number, { amount, platformRefundId: `F${number}`, at: minutes(9) }, 'NOTIFICATION', fixture.refunds, fixture.act());

  test('under a number of its own is booked under it, once', () => {
    const fixture = paidPayment();
    expect([named(fixture, 'E1', 300n), named(fixture, 'E2', 400n)]).toEqual(['APPLIED', 'APPLIED']);
    expect(fixture.refunds.rows).toMatchObject([
      { external: true, platformRefundNo: 'E1', platformRefundId: 'FE1', amount: 300n, status: 'SUCCEEDED' },
      { external: true, platformRefundNo: 'E2', amount: 400n },
    ]);
    expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', refundedAmount: 700n, refundableAmount: 9_300n });
  });

  test('under a number of its own finds room beside our reservations, or waits for it in review', () => {
    const fixture = paidPayment();
    const open = refundIn(fixture, 'SUBMITTED', 9_000n);
    fixture.payment.settleRefunds(fixture.refunds, fixture.act(), { kind: 'REFUND_CHANGED' });
    named(fixture, 'E1', 1_000n);
    expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', refundedAmount: 1_000n, refundableAmount: 0n });
    named(fixture, 'E2', 500n);
    named(fixture, 'E2', 500n);
    expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', externalUnallocated: 500n, refundableAmount: 0n });
    joinRefundReport({ ...fixture, refund: open }, says('FAILED', { retry: 'NEW_NUMBER' }), 'QUERY', fixture.act());
    expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', refundedAmount: 1_500n, externalUnallocated: 0n, refundableAmount: 8_500n });
    named(fixture, 'E3', 9_999n);
    expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'EXTERNAL_REFUND', externalUnallocated: 9_999n });
  });

  test('and told before the payment is booked once that is known', () => {
    const fixture = newPayment();
    named(fixture, 'E1', 300n);
    expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'EXTERNAL_REFUND', refundedAmount: 0n });
    fixture.payment.joinEvidence(paid(), 'QUERY', fixture.refunds, fixture.act());
    expect(fixture.payment).toMatchObject({ status: 'PARTIALLY_REFUNDED', refundedAmount: 300n, paidAmount: 10_000n });
  });
});
