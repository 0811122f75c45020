/** The calls of wechatpay.md section 1. */
import type { HttpRequest } from '../http.js';
import { answerEmpty, answerFile, answerJson, type Answer } from './answers.js';
import type { Bills } from './bills.js';
import type { Book } from './book.js';
import { Body } from './body.js';
import { ALGORITHM, seal } from './cipher.js';
import { rfc3339 } from './format.js';
import type { WechatPayKeys } from './keys.js';
import { orderObject, refundObject, type JsonObject } from './objects.js';
import { CHANNELS, orderAsOf, refundAsOf, type Order } from './order.js';
import { invalidParameter, orderNotExist, Refusal, refundNotExists, resourceNotExists } from './refusal.js';
import type { Found, Refunds } from './refunds.js';
import { newNonce } from './signature.js';
import type { Signer } from './signer.js';

export interface Platform {
  readonly mchid: string;
  readonly book: Book;
  readonly refunds: Refunds;
  readonly bills: Bills;
  readonly keys: WechatPayKeys;
  readonly signer: Signer;
}

export interface Call {
  readonly request: HttpRequest;
  /** What the path names, decoded. */
  readonly name: string;
  /** Accept a refund without carrying it out. */
  readonly withholdRefund: boolean;
  /** How far behind the book is that a query reads. */
  readonly lagMs: number;
}

export interface Done {
  readonly answer: Answer;
  /** What the platform does of itself once the reply has left. */
  readonly afterReply?: () => void;
}

export const OPERATIONS = ['create', 'query', 'close', 'refund', 'refund-query', 'abnormal-refund', 'trade-bill', 'fund-bill', 'bill-file', 'certificates'] as const;
export type Operation = (typeof OPERATIONS)[number];

interface Route {
  readonly operation: Operation;
  readonly method: 'GET' | 'POST';
  /** Catches what the path names. */
  readonly path: RegExp;
  run(platform: Platform, call: Call): Done;
}

const ROUTES: readonly Route[] = [
  { operation: 'create', method: 'POST', path: /^\/v3\/pay\/transactions\/(native|jsapi|app|h5)$/, run: create },
  { operation: 'query', method: 'GET', path: /^\/v3\/pay\/transactions\/out-trade-no\/([^/]+)$/, run: query },
  { operation: 'query', method: 'GET', path: /^\/v3\/pay\/transactions\/id\/([^/]+)$/, run: queryTransaction },
  { operation: 'close', method: 'POST', path: /^\/v3\/pay\/transactions\/out-trade-no\/([^/]+)\/close$/, run: close },
  { operation: 'refund', method: 'POST', path: /^\/v3\/refund\/domestic\/refunds()$/, run: refund },
  { operation: 'refund-query', method: 'GET', path: /^\/v3\/refund\/domestic\/refunds\/([^/]+)$/, run: refundQuery },
  { operation: 'abnormal-refund', method: 'POST', path: /^\/v3\/refund\/domestic\/refunds\/([^/]+)\/apply-abnormal-refund$/, run: abnormalRefund },
  { operation: 'trade-bill', method: 'GET', path: /^\/v3\/bill\/tradebill()$/, run: tradeBill },
  { operation: 'fund-bill', method: 'GET', path: /^\/v3\/bill\/fundflowbill()$/, run: fundBill },
  { operation: 'bill-file', method: 'GET', path: /^\/v3\/billdownload\/file()$/, run: billFile },
  { operation: 'certificates', method: 'GET', path: /^\/v3\/certificates()$/, run: certificates },
];

/** Null where there is nothing. */
export function operationOf({ method, path }: HttpRequest): Operation | null {
  return ROUTES.find((route) => route.method === method && route.path.test(path))?.operation ?? null;
}

export function operate(platform: Platform, request: HttpRequest, circumstances: Omit<Call, 'request' | 'name'>): Done {
  const routes = ROUTES.filter(({ path }) => path.test(request.path));
  if (routes.length === 0) throw new Refusal('NOT_FOUND', '请求的路径不存在');
  const route = routes.find(({ method }) => method === request.method);
  if (route === undefined) throw new Refusal('METHOD_NOT_ALLOWED', '不支持的请求方法');
  return route.run(platform, { request, name: decoded(route.path.exec(request.path)?.[1] ?? ''), ...circumstances });
}

