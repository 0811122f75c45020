/** The simulated WeChat Pay against an independent client, the independent vectors, and its own rules. */
import { createDecipheriv, createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Aes, Formatter, Rsa, Wechatpay } from 'wechatpay-axios-plugin';
import type { FaultKind } from '../../src/simulator/faults.js';
import type { HttpReply } from '../../src/simulator/http.js';
import type { Delivery } from '../../src/simulator/notifier.js';
import { seal, unseal } from '../../src/simulator/wechatpay/cipher.js';
import { newKeyPair } from '../../src/simulator/rsa-pair.js';
import { newKeys } from '../../src/simulator/wechatpay/keys.js';
import { startWechatPaySimulator, type WechatPaySimulator, type WechatPaySimulatorOptions } from '../../src/simulator/wechatpay/server.js';
import { sign, signatureHolds, signedText } from '../../src/simulator/wechatpay/signature.js';
import { KEY_MODES } from '../../src/simulator/wechatpay/signer.js';
import { testVectors, vectorsOf } from '../support/vectors.js';

type Json = Record<string, unknown>;
type Texts = Record<string, string>;

const DAY_MS = 86_400_000;
const keys = newKeys(Date.now(), '1900000001');
const stranger = newKeyPair();
const vectors = vectorsOf('wechatpay');

let simulator: WechatPaySimulator;
let number = 0;

beforeEach(async () => {
  simulator = await start();
});
afterEach(async () => {
  await simulator.stop();
});

const start = (options: WechatPaySimulatorOptions = {}): Promise<WechatPaySimulator> =>
  startWechatPaySimulator({ keys, refundSpacingMs: 0, signWith: 'certificate-a', ...options });
async function restarted(options: WechatPaySimulatorOptions): Promise<void> {
  await simulator.stop();
  simulator = await start(options);
}

/** What verifies under which id. */
const platformKeys = (): Record<string, string> => ({
  ...Object.fromEntries(simulator.certificates.map(({ serial, pem }) => [serial, pem])),
  [simulator.publicKeyId]: simulator.publicKeyPem,
});

interface Answer {
  readonly status: number;
  readonly data: Json;
}

/** A call through the client, with its check of the answer's signature; a refusal is an answer as well. */
async function call(method: 'get' | 'post', path: string, body?: Json, config: Json = {}): Promise<Answer> {
  const client = new Wechatpay({
    mchid: simulator.mchid,
    serial: simulator.merchantSerial,
    privateKey: simulator.merchantPrivateKeyPem,
    certs: platformKeys(),
    baseURL: simulator.baseUrl,
    proxy: false,
  });
  try {
    const resource = client.chain(path.slice(1));
    return await (method === 'get' ? resource.get(config) : resource.post(body, config));
  } catch (error) {
    const { response, code } = error as { readonly response?: Answer; readonly code?: string };
    if (response === undefined || code?.startsWith('EV3_') === true) throw error;
    return { status: response.status, data: response.data };
  }
}

interface How {
  readonly body?: unknown;
  readonly mchid?: string;
  readonly serial?: string;
  readonly timestamp?: number;
  readonly nonce?: string;
  readonly privateKeyPem?: string;
  /** In the place of what was signed. */
  readonly sent?: string;
  readonly authorization?: (proper: string) => string;
  readonly headers?: Record<string, string>;
}

/** A call by hand, for what the client would not send and for a time that is not the process's. */
async function raw(method: string, target: string, how: How = {}): Promise<Response> {
  const body = how.body === undefined ? '' : typeof how.body === 'string' ? how.body : JSON.stringify(how.body);
  const timestamp = String(how.timestamp ?? Math.floor(simulator.control.now().getTime() / 1000));
  const nonce = how.nonce ?? Formatter.nonce();
  const signature = sign(signedText(method, target, timestamp, nonce, body), how.privateKeyPem ?? simulator.merchantPrivateKeyPem);
  const proper = Formatter.authorization(how.mchid ?? simulator.mchid, nonce, signature, timestamp, how.serial ?? simulator.merchantSerial);
  const sent = how.sent ?? body;
  return await fetch(`${simulator.baseUrl}${target}`, {
    method,
    headers: {
      authorization: how.authorization?.(proper) ?? proper,
      accept: 'application/json',
      ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
      ...how.headers,
    },
    ...(sent === '' ? {} : { body: sent }),
  });
}

async function rawAnswer(method: string, target: string, how: How = {}): Promise<Answer> {
  const response = await raw(method, target, how);
  const text = await response.text();
  return { status: response.status, data: text === '' ? {} : (JSON.parse(text) as Json) };
}

/** With the client's own functions. */
function holds(headers: IncomingHttpHeaders | Headers, body: string): boolean {
  const header = (name: string): string => String((headers instanceof Headers ? headers.get(name) : headers[name]) ?? '');
  const key = platformKeys()[header('wechatpay-serial')];
  const text = Formatter.response(header('wechatpay-timestamp'), header('wechatpay-nonce'), body);
  return key !== undefined && Rsa.verify(text, header('wechatpay-signature'), Rsa.from(key, 'public'));
}

const order = (over: Json = {}) => ({
  appid: simulator.appid,
  mchid: simulator.mchid,
  description: '一壶茶 100%+',
  out_trade_no: `P${++number}-${process.pid}`.padEnd(12, '|'),
  notify_url: 'http://127.0.0.1:1/n',
  amount: { total: 8888, currency: 'CNY' },
  ...over,
});

const path = (outTradeNo: string): string => `/v3/pay/transactions/out-trade-no/${encodeURIComponent(outTradeNo)}`;
const create = (body: Json, channel = 'native') => call('post', `/v3/pay/transactions/${channel}`, body);
const query = (outTradeNo: string) => call('get', path(outTradeNo), undefined, { params: { mchid: simulator.mchid } });
const queryLater = (outTradeNo: string) => rawAnswer('GET', `${path(outTradeNo)}?mchid=${simulator.mchid}`);
const close = (outTradeNo: string) => call('post', `${path(outTradeNo)}/close`, { mchid: simulator.mchid });
const refundBody = (outTradeNo: string, refund: number, outRefundNo: string, over: Json = {}) => ({
  out_trade_no: outTradeNo,
  out_refund_no: outRefundNo,
  amount: { refund, total: 8888, currency: 'CNY' },
  ...over,
});
const REFUNDS = '/v3/refund/domestic/refunds';
const refund = (...args: Parameters<typeof refundBody>) => call('post', REFUNDS, refundBody(...args));
const refundQuery = (outRefundNo: string) => call('get', `${REFUNDS}/${outRefundNo}`);

async function created(over: Json = {}): Promise<string> {
  const body = order(over);
  expect(await create(body)).toMatchObject({ status: 200 });
  return body.out_trade_no;
}

async function paid(over: Json = {}): Promise<string> {
  const outTradeNo = await created(over);
  simulator.control.buyerPays(outTradeNo);
  return outTradeNo;
}

