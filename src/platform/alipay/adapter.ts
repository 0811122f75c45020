import { formatDecimal } from '../../payment/money.js';
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
import { beijingTime, parseBeijingTime } from '../beijing-time.js';
import { autoSubmitForm, FORM_TYPE, formBody, parseForm, type Parameters } from '../form.js';
import { hasMediaType } from '../http.js';
import { privateKeyOf, verifyBytes } from '../rsa.js';
import { paces } from '../paces.js';
import { downloadBill } from './bill.js';
import { callGateway, signedParameters, textOf, type ClientConfig } from './client.js';
import type { AlipaySettings } from './settings.js';
import { isUnambiguous, notificationText } from './signature.js';
import { closeOutcome, createOutcome, evidenceOf, NO_REFUND, queryOutcome, readTrade, refundQueryReport, refundReport } from './statuses.js';
import { certificateTrust, publicKeyTrust } from './trust.js';

type Config = AlipaySettings & { readonly notificationUrl: string };

const PLAIN = 'text/plain; charset=utf-8';

/** Pauses as the platform's guidance has them, in seconds. */
const PACES = {
  open: [5, 10, 20, 30, 60, 120, 300],
  unknown: [1, 2, 4, 8, 15, 30, 60, 120, 300],
  refund: [10, 30, 60, 300, 1_800, 3_600],
};

/** Alipay by its v2 gateway, in public-key or certificate mode. */
export function createAlipayAdapter(settings: AlipaySettings, notificationUrl: string): PlatformAdapter {
  const config: Config = { ...settings, notificationUrl };
  const client: ClientConfig = {
    gatewayUrl: config.gatewayUrl,
    appId: config.appId,
    privateKey: privateKeyOf(config.appPrivateKey),
    trust: config.trust.mode === 'PUBLIC_KEY' ? publicKeyTrust(config.trust.alipayPublicKey) : certificateTrust(config.trust),
  };

  return {
    platform: 'ALIPAY',
    merchantAccount: config.account,
    paces: paces(PACES),
    currencies: ['CNY'],
    checkouts: { QR_CODE: [], PAGE: [], WAP: [], APP: [], JSAPI: ['buyerId'] },
    deliveryHeaders: [],
    // Anything but exactly this body is delivered again.
    replies: {
      stored: { status: 200, contentType: PLAIN, body: 'success' },
      refused: { status: 400, contentType: PLAIN, body: 'fail' },
      failed: { status: 500, contentType: PLAIN, body: 'fail' },
    },
    orderTime: () => '',
    create: (order, call) => createOrder(client, config, order, call),
    query: (order, call) => queryTrade(client, config, order, call),
    close: (order, call) => closeTrade(client, order, call),
    refund: (refund, call) => sendRefund(client, refund, call),
    queryRefund: (refund, call) => queryRefund(client, refund, call),
    readNotification: (delivery) => readNotification(client, config, delivery),
    billDayShiftMs: 0,
    downloadBill: (day, call) => downloadBill(client, day, call),
  };
}

