/** The simulated Alipay against the platform's own SDK, the independent vectors, and its own rules. */
import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import iconv from 'iconv-lite';
import * as yauzl from 'yauzl';
import { alipayAccount } from '../../src/simulator/accounts.js';
import { envelope } from '../../src/simulator/alipay/answers.js';
import { certificateSn, rootCertificateSn } from '../../src/simulator/alipay/certificate-sn.js';
import { startAlipaySimulator, type AlipaySimulator, type AlipaySimulatorOptions } from '../../src/simulator/alipay/server.js';
import { notificationText, requestText, sign, signatureHolds } from '../../src/simulator/alipay/signature.js';
import type { FaultKind } from '../../src/simulator/faults.js';
import type { HttpReply } from '../../src/simulator/http.js';
import { testVectors, vectorsOf } from '../support/vectors.js';

process.env['TZ'] = 'Asia/Shanghai'; // The SDK stamps the time of the process's zone.
const { AlipaySdk } = await import('alipay-sdk');

const beijing = (at = Date.now()): string => new Date(at + 8 * 3_600_000).toISOString().slice(0, 19).replace('T', ' ');
const keys = await newKeys();

let simulator: AlipaySimulator;
let number = 0;

beforeEach(async () => {
  simulator = await start();
});
afterEach(async () => {
  await simulator.stop();
});

const start = (options: AlipaySimulatorOptions = {}): Promise<AlipaySimulator> => startAlipaySimulator({ keys, refundSpacingMs: 0, ...options });
const restarted = async (options: AlipaySimulatorOptions): Promise<void> => {
  await simulator.stop();
  simulator = await start(options);
};

type Answer = Record<string, unknown>;
type Fields = Record<string, string>;

/** A call through the SDK, with its check of the answer's signature. */
async function sdk(method: string, bizContent: Record<string, unknown>, common: Fields = {}): Promise<Answer> {
  // Given outright: whether TZ takes effect inside a test realm is jest's affair.
  return await client().exec(method, { timestamp: beijing(simulator.control.now().getTime()), ...common, bizContent }, { validateSign: true });
}

/** In the mode that the simulator runs in. */
function client() {
  const { appId, appCertificatePem: app, alipayCertificatePem: alipay, alipayRootCertificatePem: root } = simulator;
  const trust =
    app === null ? { alipayPublicKey: simulator.alipayPublicKeyPem } : { appCertContent: app, alipayPublicCertContent: alipay!, alipayRootCertContent: root! };
  return new AlipaySdk({ appId, privateKey: simulator.appPrivateKeyPem, keyType: 'PKCS8', gateway: simulator.gatewayUrl, camelcase: false, ...trust });
}

/** A call by hand, for what the SDK would not send; everything in the body. */
async function raw(method: string, bizContent: unknown, { change = {}, after = {} }: { change?: Fields; after?: Fields } = {}): Promise<Response> {
  const fields = new Map(
    Object.entries({
      app_id: simulator.appId,
      method,
      format: 'JSON',
      charset: 'utf-8',
      sign_type: 'RSA2',
      timestamp: beijing(simulator.control.now().getTime()),
      version: '1.0',
      biz_content: JSON.stringify(bizContent),
      ...change,
    }),
  );
  fields.set('sign', sign(requestText(fields), simulator.appPrivateKeyPem));
  for (const [name, value] of Object.entries(after)) fields.set(name, value);
  return await fetch(simulator.gatewayUrl, { method: 'POST', body: new URLSearchParams([...fields]) });
}

async function rawNode(...args: Parameters<typeof raw>): Promise<Answer> {
  const { sign: _sign, ...nodes } = (await (await raw(...args)).json()) as Record<string, Answer>;
  const [name] = Object.keys(nodes);
  return { node: name, ...nodes[name!] };
}

const order = (over: Fields = {}) => ({ out_trade_no: `P${++number}_${process.pid}`, total_amount: '88.88', subject: '一壶茶 100%+', ...over });

async function precreated(over: Fields = {}, common: Fields = {}): Promise<string> {
  const placed = order(over);
  expect(await sdk('alipay.trade.precreate', placed, common)).toMatchObject({ code: '10000' });
  return placed.out_trade_no;
}

async function paid(over: Fields = {}, common: Fields = {}): Promise<string> {
  const outTradeNo = await precreated(over, common);
  simulator.control.buyerPays(outTradeNo);
  return outTradeNo;
}

const query = (outTradeNo: string) => sdk('alipay.trade.query', { out_trade_no: outTradeNo });
const refund = (outTradeNo: string, amount: string, requestNo: string) =>
  sdk('alipay.trade.refund', { out_trade_no: outTradeNo, refund_amount: amount, out_request_no: requestNo });
const refundQuery = (outTradeNo: string, requestNo: string) =>
  sdk('alipay.trade.fastpay.refund.query', { out_trade_no: outTradeNo, out_request_no: requestNo });

