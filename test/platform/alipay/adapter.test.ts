/** Every row of the mapping for Alipay, through the adapter's real client against a tiny platform that signs with its own key. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AlipaySdk } from 'alipay-sdk';
import iconv from 'iconv-lite';
import type { NewOrder, NewRefund, PlatformAdapter } from '../../../src/payment/platform.js';
import { createAlipayAdapter } from '../../../src/platform/alipay/adapter.js';
import { alipaySettings } from '../../../src/platform/alipay/settings.js';
import { certificateSerial } from '../../../src/platform/alipay/signature.js';
import { issueCertificate } from '../../../src/simulator/certificate.js';
import { zip } from '../../../src/simulator/zip.js';

const keys = () => generateKeyPairSync('rsa', { modulusLength: 2048, privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } });
const [ours, alipay, stranger] = [keys(), keys(), keys()];
const AT = new Date('2026-01-01T00:00:00Z');
const call = () => ({ at: AT, signal: AbortSignal.timeout(5_000) });

let platform: Server;
let adapter: PlatformAdapter;
/** What the platform answers next, made for the method that is called. */
let answer: (method: string) => { status?: number; body: string | Buffer } | 'cut';
let seen: Record<string, string>;

beforeAll(async () => {
  platform = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const query = new URL(request.url!, 'http://x').searchParams;
      seen = Object.fromEntries([...query, ...new URLSearchParams(body)]);
      const reply = answer(seen['method']!);
      if (reply === 'cut') return void request.socket.destroy();
      response.statusCode = reply.status ?? 200;
      response.end(reply.body);
    });
  });
  await new Promise<void>((resolve) => platform.listen(0, '127.0.0.1', resolve));
  adapter = adapterAt((platform.address() as AddressInfo).port);
});
afterAll(async () => {
  platform.closeAllConnections();
  await new Promise((resolve) => platform.close(resolve));
});

function adapterAt(port: number): PlatformAdapter {
  const settings = alipaySettings.parse({
    account: 'alipay',
    app_id: '2021000000000001',
    seller_id: '2088000000000001',
    gateway_url: `http://127.0.0.1:${port}/gateway.do`,
    app_private_key: ours.privateKey,
    alipay_public_key: alipay.publicKey.replace(/-----[^-]+-----|\n/g, ''),
  });
  return createAlipayAdapter(settings, 'https://pay.example/notifications/alipay/alipay');
}

const signed = (node: object, key = alipay.privateKey) => (method: string) => {
  const text = JSON.stringify(node).replaceAll('/', '\\/');
  const signature = sign('RSA-SHA256', Buffer.from(text), key).toString('base64');
  return { body: `{"${method.replaceAll('.', '_')}_response":${text},"sign":"${signature}"}` };
};
const refused = (subCode: string, code = '40004') => signed({ code, msg: 'Business Failed', sub_code: subCode, sub_msg: subCode });
const ok = (node: object) => signed({ code: '10000', msg: 'Success', ...node });

const ORDER: NewOrder = {
  merchantOrderNo: 'P0001', platformOrderTime: '', subject: 'tea 茶', amount: { currency: 'CNY', minorUnits: 8_888n }, checkout: 'QR_CODE',
  expireAt: new Date('2026-01-01T02:00:00Z'), returnUrl: null, buyerId: null, buyerIp: null,
};
const IDENTITY = { merchantOrderNo: 'P0001', platformOrderTime: '', platformTransactionId: null };
const REFUND: NewRefund = {
  order: IDENTITY, platformRefundNo: 'R0001', createdAt: AT, sentAt: AT, amount: { currency: 'CNY', minorUnits: 100n },
  paid: { currency: 'CNY', minorUnits: 8_888n }, paidAt: AT, reason: 'returned', attempt: 1,
};

test('an independent verifier accepts what the adapter signs, and nothing that was altered', async () => {
  const verifier = new AlipaySdk({ appId: 'x', privateKey: stranger.privateKey, alipayPublicKey: ours.publicKey, keyType: 'PKCS8' });
  answer = ok({ out_trade_no: 'P0001', qr_code: 'https://qr' });
  await adapter.create({ ...ORDER, subject: 'a+b %41 "c" 茶' }, call());
  expect(seen).toMatchObject({ method: 'alipay.trade.precreate', sign_type: 'RSA2', charset: 'utf-8', timestamp: '2026-01-01 08:00:00', notify_url: 'https://pay.example/notifications/alipay/alipay' });
  expect(JSON.parse(seen['biz_content']!)).toEqual({ out_trade_no: 'P0001', total_amount: '88.88', subject: 'a+b %41 "c" 茶', time_expire: '2026-01-01 10:00:00' });
  expect(verifier.checkNotifySignV2(seen)).toBe(true);
  // Of sign_type the verifier takes the algorithm; another word there is no question it can answer.
  for (const name of Object.keys(seen).filter((one) => one !== 'sign' && one !== 'sign_type')) {
    expect(verifier.checkNotifySignV2({ ...seen, [name]: `${seen[name]}1` })).toBe(false);
  }
});

const nobody = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });

