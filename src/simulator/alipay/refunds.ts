/** Refunds and cancellations (alipay.md sections 1 and 8). */
import type { Content } from './content.js';
import { fen } from './format.js';
import { businessRefusal, invalidParameter, rateLimited } from './refusal.js';
import { refundedOf, reportedTotal, type Refund, type Trade } from './trade.js';
import type { Book } from './trades.js';

export interface RefundOptions {
  /** Refunds of one trade must be this far apart. */
  readonly spacingMs: number;
}

const CANCEL_WINDOW_MS = 24 * 3_600_000;

export class Refunds {
  /** What the merchant can pay refunds from, in fen; null is without end. */
  balance: bigint | null = null;

  constructor(
    private readonly book: Book,
    private readonly options: RefundOptions,
  ) {}

  /** Answers the refund that moved money in this very call, or null for the repetition of an earlier one. */
  request(trade: Trade, content: Content): Refund | null {
    const amount = fen(content.required('refund_amount'));
    if (amount === null || amount < 1n) throw invalidParameter('refund_amount');
    const given = content.optional('out_request_no');
    if (given === null && amount !== reportedTotal(trade)) throw invalidParameter('out_request_no');
    const requestNo = given ?? trade.outTradeNo;
    if (requestNo.length > 64) throw invalidParameter('out_request_no');

    const known = trade.refunds.find((refund) => refund.requestNo === requestNo);
    if (known !== undefined) {
      if (known.amount !== amount) throw businessRefusal('ACQ.DISCORDANT_REPEAT_REQUEST', '请求号重复且金额不一致');
      return null;
    }
    this.check(trade, amount);
    return this.move(trade, { requestNo, amount, reason: content.optional('refund_reason'), at: this.book.now(), outside: false });
  }

  /** A refund made in the merchant's console. */
  outside(trade: Trade, amount: bigint): Refund {
    this.check(trade, amount, { spaced: false });
    const requestNo = `console${trade.refunds.length + 1}`;
    return this.move(trade, { requestNo, amount, reason: null, at: this.book.now(), outside: true });
  }

  /** Closes what is unpaid, refunds what is paid; a repetition answers as the first call did. Null: nothing was done. */
  cancel(trade: Trade): 'close' | 'refund' | null {
    if (trade.cancelledBy !== null || trade.status === 'TRADE_CLOSED') return trade.cancelledBy;
    if (trade.status === 'TRADE_FINISHED') throw businessRefusal('ACQ.TRADE_HAS_FINISHED', '交易已完结');
    if (trade.status === 'WAIT_BUYER_PAY') {
      trade.cancelledBy = 'close';
      this.book.close(trade);
      return 'close';
    }
    if (trade.refunds.length > 0) throw businessRefusal('ACQ.CANCEL_NOT_ALLOWED', '交易不允许撤销');
    if (this.book.now() >= (trade.paidAt ?? 0) + CANCEL_WINDOW_MS) throw businessRefusal('ACQ.TRADE_CANCEL_TIME_OUT', '超过撤销时间范围');

    const amount = reportedTotal(trade);
    this.check(trade, amount);
    trade.cancelledBy = 'refund';
    this.move(trade, { requestNo: trade.outTradeNo, amount, reason: null, at: this.book.now(), outside: false });
    return 'refund';
  }

  private check(trade: Trade, amount: bigint, { spaced = true } = {}): void {
    if (trade.status === 'TRADE_FINISHED') throw businessRefusal('ACQ.TRADE_HAS_FINISHED', '交易已完结');
    if (trade.status !== 'TRADE_SUCCESS') throw businessRefusal('ACQ.TRADE_STATUS_ERROR', '交易状态不合法');
    if (trade.frozen) throw businessRefusal('ACQ.REASON_TRADE_BEEN_FREEZEN', '交易已经被冻结');
    if (amount < 1n || refundedOf(trade) + amount > reportedTotal(trade)) {
      throw businessRefusal('ACQ.REFUND_AMT_NOT_EQUAL_TOTAL', '退款金额超过可退金额');
    }
    const last = trade.refunds.at(-1);
    if (spaced && last !== undefined && this.book.now() - last.at < this.options.spacingMs) throw rateLimited('同一笔交易退款过于频繁');
    if (this.balance !== null && this.balance < amount) throw businessRefusal('ACQ.SELLER_BALANCE_NOT_ENOUGH', '卖家余额不足');
  }

  private move(trade: Trade, refund: Refund): Refund {
    if (this.balance !== null) this.balance -= refund.amount;
    trade.refunds.push(refund);
    if (refundedOf(trade) === reportedTotal(trade)) this.book.end(trade);
    this.book.happened({ kind: 'refunded', trade, refund });
    return refund;
  }
}