describe('a payment', () => {
  test('goes from a code that nobody scanned to a full refund', async () => {
    const placed = order();
    const first = await sdk('alipay.trade.precreate', placed);
    expect(first).toMatchObject({ code: '10000', out_trade_no: placed.out_trade_no });
    expect(first['qr_code']).toMatch(/^https:\/\/qr\.alipay\.com\//);
    expect(await query(placed.out_trade_no)).toMatchObject({ code: '40004', sub_code: 'ACQ.TRADE_NOT_EXIST' });

    simulator.control.buyerScans(placed.out_trade_no);
    expect(await query(placed.out_trade_no)).toMatchObject({ code: '10000', trade_status: 'WAIT_BUYER_PAY', total_amount: '88.88' });

    simulator.control.buyerPaysQr(first['qr_code'] as string);
    const success = await query(placed.out_trade_no);
    expect(success).toMatchObject({ trade_status: 'TRADE_SUCCESS', buyer_pay_amount: '88.88', subject: placed.subject });
    expect(success['send_pay_date']).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);

    expect(await refund(placed.out_trade_no, '8.88', 'R1')).toMatchObject({ code: '10000', fund_change: 'Y', refund_fee: '8.88' });
    expect(await refund(placed.out_trade_no, '8.88', 'R1')).toMatchObject({ code: '10000', fund_change: 'N', refund_fee: '8.88' });
    expect(await query(placed.out_trade_no)).toMatchObject({ trade_status: 'TRADE_SUCCESS' });
    expect(await refundQuery(placed.out_trade_no, 'R1')).toMatchObject({ refund_status: 'REFUND_SUCCESS', refund_amount: '8.88', total_amount: '88.88' });

    expect(await refund(placed.out_trade_no, '80.00', 'R2')).toMatchObject({ fund_change: 'Y', refund_fee: '88.88' });
    expect(await query(placed.out_trade_no)).toMatchObject({ trade_status: 'TRADE_CLOSED', buyer_pay_amount: '88.88' });
    expect(await refund(placed.out_trade_no, '80.00', 'R2')).toMatchObject({ fund_change: 'N' });
  });

  test('placed again is the same trade, and a conflict with other parameters', async () => {
    const placed = order();
    const first = await sdk('alipay.trade.precreate', placed);
    expect(await sdk('alipay.trade.precreate', placed)).toMatchObject({ code: '10000', qr_code: first['qr_code'] });
    expect(await sdk('alipay.trade.precreate', { ...placed, total_amount: '88.89' })).toMatchObject({ sub_code: 'ACQ.CONTEXT_INCONSISTENT' });

    simulator.control.buyerPays(placed.out_trade_no);
    expect(await sdk('alipay.trade.precreate', placed)).toMatchObject({ sub_code: 'ACQ.TRADE_HAS_SUCCESS' });
  });

  test('is closed once, and only while it waits for its buyer', async () => {
    const outTradeNo = await precreated();
    expect(await sdk('alipay.trade.close', { out_trade_no: outTradeNo })).toMatchObject({ sub_code: 'ACQ.TRADE_NOT_EXIST' });
    simulator.control.buyerScans(outTradeNo);
    expect(await sdk('alipay.trade.close', { out_trade_no: outTradeNo })).toMatchObject({ code: '10000' });
    expect(await sdk('alipay.trade.close', { out_trade_no: outTradeNo })).toMatchObject({ sub_code: 'ACQ.TRADE_HAS_CLOSE' });
    expect(() => simulator.control.buyerPays(outTradeNo)).toThrow('TRADE_CLOSED');
    expect(await sdk('alipay.trade.close', { out_trade_no: await paid() })).toMatchObject({ sub_code: 'ACQ.TRADE_HAS_SUCCESS' });
  });

  test('expires by the clock, scanned or not', async () => {
    const expiry = { time_expire: beijing(Date.now() + 600_000) };
    const [scanned, unscanned] = [await precreated(expiry), await precreated(expiry)];
    simulator.control.buyerScans(scanned);
    simulator.control.advanceClock(600_000);
    const closed = await query(scanned);
    expect(closed).toMatchObject({ trade_status: 'TRADE_CLOSED', buyer_pay_amount: '0.00' });
    expect(closed).not.toHaveProperty('send_pay_date');
    expect(await query(unscanned)).toMatchObject({ sub_code: 'ACQ.TRADE_NOT_EXIST' });
    expect(() => simulator.control.buyerPays(unscanned)).toThrow('expired');
  });

  test('is irrefundable once its refund window ends', async () => {
    const outTradeNo = await paid();
    simulator.control.advanceClock(365 * 86_400_000);
    expect(await query(outTradeNo)).toMatchObject({ trade_status: 'TRADE_FINISHED' });
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject({ sub_code: 'ACQ.TRADE_HAS_FINISHED' });
  });

  test('is cancelled by closing or by a full refund', async () => {
    const cancel = (outTradeNo: string) => sdk('alipay.trade.cancel', { out_trade_no: outTradeNo });
    const unscanned = await precreated();
    expect(await cancel(unscanned)).not.toHaveProperty('action');
    simulator.control.buyerScans(unscanned);
    expect(await cancel(unscanned)).toMatchObject({ action: 'close', retry_flag: 'N' });
    const charged = await paid();
    expect(await cancel(charged)).toMatchObject({ action: 'refund' });
    expect(await cancel(charged)).toMatchObject({ action: 'refund' });
    expect(simulator.control.getTrade(charged).refunds).toHaveLength(1);
  });

  test('by a mini-program exists at once, and by a customer-presented code is paid at once or awaited', async () => {
    expect(await sdk('alipay.trade.create', order())).toMatchObject({ sub_code: 'ACQ.INVALID_PARAMETER' });
    const created = order({ buyer_id: '2088102534368455' });
    expect((await sdk('alipay.trade.create', created))['trade_no']).toMatch(/^\d{28}$/);
    expect(await query(created.out_trade_no)).toMatchObject({ trade_status: 'WAIT_BUYER_PAY' });

    const shown = { auth_code: '280000000000000001', scene: 'bar_code' };
    expect(await sdk('alipay.trade.pay', order(shown))).toMatchObject({ code: '10000', buyer_pay_amount: '88.88' });
    simulator.control.setPayOutcome('waiting');
    const awaited = order(shown);
    expect(await sdk('alipay.trade.pay', awaited)).toMatchObject({ code: '10003' });
    simulator.control.buyerPays(awaited.out_trade_no);
    expect(await query(awaited.out_trade_no)).toMatchObject({ trade_status: 'TRADE_SUCCESS' });
  });

  test('on a page is placed by the signed form and becomes a trade when the buyer acts', async () => {
    const placed = order({ product_code: 'FAST_INSTANT_TRADE_PAY' });
    const common = { timestamp: beijing(), return_url: 'http://shop.example/back?x=1' };
    const url = client().pageExecute('alipay.trade.page.pay', 'GET', { ...common, bizContent: placed });
    expect(await (await fetch(url)).text()).toContain(`<code id="out_trade_no">${placed.out_trade_no}</code>`);
    expect(await query(placed.out_trade_no)).toMatchObject({ sub_code: 'ACQ.TRADE_NOT_EXIST' });
    simulator.control.buyerPays(placed.out_trade_no);

    const back = new URL(simulator.control.returnUrl(placed.out_trade_no)!);
    const fields = new Map(back.searchParams);
    fields.delete('x');
    expect(signatureHolds(notificationText(fields), fields.get('sign')!, simulator.alipayPublicKeyPem)).toBe(true);
    expect(fields.has('trade_status')).toBe(false);

    const forged = await (await fetch(url.replace('88.88', '00.01'))).text();
    expect(forged).toContain('isv.invalid-signature');
    const inApp = order({ product_code: 'QUICK_MSECURITY_PAY' });
    const parameters = client().sdkExecute('alipay.trade.app.pay', { timestamp: beijing(), bizContent: inApp });
    expect(simulator.control.buyerOpens(parameters)).toMatchObject({ outTradeNo: inApp.out_trade_no, status: 'WAIT_BUYER_PAY' });
  });
});

describe('a refund', () => {
  test('of the same number and another amount is discordant and moves nothing', async () => {
    const outTradeNo = await paid();
    await refund(outTradeNo, '1.00', 'R1');
    expect(await refund(outTradeNo, '2.00', 'R1')).toMatchObject({ sub_code: 'ACQ.DISCORDANT_REPEAT_REQUEST' });
    expect(await refund(outTradeNo, '87.89', 'R2')).toMatchObject({ sub_code: 'ACQ.REFUND_AMT_NOT_EQUAL_TOTAL' });
    expect(simulator.control.getTrade(outTradeNo).refunds.map(({ amount }) => amount)).toEqual([100n]);
  });

  test('waits for balance, and then succeeds under the same number', async () => {
    const outTradeNo = await paid();
    simulator.control.setBalance(99n);
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject({ sub_code: 'ACQ.SELLER_BALANCE_NOT_ENOUGH' });
    simulator.control.setBalance(100n);
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject({ fund_change: 'Y' });
  });

  test('follows another of the same trade by 3 s, not sooner', async () => {
    const at = Date.now();
    await restarted({ refundSpacingMs: 3_000, now: () => new Date(at) });
    const outTradeNo = await paid();
    await refund(outTradeNo, '1.00', 'R1');
    simulator.control.advanceClock(2_999);
    expect(await refund(outTradeNo, '1.00', 'R2')).toMatchObject({ code: '40005' });
    simulator.control.advanceClock(1);
    expect(await refund(outTradeNo, '1.00', 'R2')).toMatchObject({ fund_change: 'Y', refund_fee: '2.00' });
  });

  test('may for a while be a success without refund_status', async () => {
    await restarted({ refundVisibleAfterMs: 10_000 });
    const outTradeNo = await paid();
    await refund(outTradeNo, '1.00', 'R1');
    const early = await refundQuery(outTradeNo, 'R1');
    expect(early['code']).toBe('10000');
    expect(early).not.toHaveProperty('refund_status');
    simulator.control.advanceClock(10_000);
    expect(await refundQuery(outTradeNo, 'R1')).toMatchObject({ refund_status: 'REFUND_SUCCESS' });
    expect(await refundQuery(outTradeNo, 'unknown')).not.toHaveProperty('refund_status');
  });

  test('of a frozen trade, of an unpaid one and of none is refused', async () => {
    const outTradeNo = await paid();
    simulator.control.freeze(outTradeNo, true);
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject({ sub_code: 'ACQ.REASON_TRADE_BEEN_FREEZEN' });
    const unpaid = await precreated();
    expect(await refund(unpaid, '1.00', 'R1')).toMatchObject({ sub_code: 'ACQ.TRADE_NOT_EXIST' });
    simulator.control.buyerScans(unpaid);
    expect(await refund(unpaid, '1.00', 'R1')).toMatchObject({ sub_code: 'ACQ.TRADE_STATUS_ERROR' });
  });
});

