/** UnionPay's codes as evidence and outcomes. The tables are total: what they do not list is UNKNOWN and never a status by default. */
import type { Money } from '../../payment/money.js';
import type { CallOutcome, Failure, PaymentEvidence, RefundReport } from '../../payment/platform.js';
import { nearestYear, parseCompactBeijingTime } from '../beijing-time.js';
import type { Parameters } from '../form.js';
import type { Answer } from './client.js';

type CodeClass =
  | 'DONE'
  | 'OPEN'
  | 'DUPLICATE'
  | 'BUSY'
  | 'OUR_FAULT'
  | 'NOT_FOUND'
  | 'MONEY_UNCLEAR'
  | 'ALREADY_RETURNED'
  | 'CLOSED_NOW'
  /** A failure that counts only once a query says so, too. */
  | 'FAILED_BY_QUERY'
  | 'FAILED';

/** Codes of the queried or reported transaction itself, and of refusals. */
const CODES: Readonly<Record<string, CodeClass>> = Object.fromEntries(
  (
    [
      ['DONE', '00 A6'],
      ['OPEN', '03 04 05 70 83'],
      ['DUPLICATE', '12'],
      ['BUSY', '06 37'],
      ['OUR_FAULT', '10 11 13 14 31 32 40 43'],
      ['NOT_FOUND', '34'],
      ['MONEY_UNCLEAR', '42 74 75'],
      ['ALREADY_RETURNED', '45'],
      ['CLOSED_NOW', '02 39'],
      ['FAILED_BY_QUERY', '99'],
      ['FAILED', '01 30 33 35 36 38 44 46 60 61 62 63 64 65 66 67 68 69 71 72 73 76 77 78 79 80 81 82 85 86 87 88 89 90 91'],
    ] as const
  ).flatMap(([meaning, codes]) => codes.split(' ').map((code) => [code, meaning])),
);

const classOf = (code: string): CodeClass | null => CODES[code] ?? null;

export type Unaccepted = Exclude<CallOutcome<never>, { kind: 'ACCEPTED' }>;

/** A payment call that brought nothing to pay with. */
export function createOutcome(answer: Answer): Unaccepted {
  if (answer.kind !== 'OK') return answer;
  const failure = failureOf(answer.fields, 'respCode');
  switch (classOf(failure.code)) {
    case 'DUPLICATE':
    case 'FAILED_BY_QUERY':
      return { kind: 'REJECTED', meaning: 'QUERY', ...failure };
    case 'BUSY':
      return { kind: 'RATE_LIMITED', ...failure };
    case 'OUR_FAULT':
      return { kind: 'MISCONFIGURED', ...failure };
    case 'MONEY_UNCLEAR':
      return { kind: 'REJECTED', meaning: 'MONEY_UNCLEAR', ...failure };
    case 'FAILED':
    case 'CLOSED_NOW':
      return { kind: 'REJECTED', meaning: 'FINAL', ...failure };
    case null:
      return { kind: 'UNKNOWN', unmapped: true, ...failure };
    default:
      return { kind: 'UNKNOWN', ...failure };
  }
}

/** A query that failed says nothing about the transaction, but for "there is none", which the adapter has looked at before. */
export function queryOutcome(answer: Answer): Unaccepted {
  if (answer.kind !== 'OK') return answer;
  const failure = failureOf(answer.fields, 'respCode');
  const meaning = classOf(failure.code);
  if (meaning === 'BUSY') return { kind: 'RATE_LIMITED', ...failure };
  return { kind: meaning === 'OUR_FAULT' ? 'MISCONFIGURED' : 'UNKNOWN', ...failure };
}

/** A payment by the code about it: `origRespCode` of a query, `respCode` of a notification. */
export function evidenceOf(fields: Parameters, code: string, facts: { at: Date; merchantAccount: string }): PaymentEvidence {
  const { at } = facts;
  const word = code === '' ? 'NO_CODE' : code;
  switch (classOf(code)) {
    case 'DONE':
      return paidEvidence(fields, word, facts);
    case 'OPEN':
      return { class: 'IN_PROGRESS', at, word };
    case 'MONEY_UNCLEAR':
      return { class: 'MONEY_UNCLEAR', at, word };
    case 'NOT_FOUND':
      return { class: 'NOT_FOUND', at, word };
    case 'FAILED':
    case 'FAILED_BY_QUERY':
    case 'CLOSED_NOW':
      return { class: 'ATTEMPT_FAILED', at, word };
    default:
      return { class: 'UNMAPPED', at, word };
  }
}

function paidEvidence(fields: Parameters, word: string, facts: { at: Date; merchantAccount: string }): PaymentEvidence {
  const amount = amountOf(fields);
  const transactionId = fields['queryId'] ?? '';
  // Paid, but by how much or as what cannot be read: money may have moved, and nobody may guess.
  if (amount === null || transactionId === '') return { class: 'MONEY_UNCLEAR', at: facts.at, word };
  const at = traceTimeOf(fields) ?? facts.at;
  const { merchantAccount } = facts;
  const paid = { at, word, amount, transactionId, merchantAccount, refundedTotal: null, refundable: true };
  return { class: 'PAID', ...paid, ...(word === 'A6' ? { defective: true } : {}) };
}

const NOTHING = { retry: null, amount: null, platformRefundId: null, failure: null, notExecuted: false } as const;
const SEND_AGAIN_LATER = { status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true } as const;

