/** Every row of the mapping for WeChat Pay, through the adapter's real client against a tiny platform that signs with its own key. */
import { createCipheriv, createHash, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import iconv from 'iconv-lite';
import type { NewOrder, NewRefund, PlatformAdapter } from '../../../src/payment/platform.js';
import { createWechatPayAdapter } from '../../../src/platform/wechatpay/adapter.js';
import { WechatPayClient } from '../../../src/platform/wechatpay/client.js';
import { wechatPaySettings } from '../../../src/platform/wechatpay/settings.js';
import { verifyBytes } from '../../../src/platform/rsa.js';
import { openResource } from '../../../src/platform/wechatpay/signature.js';
import { issueCertificate } from '../../../src/simulator/certificate.js';
import { nobody, startTinyPlatform, type Asked, type TinyPlatform, type Told } from '../../support/tiny-platform.js';
import { until } from '../../support/until.js';
import { testVectors, vectorsOf } from '../../support/vectors.js';

interface Oracle {
  readonly Rsa: { verify(message: string, signature: string, publicKey: string): boolean };
  readonly Formatter: { request(method: string, uri: string, timestamp: string, nonce: string, body: string): string };
}
const { Rsa, Formatter } = createRequire(import.meta.url)('wechatpay-axios-plugin') as Oracle;

const keys = () => generateKeyPairSync('rsa', { modulusLength: 2048, privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } });
const [ours, wechat, stranger, next] = [keys(), keys(), keys(), keys()];
const KEY_ID = 'PUB_KEY_ID_0114190000000100000001';
const V3_KEY = 'a'.repeat(32);
const AT = new Date('2026-01-01T00:00:00Z');
const SECONDS = `${AT.getTime() / 1000}`;
const call = () => ({ at: AT, signal: AbortSignal.timeout(5_000) });

let platform: TinyPlatform;
let adapter: PlatformAdapter;
beforeAll(async () => {
  platform = await startTinyPlatform();
  adapter = adapterAt(platform.url);
});
afterAll(async () => {
  await platform[Symbol.asyncDispose]();
});

const settingsAt = (url: string, change: object = {}) =>
  wechatPaySettings.parse({
    account: 'wechatpay',
    mchid: '1900000001',
    appid: 'wx0000000000000001',
    base_url: url,
    merchant_private_key: ours.privateKey,
    merchant_certificate_serial: 'ABCDEF0123456789',
    api_v3_key: V3_KEY,
    public_keys: { [KEY_ID]: wechat.publicKey },
    ...change,
  });
const adapterAt = (url: string, change: object = {}): PlatformAdapter => createWechatPayAdapter(settingsAt(url, change), 'https://pay.example/notifications/wechatpay/wechatpay');

interface Signing {
  readonly key?: string;
  readonly serial?: string;
  readonly at?: string;
}

function signatureHeaders(body: string, { key = wechat.privateKey, serial = KEY_ID, at = SECONDS }: Signing = {}): Record<string, string> {
  const signature = sign('RSA-SHA256', Buffer.from(`${at}\nnonce\n${body}\n`), key).toString('base64');
  return { 'wechatpay-timestamp': at, 'wechatpay-nonce': 'nonce', 'wechatpay-serial': serial, 'wechatpay-signature': signature };
}

function told(status: number, content: object | null, signing: Signing = {}): Told {
  const body = content === null ? '' : JSON.stringify(content);
  return { status, body, headers: signatureHeaders(body, signing) };
}
const refused = (status: number, code: string): Told => told(status, { code, message: `${code} 说明` });

const ORDER: NewOrder = {
  merchantOrderNo: 'P0001', platformOrderTime: '', subject: 'tea 茶', amount: { currency: 'CNY', minorUnits: 8_888n }, checkout: 'QR_CODE',
  expireAt: new Date('2026-01-01T02:00:00Z'), returnUrl: null, buyerId: 'o-buyer', buyerIp: '192.0.2.1',
};
const IDENTITY = { merchantOrderNo: 'P0001', platformOrderTime: '', platformTransactionId: null };
const REFUND: NewRefund = {
  order: IDENTITY, platformRefundNo: 'R0001', createdAt: AT, sentAt: AT, amount: { currency: 'CNY', minorUnits: 100n },
  paid: { currency: 'CNY', minorUnits: 8_888n }, paidAt: AT, reason: 'returned', attempt: 1,
};

/** The parts of the Authorization header. */
function authorizationOf({ headers }: Asked): Record<string, string> {
  const [scheme, list = ''] = headers.authorization!.split(' ');
  expect(scheme).toBe('WECHATPAY2-SHA256-RSA2048');
  return Object.fromEntries(list.split(',').map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 2, -1)]));
}

test.each<[string, () => Promise<unknown>]>([
  ['a POST', () => adapter.create({ ...ORDER, subject: 'a+b %41 "c" 茶' }, call())],
  ['a GET with a query', () => adapter.query(IDENTITY, call())],
])('an independent verifier accepts %s of the adapter, and nothing that was altered', async (_what, run) => {
  platform.answer = () => told(200, { code_url: 'weixin://x' });
  await run();
  const asked = platform.asked.at(-1)!;
  const { timestamp, nonce_str: nonce, signature, ...rest } = authorizationOf(asked);
  expect(rest).toEqual({ mchid: '1900000001', serial_no: 'ABCDEF0123456789' });
  expect(timestamp).toBe(SECONDS);
  expect(asked.headers['wechatpay-serial']).toBe(KEY_ID);
  const verifies = (change: Partial<Asked>): boolean => {
    const { method, path, body } = { ...asked, ...change };
    return Rsa.verify(Formatter.request(method, path, timestamp!, nonce!, body), signature!, ours.publicKey);
  };
  expect(verifies({})).toBe(true);
  for (const change of [{ method: 'PUT' }, { path: `${asked.path}x` }, { body: `${asked.body} ` }]) expect(verifies(change)).toBe(false);
});

