export const CHANNELS = ['native', 'jsapi', 'app', 'h5'] as const;
export type Channel = (typeof CHANNELS)[number];

export type RefundStatus = 'PROCESSING' | 'SUCCESS' | 'CLOSED' | 'ABNORMAL';

/** Amounts are fen, times are milliseconds since the epoch. */
export interface Refund {
  readonly refundId: string;
  readonly outRefundNo: string;
  readonly amount: bigint;
  readonly reason: string | null;
  readonly notifyUrl: string | null;
  /** The canonical text of what was asked for: the same number with another text is a conflict. */
  readonly context: string;
  readonly createdAt: number;
  status: RefundStatus;
  /** When it succeeds by itself; null: when somebody has it do so. */
  settlesAt: number | null;
  succeededAt: number | null;
}

/** What the buyer's app is opened with. Asking again gives a new one and makes the old one void. */
export interface Code {
  readonly prepayId: string;
  /** Of `native` the text of the code, of `h5` the address. */
  readonly url: string | null;
  readonly validUntil: number;
}

export interface Order {
  readonly outTradeNo: string;
  readonly channel: Channel;
  readonly appid: string;
  readonly description: string;
  readonly attach: string | null;
  readonly total: bigint;
  readonly notifyUrl: string;
  readonly openid: string;
  /** Likewise. */
  readonly context: string;
  readonly createdAt: number;
  expireAt: number;
  code: Code;
  status: 'NOTPAY' | 'SUCCESS' | 'CLOSED';
  transactionId: string | null;
  paidAt: number | null;
  closedAt: number | null;
  /** What the buyer paid; differs from the total only where a test wants it to. */
  paid: bigint | null;
  readonly refunds: Refund[];
  /** What a query answers in the place of the true state, where a test wants it to. */
  forcedState: string | null;
}

export type OrderEvent =
  | { readonly kind: 'paid'; readonly order: Order }
  | { readonly kind: 'refund'; readonly order: Order; readonly refund: Refund };

/** As it stood then; null where a query would not have found it. */
export function orderAsOf(order: Order, then: number): Order | null {
  const { createdAt, paidAt, closedAt } = order;
  const isBefore = (at: number | null): boolean => at === null || at > then;
  if (isBefore(createdAt)) return null;
  const refunds = order.refunds.flatMap((refund) => refundAsOf(refund, then) ?? []);
  if (!isBefore(paidAt) || !isBefore(closedAt)) return { ...order, refunds };
  return { ...order, refunds, status: 'NOTPAY', transactionId: null, paidAt: null, closedAt: null, paid: null };
}

/** Likewise. When it failed is written nowhere: that is known at once. */
export function refundAsOf(refund: Refund, then: number): Refund | null {
  if (refund.createdAt > then) return null;
  return refund.succeededAt !== null && refund.succeededAt > then ? { ...refund, status: 'PROCESSING', succeededAt: null } : refund;
}

/** A refund that was only begun turns the state (wechatpay.md section 6). */
export function tradeStateOf({ status, refunds, forcedState }: Order): string {
  return forcedState ?? (status === 'SUCCESS' && refunds.length > 0 ? 'REFUND' : status);
}

/** What the platform reports as the order's amount. */
export const reportedTotal = ({ paid, total }: Order): bigint => paid ?? total;

/** All that went or may still go back to the buyer. */
export const refundedOf = ({ refunds }: Order): bigint =>
  refunds.filter(({ status }) => status !== 'CLOSED').reduce((sum, { amount }) => sum + amount, 0n);
