/** WeChat Pay's words as evidence and outcomes. The tables are total: what they do not list is UNKNOWN and never a status by default. */
import type { Money } from '../../payment/money.js';
import type { CallOutcome, Failure, PaymentEvidence, RefundReport } from '../../payment/platform.js';
import { parseOffsetTime } from '../beijing-time.js';
import { nodeOf, plainCode, textOf, type Answer, type Failed, type Node } from './client.js';

/** An order as queries and notifications show it. `merchantAccount` is our name of its account, or what it names instead. */
export function evidenceOf(order: Node, facts: { at: Date; merchantAccount: string }): PaymentEvidence {
  const word = textOf(order, 'trade_state') || 'NO_TRADE_STATE';
  const { at } = facts;
  switch (word) {
    case 'NOTPAY':
      return { class: 'AWAITING_BUYER', at, word };
    case 'USERPAYING':
    case 'ACCEPTED':
      return { class: 'IN_PROGRESS', at, word };
    case 'SUCCESS':
    // A refund has begun, partly or in full, or has even failed: no more than that it was paid.
    case 'REFUND':
      return paidEvidence(order, word, facts);
    case 'CLOSED':
      return { class: 'NEGATIVE_FINAL', status: 'CLOSED', at, word };
    case 'REVOKED':
      return { class: 'NEGATIVE_FINAL', status: 'CANCELED', at, word };
    case 'PAYERROR':
      return { class: 'NEGATIVE_FINAL', status: 'FAILED', at, word };
    default:
      return { class: 'UNMAPPED', at, word };
  }
}

function paidEvidence(order: Node, word: string, facts: { at: Date; merchantAccount: string }): PaymentEvidence {
  const transactionId = textOf(order, 'transaction_id');
  const amount = amountOf(nodeOf(order, 'amount'), 'total');
  // Paid, but by how much or as what cannot be read: money may have moved, and nobody may guess.
  if (amount === null || transactionId === '') return { class: 'MONEY_UNCLEAR', at: facts.at, word };
  const at = parseOffsetTime(textOf(order, 'success_time')) ?? facts.at;
  const { merchantAccount } = facts;
  return { class: 'PAID', at, word, amount, transactionId, merchantAccount, refundedTotal: null, refundable: true };
}

const QUERY = { kind: 'REJECTED', meaning: 'QUERY' } as const;
const CONFLICT = { kind: 'REJECTED', meaning: 'CONFLICT' } as const;
const FINAL = { kind: 'REJECTED', meaning: 'FINAL' } as const;

const UNMAPPED = { kind: 'UNKNOWN', unmapped: true } as const;

type Verdict = typeof QUERY | typeof CONFLICT | typeof FINAL;

/** Final only where a query finds no order: the adapter asks. */
const CREATE_REFUSALS: Readonly<Record<string, Verdict>> = {
  ORDERPAID: QUERY,
  ORDERCLOSED: QUERY,
  TRADEERROR: QUERY,
  INVALIDREQUEST: QUERY,
  OUTTRADENOUSED: CONFLICT,
  NOTENOUGH: FINAL,
  ACCOUNTERROR: FINAL,
  RULELIMIT: FINAL,
  REQUESTBLOCKED: FINAL,
};

const CLOSE_REFUSALS: Readonly<Record<string, Verdict>> = {
  ORDERPAID: QUERY,
  ORDERCLOSED: QUERY,
  TRADEERROR: QUERY,
  INVALIDREQUEST: QUERY,
};

export type Unaccepted = Exclude<CallOutcome<never>, { kind: 'ACCEPTED' }>;

export const createOutcome = (answer: Failed): Unaccepted => outcomeOf(answer, CREATE_REFUSALS);
export const closeOutcome = (answer: Failed): Unaccepted => outcomeOf(answer, CLOSE_REFUSALS);
/** A refused query says nothing about the order, but for "there is none", which the adapter has looked at before. */
export const queryOutcome = (answer: Failed): Unaccepted => outcomeOf(answer, {}, { kind: 'UNKNOWN' });

function outcomeOf(answer: Failed, refusals: Readonly<Record<string, Verdict>>, otherwise: { kind: 'UNKNOWN'; unmapped?: boolean } = UNMAPPED): Unaccepted {
  if (answer.kind !== 'REFUSED') return answer;
  const { code, message } = answer;
  return { ...(isUnderWay(answer) ? { kind: 'UNKNOWN' } : (refusals[plainCode(code)] ?? otherwise)), code, message };
}

/** Answered with HTTP 202: taken in, its outcome open. */
const UNDER_WAY = new Set(['USERPAYING', 'ACCEPTED']);
export const isUnderWay = (answer: Answer): boolean => answer.kind === 'REFUSED' && UNDER_WAY.has(plainCode(answer.code));