test('what is sent is the order, and nothing that a repetition would change', async () => {
  platform.answer = () => told(200, { code_url: 'weixin://x' });
  await adapter.create(ORDER, call());
  await adapter.create(ORDER, { ...call(), at: new Date(AT.getTime() + 60_000) });
  expect(platform.asked.at(-1)!.body).toBe(platform.asked.at(-2)!.body);
  expect(JSON.parse(platform.asked.at(-1)!.body)).toEqual({
    appid: 'wx0000000000000001', mchid: '1900000001', description: 'tea 茶', out_trade_no: 'P0001', time_expire: '2026-01-01T10:00:00+08:00',
    notify_url: 'https://pay.example/notifications/wechatpay/wechatpay', amount: { total: 8888, currency: 'CNY' },
  });
});

test.each<[NewOrder['checkout'], string, object, object, object]>([
  ['QR_CODE', 'native', { code_url: 'weixin://x' }, {}, { form: 'QR_TEXT', value: 'weixin://x' }],
  ['WAP', 'h5', { h5_url: 'https://wx/x' }, { scene_info: { payer_client_ip: '192.0.2.1', h5_info: { type: 'Wap' } } }, { form: 'REDIRECT_URL', value: 'https://wx/x' }],
  ['JSAPI', 'jsapi', { prepay_id: 'wx1' }, { payer: { openid: 'o-buyer' } }, { form: 'APP_PARAMETERS' }],
  ['APP', 'app', { prepay_id: 'wx1' }, {}, { form: 'APP_PARAMETERS' }],
])('checkout %s goes by %s', async (checkout, way, answer, sent, value) => {
  platform.answer = () => told(200, answer);
  expect(await adapter.create({ ...ORDER, checkout }, call())).toMatchObject({ kind: 'ACCEPTED', value });
  expect(platform.asked.at(-1)).toMatchObject({ path: `/v3/pay/transactions/${way}` });
  expect(JSON.parse(platform.asked.at(-1)!.body)).toMatchObject(sent);
});

test('what a front end opens WeChat with is signed as it will be read', async () => {
  platform.answer = () => told(200, { prepay_id: 'wx1' });
  const parametersOf = async (checkout: 'JSAPI' | 'APP') => {
    const outcome = await adapter.create({ ...ORDER, checkout }, call());
    return JSON.parse((outcome as { value: { value: string } }).value.value) as Record<string, string>;
  };
  const jsapi = await parametersOf('JSAPI');
  expect(jsapi).toMatchObject({ appId: 'wx0000000000000001', package: 'prepay_id=wx1', signType: 'RSA' });
  expect(Rsa.verify(`${jsapi['appId']}\n${jsapi['timeStamp']}\n${jsapi['nonceStr']}\nprepay_id=wx1\n`, jsapi['paySign']!, ours.publicKey)).toBe(true);
  const app = await parametersOf('APP');
  expect(app).toMatchObject({ partnerid: '1900000001', prepayid: 'wx1', package: 'Sign=WXPay' });
  expect(Rsa.verify(`${app['appid']}\n${app['timestamp']}\n${app['noncestr']}\nwx1\n`, app['sign']!, ours.publicKey)).toBe(true);
});

test('nothing is sent where nobody listens; then the other host is tried', async () => {
  const gone = await nobody();
  expect(await adapterAt(gone).create(ORDER, call())).toMatchObject({ kind: 'UNREACHABLE', code: 'ECONNREFUSED' });
  expect(await adapterAt(gone).refund(REFUND, call())).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true });
  platform.answer = () => told(200, { code_url: 'weixin://x' });
  expect(await adapterAt(gone, { backup_url: platform.url }).create(ORDER, call())).toMatchObject({ kind: 'ACCEPTED' });
});