describe('a payment', () => {
  test('goes from its creation to a full refund', async () => {
    const body = order();
    const first = await create(body);
    expect(first.data['code_url']).toMatch(/^weixin:\/\/wxpay\/bizpayurl\?pr=\w+$/);
    const unpaid = await query(body.out_trade_no);
    expect(unpaid.data).toEqual({ appid: simulator.appid, mchid: simulator.mchid, out_trade_no: body.out_trade_no, trade_state: 'NOTPAY', trade_state_desc: '订单未支付' });

    simulator.control.buyerScans(body.out_trade_no);
    simulator.control.buyerPaysQr(first.data['code_url'] as string);
    const { data } = await query(body.out_trade_no);
    expect(data).toMatchObject({ trade_state: 'SUCCESS', trade_type: 'NATIVE', amount: { total: 8888, payer_total: 8888, currency: 'CNY' } });
    expect(data['success_time']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00$/);
    const byId = await call('get', `/v3/pay/transactions/id/${String(data['transaction_id'])}`, undefined, { params: { mchid: simulator.mchid } });
    expect(byId.data).toEqual(data);

    const accepted = await refund(body.out_trade_no, 888, 'R1@a');
    expect(accepted.data).toMatchObject({ status: 'PROCESSING', out_refund_no: 'R1@a', transaction_id: data['transaction_id'], amount: { refund: 888, total: 8888 } });
    expect(accepted.data).not.toHaveProperty('success_time');
    await simulator.control.idle();
    expect((await query(body.out_trade_no)).data).toMatchObject({ trade_state: 'REFUND' });
    expect((await refundQuery('R1@a')).data).toMatchObject({ ...accepted.data, status: 'SUCCESS', success_time: expect.any(String) });
    expect(await refund(body.out_trade_no, 8000, 'R2')).toMatchObject({ status: 200 });
    expect(await refund(body.out_trade_no, 1, 'R3')).toMatchObject({ status: 400, data: { code: 'INVALID_REQUEST' } });
  });

  test('opened again has a new code and no longer the old one; other parameters are a conflict', async () => {
    const body = order();
    const first = (await create(body)).data['code_url'] as string;
    const second = (await create(body)).data['code_url'] as string;
    expect(second).not.toBe(first);
    expect(() => simulator.control.buyerPaysQr(first)).toThrow('nobody knows this code');
    expect(await create({ ...body, amount: { total: 8889 } })).toMatchObject({ status: 400, data: { code: 'INVALID_REQUEST' } });
    expect((await raw('POST', '/v3/pay/transactions/native', { body: { ...body, attach: 'x' } })).headers.get('request-id')).toMatch(/-268498688$/);

    simulator.control.buyerPaysQr(second);
    expect(await create(body)).toMatchObject({ status: 403, data: { code: 'ORDER_PAID' } });
    await restarted({ conflictCode: 'OUT_TRADE_NO_USED' });
    await create(body);
    expect(await create({ ...body, description: 'x' })).toMatchObject({ status: 403, data: { code: 'OUT_TRADE_NO_USED' } });
  });

  test('is closed as often as anybody wants, with a signed empty answer, and never once paid', async () => {
    const outTradeNo = await created();
    for (let time = 0; time < 2; time += 1) expect(await close(outTradeNo)).toMatchObject({ status: 204 });
    const response = await raw('POST', `${path(outTradeNo)}/close`, { body: { mchid: simulator.mchid } });
    expect([response.status, await response.text(), holds(response.headers, '')]).toEqual([204, '', true]);
    expect((await query(outTradeNo)).data).toMatchObject({ trade_state: 'CLOSED' });
    expect(() => simulator.control.buyerPays(outTradeNo)).toThrow('CLOSED');
    expect(await close(await paid())).toMatchObject({ status: 403, data: { code: 'ORDER_PAID' } });
    expect(await close('unknown')).toMatchObject({ status: 404, data: { code: 'ORDER_NOT_EXIST' } });
  });

  test.each([[true, 'CLOSED'], [false, 'NOTPAY']])('cannot be paid after its expiry; closed by itself: %s', async (closesExpired, state) => {
    await restarted({ closesExpired });
    const expiry = new Date(simulator.control.now().getTime() + 600_000 + 8 * 3_600_000).toISOString().replace(/\.\d+Z/, '+08:00');
    const body = order({ time_expire: expiry });
    const { data } = await create(body);
    simulator.control.advanceClock(600_000);
    expect((await queryLater(body.out_trade_no)).data).toMatchObject({ trade_state: state });
    expect(() => simulator.control.buyerPaysQr(data['code_url'] as string)).toThrow(closesExpired ? 'CLOSED' : 'expired');
    expect(await rawAnswer('POST', '/v3/pay/transactions/native', { body })).toMatchObject({ data: { code: 'ORDER_CLOSED' } });
    expect(await rawAnswer('POST', `${path(body.out_trade_no)}/close`, { body: { mchid: simulator.mchid } })).toMatchObject({ status: 204 });
    expect((await queryLater(body.out_trade_no)).data).toMatchObject({ trade_state: 'CLOSED' });
  });

  test('outlives its code', async () => {
    const body = order();
    const { data } = await create(body);
    simulator.control.advanceClock(2 * 3_600_000);
    expect(() => simulator.control.buyerPaysQr(data['code_url'] as string)).toThrow('no longer valid');
    const again = await rawAnswer('POST', '/v3/pay/transactions/native', { body });
    simulator.control.buyerPaysQr(again.data['code_url'] as string);
    expect((await queryLater(body.out_trade_no)).data).toMatchObject({ trade_state: 'SUCCESS' });
  });

  test('may for a while not be found', async () => {
    await restarted({ orderVisibleAfterMs: 3_000, now: () => new Date(1_800_000_000_000) });
    const body = order();
    await rawAnswer('POST', '/v3/pay/transactions/native', { body });
    expect(await queryLater(body.out_trade_no)).toMatchObject({ status: 404, data: { code: 'ORDER_NOT_EXIST' } });
    simulator.control.advanceClock(3_000);
    expect(await queryLater(body.out_trade_no)).toMatchObject({ status: 200 });
  });

  test('in a mini-program and in an app is opened by properly signed parameters only', async () => {
    const [jsapi, app] = [order({ payer: { openid: 'o-buyer' } }), order()];
    const prepay = async (body: Json, channel: string) => (await create(body, channel)).data['prepay_id'] as string;
    const signed = (...parts: string[]) => sign(signedText(...parts), simulator.merchantPrivateKeyPem);

    const pack = `prepay_id=${await prepay(jsapi, 'jsapi')}`;
    const shown = { appId: simulator.appid, timeStamp: '1', nonceStr: 'n', package: pack, signType: 'RSA', paySign: signed(simulator.appid, '1', 'n', pack) };
    expect(simulator.control.buyerOpens(shown)).toMatchObject({ outTradeNo: jsapi.out_trade_no, openid: 'o-buyer' });
    expect(() => simulator.control.buyerOpens({ ...shown, timeStamp: '2' })).toThrow('signature');

    const prepayid = await prepay(app, 'app');
    const opened = { appid: simulator.appid, partnerid: simulator.mchid, prepayid, package: 'Sign=WXPay', noncestr: 'n', timestamp: '1' };
    expect(simulator.control.buyerOpens({ ...opened, sign: signed(simulator.appid, '1', 'n', prepayid) })).toMatchObject({ outTradeNo: app.out_trade_no });
    expect(() => simulator.control.buyerOpens({ ...opened, sign: signed(simulator.appid, '1', 'n', pack) })).toThrow('signature');
    simulator.control.buyerPays(app.out_trade_no);
    expect((await query(app.out_trade_no)).data).toMatchObject({ trade_type: 'APP' });
  });

  test('in a browser needs its scene', async () => {
    expect(await create(order(), 'h5')).toMatchObject({ status: 400, data: { code: 'PARAM_ERROR', detail: { field: '/scene_info' } } });
    const body = order({ scene_info: { payer_client_ip: '127.0.0.1', h5_info: { type: 'Wap' } } });
    const { data } = await create(body, 'h5');
    expect(simulator.control.buyerPaysQr(data['h5_url'] as string)).toMatchObject({ outTradeNo: body.out_trade_no });
    expect((await query(body.out_trade_no)).data).toMatchObject({ trade_type: 'MWEB' });
  });

  test('can be shown in any state', async () => {
    const outTradeNo = await paid();
    for (const state of ['USERPAYING', 'REVOKED', 'PAYERROR', 'UNHEARD_OF']) {
      simulator.control.forceTradeState(outTradeNo, state);
      expect((await query(outTradeNo)).data).toMatchObject({ trade_state: state });
    }
    simulator.control.forceTradeState(outTradeNo, null);
    expect((await query(outTradeNo)).data).toMatchObject({ trade_state: 'SUCCESS' });
  });
});