test('nothing is sent where nobody listens', async () => {
  const unreachable = adapterAt(await nobody());
  expect(await unreachable.create(ORDER, call())).toMatchObject({ kind: 'UNREACHABLE', code: 'ECONNREFUSED' });
  expect(await unreachable.refund(REFUND, call())).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true });
});

const QUERY_ORDER = { kind: 'REJECTED', meaning: 'QUERY' };
const FINAL = { kind: 'REJECTED', meaning: 'FINAL' };
const doubts: [string, (method: string) => { status?: number; body: string } | 'cut'][] = [
  ['no answer', () => 'cut'],
  ['HTTP 500', () => ({ status: 500, body: 'x' })],
  ['HTTP 302', () => ({ status: 302, body: '' })],
  ['HTML', () => ({ body: '<html></html>' })],
  ['a truncated answer', (method) => ({ body: (ok({ qr_code: 'x' })(method)).body.slice(0, 40) })],
  ["a stranger's signature", signed({ code: '10000', qr_code: 'x', fund_change: 'Y' }, stranger.privateKey)],
  ['no signature', (method) => ({ body: `{"${method.replaceAll('.', '_')}_response":{"code":"10000","qr_code":"x","fund_change":"Y"}}` })],
  ['an unsigned refusal', () => ({ body: '{"error_response":{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}}' })],
  ['20000', refused('isp.unknow-error', '20000')],
  ['ACQ.SYSTEM_ERROR', refused('ACQ.SYSTEM_ERROR')],
  ['a refusal nobody knows', refused('ACQ.SOMETHING_NEW')],
];
test.each(doubts)('%s leaves every mutating call in doubt and every query without evidence', async (_what, reply) => {
  answer = reply;
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.close(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.refund(REFUND, call())).toMatchObject({ status: 'UNKNOWN', retry: 'SAME_NUMBER', notExecuted: false });
  expect(await adapter.queryRefund(REFUND, call())).toMatchObject({ status: 'UNCHANGED' });
});

test.each<[string, (method: string) => { body: string }, boolean]>([
  ['a refusal', refused('ACQ.SOMETHING_NEW'), true],
  ['a code', refused('isv.new', '50001'), true],
  ['a doubt of the platform', refused('ACQ.SYSTEM_ERROR'), false],
  ['a service that is away', refused('isp.unknow-error', '20000'), false],
])('%s that stands in no table is a word without a mapping, and only that', async (_what, reply, unmapped) => {
  answer = reply;
  for (const outcome of [await adapter.create(ORDER, call()), await adapter.close(IDENTITY, call()), await adapter.refund(REFUND, call())]) {
    expect((outcome as { unmapped?: boolean }).unmapped ?? false).toBe(unmapped);
  }
});

test.each([
  ['40005', 'isv.app-call-limited', 'RATE_LIMITED'],
  ['40001', 'isv.missing-parameter', 'MISCONFIGURED'],
  ['40002', 'isv.invalid-signature', 'MISCONFIGURED'],
  ['40003', 'isv.insufficient-conditions', 'MISCONFIGURED'],
  ['40006', 'isv.insufficient-isv-permissions', 'MISCONFIGURED'],
  ['20001', 'aop.invalid-auth-token', 'MISCONFIGURED'],
])('code %s (%s) is %s: not executed', async (code, subCode, kind) => {
  answer = refused(subCode, code);
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind, code: subCode });
  expect(await adapter.close(IDENTITY, call())).toMatchObject({ kind });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind });
  expect(await adapter.refund(REFUND, call())).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true });
});

test.each([
  ['ACQ.TOTAL_FEE_EXCEED', FINAL],
  ['ACQ.BEYOND_PAY_RESTRICTION', FINAL],
  ['ACQ.SELLER_BEEN_BLOCKED', FINAL],
  ['ACQ.EXIST_FORBIDDEN_WORD', FINAL],
  ['ACQ.BUYER_SELLER_EQUAL', FINAL],
  ['ACQ.INVALID_PARAMETER', FINAL],
  ['ACQ.ACCESS_FORBIDDEN', FINAL],
  ['ACQ.PARTNER_ERROR', FINAL],
  ['ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR', FINAL],
  ['ACQ.BUYER_ENABLE_STATUS_FORBID', FINAL],
  ['ACQ.TRADE_BUYER_NOT_MATCH', FINAL],
  ['ACQ.TRADE_STATUS_ERROR', QUERY_ORDER],
  ['ACQ.CONTEXT_INCONSISTENT', { kind: 'REJECTED', meaning: 'CONFLICT' }],
  ['ACQ.TRADE_HAS_SUCCESS', QUERY_ORDER],
  ['ACQ.TRADE_HAS_CLOSE', QUERY_ORDER],
])('creation refused with %s', async (subCode, outcome) => {
  answer = refused(subCode);
  expect(await adapter.create(ORDER, call())).toMatchObject({ ...outcome, code: subCode });
});