test('a host that has answered anything is not left for the other one', async () => {
  await using other = await startTinyPlatform();
  platform.answer = () => 'cut';
  expect(await adapterAt(platform.url, { backup_url: other.url }).create(ORDER, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(other.asked).toEqual([]);
});

const GOOD = { code_url: 'weixin://x', status: 'SUCCESS', out_refund_no: 'R0001', out_trade_no: 'P0001', trade_state: 'SUCCESS' };
const twice = (name: string): Told => {
  const body = JSON.stringify(GOOD);
  const headers = signatureHeaders(body);
  return { body, headers: { ...headers, [name]: [headers[name]!, headers[name]!] } };
};
const doubts: [string, () => Told][] = [
  ['no answer', () => 'cut'],
  ['HTTP 500', () => ({ status: 500, body: 'x' })],
  ['HTTP 302', () => ({ status: 302, headers: { location: '/' } })],
  ['HTML', () => ({ body: '<html></html>' })],
  ['a body cut short', () => ({ body: JSON.stringify(GOOD).slice(0, 30), headers: signatureHeaders(JSON.stringify(GOOD)) })],
  ["a stranger's signature", () => told(200, GOOD, { key: stranger.privateKey })],
  ['a serial number nobody knows', () => told(200, GOOD, { serial: '0123456789ABCDEF' })],
  ['a signature of six minutes ago', () => told(200, GOOD, { at: `${AT.getTime() / 1000 - 360}` })],
  ['a signature of the future', () => told(200, GOOD, { at: `${AT.getTime() / 1000 + 360}` })],
  ['a time that is none', () => told(200, GOOD, { at: 'now' })],
  ['no signature', () => ({ body: JSON.stringify(GOOD) })],
  ['its signature twice', () => twice('wechatpay-signature')],
  ['its serial number twice', () => twice('wechatpay-serial')],
  ['another kind of signature', () => ({ body: JSON.stringify(GOOD), headers: { ...signatureHeaders(JSON.stringify(GOOD)), 'wechatpay-signature-type': 'WECHATPAY2-SM2' } })],
  ['a signature probe', () => ({ body: JSON.stringify(GOOD), headers: { ...signatureHeaders(JSON.stringify(GOOD)), 'wechatpay-signature': 'WECHATPAY/SIGNTEST/abc' } })],
  ['an unsigned refusal', () => ({ status: 404, body: '{"code":"ORDER_NOT_EXIST","message":"x"}' })],
  ['an unsigned 401', () => ({ status: 401, body: '{"code":"SIGN_ERROR","message":"x"}' })],
  ['SYSTEM_ERROR', () => refused(500, 'SYSTEM_ERROR')],
  ['BANKERROR', () => refused(500, 'BANKERROR')],
  ['502', () => refused(502, 'WHATEVER')],
  ['a refusal nobody knows', () => refused(400, 'SOMETHING_NEW')],
];
test.each(doubts)('%s leaves every mutating call in doubt and every query without evidence', async (_what, answer) => {
  platform.answer = answer;
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.close(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.refund(REFUND, call())).toMatchObject({ status: 'UNKNOWN', retry: 'SAME_NUMBER', notExecuted: false });
  expect(await adapter.queryRefund(REFUND, call())).toMatchObject({ status: 'UNCHANGED' });
});

test.each([
  [429, 'FREQUENCY_LIMITED', 'RATE_LIMITED'],
  [403, 'FREQUENCY_LIMIT_EXCEED', 'RATE_LIMITED'],
  [429, 'RATELIMIT_EXCEEDED', 'RATE_LIMITED'],
  [400, 'PARAM_ERROR', 'MISCONFIGURED'],
  [401, 'SIGN_ERROR', 'MISCONFIGURED'],
  [403, 'NO_AUTH', 'MISCONFIGURED'],
  [403, 'NOAUTH', 'MISCONFIGURED'],
  [400, 'MCH_NOT_EXISTS', 'MISCONFIGURED'],
  [404, 'MCH_NOT_EXISTS', 'MISCONFIGURED'],
  [400, 'APPID_MCHID_NOT_MATCH', 'MISCONFIGURED'],
  [400, 'OPENID_MISMATCH', 'MISCONFIGURED'],
  [400, 'INVALID_TRANSACTIONID', 'MISCONFIGURED'],
])('HTTP %d %s is %s: not executed', async (status, code, kind) => {
  platform.answer = () => refused(status, code);
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind, code });
  expect(await adapter.close(IDENTITY, call())).toMatchObject({ kind });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind });
  expect(await adapter.refund(REFUND, call())).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true });
});

test.each<[string, () => Told, boolean]>([
  ['a refusal', () => refused(400, 'SOMETHING_NEW'), true],
  ['a doubt of the platform', () => refused(500, 'SYSTEM_ERROR'), false],
  ['an acceptance without an outcome', () => refused(202, 'ACCEPTED'), false],
])('%s that stands in no table is a word without a mapping, and only that', async (_what, answer, unmapped) => {
  platform.answer = answer;
  for (const outcome of [await adapter.create(ORDER, call()), await adapter.close(IDENTITY, call()), await adapter.refund(REFUND, call())]) {
    expect((outcome as { unmapped?: boolean }).unmapped ?? false).toBe(unmapped);
  }
});

test.each(['USERPAYING', 'ACCEPTED'])('HTTP 202 %s is under way: neither placed, closed nor refunded', async (code) => {
  platform.answer = () => refused(202, code);
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind: 'UNKNOWN', code });
  expect(await adapter.close(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED', value: { evidence: { class: 'IN_PROGRESS', word: code } } });
  expect(await adapter.refund(REFUND, call())).toMatchObject({ status: 'UNKNOWN', retry: 'SAME_NUMBER', notExecuted: false });
  expect(await adapter.queryRefund(REFUND, call())).toMatchObject({ status: 'UNCHANGED' });
});

/** A refusal, and what a query says right after it. */
const then = (first: Told, asked: Told) => {
  let calls = 0;
  return (): Told => (++calls === 1 ? first : asked);
};
const ABSENT = refused(404, 'ORDER_NOT_EXIST');
const NO_REFUND = refused(404, 'RESOURCE_NOT_EXISTS');

test.each([
  ['ORDERPAID', 'QUERY'],
  ['ORDER_PAID', 'QUERY'],
  ['ORDER_CLOSED', 'QUERY'],
  ['TRADE_ERROR', 'QUERY'],
  ['INVALID_REQUEST', 'QUERY'],
  ['OUT_TRADE_NO_USED', 'CONFLICT'],
  ['ORDERCLOSED', 'QUERY'],
  ['NOTENOUGH', 'FINAL'],
  ['ACCOUNT_ERROR', 'FINAL'],
  ['ACCOUNTERROR', 'FINAL'],
  ['RULE_LIMIT', 'FINAL'],
  ['RULELIMIT', 'FINAL'],
  ['REQUEST_BLOCKED', 'FINAL'],
])('creation refused with %s is %s, and final only where a query finds no order', async (code, meaning) => {
  platform.answer = then(refused(403, code), ABSENT);
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind: 'REJECTED', meaning, code });
  platform.answer = then(refused(403, code), told(200, { out_trade_no: 'P0001', trade_state: 'NOTPAY' }));
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind: 'REJECTED', meaning: meaning === 'FINAL' ? 'QUERY' : meaning });
});

test.each<[string, Told, object]>([
  ['204', told(204, null), { kind: 'ACCEPTED', value: { result: 'CLOSED' } }],
  ['an unsigned 204', { status: 204 }, { kind: 'UNKNOWN' }],
  ['ORDERPAID', refused(400, 'ORDERPAID'), { kind: 'REJECTED', meaning: 'QUERY' }],
  ['ORDER_CLOSED', refused(400, 'ORDER_CLOSED'), { kind: 'REJECTED', meaning: 'QUERY' }],
  ['TRADE_ERROR', refused(403, 'TRADE_ERROR'), { kind: 'REJECTED', meaning: 'QUERY' }],
  ['INVALID_REQUEST', refused(400, 'INVALID_REQUEST'), { kind: 'REJECTED', meaning: 'QUERY' }],
  ['ORDER_NOT_EXIST', ABSENT, { kind: 'ACCEPTED', value: { result: 'NOT_CLOSABLE_YET' } }],
])('closing answered with %s', async (_what, answer, outcome) => {
  platform.answer = () => answer;
  expect(await adapter.close(IDENTITY, call())).toMatchObject(outcome);
});