describe('a refund', () => {
  test('of the same number is the same refund, and a conflict with other parameters', async () => {
    const outTradeNo = await paid();
    const first = await refund(outTradeNo, 100, 'R1');
    expect((await refund(outTradeNo, 100, 'R1')).data).toMatchObject({ refund_id: first.data['refund_id'] });
    expect(await refund(outTradeNo, 101, 'R1')).toMatchObject({ status: 400, data: { code: 'INVALID_REQUEST' } });
    expect(await refund(outTradeNo, 100, 'R1', { reason: 'x' })).toMatchObject({ status: 400 });
    expect(simulator.control.getOrder(outTradeNo).refunds.map(({ amount }) => amount)).toEqual([100n]);
  });

  test('settles after its time, or by control only', async () => {
    const at = Date.now();
    await restarted({ refundSettlesAfterMs: 60_000, now: () => new Date(at) });
    const outTradeNo = await paid();
    await refund(outTradeNo, 100, 'R1');
    simulator.control.advanceClock(59_999);
    expect((await refundQuery('R1')).data).toMatchObject({ status: 'PROCESSING' });
    simulator.control.advanceClock(1);
    expect((await refundQuery('R1')).data).toMatchObject({ status: 'SUCCESS' });

    simulator.control.setRefundSettlesAfter(null);
    await refund(outTradeNo, 100, 'R2');
    simulator.control.advanceClock(120_000);
    expect((await refundQuery('R2')).data).toMatchObject({ status: 'PROCESSING' });
    simulator.control.refundSettles('R2');
    expect((await refundQuery('R2')).data).toMatchObject({ status: 'SUCCESS' });
    expect(() => simulator.control.refundCloses('R2')).toThrow('R2 is SUCCESS');
  });

  test('turns abnormal and is sent elsewhere, or is closed and its amount may be refunded anew', async () => {
    await restarted({ refundSettlesAfterMs: null });
    const outTradeNo = await paid();
    const { data } = await refund(outTradeNo, 8000, 'R1');
    const elsewhere = () => call('post', `${REFUNDS}/${String(data['refund_id'])}/apply-abnormal-refund`, { out_refund_no: 'R1', type: 'MERCHANT_BANK_CARD' });
    expect(await elsewhere()).toMatchObject({ status: 400, data: { code: 'INVALID_REQUEST' } });
    simulator.control.refundBecomesAbnormal('R1');
    expect((await refundQuery('R1')).data).toMatchObject({ status: 'ABNORMAL' });
    expect((await elsewhere()).data).toMatchObject({ status: 'PROCESSING' });

    simulator.control.refundCloses('R1');
    expect((await query(outTradeNo)).data).toMatchObject({ trade_state: 'REFUND' });
    expect(await refund(outTradeNo, 8888, 'R2')).toMatchObject({ status: 200 });
  });

  test('waits for balance, and then succeeds under the same number', async () => {
    const outTradeNo = await paid();
    simulator.control.setBalance(99n);
    expect(await refund(outTradeNo, 100, 'R1')).toMatchObject({ status: 403, data: { code: 'NOT_ENOUGH' } });
    expect(await refundQuery('R1')).toMatchObject({ status: 404, data: { code: 'RESOURCE_NOT_EXISTS' } });
    simulator.control.setBalance(100n);
    expect(await refund(outTradeNo, 100, 'R1')).toMatchObject({ status: 200 });
  });

  test('follows another of the same order by a minute, not sooner', async () => {
    const at = Date.now();
    await restarted({ refundSpacingMs: 60_000, now: () => new Date(at) });
    const outTradeNo = await paid();
    await refund(outTradeNo, 100, 'R1');
    simulator.control.advanceClock(59_999);
    expect(await refund(outTradeNo, 100, 'R2')).toMatchObject({ status: 429, data: { code: 'FREQUENCY_LIMITED' } });
    simulator.control.advanceClock(1);
    expect(await refund(outTradeNo, 100, 'R2')).toMatchObject({ status: 200 });
  });

  test('is refused as the 51st, and a year after the payment', async () => {
    const outTradeNo = await paid();
    for (let count = 0; count < 50; count += 1) simulator.control.refundOutside(outTradeNo, 1n);
    expect(await refund(outTradeNo, 1, 'R51')).toMatchObject({ status: 403, data: { code: 'RULE_LIMIT' } });
    const old = await paid();
    simulator.control.advanceClock(366 * DAY_MS);
    expect(await rawAnswer('POST', REFUNDS, { body: refundBody(old, 1, 'R1') })).toMatchObject({ status: 400, data: { code: 'INVALID_REQUEST' } });
  });

  const refusals: [string, Json, number, string][] = [
    ['another total', { amount: { refund: 1, total: 8887, currency: 'CNY' } }, 400, 'INVALID_REQUEST'],
    ['no currency', { amount: { refund: 1, total: 8888 } }, 400, 'PARAM_ERROR'],
    ['no amount', { amount: { refund: 0, total: 8888, currency: 'CNY' } }, 400, 'PARAM_ERROR'],
    ['an unknown order', { out_trade_no: 'unknown' }, 404, 'RESOURCE_NOT_EXISTS'],
    ['no order', { out_trade_no: undefined }, 400, 'PARAM_ERROR'],
    ['a number with a slash', { out_refund_no: 'a/b' }, 400, 'PARAM_ERROR'],
    ['a reason of 81 bytes', { reason: '茶'.repeat(27) }, 400, 'PARAM_ERROR'],
    ['a notify_url with a query', { notify_url: 'http://x.example/?a=1' }, 400, 'PARAM_ERROR'],
  ];
  test.each(refusals)('with %s is refused', async (_what, over, status, code) => {
    const outTradeNo = await paid();
    expect(await refund(outTradeNo, 1, 'R1', over)).toMatchObject({ status, data: { code } });
    expect(simulator.control.getOrder(outTradeNo).refunds).toEqual([]);
  });

  test('of an order that nobody paid is refused', async () => {
    expect(await refund(await created(), 1, 'R1')).toMatchObject({ status: 403, data: { code: 'TRADE_ERROR' } });
  });
});