test.each([
  ['ACQ.TRADE_NOT_EXIST', { kind: 'ACCEPTED', value: { result: 'NOT_CLOSABLE_YET' } }],
  ['ACQ.TRADE_HAS_SUCCESS', QUERY_ORDER],
  ['ACQ.TRADE_HAS_CLOSE', QUERY_ORDER],
  ['ACQ.TRADE_STATUS_ERROR', QUERY_ORDER],
  ['ACQ.REASON_TRADE_STATUS_INVALID', QUERY_ORDER],
  ['ACQ.REASON_ILLEGAL_STATUS', QUERY_ORDER],
  ['AQC.SYSTEM_ERROR', { kind: 'UNKNOWN' }],
  ['ACQ.INVALID_PARAMETER', { kind: 'MISCONFIGURED' }],
])('closing refused with %s', async (subCode, outcome) => {
  answer = refused(subCode);
  expect(await adapter.close(IDENTITY, call())).toMatchObject(outcome);
});

const trade = { out_trade_no: 'P0001', trade_no: 'T1', total_amount: '88.88' };
const PAID_AT = new Date('2026-01-01T00:05:00Z');
const paidFields = { send_pay_date: '2026-01-01 08:05:00', buyer_pay_amount: '88.88' };
const paid = { class: 'PAID', at: PAID_AT, amount: { currency: 'CNY', minorUnits: 8_888n }, transactionId: 'T1', merchantAccount: 'alipay' };
test.each<[string, object, object]>([
  ['WAIT_BUYER_PAY', { trade_status: 'WAIT_BUYER_PAY' }, { class: 'AWAITING_BUYER', at: AT }],
  ['TRADE_SUCCESS', { trade_status: 'TRADE_SUCCESS', ...paidFields }, { ...paid, refundedTotal: null, refundable: true }],
  ['TRADE_SUCCESS with refunds', { trade_status: 'TRADE_SUCCESS', ...paidFields, refund_fee: '1.00' }, { ...paid, refundedTotal: 100n }],
  ['TRADE_FINISHED', { trade_status: 'TRADE_FINISHED', ...paidFields }, { ...paid, refundable: false }],
  ['TRADE_CLOSED, never paid', { trade_status: 'TRADE_CLOSED' }, { class: 'NEGATIVE_FINAL', status: 'CLOSED', at: AT }],
  ['TRADE_CLOSED, never paid, with zeros', { trade_status: 'TRADE_CLOSED', buyer_pay_amount: '0.00', receipt_amount: '0.00' }, { class: 'NEGATIVE_FINAL' }],
  ['TRADE_CLOSED with a payment time', { trade_status: 'TRADE_CLOSED', ...paidFields }, { ...paid, refundedTotal: 8_888n, refundable: false }],
  ['TRADE_CLOSED with a receipt', { trade_status: 'TRADE_CLOSED', receipt_amount: '88.88' }, { class: 'PAID', refundedTotal: 8_888n }],
  ['a word nobody knows', { trade_status: 'TRADE_PENDING' }, { class: 'UNMAPPED', word: 'TRADE_PENDING' }],
  ['no word at all', {}, { class: 'UNMAPPED' }],
  ['paid, an amount with an exponent', { trade_status: 'TRADE_SUCCESS', total_amount: '8.8e1' }, { class: 'MONEY_UNCLEAR' }],
  ['paid, an amount below zero', { trade_status: 'TRADE_SUCCESS', total_amount: '-88.88' }, { class: 'MONEY_UNCLEAR' }],
  ['paid, three decimals', { trade_status: 'TRADE_SUCCESS', total_amount: '88.880' }, { class: 'MONEY_UNCLEAR' }],
  ['paid, without a number', { trade_status: 'TRADE_SUCCESS', trade_no: '' }, { class: 'MONEY_UNCLEAR' }],
])('a query that says %s', async (_what, fields, evidence) => {
  answer = ok({ ...trade, ...fields });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED', value: { evidence } });
});

test('a query that does not find the trade says so; one about another order says nothing', async () => {
  answer = refused('ACQ.TRADE_NOT_EXIST');
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED', value: { evidence: { class: 'NOT_FOUND', at: AT } } });
  answer = ok({ ...trade, out_trade_no: 'P0002', trade_status: 'TRADE_SUCCESS' });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'OTHER_ORDER' });
});