const order = { appid: 'wx0000000000000001', mchid: '1900000001', out_trade_no: 'P0001' };
const PAID_AT = new Date('2026-01-01T00:05:00Z');
const paidFields = { transaction_id: 'T1', success_time: '2026-01-01T08:05:00+08:00', amount: { total: 8888, payer_total: 8800, currency: 'CNY' } };
const paid = { class: 'PAID', at: PAID_AT, amount: { currency: 'CNY', minorUnits: 8_888n }, transactionId: 'T1', merchantAccount: 'wechatpay', refundedTotal: null, refundable: true };
const trades: [string, object, object][] = [
  ['NOTPAY', { trade_state: 'NOTPAY' }, { class: 'AWAITING_BUYER', at: AT }],
  ['USERPAYING', { trade_state: 'USERPAYING' }, { class: 'IN_PROGRESS' }],
  ['ACCEPTED', { trade_state: 'ACCEPTED' }, { class: 'IN_PROGRESS' }],
  ['SUCCESS', { trade_state: 'SUCCESS', ...paidFields }, paid],
  ['REFUND', { trade_state: 'REFUND', ...paidFields }, paid],
  ['CLOSED', { trade_state: 'CLOSED' }, { class: 'NEGATIVE_FINAL', status: 'CLOSED' }],
  ['REVOKED', { trade_state: 'REVOKED' }, { class: 'NEGATIVE_FINAL', status: 'CANCELED' }],
  ['PAYERROR', { trade_state: 'PAYERROR' }, { class: 'NEGATIVE_FINAL', status: 'FAILED' }],
  ['a word nobody knows', { trade_state: 'ODD' }, { class: 'UNMAPPED', word: 'ODD' }],
  ['no word at all', {}, { class: 'UNMAPPED' }],
  ['paid, another merchant', { trade_state: 'SUCCESS', ...paidFields, mchid: '1900000009' }, { class: 'PAID', merchantAccount: '1900000009/wx0000000000000001' }],
  ['paid, another application', { trade_state: 'SUCCESS', ...paidFields, appid: 'wx9' }, { class: 'PAID', merchantAccount: '1900000001/wx9' }],
  ['paid in dollars', { trade_state: 'SUCCESS', ...paidFields, amount: { total: 8888, currency: 'USD' } }, { class: 'PAID', amount: { currency: 'USD' } }],
  ['paid, half a fen', { trade_state: 'SUCCESS', ...paidFields, amount: { total: 88.5, currency: 'CNY' } }, { class: 'MONEY_UNCLEAR' }],
  ['paid, an amount as text', { trade_state: 'SUCCESS', ...paidFields, amount: { total: '8888', currency: 'CNY' } }, { class: 'MONEY_UNCLEAR' }],
  ['paid, without an amount', { trade_state: 'SUCCESS', ...paidFields, amount: undefined }, { class: 'MONEY_UNCLEAR' }],
  ['paid, more than a number holds', { trade_state: 'SUCCESS', ...paidFields, amount: { total: 2 ** 60, currency: 'CNY' } }, { class: 'MONEY_UNCLEAR' }],
  ['paid, without a number', { trade_state: 'SUCCESS', ...paidFields, transaction_id: '' }, { class: 'MONEY_UNCLEAR' }],
];
test.each(trades)('a query that says %s', async (_what, fields, evidence) => {
  platform.answer = () => told(200, { ...order, ...fields });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED', value: { evidence } });
});

test.each(['ORDER_NOT_EXIST', 'ORDERNOTEXIST'])('a query that does not find the order (%s) says so; one about another order says nothing', async (code) => {
  platform.answer = () => refused(404, code);
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED', value: { evidence: { class: 'NOT_FOUND', at: AT } } });
  platform.answer = () => told(200, { ...order, out_trade_no: 'P0002', trade_state: 'SUCCESS', ...paidFields });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'OTHER_ORDER' });
});

const refundNode = (status: string, more: object = {}) => ({ refund_id: 'F1', out_refund_no: 'R0001', status, amount: { refund: 100, total: 8888, currency: 'CNY' }, ...more });
const refundWords: [string, object, object][] = [
  ['PROCESSING', {}, { status: 'SUBMITTED', retry: null, platformRefundId: 'F1' }],
  ['SUCCESS', { success_time: '2026-01-01T08:05:00+08:00' }, { status: 'SUCCEEDED', amount: 100n, at: PAID_AT }],
  ['CLOSED', {}, { status: 'FAILED', retry: 'NEW_NUMBER' }],
  ['ABNORMAL', {}, { status: 'ABNORMAL', retry: null }],
  ['ODD', {}, { status: 'UNKNOWN', unmapped: true }],
  ['SUCCESS', { amount: { total: 8888 } }, { status: 'UNKNOWN', amount: null, unmapped: true }],
  ['SUCCESS', { amount: { refund: 99.5, total: 8888 } }, { status: 'UNKNOWN', amount: null, unmapped: true }],
];
test.each(refundWords)('a refund that is %s, as answer and by query', async (status, more, report) => {
  platform.answer = () => told(200, refundNode(status, more));
  expect(await adapter.refund(REFUND, call())).toMatchObject(report);
  expect(JSON.parse(platform.asked.at(-1)!.body)).toEqual({
    out_trade_no: 'P0001', out_refund_no: 'R0001', reason: 'returned', notify_url: 'https://pay.example/notifications/wechatpay/wechatpay', amount: { refund: 100, total: 8888, currency: 'CNY' },
  });
  expect(await adapter.queryRefund(REFUND, call())).toMatchObject(report);
  platform.answer = () => told(200, refundNode(status, { ...more, out_refund_no: 'R0002' }));
  expect(await adapter.queryRefund(REFUND, call())).toMatchObject({ status: 'UNKNOWN', word: 'OTHER_REFUND' });
});