describe('at the door', () => {
  const now = () => Math.floor(Date.now() / 1000);
  const refusals: [string, () => How, number, string][] = [
    ['no Authorization', () => ({ authorization: () => '' }), 401, 'SIGN_ERROR'],
    ['another scheme', () => ({ authorization: (proper) => proper.replace('RSA2048', 'RSA4096') }), 401, 'SIGN_ERROR'],
    ['a member twice', () => ({ authorization: (proper) => `${proper},mchid="1900000001"` }), 401, 'SIGN_ERROR'],
    ['an unknown merchant', () => ({ mchid: '1900000009' }), 400, 'MCH_NOT_EXISTS'],
    ['an unknown serial', () => ({ serial: 'AB12' }), 401, 'SIGN_ERROR'],
    ['the serial in lower case', () => ({ serial: simulator.merchantSerial.toLowerCase() }), 401, 'SIGN_ERROR'],
    ['an old timestamp', () => ({ timestamp: now() - 310 }), 401, 'SIGN_ERROR'],
    ['a timestamp to come', () => ({ timestamp: now() + 310 }), 401, 'SIGN_ERROR'],
    ['a changed amount', () => ({ sent: '{"amount":{"total":1}}' }), 401, 'SIGN_ERROR'],
    ['a signature of another key', () => ({ privateKeyPem: stranger.privateKey }), 401, 'SIGN_ERROR'],
    ['another content type', () => ({ headers: { 'content-type': 'text/plain' } }), 400, 'PARAM_ERROR'],
    ['another answer wanted', () => ({ headers: { accept: 'text/xml' } }), 400, 'PARAM_ERROR'],
    ['an empty User-Agent', () => ({ headers: { 'user-agent': '' } }), 400, 'PARAM_ERROR'],
    ['a key id that nobody knows', () => ({ headers: { 'wechatpay-serial': 'PUB_KEY_ID_9' } }), 400, 'PARAM_ERROR'],
    ['a body that is no JSON', () => ({ body: '{' }), 400, 'PARAM_ERROR'],
  ];
  test.each(refusals)('%s is refused', async (_what, how, status, code) => {
    expect(await rawAnswer('POST', '/v3/pay/transactions/native', { body: order(), ...how() })).toMatchObject({ status, data: { code } });
    expect(simulator.control.listOrders()).toEqual([]);
  });

  test('the time is checked before the signature, and the signature before the body', async () => {
    const stale = await rawAnswer('POST', '/v3/pay/transactions/native', { body: '{', timestamp: now() - 310, privateKeyPem: stranger.privateKey });
    expect(stale.data['message']).toContain('5分钟');
    const forged = await rawAnswer('POST', '/v3/pay/transactions/native', { body: '{', privateKeyPem: stranger.privateKey });
    expect(forged.data).toMatchObject({ code: 'SIGN_ERROR', detail: { sign_information: { method: 'POST', url: '/v3/pay/transactions/native' } } });
    expect((forged.data['detail'] as Record<string, Json>)['sign_information']!['truncated_sign_message']).toMatch(/^POST\n\/v3\/pay\/transactions\/native\n\d{10}\n\w{32}\n\{\n$/);
  });

  const malformed: [string, Json, string][] = [
    ['an amount as a text', { amount: { total: '8888' } }, '/amount/total'],
    ['half a fen', { amount: { total: 88.5 } }, '/amount/total'],
    ['no money', { amount: { total: 0 } }, '/amount/total'],
    ['another currency', { amount: { total: 1, currency: 'USD' } }, '/amount/currency'],
    ['a short number', { out_trade_no: 'P1234' }, '/out_trade_no'],
    ['a number with a dot', { out_trade_no: 'P12345.6' }, '/out_trade_no'],
    ['a number of 33 characters', { out_trade_no: 'P'.repeat(33) }, '/out_trade_no'],
    ['no description', { description: '' }, '/description'],
    ['a long description', { description: '茶'.repeat(128) }, '/description'],
    ['a notify_url with a query', { notify_url: 'https://x.example/n?a=1' }, '/notify_url'],
    ['a relative notify_url', { notify_url: '/n' }, '/notify_url'],
    ['an expiry without an offset', { time_expire: '2099-01-01T00:00:00' }, '/time_expire'],
    ['an expiry on no day', { time_expire: '2099-02-30T00:00:00+08:00' }, '/time_expire'],
    ['an expiry in the past', { time_expire: '2020-01-01T00:00:00+08:00' }, '/time_expire'],
    ['another merchant', { mchid: '1900000009' }, '/mchid'],
  ];
  test.each(malformed)('%s is refused', async (_what, over, field) => {
    expect(await create(order(over))).toMatchObject({ status: 400, data: { code: 'PARAM_ERROR', detail: { field } } });
  });

  test('another application, a payer that is missing and a query without a merchant are refused', async () => {
    expect(await create(order({ appid: 'wx1' }))).toMatchObject({ status: 400, data: { code: 'APPID_MCHID_NOT_MATCH' } });
    expect(await create(order(), 'jsapi')).toMatchObject({ status: 400, data: { detail: { field: '/payer' } } });
    expect(await call('get', path(await created()))).toMatchObject({ status: 400, data: { code: 'PARAM_ERROR' } });
    expect(await rawAnswer('GET', `/v3/pay/transactions/id/abc?mchid=${simulator.mchid}`)).toMatchObject({ data: { code: 'INVALID_TRANSACTIONID' } });
  });

  test('what is not there is not found', async () => {
    expect(await call('get', '/v3/pay/transactions/x/y')).toMatchObject({ status: 404, data: { code: 'NOT_FOUND' } });
    expect(await rawAnswer('GET', '/v3/pay/transactions/native')).toMatchObject({ status: 405 });
    expect(await rawAnswer('GET', '/wechatpay/orders')).toMatchObject({ status: 404 });
  });

  test('errors are spelled the new or the old way, signed or not', async () => {
    const target = `${path('unknown')}?mchid=${simulator.mchid}`;
    const signed = await raw('GET', target);
    expect(holds(signed.headers, await signed.text())).toBe(true);
    simulator.control.setErrors({ spelling: 'old', isSigned: false });
    const unsigned = await raw('GET', target);
    expect(unsigned.headers.has('wechatpay-signature')).toBe(false);
    expect(await unsigned.json()).toMatchObject({ code: 'ORDERNOTEXIST' });
    const outTradeNo = await paid();
    expect(await close(outTradeNo)).toMatchObject({ status: 400, data: { code: 'ORDERPAID' } });
  });
});

describe('the keys', () => {
  test.each(KEY_MODES)('%s: answers verify for the independent client', async (mode) => {
    simulator.control.signWith(mode);
    const headers = { 'Wechatpay-Serial': simulator.publicKeyId };
    for (let time = 0; time < 3; time += 1) expect(await call('post', '/v3/pay/transactions/native', order(), { headers })).toMatchObject({ status: 200 });
  });

  test('take turns while they alternate', async () => {
    simulator.control.signWith('alternate');
    const serials = [];
    for (let time = 0; time < 3; time += 1) serials.push((await raw('GET', '/v3/certificates')).headers.get('wechatpay-serial'));
    expect(serials).toEqual([...simulator.certificates.map(({ serial }) => serial), simulator.publicKeyId]);
  });

  test('of the platform are told sealed, and no longer once there is only the public key', async () => {
    const { data } = await call('get', '/v3/certificates');
    const opened = (data['data'] as { serial_no: string; encrypt_certificate: Texts }[]).map(({ serial_no: serial, encrypt_certificate: sealed }) => ({
      serial,
      pem: Aes.AesGcm.decrypt(sealed['ciphertext']!, simulator.apiV3Key, sealed['nonce']!, sealed['associated_data']),
    }));
    expect(opened).toEqual(simulator.certificates);
    for (const { serial, pem } of opened) expect(new X509Certificate(pem).serialNumber).toBe(serial);

    simulator.control.signWith('public-key');
    const headers = { 'wechatpay-serial': simulator.publicKeyId };
    expect(await rawAnswer('GET', '/v3/certificates', { headers })).toMatchObject({ status: 404, data: { code: 'RESOURCE_NOT_EXISTS' } });
  });

  test('must be named by the call once there is only the public key', async () => {
    simulator.control.signWith('public-key');
    const field = { status: 400, data: { code: 'PARAM_ERROR', detail: { field: 'Wechatpay-Serial' } } };
    expect(await create(order())).toMatchObject(field);
    const certificate = { 'wechatpay-serial': simulator.certificates[0]!.serial };
    expect(await rawAnswer('POST', '/v3/pay/transactions/native', { body: order(), headers: certificate })).toMatchObject(field);
    await restarted({ signWith: 'public-key', demandsPublicKeyId: false });
    expect(await create(order())).toMatchObject({ status: 200 });
  });
});

describe('a fault', () => {
  const headers = (response: Response): string[] => [...response.headers.keys()];

  const failing: [FaultKind, boolean][] = [
    ['drop-before-commit', false],
    ['connection-reset', false],
    ['commit-then-drop', true],
    ['bad-signature', true],
    ['no-signature', true],
    ['wrong-serial', true],
    ['stale-timestamp', true],
    ['signature-probe', true],
    ['truncated', true],
    ['html-body', false],
  ];
  test.each(failing)('%s fails the call; executed: %s', async (kind, executed) => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind });
    await expect(refund(outTradeNo, 100, 'R1')).rejects.toThrow();
    expect(simulator.control.getOrder(outTradeNo).refunds).toHaveLength(executed ? 1 : 0);
    expect(await refund(outTradeNo, 100, 'R1')).toMatchObject({ status: 200 });
    expect(simulator.control.getOrder(outTradeNo).refunds).toHaveLength(1);
    expect(simulator.control.events().at(-2)).toMatchObject({ fault: kind, operation: 'refund', status: executed ? 200 : null });
  });

  const refusing: [FaultKind, Json, number, string][] = [
    ['rate-limit', {}, 429, 'FREQUENCY_LIMITED'],
    ['rate-limit', { code: 'RATELIMIT_EXCEEDED' }, 429, 'RATELIMIT_EXCEEDED'],
    ['system-error', {}, 500, 'SYSTEM_ERROR'],
    ['system-error', { code: 'BANK_ERROR' }, 500, 'BANK_ERROR'],
    ['error-response', {}, 403, 'TRADE_ERROR'],
    ['error-response', { code: 'USERPAYING', subCode: '202' }, 202, 'USERPAYING'],
    ['error-response', { code: 'UNHEARD_OF' }, 400, 'UNHEARD_OF'],
  ];
  test.each(refusing)('%s %j is answered, and nothing is executed', async (kind, how, status, code) => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind, ...how });
    expect(await refund(outTradeNo, 100, 'R1')).toMatchObject({ status, data: { code } });
    expect(simulator.control.getOrder(outTradeNo).refunds).toEqual([]);
  });

  test('may be an error although the refund was executed', async () => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind: 'system-error', committed: true });
    expect(await refund(outTradeNo, 100, 'R1')).toMatchObject({ status: 500, data: { code: 'SYSTEM_ERROR' } });
    expect(simulator.control.getOrder(outTradeNo).refunds).toHaveLength(1);
  });

  test('may be a page of a proxy', async () => {
    const target = `${path(await paid())}?mchid=${simulator.mchid}`;
    const seen = [];
    for (const code of [undefined, '502', '503']) {
      simulator.control.faults.add({ operation: 'query', kind: 'http-500', ...(code === undefined ? {} : { code }) });
      const response = await raw('GET', target);
      seen.push([response.status, response.headers.get('content-type'), response.headers.has('wechatpay-signature')]);
    }
    expect(seen).toEqual([500, 502, 503].map((status) => [status, 'text/html;charset=utf-8', false]));
  });

  test('may be an error that is not signed', async () => {
    simulator.control.faults.add({ operation: 'certificates', kind: 'error-response' });
    simulator.control.faults.add({ operation: 'certificates', kind: 'unsigned-error-response', ordinal: 2 });
    expect(headers(await raw('GET', '/v3/certificates'))).toContain('wechatpay-signature');
    expect(headers(await raw('GET', '/v3/certificates'))).not.toContain('wechatpay-signature');
  });

  test('may send a header twice', async () => {
    simulator.control.faults.add({ operation: 'certificates', kind: 'duplicate-header' });
    const [first, second] = (await raw('GET', '/v3/certificates')).headers.get('wechatpay-signature')!.split(', ');
    expect(first).toMatch(/^[\w+/]{342}==$/);
    expect(second).toBe(first);
  });

  test('may be an answer of a while ago', async () => {
    const outTradeNo = await created();
    simulator.control.advanceClock(60_000);
    simulator.control.buyerPays(outTradeNo);
    await raw('POST', REFUNDS, { body: refundBody(outTradeNo, 100, 'R1') });
    await simulator.control.idle();
    const stale = async (delayMs: number): Promise<unknown[]> => {
      for (const operation of ['query', 'refund-query']) simulator.control.faults.add({ operation, kind: 'stale-answer', delayMs });
      const [order, back] = [await queryLater(outTradeNo), await rawAnswer('GET', `${REFUNDS}/R1`)];
      return [order.data['trade_state'] ?? order.data['code'], back.data['status'] ?? back.data['code']];
    };
    expect(await stale(0)).toEqual(['REFUND', 'SUCCESS']);
    expect(await stale(30_000)).toEqual(['NOTPAY', 'RESOURCE_NOT_EXISTS']);
    expect(await stale(90_000)).toEqual(['ORDER_NOT_EXIST', 'RESOURCE_NOT_EXISTS']);
  });

  test('may accept a refund and leave it', async () => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind: 'refund-not-executed' });
    expect((await refund(outTradeNo, 100, 'R1')).data).toMatchObject({ status: 'PROCESSING' });
    await simulator.control.idle();
    expect((await refundQuery('R1')).data).toMatchObject({ status: 'PROCESSING' });
  });

  test('strikes by ordinal and as often as planned', async () => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'query', kind: 'rate-limit', ordinal: 2, times: 2 });
    const statuses = [];
    for (let time = 0; time < 4; time += 1) statuses.push((await query(outTradeNo)).status);
    expect(statuses).toEqual([200, 429, 429, 200]);
  });

  test('holds an answer back while the payment goes on', async () => {
    simulator.control.faults.add({ operation: 'create', kind: 'hold' });
    const body = order();
    const answer = create(body);
    await simulator.control.holding('create');
    simulator.control.buyerPays(body.out_trade_no);
    simulator.control.release();
    expect(await answer).toMatchObject({ status: 200 });
  });

  test('delays and trickles without changing the answer', async () => {
    const outTradeNo = await paid();
    for (const how of [{ kind: 'delay' }, { kind: 'delay', committed: false }, { kind: 'slow-trickle' }] as const) {
      simulator.control.faults.add({ operation: 'query', delayMs: 1, ...how });
      expect((await query(outTradeNo)).data).toMatchObject({ trade_state: 'SUCCESS' });
    }
    expect(simulator.control.events().slice(-3).map(({ fault }) => fault)).toEqual(['delay', 'delay', 'slow-trickle']);
  });

  test('of another platform and of no operation is refused', () => {
    expect(() => simulator.control.faults.add({ operation: 'query', kind: 'sign-first' })).toThrow('nothing that WeChat Pay could do');
    expect(() => simulator.control.faults.add({ operation: 'dance', kind: 'delay' })).toThrow('operation must be one of');
  });
});

