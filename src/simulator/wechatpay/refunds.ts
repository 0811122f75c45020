/** Refunds (wechatpay.md section 7): accepted as PROCESSING, settled later. */
import { ControlError } from '../control-error.js';
import { digits, type Book } from './book.js';
import type { Body } from './body.js';
import { DAY_MS } from './format.js';
import { refundedOf, reportedTotal, type Order, type Refund, type RefundStatus } from './order.js';
import { invalidParameter, invalidRequest, rateLimited, Refusal, refundNotExists, resourceNotExists } from './refusal.js';

export interface RefundOptions {
  /** Two refunds of one order must be this far apart. */
  readonly spacingMs: number;
  /** From acceptance to success; 0 is right after the reply, null never by itself. */
  settlesAfterMs: number | null;
}

export interface Found {
  readonly order: Order;
  readonly refund: Refund;
}

const REFUNDS_MAX = 50;
const WINDOW_MS = 365 * DAY_MS;

export class Refunds {
  /** What the merchant can pay refunds from, in fen; null is without end. */
  balance: bigint | null = null;
  private readonly timers = new Set<NodeJS.Timeout>();

  constructor(
    private readonly book: Book,
    readonly options: RefundOptions,
  ) {}

  /** The same number with the same parameters is the same refund. `withhold` accepts one that never settles by itself. */
  request(body: Body, { withhold }: { readonly withhold: boolean }): Found & { readonly isNew: boolean } {
    const outRefundNo = body.matching('out_refund_no', /^[0-9A-Za-z_\-|*@]{1,64}$/, 64);
    const asked = readRefund(body);
    const order = this.orderOf(body);
    const known = this.find(outRefundNo);
    if (known !== null) {
      if (known.refund.context !== asked.context) throw invalidRequest('订单金额或退款金额与之前请求不一致，请核实后再试', 268498688);
      return { ...known, isNew: false };
    }
    if (asked.total !== reportedTotal(order)) throw invalidRequest('订单金额与退款请求中的订单金额不一致');
    this.check(order, asked.amount);
    const { settlesAfterMs } = this.options;
    const settlesAt = withhold || settlesAfterMs === null ? null : this.book.now() + settlesAfterMs;
    return { order, refund: this.accept(order, { outRefundNo, ...asked, settlesAt }), isNew: true };
  }

  /** A refund made in the merchant's console: nobody is notified. */
  outside(order: Order, amount: bigint): Refund {
    this.check(order, amount, { spaced: false });
    const outRefundNo = `console${order.outTradeNo.slice(0, 48)}${order.refunds.length + 1}`;
    const refund = this.accept(order, { outRefundNo, amount, reason: null, notifyUrl: null, context: '', settlesAt: null });
    this.turn({ order, refund }, 'SUCCESS');
    return refund;
  }

  /** ABNORMAL only: the merchant says where else the money may go. */
  applyAbnormal(refundId: string, body: Body): Found & { readonly isNew: boolean } {
    const outRefundNo = body.text('out_refund_no', 64);
    const type = body.text('type', 32);
    if (!['USER_BANK_CARD', 'MERCHANT_BANK_CARD'].includes(type)) throw body.invalid('type', '取值不正确');
    const found = this.find(outRefundNo);
    if (found === null || found.refund.refundId !== refundId) throw refundNotExists();
    if (found.refund.status !== 'ABNORMAL') throw invalidRequest('退款单状态不是退款异常');

    const { settlesAfterMs } = this.options;
    found.refund.settlesAt = settlesAfterMs === null ? null : this.book.now() + settlesAfterMs;
    found.refund.status = 'PROCESSING';
    this.book.changed();
    this.arm(found.refund);
    return { ...found, isNew: true };
  }

  find(outRefundNo: string): Found | null {
    for (const order of this.book.orders()) {
      const refund = order.refunds.find((one) => one.outRefundNo === outRefundNo);
      if (refund !== undefined) return { order, refund };
    }
    return null;
  }

  /** Throws what the call of the refund query answers. */
  get(outRefundNo: string): Found {
    const found = this.find(outRefundNo);
    if (found === null) throw refundNotExists();
    return found;
  }

  /** For control operations. */
  decide(outRefundNo: string, status: RefundStatus): Refund {
    const found = this.find(outRefundNo);
    if (found === null) throw new ControlError(`there is no refund ${outRefundNo}`);
    const { refund } = found;
    const isOpen = refund.status === 'PROCESSING' || (refund.status === 'ABNORMAL' && status === 'SUCCESS');
    if (!isOpen) throw new ControlError(`${outRefundNo} is ${refund.status}`);
    this.turn(found, status);
    return refund;
  }