const DOUBT = { status: 'UNKNOWN', retry: 'SAME_NUMBER' };
const FAILED = { status: 'FAILED', retry: 'NEW_NUMBER', confirmed: true };
test.each<[string, Told, Told, object]>([
  ['NOT_ENOUGH', refused(403, 'NOT_ENOUGH'), NO_REFUND, { status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true }],
  ['INVALID_REQUEST, and a query finds none', refused(400, 'INVALID_REQUEST'), NO_REFUND, FAILED],
  ['INVALID_REQUEST, and a query finds it', refused(400, 'INVALID_REQUEST'), told(200, refundNode('SUCCESS')), { status: 'SUCCEEDED', amount: 100n }],
  ['INVALID_REQUEST, and a query fails', refused(400, 'INVALID_REQUEST'), 'cut', DOUBT],
  ['TRADE_ERROR, and a query finds none', refused(403, 'TRADE_ERROR'), NO_REFUND, FAILED],
  ['RULE_LIMIT, and a query finds none', refused(403, 'RULE_LIMIT'), NO_REFUND, FAILED],
  ['REQUEST_BLOCKED, and a query finds none', refused(403, 'REQUEST_BLOCKED'), NO_REFUND, FAILED],
  ['USER_ACCOUNT_ABNORMAL, and a query finds none', refused(403, 'USER_ACCOUNT_ABNORMAL'), NO_REFUND, FAILED],
  ['ACCOUNT_ERROR, and a query finds none', refused(403, 'ACCOUNT_ERROR'), NO_REFUND, FAILED],
  ['ACCOUNTERROR, and a query finds none', refused(403, 'ACCOUNTERROR'), NO_REFUND, FAILED],
  ['TRADE_ERROR, and a query finds it under way', refused(403, 'TRADE_ERROR'), told(200, refundNode('PROCESSING')), { status: 'SUBMITTED' }],
  ['a code nobody knows', refused(403, 'SOMETHING_NEW'), NO_REFUND, { ...DOUBT, unmapped: true }],
  ['RESOURCE_NOT_EXISTS, and there is no order', NO_REFUND, ABSENT, FAILED],
  ['RESOURCE_NOT_EXISTS, and there is an order', NO_REFUND, told(200, { ...order, trade_state: 'SUCCESS', ...paidFields }), DOUBT],
])('a refund refused with %s', async (_what, first, asked, report) => {
  platform.answer = then(first, asked);
  expect(await adapter.refund(REFUND, call())).toMatchObject(report);
});

test('a refund query that finds none: the same number again', async () => {
  platform.answer = () => NO_REFUND;
  expect(await adapter.queryRefund(REFUND, call())).toMatchObject(DOUBT);
});

const JSON_TYPE = { 'content-type': 'application/json' };

/** A delivery as the platform makes it. */
function delivery(event: string, content: object, { signing = {}, envelope = {}, key = V3_KEY, aad = 'transaction' }: { signing?: Signing; envelope?: object; key?: string; aad?: string | undefined } = {}) {
  const cipher = createCipheriv('aes-256-gcm', key, '0123456789ab', { authTagLength: 16 });
  if (aad !== undefined) cipher.setAAD(Buffer.from(aad));
  const sealed = Buffer.concat([cipher.update(JSON.stringify(content)), cipher.final(), cipher.getAuthTag()]).toString('base64');
  const resource = { original_type: 'transaction', algorithm: 'AEAD_AES_256_GCM', ciphertext: sealed, nonce: '0123456789ab', ...(aad === undefined ? {} : { associated_data: aad }) };
  const body = JSON.stringify({ id: 'N1', event_type: event, resource_type: 'encrypt-resource', resource, ...envelope });
  return { headers: { ...JSON_TYPE, ...signatureHeaders(body, signing) }, body: Buffer.from(body), receivedAt: AT };
}
const success = { ...order, trade_state: 'SUCCESS', ...paidFields };

test.each([
  ['associated data', 'transaction'],
  ['empty associated data', ''],
  ['none', undefined],
])('a genuine notification of a payment, with %s', (_what, aad) => {
  expect(adapter.readNotification(delivery('TRANSACTION.SUCCESS', success, { aad }))).toMatchObject({
    verified: true, notificationId: 'N1', order: { merchantOrderNo: 'P0001', platformTransactionId: 'T1' }, evidence: paid, refund: null,
  });
});

test.each(refundWords.filter(([status, more]) => status !== 'PROCESSING' && !('amount' in more)))('a genuine notification of a refund that is %s', (status, more, report) => {
  const content = { mchid: '1900000001', out_trade_no: 'P0001', transaction_id: 'T1', refund_id: 'F1', out_refund_no: 'R0001', refund_status: status, amount: { total: 8888, refund: 100 }, ...more };
  expect(adapter.readNotification(delivery(`REFUND.${status}`, content))).toMatchObject({ verified: true, evidence: null, refund: { platformRefundNo: 'R0001', report } });
});

