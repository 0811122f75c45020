/** The hand of the buyer, of the platform's operators and of a test. The HTTP form of it is in control-http.ts. */
import type { VirtualClock } from '../clock.js';
import { ControlError } from '../control-error.js';
import type { Fault, FaultKind, FaultPlan } from '../faults.js';
import type { Holds } from '../holds.js';
import type { Attempt, Delivery, Notifier } from '../notifier.js';
import type { BoundedRecord } from '../record.js';
import type { BillChange } from './bills.js';
import { startOfDay } from './format.js';
import type { ErrorStyle, GatewayEvent } from './gateway.js';
import { prepayIdOf } from './invocation.js';
import type { NotificationPlan } from './notification-modes.js';
import type { Notifications } from './notifications.js';
import { OPERATIONS, type Platform } from './operations.js';
import type { Order, Refund } from './order.js';
import { Refusal, type Spelling } from './refusal.js';
import type { KeyMode } from './signer.js';

export interface ControlParts {
  readonly platform: Platform;
  readonly clock: VirtualClock;
  readonly faults: FaultPlan;
  readonly holds: Holds;
  readonly notifications: Notifications;
  readonly notifier: Notifier;
  readonly errors: ErrorStyle;
  readonly calls: BoundedRecord<GatewayEvent>;
}

/** Parts of an answer that this platform does not have. */
const FOREIGN: readonly FaultKind[] = ['sign-first', 'smuggled-node'];

/** Amounts are fen. What cannot be done throws a ControlError. */
export class WechatPayControl {
  readonly faults: { add(fault: Fault): void; clear(): void };

  constructor(private readonly parts: ControlParts) {
    this.faults = { add: (fault) => parts.faults.add(checked(fault)), clear: () => parts.faults.clear() };
  }

  /** Nothing of it is to be seen outside: the order waits already. */
  buyerScans(outTradeNo: string): Order {
    return this.parts.platform.book.payable(outTradeNo);
  }

  /** The buyer's app is opened with the signed parameters of JSAPI, a mini-program or an app. */
  buyerOpens(parameters: Readonly<Record<string, string>>): Order {
    const { book, keys, mchid } = this.parts.platform;
    const { appid } = book.options.merchant;
    const prepayId = prepayIdOf(parameters, { appid, mchid, merchantCertificatePem: keys.merchant.certificatePem });
    return this.openedBy(({ code }) => code.prepayId === prepayId);
  }

  /** `amountOverride` makes the buyer pay something else than was ordered. */
  buyerPays(outTradeNo: string, { amountOverride }: { readonly amountOverride?: bigint } = {}): Order {
    return this.parts.platform.book.pay(outTradeNo, amountOverride);
  }

  /** `code_url` or `h5_url`, while it is valid. */
  buyerPaysQr(qrText: string, options: { readonly amountOverride?: bigint } = {}): Order {
    return this.buyerPays(this.openedBy(({ code }) => code.url === qrText).outTradeNo, options);
  }

  /** The buyer tries and cannot pay: the order goes on waiting, and nothing is notified. */
  paymentFails(outTradeNo: string): Order {
    return this.parts.platform.book.payable(outTradeNo);
  }

  /** The time to pay is over, now. */
  expire(outTradeNo: string): Order {
    const { book } = this.parts.platform;
    const order = book.order(outTradeNo);
    if (order.status !== 'NOTPAY') throw new ControlError(`${outTradeNo} is ${order.status}`);
    order.expireAt = Math.min(order.expireAt, book.now());
    book.changed();
    book.sweep();
    return order;
  }

  /** What a query says in the place of the true state; null for the truth. */
  forceTradeState(outTradeNo: string, state: string | null): Order {
    const { book } = this.parts.platform;
    const order = book.order(outTradeNo);
    order.forcedState = state;
    book.changed();
    return order;
  }

  refundSettles(outRefundNo: string): Refund {
    return this.parts.platform.refunds.decide(outRefundNo, 'SUCCESS');
  }

  refundBecomesAbnormal(outRefundNo: string): Refund {
    return this.parts.platform.refunds.decide(outRefundNo, 'ABNORMAL');
  }

  refundCloses(outRefundNo: string): Refund {
    return this.parts.platform.refunds.decide(outRefundNo, 'CLOSED');
  }

  /** Of refunds to come: 0 is right after the reply, null only by control. */
  setRefundSettlesAfter(ms: number | null): void {
    this.parts.platform.refunds.options.settlesAfterMs = ms;
  }

  /** A refund made in the merchant's console. */
  refundOutside(outTradeNo: string, amount: bigint): Order {
    const { book, refunds } = this.parts.platform;
    const order = book.order(outTradeNo);
    try {
      refunds.outside(order, amount);
    } catch (error) {
      if (error instanceof Refusal) throw new ControlError(`${error.code}: ${error.message}`, { cause: error });
      throw error;
    }
    return order;
  }

  /** What the merchant can pay refunds from; null is without end. */
  setBalance(amount: bigint | null): void {
    this.parts.platform.refunds.balance = amount;
  }

  /** The key that answers and notifications are signed with from now on. */
  signWith(mode: KeyMode): void {
    this.parts.platform.signer.mode = mode;
  }

  setErrors({ spelling, isSigned }: { readonly spelling?: Spelling | undefined; readonly isSigned?: boolean | undefined }): void {
    const { errors } = this.parts;
    errors.spelling = spelling ?? errors.spelling;
    errors.isSigned = isSigned ?? errors.isSigned;
  }

  /** From 0 to 1. */
  setProbeShare(share: number): void {
    if (!(share >= 0 && share <= 1)) throw new ControlError('a share is between 0 and 1');
    this.parts.notifications.probeShare = share;
  }

  /** Makes the bill of a day differ from the orders. */
  changeBill(change: BillChange): void {
    if (startOfDay(change.day) === null) throw new ControlError(`${change.day} is no day`);
    this.parts.platform.bills.change(change);
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

  listOrders(): readonly Order[] {
    this.parts.platform.book.sweep();
    return this.parts.platform.book.orders();
  }

  getOrder(outTradeNo: string): Order {
    return this.parts.platform.book.order(outTradeNo);
  }

  /** The calls of the API, oldest first. */
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

  private openedBy(isIt: (order: Order) => boolean): Order {
    const order = this.listOrders().find(isIt);
    if (order === undefined) throw new ControlError('nobody knows this code');
    if (this.now().getTime() >= order.code.validUntil) throw new ControlError('the code is no longer valid');
    return this.parts.platform.book.payable(order.outTradeNo);
  }
}

function checked(fault: Fault): Fault {
  const operations: readonly string[] = ['*', ...OPERATIONS];
  if (!operations.includes(fault.operation)) throw new ControlError(`operation must be one of ${operations.join(', ')}`);
  if (FOREIGN.includes(fault.kind)) throw new ControlError(`${fault.kind} is nothing that WeChat Pay could do`);
  return fault;
}
