/** The simulated gateway: verifies every call strictly and answers in the platform's own shapes. */
import type { FaultKind } from '../faults.js';
import type { Exchange, Reply } from '../http.js';
import { platformJson, REQUEST_WITHOUT, rsa2, rsa2Holds, textToSign, type Fields } from './signature.js';
import { beijing, fromBeijing } from './time.js';
import { Refusal, refundedOf, yuan, type Book, type Trade } from './trades.js';

export interface GatewayParts {
  readonly book: Book;
  readonly now: () => Date;
  readonly appId: string;
  readonly appPublicKeyPem: string;
  readonly alipayPrivateKeyPem: string;
  strike(method: string): FaultKind | null;
  /** Answers put the signature first now and then, as a test of readers. */
  readonly signFirst: () => boolean;
  onPlaced(trade: Trade): void;
  onRefunded(trade: Trade, requestNo: string): void;
  onClosed(trade: Trade): void;
}

type Node = Record<string, string>;

const JSON_TYPE = 'text/html;charset=utf-8';
const TIME_WINDOW_MS = 15 * 60_000;

export function answerGateway(parts: GatewayParts, exchange: Exchange): Reply {
  const fields = fieldsOf(exchange);
  if (fields === null) return signed(parts, 'error_response', failure('40002', 'isv.invalid-parameter', '参数有误'), null);
  const method = fields.get('method') ?? '';
  const fault = parts.strike(method);

  if (fault === 'drop-before-commit') return null;
  if (fault === 'http-500') return { status: 500, type: 'text/html', body: '<html><body>502 Bad Gateway</body></html>' };
  if (fault === 'rate-limit') return signed(parts, nodeName(method), failure('40005', 'isv.app-call-limited', '调用频次超限'), null);
  if (fault === 'system-error') return signed(parts, nodeName(method), failure('20000', 'isp.unknow-error', '服务暂不可用'), null);
  if (fault === 'unsigned-error') return { status: 200, type: JSON_TYPE, body: platformJson({ error_response: failure('40004', 'ACQ.TRADE_NOT_EXIST', '交易不存在') }) };

  const refusal = checkDoor(parts, fields);
  if (refusal !== null) return signed(parts, nodeName(method), refusal, fault);
  if (method === 'alipay.trade.page.pay') return pagePay(parts, fields);
  const node = execute(parts, method, fields);
  if (fault === 'commit-then-drop') return null;
  return signed(parts, nodeName(method), node, fault);
}

/** In the order in which the platform looks: application, time, signature. */
function checkDoor(parts: GatewayParts, fields: Fields): Node | null {
  if (fields.get('app_id') !== parts.appId) return failure('40002', 'isv.invalid-app-id', '无效的AppID参数');
  const at = fromBeijing(fields.get('timestamp') ?? '');
  if (at === null || Math.abs(at.getTime() - parts.now().getTime()) > TIME_WINDOW_MS) {
    return failure('40002', 'isv.invalid-timestamp', '非法的时间戳参数');
  }
  const wellFormed = fields.get('sign_type') === 'RSA2' && fields.get('charset')?.toLowerCase() === 'utf-8' && fields.get('version') === '1.0';
  const text = textToSign(fields, REQUEST_WITHOUT);
  if (!wellFormed || !rsa2Holds(text, fields.get('sign') ?? '', parts.appPublicKeyPem)) {
    return failure('40002', 'isv.invalid-signature', '无效签名');
  }
  return null;
}

