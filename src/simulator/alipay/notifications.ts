/** The notifications that the simulated platform sends, and the ways in which tests have them sent wrongly. */
import { randomBytes } from 'node:crypto';
import type { Delivery, Notifier } from '../notifier.js';
import { NOTIFICATION_WITHOUT, rsa2, textToSign, type Fields } from './signature.js';
import { beijing } from './time.js';
import { refundedOf, yuan, type Trade } from './trades.js';

/** How notifications go out: as they should, twice, never, by a forger, with another amount, or cut short. */
export type NotificationMode = 'normal' | 'duplicate' | 'never' | 'forged' | 'altered-amount' | 'truncated';

export interface NotificationParts {
  readonly notifier: Notifier;
  readonly now: () => Date;
  readonly appId: string;
  readonly sellerId: string;
  readonly privateKeyPem: string;
  readonly forgerKeyPem: string;
}

export class Notifications {
  mode: NotificationMode = 'normal';
  readonly sent: Delivery[] = [];

  constructor(private readonly parts: NotificationParts) {}

  /** Tells the merchant where the trade is; about a refund when its number is given. */
  tell(trade: Trade, refundNo: string | null = null): void {
    if (trade.notifyUrl === null) return;
    const delivery = this.compose(trade, trade.notifyUrl, refundNo);
    this.sent.push(delivery);
    if (this.mode === 'never') return;
    this.parts.notifier.deliver(delivery);
    if (this.mode === 'duplicate') this.parts.notifier.deliver(delivery);
  }

  /** Sends an earlier notification again, byte for byte. */
  again(id: string): void {
    const delivery = this.sent.find((one) => one.id === id);
    if (delivery === undefined) throw new Error(`there is no notification ${id}`);
    this.parts.notifier.deliver(delivery);
  }

  private compose(trade: Trade, url: string, refundNo: string | null): Delivery {
    const id = `${beijing(this.parts.now()).replace(/\D/g, '')}${randomBytes(8).toString('hex')}`;
    const fields = this.fieldsOf(trade, id, refundNo);
    fields.set('sign', rsa2(textToSign(fields, NOTIFICATION_WITHOUT), this.mode === 'forged' ? this.parts.forgerKeyPem : this.parts.privateKeyPem));
    if (this.mode === 'altered-amount') fields.set('total_amount', yuan(trade.total + 1n));
    let body = new URLSearchParams([...fields]).toString();
    if (this.mode === 'truncated') body = body.slice(0, Math.floor(body.length * 0.7));
    return { id, url, body, contentType: 'application/x-www-form-urlencoded; charset=utf-8' };
  }

  private fieldsOf(trade: Trade, id: string, refundNo: string | null): Fields {
    const { parts } = this;
    const fields: Fields = new Map([
      ['gmt_create', beijing(new Date(trade.createdAt))],
      ['charset', 'utf-8'],
      ['seller_email', 'merchant@example.com'],
      ['subject', trade.subject],
      ['buyer_id', '2088102534368455'],
      ['invoice_amount', yuan(trade.paid ?? 0n)],
      ['notify_id', id],
      ['fund_bill_list', `[{"amount":"${yuan(trade.paid ?? 0n)}","fundChannel":"ALIPAYACCOUNT"}]`],
      ['notify_type', 'trade_status_sync'],
      ['trade_status', trade.status],
      ['sign_type', 'RSA2'],
      ['app_id', parts.appId],
      ['auth_app_id', parts.appId],
      ['seller_id', parts.sellerId],
      ['notify_time', beijing(parts.now())],
      ['version', '1.0'],
      ['out_trade_no', trade.outTradeNo],
      ['total_amount', yuan(trade.paid ?? trade.total)],
      ['trade_no', trade.tradeNo ?? ''],
      ['passback_params', '100%+a&b="c"'],
    ]);
    if (trade.paidAt !== null) {
      fields.set('gmt_payment', beijing(new Date(trade.paidAt)));
      fields.set('receipt_amount', yuan(trade.paid!));
      fields.set('buyer_pay_amount', yuan(trade.paid!));
    }
    if (refundNo !== null) {
      const row = trade.refunds.find((one) => one.requestNo === refundNo)!;
      fields.set('refund_fee', yuan(refundedOf(trade)));
      fields.set('gmt_refund', `${beijing(new Date(row.at))}.${(row.at % 1_000).toString().padStart(3, '0')}`);
      fields.set('out_biz_no', refundNo);
    }
    if (trade.closedAt !== null) fields.set('gmt_close', beijing(new Date(trade.closedAt)));
    return fields;
  }
}
