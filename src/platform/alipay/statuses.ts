/** Alipay's words as evidence and outcomes. The tables are total: what they do not list is UNKNOWN and never a status by default. */
import { parseDecimal } from '../../payment/money.js';
import type { Money } from '../../payment/money.js';
import type { CallOutcome, Failure, PaymentEvidence, RefundReport } from '../../payment/platform.js';
import { parseBeijingTime } from '../beijing-time.js';
import { textOf, type Answer, type Node } from './client.js';

export type TradeStatus = 'WAIT_BUYER_PAY' | 'TRADE_SUCCESS' | 'TRADE_FINISHED' | 'TRADE_CLOSED';

export interface Trade {
  readonly status: string;
  readonly transactionId: string;
  readonly merchantAccount: string | null;
  readonly total: Money | null;
  readonly refundedTotal: bigint | null;
  readonly paidAt: Date | null;
  readonly closedAt: Date | null;
  /** Whether anything in it shows that the buyer paid. */
  readonly showsPayment: boolean;
  /** When the platform said so; the time of asking for a query. */
  readonly at: Date;
}

/** A trade's fields, named alike in query answers and notifications but for the payment time. */
export function readTrade(node: Node, facts: { at: Date; merchantAccount: string | null }): Trade {
  const status = textOf(node, 'trade_status');
  const total = yuan(textOf(node, 'total_amount'));
  const refundedTotal = yuan(textOf(node, 'refund_fee'))?.minorUnits ?? null;
  const paidAt = parseBeijingTime(textOf(node, 'send_pay_date')) ?? parseBeijingTime(textOf(node, 'gmt_payment'));
  const positive = (name: string): boolean => (yuan(textOf(node, name))?.minorUnits ?? 0n) > 0n;
  const showsPayment =
    paidAt !== null || positive('buyer_pay_amount') || positive('receipt_amount') || positive('refund_fee') || textOf(node, 'gmt_refund') !== '';
  return {
    status,
    transactionId: textOf(node, 'trade_no'),
    merchantAccount: facts.merchantAccount,
    total,
    refundedTotal,
    paidAt,
    closedAt: parseBeijingTime(textOf(node, 'gmt_close')),
    showsPayment,
    at: facts.at,
  };
}

export function evidenceOf(trade: Trade): PaymentEvidence {
  const word = trade.status === '' ? 'NO_TRADE_STATUS' : trade.status;
  switch (trade.status as TradeStatus) {
    case 'WAIT_BUYER_PAY':
      return { class: 'AWAITING_BUYER', at: trade.at, word };
    case 'TRADE_SUCCESS':
      return paidEvidence(trade, word, { refundedTotal: trade.refundedTotal, refundable: true });
    case 'TRADE_FINISHED':
      return paidEvidence(trade, word, { refundedTotal: trade.refundedTotal, refundable: false });
    case 'TRADE_CLOSED':
      // Both "never paid" and "fully refunded": only signs of a payment tell them apart.
      if (!trade.showsPayment) return { class: 'NEGATIVE_FINAL', status: 'CLOSED', at: trade.closedAt ?? trade.at, word };
      return paidEvidence(trade, word, { refundedTotal: trade.refundedTotal ?? trade.total?.minorUnits ?? null, refundable: false });
    default:
      return { class: 'UNMAPPED', at: trade.at, word };
  }
}

function paidEvidence(trade: Trade, word: string, more: { refundedTotal: bigint | null; refundable: boolean }): PaymentEvidence {
  const { total, transactionId, merchantAccount } = trade;
  // Paid, but by how much or as what cannot be read: money may have moved, and nobody may guess.
  if (total === null || transactionId === '') return { class: 'MONEY_UNCLEAR', at: trade.at, word };
  return { class: 'PAID', at: trade.paidAt ?? trade.at, word, amount: total, transactionId, merchantAccount, ...more };
}

const QUERY = { kind: 'REJECTED', meaning: 'QUERY' } as const;
const FINAL = { kind: 'REJECTED', meaning: 'FINAL' } as const;
const CONFLICT = { kind: 'REJECTED', meaning: 'CONFLICT' } as const;
const UNKNOWN = { kind: 'UNKNOWN' } as const;
const UNMAPPED = { kind: 'UNKNOWN', unmapped: true } as const;
const MISCONFIGURED = { kind: 'MISCONFIGURED' } as const;

type Verdict = typeof QUERY | typeof FINAL | typeof CONFLICT | typeof UNKNOWN | typeof UNMAPPED | typeof MISCONFIGURED;

