import type {
  Call,
  CallOutcome,
  Checkout,
  CloseReport,
  Delivery,
  NewOrder,
  NewRefund,
  OrderIdentity,
  PaymentReport,
  PlatformAdapter,
  Reading,
  RefundIdentity,
  RefundReport,
} from '../../payment/platform.js';
import { offsetBeijingTime } from '../beijing-time.js';
import { hasMediaType } from '../http.js';
import { paces } from '../paces.js';
import { downloadBill } from './bill.js';
import { nodeOf, parseObject, textOf, WechatPayClient, type Node } from './client.js';
import type { WechatPaySettings } from './settings.js';
import { invocation, openResource, SIGNATURE_HEADERS, type EncryptedResource } from './signature.js';
import {
  closeOutcome,
  createOutcome,
  evidenceOf,
  isAbsent,
  isUnderWay,
  missingRefund,
  queryOutcome,
  refundReportOf,
  refundVerdict,
  refusedRefund,
  unsettledRefund,
} from './statuses.js';

type Config = WechatPaySettings & { readonly notificationUrl: string };

const JSON_TYPE = 'application/json; charset=utf-8';
const SUBJECT_MAX = 127;
const REASON_MAX_BYTES = 80;

/** Pauses as the platform's guidance has them, in seconds; refunds to bank cards take days. */
const PACES = {
  open: [5, 10, 20, 30, 60, 120, 300],
  unknown: [1, 2, 4, 8, 15, 30, 60, 120, 300],
  refund: [60, 120, 300, 600, 1_800, 3_600, 10_800, 86_400],
};

/** WeChat Pay by its API v3, with platform certificates and public keys side by side. */
export function createWechatPayAdapter(settings: WechatPaySettings, notificationUrl: string): PlatformAdapter {
  const config: Config = { ...settings, notificationUrl };
  const client = new WechatPayClient(settings);

  return {
    platform: 'WECHATPAY',
    merchantAccount: config.account,
    paces: paces(PACES),
    currencies: ['CNY'],
    checkouts: { QR_CODE: [], WAP: ['buyerIp'], APP: [], JSAPI: ['buyerId'] },
    deliveryHeaders: SIGNATURE_HEADERS,
    replies: {
      stored: { status: 200, contentType: JSON_TYPE, body: '{"code":"SUCCESS","message":"成功"}' },
      refused: { status: 401, contentType: JSON_TYPE, body: '{"code":"FAIL","message":"签名错误"}' },
      failed: { status: 500, contentType: JSON_TYPE, body: '{"code":"FAIL","message":"系统繁忙"}' },
    },
    orderTime: () => '',
    create: (order, call) => createOrder(client, config, order, call),
    query: (order, call) => queryOrder(client, config, order, call),
    close: (order, call) => closeOrder(client, config, order, call),
    refund: (refund, call) => sendRefund(client, config, refund, call),
    queryRefund: (refund, call) => queryRefund(client, refund, call),
    readNotification: (delivery) => readNotification(client, config, delivery),
    billDayShiftMs: 0,
    downloadBill: (day, call) => downloadBill(client, day, call),
  };
}

async function createOrder(client: WechatPayClient, config: Config, order: NewOrder, call: Call): Promise<CallOutcome<Checkout>> {
  if (order.amount.currency !== 'CNY') {
    return { kind: 'MISCONFIGURED', code: 'CURRENCY', message: `orders are in CNY, not ${order.amount.currency}` };
  }
  const ways = { QR_CODE: 'native', WAP: 'h5', APP: 'app', JSAPI: 'jsapi' } as const;
  if (order.checkout === 'PAGE') return { kind: 'MISCONFIGURED', code: 'CHECKOUT_KIND', message: 'there is no PAGE checkout' };

  const answer = await client.post(`/v3/pay/transactions/${ways[order.checkout]}`, orderContent(config, order), call);
  if (answer.kind === 'OK') return checkoutOf(client, config, order.checkout, answer.node, call.at);

  const outcome = createOutcome(answer);
  if (outcome.kind !== 'REJECTED' || outcome.meaning !== 'FINAL') return outcome;
  // A refusal may be the echo of a first call that was taken in.
  const asked = await client.get(orderPath(config, order), call);
  return isAbsent(asked, 'ORDERNOTEXIST') ? outcome : { ...outcome, meaning: 'QUERY' };
}

/** Also decides whether a repetition is the same order: nothing in it may depend on the time of the call. */
function orderContent(config: Config, order: NewOrder): object {
  const h5 = { scene_info: { payer_client_ip: order.buyerIp ?? '', h5_info: { type: 'Wap' } } };
  return {
    appid: config.appid,
    mchid: config.mchid,
    description: order.subject.slice(0, SUBJECT_MAX),
    out_trade_no: order.merchantOrderNo,
    time_expire: offsetBeijingTime(order.expireAt),
    notify_url: config.notificationUrl,
    amount: { total: Number(order.amount.minorUnits), currency: 'CNY' },
    ...(order.checkout === 'JSAPI' ? { payer: { openid: order.buyerId ?? '' } } : {}),
    ...(order.checkout === 'WAP' ? h5 : {}),
  };
}

