/** What counts as evidence, rule by rule, each with its ugly row. */
import type { EvidenceSource } from '../../src/payment/facts.js';
import { findChainFault, type PaymentLogEntry } from '../../src/payment/payment-log.js';
import type { PaymentEvidence } from '../../src/payment/platform.js';
import { closed, CNY, failed, heard, minutes, newPayment, paid } from '../support/payments.js';

const attemptFailed = (at: Date): PaymentEvidence => ({ class: 'ATTEMPT_FAILED', at, word: '64' });

type Heard = readonly [PaymentEvidence, EvidenceSource];

test.each<[string, readonly Heard[], string]>([
  ['the buyer is awaited', [[heard('AWAITING_BUYER'), 'QUERY']], 'STALE'],
  ['the buyer is paying', [[heard('IN_PROGRESS'), 'QUERY']], 'APPLIED'],
  ['the same again', [[heard('IN_PROGRESS'), 'QUERY'], [heard('IN_PROGRESS'), 'QUERY']], 'DUPLICATE'],
  ['an older word after a newer one', [[heard('IN_PROGRESS', minutes(5)), 'QUERY'], [heard('AWAITING_BUYER', minutes(4)), 'NOTIFICATION']], 'DUPLICATE'],
  ['paid', [[paid(), 'NOTIFICATION']], 'APPLIED'],
  ['paid, told again by a weaker source', [[paid(), 'QUERY'], [paid(), 'NOTIFICATION']], 'DUPLICATE'],
  ['paid, told again by a stronger source', [[paid(), 'NOTIFICATION'], [paid(), 'QUERY']], 'STALE'],
  ['unpaid, told late, after paid', [[paid(), 'NOTIFICATION'], [heard('AWAITING_BUYER', minutes(9)), 'QUERY']], 'STALE'],
  ['a failed query of ours', [[heard('INCONCLUSIVE'), 'QUERY']], 'DUPLICATE'],
  ['a failed act of ours', [[heard('INCONCLUSIVE'), 'SYNC_REPLY']], 'APPLIED'],
  ['a word without a mapping', [[heard('UNMAPPED'), 'QUERY']], 'APPLIED'],
  ['a word without a mapping, after paid', [[paid(), 'QUERY'], [heard('UNMAPPED', minutes(9)), 'QUERY']], 'STALE'],
  ['not found before expiry', [[heard('NOT_FOUND', minutes(29)), 'QUERY']], 'DUPLICATE'],
  ['not found within the margin', [[heard('NOT_FOUND', minutes(39)), 'QUERY']], 'DUPLICATE'],
  ['not found after the margin', [[heard('NOT_FOUND', minutes(41)), 'QUERY']], 'APPLIED'],
  ['an attempt failed before expiry', [[attemptFailed(minutes(29)), 'QUERY']], 'DUPLICATE'],
  ['an attempt failed within the margin', [[attemptFailed(minutes(39)), 'QUERY']], 'DUPLICATE'],
  ['an attempt failed, and no other can come', [[attemptFailed(minutes(41)), 'QUERY']], 'APPLIED'],
  ['an attempt failed, and another was paid', [[attemptFailed(minutes(4)), 'QUERY'], [paid(), 'NOTIFICATION']], 'APPLIED'],
  ['not found after paid', [[paid(), 'NOTIFICATION'], [heard('NOT_FOUND', minutes(41)), 'QUERY']], 'STALE'],
  ['closed', [[closed(), 'QUERY']], 'APPLIED'],
  ['failed and then closed: one class, first kind kept', [[failed(), 'QUERY'], [closed(), 'QUERY']], 'DUPLICATE'],
  ['paid after it was closed', [[closed(minutes(3)), 'QUERY'], [paid(minutes(5)), 'NOTIFICATION']], 'CONFLICT'],
  ['closed, told later, of a time before it was paid', [[paid(minutes(5)), 'NOTIFICATION'], [closed(minutes(3)), 'QUERY']], 'CONFLICT'],
  ['closed after it was paid', [[paid(minutes(5)), 'QUERY'], [closed(minutes(9)), 'QUERY']], 'CONFLICT'],
  ['another transaction', [[paid(), 'QUERY'], [paid(minutes(6), { transactionId: 'tx-2' }), 'NOTIFICATION']], 'CONFLICT'],
  ['another amount', [[paid(minutes(5), { amount: CNY(1n) }), 'NOTIFICATION']], 'CONFLICT'],
  ['another currency', [[paid(minutes(5), { amount: { currency: 'HKD', minorUnits: 10_000n } }), 'NOTIFICATION']], 'CONFLICT'],
  ['another account', [[paid(minutes(5), { merchantAccount: 'other' }), 'NOTIFICATION']], 'CONFLICT'],
  ['money may have moved', [[heard('MONEY_UNCLEAR'), 'QUERY']], 'CONFLICT'],
  ['money may have moved, and did', [[heard('MONEY_UNCLEAR'), 'QUERY'], [paid(), 'QUERY']], 'APPLIED'],
])('%s', (_what, told, last) => {
  const fixture = newPayment();
  const outcomes = told.map(([evidence, source], index) => fixture.payment.joinEvidence(evidence, source, fixture.refunds, fixture.act(minutes(50 + index))));
  expect(outcomes.at(-1)).toBe(last);
  expectHonestLog(fixture.log, fixture.payment);
});

