import { beijing, beijingMillis, yuan } from './format.js';
import { refundedOf, reportedTotal, type TradeEvent } from './trade.js';

export interface NoticeHead {
  readonly notifyId: string;
  readonly now: number;
  readonly appId: string;
  readonly sellerId: string;
}

/**
 * The fields of a trade notification without its `sign`, in the order in which they are sent. Those of alipay.md section 6 in either
 * mode: unlike an answer, a notification does not name the certificate it is signed with.
 */
export function notice(event: TradeEvent, { notifyId, now, appId, sellerId }: NoticeHead): Map<string, string> {
  const { trade } = event;
  const fields = new Map([
    ['gmt_create', beijing(trade.createdAt ?? trade.placedAt)],
    ['charset', 'utf-8'],
    ['seller_email', 'merchant+test@example.com'],
    ['subject', trade.subject],
    ['sign_type', 'RSA2'],
    ['buyer_id', '2088102534368455'],
    ['buyer_logon_id', '159****5620'],
    ['notify_id', notifyId],
    ['notify_type', 'trade_status_sync'],
    ['trade_status', trade.status],
    ['app_id', appId],
    ['auth_app_id', appId],
    ['seller_id', sellerId],
    ['notify_time', beijing(now)],
    ['version', '1.0'],
    ['out_trade_no', trade.outTradeNo],
    ['total_amount', yuan(reportedTotal(trade))],
    ['trade_no', trade.tradeNo ?? ''],
  ]);
  if (trade.body !== null) fields.set('body', trade.body);
  if (trade.passbackParams !== null) fields.set('passback_params', trade.passbackParams);

  if (trade.paidAt !== null) {
    const paid = yuan(trade.paid ?? 0n);
    fields.set('gmt_payment', beijing(trade.paidAt));
    fields.set('receipt_amount', paid);
    fields.set('buyer_pay_amount', paid);
    fields.set('invoice_amount', paid);
    fields.set('point_amount', '0.00');
    fields.set('fund_bill_list', JSON.stringify([{ amount: paid, fundChannel: 'ALIPAYACCOUNT' }]));
  }
  if (event.kind === 'refunded') {
    fields.set('refund_fee', yuan(refundedOf(trade)));
    fields.set('gmt_refund', beijingMillis(event.refund.at));
    fields.set('out_biz_no', event.refund.requestNo);
  }
  if (event.kind === 'finished') fields.set('refund_fee', yuan(refundedOf(trade)));
  if (trade.closedAt !== null) fields.set('gmt_close', beijing(trade.closedAt));
  return fields;
}
