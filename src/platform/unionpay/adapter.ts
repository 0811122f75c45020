import type {
  Call,
  CallOutcome,
  Checkout,
  Delivery,
  Failure,
  NewOrder,
  NewRefund,
  OrderIdentity,
  PaymentReport,
  PlatformAdapter,
  Reading,
  RefundIdentity,
  RefundReport,
} from '../../payment/platform.js';
import { compactBeijingTime } from '../beijing-time.js';
import { autoSubmitForm, FORM_TYPE, parseForm, type Parameters } from '../form.js';
import { hasMediaType } from '../http.js';
import { paces } from '../paces.js';
import { downloadBill } from './bill.js';
import { UnionPayClient } from './client.js';
import type { UnionPaySettings } from './settings.js';
import { isUnambiguous, whyUnproven } from './signature.js';
import { createOutcome, evidenceOf, NO_TRANSACTION, queryOutcome, refundQueryReport, refundReport, settledRefund } from './statuses.js';

type Config = UnionPaySettings & { readonly notificationUrl: string };

const PLAIN = 'text/plain; charset=utf-8';
const PAY = { txnType: '01', currencyCode: '156' };
const PRODUCTS = {
  PAGE: { txnSubType: '01', bizType: '000201', channelType: '07' },
  WAP: { txnSubType: '01', bizType: '000201', channelType: '08' },
  APP: { txnSubType: '01', bizType: '000201', channelType: '08' },
  QR_CODE: { txnSubType: '07', bizType: '000000', channelType: '08' },
} as const;

/** Pauses as the platform's guidance has them, in seconds: seldom for what a cardholder does, quickly for what it does itself. */
const PACES = {
  open: [300, 600, 1_800, 3_600, 7_200],
  unknown: [1, 2, 4, 8, 16, 32, 300, 1_800, 3_600],
  refund: [1, 2, 4, 8, 16, 32, 300, 1_800, 3_600],
};

/** UnionPay by its ACP 5.1.0. A transaction is known by its number and its time; there is no call that closes one. */
export function createUnionPayAdapter(settings: UnionPaySettings, notificationUrl: string): PlatformAdapter {
  const config: Config = { ...settings, notificationUrl };
  const client = new UnionPayClient(settings);

  return {
    platform: 'UNIONPAY',
    merchantAccount: config.account,
    paces: paces(PACES),
    currencies: ['CNY'],
    checkouts: { QR_CODE: [], PAGE: [], WAP: [], APP: [] },
    deliveryHeaders: [],
    replies: {
      stored: { status: 200, contentType: PLAIN, body: 'ok' },
      refused: { status: 400, contentType: PLAIN, body: 'refused' },
      failed: { status: 500, contentType: PLAIN, body: 'failed' },
    },
    orderTime: compactBeijingTime,
    create: (order, call) => createOrder(client, config, order, call),
    query: (order, call) => queryOrder(client, config, order, call),
    // Unpaid orders end by their `payTimeout` alone.
    close: (_order, call) => Promise.resolve({ kind: 'ACCEPTED', value: { result: 'NOT_CLOSABLE_YET', at: call.at } }),
    refund: (refund, call) => sendRefund(client, config, refund, call),
    queryRefund: (refund, call) => queryRefund(client, refund, call),
    readNotification: (delivery) => readNotification(client, config, delivery),
    billDayShiftMs: -CLEARING_CUT_MS,
    downloadBill: (day, call) => downloadBill(client, config.fileUrl, day, call),
  };
}

async function createOrder(client: UnionPayClient, config: Config, order: NewOrder, call: Call): Promise<CallOutcome<Checkout>> {
  if (order.amount.currency !== 'CNY') {
    return { kind: 'MISCONFIGURED', code: 'CURRENCY', message: `orders are in CNY, not ${order.amount.currency}` };
  }
  if (order.checkout === 'JSAPI') return { kind: 'MISCONFIGURED', code: 'CHECKOUT_KIND', message: 'there is no JSAPI checkout' };
  const fields = {
    ...PAY,
    ...PRODUCTS[order.checkout],
    orderId: order.merchantOrderNo,
    txnTime: order.platformOrderTime,
    txnAmt: order.amount.minorUnits.toString(),
    payTimeout: compactBeijingTime(order.expireAt),
    backUrl: config.notificationUrl,
  };

  switch (order.checkout) {
    case 'PAGE':
    case 'WAP': {
      const returning = { frontUrl: order.returnUrl ?? config.notificationUrl };
      const value = autoSubmitForm(client.urlOf('frontTransReq.do'), client.signed({ ...fields, ...returning }));
      return { kind: 'ACCEPTED', value: { form: 'FORM_HTML', value } };
    }
    case 'APP':
    case 'QR_CODE': {
      const [endpoint, form, name] = order.checkout === 'APP' ? (['appTransReq.do', 'APP_PARAMETERS', 'tn'] as const) : (['backTransReq.do', 'QR_TEXT', 'qrCode'] as const);
      const answer = await client.post(endpoint, fields, call);
      const value = answer.kind === 'OK' && answer.fields['respCode'] === '00' ? (answer.fields[name] ?? '') : '';
      return value === '' ? createOutcome(answer) : { kind: 'ACCEPTED', value: { form, value } };
    }
  }
}

