/** What the platform says of a transaction, in a query's answer and in a notification. */
import { settleDate, shortStamp } from './format.js';
import { isWellFormed } from './formats.js';
import { respMsg } from './refusal.js';
import { hasSucceeded, reportedAmount, type Transaction } from './transaction.js';
import type { Fields } from './wire.js';

export interface Telling {
  readonly merId: string;
  /** In the place of a `reqReserved` that the request did not have. */
  readonly reqReserved: string | null;
}

const ENVELOPE: readonly (readonly [string, string])[] = [
  ['version', '5.1.0'],
  ['encoding', 'UTF-8'],
  ['accessType', '0'],
];

/** What an answer repeats of its request: only what is well-formed, so that the answer stays readable. */
const REPEATED = ['merId', 'orderId', 'txnTime', 'txnType', 'txnSubType', 'bizType', 'reqReserved'];

export function answerTo(request: Fields | null, more: Readonly<Record<string, string>>, reqReserved: string | null = null): Map<string, string> {
  const repeated = REPEATED.map((name) => [name, request?.get(name) ?? ''] as const).filter(([name, value]) => value !== '' && isWellFormed(name, value));
  return new Map([...ENVELOPE, ...(reqReserved === null ? [] : [['reqReserved', reqReserved] as const]), ...repeated, ...Object.entries(more)]);
}

export const saying = (code: string, meaning?: string) => ({ respCode: code, respMsg: respMsg(code, meaning) });

export function queryFields(transaction: Transaction, code: string, telling: Telling): Fields {
  return new Map([...transactionFields(transaction, telling), ...Object.entries({ ...saying('00'), origRespCode: code, origRespMsg: respMsg(code) })]);
}

/** Unsigned. */
export function noticeFields(transaction: Transaction, telling: Telling): Fields {
  return new Map([...transactionFields(transaction, telling), ...Object.entries(saying(transaction.code ?? '04'))]);
}

function transactionFields(transaction: Transaction, { merId, reqReserved }: Telling): Map<string, string> {
  const { orderId, txnTime, txnType, txnSubType, bizType, queryId, origQryId, traceNo, completedAt, createdAt } = transaction;
  const amount = reportedAmount(transaction).toString();
  const at = completedAt ?? createdAt;
  const reserved = transaction.reqReserved ?? reqReserved;
  return new Map([
    ...ENVELOPE,
    ...Object.entries({ merId, orderId, txnTime, txnType, txnSubType, bizType, queryId, traceNo, traceTime: shortStamp(at), txnAmt: amount, currencyCode: '156' }),
    ...(origQryId === null ? [] : [['origQryId', origQryId] as const]),
    ...(reserved === null ? [] : [['reqReserved', reserved] as const]),
    ...(hasSucceeded(transaction) ? Object.entries({ settleAmt: amount, settleCurrencyCode: '156', settleDate: settleDate(at), ...CARD }) : []),
  ]);
}

const CARD = { accNo: '6216***********0018', payCardType: '01', payType: '0001' };
