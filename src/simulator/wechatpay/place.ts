/** Reads an order out of a create call, as strictly as wechatpay.md sections 1 and 9 allow. */
import { randomBytes } from 'node:crypto';
import type { Body } from './body.js';
import { beijing, DAY_MS, fromRfc3339 } from './format.js';
import type { Merchant } from './objects.js';
import type { Channel, Code, Order } from './order.js';
import { Refusal } from './refusal.js';
import { newNonce } from './signature.js';

const ORDER_LIFE_MS = 7 * DAY_MS;
const CODE_LIFE_MS = 2 * 3_600_000;
const H5_LIFE_MS = 300_000;
const BUYER = 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o';

export function readOrder(channel: Channel, body: Body, merchant: Merchant, now: number): Order {
  if (body.text('mchid', 32) !== merchant.mchid) throw body.invalid('mchid', '与签名商户号不一致');
  if (body.text('appid', 32) !== merchant.appid) throw new Refusal('APPID_MCHID_NOT_MATCH', 'appid和mch_id不匹配');
  const outTradeNo = body.matching('out_trade_no', /^[0-9A-Za-z_\-|*]{6,32}$/, 32);
  const amount = body.inner('amount');
  amount.currency();
  if (channel === 'h5') checkScene(body.inner('scene_info'));

  return {
    outTradeNo,
    channel,
    appid: merchant.appid,
    description: body.text('description', 127),
    attach: body.optional('attach', 128),
    total: amount.amount('total'),
    notifyUrl: body.notifyUrl(255),
    openid: channel === 'jsapi' ? body.inner('payer').text('openid', 128) : BUYER,
    context: `${channel} ${body.canonical()}`,
    createdAt: now,
    expireAt: expiryOf(body, now),
    code: newCode(channel, now),
    status: 'NOTPAY',
    transactionId: null,
    paidAt: null,
    closedAt: null,
    paid: null,
    refunds: [],
    forcedState: null,
  };
}

export function newCode(channel: Channel, now: number): Code {
  const prepayId = `wx${beijing(now).replaceAll(/\D/g, '')}${randomBytes(10).toString('hex')}`;
  if (channel === 'native') return { prepayId, url: `weixin://wxpay/bizpayurl?pr=${newNonce(9)}`, validUntil: now + CODE_LIFE_MS };
  if (channel !== 'h5') return { prepayId, url: null, validUntil: now + CODE_LIFE_MS };
  const url = `https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=${prepayId}&package=${newNonce(10)}`;
  return { prepayId, url, validUntil: now + H5_LIFE_MS };
}

function expiryOf(body: Body, now: number): number {
  const given = body.optional('time_expire', 64);
  const at = given === null ? now + ORDER_LIFE_MS : fromRfc3339(given);
  if (at === null) throw body.invalid('time_expire', '必须为rfc3339格式');
  return at;
}

function checkScene(scene: Body): void {
  scene.text('payer_client_ip', 45);
  scene.inner('h5_info').text('type', 32);
}
