/**
 * The platform's transactions. A payment waits from its placing until its `payTimeout`; attempts that fail leave it waiting, and a
 * later one may succeed (unionpay.md section 6). Nothing closes it: after its time it is only no longer payable.
 */
import { randomInt } from 'node:crypto';
import { ControlError } from '../control-error.js';
import { shortStamp, stamp } from './format.js';
import { duplicate } from './refusal.js';
import { hasSucceeded, SUCCESSES, type Transaction, type TransactionEvent } from './transaction.js';

export interface BookOptions {
  now(): number;
  onEvent(event: TransactionEvent): void;
  onChange(): void;
}

export type New = Omit<Transaction, 'queryId' | 'traceNo' | 'createdAt'>;

export class Book {
  private readonly known = new Map<string, Transaction>();
  private readonly byQueryId = new Map<string, Transaction>();

  constructor(
    private readonly options: BookOptions,
    saved: readonly Transaction[] = [],
  ) {
    for (const transaction of saved) this.keep(transaction);
  }

  now(): number {
    return this.options.now();
  }

  transactions(): readonly Transaction[] {
    return [...this.known.values()];
  }

  /** Whatever the kind: an `orderId` with its `txnTime` is taken once. */
  add(transaction: New): Transaction {
    if (this.find(transaction.orderId, transaction.txnTime) !== null) throw duplicate();
    const added = { ...transaction, ...this.newNumbers(), createdAt: this.now() };
    this.keep(added);
    this.changed();
    return added;
  }

  find(orderId: string, txnTime: string): Transaction | null {
    return this.known.get(keyOf({ orderId, txnTime })) ?? null;
  }

  findByQueryId(queryId: string): Transaction | null {
    return this.byQueryId.get(queryId) ?? null;
  }

  /** Refunds and voids of a payment, oldest first. */
  returnsOf({ queryId }: Transaction): readonly Transaction[] {
    return this.transactions().filter(({ origQryId }) => origQryId === queryId);
  }

  /** For control operations: an `orderId`, or `orderId@txnTime` where there are several. */
  named(name: string): Transaction {
    const [orderId = '', txnTime] = name.split('@');
    const found = this.transactions().filter((one) => one.orderId === orderId && (txnTime === undefined || one.txnTime === txnTime));
    const [first, ...others] = found;
    if (first === undefined) throw new ControlError(`there is no transaction ${name}`);
    if (others.length > 0) throw new ControlError(`there are several: ${found.map((one) => `${one.orderId}@${one.txnTime}`).join(', ')}`);
    return first;
  }

  payment(name: string): Transaction {
    const transaction = this.named(name);
    if (transaction.kind !== 'payment') throw new ControlError(`${name} is a ${transaction.kind}`);
    return transaction;
  }

  /** For control operations: a payment that its buyer can still pay. */
  payable(name: string): Transaction {
    const payment = this.payment(name);
    if (hasSucceeded(payment)) throw new ControlError(`${name} is paid`);
    if (payment.expireAt !== null && this.now() >= payment.expireAt) throw new ControlError(`${name} expired at ${stamp(payment.expireAt)}`);
    return payment;
  }

  /** `code` is one of the successes. */
  pay(name: string, { amount, code }: { readonly amount?: bigint | undefined; readonly code: string }): Transaction {
    if (amount !== undefined && amount < 1n) throw new ControlError(`nobody pays ${amount} fen`);
    if (!SUCCESSES.includes(code)) throw new ControlError(`${code} is no success`);
    const payment = this.payable(name);
    payment.code = code;
    payment.paid = amount ?? payment.amount;
    payment.completedAt = this.now();
    this.happened({ transaction: payment, payment });
    return payment;
  }

  /** An attempt of the buyer, not the end: nobody is notified. */
  attempt(name: string, code: string): Transaction {
    if (SUCCESSES.includes(code)) throw new ControlError(`${code} is a success`);
    const payment = this.payable(name);
    payment.code = code;
    this.changed();
    return payment;
  }

  changed(): void {
    this.options.onChange();
  }

  happened(event: TransactionEvent): void {
    this.changed();
    this.options.onEvent(event);
  }

  private keep(transaction: Transaction): void {
    this.known.set(keyOf(transaction), transaction);
    this.byQueryId.set(transaction.queryId, transaction);
  }

  private newNumbers(): Pick<Transaction, 'queryId' | 'traceNo'> {
    const traceNo = randomInt(1_000_000).toString().padStart(6, '0');
    const now = this.now();
    const queryId = `51${stamp(now).slice(2, 4)}${shortStamp(now)}${traceNo}8`;
    return this.byQueryId.has(queryId) ? this.newNumbers() : { queryId, traceNo };
  }
}

const keyOf = ({ orderId, txnTime }: { readonly orderId: string; readonly txnTime: string }): string => `${orderId}@${txnTime}`;
