import { HOUR_MS } from './format.js';

export const PRODUCTS = ['page', 'app', 'qr'] as const;
export type Product = (typeof PRODUCTS)[number];

/**
 * A payment, refund or void: each is one record with its own `orderId`, `txnTime` and `queryId` (unionpay.md section 11). Amounts
 * are fen, times are milliseconds since the epoch, except `txnTime`, which is part of the identity.
 */
export interface Transaction {
  readonly kind: 'payment' | 'refund' | 'void';
  /** Of a payment. */
  readonly product: Product | null;
  readonly orderId: string;
  readonly txnTime: string;
  readonly txnType: string;
  readonly txnSubType: string;
  readonly bizType: string;
  readonly channelType: string;
  readonly queryId: string;
  /** 6 digits. */
  readonly traceNo: string;
  readonly amount: bigint;
  readonly frontUrl: string | null;
  readonly backUrl: string | null;
  readonly reqReserved: string | null;
  /** Of a refund or void: the payment's `queryId`. */
  readonly origQryId: string | null;
  readonly createdAt: number;
  /** What opens a payment in the wallet's app (`tn`) or as a code. */
  readonly opener: string | null;
  /** Of a payment: the end of its time to pay. */
  expireAt: number | null;
  /** Of a refund or void: when it succeeds by itself; null: when somebody has it do so. */
  settlesAt: number | null;
  /** What a query gives as `origRespCode`; null until the buyer has done anything. */
  code: string | null;
  /** What it gives in the place of that, where a test wants it to. */
  forcedCode: string | null;
  /** When it succeeded; of a refund or void also when it failed for good. */
  completedAt: number | null;
  /** What the buyer paid; differs from the amount only where a test wants it to. */
  paid: bigint | null;
}

export interface TransactionEvent {
  readonly transaction: Transaction;
  /** The payment that it belongs to; itself for a payment. */
  readonly payment: Transaction;
}

export const SUCCESSES: readonly string[] = ['00', 'A6'];

export const hasSucceeded = ({ code, completedAt }: Transaction): boolean => completedAt !== null && SUCCESSES.includes(code ?? '');

/** What the platform reports as the transaction's amount. */
export const reportedAmount = ({ paid, amount }: Transaction): bigint => paid ?? amount;

/** As it stood then; null where a query would not have found it. */
export function transactionAsOf(transaction: Transaction, then: number): Transaction | null {
  const { kind, createdAt, completedAt } = transaction;
  if (createdAt > then) return null;
  if (completedAt === null || completedAt <= then) return transaction;
  return { ...transaction, code: kind === 'payment' ? null : ACCEPTED, completedAt: null, paid: null };
}

/** Of a refund or void that is not yet decided. */
export const ACCEPTED = '05';

/** When the time to pay is over, a cardholder who was asked for input has not given it in time. */
export function shownCode({ code, forcedCode, expireAt }: Transaction, now: number): string | null {
  if (forcedCode !== null) return forcedCode;
  return code === '70' && expireAt !== null && now >= expireAt ? '69' : code;
}

/** Unless `payTimeout` says otherwise. */
export const ORDER_LIFE_MS = 24 * HOUR_MS;
