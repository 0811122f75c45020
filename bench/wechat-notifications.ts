/** Notifications as WeChat Pay signs them, made ahead of time, so that a measurement pays for receiving them and not for signing. */
import { randomUUID } from 'node:crypto';
import { newKeys, type WechatPayKeys } from '../src/simulator/wechatpay/keys.js';
import { noticeBody } from '../src/simulator/wechatpay/notice.js';
import type { Order, OrderEvent, Refund } from '../src/simulator/wechatpay/order.js';
import { Signer, type SignatureFlaw } from '../src/simulator/wechatpay/signer.js';

const MERCHANT = { mchid: '1900000001', appid: 'wx0000000000000001' };

/** One HTTP request. */
export interface Told {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export class WechatNotifications {
  readonly keys: WechatPayKeys = newKeys(Date.now(), MERCHANT.mchid);
  private readonly signer = new Signer(this.keys, 'public-key');

  /** For PAYSTATE_PLATFORMS; nothing is ever called at its address. */
  get account(): object {
    const { merchant, apiV3Key, publicKey } = this.keys;
    return {
      account: 'wechatpay',
      ...MERCHANT,
      base_url: 'http://127.0.0.1:9',
      merchant_private_key: merchant.privateKeyPem,
      merchant_certificate_serial: merchant.serial,
      api_v3_key: apiV3Key,
      public_keys: { [publicKey.id]: publicKey.publicKeyPem },
    };
  }

  paid(outTradeNo: string, flaw: SignatureFlaw | null = null): Told {
    return this.told({ kind: 'paid', order: paidOrder(outTradeNo, Date.now()) }, flaw);
  }

  refunded(outTradeNo: string, refund: Pick<Refund, 'outRefundNo' | 'amount' | 'status'>): Told {
    const now = Date.now();
    const whole = { refundId: `50000${refund.outRefundNo}`, reason: null, notifyUrl: null, context: '', createdAt: now, settlesAt: null, succeededAt: refund.status === 'SUCCESS' ? now : null, ...refund };
    return this.told({ kind: 'refund', order: paidOrder(outTradeNo, now), refund: whole });
  }

  private told(event: OrderEvent, flaw: SignatureFlaw | null = null): Told {
    const now = Date.now();
    const body = noticeBody(event, { id: randomUUID(), now, merchant: MERCHANT, apiV3Key: this.keys.apiV3Key, variant: null });
    return { headers: { 'content-type': 'application/json', ...this.signer.headers(body, now, flaw) }, body };
  }
}

const paidOrder = (outTradeNo: string, now: number): Order => ({
  outTradeNo,
  channel: 'native',
  appid: MERCHANT.appid,
  description: 'tea',
  attach: null,
  total: 8_888n,
  notifyUrl: '',
  openid: 'o-buyer',
  context: '',
  createdAt: now,
  expireAt: now + 3_600_000,
  code: { prepayId: '', url: null, validUntil: now },
  status: 'SUCCESS',
  transactionId: `42000${outTradeNo}`,
  paidAt: now,
  closedAt: null,
  paid: null,
  refunds: [],
  forcedState: null,
});