async function createOrder(client: ClientConfig, config: Config, order: NewOrder, call: Call): Promise<CallOutcome<Checkout>> {
  const common = {
    out_trade_no: order.merchantOrderNo,
    total_amount: formatDecimal(order.amount),
    subject: order.subject.replace(/[/=&]/g, ' '),
    // Always sent: the platform's defaults differ by product.
    time_expire: beijingTime(order.expireAt),
  };
  if (order.amount.currency !== 'CNY') {
    return { kind: 'MISCONFIGURED', code: 'CURRENCY', message: `domestic trades are in CNY, not ${order.amount.currency}` };
  }

  const notified = { notify_url: config.notificationUrl };
  const returning = { ...notified, ...(order.returnUrl === null ? {} : { return_url: order.returnUrl }) };
  switch (order.checkout) {
    case 'QR_CODE': {
      const answer = await callGateway(client, 'alipay.trade.precreate', common, { ...call, extra: notified });
      if (answer.kind !== 'OK') return createOutcome(answer);
      return issued(textOf(answer.node, 'qr_code'), (value) => ({ form: 'QR_TEXT', value }));
    }
    case 'PAGE': {
      const content = { ...common, product_code: 'FAST_INSTANT_TRADE_PAY' };
      return formToPay(client, signedParameters(client, 'alipay.trade.page.pay', content, { at: call.at, extra: returning }));
    }
    case 'WAP': {
      const quit = order.returnUrl === null ? {} : { quit_url: order.returnUrl };
      const content = { ...common, ...quit, product_code: 'QUICK_WAP_WAY' };
      return formToPay(client, signedParameters(client, 'alipay.trade.wap.pay', content, { at: call.at, extra: returning }));
    }
    case 'APP': {
      const content = { ...common, product_code: 'QUICK_MSECURITY_PAY' };
      const parameters = signedParameters(client, 'alipay.trade.app.pay', content, { at: call.at, extra: notified });
      return { kind: 'ACCEPTED', value: { form: 'APP_PARAMETERS', value: formBody(parameters) } };
    }
    case 'JSAPI': {
      const content = { ...common, product_code: 'JSAPI_PAY', buyer_id: order.buyerId ?? '' };
      const answer = await callGateway(client, 'alipay.trade.create', content, { ...call, extra: notified });
      if (answer.kind !== 'OK') return createOutcome(answer);
      return issued(textOf(answer.node, 'trade_no'), (tradeNo) => ({ form: 'APP_PARAMETERS', value: JSON.stringify({ tradeNO: tradeNo }) }));
    }
  }
}

/** Accepted, but without what the buyer needs: whether the order stands is a question for a query. */
function issued(value: string, checkout: (value: string) => Checkout): CallOutcome<Checkout> {
  if (value === '') return { kind: 'UNKNOWN', code: 'NO_CHECKOUT', message: 'the answer has nothing for the buyer to pay with' };
  return { kind: 'ACCEPTED', value: checkout(value) };
}

function formToPay(client: ClientConfig, parameters: Parameters): CallOutcome<Checkout> {
  const { biz_content: content = '', ...query } = parameters;
  const value = autoSubmitForm(`${client.gatewayUrl}?${formBody(query)}`, { biz_content: content });
  return { kind: 'ACCEPTED', value: { form: 'FORM_HTML', value } };
}

async function queryTrade(client: ClientConfig, config: Config, order: OrderIdentity, call: Call): Promise<CallOutcome<PaymentReport>> {
  const answer = await callGateway(client, 'alipay.trade.query', tradeNames(order), call);
  if (answer.kind === 'REFUSED' && answer.code === 'ACQ.TRADE_NOT_EXIST') {
    return { kind: 'ACCEPTED', value: { evidence: { class: 'NOT_FOUND', at: call.at, word: answer.code } } };
  }
  if (answer.kind !== 'OK') return queryOutcome(answer);
  if (textOf(answer.node, 'out_trade_no') !== order.merchantOrderNo) {
    return { kind: 'UNKNOWN', code: 'OTHER_ORDER', message: 'the answer is about another order' };
  }
  const trade = readTrade(answer.node, { at: call.at, merchantAccount: config.account });
  return { kind: 'ACCEPTED', value: { evidence: evidenceOf(trade) } };
}

async function closeTrade(client: ClientConfig, order: OrderIdentity, call: Call): Promise<CallOutcome<CloseReport>> {
  const answer = await callGateway(client, 'alipay.trade.close', tradeNames(order), call);
  // The trade appears only once the buyer acts; until then its own expiry is all there is.
  if (answer.kind === 'REFUSED' && answer.code === 'ACQ.TRADE_NOT_EXIST') {
    return { kind: 'ACCEPTED', value: { result: 'NOT_CLOSABLE_YET', at: call.at } };
  }
  if (answer.kind !== 'OK') return closeOutcome(answer);
  return { kind: 'ACCEPTED', value: { result: 'CLOSED', at: call.at } };
}