test.each<[string, (method: string) => { body: string }, object]>([
  ['fund_change=Y', ok({ fund_change: 'Y', refund_fee: '1.00' }), { status: 'SUCCEEDED', retry: null }],
  ['fund_change=N', ok({ fund_change: 'N', refund_fee: '1.00' }), { status: 'SUBMITTED', retry: null }],
  ['10000 alone', ok({}), { status: 'SUBMITTED', retry: null }],
  ['ACQ.SELLER_BALANCE_NOT_ENOUGH', refused('ACQ.SELLER_BALANCE_NOT_ENOUGH'), { status: 'UNCHANGED', retry: 'SAME_NUMBER' }],
  ['ACQ.REASON_TRADE_BEEN_FREEZEN', refused('ACQ.REASON_TRADE_BEEN_FREEZEN'), { status: 'UNCHANGED', retry: 'SAME_NUMBER' }],
  ['ACQ.DISCORDANT_REPEAT_REQUEST', refused('ACQ.DISCORDANT_REPEAT_REQUEST'), { status: 'UNKNOWN', retry: null }],
  ['ACQ.TRADE_STATUS_ERROR', refused('ACQ.TRADE_STATUS_ERROR'), { status: 'UNKNOWN', retry: null }],
  ['ACQ.REASON_TRADE_STATUS_INVALID', refused('ACQ.REASON_TRADE_STATUS_INVALID'), { status: 'UNKNOWN', retry: null }],
  ['ACQ.REASON_ILLEGAL_STATUS', refused('ACQ.REASON_ILLEGAL_STATUS'), { status: 'UNKNOWN', retry: null }],
  ['ACQ.REFUND_AMT_NOT_EQUAL_TOTAL', refused('ACQ.REFUND_AMT_NOT_EQUAL_TOTAL'), { status: 'FAILED', retry: 'NEW_NUMBER' }],
  ['ACQ.REASON_TRADE_REFUND_FEE_ERR', refused('ACQ.REASON_TRADE_REFUND_FEE_ERR'), { status: 'FAILED', retry: 'NEW_NUMBER' }],
  ['ACQ.REFUND_FEE_ERROR', refused('ACQ.REFUND_FEE_ERROR'), { status: 'FAILED', retry: 'NEW_NUMBER' }],
  ['ACQ.TRADE_NOT_EXIST', refused('ACQ.TRADE_NOT_EXIST'), { status: 'FAILED', retry: 'NEW_NUMBER' }],
  ['ACQ.TRADE_HAS_FINISHED', refused('ACQ.TRADE_HAS_FINISHED'), { status: 'FAILED', retry: 'NEW_NUMBER', irrefundable: true }],
  ['ACQ.TRADE_NOT_ALLOW_REFUND', refused('ACQ.TRADE_NOT_ALLOW_REFUND'), { status: 'FAILED', retry: 'NEW_NUMBER', irrefundable: true }],
  ['AQC.SYSTEM_ERROR', refused('AQC.SYSTEM_ERROR'), { status: 'UNKNOWN', retry: 'SAME_NUMBER' }],
])('a refund answered with %s', async (_what, reply, report) => {
  answer = reply;
  expect(await adapter.refund(REFUND, call())).toMatchObject(report);
  expect(JSON.parse(seen['biz_content']!)).toMatchObject({ out_request_no: 'R0001', refund_amount: '1.00' });
});

const sent = (secondsAgo: number): NewRefund => ({ ...REFUND, sentAt: new Date(AT.getTime() - secondsAgo * 1_000) });

test.each<[string, object | null, number, object]>([
  ['a query finds none', {}, 60, { status: 'FAILED', retry: 'NEW_NUMBER', confirmed: true }],
  ['a query finds none, too early to tell', {}, 9, { status: 'FAILED', confirmed: false }],
  ['a query finds it', { refund_status: 'REFUND_SUCCESS', refund_amount: '1.00' }, 60, { status: 'SUCCEEDED', amount: 100n }],
  ['the query fails', null, 60, { status: 'FAILED', confirmed: false }],
])('a refund that was sent before is refused, and %s', async (_what, found, secondsAgo, report) => {
  answer = (method) => (method === 'alipay.trade.refund' ? refused('ACQ.REFUND_FEE_ERROR')(method) : found === null ? 'cut' : ok(found)(method));
  expect(await adapter.refund({ ...sent(secondsAgo), attempt: 2 }, call())).toMatchObject(report);
});

test.each<[string, object, NewRefund, object]>([
  ['REFUND_SUCCESS', { refund_status: 'REFUND_SUCCESS', refund_amount: '1.00', gmt_refund_pay: '2026-01-01 08:05:00' }, sent(60), { status: 'SUCCEEDED', amount: 100n, at: PAID_AT }],
  ['no status, asked too early', {}, sent(9), { status: 'UNCHANGED' }],
  ['no status, asked later', {}, sent(10), { status: 'UNKNOWN', retry: 'SAME_NUMBER' }],
  ['a word nobody knows', { refund_status: 'REFUND_ODD' }, sent(60), { status: 'UNKNOWN', word: 'REFUND_ODD', unmapped: true }],
  ['another refund', { refund_status: 'REFUND_SUCCESS', out_request_no: 'R0002', refund_amount: '1.00' }, sent(60), { status: 'UNCHANGED', word: 'OTHER_REFUND' }],
  ['returned, an amount with an exponent', { refund_status: 'REFUND_SUCCESS', refund_amount: '1e0' }, sent(60), { status: 'UNKNOWN', unmapped: true }],
  ['returned, an amount that is no text', { refund_status: 'REFUND_SUCCESS', refund_amount: 1 }, sent(60), { status: 'UNKNOWN', unmapped: true }],
])('a refund query that says %s', async (_what, fields, refund, report) => {
  answer = ok(fields);
  expect(await adapter.queryRefund(refund, call())).toMatchObject(report);
});

function notification(change: Record<string, string | undefined> = {}, key = alipay.privateKey): Buffer {
  const fields: Record<string, string> = {
    notify_id: 'N1', notify_type: 'trade_status_sync', notify_time: '2026-01-01 08:05:01', app_id: '2021000000000001', seller_id: '2088000000000001',
    charset: 'utf-8', sign_type: 'RSA2', out_trade_no: 'P0001', trade_no: 'T1', trade_status: 'TRADE_SUCCESS', total_amount: '88.88', gmt_payment: '2026-01-01 08:05:00',
  };
  for (const [name, value] of Object.entries(change)) {
    if (value === undefined) delete fields[name];
    else fields[name] = value;
  }
  const text = Object.keys(fields).filter((name) => name !== 'sign_type' && fields[name] !== '').sort().map((name) => `${name}=${fields[name]}`).join('&');
  return Buffer.from(new URLSearchParams({ ...fields, sign: sign('RSA-SHA256', Buffer.from(text), key).toString('base64') }).toString());
}
const FORM = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' };
const read = (body: Buffer, headers: Record<string, string> = FORM) => adapter.readNotification({ headers, body, receivedAt: AT });