describe('a bill', () => {
  const NOON = Date.parse('2026-03-01T12:00:00+08:00');
  const apply = (day: string, more = '') => rawAnswer('GET', `/v3/bill/tradebill?bill_date=${day}${more}`);
  const nextMorning = () => simulator.control.advanceClock(NOON + 22 * 3_600_000 - simulator.control.now().getTime());

  async function download(url: string): Promise<Buffer> {
    const { pathname, search } = new URL(url);
    const response = await raw('GET', `${pathname}${search}`);
    expect([response.status, response.headers.has('wechatpay-signature')]).toEqual([200, false]);
    return Buffer.from(await response.arrayBuffer());
  }
  async function bill(more = ''): Promise<{ rows: Json[]; summary: Json }> {
    const { data } = await apply('2026-03-01', more);
    return Formatter.castCsvBill(await download(data['download_url'] as string)) as { rows: Json[]; summary: Json };
  }
  const rawPaid = async (over: Json = {}): Promise<string> => {
    const body = order(over);
    await rawAnswer('POST', '/v3/pay/transactions/native', { body });
    simulator.control.buyerPays(body.out_trade_no);
    return body.out_trade_no;
  };

  beforeEach(async () => {
    await restarted({ now: () => new Date(NOON) });
  });

  test('tells the payments and refunds of its day in yuan', async () => {
    const outTradeNo = await rawPaid({ description: '茶,`壶', attach: 'a' });
    await rawAnswer('POST', REFUNDS, { body: refundBody(outTradeNo, 100, 'R1') });
    await simulator.control.idle();
    nextMorning();
    await rawPaid();
    const { data } = await apply('2026-03-01');
    const bytes = await download(data['download_url'] as string);
    expect(createHash('sha1').update(bytes).digest('hex')).toBe(data['hash_value']);
    const text = bytes.toString('utf8');
    expect(text.startsWith('\ufeff交易时间,公众账号ID,商户号,')).toBe(true);
    expect(text.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);

    const { rows, summary } = Formatter.castCsvBill(bytes) as { rows: Json[]; summary: Json };
    const common = { 商户号: simulator.mchid, 商户订单号: outTradeNo, 交易时间: '2026-03-01 12:00:00', 货币种类: 'CNY', 商品名称: '茶,壶' };
    expect(rows).toMatchObject([
      { ...common, 交易状态: 'SUCCESS', 应结订单金额: '88.88', 订单金额: '88.88', 退款金额: '0.00', 商户退款单号: '0', 手续费: '0.53000' },
      { ...common, 交易状态: 'REFUND', 应结订单金额: '0.00', 退款金额: '1.00', 申请退款金额: '1.00', 商户退款单号: 'R1', 退款状态: 'SUCCESS' },
    ]);
    expect(summary).toMatchObject({ 总交易单数: '2', 应结订单总金额: '88.88', 退款总金额: '1.00' });
  });

  test('of payments only lacks the columns of refunds, and of refunds only has no payment', async () => {
    const outTradeNo = await rawPaid();
    await rawAnswer('POST', REFUNDS, { body: refundBody(outTradeNo, 100, 'R1') });
    nextMorning();
    const payments = await bill('&bill_type=SUCCESS');
    expect(payments.rows).toHaveLength(1);
    expect(payments.rows[0]).not.toHaveProperty('商户退款单号');
    expect((await bill('&bill_type=REFUND')).rows).toMatchObject([{ 商户退款单号: 'R1' }]);
  });

  test('may be packed, and its hash is that of the unpacked file', async () => {
    await rawPaid();
    nextMorning();
    const { data } = await apply('2026-03-01', '&tar_type=GZIP');
    const packed = await download(data['download_url'] as string);
    expect(createHash('sha1').update(gunzipSync(packed)).digest('hex')).toBe(data['hash_value']);
  });

  test('is ready on the next morning, not of today, and not there without a payment', async () => {
    await rawPaid();
    expect(await apply('2026-03-01')).toMatchObject({ status: 400, data: { code: 'INVALID_REQUEST' } });
    simulator.control.advanceClock(21 * 3_600_000);
    expect(await apply('2026-03-01')).toMatchObject({ status: 400, data: { code: 'STATEMENT_CREATING' } });
    simulator.control.advanceClock(3_600_000);
    expect(await apply('2026-03-01')).toMatchObject({ status: 200 });
    expect(await apply('2026-02-28')).toMatchObject({ status: 400, data: { code: 'NO_STATEMENT_EXIST' } });
    expect(await apply('2026-02-30')).toMatchObject({ status: 400, data: { code: 'PARAM_ERROR' } });
    expect(await apply('2025-11-01')).toMatchObject({ status: 400, data: { code: 'INVALID_REQUEST' } });
  });

  test('is fetched at once or not at all, and only with a signature', async () => {
    await rawPaid();
    nextMorning();
    const { pathname, search } = new URL((await apply('2026-03-01')).data['download_url'] as string);
    expect(await rawAnswer('GET', `${pathname}${search}`, { authorization: () => '' })).toMatchObject({ status: 401 });
    simulator.control.advanceClock(30_001);
    expect(await rawAnswer('GET', `${pathname}${search}`)).toMatchObject({ status: 400 });
    expect(await rawAnswer('GET', '/v3/bill/fundflowbill?bill_date=2026-03-01')).toMatchObject({ status: 403, data: { code: 'NO_AUTH' } });
  });

  test('can be made to differ', async () => {
    const [dropped, altered] = [await rawPaid(), await rawPaid()];
    const day = '2026-03-01';
    simulator.control.changeBill({ day, kind: 'drop', no: dropped });
    simulator.control.changeBill({ day, kind: 'alter', no: altered, amount: 8889n });
    simulator.control.changeBill({ day, kind: 'add', outTradeNo: 'P-of-nobody', amount: 5n });
    simulator.control.changeBill({ day, kind: 'add', outTradeNo: altered, amount: 7n, outRefundNo: 'R-of-nobody' });
    nextMorning();
    const { rows } = await bill();
    expect(rows.map((row) => [row['商户订单号'], row['应结订单金额'], row['商户退款单号'], row['退款金额']])).toEqual([
      [altered, '88.89', '0', '0.00'],
      ['P-of-nobody', '0.05', '0', '0.00'],
      [altered, '0.00', 'R-of-nobody', '0.07'],
    ]);
  });
});

