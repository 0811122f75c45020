/** How a row of a bill and the record of it differ, and both sides in words. */
import { formatDecimal, type Money } from '../payment/money.js';
import type { BillRow } from '../payment/platform.js';
import type { RefundStatus } from '../refund/refund-status.js';
import type { Period } from './bill-day.js';
import type { FindingKind } from './reconciliation.js';
import type { Match, RecordedPayment, RecordedRefund } from './records.js';

/** Null where they agree. */
export function differenceOf({ row, payment, refund }: Match, period: Period): FindingKind | null {
  if (row.kind === 'REFUND') return refund === null ? 'MISSING_HERE' : refundDifference(row, refund, period);
  return payment === null || isOther(row, payment) ? 'MISSING_HERE' : paymentDifference(row, payment);
}

/** A second payment of the same order: the one in the bill is not the one that is recorded. */
export function isOther({ kind, platformTransactionId }: BillRow, { transactionId }: RecordedPayment): boolean {
  return kind === 'PAYMENT' && platformTransactionId !== '' && transactionId !== null && transactionId !== platformTransactionId;
}

function paymentDifference(row: BillRow, payment: RecordedPayment): FindingKind | null {
  if (!isSame(row.amount, moneyOf(payment))) return 'AMOUNT_DIFFERS';
  // Money that is known to have come agrees, whatever a review still asks about it.
  return (row.state === 'DONE') === (payment.paidAt !== null) ? null : 'STATUS_DIFFERS';
}

/** A refund that came back after its success is a success of its day. */
const AGREEING: Record<BillRow['state'], readonly RefundStatus[]> = {
  DONE: ['SUCCEEDED', 'REVERSED'],
  OPEN: ['SUBMITTED', 'UNKNOWN', 'ABNORMAL'],
  FAILED: ['FAILED', 'ABNORMAL'],
};
const ENDED: readonly RefundStatus[] = ['SUCCEEDED', 'REVERSED', 'FAILED'];

function refundDifference({ amount, state }: BillRow, refund: RecordedRefund, { to }: Period): FindingKind | null {
  if (!isSame(amount, { currency: refund.currency, minorUnits: refund.amount })) return 'AMOUNT_DIFFERS';
  // What had no good end on that day may have had another one since.
  const endedLater = state !== 'DONE' && ENDED.includes(refund.status) && (refund.succeededAt ?? refund.updatedAt) >= to;
  return AGREEING[state].includes(refund.status) || endedLater ? null : 'STATUS_DIFFERS';
}

/** What was paid, which a person may have decided to be another amount than was ordered. */
const moneyOf = ({ amount, paidAmount, paidAt, currency }: RecordedPayment): Money => ({ currency, minorUnits: paidAt === null ? amount : paidAmount });

const isSame = (a: Money, b: Money): boolean => a.minorUnits === b.minorUnits && a.currency === b.currency;

/** What is recorded here, in words; empty where nothing is. */
export function recordedText({ row, payment, refund }: { row: Pick<BillRow, 'kind'>; payment: RecordedPayment | null; refund: RecordedRefund | null }): string {
  if (refund !== null) {
    const at = refund.succeededAt === null ? '' : ` at ${refund.succeededAt.toISOString()}`;
    return `refund of ${moneyText({ currency: refund.currency, minorUnits: refund.amount })}, ${refund.status}${at}`;
  }
  if (payment === null) return '';
  const named = payment.transactionId === null ? '' : ` as ${payment.transactionId}`;
  const at = payment.paidAt === null ? '' : ` at ${payment.paidAt.toISOString()}`;
  const text = `payment of ${moneyText(moneyOf(payment))}, ${payment.status}${named}${at}`;
  return row.kind === 'REFUND' ? `no such refund of the ${text}` : text;
}

const STATE_WORDS: Record<BillRow['state'], string> = { DONE: 'done', OPEN: 'under way', FAILED: 'came to nothing' };

export function billedText({ kind, amount, state, at, platformTransactionId, platformRefundNo, platformRefundId, word }: BillRow): string {
  const number = kind === 'PAYMENT' ? platformTransactionId : platformRefundNo || platformRefundId;
  return `${kind.toLowerCase()} of ${moneyText(amount)}, ${STATE_WORDS[state]} at ${at.toISOString()} as ${number || 'nothing'} (${word})`;
}

const moneyText = (money: Money): string => `${formatDecimal(money)} ${money.currency}`;