test.each<[string, Record<string, string>, object]>([
  ['a payment', {}, { evidence: { class: 'PAID', at: PAID_AT, refundedTotal: null }, refund: null }],
  ['a partial refund', { refund_fee: '1.00', gmt_refund: '2026-01-01 09:00:00.123', out_biz_no: 'R0001' }, { evidence: { class: 'PAID', refundedTotal: 100n }, refund: { platformRefundNo: 'R0001', report: null } }],
  ['the last refund', { trade_status: 'TRADE_CLOSED', refund_fee: '88.88', gmt_refund: '2026-01-01 09:00:00', out_biz_no: 'R0001' }, { evidence: { class: 'PAID', refundedTotal: 8_888n } }],
  ['the end of the refund window', { trade_status: 'TRADE_FINISHED', refund_fee: '0.00' }, { evidence: { class: 'PAID', refundable: false, refundedTotal: 0n } }],
  ["a bank that did not take the money", { refund_fee: '1.00', out_biz_no: 'R0001', dback_status: 'F', dback_amount: '1.00' }, { evidence: { class: 'PAID', refundedTotal: 100n }, refund: { platformRefundNo: 'R0001', report: null } }],
  ['money that went to another seller', { seller_id: '2088999999999999' }, { evidence: { class: 'PAID', merchantAccount: '2088999999999999' } }],
  ['an expiry', { trade_status: 'TRADE_CLOSED', gmt_payment: '', gmt_close: '2026-01-01 10:00:00' }, { evidence: { class: 'NEGATIVE_FINAL', status: 'CLOSED', at: new Date('2026-01-01T02:00:00Z') } }],
])('a genuine notification of %s', (_what, change, reading) => {
  expect(read(notification(change))).toMatchObject({ verified: true, notificationId: 'N1', order: { merchantOrderNo: 'P0001' }, ...reading });
});

test.each<[string, Buffer, string]>([
  ["a stranger's signature", notification({}, stranger.privateKey), 'the signature does not verify'],
  ['another application', notification({ app_id: '2021999999999999' }), 'it is for another app_id'],
  ['another kind', notification({ notify_type: 'dut_user_sign' }), 'it is not about a trade'],
  ['no notify_id', notification({ notify_id: undefined }), 'notify_id or out_trade_no is missing'],
  ['RSA', notification({ sign_type: 'RSA' }), 'sign_type is not RSA2'],
  ['GBK', notification({ charset: 'GBK' }), 'charset is not utf-8'],
  ['no signature', Buffer.from('sign_type=RSA2&out_trade_no=P0001'), 'the signature does not verify'],
])('a notification with %s is not believed', (_what, body, why) => {
  expect(read(body)).toMatchObject({ verified: false, why });
});

test.each<[string, (fields: Record<string, string>) => Record<string, string>]>([
  ['the seller hidden behind another field', ({ seller_id, ...fields }) => ({ ...fields, seller_email: `a@b.c&seller_id=${seller_id}` })],
  ['what was given back hidden', ({ refund_fee, ...fields }) => ({ ...fields, receipt_amount: `88.88&refund_fee=${refund_fee}` })],
  ['the amount hidden', ({ total_amount, ...fields }) => ({ ...fields, subject: `tea&total_amount=${total_amount}` })],
  ['a name that holds a field', ({ subject, total_amount, ...fields }) => ({ ...fields, [`subject=${subject}&total_amount`]: total_amount! })],
])('a notification with %s under the signature that fits is not believed', (_what, change) => {
  // Nothing is escaped in what is signed. Found by fuzz:notifications.
  const genuine = notification({ seller_email: 'a@b.c', receipt_amount: '88.88', refund_fee: '1.00', subject: 'tea' });
  const forged = Buffer.from(new URLSearchParams(change(Object.fromEntries(new URLSearchParams(genuine.toString())))).toString());
  expect(read(genuine)).toMatchObject({ verified: true });
  expect(read(forged)).toMatchObject({ verified: false, why: 'a value holds what could be another field' });
});

test('a value with & and = in it is believed where it could be no other field', () => {
  expect(read(notification({ passback_params: 'a=1&b=2', subject: 'tea & cake = 2' }))).toMatchObject({ verified: true });
});