async function queryOrder(client: UnionPayClient, config: Config, order: OrderIdentity, call: Call): Promise<CallOutcome<PaymentReport>> {
  const answer = await client.post('queryTrans.do', queryFields(order.merchantOrderNo, order.platformOrderTime), call);
  if (answer.kind === 'OK' && answer.fields['respCode'] === '34') {
    return { kind: 'ACCEPTED', value: { evidence: { class: 'NOT_FOUND', at: call.at, word: '34' } } };
  }
  if (answer.kind !== 'OK' || answer.fields['respCode'] !== '00') return queryOutcome(answer);

  const { fields } = answer;
  if (fields['orderId'] !== order.merchantOrderNo || fields['txnTime'] !== order.platformOrderTime) {
    return { kind: 'UNKNOWN', code: 'OTHER_ORDER', message: 'the answer is about another order' };
  }
  const facts = { at: call.at, merchantAccount: accountOf(config, fields) };
  return { kind: 'ACCEPTED', value: { evidence: evidenceOf(fields, fields['origRespCode'] ?? '', facts) } };
}

async function sendRefund(client: UnionPayClient, config: Config, refund: NewRefund, call: Call): Promise<RefundReport> {
  const { platformTransactionId } = refund.order;
  if (platformTransactionId === null) {
    return notSent({ code: 'NO_QUERY_ID', message: 'the queryId of the payment is not known yet' }, call.at);
  }

  // What was sent before is asked about before it is sent again, and a refusal counts only beside that answer.
  const before = refund.attempt === 1 ? null : await queryRefund(client, refund, call);
  if (before !== null && before.word !== NO_TRANSACTION) {
    return before.status === 'UNCHANGED' ? { ...before, retry: 'SAME_NUMBER' } : { ...before, confirmed: true };
  }

  const fields = {
    txnType: isVoid(refund, call.at) ? '31' : '04',
    txnSubType: '00',
    bizType: '000000',
    channelType: '07',
    orderId: refund.platformRefundNo,
    txnTime: compactBeijingTime(refund.createdAt),
    txnAmt: refund.amount.minorUnits.toString(),
    currencyCode: '156',
    origQryId: platformTransactionId,
    backUrl: config.notificationUrl,
    // Comes back with the notification, which names the payment by its queryId alone.
    reqReserved: Buffer.from(`${refund.order.merchantOrderNo} ${refund.order.platformOrderTime}`).toString('base64url'),
  };
  const report = refundReport(await client.post('backTransReq.do', fields, call), call.at);
  if (before?.status !== 'UNKNOWN') return report;
  if (report.status === 'FAILED') return { ...report, confirmed: true };
  // Its time is part of its name, and what is named too long ago is refused for ever: another refund has to be made.
  const isTooOld = report.notExecuted && report.failure !== null && call.at.getTime() - refund.createdAt.getTime() > SENDABLE_MS;
  return isTooOld && isRefusal(report.failure.code) ? { ...report, status: 'FAILED', retry: 'NEW_NUMBER', confirmed: true } : report;
}

/** How long the platform's refusals of a refund that it does not know are taken for faults that somebody may still mend. */
const SENDABLE_MS = 24 * 3_600_000;
const isRefusal = (code: string): boolean => /^\d\d$/.test(code);

const notSent = (failure: Failure, at: Date): RefundReport => ({
  status: 'UNCHANGED', retry: 'SAME_NUMBER', amount: null, platformRefundId: null, at, word: failure.code, failure, notExecuted: true,
});

