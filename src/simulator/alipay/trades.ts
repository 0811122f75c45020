/** The simulated platform's book: orders, trades and refunds, with the platform's own rules. */
import { fenOf, fromBeijing, yuanOf } from './time.js';

export type TradeStatus = 'WAIT_BUYER_PAY' | 'TRADE_SUCCESS' | 'TRADE_FINISHED' | 'TRADE_CLOSED';

export interface RefundRow {
  readonly requestNo: string;
  readonly amount: bigint;
  readonly at: number;
}

export interface Trade {
  readonly outTradeNo: string;
  readonly method: string;
  readonly subject: string;
  readonly total: bigint;
  readonly expireAt: number | null;
  readonly notifyUrl: string | null;
  readonly qrCode: string;
  /** Null until the buyer scans: the platform has an order, but no trade that a query could find. */
  tradeNo: string | null;
  status: TradeStatus;
  createdAt: number;
  /** What the buyer paid; differs from the total only where a test wants it to. */
  paid: bigint | null;
  paidAt: number | null;
  closedAt: number | null;
  refunds: RefundRow[];
}

export class Refusal extends Error {
  constructor(readonly subCode: string, message: string) {
    super(message);
  }
}

export interface BookOptions {
  readonly now: () => Date;
  readonly refundGapMs: number;
}

export class Book {
  readonly trades = new Map<string, Trade>();
  /** What the merchant can pay refunds from; null is without end. */
  balance: bigint | null = null;
  private counter = 0;

  constructor(private readonly options: BookOptions) {}

  place(method: string, content: Record<string, string>, notifyUrl: string | null): Trade {
    const outTradeNo = content['out_trade_no'] ?? '';
    const total = fenOf(content['total_amount'] ?? '');
    const subject = content['subject'] ?? '';
    if (!/^[0-9A-Za-z_]{1,64}$/.test(outTradeNo) || total === null || total < 1n || total > 10_000_000_000n) throw invalid();
    if (subject === '' || subject.length > 256 || /[/=&]/.test(subject)) throw invalid();
    const expireAt = content['time_expire'] === undefined ? null : fromBeijing(content['time_expire']);
    if (content['time_expire'] !== undefined && (expireAt === null || expireAt <= this.options.now())) throw invalid();

    const known = this.trades.get(outTradeNo);
    if (known !== undefined) {
      this.expire(known);
      if (known.status === 'TRADE_CLOSED') throw new Refusal('ACQ.TRADE_HAS_CLOSE', '交易已经关闭');
      if (known.status !== 'WAIT_BUYER_PAY') throw new Refusal('ACQ.TRADE_HAS_SUCCESS', '交易已被支付');
      if (known.total !== total || known.subject !== subject) throw new Refusal('ACQ.CONTEXT_INCONSISTENT', '交易信息被篡改');
      return known;
    }
    const trade: Trade = {
      outTradeNo,
      method,
      subject,
      total,
      expireAt: expireAt?.getTime() ?? null,
      notifyUrl,
      qrCode: `https://qr.alipay.com/sim${this.number().slice(-12)}`,
      tradeNo: null,
      status: 'WAIT_BUYER_PAY',
      createdAt: this.options.now().getTime(),
      paid: null,
      paidAt: null,
      closedAt: null,
      refunds: [],
    };
    this.trades.set(outTradeNo, trade);
    return trade;
  }

  scan(outTradeNo: string): Trade {
    const trade = this.order(outTradeNo);
    this.expire(trade);
    if (trade.status !== 'WAIT_BUYER_PAY') throw new Error(`the order is ${trade.status}`);
    trade.tradeNo ??= this.number();
    return trade;
  }

  pay(outTradeNo: string, amount?: bigint): Trade {
    const trade = this.scan(outTradeNo);
    trade.status = 'TRADE_SUCCESS';
    trade.paid = amount ?? trade.total;
    trade.paidAt = this.options.now().getTime();
    return trade;
  }

