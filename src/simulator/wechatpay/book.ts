/**
 * The platform's orders. An order exists from its creation and is paid and closed by the rules of wechatpay.md section 6. After
 * its expiry nobody can pay it; then it turns CLOSED when somebody looks or the clock is advanced, or, with `closesExpired: false`,
 * stays NOTPAY until it is closed.
 */
import { randomInt } from 'node:crypto';
import { ControlError } from '../control-error.js';
import type { Body } from './body.js';
import { rfc3339 } from './format.js';
import type { Merchant } from './objects.js';
import type { Channel, Order, OrderEvent } from './order.js';
import { newCode, readOrder } from './place.js';
import { invalidRequest, orderClosed, orderNotExist, orderPaid, Refusal } from './refusal.js';

export interface BookOptions {
  readonly merchant: Merchant;
  readonly closesExpired: boolean;
  /** What a number used again with other parameters is called: the platform has two answers. */
  readonly conflictCode: 'INVALID_REQUEST' | 'OUT_TRADE_NO_USED';
  /** A new order is not yet found by its query for this long. */
  readonly orderVisibleAfterMs: number;
  now(): number;
  onEvent(event: OrderEvent): void;
  onChange(): void;
}

export class Book {
  private readonly known = new Map<string, Order>();

  constructor(
    readonly options: BookOptions,
    saved: readonly Order[] = [],
  ) {
    for (const order of saved) this.known.set(order.outTradeNo, order);
  }

  now(): number {
    return this.options.now();
  }

  orders(): readonly Order[] {
    return [...this.known.values()];
  }

  place(channel: Channel, body: Body): Order {
    const now = this.now();
    const order = readOrder(channel, body, this.options.merchant, now);
    const known = this.get(order.outTradeNo);
    if (known === null) {
      if (order.expireAt <= now) throw body.invalid('time_expire', '必须晚于当前时间');
      this.known.set(order.outTradeNo, order);
      this.options.onChange();
      return order;
    }
    if (known.status === 'SUCCESS') throw orderPaid();
    if (known.status === 'CLOSED' || now >= known.expireAt) throw orderClosed();
    if (known.context !== order.context) throw this.conflict();
    known.code = newCode(channel, now);
    this.options.onChange();
    return known;
  }

  find(outTradeNo: string): Order {
    const order = this.get(outTradeNo);
    if (order === null || this.now() < order.createdAt + this.options.orderVisibleAfterMs) throw orderNotExist();
    return order;
  }

  findTransaction(transactionId: string): Order {
    const order = this.orders().find((one) => one.transactionId === transactionId);
    if (order === undefined) throw orderNotExist();
    return order;
  }

  /** Repeatable. */
  close(outTradeNo: string): void {
    const order = this.get(outTradeNo);
    if (order === null) throw orderNotExist();
    if (order.status === 'SUCCESS') throw orderPaid();
    if (order.status === 'NOTPAY') this.end(order);
  }

  /** For control operations: an order that must be there. */
  order(outTradeNo: string): Order {
    const order = this.get(outTradeNo);
    if (order === null) throw new ControlError(`there is no order ${outTradeNo}`);
    return order;
  }

  /** For control operations: an order that its buyer can still pay. */
  payable(outTradeNo: string): Order {
    const order = this.order(outTradeNo);
    if (order.status !== 'NOTPAY') throw new ControlError(`${outTradeNo} is ${order.status}`);
    if (this.now() >= order.expireAt) throw new ControlError(`${outTradeNo} expired at ${rfc3339(order.expireAt)}`);
    return order;
  }

  pay(outTradeNo: string, amount?: bigint): Order {
    if (amount !== undefined && amount < 1n) throw new ControlError(`nobody pays ${amount} fen`);
    const order = this.payable(outTradeNo);
    order.status = 'SUCCESS';
    order.transactionId = `42${digits(26)}`;
    order.paid = amount ?? order.total;
    order.paidAt = this.now();
    this.happened({ kind: 'paid', order });
    return order;
  }

  changed(): void {
    this.options.onChange();
  }

  happened(event: OrderEvent): void {
    this.changed();
    this.options.onEvent(event);
  }

  /** Lets every order expire that is due. */
  sweep(): void {
    for (const order of this.known.values()) this.age(order);
  }

  private get(outTradeNo: string): Order | null {
    const order = this.known.get(outTradeNo);
    if (order === undefined) return null;
    this.age(order);
    return order;
  }

  private age(order: Order): void {
    if (this.options.closesExpired && order.status === 'NOTPAY' && this.now() >= order.expireAt) this.end(order);
  }

  private end(order: Order): void {
    order.status = 'CLOSED';
    order.closedAt = this.now();
    this.changed();
  }

  private conflict(): Refusal {
    if (this.options.conflictCode === 'OUT_TRADE_NO_USED') return new Refusal('OUT_TRADE_NO_USED', '商户订单号重复', { internalCode: 268498688 });
    return invalidRequest('请求重入时，参数与首次请求时不一致', 268498688);
  }
}

export const digits = (count: number): string => Array.from({ length: count }, () => randomInt(10)).join('');