test.each<[string, ReturnType<typeof delivery>, string, string | null]>([
  ["a stranger's signature", delivery('TRANSACTION.SUCCESS', success, { signing: { key: stranger.privateKey } }), 'the signature does not verify', 'P0001'],
  ['an old time', delivery('TRANSACTION.SUCCESS', success, { signing: { at: `${AT.getTime() / 1000 - 301}` } }), 'it was not signed about now', 'P0001'],
  ['a serial number nobody knows', delivery('TRANSACTION.SUCCESS', success, { signing: { serial: 'FF00' } }), 'the signing key is not known', 'P0001'],
  ['no headers', { ...delivery('TRANSACTION.SUCCESS', success), headers: JSON_TYPE }, 'a signature header is missing', 'P0001'],
  ['the type of a form', { ...delivery('TRANSACTION.SUCCESS', success), headers: { 'content-type': 'application/x-www-form-urlencoded' } }, 'its content-type is not application/json', 'P0001'],
  ['another key of encryption', delivery('TRANSACTION.SUCCESS', success, { key: 'b'.repeat(32) }), 'the resource cannot be decrypted', null],
  ['another algorithm', delivery('TRANSACTION.SUCCESS', success, { envelope: { resource: { algorithm: 'NONE', ciphertext: 'x', nonce: 'y' } } }), 'the resource cannot be decrypted', null],
  ['another merchant', delivery('TRANSACTION.SUCCESS', { ...success, mchid: '1900000009' }), 'it is for another mchid', 'P0001'],
  ['no id', delivery('TRANSACTION.SUCCESS', success, { envelope: { id: '' } }), 'id or out_trade_no is missing', 'P0001'],
  ['another kind of event', delivery('COUPON.USE', success), 'COUPON.USE is not about a payment or a refund', 'P0001'],
])('a notification with %s is not believed', (_what, given, why, claimedOrderNo) => {
  platform.answer = () => ({ status: 404 });
  const reading = adapter.readNotification(given);
  expect(reading).toMatchObject({ verified: false, why });
  expect(reading.verified || reading.claimedOrderNo()).toBe(claimedOrderNo);
});

test('no single changed byte of a genuine notification is believed, in body or headers', () => {
  const genuine = delivery('TRANSACTION.SUCCESS', success);
  for (let index = 0; index < genuine.body.length; index += 1) {
    const body = Buffer.from(genuine.body);
    body[index]! ^= 1;
    expect(adapter.readNotification({ ...genuine, body }).verified).toBe(false);
  }
  for (const [name, value] of Object.entries(genuine.headers)) {
    for (let index = 0; index < value.length; index += 1) {
      const changed = value.slice(0, index) + (value[index] === 'x' ? 'y' : 'x') + value.slice(index + 1);
      expect(adapter.readNotification({ ...genuine, headers: { ...genuine.headers, [name]: changed } }).verified).toBe(false);
    }
  }
});

describe('keys', () => {
  const certificate = (pair: { publicKey: string; privateKey: string }, serial: bigint): string =>
    issueCertificate({ subject: { commonName: 'Tenpay.com sign certificate' }, publicKeyPem: pair.publicKey, privateKeyPem: pair.privateKey, serial, notBefore: new Date('2025-01-01'), notAfter: new Date('2030-01-01') });
  const [first, second] = [certificate(wechat, 0xa1a1a1a1n), certificate(next, 0xb2b2b2b2n)];
  const sealed = (pem: string) => {
    const cipher = createCipheriv('aes-256-gcm', V3_KEY, '0123456789ab', { authTagLength: 16 });
    cipher.setAAD(Buffer.from('certificate'));
    const ciphertext = Buffer.concat([cipher.update(pem), cipher.final(), cipher.getAuthTag()]).toString('base64');
    return { serial_no: new X509Certificate(pem).serialNumber, encrypt_certificate: { algorithm: 'AEAD_AES_256_GCM', nonce: '0123456789ab', associated_data: 'certificate', ciphertext } };
  };
  const byFirst = { serial: 'A1A1A1A1' };
  const bySecond = { key: next.privateKey, serial: 'B2B2B2B2' };
  const notpay = { ...order, trade_state: 'NOTPAY' };
  const fetches = (): number => platform.asked.filter(({ path }) => path === '/v3/certificates').length;

  test('without any, the certificates are fetched before the first call', async () => {
    const bare = adapterAt(platform.url, { public_keys: {} });
    platform.answer = ({ path }) => told(200, path === '/v3/certificates' ? { data: [sealed(first)] } : notpay, byFirst);
    expect(await bare.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED' });
    expect(platform.asked.at(-1)!.headers['wechatpay-serial']).toBeUndefined();
  });

  test('a new serial number is looked up once a minute, and believed only when the platform has it', async () => {
    const rotating = adapterAt(platform.url, { public_keys: {}, platform_certificates: first });
    platform.answer = ({ path }) => (path === '/v3/certificates' ? { status: 404 } : told(200, notpay, bySecond));
    const before = fetches();
    expect(await rotating.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'UNKNOWN_SERIAL' });
    expect(await rotating.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'UNKNOWN_SERIAL' });
    expect(fetches() - before).toBe(1);

    const later = new Date(AT.getTime() + 61_000);
    const at = `${later.getTime() / 1000}`;
    platform.answer = ({ path }) => told(200, path === '/v3/certificates' ? { data: [sealed(first), sealed(second)] } : notpay, path === '/v3/certificates' ? { ...byFirst, at } : { ...bySecond, at });
    expect(await rotating.query(IDENTITY, { ...call(), at: later })).toMatchObject({ kind: 'ACCEPTED' });
    const answers = { first: told(200, notpay, { ...byFirst, at }), second: told(200, notpay, { ...bySecond, at }) };
    for (const answer of [answers.first, answers.second, answers.first]) {
      platform.answer = () => answer;
      expect(await rotating.query(IDENTITY, { ...call(), at: later })).toMatchObject({ kind: 'ACCEPTED' });
    }
  });

  test('a list that a stranger has signed, or sealed with another key, teaches nothing', async () => {
    for (const list of [told(200, { data: [sealed(second)] }, { key: stranger.privateKey, serial: 'B2B2B2B2' }), told(200, { data: [] }, bySecond)]) {
      const rotating = adapterAt(platform.url, { public_keys: {}, platform_certificates: first });
      platform.answer = ({ path }) => (path === '/v3/certificates' ? list : told(200, notpay, bySecond));
      expect(await rotating.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'UNKNOWN_SERIAL' });
    }
  });

  test('a notification with an unknown serial number has it looked up, and verifies when it comes again', async () => {
    const rotating = adapterAt(platform.url, { public_keys: {}, platform_certificates: first });
    platform.answer = () => told(200, { data: [sealed(second)] }, byFirst);
    const given = delivery('TRANSACTION.SUCCESS', success, { signing: bySecond });
    expect(rotating.readNotification(given).verified).toBe(false);
    await until(() => rotating.readNotification(given).verified);
  });

  test('public key and certificate verify side by side', async () => {
    const both = adapterAt(platform.url, { platform_certificates: second });
    for (const signing of [{}, bySecond]) {
      platform.answer = () => told(200, notpay, signing);
      expect(await both.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED' });
    }
  });
});