test('of a genuine notification no parameter that counts can be hidden inside of another', () => {
  const genuine = notification({ gmt_refund: '2026-01-01 09:00:00', out_biz_no: 'R0001', refund_fee: '1.00' }).toString();
  const names = genuine.split('&').map((pair) => pair.slice(0, pair.indexOf('='))).filter((name) => name !== 'sign' && name !== 'sign_type').sort();
  const values = new URLSearchParams(genuine);
  for (const [at, name] of names.entries()) {
    if (at === 0) continue;
    const before = names[at - 1]!;
    const merged = new URLSearchParams(values);
    merged.set(before, `${values.get(before)}&${name}=${values.get(name)}`);
    merged.delete(name);
    expect([name, read(Buffer.from(merged.toString())).verified]).toEqual([name, false]);
  }
  expect(read(notification({ subject: 'tea & cake', passback_params: 'a=1&b=2' })).verified).toBe(true);
});

test('what anybody can add to a genuine notification, for no signature covers it, changes nothing', () => {
  const genuine = read(notification({ seller_id: undefined }));
  const added = read(Buffer.concat([notification({ seller_id: undefined }), Buffer.from('&seller_id=&out_biz_no=&gmt_refund=&x=')]));
  expect(added).toEqual(genuine);
  expect(read(Buffer.concat([notification({ notify_id: undefined }), Buffer.from('&notify_id=')]))).toMatchObject({ verified: false, why: 'notify_id or out_trade_no is missing' });
});

test('a genuine notification under another content-type is not believed', () => {
  for (const type of ['application/json', 'text/plain', '']) expect(read(notification(), { 'content-type': type })).toMatchObject({ verified: false });
});

test('no single changed byte of a genuine notification is believed', () => {
  const genuine = notification();
  for (let index = 0; index < genuine.length; index += 1) {
    const altered = Buffer.from(genuine);
    altered[index]! ^= 1;
    const reading = read(altered);
    // A change of letter case inside a percent escape is the same text.
    if (reading.verified) expect(decodeURIComponent(altered.toString())).toBe(decodeURIComponent(genuine.toString()));
  }
});

test.each<[NewOrder['checkout'], string, object, object]>([
  ['PAGE', 'alipay.trade.page.pay', { product_code: 'FAST_INSTANT_TRADE_PAY' }, { return_url: 'https://shop.example/back' }],
  ['WAP', 'alipay.trade.wap.pay', { product_code: 'QUICK_WAP_WAY', quit_url: 'https://shop.example/back' }, { return_url: 'https://shop.example/back' }],
  ['APP', 'alipay.trade.app.pay', { product_code: 'QUICK_MSECURITY_PAY' }, {}],
])('checkout %s is signed for an independent verifier and calls nobody', async (checkout, method, content, common) => {
  const verifier = new AlipaySdk({ appId: 'x', privateKey: stranger.privateKey, alipayPublicKey: ours.publicKey, keyType: 'PKCS8' });
  seen = {};
  const outcome = await adapter.create({ ...ORDER, checkout, returnUrl: 'https://shop.example/back' }, call());
  const { form, value } = (outcome as { value: { form: string; value: string } }).value;
  const unescape = (text: string): string => text.replaceAll('&quot;', '"').replaceAll('&amp;', '&');
  const [, action = '', inner = ''] = form === 'FORM_HTML' ? /action="([^"]*)".*name="biz_content" value="([^"]*)"/.exec(value)! : [];
  const parameters = form === 'FORM_HTML'
    ? { ...Object.fromEntries(new URL(unescape(action)).searchParams), biz_content: unescape(inner) }
    : Object.fromEntries(new URLSearchParams(value));
  expect(parameters).toMatchObject({ method, notify_url: 'https://pay.example/notifications/alipay/alipay', ...common });
  expect(JSON.parse((parameters as Record<string, string>)['biz_content']!)).toMatchObject({ out_trade_no: 'P0001', total_amount: '88.88', ...content });
  expect(verifier.checkNotifySignV2(parameters)).toBe(true);
  expect(verifier.checkNotifySignV2({ ...parameters, app_id: '1' })).toBe(false);
  expect(seen).toEqual({});
});

test('checkout JSAPI goes by a call, and brings the number of the trade', async () => {
  answer = ok({ out_trade_no: 'P0001', trade_no: 'T1' });
  expect(await adapter.create({ ...ORDER, checkout: 'JSAPI', buyerId: '2088' }, call())).toEqual({ kind: 'ACCEPTED', value: { form: 'APP_PARAMETERS', value: '{"tradeNO":"T1"}' } });
  expect(JSON.parse(seen['biz_content']!)).toMatchObject({ buyer_id: '2088', product_code: 'JSAPI_PAY' });
});