  settleIfDue({ order, refund }: Found): void {
    const isDue = refund.status === 'PROCESSING' && refund.settlesAt !== null && this.book.now() >= refund.settlesAt;
    if (isDue) this.turn({ order, refund }, 'SUCCESS');
  }

  /** Settles every refund that is due. */
  sweep(): void {
    for (const order of this.book.orders()) for (const refund of order.refunds) this.settleIfDue({ order, refund });
  }

  /** Wakes up when a refund is due, also after a restart. */
  arm(refund: Refund): void {
    const left = (refund.settlesAt ?? 0) - this.book.now();
    if (refund.status !== 'PROCESSING' || left <= 0) return;
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

  private orderOf(body: Body): Order {
    const transactionId = body.optional('transaction_id', 32);
    const outTradeNo = body.optional('out_trade_no', 32);
    if (transactionId === null && outTradeNo === null) throw invalidParameter('/out_trade_no', 'transaction_id和out_trade_no必须填一个');
    const order = this.book.orders().find((one) => (transactionId !== null ? one.transactionId === transactionId : one.outTradeNo === outTradeNo));
    if (order === undefined) throw resourceNotExists('订单不存在');
    if (outTradeNo !== null && order.outTradeNo !== outTradeNo) throw invalidRequest('微信支付订单号与商户订单号不匹配');
    return order;
  }

  private check(order: Order, amount: bigint, { spaced = true } = {}): void {
    if (order.status !== 'SUCCESS') throw new Refusal('TRADE_ERROR', '订单状态不支持退款');
    if (this.book.now() > (order.paidAt ?? 0) + WINDOW_MS) throw invalidRequest('订单已超过退款期限');
    if (order.refunds.length >= REFUNDS_MAX) throw new Refusal('RULE_LIMIT', '订单部分退款次数超过限制');
    if (amount < 1n || refundedOf(order) + amount > reportedTotal(order)) throw invalidRequest('退款金额大于可退金额');
    const last = order.refunds.at(-1);
    if (spaced && last !== undefined && this.book.now() - last.createdAt < this.options.spacingMs) throw rateLimited('同一笔订单退款过于频繁，请1分钟后再试');
    if (this.balance !== null && this.balance < amount) throw new Refusal('NOT_ENOUGH', '基本账户余额不足，请充值后重新发起');
  }

  private accept(order: Order, asked: Omit<Accepted, 'total'>): Refund {
    if (this.balance !== null) this.balance -= asked.amount;
    const { outRefundNo, amount, reason, notifyUrl, context, settlesAt } = asked;
    const createdAt = this.book.now();
    const refund: Refund = { refundId: `50${digits(27)}`, outRefundNo, amount, reason, notifyUrl, context, createdAt, status: 'PROCESSING', settlesAt, succeededAt: null };
    order.refunds.push(refund);
    this.book.changed();
    this.arm(refund);
    return refund;
  }

  private turn({ order, refund }: Found, status: RefundStatus): void {
    refund.status = status;
    refund.settlesAt = null;
    if (status === 'SUCCESS') refund.succeededAt = this.book.now();
    if (status === 'CLOSED' && this.balance !== null) this.balance += refund.amount;
    this.book.happened({ kind: 'refund', order, refund });
  }
}

interface Accepted {
  readonly outRefundNo: string;
  readonly amount: bigint;
  readonly total: bigint;
  readonly reason: string | null;
  readonly notifyUrl: string | null;
  readonly context: string;
  readonly settlesAt: number | null;
}

/** Of one timer. */
const TIMER_MAX_MS = 2_147_483_647;

function readRefund(body: Body): Omit<Accepted, 'outRefundNo' | 'settlesAt'> {
  const amount = body.inner('amount');
  if (amount.text('currency', 16) !== 'CNY') throw amount.invalid('currency', '仅支持CNY');
  const reason = body.optional('reason', 80);
  if (reason !== null && Buffer.byteLength(reason) > 80) throw body.invalid('reason', '长度不能超过80字节');
  const account = body.optional('funds_account', 32);
  if (account !== null && account !== 'AVAILABLE' && account !== 'UNSETTLED') throw body.invalid('funds_account', '取值不正确');
  const notifyUrl = body.has('notify_url') ? body.notifyUrl(255) : null;
  return { amount: amount.amount('refund'), total: amount.amount('total'), reason, notifyUrl, context: body.canonical() };
}