describe('a notification', () => {
  interface Received {
    readonly headers: IncomingHttpHeaders;
    readonly body: string;
  }
  let merchant: Server;
  let notifyUrl: string;
  let received: Received[];
  let reply: (count: number) => number;

  beforeEach(async () => {
    received = [];
    reply = () => 204;
    merchant = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (piece: string) => (body += piece));
      request.on('end', () => {
        received.push({ headers: request.headers, body });
        const status = reply(received.length);
        if (status !== 0) response.writeHead(status).end();
      });
    });
    await new Promise<void>((resolve) => merchant.listen(0, '127.0.0.1', resolve));
    notifyUrl = `http://127.0.0.1:${(merchant.address() as AddressInfo).port}/n`;
  });
  afterEach(async () => {
    merchant.closeAllConnections();
    await new Promise((resolve) => merchant.close(resolve));
  });

  const withNotify = () => ({ notify_url: notifyUrl });
  const verifies = ({ headers, body }: Received): boolean => holds(headers, body);
  const envelope = ({ body }: Received): Json => JSON.parse(body) as Json;
  const opened = (one: Received): Json => {
    const { ciphertext, nonce, associated_data: aad } = envelope(one)['resource'] as Texts;
    return JSON.parse(Aes.AesGcm.decrypt(ciphertext!, simulator.apiV3Key, nonce!, aad)) as Json;
  };
  const types = () => received.map((one) => envelope(one)['event_type'] as string);
  const attempts = () => simulator.control.notifications().map((one) => one.attempts.map(({ acknowledged }) => acknowledged));
  const notifiedPaid = async (): Promise<string> => {
    const outTradeNo = await paid(withNotify());
    await simulator.control.idle();
    return outTradeNo;
  };

  test('tells of the payment with the object of the query', async () => {
    const outTradeNo = await notifiedPaid();
    const [one] = received as [Received];
    expect(verifies(one)).toBe(true);
    expect(one.headers).toMatchObject({ 'content-type': 'application/json; charset=utf-8', 'wechatpay-signature-type': 'WECHATPAY2-SHA256-RSA2048' });
    expect(envelope(one)).toMatchObject({
      resource_type: 'encrypt-resource',
      event_type: 'TRANSACTION.SUCCESS',
      resource: { original_type: 'transaction', algorithm: 'AEAD_AES_256_GCM', associated_data: 'transaction' },
    });
    expect(opened(one)).toEqual((await query(outTradeNo)).data);
    expect(simulator.control.notifications()).toMatchObject([{ state: 'acknowledged', attempts: [{ status: 204 }] }]);
  });

  test('of a refund goes where the refund wanted it and tells its refund_status', async () => {
    await restarted({ refundSettlesAfterMs: null });
    const outTradeNo = await paid();
    for (const [outRefundNo, amount] of [['R1', 100], ['R2', 200], ['R3', 300]] as const) await refund(outTradeNo, amount, outRefundNo, withNotify());
    await refund(outTradeNo, 400, 'R4');
    simulator.control.refundSettles('R1');
    await simulator.control.idle();
    simulator.control.refundBecomesAbnormal('R2');
    await simulator.control.idle();
    simulator.control.refundCloses('R3');
    simulator.control.refundSettles('R4');
    await simulator.control.idle();
    expect(types()).toEqual(['REFUND.SUCCESS', 'REFUND.ABNORMAL', 'REFUND.CLOSED']);
    expect(received.every(verifies)).toBe(true);
    expect(opened(received[0]!)).toEqual({
      mchid: simulator.mchid,
      transaction_id: expect.any(String),
      out_trade_no: outTradeNo,
      refund_id: expect.any(String),
      out_refund_no: 'R1',
      refund_status: 'SUCCESS',
      success_time: expect.any(String),
      user_received_account: '支付用户零钱',
      amount: { total: 8888, refund: 100, payer_total: 8888, payer_refund: 100 },
    });
    expect(opened(received[1]!)).not.toHaveProperty('success_time');
  });

  test('comes sixteen times, always signed anew around the same body, and then no more', async () => {
    await restarted({ timeFactor: 1e-9 });
    reply = () => 500;
    await paid(withNotify());
    await simulator.control.settled();
    expect(received).toHaveLength(16);
    expect(new Set(received.map(({ body }) => body)).size).toBe(1);
    expect(new Set(received.map(({ headers }) => headers['wechatpay-nonce'])).size).toBe(16);
    expect(received.every(verifies)).toBe(true);
    expect(simulator.control.notifications()).toMatchObject([{ state: 'given-up' }]);
  });

  test.each([201, 302, 404, 500, 503])('is repeated after %i, until it is acknowledged with 200 or 204', async (refusal) => {
    await restarted({ timeFactor: 1e-9 });
    reply = (count) => (count < 3 ? refusal : 200);
    await paid(withNotify());
    await simulator.control.settled();
    expect(attempts()).toEqual([[false, false, true]]);
  });

  test('that is not answered in time is repeated', async () => {
    await restarted({ timeFactor: 1e-9, notifyAnswerMaxMs: 200 });
    reply = (count) => (count < 2 ? 0 : 200);
    await paid(withNotify());
    await simulator.control.settled();
    const [{ state, attempts: made }] = simulator.control.notifications() as [Delivery];
    expect([state, made[0]?.status, made.at(-1)?.status]).toEqual(['acknowledged', null, 200]);
  });

  test('is repeated by the schedule of the platform, with the time of each attempt', async () => {
    reply = () => 500;
    const at = Date.now();
    await restarted({ now: () => new Date(at) });
    await notifiedPaid();
    const counts = [];
    for (const seconds of [14, 1, 15, 30, 179, 1, 600]) {
      simulator.control.advanceClock(seconds * 1000);
      await simulator.control.idle();
      counts.push(received.length);
    }
    expect(counts).toEqual([1, 2, 3, 4, 4, 5, 6]);
    const told = received.map(({ headers }) => Number(headers['wechatpay-timestamp']) - Math.floor(at / 1000));
    expect(told).toEqual([0, 15, 30, 60, 240, 840]);
  });

  test('is signed with the key of the moment', async () => {
    await notifiedPaid();
    simulator.control.signWith('certificate-b');
    await simulator.control.redeliver(simulator.control.notifications()[0]!.notification.id);
    expect(received.map(({ headers }) => headers['wechatpay-serial'])).toEqual(simulator.certificates.map(({ serial }) => serial));
    expect(received.every(verifies)).toBe(true);
  });

  test('can be withheld and delivered later', async () => {
    simulator.control.notificationPlan({ mode: 'never' });
    await notifiedPaid();
    expect(received).toEqual([]);
    const [withheld] = simulator.control.notifications();
    expect(withheld?.state).toBe('withheld');
    expect(await simulator.control.redeliver(withheld!.notification.id)).toMatchObject({ acknowledged: true });
    expect(verifies(received[0]!)).toBe(true);
  });

  test('can come twice, and again later with its old headers', async () => {
    simulator.control.notificationPlan({ mode: 'duplicate', times: 1 });
    const outTradeNo = await notifiedPaid();
    expect(received.map(({ body }) => body)).toEqual([received[0]!.body, received[0]!.body]);

    simulator.control.notificationPlan({ mode: 'replay' });
    await refund(outTradeNo, 100, 'R1', withNotify());
    await simulator.control.idle();
    expect(types().slice(2)).toEqual(['REFUND.SUCCESS', 'TRANSACTION.SUCCESS', 'REFUND.SUCCESS']);
    const nonces = received.map(({ headers }) => headers['wechatpay-nonce']);
    expect(nonces.slice(0, 2)).toContain(nonces[3]);
    expect(nonces[4]).toBe(nonces[2]);
    expect(received.every(verifies)).toBe(true);
  });

  const wrongly = ['forged', 'no-signature', 'wrong-serial', 'truncated', 'stale-timestamp'] as const;
  test('can be wrong in its signature, once', async () => {
    await restarted({ timeFactor: 1e-9 });
    reply = () => 401;
    for (const mode of wrongly) {
      simulator.control.notificationPlan({ mode, times: 1 });
      await notifiedPaid();
    }
    await simulator.control.settled();
    // Stale is properly signed: only its time is wrong.
    expect(received.map(verifies)).toEqual([false, false, false, false, true]);
    expect(received[1]!.headers).not.toHaveProperty('wechatpay-timestamp');
    expect(platformKeys()).not.toHaveProperty(String(received[2]!.headers['wechatpay-serial']));
    expect(Date.now() / 1000 - Number(received[4]!.headers['wechatpay-timestamp'])).toBeGreaterThan(300);
  });

  test('can be sealed wrongly under a proper signature', async () => {
    for (const mode of ['tampered-ciphertext', 'tampered-tag', 'wrong-key'] as const) {
      simulator.control.notificationPlan({ mode, times: 1 });
      await notifiedPaid();
    }
    expect(received.map(verifies)).toEqual([true, true, true]);
    for (const one of received) expect(() => opened(one)).toThrow();
  });

  test('can be about another amount, application or merchant under a proper signature', async () => {
    for (const mode of ['altered-amount', 'other-app', 'other-merchant'] as const) {
      simulator.control.notificationPlan({ mode, times: 1 });
      await notifiedPaid();
    }
    expect(received.map(verifies)).toEqual([true, true, true]);
    const [amount, app, other] = received.map(opened);
    expect(amount).toMatchObject({ amount: { total: 8889 }, appid: simulator.appid });
    expect(app).toMatchObject({ appid: 'wx0000000000009999', mchid: simulator.mchid });
    expect(other).toMatchObject({ mchid: '1900009999', appid: simulator.appid });
    expect(simulator.control.listOrders().map(({ paid: amountPaid }) => amountPaid)).toEqual([8888n, 8888n, 8888n]);
  });

  test('can have empty or no associated data', async () => {
    for (const mode of ['empty-aad', 'absent-aad'] as const) {
      simulator.control.notificationPlan({ mode, times: 1 });
      await notifiedPaid();
    }
    expect(received.map((one) => (envelope(one)['resource'] as Json)['associated_data'])).toEqual(['', undefined]);
    expect(received.map(opened)).toMatchObject([{ trade_state: 'SUCCESS' }, { trade_state: 'SUCCESS' }]);
  });

  test('may be preceded by a probe, which is no delivery', async () => {
    reply = () => (String(received.at(-1)!.headers['wechatpay-signature']).startsWith('WECHATPAY/SIGNTEST/') ? 401 : 200);
    simulator.control.notificationPlan({ mode: 'probe', times: 1 });
    await notifiedPaid();
    expect(received.map(verifies)).toEqual([false, true]);
    expect(received[0]!.body).toBe(received[1]!.body);
    expect(attempts()).toEqual([[true], [false]]);

    simulator.control.setProbeShare(0.5);
    for (let time = 0; time < 4; time += 1) await notifiedPaid();
    expect(received.slice(2).map(verifies)).toEqual([true, false, true, true, false, true]);
  });

  test('of a refund can arrive before that of its payment', async () => {
    simulator.control.notificationPlan({ mode: 'reorder' });
    const outTradeNo = await paid(withNotify());
    await refund(outTradeNo, 100, 'R1', withNotify());
    await simulator.control.idle();
    expect(types()).toEqual(['REFUND.SUCCESS', 'TRANSACTION.SUCCESS']);
  });

  test('comes after the reply of its call, or before it when planned', async () => {
    const outTradeNo = await paid();
    const seen: string[] = [];
    reply = () => {
      seen.push('notified');
      return 200;
    };
    simulator.control.notificationPlan({ mode: 'before-reply' });
    expect((await refund(outTradeNo, 100, 'R1', withNotify())).data).toMatchObject({ status: 'PROCESSING' });
    seen.push('replied');
    expect(seen).toEqual(['notified', 'replied']);

    simulator.control.notificationPlan({ mode: 'normal' });
    simulator.control.faults.add({ operation: 'refund', kind: 'hold' });
    const answering = refund(outTradeNo, 100, 'R2', withNotify());
    await simulator.control.holding('refund');
    expect((await refundQuery('R2')).data).toMatchObject({ status: 'PROCESSING' });
    expect(seen).toEqual(['notified', 'replied']);
    simulator.control.release();
    await answering;
    await simulator.control.idle();
    expect(seen).toEqual(['notified', 'replied', 'notified']);
  });

  test('of a refund whose answer was lost comes all the same', async () => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind: 'commit-then-drop' });
    await expect(refund(outTradeNo, 100, 'R1', withNotify())).rejects.toThrow();
    await simulator.control.idle();
    expect(types()).toEqual(['REFUND.SUCCESS']);
  });

  test('shows what the buyer really paid, and nothing of failures, closures and refunds outside', async () => {
    const failing = await created(withNotify());
    simulator.control.paymentFails(failing);
    await close(failing);
    simulator.control.expire(await created(withNotify()));
    const outTradeNo = await created(withNotify());
    simulator.control.buyerPays(outTradeNo, { amountOverride: 1n });
    await simulator.control.idle();
    simulator.control.refundOutside(outTradeNo, 1n);
    await simulator.control.idle();
    expect(received.map(opened)).toMatchObject([{ amount: { total: 1, payer_total: 1 }, trade_state: 'SUCCESS' }]);
    expect((await query(outTradeNo)).data).toMatchObject({ trade_state: 'REFUND', amount: { total: 1 } });
  });

  test('to nobody is recorded as unanswered', async () => {
    await paid();
    await simulator.control.idle();
    expect(simulator.control.notifications()).toMatchObject([{ state: 'waiting', attempts: [{ status: null, acknowledged: false }] }]);
  });
});

