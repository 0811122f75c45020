/**
 * The platform's book. An order becomes a trade when the buyer acts; a trade is paid, refunded and closed by the rules of
 * alipay.md sections 7 and 8. Expiry and the end of the refund window happen when somebody looks or the clock is advanced.
 */
import { ControlError } from '../control-error.js';
import { randomInt } from 'node:crypto';
import type { Content } from './content.js';
import { beijing } from './format.js';
import { readOrder, type Placing } from './place.js';
import { businessRefusal, missing, tradeNotExist } from './refusal.js';
import type { Trade, TradeEvent } from './trade.js';

export interface BookOptions {
  now(): number;
  readonly refundWindowMs: number;
  onEvent(event: TradeEvent): void;
  onChange(): void;
}

export class Book {
  private readonly orders = new Map<string, Trade>();

  constructor(
    private readonly options: BookOptions,
    saved: readonly Trade[] = [],
  ) {
    for (const trade of saved) this.orders.set(trade.outTradeNo, trade);
  }

  now(): number {
    return this.options.now();
  }

  trades(): readonly Trade[] {
    return [...this.orders.values()];
  }

  /** An order that nobody scanned in time never became a trade: its number may be used again. */
  place(placing: Placing): Trade {
    const order = readOrder(placing, this.now());
    const known = this.known(order.outTradeNo);
    const lapsed = known !== null && known.tradeNo === null && this.now() >= known.expireAt;
    if (known !== null && !lapsed) {
      if (known.status === 'TRADE_CLOSED') throw businessRefusal('ACQ.TRADE_HAS_CLOSE', '交易已经关闭');
      if (known.status !== 'WAIT_BUYER_PAY') throw businessRefusal('ACQ.TRADE_HAS_SUCCESS', '交易已被支付');
      if (known.context !== order.context) throw businessRefusal('ACQ.CONTEXT_INCONSISTENT', '交易信息被篡改');
      return known;
    }
    this.orders.set(order.outTradeNo, order);
    this.options.onChange();
    return order;
  }

  /** The buyer scans or logs in: the order becomes a trade. */
  open(outTradeNo: string): Trade {
    const trade = this.order(outTradeNo);
    if (trade.status !== 'WAIT_BUYER_PAY') throw new ControlError(`${outTradeNo} is ${trade.status}`);
    if (this.now() >= trade.expireAt) throw new ControlError(`${outTradeNo} expired at ${beijing(trade.expireAt)}`);
    if (trade.tradeNo === null) {
      trade.tradeNo = this.newTradeNo();
      trade.createdAt = this.now();
      this.options.onChange();
    }
    return trade;
  }

  pay(outTradeNo: string, amount?: bigint): Trade {
    if (amount !== undefined && amount < 1n) throw new ControlError(`nobody pays ${amount} fen`);
    const trade = this.open(outTradeNo);
    trade.status = 'TRADE_SUCCESS';
    trade.paid = amount ?? trade.total;
    trade.paidAt = this.now();
    this.happened({ kind: 'paid', trade });
    return trade;
  }

  /** The trade a request names; `trade_no` wins over `out_trade_no`. */
  find(content: Content): Trade {
    const tradeNo = content.optional('trade_no');
    const outTradeNo = content.optional('out_trade_no');
    if (tradeNo === null && outTradeNo === null) throw missing('out_trade_no,trade_no');

    const trade = tradeNo !== null ? this.trades().find((one) => one.tradeNo === tradeNo) : this.orders.get(outTradeNo ?? '');
    if (trade === undefined || trade.tradeNo === null) throw tradeNotExist();
    this.age(trade);
    return trade;
  }

  close(trade: Trade): void {
    if (trade.status === 'TRADE_CLOSED') throw businessRefusal('ACQ.TRADE_HAS_CLOSE', '交易已经关闭');
    if (trade.status === 'TRADE_SUCCESS') throw businessRefusal('ACQ.TRADE_HAS_SUCCESS', '交易已被支付');
    if (trade.status === 'TRADE_FINISHED') throw businessRefusal('ACQ.TRADE_STATUS_ERROR', '交易状态不合法');
    this.end(trade);
    this.happened({ kind: 'closed', trade });
  }

  finish(trade: Trade): void {
    if (trade.status !== 'TRADE_SUCCESS') throw new ControlError(`${trade.outTradeNo} is ${trade.status}`);
    trade.status = 'TRADE_FINISHED';
    this.happened({ kind: 'finished', trade });
  }

  /** For control operations: an order that must be there. */
  order(outTradeNo: string): Trade {
    const trade = this.known(outTradeNo);
    if (trade === null) throw new ControlError(`there is no order ${outTradeNo}`);
    return trade;
  }

  end(trade: Trade): void {
    trade.status = 'TRADE_CLOSED';
    trade.closedAt = this.now();
  }

  /** Something that nobody is told about has changed. */
  changed(): void {
    this.options.onChange();
  }

  happened(event: TradeEvent): void {
    this.changed();
    this.options.onEvent(event);
  }

  /** Lets every order expire that is due. */
  sweep(): void {
    for (const trade of this.orders.values()) this.age(trade);
  }

  private known(outTradeNo: string): Trade | null {
    const trade = this.orders.get(outTradeNo);
    if (trade === undefined) return null;
    this.age(trade);
    return trade;
  }

  private age(trade: Trade): void {
    const now = this.now();
    if (trade.status === 'WAIT_BUYER_PAY' && trade.tradeNo !== null && now >= trade.expireAt) this.close(trade);
    if (trade.status === 'TRADE_SUCCESS' && trade.paidAt !== null && now >= trade.paidAt + this.options.refundWindowMs) this.finish(trade);
  }

  /** 28 digits: the day, 22 and 18 more. */
  private newTradeNo(): string {
    const digits = (): string => randomInt(1_000_000_000).toString().padStart(9, '0');
    return `${beijing(this.now()).slice(0, 10).replaceAll('-', '')}22${digits()}${digits()}`;
  }
}
