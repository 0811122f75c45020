/** What a browser gets of `frontTransReq.do`: the cashier, or why there is none. */
import { text, type HttpReply } from '../http.js';
import { stamp } from './format.js';
import { respMsg, type Refusal } from './refusal.js';
import type { Transaction } from './transaction.js';

export function cashierPage({ orderId, txnTime, amount, expireAt }: Transaction): HttpReply {
  return page(
    '收银台',
    `<p>订单号 <code id="orderId">${escaped(orderId)}</code>，<code id="txnTime">${txnTime}</code></p>
<p><b>${amount / 100n}.${(amount % 100n).toString().padStart(2, '0')}</b> 元，${expireAt === null ? '' : stamp(expireAt)} 前有效</p>
<p>Simulated cashier. The buyer pays through the control port:
<code>POST /unionpay/buyer-pays {"order_id":"${escaped(orderId)}"}</code></p>`,
  );
}

export const refusalPage = ({ code, message }: Refusal): HttpReply =>
  page('错误', `<p><code id="respCode">${escaped(code)}</code></p><p id="respMsg">${escaped(respMsg(code, message))}</p>`);

export const htmlPage = (status: number, title: string): HttpReply =>
  text(status, 'text/html;charset=UTF-8', `<!DOCTYPE html><html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>`);

function page(title: string, content: string): HttpReply {
  return text(200, 'text/html;charset=UTF-8', `<!DOCTYPE html>\n<html lang="zh"><meta charset="utf-8"><title>${title}</title>\n${content}\n</html>\n`);
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (value: string): string => value.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
