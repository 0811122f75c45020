/** What a browser gets: the cashier of page.pay and wap.pay. Opening it places the order; only the buyer makes it a trade. */
import { text, type HttpReply } from '../http.js';
import { beijing, yuan } from './format.js';
import type { Refusal } from './refusal.js';
import { notificationText, sign } from './signature.js';
import { reportedTotal, type Trade } from './trade.js';

export const isPageMethod = (method: string): boolean => method === 'alipay.trade.page.pay' || method === 'alipay.trade.wap.pay';

export function cashierPage({ outTradeNo, subject, total, expireAt }: Trade): HttpReply {
  return page(
    '收银台',
    `<p>${escaped(subject)}</p>
<p><b>${yuan(total)}</b> 元</p>
<p>订单号 <code id="out_trade_no">${escaped(outTradeNo)}</code>，${beijing(expireAt)} 前有效</p>
<p>Simulated cashier. The buyer pays through the control port:
<code>POST /alipay/buyer-pays {"out_trade_no":"${escaped(outTradeNo)}"}</code></p>`,
  );
}

export const refusalPage = ({ subCode, message }: Refusal): HttpReply =>
  page('错误', `<p>错误代码 <code id="sub_code">${escaped(subCode)}</code></p><p>${escaped(message)}</p>`);

export interface Redirecting {
  readonly appId: string;
  readonly sellerId: string;
  readonly privateKeyPem: string;
  readonly now: number;
}

/** The signed redirect back to the merchant's page: a hint, without a `trade_status`. Null without a `return_url`. */
export function returnUrlOf(trade: Trade, { appId, sellerId, privateKeyPem, now }: Redirecting): string | null {
  if (trade.returnUrl === null || trade.tradeNo === null) return null;
  const fields = new Map([
    ['charset', 'utf-8'],
    ['out_trade_no', trade.outTradeNo],
    ['method', `${trade.method}.return`],
    ['total_amount', yuan(reportedTotal(trade))],
    ['trade_no', trade.tradeNo],
    ['auth_app_id', appId],
    ['version', '1.0'],
    ['app_id', appId],
    ['sign_type', 'RSA2'],
    ['seller_id', sellerId],
    ['timestamp', beijing(now)],
  ]);
  fields.set('sign', sign(notificationText(fields), privateKeyPem));

  const url = new URL(trade.returnUrl);
  for (const [name, value] of fields) url.searchParams.append(name, value);
  return url.href;
}

function page(title: string, content: string): HttpReply {
  return text(200, 'text/html;charset=utf-8', `<!DOCTYPE html>\n<html lang="zh"><meta charset="utf-8"><title>${title}</title>\n${content}\n</html>\n`);
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (value: string): string => value.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