const SYSTEM_ERRORS = { 'ACQ.SYSTEM_ERROR': UNKNOWN, 'AQC.SYSTEM_ERROR': UNKNOWN } as const;

const CREATE_REFUSALS: Readonly<Record<string, Verdict>> = {
  ...SYSTEM_ERRORS,
  'ACQ.INVALID_PARAMETER': FINAL,
  'ACQ.ACCESS_FORBIDDEN': FINAL,
  'ACQ.PARTNER_ERROR': FINAL,
  'ACQ.EXIST_FORBIDDEN_WORD': FINAL,
  'ACQ.TOTAL_FEE_EXCEED': FINAL,
  'ACQ.BEYOND_PAY_RESTRICTION': FINAL,
  'ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR': FINAL,
  'ACQ.BUYER_SELLER_EQUAL': FINAL,
  'ACQ.BUYER_ENABLE_STATUS_FORBID': FINAL,
  'ACQ.TRADE_BUYER_NOT_MATCH': FINAL,
  'ACQ.SELLER_BEEN_BLOCKED': FINAL,
  'ACQ.CONTEXT_INCONSISTENT': CONFLICT,
  'ACQ.TRADE_HAS_SUCCESS': QUERY,
  'ACQ.TRADE_HAS_CLOSE': QUERY,
  'ACQ.TRADE_STATUS_ERROR': QUERY,
};

const CLOSE_REFUSALS: Readonly<Record<string, Verdict>> = {
  ...SYSTEM_ERRORS,
  'ACQ.TRADE_HAS_SUCCESS': QUERY,
  'ACQ.TRADE_HAS_CLOSE': QUERY,
  'ACQ.TRADE_STATUS_ERROR': QUERY,
  'ACQ.REASON_TRADE_STATUS_INVALID': QUERY,
  'ACQ.REASON_ILLEGAL_STATUS': QUERY,
  'ACQ.INVALID_PARAMETER': MISCONFIGURED,
};

export type Failed<T> = Exclude<CallOutcome<T>, { kind: 'ACCEPTED' }>;

export const createOutcome = (answer: Exclude<Answer, { kind: 'OK' }>): Failed<never> => outcomeOf(answer, CREATE_REFUSALS);
export const closeOutcome = (answer: Exclude<Answer, { kind: 'OK' }>): Failed<never> => outcomeOf(answer, CLOSE_REFUSALS);
/** A refused query says nothing about the trade, but for "there is none", which the adapter has looked at before. */
export const queryOutcome = (answer: Exclude<Answer, { kind: 'OK' }>): Failed<never> => outcomeOf(answer, {}, UNKNOWN);

function outcomeOf(answer: Exclude<Answer, { kind: 'OK' }>, refusals: Readonly<Record<string, Verdict>>, otherwise: Verdict = UNMAPPED): Failed<never> {
  if (answer.kind !== 'REFUSED') return answer;
  const { code, message } = answer;
  return { ...(refusals[code] ?? otherwise), code, message };
}

type RefundVerdict = Pick<RefundReport, 'status' | 'retry' | 'irrefundable' | 'unmapped'> & { readonly notExecuted?: boolean };

const SEND_AGAIN_LATER: RefundVerdict = { status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true };
const REFUND_UNKNOWN: RefundVerdict = { status: 'UNKNOWN', retry: null };
const REFUND_IN_DOUBT: RefundVerdict = { status: 'UNKNOWN', retry: 'SAME_NUMBER' };
const REFUND_UNMAPPED: RefundVerdict = { ...REFUND_IN_DOUBT, unmapped: true };
const REFUND_FAILED: RefundVerdict = { status: 'FAILED', retry: 'NEW_NUMBER' };
const REFUNDS_ENDED: RefundVerdict = { ...REFUND_FAILED, irrefundable: true };