describe('the control over HTTP', () => {
  async function control(method: string, name: string, body?: Json): Promise<Answer> {
    const request = { method, path: `/wechatpay/${name}`, query: '', headers: {}, body: Buffer.from(body === undefined ? '' : JSON.stringify(body)) };
    const answered = (await simulator.answerControl(request)) as Extract<HttpReply, { kind: 'answer' }>;
    return { status: answered.status, data: JSON.parse(answered.body.toString('utf8')) as Json };
  }
  const post = (act: string, body: Json = {}) => control('POST', act, body);

  test('plays the buyer and the platform, and shows the books', async () => {
    const body = order();
    const { data } = await create(body);
    const outTradeNo = body.out_trade_no;
    expect(await post('refund-delay', { ms: null })).toMatchObject({ status: 200 });
    expect(await post('buyer-scans', { out_trade_no: outTradeNo })).toMatchObject({ data: { status: 'NOTPAY' } });
    expect(await post('buyer-pays', { qr_code: data['code_url'], amount_fen: '8888' })).toMatchObject({ data: { status: 'SUCCESS', paid: '8888' } });
    await refund(outTradeNo, 100, 'R1');
    expect(await post('refund-becomes-abnormal', { out_refund_no: 'R1' })).toMatchObject({ data: { status: 'ABNORMAL' } });
    expect(await post('refund-settles', { out_refund_no: 'R1' })).toMatchObject({ data: { status: 'SUCCESS' } });
    expect(await post('refund-outside', { out_trade_no: outTradeNo, amount_fen: '5' })).toMatchObject({ data: { refunds: [{ amount: '100' }, { amount: '5' }] } });
    expect(await post('trade-state', { out_trade_no: outTradeNo, state: 'REVOKED' })).toMatchObject({ data: { forcedState: 'REVOKED' } });
    expect((await control('GET', 'orders')).data).toHaveLength(1);
    expect((await control('GET', `orders/${outTradeNo}`)).data).toMatchObject({ total: '8888' });
    expect(((await control('GET', 'events')).data as unknown as Json[]).map((event) => event['operation'] as string)).toEqual(['create', 'refund']);
    expect((await control('GET', 'notifications')).data).toHaveLength(1);
  });

  test('turns the platform\'s switches', async () => {
    for (const [act, body] of [
      ['sign-with', { mode: 'certificate-b' }],
      ['errors', { spelling: 'old', signed: false }],
      ['probes', { percent: 10 }],
      ['balance', { amount_fen: '1' }],
      ['faults', { operation: 'close', kind: 'rate-limit' }],
      ['notification-plan', { mode: 'forged', times: 1 }],
      ['bill-change', { day: '2026-03-01', kind: 'add', out_trade_no: 'P1', amount_fen: '1' }],
      ['clock', { advance_ms: 1 }],
    ] as const) expect([act, await post(act, body)]).toMatchObject([act, { status: 200 }]);
    const outTradeNo = await paid();
    expect(await close(outTradeNo)).toMatchObject({ status: 429, data: { code: 'FREQUENCY_LIMIT_EXCEED' } });
    expect(await close(outTradeNo)).toMatchObject({ data: { code: 'ORDERPAID' } });
    expect(await refund(outTradeNo, 2, 'R1')).toMatchObject({ data: { code: 'NOT_ENOUGH' } });
  });

  test('says in a sentence what cannot be done', async () => {
    expect(await post('buyer-pays', { out_trade_no: 'none' })).toEqual({ status: 409, data: { error: 'there is no order none' } });
    expect(await post('refund-settles', { out_refund_no: 'none' })).toEqual({ status: 409, data: { error: 'there is no refund none' } });
    expect(await post('refund-outside', { out_trade_no: await created(), amount_fen: '1' })).toMatchObject({ status: 409 });
    expect(await post('sign-with', { mode: 'blood' })).toMatchObject({ status: 409 });
    expect(await post('bill-change', { day: 'today', kind: 'drop', no: 'P1' })).toMatchObject({ status: 409 });
    expect(await post('redeliver', { id: 'none' })).toMatchObject({ status: 409 });
    expect(await post('dance')).toMatchObject({ status: 404 });
  });
});

