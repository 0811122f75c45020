/** Reads an order out of `biz_content`, as strictly as alipay.md section 10 allows. */
import { randomBytes } from 'node:crypto';
import type { Content } from './content.js';
import { expressEnd, fen, fromBeijing } from './format.js';
import { invalidParameter } from './refusal.js';
import type { Trade } from './trade.js';

export interface Placing {
  readonly method: string;
  readonly content: Content;
  readonly notifyUrl: string | null;
  readonly returnUrl: string | null;
}

const HOUR_MS = 3_600_000;
const TOTAL_MAX_FEN = 10_000_000_000n;

interface Product {
  readonly codes: readonly string[];
  readonly expiryMs: number;
  readonly needs: readonly string[];
}

/** The default expiry of a precreated order is open (2 or 3 h); 2 h here. */
const PRODUCTS: Readonly<Record<string, Product>> = {
  'alipay.trade.precreate': { codes: ['QR_CODE_OFFLINE', 'FACE_TO_FACE_PAYMENT'], expiryMs: 2 * HOUR_MS, needs: [] },
  'alipay.trade.page.pay': { codes: ['FAST_INSTANT_TRADE_PAY'], expiryMs: 15 * 24 * HOUR_MS, needs: ['product_code'] },
  'alipay.trade.wap.pay': { codes: ['QUICK_WAP_WAY'], expiryMs: 15 * 24 * HOUR_MS, needs: ['product_code'] },
  'alipay.trade.app.pay': { codes: ['QUICK_MSECURITY_PAY'], expiryMs: 15 * 24 * HOUR_MS, needs: [] },
  'alipay.trade.create': { codes: ['JSAPI_PAY', 'FACE_TO_FACE_PAYMENT'], expiryMs: 15 * 24 * HOUR_MS, needs: [] },
  'alipay.trade.pay': { codes: ['FACE_TO_FACE_PAYMENT', 'OFFLINE_PAY'], expiryMs: 2 * HOUR_MS, needs: ['auth_code'] },
};

export function readOrder({ method, content, notifyUrl, returnUrl }: Placing, now: number): Trade {
  const product = PRODUCTS[method];
  if (product === undefined) throw new Error(`${method} places no order`);
  const outTradeNo = content.required('out_trade_no');
  const total = fen(content.required('total_amount'));
  const subject = content.required('subject');
  for (const field of product.needs) content.required(field);

  if (!/^[0-9A-Za-z_]{1,64}$/.test(outTradeNo)) throw invalidParameter('out_trade_no');
  if (total === null || total < 1n || total > TOTAL_MAX_FEN) throw invalidParameter('total_amount');
  if ([...subject].length > 256 || /[/=&]/.test(subject)) throw invalidParameter('subject');
  const productCode = content.optional('product_code');
  if (productCode !== null && !product.codes.includes(productCode)) throw invalidParameter('product_code');
  if (method === 'alipay.trade.create' && content.optional('buyer_id') === null && content.optional('buyer_open_id') === null) {
    throw invalidParameter('buyer_id');
  }
  const passbackParams = content.optional('passback_params');
  if (passbackParams !== null && !isUrlEncoded(passbackParams)) throw invalidParameter('passback_params');

  return {
    outTradeNo,
    method,
    subject,
    body: content.optional('body'),
    passbackParams,
    total,
    notifyUrl,
    returnUrl,
    qrCode: method === 'alipay.trade.precreate' ? `https://qr.alipay.com/bax${randomBytes(12).toString('hex')}` : null,
    context: `${method} ${content.canonical()}`,
    placedAt: now,
    expireAt: expiryOf(content, now, product.expiryMs),
    tradeNo: null,
    status: 'WAIT_BUYER_PAY',
    createdAt: null,
    paidAt: null,
    closedAt: null,
    paid: null,
    refunds: [],
    cancelledBy: null,
    frozen: false,
    forcedStatus: null,
  };
}

/** `time_expire` wins over `timeout_express`. */
function expiryOf(content: Content, now: number, defaultMs: number): number {
  const absolute = content.optional('time_expire');
  const relative = content.optional('timeout_express');
  const expireAt = absolute !== null ? fromBeijing(absolute) : relative !== null ? expressEnd(relative, now) : now + defaultMs;
  if (expireAt === null || expireAt <= now) throw invalidParameter(absolute !== null ? 'time_expire' : 'timeout_express');
  return expireAt;
}

function isUrlEncoded(text: string): boolean {
  return text.length <= 512 && /^(?:[A-Za-z0-9\-_.!~*'()+]|%[0-9A-Fa-f]{2})*$/.test(text);
}