describe('at the door', () => {
  const refusals: [string, { change?: Fields; after?: Fields }, string, string][] = [
    ['an unknown application', { change: { app_id: '2021000000009999' } }, '40002', 'isv.invalid-app-id'],
    ['no application', { change: { app_id: '' } }, '40001', 'isv.missing-app-id'],
    ['a stale timestamp', { change: { timestamp: beijing(Date.now() - 16 * 60_000) } }, '40002', 'isv.invalid-timestamp'],
    ['a timestamp in UTC', { change: { timestamp: beijing(Date.now() - 8 * 3_600_000) } }, '40002', 'isv.invalid-timestamp'],
    ['a changed amount', { after: { biz_content: '{"out_trade_no":"P1","total_amount":"0.01","subject":"x"}' } }, '40002', 'isv.invalid-signature'],
    ['a parameter added after signing', { after: { notify_url: 'http://evil.example/' } }, '40002', 'isv.invalid-signature'],
    ['no signature', { after: { sign: '' } }, '40001', 'isv.missing-signature'],
    ['SHA-1', { change: { sign_type: 'RSA' } }, '40002', 'isv.invalid-signature-type'],
    ['another charset', { change: { charset: 'gbk' } }, '40002', 'isv.invalid-charset'],
    ['an unknown method', { change: { method: 'alipay.trade.steal' } }, '40002', 'isv.invalid-method'],
    ['a body that is no JSON', { change: { biz_content: '{' } }, '40002', 'isv.invalid-parameter'],
  ];
  test.each(refusals)('%s is refused', async (_what, how, code, subCode) => {
    expect(await rawNode('alipay.trade.precreate', order(), how)).toMatchObject({ code, sub_code: subCode });
    expect(simulator.control.listTrades()).toEqual([]);
  });

  test('the application is checked before the time, and the time before the signature', async () => {
    const wrong = { change: { app_id: 'x', timestamp: '2020-01-01 00:00:00' }, after: { sign: 'AAAA' } };
    expect(await rawNode('alipay.trade.query', {}, wrong)).toMatchObject({ sub_code: 'isv.invalid-app-id' });
    const stale = { change: { timestamp: '2020-01-01 00:00:00' }, after: { sign: 'AAAA' } };
    expect(await rawNode('alipay.trade.query', {}, stale)).toMatchObject({ sub_code: 'isv.invalid-timestamp' });
  });

  test('a signature of another key, a parameter sent twice and a broken escape are refused', async () => {
    const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(await rawNode('alipay.trade.query', {}, { after: { sign: sign('x', stranger) } })).toMatchObject({ sub_code: 'isv.invalid-signature' });
    for (const query of ['app_id=1&app_id=1', 'app_id=%zz', 'app_id=%ff']) {
      const response = await fetch(`${simulator.gatewayUrl}?${query}`, { method: 'POST' });
      expect(await response.json()).toMatchObject({ error_response: { sub_code: 'isv.invalid-parameter' } });
    }
  });

  const malformed: [string, Record<string, unknown>, string][] = [
    ['an amount with three decimals', { total_amount: '88.888' }, 'ACQ.INVALID_PARAMETER'],
    ['an amount as a number', { total_amount: 88.88 }, 'ACQ.INVALID_PARAMETER'],
    ['no money', { total_amount: '0.00' }, 'ACQ.INVALID_PARAMETER'],
    ['an exponent', { total_amount: '1e2' }, 'ACQ.INVALID_PARAMETER'],
    ['a number with a dash', { out_trade_no: 'P-1' }, 'ACQ.INVALID_PARAMETER'],
    ['a subject with =', { subject: 'a=b' }, 'ACQ.INVALID_PARAMETER'],
    ['an expiry in the past', { time_expire: '2020-01-01 00:00:00' }, 'ACQ.INVALID_PARAMETER'],
    ['no subject', { subject: undefined }, 'isv.invalid-parameter'],
  ];
  test.each(malformed)('%s is refused', async (_what, over, subCode) => {
    expect(await rawNode('alipay.trade.precreate', { ...order(), ...over })).toMatchObject({ sub_code: subCode });
  });

  test('what is wrong with a signature is said with the text that was expected', async () => {
    const { sub_msg: message } = await rawNode('alipay.trade.query', { out_trade_no: 'P1' }, { after: { version: '1.1' } });
    expect(message).toContain(`app_id=${simulator.appId}&amp;biz_content={&quot;out_trade_no&quot;:&quot;P1&quot;}`);
  });

  test('answers escape slashes, keep Chinese and sign the exact bytes', async () => {
    const outTradeNo = await precreated({ body: '壶/杯 "sign"' });
    simulator.control.buyerScans(outTradeNo);
    const response = await raw('alipay.trade.query', { out_trade_no: outTradeNo });
    const text = await response.text();
    expect(text).toContain('壶\\/杯 \\"sign\\"');
    const content = text.slice(text.indexOf(':') + 1, text.lastIndexOf(',"sign":'));
    const signature = (JSON.parse(text) as Answer)['sign'] as string;
    expect(signatureHolds(content, signature, simulator.alipayPublicKeyPem)).toBe(true);
    expect(signatureHolds(content.replaceAll('\\/', '/'), signature, simulator.alipayPublicKeyPem)).toBe(false);
  });
});

