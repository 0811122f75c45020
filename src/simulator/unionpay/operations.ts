/** The calls of unionpay.md section 1 that the simulator serves. */
import type { HttpReply, HttpRequest } from '../http.js';
import type { Book } from './book.js';
import { answerTo, queryFields, saying, type Telling } from './objects.js';
import { cashierPage } from './pages.js';
import { place } from './place.js';
import { notFound, Refusal } from './refusal.js';
import type { Demands } from './request.js';
import type { Returns } from './returns.js';
import type { Settlement } from './settlement.js';
import { shownCode, transactionAsOf, type Transaction } from './transaction.js';
import type { Fields } from './wire.js';

export interface Platform {
  readonly merId: string;
  readonly book: Book;
  readonly returns: Returns;
  readonly settlement: Settlement;
  /** How long a query does not find a new refund or void. */
  readonly refundVisibleAfterMs: number;
  /** What answers and notifications carry as `reqReserved` where the request had none. */
  reqReserved: string | null;
}

export interface Call {
  readonly fields: Fields;
  /** Accept a refund without carrying it out. */
  readonly withholdRefund: boolean;
  /** How far behind the book is that a query reads. */
  readonly lagMs: number;
}

export interface Done {
  /** Unsigned. */
  readonly fields: Fields;
  /** What a browser is shown in the place of the fields. */
  readonly page?: HttpReply;
  /** What the platform does of itself once the reply has left. */
  readonly afterReply?: () => void;
}

/** `pay` is every way to place a payment, `bill` the settlement file. */
export const OPERATIONS = ['pay', 'refund', 'void', 'query', 'bill'] as const;
export type Operation = (typeof OPERATIONS)[number];

export interface Route extends Demands {
  readonly operation: Operation;
  readonly paths: readonly string[];
  readonly txnType: string;
  readonly txnSubTypes: readonly string[];
  run(platform: Platform, call: Call): Done;
}

export const BASE_PATH = '/gateway/api/';
export const FRONT_PATH = `${BASE_PATH}frontTransReq.do`;
const APP_PATH = `${BASE_PATH}appTransReq.do`;
const BACK_PATH = `${BASE_PATH}backTransReq.do`;
const QUERY_PATH = `${BASE_PATH}queryTrans.do`;
const PATHS = [FRONT_PATH, APP_PATH, BACK_PATH, QUERY_PATH, '/'];

const PAYING = ['orderId', 'channelType', 'txnAmt', 'currencyCode', 'backUrl'];
const RETURNING = [...PAYING, 'origQryId'];
const BOTH = ['07', '08'];
const ANY_PRODUCT = ['000000', '000201'];

const ROUTES: readonly Route[] = [
  {
    ...{ operation: 'pay', paths: [FRONT_PATH], txnType: '01', txnSubTypes: ['01'], run: frontPay },
    ...{ fields: [...PAYING, 'frontUrl'], bizTypes: ['000201'], channelTypes: BOTH, isFresh: true },
  },
  {
    ...{ operation: 'pay', paths: [APP_PATH], txnType: '01', txnSubTypes: ['01'], run: appPay },
    ...{ fields: PAYING, bizTypes: ['000201'], channelTypes: ['08'], isFresh: true },
  },
  {
    ...{ operation: 'pay', paths: [BACK_PATH], txnType: '01', txnSubTypes: ['07'], run: qrPay },
    ...{ fields: PAYING, bizTypes: ['000000'], channelTypes: ['08'], isFresh: true },
  },
  {
    ...{ operation: 'refund', paths: [BACK_PATH], txnType: '04', txnSubTypes: ['00'], run: (platform, call) => giveBack(platform, 'refund', call) },
    ...{ fields: RETURNING, bizTypes: ANY_PRODUCT, channelTypes: BOTH, isFresh: true },
  },
  {
    ...{ operation: 'void', paths: [BACK_PATH], txnType: '31', txnSubTypes: ['00'], run: (platform, call) => giveBack(platform, 'void', call) },
    ...{ fields: RETURNING, bizTypes: ANY_PRODUCT, channelTypes: BOTH, isFresh: true },
  },
  {
    // The platform's pages differ on where a code is queried (README.md, open point 11): both answer.
    ...{ operation: 'query', paths: [QUERY_PATH, BACK_PATH], txnType: '00', txnSubTypes: ['00', '02'], run: query },
    ...{ fields: [], bizTypes: ANY_PRODUCT, channelTypes: BOTH, isFresh: false },
  },
  {
    ...{ operation: 'bill', paths: ['/'], txnType: '76', txnSubTypes: ['01'], run: bill },
    ...{ fields: ['settleDate', 'fileType'], bizTypes: ['000000'], channelTypes: BOTH, isFresh: true },
  },
];

