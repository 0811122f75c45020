/** The hand of the buyer, of the platform's operators and of a test. The HTTP form of it is in control-http.ts. */
import type { VirtualClock } from '../clock.js';
import { ControlError } from '../control-error.js';
import type { Fault, FaultPlan } from '../faults.js';
import type { Holds } from '../holds.js';
import type { Attempt, Delivery, Notifier } from '../notifier.js';
import type { BoundedRecord } from '../record.js';
import { BILL_FILE } from './bill-file.js';
import type { BillChange } from './bills.js';
import { Content } from './content.js';
import { startOfDay } from './format.js';
import type { GatewayEvent } from './gateway.js';
import type { NotificationPlan, Notifications } from './notifications.js';
import type { PayOutcome, Platform } from './operations.js';
import { returnUrlOf, type Redirecting } from './pages.js';
import { Refusal } from './refusal.js';
import { checkDoor, decodeFields, urlOf, type Door } from './request.js';
import type { Trade } from './trade.js';

export interface ControlParts {
  readonly platform: Platform;
  readonly clock: VirtualClock;
  readonly faults: FaultPlan;
  readonly holds: Holds;
  readonly notifications: Notifications;
  readonly notifier: Notifier;
  readonly door: Door;
  readonly calls: BoundedRecord<GatewayEvent>;
  redirecting(): Redirecting;
}

/** Amounts are fen. What cannot be done throws a ControlError. */
export class AlipayControl {
  readonly faults: { add(fault: Fault): void; clear(): void };

  constructor(private readonly parts: ControlParts) {
    this.faults = {
      add: (fault) => parts.faults.add({ ...fault, operation: fullName(fault.operation) }),
      clear: () => parts.faults.clear(),
    };
  }

  /** The order becomes a trade that waits for its buyer. */
  buyerScans(outTradeNo: string): Trade {
    return this.parts.platform.book.open(outTradeNo);
  }

  /** The buyer's app opens the signed parameters of app.pay, page.pay or wap.pay, and logs in. */
  buyerOpens(signedParameters: string): Trade {
    const { platform, door } = this.parts;
    const fields = decodeFields([signedParameters]);
    if (fields === null) throw new ControlError('the parameters cannot be decoded');
    return outsideGateway(() => {
      checkDoor(door, fields);
      const content = Content.parse(fields.get('biz_content') ?? '');
      const method = fields.get('method') ?? '';
      const order = platform.book.place({ method, content, notifyUrl: urlOf(fields, 'notify_url'), returnUrl: urlOf(fields, 'return_url') });
      return platform.book.open(order.outTradeNo);
    });
  }

  /** Scans first where that has not happened. `amountOverride` makes the buyer pay something else than was ordered. */
  buyerPays(outTradeNo: string, { amountOverride }: { readonly amountOverride?: bigint } = {}): Trade {
    return this.parts.platform.book.pay(outTradeNo, amountOverride);
  }

  buyerPaysQr(qrText: string, options: { readonly amountOverride?: bigint } = {}): Trade {
    return this.buyerPays(this.orderOfQr(qrText), options);
  }

  orderOfQr(qrText: string): string {
    const trade = this.listTrades().find(({ qrCode }) => qrCode === qrText);
    if (trade === undefined) throw new ControlError('nobody knows this code');
    return trade.outTradeNo;
  }

  /** The buyer tries and cannot pay: the trade goes on waiting, and nothing is notified. */
  paymentFails(outTradeNo: string): Trade {
    return this.buyerScans(outTradeNo);
  }

  /** How the next customer-presented codes fare. */
  setPayOutcome(outcome: PayOutcome): void {
    this.parts.platform.payOutcome = outcome;
  }

  /** A refund made in the merchant's console. */
  refundOutside(outTradeNo: string, amount: bigint): Trade {
    const { platform } = this.parts;
    const trade = platform.book.order(outTradeNo);
    outsideGateway(() => platform.refunds.outside(trade, amount));
    return trade;
  }

  /** What the merchant can pay refunds from; null is without end. */
  setBalance(amount: bigint | null): void {
    this.parts.platform.refunds.balance = amount;
  }

  freeze(outTradeNo: string, frozen: boolean): Trade {
    const { book } = this.parts.platform;
    const trade = book.order(outTradeNo);
    trade.frozen = frozen;
    book.changed();
    return trade;
  }

  /** What a query says in the place of the true status; null for the truth. */
  forceTradeStatus(outTradeNo: string, status: string | null): Trade {
    const { book } = this.parts.platform;
    const trade = book.order(outTradeNo);
    trade.forcedStatus = status;
    book.changed();
    return trade;
  }

  /** The time to pay is over, now. */
  expire(outTradeNo: string): Trade {
    const { book } = this.parts.platform;
    const trade = book.order(outTradeNo);
    if (trade.status !== 'WAIT_BUYER_PAY') throw new ControlError(`${outTradeNo} is ${trade.status}`);
    trade.expireAt = Math.min(trade.expireAt, book.now());
    book.changed();
    book.sweep();
    return trade;
  }

  /** The time to refund is over, now. */
  finish(outTradeNo: string): Trade {
    const { book } = this.parts.platform;
    const trade = book.order(outTradeNo);
    book.finish(trade);
    return trade;
  }

  /** Makes the bill of a day differ from the trades. */
  changeBill(change: BillChange): void {
    if (startOfDay(change.day) === null) throw new ControlError(`${change.day} is no day`);
    this.parts.platform.bills.change(change);
  }

  /** Goes over to a new Alipay certificate with a new key under the same root; the old one stays to be downloaded. */
  renewCertificate(): void {
    this.parts.platform.keyring.renew(this.parts.clock.now());
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

  redeliver(notifyId: string): Promise<Attempt> {
    if (!this.notifications().some(({ notification }) => notification.id === notifyId)) {
      throw new ControlError(`there is no notification ${notifyId}`);
    }
    return this.parts.notifications.redeliver(notifyId);
  }

  /** Resolves once an answer of the operation is kept back by a `hold` fault. */
  holding(operation: string): Promise<void> {
    return this.parts.holds.isHolding(fullName(operation));
  }

  release(): void {
    this.parts.holds.releaseAll();
  }

  listTrades(): readonly Trade[] {
    this.parts.platform.book.sweep();
    return this.parts.platform.book.trades();
  }

  getTrade(outTradeNo: string): Trade {
    return this.parts.platform.book.order(outTradeNo);
  }

  /** The calls of the gateway, oldest first. */
  events(): readonly GatewayEvent[] {
    return this.parts.calls.latest();
  }

  /** What was notified, with every attempt and how it was acknowledged. */
  notifications(): readonly Delivery[] {
    return this.parts.notifier.deliveries;
  }

  /** The signed redirect to the merchant's page; null where none was asked for. */
  returnUrl(outTradeNo: string): string | null {
    return returnUrlOf(this.parts.platform.book.order(outTradeNo), this.parts.redirecting());
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

/** `refund` for `alipay.trade.refund`; whole names, `*` and the bill's file, which is no method, stay. */
const fullName = (operation: string): string =>
  operation === '*' || operation === BILL_FILE || operation.startsWith('alipay.') ? operation : `alipay.trade.${operation}`;

function outsideGateway<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof Refusal) throw new ControlError(`${error.subCode}: ${error.message}`, { cause: error });
    throw error;
  }
}