describe('a fault', () => {
  // The SDK's HTTP client sends a POST once more by itself after a broken connection.
  const timesTried = (kind: FaultKind): number => (kind.includes('drop') || kind === 'connection-reset' ? 2 : 1);
  const failing: [FaultKind, boolean][] = [
    ['drop-before-commit', false],
    ['connection-reset', false],
    ['commit-then-drop', true],
    ['http-500', false],
    ['html-body', false],
    ['truncated', true],
    ['bad-signature', true],
    ['no-signature', true],
  ];
  test.each(failing)('%s fails the call; executed: %s', async (kind, executed) => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind, times: timesTried(kind) });
    await expect(refund(outTradeNo, '1.00', 'R1')).rejects.toThrow();
    expect(simulator.control.getTrade(outTradeNo).refunds).toHaveLength(executed ? 1 : 0);
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject({ code: '10000', fund_change: executed ? 'N' : 'Y' });
    expect(simulator.control.events().at(-2)).toMatchObject({ fault: kind, method: 'alipay.trade.refund' });
  });

  const refusing: [FaultKind, Answer][] = [
    ['rate-limit', { code: '40005', sub_code: 'isv.app-call-limited' }],
    ['system-error', { code: '40004', sub_code: 'ACQ.SYSTEM_ERROR' }],
    ['refund-not-executed', { code: '10000', fund_change: 'N' }],
  ];
  test.each(refusing)('%s is answered, and nothing is executed', async (kind, answer) => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind });
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject(answer);
    expect(simulator.control.getTrade(outTradeNo).refunds).toEqual([]);
  });

  test('may be an error although the refund was executed', async () => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'refund', kind: 'system-error', committed: true });
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject({ sub_code: 'ACQ.SYSTEM_ERROR' });
    expect(simulator.control.getTrade(outTradeNo).refunds).toHaveLength(1);
  });

  test('strikes by ordinal and as often as planned', async () => {
    const outTradeNo = await paid();
    simulator.control.faults.add({ operation: 'query', kind: 'rate-limit', ordinal: 2, times: 2 });
    const codes = [];
    for (let call = 0; call < 4; call += 1) codes.push((await query(outTradeNo))['code']);
    expect(codes).toEqual(['10000', '40005', '40005', '10000']);
  });

  test('may be an answer of a while ago', async () => {
    const outTradeNo = await paid();
    await refund(outTradeNo, '1.00', 'R1');
    simulator.control.advanceClock(60_000);
    await refund(outTradeNo, '87.88', 'R2');
    const stale = async (delayMs: number): Promise<unknown[]> => {
      simulator.control.faults.add({ operation: 'query', kind: 'stale-answer', delayMs });
      simulator.control.faults.add({ operation: 'alipay.trade.fastpay.refund.query', kind: 'stale-answer', delayMs, times: 2 });
      const { trade_status: status, sub_code: code } = await query(outTradeNo);
      const refunds = await Promise.all(['R1', 'R2'].map((number) => refundQuery(outTradeNo, number)));
      return [status ?? code, ...refunds.map((answer) => answer['refund_status'] ?? answer['sub_code'])];
    };
    expect(await stale(0)).toEqual(['TRADE_CLOSED', 'REFUND_SUCCESS', 'REFUND_SUCCESS']);
    expect(await stale(30_000)).toEqual(['TRADE_SUCCESS', 'REFUND_SUCCESS', undefined]);
    expect(await stale(90_000)).toEqual(['ACQ.TRADE_NOT_EXIST', 'ACQ.TRADE_NOT_EXIST', 'ACQ.TRADE_NOT_EXIST']);
  });

  test('gives error_response signed or unsigned, the signature first, and a smuggled second node', async () => {
    const outTradeNo = await paid();
    const answered = async (kind: FaultKind): Promise<string> => {
      simulator.control.faults.add({ operation: 'query', kind });
      return await (await raw('alipay.trade.query', { out_trade_no: outTradeNo })).text();
    };
    expect(JSON.parse(await answered('unsigned-error-response'))).toEqual({ error_response: expect.objectContaining({ code: '20000' }) });
    expect(JSON.parse(await answered('error-response'))).toHaveProperty('sign');
    expect(await answered('sign-first')).toMatch(/^\{"sign":"/);
    expect(await answered('smuggled-node')).toMatch(/alipay_trade_query_response.*"sign":.*alipay_trade_query_response/);
  });

  test('holds an answer back while the payment goes on', async () => {
    simulator.control.faults.add({ operation: 'precreate', kind: 'hold' });
    const placed = order();
    const answer = sdk('alipay.trade.precreate', placed);
    await simulator.control.holding('precreate');
    simulator.control.buyerPays(placed.out_trade_no);
    simulator.control.release();
    expect(await answer).toMatchObject({ code: '10000' });
  });

  test('delays and trickles without changing the answer', async () => {
    const outTradeNo = await paid();
    for (const kind of ['delay', 'slow-trickle'] as const) {
      simulator.control.faults.add({ operation: 'query', kind, delayMs: 1 });
      expect(await query(outTradeNo)).toMatchObject({ trade_status: 'TRADE_SUCCESS' });
    }
  });
});