describe('certificate mode', () => {
  const valid = { notBefore: new Date('2025-01-01'), notAfter: new Date('2030-01-01') };
  const [rootKeys, middleKeys, merchant, renewed] = [keys(), keys(), keys(), keys()];
  const NAME = '支付宝(中国)网络技术有限公司-2088000000000001';
  const root = issueCertificate({ subject: { commonName: 'Root' }, publicKeyPem: rootKeys.publicKey, privateKeyPem: rootKeys.privateKey, serial: 1n, isAuthority: true, ...valid });
  const issued = (commonName: string, pair: { publicKey: string }, serial: bigint, by = { certificatePem: root, privateKeyPem: rootKeys.privateKey }, isAuthority = false): string =>
    issueCertificate({ subject: { commonName }, issuer: by, publicKeyPem: pair.publicKey, serial, isAuthority, ...valid });
  const middle = issued('Class 2', middleKeys, 2n, undefined, true);
  const byMiddle = { certificatePem: middle, privateKeyPem: middleKeys.privateKey };
  const [first, second] = [issued(NAME, alipay, 3n, byMiddle), issued(NAME, renewed, 4n, byMiddle)];
  const merchants = issued('2088000000000009-2021000000000009', merchant, 5n, byMiddle);

  const settings = (): PlatformAdapter =>
    createAlipayAdapter(
      alipaySettings.parse({
        account: 'alipay', app_id: '2021000000000001', seller_id: '2088000000000001', gateway_url: `http://127.0.0.1:${(platform.address() as AddressInfo).port}/gateway.do`,
        app_private_key: ours.privateKey, app_certificate: issued('app', ours, 6n, byMiddle), alipay_certificate: first, alipay_root_certificates: root,
      }),
      'https://pay.example/notifications/alipay/alipay',
    );
  const by = (pem: string, key: string, node: object) => (method: string) => {
    const { body } = signed({ code: '10000', ...node }, key)(method);
    return { body: body.replace(/}$/, `,"alipay_cert_sn":"${certificateSerial(pem)}"}`) };
  };
  const paidTrade = { ...trade, trade_status: 'WAIT_BUYER_PAY' };
  /** The platform answers under a certificate, and gives out a chain when it is asked for that one. */
  const answering = (pem: string, key: string, chain: string): void => {
    const content = Buffer.from(chain).toString('base64');
    answer = (method) => (method.endsWith('alipaycert.download') ? by(pem, key, { alipay_cert_content: content })(method) : by(pem, key, paidTrade)(method));
  };
  const notified = (at: PlatformAdapter, key: string): boolean => at.readNotification({ headers: FORM, body: notification({}, key), receivedAt: AT }).verified;

  test('a request names both certificates, and the configured one is believed', async () => {
    const certified = settings();
    answer = by(first, alipay.privateKey, paidTrade);
    expect(await certified.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED' });
    expect(seen).toMatchObject({ app_cert_sn: expect.stringMatching(/^[0-9a-f]{32}$/), alipay_root_cert_sn: certificateSerial(root) });
    answer = ok(paidTrade);
    expect(await certified.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'UNKNOWN_CERTIFICATE' });
  });

  test('a renewed certificate is fetched and believed beside the old one, for answers and notifications', async () => {
    const certified = settings();
    expect(notified(certified, renewed.privateKey)).toBe(false);
    answering(second, renewed.privateKey, second + middle);
    expect(await certified.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED' });
    answer = by(first, alipay.privateKey, paidTrade);
    expect(await certified.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED' });
    for (const key of [renewed.privateKey, alipay.privateKey]) expect(notified(certified, key)).toBe(true);
  });

  test.each<[string, string, string]>([
    ["a merchant's, under the same roots", merchants, merchants + middle],
    ['one that a merchant has issued', issued(NAME, merchant, 7n, { certificatePem: merchants, privateKeyPem: merchant.privateKey }), issued(NAME, merchant, 7n, { certificatePem: merchants, privateKeyPem: merchant.privateKey }) + merchants + middle],
    ['one that signs itself', issueCertificate({ subject: { commonName: NAME }, publicKeyPem: merchant.publicKey, privateKeyPem: merchant.privateKey, serial: 8n, ...valid }), ''],
    ['one without its chain', issued(NAME, merchant, 9n, byMiddle), ''],
  ])('a certificate is not believed: %s', async (_what, pem, chain) => {
    const certified = settings();
    answering(pem, merchant.privateKey, chain === '' ? pem : chain);
    expect(await certified.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'UNKNOWN_CERTIFICATE' });
    expect(notified(certified, merchant.privateKey)).toBe(false);
  });
});