async function sendRefund(client: ClientConfig, refund: NewRefund, call: Call): Promise<RefundReport> {
  const content = {
    ...tradeNames(refund.order),
    out_request_no: refund.platformRefundNo,
    refund_amount: formatDecimal(refund.amount),
    refund_reason: refund.reason,
  };
  const report = refundReport(await callGateway(client, 'alipay.trade.refund', content, call), call.at);
  if (report.status !== 'FAILED' || refund.attempt === 1) return report;

  // A refusal may be the echo of an earlier send that was taken in: it counts once a query finds no such refund.
  const asked = await queryRefund(client, refund, call);
  return asked.status === 'SUCCEEDED' ? asked : { ...report, confirmed: asked.word === NO_REFUND && asked.status === 'UNKNOWN' };
}

async function queryRefund(client: ClientConfig, refund: RefundIdentity, call: Call): Promise<RefundReport> {
  const content = { ...tradeNames(refund.order), out_request_no: refund.platformRefundNo, query_options: ['gmt_refund_pay'] };
  const answer = await callGateway(client, 'alipay.trade.fastpay.refund.query', content, call);
  const about = answer.kind === 'OK' ? textOf(answer.node, 'out_request_no') : '';
  if (about !== '' && about !== refund.platformRefundNo) {
    const other = { kind: 'UNKNOWN', code: 'OTHER_REFUND', message: 'the answer is about another refund' } as const;
    return refundQueryReport(other, { at: call.at, sentAt: refund.sentAt });
  }
  return refundQueryReport(answer, { at: call.at, sentAt: refund.sentAt });
}

function readNotification(client: ClientConfig, config: Config, delivery: Delivery): Reading {
  const parameters = parseForm(delivery.body);
  const refuse = (why: string): Reading => ({ verified: false, why, claimedOrderNo: () => claimedOrderOf(parameters) });

  if (!hasMediaType(delivery, FORM_TYPE)) return refuse(`its content-type is not ${FORM_TYPE}`);
  if (parameters === null) return refuse('not a form that can be read in one way');
  // The algorithm is ours to choose, not the message's.
  if (parameters['sign_type'] !== 'RSA2') return refuse('sign_type is not RSA2');
  if ((parameters['charset'] ?? 'utf-8').toLowerCase() !== 'utf-8') return refuse('charset is not utf-8');
  if (!isUnambiguous(parameters)) return refuse('a value holds what could be another field');
  const signed = notificationText(parameters);
  const verifies = client.trust.keys().some((key) => verifyBytes(signed, parameters['sign'] ?? '', key));
  if (!verifies) return refuse('the signature does not verify');
  if (parameters['app_id'] !== config.appId) return refuse('it is for another app_id');
  if (parameters['notify_type'] !== 'trade_status_sync') return refuse('it is not about a trade');

  const { notify_id: notificationId, out_trade_no: merchantOrderNo } = parameters;
  if (notificationId === undefined || merchantOrderNo === undefined) return refuse('notify_id or out_trade_no is missing');
  const at = parseBeijingTime(parameters['notify_time'] ?? '') ?? delivery.receivedAt;
  const platformRefundNo = parameters['out_biz_no'] ?? '';
  return {
    verified: true,
    notificationId,
    order: { merchantOrderNo, platformOrderTime: '', platformTransactionId: parameters['trade_no'] ?? null },
    evidence: evidenceOf(readTrade(parameters, { at, merchantAccount: accountOf(config, parameters) })),
    refund: platformRefundNo === '' ? null : { platformRefundNo, report: null },
  };
}

/** Our name of the account where the seller is ours, else the one that it names. */
const accountOf = (config: Config, { seller_id: sellerId = config.sellerId }: Parameters): string => (sellerId === config.sellerId ? config.account : sellerId);

/** An unproven number is only ever used to look a payment up, so it is taken only where it could be one of ours. */
function claimedOrderOf(parameters: Parameters | null): string | null {
  const claimed = parameters?.['out_trade_no'] ?? '';
  return /^[0-9A-Za-z_-]{1,64}$/.test(claimed) ? claimed : null;
}

const tradeNames = (order: OrderIdentity) => ({
  out_trade_no: order.merchantOrderNo,
  ...(order.platformTransactionId === null ? {} : { trade_no: order.platformTransactionId }),
});