describe('a notification', () => {
  interface Received {
    readonly raw: string;
    readonly fields: Map<string, string>;
    readonly contentType: string;
  }
  let merchant: Server;
  let notifyUrl: string;
  let received: Received[];
  let reply: (count: number) => { status?: number; body: string };

  beforeEach(async () => {
    received = [];
    reply = () => ({ body: 'success' });
    merchant = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (piece: string) => (body += piece));
      request.on('end', () => {
        received.push({ raw: body, fields: new Map(new URLSearchParams(body)), contentType: request.headers['content-type'] ?? '' });
        const answer = reply(received.length);
        response.writeHead(answer.status ?? 200).end(answer.body);
      });
    });
    await new Promise<void>((resolve) => merchant.listen(0, '127.0.0.1', resolve));
    notifyUrl = `http://127.0.0.1:${(merchant.address() as AddressInfo).port}/notify`;
  });
  afterEach(async () => {
    await new Promise((resolve) => merchant.close(resolve));
  });

  const holds = (fields: Map<string, string>): boolean => signatureHolds(notificationText(fields), fields.get('sign') ?? '', simulator.alipayPublicKeyPem);
  const statuses = () => received.map(({ fields }) => [fields.get('trade_status'), fields.get('refund_fee')]);
  const attempts = () => simulator.control.notifications().map((one) => one.attempts.map(({ acknowledged }) => acknowledged));
  const withNotify = () => ({ notify_url: notifyUrl });

  test('tells of the payment once it is acknowledged with exactly success', async () => {
    const awkward = { body: '100%+a&b="c" {"d":[1]}', passback_params: 'a%3D1%26b%3D%25' };
    const outTradeNo = await paid(awkward, withNotify());
    await simulator.control.idle();
    const [{ fields, contentType }] = received as [Received];
    expect(contentType).toBe('application/x-www-form-urlencoded; charset=utf-8');
    expect(Object.fromEntries(fields)).toMatchObject({
      ...awkward,
      out_trade_no: outTradeNo,
      trade_status: 'TRADE_SUCCESS',
      total_amount: '88.88',
      sign_type: 'RSA2',
      notify_type: 'trade_status_sync',
      app_id: simulator.appId,
      seller_id: simulator.sellerId,
    });
    for (const absent of ['refund_fee', 'gmt_refund', 'out_biz_no']) expect(fields.has(absent)).toBe(false);
    expect(holds(fields)).toBe(true);
    expect(signatureHolds(requestText(fields), fields.get('sign')!, simulator.alipayPublicKeyPem)).toBe(false);
    expect(client().checkNotifySignV2(Object.fromEntries(fields))).toBe(true);
    expect(simulator.control.notifications()).toMatchObject([{ state: 'acknowledged', attempts: [{ status: 200, reply: 'success', acknowledged: true }] }]);
  });

  test('is signed with the key of the certificate in certificate mode, and does not name it', async () => {
    await restarted({ certificateMode: true });
    await paid({}, withNotify());
    await simulator.control.idle();
    const fields = Object.fromEntries(received[0]!.fields);
    expect(client().checkNotifySignV2(fields)).toBe(true);
    expect(fields).not.toHaveProperty('alipay_cert_sn');

    simulator.control.renewCertificate();
    expect(client().checkNotifySignV2(fields)).toBe(false);
    await paid({}, withNotify());
    await simulator.control.idle();
    expect(client().checkNotifySignV2(Object.fromEntries(received[1]!.fields))).toBe(true);
  });

  test('of a refund carries the cumulative amount, and TRADE_CLOSED with the last one', async () => {
    const outTradeNo = await paid({}, withNotify());
    await simulator.control.idle();
    for (const [amount, requestNo] of [['8.88', 'R1'], ['80.00', 'R2']] as const) {
      await refund(outTradeNo, amount, requestNo);
      await simulator.control.idle();
    }
    expect(statuses()).toEqual([['TRADE_SUCCESS', undefined], ['TRADE_SUCCESS', '8.88'], ['TRADE_CLOSED', '88.88']]);
    expect(received.map(({ fields }) => fields.get('out_biz_no'))).toEqual([undefined, 'R1', 'R2']);
    expect(received[1]!.fields.get('gmt_refund')).toMatch(/ \d\d:\d\d:\d\d\.\d{3}$/);
  });

  test('follows a refund outside, a close, an expiry and the end of the refund window', async () => {
    simulator.control.refundOutside(await paid({}, withNotify()), 100n);
    const closing = await precreated({}, withNotify());
    simulator.control.buyerScans(closing);
    await sdk('alipay.trade.close', { out_trade_no: closing });
    simulator.control.buyerScans(await precreated({}, withNotify()));
    simulator.control.advanceClock(2 * 3_600_000);
    await simulator.control.idle();
    expect(statuses().map(String).sort()).toEqual(['TRADE_CLOSED,', 'TRADE_CLOSED,', 'TRADE_SUCCESS,', 'TRADE_SUCCESS,1.00']);
    expect(received.filter(({ fields }) => fields.get('trade_status') === 'TRADE_CLOSED').some(({ fields }) => fields.has('gmt_payment'))).toBe(false);

    simulator.control.finish(await paid({}, withNotify()));
    await simulator.control.idle();
    expect(statuses().map(String)).toContain('TRADE_FINISHED,0.00');
  });

  test('comes eight times with the same bytes, and then no more', async () => {
    await restarted({ timeFactor: 1e-9 });
    reply = () => ({ body: 'success\n' });
    await paid({}, withNotify());
    await simulator.control.settled();
    expect(received).toHaveLength(8);
    expect(new Set(received.map(({ raw: body }) => body)).size).toBe(1);
    expect(simulator.control.notifications()).toMatchObject([{ state: 'given-up' }]);
  });

  test.each([
    [{ status: 200, body: 'SUCCESS' }],
    [{ status: 200, body: '<p>success</p>' }],
    [{ status: 201, body: 'success' }],
    [{ status: 302, body: 'success' }],
    [{ status: 500, body: 'success' }],
  ])('is repeated after %j, until it is acknowledged', async (refusal) => {
    await restarted({ timeFactor: 1e-9 });
    reply = (count) => (count < 3 ? refusal : { body: 'success' });
    await paid({}, withNotify());
    await simulator.control.settled();
    expect(attempts()).toEqual([[false, false, true]]);
  });

  test('is repeated by the schedule of the platform as its clock advances', async () => {
    reply = () => ({ body: 'fail' });
    const at = Date.now();
    await restarted({ now: () => new Date(at) });
    await paid({}, withNotify());
    const counts = [];
    for (const minutes of [0, 3, 1, 10, 10, 60]) {
      simulator.control.advanceClock(minutes * 60_000);
      await simulator.control.idle();
      counts.push(received.length);
    }
    expect(counts).toEqual([1, 1, 2, 3, 4, 5]);
  });

  test('to nobody is recorded as unanswered', async () => {
    await paid({}, { notify_url: 'http://127.0.0.1:1/notify' });
    await simulator.control.idle();
    expect(simulator.control.notifications()).toMatchObject([{ state: 'waiting', attempts: [{ status: null, acknowledged: false }] }]);
  });

  test('can be withheld and delivered later', async () => {
    simulator.control.notificationPlan({ mode: 'never' });
    await paid({}, withNotify());
    await simulator.control.idle();
    expect(received).toEqual([]);
    const [withheld] = simulator.control.notifications();
    expect(withheld?.state).toBe('withheld');
    expect(await simulator.control.redeliver(withheld!.notification.id)).toMatchObject({ acknowledged: true });
    expect(holds(received[0]!.fields)).toBe(true);
  });

  test('can come twice, and again later with its old time', async () => {
    simulator.control.notificationPlan({ mode: 'duplicate', times: 1 });
    const outTradeNo = await paid({}, withNotify());
    await simulator.control.idle();
    expect(received.map(({ raw: body }) => body)).toEqual([received[0]!.raw, received[0]!.raw]);

    simulator.control.notificationPlan({ mode: 'replay' });
    await refund(outTradeNo, '1.00', 'R1');
    await simulator.control.idle();
    expect(statuses().slice(2)).toEqual([['TRADE_SUCCESS', '1.00'], ['TRADE_SUCCESS', undefined], ['TRADE_SUCCESS', '1.00']]);
  });

  test('can be forged, altered, cut, or about somebody else', async () => {
    for (const mode of ['forged', 'altered-amount', 'truncated', 'other-app', 'other-seller'] as const) {
      simulator.control.notificationPlan({ mode, times: 1 });
      await paid({}, withNotify());
      await simulator.control.idle();
    }
    expect(received.map(({ fields }) => holds(fields))).toEqual([false, false, false, true, true]);
    expect(received.map(({ fields }) => fields.get('app_id') === simulator.appId)).toEqual([true, true, true, false, true]);
    expect(received[1]!.fields.get('total_amount')).toBe('88.89');
    expect(received[4]!.fields.get('seller_id')).not.toBe(simulator.sellerId);
  });

  test('of a refund can arrive before that of its payment', async () => {
    simulator.control.notificationPlan({ mode: 'reorder' });
    const outTradeNo = await paid({}, withNotify());
    await refund(outTradeNo, '1.00', 'R1');
    await simulator.control.idle();
    expect(statuses()).toEqual([['TRADE_SUCCESS', '1.00'], ['TRADE_SUCCESS', undefined]]);
  });

  test('comes after the reply of its call, or before it when planned', async () => {
    const outTradeNo = await paid();
    const notified = await paid({}, withNotify());
    await simulator.control.idle();
    const seen: string[] = [];
    reply = () => {
      seen.push('notified');
      return { body: 'success' };
    };
    simulator.control.notificationPlan({ mode: 'before-reply' });
    await refund(notified, '1.00', 'R1');
    seen.push('replied');
    expect(seen).toEqual(['notified', 'replied']);

    simulator.control.notificationPlan({ mode: 'normal' });
    simulator.control.faults.add({ operation: 'refund', kind: 'hold' });
    const answering = refund(notified, '1.00', 'R2');
    await simulator.control.holding('refund');
    expect(await query(outTradeNo)).toMatchObject({ code: '10000' });
    expect(seen).toEqual(['notified', 'replied']);
    simulator.control.release();
    await answering;
    await simulator.control.idle();
    expect(seen).toEqual(['notified', 'replied', 'notified']);
  });

  test('of a refund whose answer was lost comes all the same', async () => {
    const outTradeNo = await paid({}, withNotify());
    simulator.control.faults.add({ operation: 'refund', kind: 'commit-then-drop', times: 2 });
    await expect(refund(outTradeNo, '1.00', 'R1')).rejects.toThrow();
    await simulator.control.idle();
    expect(statuses()).toContainEqual(['TRADE_SUCCESS', '1.00']);
  });

  test('shows what the buyer really paid', async () => {
    const outTradeNo = await precreated({}, withNotify());
    simulator.control.buyerPays(outTradeNo, { amountOverride: 1n });
    await simulator.control.idle();
    expect(received[0]!.fields.get('total_amount')).toBe('0.01');
    expect(holds(received[0]!.fields)).toBe(true);
  });
});