describe('the bill', () => {
  const HEADER = '支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注';
  const row = (cells: Record<string, string>): string => HEADER.split(',').map((name) => `${cells[name] ?? ''}\t`).join(',');
  const PAY = { 支付宝交易号: 'T1', 商户订单号: 'P0001', 业务类型: '交易', 商品名称: '茶', 完成时间: '2026-01-01 08:05:00', '订单金额（元）': '88.88', '服务费（元）': '-0.53' };
  const BACK = { ...PAY, 业务类型: '退款', '订单金额（元）': '-1.00', '退款批次号/请求号': 'R0001', '服务费（元）': '0.01' };
  const END = `#${'-'.repeat(41)}业务明细列表结束${'-'.repeat(36)}`;
  const TOTALS = ['#交易合计：1笔，商家实收共88.88元，商家优惠共0.00元', '#导出时间：[2026年01月02日 09:00:00]'];
  const bill = (rows: string[], { day = '2026年01月01日', end = [END, ...TOTALS] } = {}): string =>
    ['#支付宝业务明细查询', '#账号：[20880000000000010156]', `#起始日期：[${day} 00:00:00]   终止日期：[2026年01月02日 00:00:00]`, '#-----业务明细列表-----', HEADER, ...rows, ...end, ''].join('\r\n');

  const NAME = '20880000000000010156_20260101_业务明细';
  const entry = (name: string, content: Buffer) => ({ name: iconv.encode(name, 'gbk'), content });
  const packed = (content: Buffer | string): Buffer =>
    zip([entry(`${NAME}(汇总).csv`, Buffer.from('#')), entry(`${NAME}.csv`, typeof content === 'string' ? iconv.encode(content, 'gbk') : content)]);

  async function rowsOf(download: Buffer | 'cut' | { status: number; body: string }): Promise<unknown> {
    const file = Buffer.isBuffer(download) ? { body: download } : download;
    const { port } = platform.address() as AddressInfo;
    // The file is fetched without a method.
    answer = (method) => (method === undefined ? file : ok({ bill_download_url: `http://127.0.0.1:${port}/bill.zip` })(method));
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

  test('payments and refunds, amounts in fen, fees as what is kept', async () => {
    expect(await rowsOf(packed(bill([row(PAY), row(BACK)])))).toEqual([
      { kind: 'PAYMENT', merchantOrderNo: 'P0001', platformTransactionId: 'T1', platformRefundNo: '', platformRefundId: '', amount: { currency: 'CNY', minorUnits: 8_888n }, fee: 53n, at: PAID_AT, state: 'DONE', word: '交易' },
      { kind: 'REFUND', merchantOrderNo: 'P0001', platformTransactionId: 'T1', platformRefundNo: 'R0001', platformRefundId: '', amount: { currency: 'CNY', minorUnits: 100n }, fee: -1n, at: PAID_AT, state: 'DONE', word: '退款' },
    ]);
  });

  test('lines are whole wherever the file is cut into pieces', async () => {
    const many = Array.from({ length: 3_000 }, (_one, at) => row({ ...PAY, 商户订单号: `P${at}`, 商品名称: '茶'.repeat(at % 50) }));
    const rows = (await rowsOf(packed(bill(many)))) as { merchantOrderNo: string }[];
    expect(rows.map(({ merchantOrderNo }) => merchantOrderNo)).toEqual(many.map((_one, at) => `P${at}`));
  });

  const good = packed(bill([row(PAY)]));
  const otherChecksum = Buffer.from(good);
  // Of the second entry, as the directory has it.
  otherChecksum[otherChecksum.lastIndexOf('PK\x01\x02') + 16]! ^= 1;
  const unbelieved = { kind: 'UNKNOWN', code: 'BAD_BILL' };
  test.each<[string, Buffer, object]>([
    ['that is cut', good.subarray(0, good.length >> 1), unbelieved],
    ['that is no zip', Buffer.from('<html>下载链接不存在或已失效</html>'), unbelieved],
    ['without the table of single trades', zip([entry(`${NAME}(汇总).csv`, Buffer.from('#'))]), { ...unbelieved, message: 'the zip file has no such entry' }],
    ['whose content is not what was packed', otherChecksum, { ...unbelieved, message: 'the entry of the zip file is not what was packed' }],
    ['that ends in the middle', packed(bill([row(PAY)], { end: [] })), { rows: 1, error: 'the bill ends in the middle' }],
    ['that goes on after its end', packed(bill([row(PAY)], { end: [END, ...TOTALS, row(PAY), END] })), { rows: 1, error: 'the bill goes on after its end' }],
    ['of another day', packed(bill([row(PAY)], { day: '2025年12月31日' })), { rows: 0, error: 'the bill is of 2025-12-31' }],
    ['in UTF-8', packed(Buffer.from(bill([row(PAY)]))), { rows: 0 }],
    ['that is not in GBK', packed(Buffer.concat([iconv.encode(bill([row(PAY)], { end: [] }), 'gbk'), Buffer.from([0xff, 0xff, 0x0a])])), { rows: 1, error: 'the bill is not in gbk' }],
    ['without its columns', packed(bill([]).replace('服务费（元）', '费')), { error: 'the bill lacks the columns 服务费（元）' }],
    ['with an amount that is none', packed(bill([row({ ...PAY, '订单金额（元）': '8e3' })])), { error: '"8e3" is no amount' }],
    ['with parts of a fen', packed(bill([row({ ...PAY, '订单金额（元）': '8.881' })])), { error: '"8.881" is no amount' }],
    ['with a kind nobody knows', packed(bill([row({ ...PAY, 业务类型: '转账' })])), { error: '"转账" is no kind of trade' }],
    ['with a time that is none', packed(bill([row({ ...PAY, 完成时间: '2026/01/01' })])), { error: '"2026/01/01" is no time' }],
  ])('one %s is not believed', async (_what, file, finding) => {
    const seen = await rowsOf(file);
    expect(seen).toMatchObject(finding);
    expect(Array.isArray(seen)).toBe(false);
  });

  test('an address that is dead, and a download without an answer, are no bill', async () => {
    expect(await rowsOf({ status: 404, body: '' })).toMatchObject({ kind: 'UNKNOWN', code: 'HTTP_404' });
    expect(await rowsOf('cut')).toMatchObject({ kind: 'UNKNOWN' });
  });

  test.each([
    ['BILL_NOT_EXIST', { kind: 'ACCEPTED', value: null }],
    ['INVAILID_ARGUMENTS', { kind: 'MISCONFIGURED' }],
  ])('%s', async (subCode, outcome) => {
    answer = refused(subCode);
    expect(await adapter.downloadBill('2026-01-01', call())).toMatchObject(outcome);
  });
});