describe('the state', () => {
  test('stays over a restart', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'wechatpay-simulator-'));
    const stateFile = join(folder, 'state.json');
    const at = Date.now();
    await restarted({ stateFile, refundSettlesAfterMs: 60_000, now: () => new Date(at) });
    const outTradeNo = await paid();
    await refund(outTradeNo, 100, 'R1');
    simulator.control.changeBill({ day: '2026-03-01', kind: 'add', outTradeNo: 'P1', amount: 1n });
    const before = simulator.keys;

    await simulator.stop();
    simulator = await startWechatPaySimulator({ stateFile, signWith: 'certificate-a', now: () => new Date(at + 60_000) });
    expect(simulator.keys).toEqual(before);
    expect((await query(outTradeNo)).data).toMatchObject({ trade_state: 'REFUND' });
    expect((await refundQuery('R1')).data).toMatchObject({ status: 'SUCCESS' });
    expect(simulator.control.getOrder(outTradeNo)).toMatchObject({ total: 8888n, refunds: [{ amount: 100n }] });
    rmSync(folder, { recursive: true });
  });
});

describe('the independent vectors', () => {
  const vector = (id: string): Texts => (vectors?.[id] ?? {}) as Texts;

  testVectors(vectors)('W1, a notification, verifies as the simulator signs, and no altered copy does', () => {
    const [certPem, timestamp, nonce, body, signature] = ['certPem', 'timestamp', 'nonce', 'body', 'signature'].map((name) => vector('W1')[name]!) as [
      string, string, string, string, string,
    ];
    const verify = (...parts: string[]) => signatureHolds(signedText(...parts), signature, certPem);
    expect(verify(timestamp, nonce, body)).toBe(true);
    expect(verify(timestamp, nonce, `${body} `)).toBe(false);
    expect(verify(timestamp, `${nonce}0`, body)).toBe(false);
    expect(verify('1624523847', nonce, body)).toBe(false);
    expect(new X509Certificate(certPem).serialNumber).toBe(vector('W1')['serial']);

    const resource = (JSON.parse(body) as Record<string, Texts>)['resource']!;
    const sealing = { key: vector('W1')['aesKey']!, nonce: resource['nonce']!, associatedData: resource['associated_data']! };
    expect(() => unseal(resource['ciphertext']!, sealing)).toThrow('32 bytes, not 16');
    const sealed = Buffer.from(resource['ciphertext']!, 'base64');
    const decipher = createDecipheriv('aes-128-gcm', sealing.key, sealing.nonce).setAAD(Buffer.from(sealing.associatedData)).setAuthTag(sealed.subarray(-16));
    expect(decipher.update(sealed.subarray(0, -16), undefined, 'utf8') + decipher.final('utf8')).toBe(vector('W1')['plaintext']);
  });

  testVectors(vectors)('W2, a text, verifies, and another does not', () => {
    const { message, signature, certPem } = vector('W2');
    expect(signatureHolds(Buffer.from(message!), signature!, certPem!)).toBe(true);
    expect(signatureHolds(Buffer.from(`${message!}\n`), signature!, certPem!)).toBe(false);
  });

  testVectors(vectors)('W4, a sealed text, is what the simulator seals and unseals', () => {
    const { key, nonce, aad, ciphertext, plaintext } = vector('W4');
    const sealing = { key: key!, nonce: nonce!, associatedData: aad! };
    expect(seal(plaintext!, sealing)).toBe(ciphertext);
    expect(unseal(ciphertext!, sealing)).toBe(plaintext);
    expect(() => unseal(ciphertext!, { ...sealing, associatedData: '' })).toThrow();
    expect(() => unseal(ciphertext!, { ...sealing, nonce: 'uluk4a9R25RX' })).toThrow();
    const bytes = Buffer.from(ciphertext!, 'base64');
    for (let at = 0; at < bytes.length; at += 1) {
      const flipped = Buffer.from(bytes);
      flipped[at]! ^= 1;
      expect(() => unseal(flipped.toString('base64'), sealing)).toThrow();
    }
  });
});