function checkoutOf(client: WechatPayClient, config: Config, kind: NewOrder['checkout'], node: Node, at: Date): CallOutcome<Checkout> {
  const { merchant } = client;
  const { appid } = config;
  const prepayId = textOf(node, 'prepay_id');
  const accepted = (value: Checkout): CallOutcome<Checkout> => ({ kind: 'ACCEPTED', value });

  if (kind === 'QR_CODE' && textOf(node, 'code_url') !== '') return accepted({ form: 'QR_TEXT', value: textOf(node, 'code_url') });
  if (kind === 'WAP' && textOf(node, 'h5_url') !== '') return accepted({ form: 'REDIRECT_URL', value: textOf(node, 'h5_url') });
  if (kind === 'JSAPI' && prepayId !== '') {
    const opened = `prepay_id=${prepayId}`;
    const { timestamp, nonce, signature } = invocation(merchant, { appid, at, fourth: opened });
    const parameters = { appId: appid, timeStamp: timestamp, nonceStr: nonce, package: opened, signType: 'RSA', paySign: signature };
    return accepted({ form: 'APP_PARAMETERS', value: JSON.stringify(parameters) });
  }
  if (kind === 'APP' && prepayId !== '') {
    const { timestamp, nonce, signature } = invocation(merchant, { appid, at, fourth: prepayId });
    const parameters = { appid, partnerid: merchant.mchid, prepayid: prepayId, package: 'Sign=WXPay', noncestr: nonce, timestamp, sign: signature };
    return accepted({ form: 'APP_PARAMETERS', value: JSON.stringify(parameters) });
  }
  return { kind: 'UNKNOWN', code: 'NO_CHECKOUT', message: 'the answer has nothing for the buyer to pay with' };
}

async function queryOrder(client: WechatPayClient, config: Config, order: OrderIdentity, call: Call): Promise<CallOutcome<PaymentReport>> {
  const answer = await client.get(orderPath(config, order), call);
  if (answer.kind === 'REFUSED' && isAbsent(answer, 'ORDERNOTEXIST')) {
    return { kind: 'ACCEPTED', value: { evidence: { class: 'NOT_FOUND', at: call.at, word: answer.code } } };
  }
  if (answer.kind === 'REFUSED' && isUnderWay(answer)) {
    return { kind: 'ACCEPTED', value: { evidence: { class: 'IN_PROGRESS', at: call.at, word: answer.code } } };
  }
  if (answer.kind !== 'OK') return queryOutcome(answer);
  if (textOf(answer.node, 'out_trade_no') !== order.merchantOrderNo) {
    return { kind: 'UNKNOWN', code: 'OTHER_ORDER', message: 'the answer is about another order' };
  }
  return { kind: 'ACCEPTED', value: { evidence: evidenceOf(answer.node, { at: call.at, merchantAccount: accountOf(config, answer.node) }) } };
}

async function closeOrder(client: WechatPayClient, config: Config, order: OrderIdentity, call: Call): Promise<CallOutcome<CloseReport>> {
  const path = `/v3/pay/transactions/out-trade-no/${encodeURIComponent(order.merchantOrderNo)}/close`;
  const answer = await client.post(path, { mchid: config.mchid }, call);
  if (isAbsent(answer, 'ORDERNOTEXIST')) return { kind: 'ACCEPTED', value: { result: 'NOT_CLOSABLE_YET', at: call.at } };
  if (answer.kind !== 'OK') return closeOutcome(answer);
  return { kind: 'ACCEPTED', value: { result: 'CLOSED', at: call.at } };
}

async function sendRefund(client: WechatPayClient, config: Config, refund: NewRefund, call: Call): Promise<RefundReport> {
  const content = {
    out_trade_no: refund.order.merchantOrderNo,
    out_refund_no: refund.platformRefundNo,
    ...(refund.reason === '' ? {} : { reason: cutBytes(refund.reason, REASON_MAX_BYTES) }),
    notify_url: config.notificationUrl,
    amount: { refund: Number(refund.amount.minorUnits), total: Number(refund.paid.minorUnits), currency: 'CNY' },
  };
  const answer = await client.post('/v3/refund/domestic/refunds', content, call);
  if (answer.kind === 'OK') return refundOf(answer.node, refund, call.at);

  const verdict = refundVerdict(answer);
  if (verdict === 'FAILED_IF_ABSENT') {
    const asked = await client.get(refundPath(refund), call);
    if (asked.kind === 'OK') return refundOf(asked.node, refund, call.at);
    if (isAbsent(asked, 'RESOURCENOTEXISTS')) return refusedRefund(answer, call.at);
  }
  if (verdict === 'FAILED_IF_ORDER_ABSENT') {
    const asked = await client.get(orderPath(config, refund.order), call);
    if (isAbsent(asked, 'ORDERNOTEXIST')) return refusedRefund(answer, call.at);
  }
  return unsettledRefund(answer, verdict, call.at);
}

