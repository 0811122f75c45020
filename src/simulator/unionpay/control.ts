/** The hand of the buyer, of the platform's operators and of a test. The HTTP form of it is in control-http.ts. */
import type { VirtualClock } from '../clock.js';
import { ControlError } from '../control-error.js';
import type { Fault, FaultKind, FaultPlan } from '../faults.js';
import type { Holds } from '../holds.js';
import type { Attempt, Delivery, Notifier } from '../notifier.js';
import type { BoundedRecord } from '../record.js';
import { startOfDay } from './format.js';
import { isWellFormed } from './formats.js';
import type { GatewayEvent } from './gateway.js';
import type { NotificationPlan } from './notification-modes.js';
import type { Notifications } from './notifications.js';
import { OPERATIONS, type Platform } from './operations.js';
import { Refusal } from './refusal.js';
import type { BillChange } from './settlement.js';
import { flawOf, SIGNATURE_FLAWS } from './signer.js';
import { hasSucceeded, type Transaction } from './transaction.js';

export interface ControlParts {
  readonly platform: Platform;
  readonly clock: VirtualClock;
  readonly faults: FaultPlan;
  readonly holds: Holds;
  readonly notifications: Notifications;
  readonly notifier: Notifier;
  readonly calls: BoundedRecord<GatewayEvent>;
  renewCertificate(): void;
}

export interface Paying {
  /** Makes the buyer pay something else than was ordered. */
  readonly amountOverride?: bigint;
  /** `00`, the default, or `A6`. */
  readonly code?: string;
}

/** Parts of an answer that this platform does not have. */
const FOREIGN: readonly FaultKind[] = ['sign-first', 'wrong-serial', 'stale-timestamp', 'duplicate-header', 'signature-probe'];

/** Transactions are named by `orderId`, or by `orderId@txnTime` where there are several. Amounts are fen. What cannot be done throws a ControlError. */
export class UnionPayControl {
  readonly faults: { add(fault: Fault): void; clear(): void };

  constructor(private readonly parts: ControlParts) {
    this.faults = { add: (fault) => parts.faults.add(checked(fault)), clear: () => parts.faults.clear() };
  }

  buyerPays(orderId: string, { amountOverride, code = '00' }: Paying = {}): Transaction {
    return this.parts.platform.book.pay(orderId, { amount: amountOverride, code });
  }

  /** The text of a code, or the `tn` of an app. */
  buyerPaysQr(opener: string, paying: Paying = {}): Transaction {
    const payment = this.listOrders().find((one) => one.opener === opener);
    if (payment === undefined) throw new ControlError('nobody knows this code');
    return this.buyerPays(`${payment.orderId}@${payment.txnTime}`, paying);
  }

  /** An attempt that fails, or with 70, 83 and the like goes on; the buyer may try again, and nothing is notified. */
  paymentFails(orderId: string, code = '64'): Transaction {
    return this.parts.platform.book.attempt(orderId, code);
  }

  /** The time to pay is over, now. */
  expire(orderId: string): Transaction {
    const { book } = this.parts.platform;
    const payment = book.payment(orderId);
    if (hasSucceeded(payment)) throw new ControlError(`${orderId} is paid`);
    payment.expireAt = Math.min(payment.expireAt ?? Infinity, book.now());
    book.changed();
    return payment;
  }

  /** What a query says as `origRespCode` in the place of the true one; 34: it does not find the transaction; null: the truth. */
  forceCode(orderId: string, code: string | null): Transaction {
    const { book } = this.parts.platform;
    const transaction = book.named(orderId);
    transaction.forcedCode = code;
    book.changed();
    return transaction;
  }

  /** Also of a void, as is the next. `code` is 00 or A6. */
  refundSettles(orderId: string, code = '00'): Transaction {
    return this.parts.platform.returns.decide(orderId, code, { asSuccess: true });
  }

  refundFails(orderId: string, code = '01'): Transaction {
    return this.parts.platform.returns.decide(orderId, code, { asSuccess: false });
  }

  /** Of refunds and voids to come: 0 is right after the reply, null only by control. */
  setRefundSettlesAfter(ms: number | null): void {
    this.parts.platform.returns.options.settlesAfterMs = ms;
  }

  /** A refund made in the merchant's console. */
  refundOutside(orderId: string, amount: bigint): Transaction {
    const { book, returns } = this.parts.platform;
    try {
      return returns.outside(book.payment(orderId), amount);
    } catch (error) {
      if (error instanceof Refusal) throw new ControlError(`${error.code}: ${error.message}`, { cause: error });
      throw error;
    }
  }

  /** What the merchant can pay refunds from; null is without end. */
  setBalance(amount: bigint | null): void {
    this.parts.platform.returns.balance = amount;
  }

  /** What answers and notifications carry where the request had no `reqReserved`, such as `{a=1&b=2}`; null for nothing. */
  setReqReserved(text: string | null): void {
    if (text !== null && !isWellFormed('reqReserved', text)) throw new ControlError('this text would break an answer apart');
    this.parts.platform.reqReserved = text;
  }

  /** The platform goes over to a new certificate of the same chain. */
  renewCertificate(): void {
    this.parts.renewCertificate();
  }

  /** Makes the settlement file of a clearing day differ from the transactions. */
  changeBill(change: BillChange): void {
    if (startOfDay(change.day) === null) throw new ControlError(`${change.day} is no day`);
    this.parts.platform.settlement.change(change);
  }

  advanceClock(ms: number): void {
    this.parts.clock.advance(ms);
  }

  now(): Date {
    return new Date(this.parts.clock.now());
  }

  notificationPlan(plan: NotificationPlan): void {
    this.parts.notifications.plan(plan);
  }

  redeliver(id: string): Promise<Attempt> {
    if (!this.notifications().some(({ notification }) => notification.id === id)) throw new ControlError(`there is no notification ${id}`);
    return this.parts.notifications.redeliver(id);
  }

  /** Resolves once an answer of the operation is kept back by a `hold` fault. */
  holding(operation: string): Promise<void> {
    return this.parts.holds.isHolding(operation);
  }

  release(): void {
    this.parts.holds.releaseAll();
  }

  /** Payments, refunds and voids, oldest first. */
  listOrders(): readonly Transaction[] {
    return this.parts.platform.book.transactions();
  }

  getOrder(orderId: string): Transaction {
    return this.parts.platform.book.named(orderId);
  }

  /** The calls of the gateway, oldest first. */
  events(): readonly GatewayEvent[] {
    return this.parts.calls.latest();
  }

  /** What was notified, with every attempt and how it was acknowledged. */
  notifications(): readonly Delivery[] {
    return this.parts.notifier.deliveries;
  }

  /** Resolves once no delivery is in flight; repetitions that are only scheduled do not count. */
  idle(): Promise<void> {
    return this.parts.notifier.idle();
  }

  /** Resolves once every notification is acknowledged, given up or withheld. */
  settled(): Promise<void> {
    return this.parts.notifier.settled();
  }
}

function checked(fault: Fault): Fault {
  const { operation, kind, code } = fault;
  const operations: readonly string[] = ['*', ...OPERATIONS];
  if (!operations.includes(operation)) throw new ControlError(`operation must be one of ${operations.join(', ')}`);
  if (FOREIGN.includes(kind)) throw new ControlError(`${kind} is nothing that UnionPay could do`);
  if (kind === 'bad-signature' && code !== undefined && flawOf(code) === null) throw new ControlError(`code must be one of ${SIGNATURE_FLAWS.join(', ')}`);
  return fault;
}