function execute(parts: GatewayParts, method: string, fields: Fields): Node {
  const { book } = parts;
  const content = contentOf(fields);
  if (content === null) return failure('40002', 'isv.invalid-parameter', '参数有误');
  const ok = (node: Node): Node => ({ msg: 'Success', code: '10000', ...node });

  try {
    switch (method) {
      case 'alipay.trade.precreate': {
        const trade = book.place(method, content, fields.get('notify_url') ?? null);
        parts.onPlaced(trade);
        return ok({ out_trade_no: trade.outTradeNo, qr_code: trade.qrCode });
      }
      case 'alipay.trade.query':
        return ok(tradeNode(book.find(content)));
      case 'alipay.trade.close': {
        const trade = book.close(content);
        parts.onClosed(trade);
        return ok({ trade_no: trade.tradeNo!, out_trade_no: trade.outTradeNo });
      }
      case 'alipay.trade.refund': {
        const { trade, moved } = book.refund(content);
        if (moved) parts.onRefunded(trade, trade.refunds.at(-1)!.requestNo);
        return ok({
          trade_no: trade.tradeNo!,
          out_trade_no: trade.outTradeNo,
          buyer_logon_id: '159****5620',
          fund_change: moved ? 'Y' : 'N',
          refund_fee: yuan(refundedOf(trade)),
          send_back_fee: moved ? yuan(trade.refunds.at(-1)!.amount) : '0.00',
        });
      }
      case 'alipay.trade.fastpay.refund.query': {
        const trade = book.find(content);
        const row = trade.refunds.find((one) => one.requestNo === content['out_request_no']);
        // Success of the call, and silence about a refund that is not there.
        if (row === undefined) return ok({});
        return ok({
          refund_status: 'REFUND_SUCCESS',
          trade_no: trade.tradeNo!,
          out_trade_no: trade.outTradeNo,
          out_request_no: row.requestNo,
          total_amount: yuan(trade.total),
          refund_amount: yuan(row.amount),
          gmt_refund_pay: beijing(new Date(row.at)),
        });
      }
      default:
        return failure('40002', 'isv.invalid-method', '不存在的方法名');
    }
  } catch (error) {
    if (error instanceof Refusal) return failure('40004', error.subCode, error.message);
    throw error;
  }
}

/** The cashier page: opening the signed form is what creates the trade. */
function pagePay(parts: GatewayParts, fields: Fields): Reply {
  try {
    const trade = parts.book.place('alipay.trade.page.pay', contentOf(fields) ?? {}, fields.get('notify_url') ?? null);
    parts.book.scan(trade.outTradeNo);
    const body = `<!DOCTYPE html><meta charset="utf-8"><title>收银台</title><p>${trade.outTradeNo}: ${yuan(trade.total)} 元`;
    return { status: 200, type: 'text/html;charset=utf-8', body };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { status: 200, type: 'text/html;charset=utf-8', body: `<!DOCTYPE html><meta charset="utf-8"><p>${error.subCode}` };
  }
}

function tradeNode(trade: Trade): Node {
  const paid = trade.paidAt === null ? {} : { send_pay_date: beijing(new Date(trade.paidAt)), receipt_amount: yuan(trade.paid!), buyer_pay_amount: yuan(trade.paid!) };
  return {
    trade_status: trade.status,
    subject: trade.subject,
    buyer_logon_id: '159****5620',
    trade_no: trade.tradeNo!,
    out_trade_no: trade.outTradeNo,
    total_amount: yuan(trade.paid ?? trade.total),
    ...paid,
  };
}

function signed(parts: GatewayParts, name: string, node: Node, fault: FaultKind | null): Reply {
  const text = platformJson(node);
  let sign = rsa2(text, parts.alipayPrivateKeyPem);
  if (fault === 'bad-signature') sign = rsa2(`${text} `, parts.alipayPrivateKeyPem);
  if (fault === 'html-body') return { status: 200, type: 'text/html', body: '<html><body>系统繁忙</body></html>' };

  const signature = `"sign":"${sign}"`;
  let body = parts.signFirst() ? `{${signature},"${name}":${text}}` : `{"${name}":${text},${signature}}`;
  if (fault === 'no-signature') body = `{"${name}":${text}}`;
  if (fault === 'truncated') body = body.slice(0, Math.floor(body.length / 2));
  return { status: 200, type: JSON_TYPE, body };
}

/** Query and body together, each decoded once; null where a name comes twice. */
function fieldsOf({ url, headers, body, method }: Exchange): Fields | null {
  const fields: Fields = new Map();
  const form = method === 'POST' && headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true;
  for (const part of [url.searchParams, new URLSearchParams(form ? body.toString('utf8') : '')]) {
    for (const [name, value] of part) {
      if (fields.has(name)) return null;
      fields.set(name, value);
    }
  }
  return fields;
}

function contentOf(fields: Fields): Record<string, string> | null {
  try {
    const value: unknown = JSON.parse(fields.get('biz_content') ?? '');
    return typeof value === 'object' && value !== null ? (value as Record<string, string>) : null;
  } catch {
    return null;
  }
}

const nodeName = (method: string): string => (method === '' ? 'error_response' : `${method.replaceAll('.', '_')}_response`);
const failure = (code: string, subCode: string, message: string): Node => ({
  msg: code === '40004' ? 'Business Failed' : 'Invalid Arguments',
  code,
  sub_msg: message,
  sub_code: subCode,
});
