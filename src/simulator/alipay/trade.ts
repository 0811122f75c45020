export type TradeStatus = 'WAIT_BUYER_PAY' | 'TRADE_SUCCESS' | 'TRADE_FINISHED' | 'TRADE_CLOSED';

/** Of every trade. */
export const BUYER = { buyer_logon_id: '159****5620', buyer_user_id: '2088102534368455' } as const;

/** Amounts are fen, times are milliseconds since the epoch. */
export interface Refund {
  readonly requestNo: string;
  readonly amount: bigint;
  readonly reason: string | null;
  readonly at: number;
  /** Made in the merchant's console, not by a request of the application. */
  readonly outside: boolean;
}

/** An order as the merchant placed it, and the trade it becomes once the buyer acts. */
export interface Trade {
  readonly outTradeNo: string;
  readonly method: string;
  readonly subject: string;
  readonly body: string | null;
  readonly passbackParams: string | null;
  readonly total: bigint;
  readonly notifyUrl: string | null;
  readonly returnUrl: string | null;
  readonly qrCode: string | null;
  /** The canonical text of what was ordered: the same number with another text is a conflict. */
  readonly context: string;
  readonly placedAt: number;
  expireAt: number;
  /** Null until the buyer scans or logs in: an order, but no trade that a query would find. */
  tradeNo: string | null;
  status: TradeStatus;
  createdAt: number | null;
  paidAt: number | null;
  closedAt: number | null;
  /** What the buyer paid; differs from the total only where a test wants it to. */
  paid: bigint | null;
  readonly refunds: Refund[];
  cancelledBy: 'close' | 'refund' | null;
  frozen: boolean;
  /** What a query answers in the place of the true status, where a test wants it to. */
  forcedStatus: string | null;
}

export type TradeEvent =
  | { readonly kind: 'paid' | 'closed' | 'finished'; readonly trade: Trade }
  | { readonly kind: 'refunded'; readonly trade: Trade; readonly refund: Refund };

/** As it stood then; null where a query would not have found it. */
export function tradeAsOf(trade: Trade, then: number): Trade | null {
  const { createdAt, paidAt, closedAt } = trade;
  const isBefore = (at: number | null): boolean => at === null || at > then;
  if (isBefore(createdAt)) return null;
  const refunds = trade.refunds.filter(({ at }) => at <= then);
  if (!isBefore(closedAt)) return { ...trade, refunds };
  if (isBefore(paidAt)) return { ...trade, refunds, status: 'WAIT_BUYER_PAY', paidAt: null, paid: null, closedAt: null };
  return { ...trade, refunds, status: trade.status === 'TRADE_CLOSED' ? 'TRADE_SUCCESS' : trade.status, closedAt: null };
}

/** Cumulative over all refunds of the trade. */
export const refundedOf = ({ refunds }: Trade): bigint => refunds.reduce((sum, { amount }) => sum + amount, 0n);

/** What the platform reports as the trade's amount. */
export const reportedTotal = ({ paid, total }: Trade): bigint => paid ?? total;