/** The synchronous answer to a refund or void: at best an acceptance. */
export function refundReport(answer: Answer, at: Date): RefundReport {
  if (answer.kind !== 'OK') {
    const said = { ...NOTHING, at, word: answer.code, failure: { code: answer.code, message: answer.message } };
    return answer.kind === 'UNREACHABLE' ? { ...said, ...SEND_AGAIN_LATER } : { ...said, status: 'UNKNOWN' };
  }
  const { fields } = answer;
  const failure = failureOf(fields, 'respCode');
  const said = { ...NOTHING, at, word: failure.code, platformRefundId: fields['queryId'] ?? null };
  switch (classOf(failure.code)) {
    case 'DONE':
      return { ...said, status: 'SUBMITTED' };
    case 'OPEN':
      return { ...said, status: failure.code === '05' ? 'SUBMITTED' : 'UNKNOWN' };
    // Recorded by an earlier send: a query decides.
    case 'DUPLICATE':
      return { ...said, status: 'UNCHANGED', failure };
    case 'BUSY':
    case 'CLOSED_NOW':
    case 'OUR_FAULT':
      return { ...said, ...SEND_AGAIN_LATER, failure };
    case 'ALREADY_RETURNED':
    case 'FAILED_BY_QUERY':
      return { ...said, status: 'UNKNOWN', failure };
    case 'MONEY_UNCLEAR':
      return { ...said, status: 'UNKNOWN', failure, moneyUnclear: true };
    case 'FAILED':
      return { ...said, status: 'FAILED', retry: 'NEW_NUMBER', failure };
    default:
      return { ...said, status: 'UNKNOWN', failure, unmapped: true };
  }
}

/** A refund or void by the code about it: `origRespCode` of a query, `respCode` of a notification. */
export function settledRefund(fields: Parameters, code: string, at: Date): RefundReport {
  const said = { ...NOTHING, at, word: code === '' ? 'NO_CODE' : code, platformRefundId: fields['queryId'] ?? null };
  const failure = { code: said.word, message: fields['origRespMsg'] ?? fields['respMsg'] ?? '' };
  switch (classOf(code)) {
    case 'DONE': {
      const amount = amountOf(fields)?.minorUnits ?? null;
      // Returned, but how much cannot be read, so it cannot be compared.
      if (amount === null) return { ...said, status: 'UNKNOWN', word: 'UNREADABLE_AMOUNT', unmapped: true };
      return { ...said, status: 'SUCCEEDED', amount, at: traceTimeOf(fields) ?? at };
    }
    case 'OPEN':
      return { ...said, status: 'SUBMITTED' };
    case 'MONEY_UNCLEAR':
      return { ...said, status: 'UNKNOWN', failure, moneyUnclear: true };
    case 'NOT_FOUND':
      return { ...said, status: 'UNCHANGED', failure };
    case null:
      return { ...said, status: 'UNKNOWN', failure, unmapped: true };
    default:
      return { ...said, status: 'FAILED', retry: 'NEW_NUMBER', failure };
  }
}

/** The guidance: six queries within about a minute before "not found" means anything of a refund. */
const NOT_FOUND_AFTER_MS = 63_000;
export const NO_TRANSACTION = '34';

export function refundQueryReport(answer: Answer, asked: { at: Date; sentAt: Date | null }): RefundReport {
  const { at, sentAt } = asked;
  if (answer.kind !== 'OK') return { ...NOTHING, status: 'UNCHANGED', at, word: answer.code, failure: { code: answer.code, message: answer.message } };
  const failure = failureOf(answer.fields, 'respCode');
  const isAbsent = failure.code === NO_TRANSACTION || (failure.code === '00' && answer.fields['origRespCode'] === NO_TRANSACTION);
  if (failure.code === '00' && !isAbsent) return settledRefund(answer.fields, answer.fields['origRespCode'] ?? '', at);

  const late = sentAt !== null && at.getTime() - sentAt.getTime() >= NOT_FOUND_AFTER_MS;
  if (isAbsent && late) return { ...NOTHING, status: 'UNKNOWN', retry: 'SAME_NUMBER', at, word: NO_TRANSACTION };
  if (isAbsent) return { ...NOTHING, status: 'UNCHANGED', at, word: NO_TRANSACTION, failure };
  // A failed query proves nothing about the refund.
  return { ...NOTHING, status: 'UNCHANGED', at, word: failure.code, failure };
}

function failureOf(fields: Parameters, name: 'respCode'): Failure {
  return { code: fields[name] ?? 'NO_CODE', message: fields['respMsg'] ?? '' };
}

/** Fen as digits; 156 is the number of CNY. */
function amountOf(fields: Parameters): Money | null {
  const { txnAmt = '', currencyCode = '' } = fields;
  if (!/^\d{1,12}$/.test(txnAmt)) return null;
  return { currency: currencyCode === '156' ? 'CNY' : currencyCode, minorUnits: BigInt(txnAmt) };
}

/** When it was carried out: `MMDDhhmmss`, its year that of the transaction. */
function traceTimeOf({ traceTime = '', txnTime = '' }: Parameters): Date | null {
  const began = parseCompactBeijingTime(txnTime);
  return began === null ? null : (nearestYear(traceTime, began) ?? began);
}
