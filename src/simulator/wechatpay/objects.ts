/** The platform's JSON objects (wechatpay.md sections 1, 5 and 11). Amounts are JSON integers. */
import { rfc3339 } from './format.js';
import { reportedTotal, tradeStateOf, type Channel, type Order, type Refund } from './order.js';

export type JsonObject = Readonly<Record<string, unknown>>;

export interface Merchant {
  readonly mchid: string;
  readonly appid: string;
}

export const TRADE_TYPE: Readonly<Record<Channel, string>> = { native: 'NATIVE', jsapi: 'JSAPI', app: 'APP', h5: 'MWEB' };

const STATE_DESCRIPTION: Readonly<Record<string, string>> = {
  NOTPAY: '订单未支付',
  SUCCESS: '支付成功',
  REFUND: '订单发生过退款，退款详情请查询退款单',
  CLOSED: '订单已关闭',
  REVOKED: '订单已撤销',
  USERPAYING: '用户支付中',
  PAYERROR: '支付失败',
};

/** An order that is not paid lacks everything about its payment. */
export function orderObject(order: Order, { mchid }: Pick<Merchant, 'mchid'>): JsonObject {
  const state = tradeStateOf(order);
  const total = Number(reportedTotal(order));
  const payment = {
    transaction_id: order.transactionId,
    trade_type: TRADE_TYPE[order.channel],
    bank_type: 'OTHERS',
    attach: order.attach ?? '',
    success_time: rfc3339(order.paidAt ?? 0),
    payer: { openid: order.openid },
    amount: { total, payer_total: total, currency: 'CNY', payer_currency: 'CNY' },
  };
  return {
    appid: order.appid,
    mchid,
    out_trade_no: order.outTradeNo,
    ...(order.paidAt === null ? {} : payment),
    trade_state: state,
    trade_state_desc: STATE_DESCRIPTION[state] ?? state,
  };
}

export function refundObject(order: Order, refund: Refund): JsonObject {
  const { total, refund: amount, ...rest } = amounts(order, refund);
  return {
    refund_id: refund.refundId,
    out_refund_no: refund.outRefundNo,
    transaction_id: order.transactionId,
    out_trade_no: order.outTradeNo,
    channel: 'ORIGINAL',
    user_received_account: '支付用户零钱',
    create_time: rfc3339(refund.createdAt),
    ...(refund.succeededAt === null ? {} : { success_time: rfc3339(refund.succeededAt) }),
    status: refund.status,
    funds_account: 'AVAILABLE',
    amount: { total, refund: amount, ...rest, settlement_refund: amount, settlement_total: total, discount_refund: 0, currency: 'CNY' },
  };
}

/** What a notification says of a refund: `refund_status`, unlike the API's object. */
export function refundNotice(order: Order, refund: Refund, mchid: string): JsonObject {
  return {
    mchid,
    transaction_id: order.transactionId,
    out_trade_no: order.outTradeNo,
    refund_id: refund.refundId,
    out_refund_no: refund.outRefundNo,
    refund_status: refund.status,
    ...(refund.succeededAt === null ? {} : { success_time: rfc3339(refund.succeededAt) }),
    user_received_account: '支付用户零钱',
    amount: amounts(order, refund),
  };
}

function amounts(order: Order, refund: Refund) {
  const total = Number(reportedTotal(order));
  const amount = Number(refund.amount);
  return { total, refund: amount, payer_total: total, payer_refund: amount };
}
