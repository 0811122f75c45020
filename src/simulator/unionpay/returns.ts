/** Refunds and voids (unionpay.md section 8): accepted with 00, decided later. */
import { ControlError } from '../control-error.js';
import type { Book, New } from './book.js';
import { clearingDay, DAY_MS, stamp } from './format.js';
import { fieldsOf } from './place.js';
import { Refusal } from './refusal.js';
import { ACCEPTED, hasSucceeded, reportedAmount, SUCCESSES, type Transaction } from './transaction.js';
import type { Fields } from './wire.js';

export interface ReturnOptions {
  /** From acceptance to success; 0 is right after the reply, null never by itself. */
  settlesAfterMs: number | null;
  readonly refundWindowMs: number;
}

/** Of one timer. */
const TIMER_MAX_MS = 2_147_483_647;

export class Returns {
  /** What the merchant can pay refunds from, in fen; null is without end. */
  balance: bigint | null = null;
  private readonly timers = new Set<NodeJS.Timeout>();

  constructor(
    private readonly book: Book,
    readonly options: ReturnOptions,
  ) {}

  /** `withhold` accepts one that never settles by itself. */
  request(kind: 'refund' | 'void', fields: Fields, { withhold }: { readonly withhold: boolean }): Transaction {
    const asked = fieldsOf(fields);
    // Before the business rules: the number may be that of the very refund that has used up the payment.
    if (this.book.find(asked.orderId, asked.txnTime) !== null) throw new Refusal('12');
    const payment = this.book.findByQueryId(fields.get('origQryId') ?? '');
    this.check(kind, payment, asked.amount);
    const { settlesAfterMs } = this.options;
    const settlesAt = withhold || settlesAfterMs === null ? null : this.book.now() + settlesAfterMs;
    return this.accept({ ...asked, kind, origQryId: payment.queryId, settlesAt });
  }

  /** A refund made in the merchant's console: nobody is notified. */
  outside(payment: Transaction, amount: bigint): Transaction {
    this.check('refund', payment, amount);
    const txnTime = stamp(this.book.now());
    const { bizType, channelType, reqReserved } = payment;
    const numbered = { orderId: `CONSOLE${String(this.book.transactions().length).padStart(9, '0')}`, txnTime, txnType: '04', txnSubType: '00', bizType, channelType };
    const refund = this.accept({
      ...numbered,
      amount,
      reqReserved,
      kind: 'refund',
      origQryId: payment.queryId,
      frontUrl: null,
      backUrl: null,
      settlesAt: null,
      forcedCode: null,
      completedAt: null,
      paid: null,
    });
    this.complete(refund, '00');
    return refund;
  }

  /** For control operations. A success is 00 or A6, everything else a failure. */
  decide(name: string, code: string, { asSuccess }: { readonly asSuccess: boolean }): Transaction {
    const transaction = this.book.named(name);
    if (transaction.kind === 'payment') throw new ControlError(`${name} is a payment`);
    if (transaction.completedAt !== null) throw new ControlError(`${name} is completed with ${transaction.code ?? ''}`);
    if (SUCCESSES.includes(code) !== asSuccess) throw new ControlError(`${code} is ${asSuccess ? 'no success' : 'a success'}`);
    this.complete(transaction, code);
    return transaction;
  }

  settleIfDue(transaction: Transaction): void {
    const { completedAt, settlesAt } = transaction;
    if (completedAt === null && settlesAt !== null && this.book.now() >= settlesAt) this.complete(transaction, '00');
  }

  /** Settles everything that is due. */
  sweep(): void {
    for (const transaction of this.book.transactions()) this.settleIfDue(transaction);
  }

  /** Wakes up when something is due, also after a restart. */
  arm({ completedAt, settlesAt }: Transaction): void {
    const left = (settlesAt ?? 0) - this.book.now();
    if (completedAt !== null || left <= 0) return;
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      this.sweep();
    }, Math.min(left, TIMER_MAX_MS)).unref();
    this.timers.add(timer);
  }

  stop(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
  }

  private check(kind: 'refund' | 'void', payment: Transaction | null, amount: bigint): asserts payment is Transaction {
    if (payment === null || payment.kind !== 'payment' || !hasSucceeded(payment)) throw new Refusal('35');
    const held = this.book.returnsOf(payment).filter((one) => one.completedAt === null || hasSucceeded(one));
    const left = held.reduce((sum, one) => sum - one.amount, reportedAmount(payment));
    if (held.some((one) => one.kind === 'void') || left <= 0n) throw new Refusal('45');

    const paidAt = payment.completedAt ?? 0;
    if (kind === 'void') {
      if (held.length > 0) throw new Refusal('45');
      if (amount !== reportedAmount(payment)) throw new Refusal('36');
      if (clearingDay(paidAt) !== clearingDay(this.book.now())) throw new Refusal('35');
      return;
    }
    if (amount < 1n || amount > left) throw new Refusal('36');
    if (this.book.now() > paidAt + this.options.refundWindowMs) throw new Refusal('35');
    if (this.balance !== null && this.balance < amount) throw new Refusal('30');
  }

  private accept(asked: Omit<New, 'product' | 'opener' | 'expireAt' | 'code'>): Transaction {
    if (this.balance !== null && asked.kind === 'refund') this.balance -= asked.amount;
    const transaction = this.book.add({ ...asked, product: null, opener: null, expireAt: null, code: ACCEPTED });
    this.arm(transaction);
    return transaction;
  }

  private complete(transaction: Transaction, code: string): void {
    transaction.code = code;
    transaction.settlesAt = null;
    transaction.completedAt = this.book.now();
    if (this.balance !== null && transaction.kind === 'refund' && !hasSucceeded(transaction)) this.balance += transaction.amount;

    const payment = this.book.findByQueryId(transaction.origQryId ?? '');
    if (payment === null) throw new Error(`the payment of ${transaction.orderId} is gone`);
    this.book.happened({ transaction, payment });
  }
}

export const REFUND_WINDOW_MS = 330 * DAY_MS;