test.each([[['tx-registered', 'tx-other']], [['tx-other', 'tx-registered']]])('a payment registered with its transaction is not paid by another one: %j', (transactionIds) => {
  const fixture = newPayment({ platformTransactionId: 'tx-registered' });
  for (const transactionId of transactionIds) fixture.payment.joinEvidence(paid(minutes(5), { transactionId }), 'NOTIFICATION', fixture.refunds, fixture.act());
  expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'IDENTITY_MISMATCH', platformTransactionId: 'tx-registered', paidAmount: 10_000n });
  expectHonestLog(fixture.log, fixture.payment);
});

test('a payment first seen as refunded walks through SUCCEEDED, one version and one entry for each edge', () => {
  const fixture = newPayment();
  fixture.payment.joinEvidence(paid(minutes(5), { refundedTotal: 10_000n }), 'QUERY', fixture.refunds, fixture.act());
  expect(fixture.log.map(({ version, prevStatus, status }) => [version, prevStatus, status])).toEqual([
    [1, null, 'PENDING'],
    [2, 'PENDING', 'SUCCEEDED'],
    [3, 'SUCCEEDED', 'REFUNDED'],
  ]);
});

test.each([['ATTEMPT_FAILED', 'FAILED'], ['NOT_FOUND', 'CLOSED']] as const)('after the margin %s is %s, and without an expiry it is nothing', (kind, status) => {
  for (const expireAt of [minutes(30), null]) {
    const fixture = newPayment({ expireAt });
    fixture.payment.joinEvidence({ class: kind, at: minutes(41), word: 'x' }, 'QUERY', fixture.refunds, fixture.act());
    expect(fixture.payment.status).toBe(expireAt === null ? 'PENDING' : status);
  }
});

test('a success with a defect of the platform is a success, and flagged once', () => {
  const fixture = newPayment();
  for (const source of ['NOTIFICATION', 'QUERY'] as const) fixture.payment.joinEvidence(paid(minutes(5), { defective: true }), source, fixture.refunds, fixture.act());
  expect(fixture.payment).toMatchObject({ status: 'SUCCEEDED', flags: ['DEFECTIVE_SUCCESS'], version: 3 });
  expectHonestLog(fixture.log, fixture.payment);
});