const REFUND_REFUSALS: Readonly<Record<string, RefundVerdict>> = {
  'ACQ.SYSTEM_ERROR': REFUND_IN_DOUBT,
  'AQC.SYSTEM_ERROR': REFUND_IN_DOUBT,
  'ACQ.SELLER_BALANCE_NOT_ENOUGH': SEND_AGAIN_LATER,
  'ACQ.REASON_TRADE_BEEN_FREEZEN': SEND_AGAIN_LATER,
  'ACQ.DISCORDANT_REPEAT_REQUEST': REFUND_UNKNOWN,
  'ACQ.TRADE_STATUS_ERROR': REFUND_UNKNOWN,
  'ACQ.REASON_TRADE_STATUS_INVALID': REFUND_UNKNOWN,
  'ACQ.REASON_ILLEGAL_STATUS': REFUND_UNKNOWN,
  'ACQ.REFUND_AMT_NOT_EQUAL_TOTAL': REFUND_FAILED,
  'ACQ.REASON_TRADE_REFUND_FEE_ERR': REFUND_FAILED,
  'ACQ.REFUND_FEE_ERROR': REFUND_FAILED,
  'ACQ.TRADE_NOT_EXIST': REFUND_FAILED,
  'ACQ.TRADE_HAS_FINISHED': REFUNDS_ENDED,
  'ACQ.TRADE_NOT_ALLOW_REFUND': REFUNDS_ENDED,
};

/** What the answer to a refund says; `at` is the time of the call. */
export function refundReport(answer: Answer, at: Date): RefundReport {
  if (answer.kind !== 'OK') return failedRefund(answer, at);
  // 10000 alone is no refund: money moved in this very call only with fund_change=Y; else a query decides.
  const moved = textOf(answer.node, 'fund_change') === 'Y';
  const word = moved ? 'FUND_CHANGE_Y' : 'FUND_CHANGE_N';
  return { ...NOTHING, status: moved ? 'SUCCEEDED' : 'SUBMITTED', at, word };
}

export const NO_REFUND = 'NO_REFUND_STATUS';

/** The platform wants this long between a refund and the query that may call it missing. */
const TOO_EARLY_MS = 10_000;

export function refundQueryReport(answer: Answer, asked: { at: Date; sentAt: Date | null }): RefundReport {
  const { at } = asked;
  if (answer.kind !== 'OK') {
    // A failed query proves nothing about the refund.
    return { ...NOTHING, status: 'UNCHANGED', retry: null, at, word: answer.code, failure: failureOf(answer) };
  }
  const status = textOf(answer.node, 'refund_status');
  const amount = answer.node['refund_amount'];
  const platformAmount = yuan(textOf(answer.node, 'refund_amount'))?.minorUnits ?? null;
  if (status === 'REFUND_SUCCESS' && amount !== undefined && platformAmount === null) {
    // Returned, but how much cannot be read, so it cannot be compared.
    return { ...NOTHING, status: 'UNKNOWN', at, word: 'UNREADABLE_AMOUNT', unmapped: true };
  }
  if (status === 'REFUND_SUCCESS') {
    const refundedAt = parseBeijingTime(textOf(answer.node, 'gmt_refund_pay')) ?? at;
    return { ...NOTHING, status: 'SUCCEEDED', amount: platformAmount, at: refundedAt, word: status };
  }
  if (status !== '') return { ...NOTHING, status: 'UNKNOWN', at, word: status, unmapped: true };
  const early = asked.sentAt === null || at.getTime() - asked.sentAt.getTime() < TOO_EARLY_MS;
  // Never FAILED: the first send may still be executed. Sending the same number again is safe.
  return early
    ? { ...NOTHING, status: 'UNCHANGED', at, word: NO_REFUND }
    : { ...NOTHING, status: 'UNKNOWN', retry: 'SAME_NUMBER', at, word: NO_REFUND };
}

const NOTHING = { retry: null, amount: null, platformRefundId: null, failure: null, notExecuted: false } as const;

function failedRefund(answer: Exclude<Answer, { kind: 'OK' }>, at: Date): RefundReport {
  return { ...NOTHING, ...refundVerdict(answer), at, word: answer.code, failure: failureOf(answer) };
}

function refundVerdict(answer: Exclude<Answer, { kind: 'OK' }>): RefundVerdict {
  if (answer.kind === 'REFUSED') return REFUND_REFUSALS[answer.code] ?? REFUND_UNMAPPED;
  if (answer.kind === 'UNKNOWN') return answer.unmapped === true ? REFUND_UNMAPPED : REFUND_IN_DOUBT;
  return SEND_AGAIN_LATER;
}

const failureOf = ({ code, message }: Failure): Failure => ({ code, message });

/** Yuan of domestic trades, which have no currency field. */
function yuan(text: string): Money | null {
  if (!/^\d{1,9}(?:\.\d{1,2})?$/.test(text)) return null;
  const minorUnits = parseDecimal(text, 'CNY');
  return minorUnits === null ? null : { currency: 'CNY', minorUnits };
}