  /** The trade that a query finds; TRADE_NOT_EXIST until the buyer has acted. */
  find(content: Record<string, string>): Trade {
    const { trade_no: tradeNo, out_trade_no: outTradeNo } = content;
    const trade = tradeNo === undefined ? this.trades.get(outTradeNo ?? '') : [...this.trades.values()].find((one) => one.tradeNo === tradeNo);
    if (trade === undefined || trade.tradeNo === null) throw new Refusal('ACQ.TRADE_NOT_EXIST', '交易不存在');
    this.expire(trade);
    return trade;
  }

  close(content: Record<string, string>): Trade {
    const trade = this.find(content);
    if (trade.status === 'TRADE_CLOSED') throw new Refusal('ACQ.TRADE_HAS_CLOSE', '交易已经关闭');
    if (trade.status !== 'WAIT_BUYER_PAY') throw new Refusal('ACQ.TRADE_STATUS_ERROR', '交易状态不合法');
    this.end(trade);
    return trade;
  }

  /** Answers whether money moved in this very call. */
  refund(content: Record<string, string>): { trade: Trade; moved: boolean } {
    const trade = this.find(content);
    const amount = fenOf(content['refund_amount'] ?? '');
    const requestNo = content['out_request_no'] ?? trade.outTradeNo;
    if (amount === null || amount < 1n) throw invalid();

    const known = trade.refunds.find((row) => row.requestNo === requestNo);
    if (known !== undefined) {
      if (known.amount !== amount) throw new Refusal('ACQ.DISCORDANT_REPEAT_REQUEST', '不一致的请求');
      return { trade, moved: false };
    }
    if (trade.status === 'TRADE_FINISHED') throw new Refusal('ACQ.TRADE_HAS_FINISHED', '交易已完结');
    if (trade.status !== 'TRADE_SUCCESS') throw new Refusal('ACQ.TRADE_STATUS_ERROR', '交易状态不合法');
    if (refundedOf(trade) + amount > trade.paid!) throw new Refusal('ACQ.REFUND_AMT_NOT_EQUAL_TOTAL', '退款金额超限');
    const last = trade.refunds.at(-1);
    const now = this.options.now().getTime();
    if (last !== undefined && now - last.at < this.options.refundGapMs) throw new Refusal('ACQ.SYSTEM_ERROR', '系统繁忙');
    if (this.balance !== null && this.balance < amount) throw new Refusal('ACQ.SELLER_BALANCE_NOT_ENOUGH', '商户余额不足');

    if (this.balance !== null) this.balance -= amount;
    trade.refunds.push({ requestNo, amount, at: now });
    if (refundedOf(trade) === trade.paid) this.end(trade);
    return { trade, moved: true };
  }

  order(outTradeNo: string): Trade {
    const trade = this.trades.get(outTradeNo);
    if (trade === undefined) throw new Error(`there is no order ${outTradeNo}`);
    return trade;
  }

  private expire(trade: Trade): void {
    if (trade.status === 'WAIT_BUYER_PAY' && trade.expireAt !== null && this.options.now().getTime() >= trade.expireAt) this.end(trade);
  }

  private end(trade: Trade): void {
    trade.status = 'TRADE_CLOSED';
    trade.closedAt = this.options.now().getTime();
  }

  private number(): string {
    this.counter += 1;
    const day = this.options.now().toISOString().slice(0, 10).replaceAll('-', '');
    return `${day}22001${Math.floor(Math.random() * 1e6).toString().padStart(6, '0')}${this.counter.toString().padStart(8, '0')}`;
  }
}

export const refundedOf = (trade: Trade): bigint => trade.refunds.reduce((sum, row) => sum + row.amount, 0n);
export const yuan = yuanOf;

const invalid = (): Refusal => new Refusal('ACQ.INVALID_PARAMETER', '参数无效');