async function queryRefund(client: UnionPayClient, refund: RefundIdentity, call: Call): Promise<RefundReport> {
  const fields = queryFields(refund.platformRefundNo, compactBeijingTime(refund.createdAt));
  const answer = await client.post('queryTrans.do', fields, call);
  if (answer.kind === 'OK' && answer.fields['respCode'] === '00' && answer.fields['orderId'] !== refund.platformRefundNo) {
    const other = { kind: 'UNKNOWN', code: 'OTHER_REFUND', message: 'the answer is about another refund' } as const;
    return refundQueryReport(other, { at: call.at, sentAt: refund.sentAt });
  }
  return refundQueryReport(answer, { at: call.at, sentAt: refund.sentAt });
}

const CLEARING_CUT_MS = 3600_000;

/** The day of clearing runs from 23:00 to 23:00. */
const clearingDay = (at: Date): string => compactBeijingTime(new Date(at.getTime() + CLEARING_CUT_MS)).slice(0, 8);

/**
 * The whole payment on the day of its clearing is undone instead of refunded. Decided anew for each send: a void that was recorded makes
 * any other transaction of its number and time a duplicate.
 */
function isVoid({ amount, paid, paidAt }: NewRefund, at: Date): boolean {
  return amount.minorUnits === paid.minorUnits && clearingDay(paidAt) === clearingDay(at);
}

function readNotification(client: UnionPayClient, config: Config, delivery: Delivery): Reading {
  const fields = parseForm(delivery.body);
  const refuse = (why: string): Reading => ({ verified: false, why, claimedOrderNo: () => claimedOrderOf(fields) });

  if (!hasMediaType(delivery, FORM_TYPE)) return refuse(`its content-type is not ${FORM_TYPE}`);
  if (fields === null) return refuse('not a form that can be read in one way');
  // Answers to our own calls are not held to this: a query is what settles a payment whose notification is refused here.
  if (!isUnambiguous(fields)) return refuse('a value holds what could be another field');
  const unproven = whyUnproven(fields, client.trust, delivery.receivedAt);
  if (unproven !== null) return refuse(unproven);
  if (fields['merId'] !== config.merId) return refuse('it is for another merId');
  // Answers are signed alike, but their `respCode` is about the call and not about the transaction.
  const { origRespCode = fields['respCode'], tn = '', qrCode = '' } = fields;
  if (origRespCode !== fields['respCode'] || tn !== '' || qrCode !== '') return refuse('it is the answer to a call');

  const { orderId = '', txnTime = '', txnType = '', respCode = '' } = fields;
  // Empty fields are not signed: one must mean the same as none.
  const [queryId, origQryId] = [fields['queryId'] || null, fields['origQryId'] || null];
  if (orderId === '' || txnTime === '' || respCode === '') return refuse('orderId, txnTime or respCode is missing');
  // There is no id of a notification; this is the same for every repetition of one.
  const notificationId = queryId === null ? [config.merId, orderId, txnTime, txnType, respCode].join(':') : `${queryId}:${respCode}`;
  const at = delivery.receivedAt;

  if (txnType === '01') {
    const order = { merchantOrderNo: orderId, platformOrderTime: txnTime, platformTransactionId: queryId };
    const evidence = evidenceOf(fields, respCode, { at, merchantAccount: accountOf(config, fields) });
    return { verified: true, notificationId, order, evidence, refund: null };
  }
  if (txnType !== '04' && txnType !== '31') return refuse(`txnType ${txnType.slice(0, 8)} is not about a payment or a refund`);
  const [merchantOrderNo = orderId, platformOrderTime = txnTime] = paymentOf(fields['reqReserved'] ?? '');
  const order = { merchantOrderNo, platformOrderTime, platformTransactionId: origQryId };
  return { verified: true, notificationId, order, evidence: null, refund: { platformRefundNo: orderId, report: settledRefund(fields, respCode, at) } };
}

/** Of a refund that was not sent from here there is none; its notification waits as an orphan. */
function paymentOf(reqReserved: string): string[] {
  const text = Buffer.from(reqReserved, 'base64url').toString('utf8');
  return /^[0-9A-Za-z]{8,40} \d{14}$/.test(text) ? text.split(' ') : [];
}

/** An unproven number is only ever used to look a payment up, so it is taken only where it could be one of ours. */
function claimedOrderOf(fields: Parameters | null): string | null {
  const claimed = fields?.['orderId'] ?? '';
  return /^[0-9A-Za-z]{8,40}$/.test(claimed) ? claimed : null;
}

const queryFields = (orderId: string, txnTime: string): Parameters => ({ txnType: '00', txnSubType: '00', bizType: '000000', orderId, txnTime });

const accountOf = (config: Config, fields: Parameters): string => (fields['merId'] === config.merId ? config.account : (fields['merId'] ?? ''));