describe('a bill', () => {
  const NOON = Date.parse('2026-03-01T12:00:00+08:00');
  const HOUR_MS = 3_600_000;
  const METHOD = 'alipay.data.dataservice.bill.downloadurl.query';
  const apply = (bill_date: string, bill_type = 'trade') => rawNode(METHOD, { bill_type, bill_date });
  const nextMorning = () => simulator.control.advanceClock(NOON + 21 * HOUR_MS - simulator.control.now().getTime());
  const urlOf = async (day: string) => (await apply(day))['bill_download_url'] as string;

  /** The files of a bill by name, as lines. */
  async function files(bytes: Buffer): Promise<[string, string[]][]> {
    const zip = await yauzl.fromBufferPromise(bytes, { decodeStrings: false });
    const found: [string, string[]][] = [];
    for await (const entry of zip.eachEntry()) {
      expect(entry.generalPurposeBitFlag & 0x0800).toBe(0);
      const content = iconv.decode(await buffer(await zip.openReadStreamPromise(entry)), 'gbk');
      found.push([iconv.decode(entry.fileNameRaw, 'gbk'), content.split('\r\n')]);
    }
    return found;
  }
  async function download(day = '2026-03-01'): Promise<[string, string[]][]> {
    const response = await fetch(await urlOf(day));
    expect(response.status).toBe(200);
    return files(Buffer.from(await response.arrayBuffer()));
  }
  /** By the header's texts, trimmed. */
  function table(lines: readonly string[]): Fields[] {
    const at = lines.findIndex((line) => line !== '' && !line.startsWith('#'));
    const names = lines[at]!.split(',');
    const rows = lines.slice(at + 1).filter((line) => line !== '' && !line.startsWith('#'));
    return rows.map((line) => Object.fromEntries(line.split(',').map((cell, column) => [names[column]!, cell.trim()])));
  }
  const rows = async (): Promise<Fields[]> => table((await download())[0]![1]);

  beforeEach(async () => {
    await restarted({ now: () => new Date(NOON) });
  });

  test('tells the payments and refunds of its day in two files of GBK', async () => {
    const outTradeNo = await paid({ subject: '一壶茶,"好"', body: '附言' });
    await refund(outTradeNo, '8.88', 'R1');
    nextMorning();
    await refund(outTradeNo, '1.00', 'R2');
    const [[name, lines], [summaryName, summary]] = (await download()) as [[string, string[]], [string, string[]]];
    const account = `${simulator.sellerId}0156`;
    expect([name, summaryName]).toEqual([`${account}_20260301_业务明细.csv`, `${account}_20260301_业务明细(汇总).csv`]);
    expect(lines.slice(0, 5)).toEqual([
      '#支付宝业务明细查询',
      `#账号：[${account}]`,
      '#起始日期：[2026年03月01日 00:00:00]   终止日期：[2026年03月02日 00:00:00]',
      expect.stringMatching(/^#-+业务明细列表-+$/),
      '支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注',
    ]);
    expect(lines[5]).toContain(`\t,${outTradeNo}\t,交易\t,一壶茶好  `);

    const { tradeNo } = simulator.control.getTrade(outTradeNo);
    const common = { 支付宝交易号: tradeNo, 商户订单号: outTradeNo, 商品名称: '一壶茶好', 完成时间: '2026-03-01 12:00:00' };
    expect(table(lines)).toMatchObject([
      { ...common, 业务类型: '交易', '订单金额（元）': '88.88', '商家实收（元）': '88.88', '退款批次号/请求号': '', 备注: '附言' },
      { ...common, 业务类型: '退款', '订单金额（元）': '-8.88', '商家实收（元）': '-8.88', '退款批次号/请求号': 'R1' },
    ]);
    expect(lines.slice(-5)).toEqual([
      expect.stringMatching(/^#-+业务明细列表结束-+$/),
      '#交易合计：1笔，商家实收共88.88元，商家优惠共0.00元',
      '#退款合计：1笔，商家实收退款共-8.88元，商家优惠退款共0.00元',
      '#导出时间：[2026年03月02日 09:00:00]',
      '',
    ]);
    expect(table(summary)).toMatchObject([{ 门店编号: '合计', 交易订单总笔数: '1', 退款订单总笔数: '1', '实收净额（元）': '80.00' }]);
  });

  test('is ready on the next morning, and not there without a trade', async () => {
    await paid();
    expect(await apply('2026-03-01')).toMatchObject({ code: '40004', sub_code: 'INVAILID_ARGUMENTS' });
    simulator.control.advanceClock(21 * HOUR_MS - 1);
    expect(await apply('2026-03-01')).toMatchObject({ code: '40004', sub_code: 'BILL_NOT_EXIST' });
    simulator.control.advanceClock(1);
    expect(await apply('2026-03-01')).toMatchObject({ code: '10000' });
    expect(await apply('2026-02-28')).toMatchObject({ code: '40004', sub_code: 'BILL_NOT_EXIST' });
  });

  test.each(['2026-02-30', '2026-02', '20260228', '2015-12-31', '2027-01-01'])('of %s is no bill', async (day) => {
    expect(await apply(day)).toMatchObject({ code: '40004', sub_code: 'INVAILID_ARGUMENTS' });
  });

  test('of accounts and of no type is refused', async () => {
    expect(await apply('2026-02-28', 'signcustomer')).toMatchObject({ code: '40006', sub_code: 'isv.insufficient-isv-permissions' });
    expect(await apply('2026-02-28', 'gossip')).toMatchObject({ code: '40004', sub_code: 'INVAILID_ARGUMENTS' });
  });

  test('is fetched within 30 s or not at all', async () => {
    await paid();
    nextMorning();
    const url = await urlOf('2026-03-01');
    simulator.control.advanceClock(30_000);
    expect((await fetch(url)).status).toBe(200);
    simulator.control.advanceClock(1);
    expect((await fetch(url)).status).toBe(404);
    expect((await fetch(url.replace(/token=.*/, 'token=x'))).status).toBe(404);
  });

  test('can be cut, and fail to come', async () => {
    await paid();
    nextMorning();
    simulator.control.faults.add({ operation: 'bill-file', kind: 'truncated' });
    simulator.control.faults.add({ operation: 'bill-file', kind: 'http-500', ordinal: 2 });
    const url = await urlOf('2026-03-01');
    await expect(files(Buffer.from(await (await fetch(url)).arrayBuffer()))).rejects.toThrow();
    expect((await fetch(url)).status).toBe(500);
    expect((await fetch(url)).status).toBe(200);
  });

  test('can be made to differ, also after a restart', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'alipay-simulator-'));
    const options = { now: () => new Date(NOON), stateFile: join(folder, 'state.json') };
    await restarted(options);
    const [dropped, altered] = [await paid(), await paid()];
    const day = '2026-03-01';
    simulator.control.changeBill({ day, kind: 'drop', no: dropped });
    simulator.control.changeBill({ day, kind: 'alter', no: altered, amount: 8889n });
    simulator.control.changeBill({ day, kind: 'add', outTradeNo: 'P_of_nobody', amount: 5n });
    simulator.control.changeBill({ day, kind: 'add', outTradeNo: altered, amount: 7n, outRequestNo: 'R_of_nobody' });
    expect(() => simulator.control.changeBill({ day: 'today', kind: 'drop', no: altered })).toThrow('today is no day');
    await restarted(options);
    nextMorning();
    expect((await rows()).map((row) => [row['商户订单号'], row['退款批次号/请求号'], row['商家实收（元）']])).toEqual([
      [altered, '', '88.89'],
      ['P_of_nobody', '', '0.05'],
      [altered, 'R_of_nobody', '-0.07'],
    ]);
    rmSync(folder, { recursive: true });
  });
});