export const isAbsent = (answer: Answer, code: 'ORDERNOTEXIST' | 'RESOURCENOTEXISTS'): boolean =>
  answer.kind === 'REFUSED' && plainCode(answer.code) === code;

const NOTHING = { retry: null, amount: null, platformRefundId: null, failure: null, notExecuted: false } as const;

/** A refund as answers (`status`) and notifications (`refund_status`) show it. */
export function refundReportOf(refund: Node, status: string, at: Date): RefundReport {
  const amount = amountOf(nodeOf(refund, 'amount'), 'refund')?.minorUnits ?? null;
  const said = { ...NOTHING, platformRefundId: textOf(refund, 'refund_id') || null, at, word: status || 'NO_STATUS' };
  switch (status) {
    case 'PROCESSING':
      return { ...said, status: 'SUBMITTED' };
    case 'SUCCESS':
      // Returned, but how much cannot be read, so it cannot be compared.
      if (amount === null) return { ...said, status: 'UNKNOWN', word: 'UNREADABLE_AMOUNT', unmapped: true };
      return { ...said, status: 'SUCCEEDED', amount, at: parseOffsetTime(textOf(refund, 'success_time')) ?? at };
    case 'CLOSED':
      return { ...said, status: 'FAILED', retry: 'NEW_NUMBER', failure: { code: status, message: 'the refund was closed, no money moved' } };
    case 'ABNORMAL':
      return { ...said, status: 'ABNORMAL', failure: { code: status, message: 'the buyer\'s account cannot take the money' } };
    default:
      return { ...said, status: 'UNKNOWN', unmapped: true };
  }
}

/** What becomes of a refused refund: certain at once, or only once a query finds no such refund. */
export type RefundVerdict = 'LATER' | 'DOUBT' | 'FAILED_IF_ABSENT' | 'FAILED_IF_ORDER_ABSENT';

const REFUND_REFUSALS: Readonly<Record<string, RefundVerdict>> = {
  NOTENOUGH: 'LATER',
  RESOURCENOTEXISTS: 'FAILED_IF_ORDER_ABSENT',
  INVALIDREQUEST: 'FAILED_IF_ABSENT',
  TRADEERROR: 'FAILED_IF_ABSENT',
  RULELIMIT: 'FAILED_IF_ABSENT',
  REQUESTBLOCKED: 'FAILED_IF_ABSENT',
  USERACCOUNTABNORMAL: 'FAILED_IF_ABSENT',
  ACCOUNTERROR: 'FAILED_IF_ABSENT',
};

export const refundVerdict = (answer: Failed): RefundVerdict => {
  if (answer.kind === 'REFUSED') return REFUND_REFUSALS[plainCode(answer.code)] ?? 'DOUBT';
  return answer.kind === 'UNKNOWN' ? 'DOUBT' : 'LATER';
};

export function unsettledRefund(answer: Failed, verdict: RefundVerdict, at: Date): RefundReport {
  const said = { ...NOTHING, at, word: answer.code, failure: failureOf(answer) };
  if (verdict === 'LATER') return { ...said, status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true };
  const unmapped = answer.kind === 'REFUSED' && !isUnderWay(answer) && REFUND_REFUSALS[plainCode(answer.code)] === undefined;
  return { ...said, status: 'UNKNOWN', retry: 'SAME_NUMBER', ...(unmapped ? { unmapped } : {}) };
}

export const refusedRefund = (answer: Failed, at: Date): RefundReport => ({
  ...NOTHING,
  status: 'FAILED',
  retry: 'NEW_NUMBER',
  at,
  word: answer.code,
  failure: failureOf(answer),
  confirmed: true,
});

/** A refund query that found nothing, or that failed. */
export function missingRefund(answer: Failed, at: Date): RefundReport {
  const said = { ...NOTHING, at, word: answer.code };
  // Not taken in, or not yet: the same number again is safe.
  if (isAbsent(answer, 'RESOURCENOTEXISTS')) return { ...said, status: 'UNKNOWN', retry: 'SAME_NUMBER' };
  return { ...said, status: 'UNCHANGED', failure: failureOf(answer) };
}

const failureOf = ({ code, message }: Failure): Failure => ({ code, message });

/** Fen as a JSON integer beside a currency. */
function amountOf(amount: Node, name: string): Money | null {
  const { currency } = amount;
  const fen = amount[name];
  if (typeof fen !== 'number' || !Number.isSafeInteger(fen) || fen < 0) return null;
  // Notifications of refunds leave the currency out; there is only one.
  if (currency !== undefined && typeof currency !== 'string') return null;
  return { currency: currency ?? 'CNY', minorUnits: BigInt(fen) };
}