const vectors = vectorsOf('wechatpay');

testVectors(vectors)('W1: a notification of the platform\'s own SDK is proven by its certificate, and no altered copy is', () => {
  const { certPem, serial, timestamp, nonce, body, signature } = vectors!['W1'] as Record<string, string>;
  const client = new WechatPayClient(settingsAt('http://127.0.0.1', { platform_certificates: certPem }));
  const at = new Date(Number(timestamp) * 1000);
  const headers: Record<string, string> = { 'wechatpay-timestamp': timestamp!, 'wechatpay-nonce': nonce!, 'wechatpay-signature': signature!, 'wechatpay-serial': serial! };
  const why = (change: Record<string, string>, text = body!): string | null => client.whyUnproven((name) => ({ ...headers, ...change })[name] ?? '', Buffer.from(text), at);
  expect(why({})).toBeNull();
  expect(why({}, `${body} `)).toBe('BAD_SIGNATURE');
  expect(why({ 'wechatpay-nonce': `${nonce}x` })).toBe('BAD_SIGNATURE');
  expect(why({ 'wechatpay-timestamp': `${Number(timestamp) + 1}` })).toBe('BAD_SIGNATURE');
  expect(why({ 'wechatpay-signature': `${signature!.slice(0, -4)}AAA=` })).toBe('BAD_SIGNATURE');
});

testVectors(vectors)('W1: a key of 16 bytes opens nothing here, and with the time of today it is old', () => {
  const { certPem, serial, timestamp, nonce, body, signature, aesKey } = vectors!['W1'] as Record<string, string>;
  const { resource } = JSON.parse(body!) as { resource: Parameters<typeof openResource>[0] };
  expect(aesKey).toHaveLength(16);
  expect(openResource(resource, aesKey!)).toBeNull();
  const client = new WechatPayClient(settingsAt('http://127.0.0.1', { platform_certificates: certPem }));
  const headers: Record<string, string> = { 'wechatpay-timestamp': timestamp!, 'wechatpay-nonce': nonce!, 'wechatpay-signature': signature!, 'wechatpay-serial': serial! };
  expect(client.whyUnproven((name) => headers[name] ?? '', Buffer.from(body!), AT)).toBe('STALE_SIGNATURE');
});

testVectors(vectors)('W2: the bare signature, and no altered copy', () => {
  const { certPem, message, signature } = vectors!['W2'] as Record<string, string>;
  const key = new X509Certificate(certPem!).publicKey;
  expect([verifyBytes(message!, signature!, key), Rsa.verify(message!, signature!, certPem!)]).toEqual([true, true]);
  expect(verifyBytes(`${message} `, signature!, key)).toBe(false);
  expect(verifyBytes(message!, `${signature!.slice(0, -4)}AAA=`, key)).toBe(false);
});

testVectors(vectors)('W4: an encrypted text opens, and no altered copy does', () => {
  const { key, nonce, aad, ciphertext, plaintext } = vectors!['W4'] as Record<string, string>;
  const resource = { algorithm: 'AEAD_AES_256_GCM', ciphertext: ciphertext!, nonce: nonce!, associated_data: aad! };
  expect(openResource(resource, key!)).toBe(plaintext);
  const raw = Buffer.from(ciphertext!, 'base64');
  for (let index = 0; index < raw.length; index += 1) {
    const altered = Buffer.from(raw);
    altered[index]! ^= 1;
    expect(openResource({ ...resource, ciphertext: altered.toString('base64') }, key!)).toBeNull();
  }
  expect(openResource({ ...resource, associated_data: '' }, key!)).toBeNull();
  expect(openResource({ ...resource, nonce: `${nonce!.slice(0, -1)}${nonce!.endsWith('x') ? 'y' : 'x'}` }, key!)).toBeNull();
  expect(openResource(resource, key!.slice(0, 16))).toBeNull();
});