test('an exhausted schedule leads to review, and newer evidence leads out by itself', () => {
  const fixture = newPayment({ expireAt: null });
  expect(fixture.payment.exhaust(fixture.refunds, fixture.act(minutes(60)))).toBe('CONFLICT');
  expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'SYNC_EXHAUSTED' });
  fixture.payment.joinEvidence(heard('IN_PROGRESS', minutes(61)), 'QUERY', fixture.refunds, fixture.act(minutes(61)));
  expect(fixture.payment).toMatchObject({ status: 'PROCESSING', reviewReason: null });
});

test('a decision holds against repetitions of what it covered, and not against news', () => {
  const fixture = newPayment();
  const hear = (evidence: PaymentEvidence) => fixture.payment.joinEvidence(evidence, 'QUERY', fixture.refunds, fixture.act());
  hear(closed(minutes(3)));
  hear(paid(minutes(5)));
  expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'LATE_SUCCESS' });
  const decision = { decision: 'PAID', by: 'operator anna', reason: 'goods are still there', proof: 'ticket 1', paid: null } as const;
  fixture.payment.resolve(decision, fixture.refunds, fixture.act(minutes(9)));
  expect(fixture.payment).toMatchObject({ status: 'SUCCEEDED', paidAmount: 10_000n });

  hear(closed(minutes(3)));
  hear(paid(minutes(5)));
  expect(fixture.payment.status).toBe('SUCCEEDED');
  hear(paid(minutes(6), { transactionId: 'tx-2' }));
  expect(fixture.payment).toMatchObject({ status: 'REVIEW', reviewReason: 'IDENTITY_MISMATCH' });
});

describe('the hash chain', () => {
  const chain = (): { log: PaymentLogEntry[]; head: { seq: number; hash: string | null } } => {
    const fixture = newPayment();
    for (const [index, evidence] of [heard('IN_PROGRESS'), paid(), closed()].entries()) {
      fixture.payment.joinEvidence(evidence, 'NOTIFICATION', fixture.refunds, fixture.act(minutes(50 + index)));
    }
    return { log: fixture.log, head: { seq: fixture.payment.logSeq, hash: fixture.payment.logHash } };
  };

  test('holds for what was written', () => {
    const { log, head } = chain();
    expect(findChainFault(log, head)).toBeNull();
  });

  const fields = ['version', 'kind', 'actorType', 'actorId', 'source', 'prevStatus', 'status', 'refundId', 'reason', 'errorCode', 'errorMessage', 'evidence', 'occurredAt', 'recordedAt', 'hash'] as const;
  test.each(fields)('shows a changed %s at its entry', (field) => {
    const { log, head } = chain();
    const changed = { version: 9, evidence: { amount: '1 CNY' }, occurredAt: minutes(999), recordedAt: minutes(999) } as Record<string, unknown>;
    Object.assign(log[2]!, { [field]: changed[field] ?? 'changed' });
    expect(findChainFault(log, head)?.seq).toBe(3);
  });

  test.each<[string, (log: PaymentLogEntry[]) => PaymentLogEntry[], number]>([
    ['a removed entry', (log) => log.filter(({ seq }) => seq !== 2), 2],
    ['a removed last entry', (log) => log.slice(0, -1), 4],
    ['exchanged entries', (log) => [log[1]!, log[0]!, ...log.slice(2)], 1],
    ['an inserted entry', (log) => [...log, Object.assign(Object.create(Object.getPrototypeOf(log[0]) as object) as PaymentLogEntry, log[3], { seq: 5 })], 5],
  ])('shows %s', (_what, tamper, seq) => {
    const { log, head } = chain();
    expect(findChainFault(tamper(log), head)?.seq).toBe(seq);
  });
});

function expectHonestLog(log: readonly PaymentLogEntry[], payment: { version: number; logSeq: number; logHash: string | null }): void {
  expect(log.filter(({ version }) => version !== null).map(({ version }) => version)).toEqual(Array.from({ length: payment.version }, (_, index) => index + 1));
  expect(findChainFault(log, { seq: payment.logSeq, hash: payment.logHash })).toBeNull();
}