describe('certificate mode', () => {
  beforeEach(async () => {
    await restarted({ certificateMode: true });
  });

  const serials = () => ({ app_cert_sn: certificateSn(simulator.appCertificatePem!), alipay_root_cert_sn: rootCertificateSn(simulator.alipayRootCertificatePem!) });
  const download = (alipay_cert_sn: string) => rawNode('alipay.open.app.alipaycert.download', { alipay_cert_sn }, { change: serials() });
  const asked = async () => (await (await raw('alipay.trade.query', { out_trade_no: 'none' }, { change: serials() })).json()) as Fields;

  test("carries a payment and its refund by the platform's own SDK", async () => {
    const outTradeNo = await paid();
    expect(await refund(outTradeNo, '1.00', 'R1')).toMatchObject({ code: '10000', fund_change: 'Y' });
    expect(await query(outTradeNo)).toMatchObject({ code: '10000', trade_status: 'TRADE_SUCCESS' });
  });

  test('has two certificates under a root, and an EC root that counts for nothing', () => {
    const bundle = simulator.alipayRootCertificatePem!.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----\n/g)!.map((pem) => new X509Certificate(pem));
    const [ec, root] = bundle as [X509Certificate, X509Certificate];
    expect(bundle.map(({ publicKey }) => publicKey.asymmetricKeyType)).toEqual(['ec', 'rsa']);
    expect(bundle.every((one) => one.ca && one.verify(one.publicKey))).toBe(true);
    expect(rootCertificateSn(simulator.alipayRootCertificatePem!)).toBe(certificateSn(root.toString()));
    for (const pem of [simulator.appCertificatePem!, simulator.alipayCertificatePem!]) {
      const certificate = new X509Certificate(pem);
      expect([certificate.checkIssued(root) && certificate.verify(root.publicKey), certificate.verify(ec.publicKey)]).toEqual([true, false]);
    }
    const alipay = new X509Certificate(simulator.alipayCertificatePem!).publicKey;
    expect(alipay.equals(createPublicKey(simulator.alipayPublicKeyPem))).toBe(true);
  });

  const refusals: [string, Fields, string][] = [
    ['without that of the application', { app_cert_sn: '' }, 'isv.missing-app-cert-sn'],
    ['with another of the application', { app_cert_sn: '0'.repeat(32) }, 'isv.app-cert-not-exist'],
    ['without that of the root', { alipay_root_cert_sn: '' }, 'isv.missing-alipay-root-cert-sn'],
    ['with another of the root', { alipay_root_cert_sn: '0'.repeat(32) }, 'isv.invalid-alipay-root-cert-sn'],
  ];
  test.each(refusals)('refuses a call %s', async (_what, change, subCode) => {
    expect(await rawNode('alipay.trade.query', { out_trade_no: 'none' }, { change: { ...serials(), ...change } })).toMatchObject({ code: '40002', sub_code: subCode });
  });

  test('goes over to a new certificate, and gives both away by their numbers', async () => {
    const old = { pem: simulator.alipayCertificatePem!, client: client() };
    const before = await asked();
    expect(before['alipay_cert_sn']).toBe(certificateSn(old.pem));

    simulator.control.renewCertificate();
    const renewed = await asked();
    expect(renewed['alipay_cert_sn']).toBe(certificateSn(simulator.alipayCertificatePem!));
    expect(renewed['alipay_cert_sn']).not.toBe(before['alipay_cert_sn']);
    for (const pem of [old.pem, simulator.alipayCertificatePem!]) {
      const { alipay_cert_content: content } = await download(certificateSn(pem));
      expect(Buffer.from(content as string, 'base64').toString()).toBe(pem);
    }
    expect(await download('0'.repeat(32))).toMatchObject({ code: '40002', sub_code: 'isv.alipay-cert-not-exist' });

    const call = { timestamp: beijing(), bizContent: { out_trade_no: 'none' } };
    await expect(old.client.exec('alipay.trade.query', call, { validateSign: true })).rejects.toThrow('验签失败');
    expect(await query('none')).toMatchObject({ sub_code: 'ACQ.TRADE_NOT_EXIST' });
  });

  test('names a certificate that nobody has, and puts all proof before the node, as planned', async () => {
    simulator.control.faults.add({ operation: 'query', kind: 'wrong-serial' });
    simulator.control.faults.add({ operation: 'query', kind: 'sign-first', ordinal: 2 });
    expect(await download((await asked())['alipay_cert_sn']!)).toMatchObject({ sub_code: 'isv.alipay-cert-not-exist' });
    expect(Object.keys(await asked())).toEqual(['alipay_cert_sn', 'sign', 'alipay_trade_query_response']);
    expect(Object.keys(await asked())).toEqual(['alipay_trade_query_response', 'alipay_cert_sn', 'sign']);
  });

  test('stays over a restart, with the renewed certificate', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'alipay-simulator-'));
    const stateFile = join(folder, 'state.json');
    await restarted({ certificateMode: true, stateFile });
    simulator.control.renewCertificate();
    const { keys: before, alipayCertificatePem, alipayPublicKeyPem } = simulator;
    await simulator.stop();
    simulator = await startAlipaySimulator({ certificateMode: true, stateFile });
    expect(simulator.keys).toEqual(before);
    expect([simulator.alipayCertificatePem, simulator.alipayPublicKeyPem]).toEqual([alipayCertificatePem, alipayPublicKeyPem]);
    expect(await query('none')).toMatchObject({ sub_code: 'ACQ.TRADE_NOT_EXIST' });
    rmSync(folder, { recursive: true });
  });

  test('is an account with certificates, and key mode one without', async () => {
    const certified = alipayAccount(simulator);
    expect(certified).toMatchObject({ app_certificate: simulator.appCertificatePem, alipay_certificate: simulator.alipayCertificatePem });
    expect(certified).toMatchObject({ alipay_root_certificates: simulator.alipayRootCertificatePem });
    expect(certified).not.toHaveProperty('alipay_public_key');

    await restarted({});
    expect([simulator.appCertificatePem, simulator.alipayCertificatePem, simulator.alipayRootCertificatePem]).toEqual([null, null, null]);
    expect(() => simulator.control.renewCertificate()).toThrow('key mode');
    expect(alipayAccount(simulator)).toMatchObject({ alipay_public_key: simulator.alipayPublicKeyPem });
    expect(alipayAccount(simulator)).not.toHaveProperty('app_certificate');
  });
});