export const isServed = ({ path }: HttpRequest): boolean => PATHS.includes(path);

/** Null where this kind of transaction is not served at this place. */
export function routeOf({ path }: HttpRequest, fields: Fields | null): Route | null {
  const [type, subType] = [fields?.get('txnType') ?? '', fields?.get('txnSubType') ?? ''];
  return ROUTES.find((route) => route.paths.includes(path) && route.txnType === type && route.txnSubTypes.includes(subType)) ?? null;
}

function frontPay({ book }: Platform, { fields }: Call): Done {
  const payment = place(book, 'page', fields);
  return { fields: answerTo(fields, saying('00')), page: cashierPage(payment) };
}

function appPay({ book, reqReserved }: Platform, { fields }: Call): Done {
  const { opener } = place(book, 'app', fields);
  return { fields: answerTo(fields, { ...saying('00'), tn: opener ?? '' }, reqReserved) };
}

function qrPay({ book, reqReserved }: Platform, { fields }: Call): Done {
  const { opener } = place(book, 'qr', fields);
  return { fields: answerTo(fields, { ...saying('00'), qrCode: opener ?? '' }, reqReserved) };
}

function giveBack({ returns, reqReserved }: Platform, kind: 'refund' | 'void', { fields, withholdRefund }: Call): Done {
  const transaction = returns.request(kind, fields, { withhold: withholdRefund });
  const { queryId, origQryId, amount } = transaction;
  const accepted = { ...saying('00'), queryId, origQryId: origQryId ?? '', txnAmt: amount.toString() };
  return { fields: answerTo(fields, accepted, reqReserved), afterReply: () => returns.settleIfDue(transaction) };
}

function query(platform: Platform, { fields, lagMs }: Call): Done {
  const known = asked(platform.book, fields);
  const transaction = known === null || lagMs === 0 ? known : transactionAsOf(known, platform.book.now() - lagMs);
  if (transaction === null || isHidden(platform, transaction)) throw notFound();
  const code = shownCode(transaction, platform.book.now());
  if (code === null || code === '34') throw notFound();
  return { fields: queryFields(transaction, code, tellingOf(platform)) };
}

/** Sub-type 02 asks by `queryId`. */
function asked(book: Book, fields: Fields): Transaction | null {
  if (fields.get('txnSubType') === '02') return book.findByQueryId(required(fields, 'queryId'));
  return book.find(required(fields, 'orderId'), fields.get('txnTime') ?? '');
}

function required(fields: Fields, name: string): string {
  const value = fields.get(name) ?? '';
  if (value === '') throw new Refusal('13', `报文交易要素缺失：${name}`);
  return value;
}

const isHidden = ({ book, refundVisibleAfterMs }: Platform, { kind, createdAt }: Transaction): boolean =>
  kind !== 'payment' && book.now() < createdAt + refundVisibleAfterMs;

function bill({ settlement }: Platform, { fields }: Call): Done {
  const settleDate = fields.get('settleDate') ?? '';
  const { name, content } = settlement.file(settleDate);
  return { fields: answerTo(fields, { ...saying('00'), settleDate, fileType: '00', fileName: name, fileContent: content }) };
}

export const tellingOf = ({ merId, reqReserved }: Platform): Telling => ({ merId, reqReserved });