function create({ book }: Platform, { request, name }: Call): Done {
  const channel = CHANNELS.find((one) => one === name);
  if (channel === undefined) throw new Error(`${name} is no way to pay`);
  const { code } = book.place(channel, Body.parse(request.body));
  if (channel === 'native') return json({ code_url: code.url });
  return json(channel === 'h5' ? { h5_url: code.url } : { prepay_id: code.prepayId });
}

function query(platform: Platform, { request, name, lagMs }: Call): Done {
  checkMerchant(platform, request);
  return json(orderObject(lookUp(platform, platform.book.find(name), lagMs), platform));
}

function queryTransaction(platform: Platform, { request, name, lagMs }: Call): Done {
  checkMerchant(platform, request);
  if (!/^\d{1,32}$/.test(name)) throw new Refusal('INVALID_TRANSACTIONID', '微信支付订单号格式不正确');
  const seen = lookUp(platform, platform.book.findTransaction(name), lagMs);
  if (seen.transactionId === null) throw orderNotExist();
  return json(orderObject(seen, platform));
}

function lookUp({ book }: Platform, order: Order, lagMs: number): Order {
  const seen = lagMs === 0 ? order : orderAsOf(order, book.now() - lagMs);
  if (seen === null) throw orderNotExist();
  return seen;
}

function close({ mchid, book }: Platform, { request, name }: Call): Done {
  const body = Body.parse(request.body);
  if (body.text('mchid', 32) !== mchid) throw body.invalid('mchid', '与签名商户号不一致');
  book.close(name);
  return { answer: answerEmpty() };
}

function refund({ refunds }: Platform, { request, withholdRefund }: Call): Done {
  return accepted(refunds, refunds.request(Body.parse(request.body), { withhold: withholdRefund }));
}

function abnormalRefund({ refunds }: Platform, { request, name }: Call): Done {
  return accepted(refunds, refunds.applyAbnormal(name, Body.parse(request.body)));
}

function accepted(refunds: Refunds, { order, refund: one, isNew }: Found & { readonly isNew: boolean }): Done {
  const done = json(refundObject(order, one));
  return isNew ? { ...done, afterReply: () => refunds.settleIfDue({ order, refund: one }) } : done;
}

function refundQuery({ book, refunds }: Platform, { name, lagMs }: Call): Done {
  const { order, refund: found } = refunds.get(name);
  const seen = lagMs === 0 ? found : refundAsOf(found, book.now() - lagMs);
  if (seen === null) throw refundNotExists();
  return json(refundObject(order, seen));
}

function tradeBill({ bills }: Platform, { request }: Call): Done {
  return json(bills.apply(queryOf(request), `http://${request.headers.host ?? ''}`));
}

function fundBill(): Done {
  throw new Refusal('NO_AUTH', '商户未开通此接口权限');
}

function billFile({ bills }: Platform, { request }: Call): Done {
  const { bytes, isPacked } = bills.fetch(queryOf(request));
  return { answer: answerFile(bytes, isPacked ? 'application/x-gzip' : 'text/plain; charset=utf-8') };
}

function certificates({ keys, signer }: Platform): Done {
  if (signer.usesPublicKey) throw resourceNotExists('无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥。');
  const data = keys.certificates.map(({ serial, certificatePem, validFrom, validUntil }) => {
    const nonce = newNonce(12);
    const associatedData = 'certificate';
    const ciphertext = seal(certificatePem, { key: keys.apiV3Key, nonce, associatedData });
    return {
      serial_no: serial,
      effective_time: rfc3339(validFrom),
      expire_time: rfc3339(validUntil),
      encrypt_certificate: { algorithm: ALGORITHM, nonce, associated_data: associatedData, ciphertext },
    };
  });
  return json({ data });
}

function checkMerchant({ mchid }: Platform, request: HttpRequest): void {
  if (queryOf(request).getAll('mchid').join() !== mchid) throw invalidParameter('mchid', '必填，且与签名商户号一致', 'query');
}

const json = (object: JsonObject): Done => ({ answer: answerJson(object) });

const queryOf = ({ query: text }: HttpRequest): URLSearchParams => new URLSearchParams(text);

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidParameter('', '路径无法解析', 'path');
  }
}