describe('the control over HTTP', () => {
  const post = async (act: string, body: object) => {
    const request = { method: 'POST', path: `/alipay/${act}`, query: '', headers: {}, body: Buffer.from(JSON.stringify(body)) };
    return answered(await simulator.answerControl(request));
  };
  const get = async (view: string) => {
    const request = { method: 'GET', path: `/alipay/${view}`, query: '', headers: {}, body: Buffer.alloc(0) };
    return answered(await simulator.answerControl(request)).body as Answer | Answer[];
  };
  const answered = (reply: HttpReply) => {
    if (reply.kind !== 'answer') throw new Error(`the control gave no answer: ${reply.kind}`);
    return { status: reply.status, body: JSON.parse(reply.body.toString()) as Answer };
  };

  test('plays the buyer, plans faults and shows the books', async () => {
    const outTradeNo = await precreated();
    expect(await post('buyer-scans', { out_trade_no: outTradeNo })).toMatchObject({ status: 200, body: { status: 'WAIT_BUYER_PAY' } });
    expect(await post('buyer-pays', { out_trade_no: outTradeNo, amount_fen: '8888' })).toMatchObject({ body: { status: 'TRADE_SUCCESS', paid: '8888' } });
    expect(await post('refund-outside', { out_trade_no: outTradeNo, amount_fen: '100' })).toMatchObject({ body: { refunds: [{ amount: '100' }] } });
    expect(await post('faults', { operation: 'query', kind: 'rate-limit' })).toMatchObject({ status: 200 });
    expect(await query(outTradeNo)).toMatchObject({ code: '40005' });
    expect(await get('trades')).toHaveLength(1);
    expect(await get(`trades/${outTradeNo}`)).toMatchObject({ total: '8888' });
    expect(((await get('events')) as Answer[]).map((event) => event['code'])).toEqual(['10000', '40005']);
    expect(await get('notifications')).toEqual([]);
  });

  test('changes bills and renews the certificate', async () => {
    for (const change of [{ kind: 'drop', no: 'P1' }, { kind: 'alter', no: 'P1', amount_fen: '1' }, { kind: 'add', out_trade_no: 'P1', amount_fen: '1', out_request_no: 'R1' }]) {
      expect(await post('bill-change', { day: '2026-03-01', ...change })).toMatchObject({ status: 200 });
    }
    expect(await post('renew-certificate', {})).toMatchObject({ status: 409 });
    await restarted({ certificateMode: true });
    expect(await post('renew-certificate', {})).toMatchObject({ status: 200 });
    expect(simulator.keys.certificates!.alipayPems).toHaveLength(2);
  });

  test('says in a sentence what cannot be done', async () => {
    expect(await post('buyer-pays', { out_trade_no: 'none' })).toEqual({ status: 409, body: { error: 'there is no order none' } });
    expect(await post('faults', { operation: 'query', kind: 'gremlins' })).toMatchObject({ status: 409 });
    expect(await post('balance', { amount_fen: 1.5 })).toMatchObject({ status: 409 });
    expect(await post('redeliver', { notify_id: 'none' })).toMatchObject({ status: 409 });
    expect(await post('bill-change', { day: 'today', kind: 'drop', no: 'P1' })).toMatchObject({ status: 409 });
    expect(await post('dance', {})).toMatchObject({ status: 404 });
  });

  test('is not to be found at the gateway', async () => {
    const elsewhere = simulator.gatewayUrl.replace('/gateway.do', '/alipay/trades');
    expect((await fetch(elsewhere)).status).toBe(404);
  });
});

describe('the keys and the state', () => {
  test('stay over a restart', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'alipay-simulator-'));
    const stateFile = join(folder, 'state.json');
    await restarted({ stateFile });
    const outTradeNo = await paid();
    await refund(outTradeNo, '1.00', 'R1');
    const before = simulator.keys;

    await simulator.stop();
    simulator = await startAlipaySimulator({ stateFile });
    expect(simulator.keys).toEqual(before);
    expect(await query(outTradeNo)).toMatchObject({ trade_status: 'TRADE_SUCCESS' });
    expect(simulator.control.getTrade(outTradeNo)).toMatchObject({ total: 8888n, refunds: [{ amount: 100n }] });
    rmSync(folder, { recursive: true });
  });

  test('of another format are set aside, not overwritten', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'alipay-simulator-'));
    const stateFile = join(folder, 'state.json');
    writeFileSync(stateFile, '{"trades":[]}');
    await restarted({ stateFile });
    expect(readFileSync(`${stateFile}.set-aside`, 'utf8')).toBe('{"trades":[]}');
    expect(existsSync(stateFile)).toBe(true);
    rmSync(folder, { recursive: true });
  });

  test('of an application that keeps its private key', async () => {
    const application = generateKeyPairSync('rsa', { modulusLength: 2048 });
    await restarted({ appPublicKeyPem: application.publicKey.export({ type: 'spki', format: 'pem' }).toString() });
    expect(() => simulator.appPrivateKeyPem).toThrow('only the public key');
  });
});

describe('the independent vectors', () => {
  interface Vector {
    readonly params: Fields;
    readonly stringToVerify: string;
    readonly content: string;
    readonly sign: string;
    readonly publicKeyPem: string;
  }
  const vectors = vectorsOf('alipay');
  const vector = (id: string) => vectors![id] as unknown as Vector;
  const independent = testVectors(vectors);

  independent('A1, a notification, verifies as the simulator signs, and no altered copy does', () => {
    const { params, stringToVerify, sign: signature, publicKeyPem } = vector('A1');
    const fields = new Map(Object.entries(params)).set('sign', signature);
    expect(notificationText(fields)).toBe(stringToVerify);
    expect(signatureHolds(notificationText(fields), signature, publicKeyPem)).toBe(true);
    expect(signatureHolds(requestText(fields), signature, publicKeyPem)).toBe(false);
    expect(signatureHolds(notificationText(fields.set('total_amount', '0.11')), signature, publicKeyPem)).toBe(false);
  });

  independent.each([false, true])('A3, an answer, verifies within the simulator\'s envelope; signature first: %s', (signFirst) => {
    const { content, sign: signature, publicKeyPem } = vector('A3');
    const name = 'alipay_open_file_upload_response';
    const text = envelope({ name, content, alipayCertSn: null, signature, signFirst });
    expect(JSON.parse(text)).toMatchObject({ [name]: { code: '10000' }, sign: signature });
    const at = text.indexOf(content);
    const signed = text.slice(at, at + content.length);
    expect(signatureHolds(signed, signature, publicKeyPem)).toBe(true);
    expect(signatureHolds(signed.replace('10000', '10001'), signature, publicKeyPem)).toBe(false);
    expect(signatureHolds(signed, signature.replaceAll('+', ' '), publicKeyPem)).toBe(false);
    expect(signatureHolds(JSON.stringify({ ...(JSON.parse(signed) as Answer), path: '/' }).replaceAll('/', '\\/'), signature, publicKeyPem)).toBe(false);
  });

  independent('A5, the numbers of certificates, are what the simulator names them by', () => {
    const { appCertPem, appCertSn, alipayCertPem, alipayCertSn, rootBundlePem, rootSn } = vectors!['A5'] as Fields & { rootBundlePem: string[] };
    expect([certificateSn(appCertPem!), certificateSn(alipayCertPem!)]).toEqual([appCertSn, alipayCertSn]);
    expect(rootCertificateSn(rootBundlePem.join('\n'))).toBe(rootSn);
  });
});

async function newKeys() {
  await using first = await startAlipaySimulator();
  return first.keys;
}