async function queryRefund(client: WechatPayClient, refund: RefundIdentity, call: Call): Promise<RefundReport> {
  const answer = await client.get(refundPath(refund), call);
  return answer.kind === 'OK' ? refundOf(answer.node, refund, call.at) : missingRefund(answer, call.at);
}

function refundOf(node: Node, refund: RefundIdentity, at: Date): RefundReport {
  const report = refundReportOf(node, textOf(node, 'status'), at);
  if (textOf(node, 'out_refund_no') === refund.platformRefundNo) return report;
  return { ...report, status: 'UNKNOWN', retry: null, amount: null, word: 'OTHER_REFUND', platformRefundId: null };
}

function readNotification(client: WechatPayClient, config: Config, delivery: Delivery): Reading {
  const open = (): { envelope: Node | null; content: Node | null } => {
    const envelope = parseObject(delivery.body.toString('utf8'));
    const opened = envelope === null ? null : openResource(resourceOf(nodeOf(envelope, 'resource')), config.apiV3Key);
    return { envelope, content: opened === null ? null : parseObject(opened) };
  };
  // The encryption alone proves that it is about an order of ours, though not that it comes now or from the platform.
  const refuse = (why: string): Reading => ({ verified: false, why, claimedOrderNo: () => textOf(open().content ?? {}, 'out_trade_no') || null });

  if (!hasMediaType(delivery, 'application/json')) return refuse('its content-type is not application/json');
  const unproven = client.whyUnproven((name) => delivery.headers[name] ?? '', delivery.body, delivery.receivedAt);
  if (unproven === 'UNKNOWN_SERIAL') void client.keys.learn(delivery.receivedAt);
  if (unproven !== null) return refuse(WHY[unproven] ?? unproven);
  const { envelope, content } = open();
  if (envelope === null) return refuse('the body is not a JSON object');
  if (content === null) return refuse('the resource cannot be decrypted');
  if (textOf(content, 'mchid') !== config.mchid) return refuse('it is for another mchid');

  const notificationId = textOf(envelope, 'id');
  const merchantOrderNo = textOf(content, 'out_trade_no');
  if (notificationId === '' || merchantOrderNo === '') return refuse('id or out_trade_no is missing');
  const order = { merchantOrderNo, platformOrderTime: '', platformTransactionId: textOf(content, 'transaction_id') || null };
  const event = textOf(envelope, 'event_type');
  const at = delivery.receivedAt;

  if (event.startsWith('REFUND.')) {
    const platformRefundNo = textOf(content, 'out_refund_no');
    const report = refundReportOf(content, textOf(content, 'refund_status'), at);
    return { verified: true, notificationId, order, evidence: null, refund: platformRefundNo === '' ? null : { platformRefundNo, report } };
  }
  if (!event.startsWith('TRANSACTION.')) return refuse(`${event.slice(0, 40)} is not about a payment or a refund`);
  return {
    verified: true,
    notificationId,
    order,
    evidence: evidenceOf(content, { at, merchantAccount: accountOf(config, content) }),
    refund: null,
  };
}

const WHY: Readonly<Record<string, string>> = {
  NOT_SIGNED: 'a signature header is missing',
  STALE_SIGNATURE: 'it was not signed about now',
  UNKNOWN_SERIAL: 'the signing key is not known',
  BAD_SIGNATURE: 'the signature does not verify',
};

const resourceOf = (node: Node): EncryptedResource => ({
  algorithm: textOf(node, 'algorithm'),
  ciphertext: textOf(node, 'ciphertext'),
  nonce: textOf(node, 'nonce'),
  associated_data: textOf(node, 'associated_data'),
});

/** Our name of the account where merchant and application are ours, else the one that it names. */
function accountOf(config: Config, order: Node): string {
  const [mchid, appid] = [textOf(order, 'mchid'), textOf(order, 'appid')];
  return mchid === config.mchid && config.appids.includes(appid) ? config.account : `${mchid}/${appid}`;
}

const orderPath = (config: Config, order: { readonly merchantOrderNo: string }): string =>
  `/v3/pay/transactions/out-trade-no/${encodeURIComponent(order.merchantOrderNo)}?mchid=${config.mchid}`;
const refundPath = (refund: RefundIdentity): string => `/v3/refund/domestic/refunds/${encodeURIComponent(refund.platformRefundNo)}`;

/** Cut between characters, for the platform counts bytes. */
function cutBytes(text: string, bytesMax: number): string {
  let cut = text;
  while (Buffer.byteLength(cut) > bytesMax) cut = [...cut].slice(0, -1).join('');
  return cut;
}