describe('the bill', () => {
  const HEADER = '交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注';
  const row = (cells: Record<string, string>): string => HEADER.split(',').map((name) => `\`${cells[name] ?? ''}`).join(',');
  const PAY = { 交易时间: '2026-01-01 08:05:00', 微信订单号: 'T1', 商户订单号: 'P0001', 交易状态: 'SUCCESS', 订单金额: '88.88', 手续费: '0.53000', 退款金额: '0.00', 申请退款金额: '0.00', 商品名称: 'tea, green' };
  const BACK = { ...PAY, 交易状态: 'REFUND', 微信退款单号: 'F1', 商户退款单号: 'R0001', 退款状态: 'SUCCESS', 退款金额: '1.00', 申请退款金额: '1.00', 手续费: '-0.01000' };
  const bill = (rows: string[], count = rows.length): string =>
    `\uFEFF${[HEADER, ...rows, '总交易单数,应结订单总金额', `\`${count},\`0.00`].join('\r\n')}\r\n`;

  async function rowsOf(file: Buffer | string, hashed = file, download = gzipSync(file)): Promise<unknown> {
    platform.answer = ({ path }) =>
      path.startsWith('/v3/bill/') ? told(200, { hash_type: 'SHA1', hash_value: createHash('sha1').update(hashed).digest('hex'), download_url: `${platform.url}/v3/billdownload/file?token=x` }) : { body: download };
    const outcome = await adapter.downloadBill('2026-01-01', call());
    if (outcome.kind !== 'ACCEPTED' || outcome.value === null) return outcome;
    await using opened = outcome.value;
    const rows: unknown[] = [];
    try {
      for await (const one of opened.rows) rows.push(one);
    } catch (error) {
      return { rows: rows.length, error: (error as Error).message };
    }
    return rows;
  }

  test('payments and refunds, amounts in fen, the download signed by us and proven by its hash', async () => {
    expect(await rowsOf(bill([row(PAY), row(BACK), row({ ...BACK, 退款状态: 'PROCESSING' }), row({ ...BACK, 退款状态: 'FAIL' })]))).toMatchObject([
      { kind: 'PAYMENT', merchantOrderNo: 'P0001', platformTransactionId: 'T1', amount: { minorUnits: 8_888n }, fee: 53n, at: PAID_AT, state: 'DONE' },
      { kind: 'REFUND', platformRefundNo: 'R0001', platformRefundId: 'F1', amount: { minorUnits: 100n }, fee: -1n, state: 'DONE' },
      { state: 'OPEN' },
      { state: 'FAILED' },
    ]);
    expect(authorizationOf(platform.asked.at(-1)!)).toMatchObject({ mchid: '1900000001' });
  });

  test.each<[string, Buffer | string, unknown]>([
    ['that ends in the middle', bill([row(PAY)]).split('总交易单数')[0]!, { error: 'the bill ends in the middle' }],
    ['with a line twice', bill([row(PAY), row(PAY)], 1), { error: 'the bill has 2 rows, its summary says 1' }],
    ['whose summary comes twice', `${bill([row(PAY)])}总交易单数,应结订单总金额\r\n\`1,\`0.00\r\n`, { rows: 1, error: 'the bill goes on after its summary' }],
    ['that goes on after its summary', `${bill([row(PAY)])}${row(PAY)}\r\n`, { rows: 1, error: 'the bill goes on after its summary' }],
    ['whose summary is cut', bill([row(PAY)]).split('`1,')[0]!, { rows: 1, error: 'the bill ends in the middle' }],
    ['with a line that never ends', `${bill([]).split('\r\n')[0]}\r\n${'`1,'.repeat(50_000)}`, { error: 'a line is too long' }],
    ['in GBK', iconv.encode(bill([row(PAY)]).slice(1), 'gbk'), { error: 'the bill is not in utf-8' }],
    ['in another encoding', Buffer.from([0xef, 0xbb, 0xbf, 0xbd, 0xbb, 0xd2, 0xd7, 0x0a]), { error: 'the bill is not in utf-8' }],
    ['without its columns', 'a,b,c\r\n', { error: expect.stringContaining('lacks the columns 交易时间') as unknown }],
    ['with an amount that is none', bill([row({ ...PAY, 订单金额: '8e3' })]), { error: '"8e3" is no amount' }],
    ['with parts of a fen', bill([row({ ...PAY, 订单金额: '8.881' })]), { error: '"8.881" is no amount' }],
    ['with a state nobody knows', bill([row({ ...PAY, 交易状态: 'ODD' })]), { error: '"ODD" is no state of a trade' }],
  ])('one %s is not believed', async (_what, file, finding) => {
    expect(await rowsOf(file)).toMatchObject(finding as object);
  });

  test.each(['', 'no address', 'http://169.254.169.254/latest', 'https://api.mch.weixin.qq.com.example/x'])(
    'what we sign goes to the hosts of the platform only: %j',
    async (address) => {
      const before = platform.asked.length;
      platform.answer = () => told(200, { hash_type: 'SHA1', hash_value: '', download_url: address });
      expect(await adapter.downloadBill('2026-01-01', call())).toMatchObject({ kind: 'UNKNOWN', code: 'BAD_ADDRESS' });
      expect(platform.asked.length - before).toBe(1);
    },
  );

  test('a download that ends in the middle, or is not packed, is not taken', async () => {
    const { gzipSync } = await import('node:zlib');
    for (const body of [gzipSync(bill([row(PAY)])).subarray(0, 40), Buffer.from('no gzip')]) {
      platform.answer = ({ path }) => (path.startsWith('/v3/bill/') ? told(200, { hash_value: 'x', download_url: `${platform.url}/v3/billdownload/file?token=x` }) : { body });
      expect(await adapter.downloadBill('2026-01-01', call())).toMatchObject({ kind: 'UNKNOWN', code: 'BAD_BILL' });
    }
  });

  test('lines are whole wherever the file is cut into pieces', async () => {
    const many = Array.from({ length: 3_000 }, (_one, at) => row({ ...PAY, 商户订单号: `P${at}`, 商品名称: '茶'.repeat(at % 50) }));
    const rows = (await rowsOf(bill(many))) as { merchantOrderNo: string }[];
    expect(rows.map(({ merchantOrderNo }) => merchantOrderNo)).toEqual(many.map((_one, at) => `P${at}`));
  });

  test('a download that is cut is not opened', async () => {
    const whole = gzipSync(bill([row(PAY)]));
    expect(await rowsOf(bill([row(PAY)]), bill([row(PAY)]), whole.subarray(0, -12))).toMatchObject({ kind: 'UNKNOWN', code: 'BAD_BILL' });
  });

  test('a file that is not what was hashed is not opened', async () => {
    expect(await rowsOf(bill([row(PAY)]), bill([row(BACK)]))).toMatchObject({ kind: 'UNKNOWN', code: 'BAD_BILL' });
  });

  test.each([
    [400, 'NO_STATEMENT_EXIST', { kind: 'ACCEPTED', value: null }],
    [400, 'STATEMENT_CREATING', { kind: 'RATE_LIMITED' }],
  ])('HTTP %d %s', async (status, code, outcome) => {
    platform.answer = () => refused(status, code);
    expect(await adapter.downloadBill('2026-01-01', call())).toMatchObject(outcome);
  });
});
