/** The simulated UnionPay against a client of its own, `openssl`, the independent vectors, and its own rules. */
import { execFileSync } from 'node:child_process';
import { createHash, createSign, createVerify, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateRawSync, inflateSync } from 'node:zlib';
import type { FaultKind } from '../../src/simulator/faults.js';
import type { HttpReply } from '../../src/simulator/http.js';
import type { Delivery } from '../../src/simulator/notifier.js';
import { newKeyPair } from '../../src/simulator/rsa-pair.js';
import { certificateId, newKeys } from '../../src/simulator/unionpay/keys.js';
import { startUnionPaySimulator, type UnionPaySimulator, type UnionPaySimulatorOptions } from '../../src/simulator/unionpay/server.js';
import { sha256Hex, signatureHolds, signedText } from '../../src/simulator/unionpay/signature.js';
import { SIGNATURE_FLAWS } from '../../src/simulator/unionpay/signer.js';
import { plainText, readPlainText } from '../../src/simulator/unionpay/wire.js';
import { testVectors, vectorsOf } from '../support/vectors.js';

type Texts = Record<string, string>;

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const MERCHANT = '000000000000001';
const keys = newKeys(Date.now(), MERCHANT);
const stranger = newKeyPair();
const vectors = vectorsOf('unionpay');

let simulator: UnionPaySimulator;
let number = 0;

beforeEach(async () => {
  simulator = await startUnionPaySimulator({ keys });
});
afterEach(async () => {
  await simulator.stop();
});

async function restarted(options: UnionPaySimulatorOptions): Promise<void> {
  await simulator.stop();
  simulator = await startUnionPaySimulator({ keys, ...options });
}

const beijing = (ms = 0): string => new Date(simulator.control.now().getTime() + ms + 8 * 3_600_000).toISOString().slice(0, 19).replace(/\D/g, '');
const newOrderId = (): string => `P${String(process.pid).padStart(8, '0')}${String(++number).padStart(7, '0')}`;

/** Sorted by the bytes of names, empty values left out, hashed twice: written anew from the protocol. */
const joined = (fields: Texts): string =>
  Object.entries(fields)
    .filter(([name, value]) => name !== 'signature' && value !== '')
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((pair) => pair.join('='))
    .join('&');
const hashed = (fields: Texts): string => createHash('sha256').update(joined(fields)).digest('hex');

const signed = (fields: Texts, privateKeyPem = simulator.merchantPrivateKeyPem): Texts => ({
  ...fields,
  signature: createSign('sha256').update(hashed(fields)).sign(privateKeyPem, 'base64'),
});

/** Of an answer or a notification: chain, name and signature. */
function holds(fields: Texts): boolean {
  const { signPubKeyCert: pem, signature = '' } = fields;
  if (pem === undefined || fields['version'] !== '5.1.0' || fields['signMethod'] !== '01') return false;
  const [leaf, middle] = [new X509Certificate(pem), new X509Certificate(simulator.middleCertificatePem)];
  const isOurs = leaf.checkIssued(middle) && leaf.verify(middle.publicKey) && leaf.validToDate > simulator.control.now();
  const isNamed = /^CN=041@[^@]+@中国银联股份有限公司@\d+$/m.test(leaf.subject);
  return isOurs && isNamed && createVerify('sha256').update(hashed(fields)).verify(pem, signature, 'base64');
}

/** Values in braces are taken whole. */
const parsed = (text: string): Texts => Object.fromEntries([...text.matchAll(/(\w+)=((?:\{[^}]*\}|\[[^\]]*\]|[^&{[])*)(?:&|$)/g)].map(([, name, value]) => [name!, value!]));

const post = (url: string, body: string, contentType = 'application/x-www-form-urlencoded;charset=UTF-8'): Promise<Response> =>
  fetch(url, { method: 'POST', body, headers: { 'content-type': contentType }, redirect: 'manual' });
const form = (fields: Texts): string => new URLSearchParams(fields).toString();
const send = (body: string, type?: string): Promise<Response> => post(`${simulator.gatewayUrl}backTransReq.do`, body, type);
const told = async (response: Promise<Response>): Promise<Texts> => parsed(await (await response).text());

/** A signed call; its answer is checked. */
async function call(place: string, fields: Texts): Promise<Texts> {
  const answer = await told(post(place === '/' ? simulator.fileUrl : `${simulator.gatewayUrl}${place}.do`, form(signed(fields))));
  expect(holds(answer)).toBe(true);
  return answer;
}

const envelope = (): Texts => ({ version: '5.1.0', encoding: 'UTF-8', signMethod: '01', certId: certificateId(keys.merchant), accessType: '0', merId: MERCHANT });
const payment = (over: Texts = {}): Texts => ({
  ...envelope(),
  ...{ txnType: '01', txnSubType: '07', bizType: '000000', channelType: '08', orderId: newOrderId(), txnTime: beijing() },
  ...{ txnAmt: '8888', currencyCode: '156', backUrl: 'http://127.0.0.1:1/n', ...over },
});
const page = (over: Texts = {}): Texts => payment({ txnSubType: '01', bizType: '000201', channelType: '07', frontUrl: 'http://127.0.0.1:1/f', ...over });
const refundOf = (origQryId: string, txnAmt: string, over: Texts = {}): Texts => payment({ txnType: '04', txnSubType: '00', origQryId, txnAmt, ...over });
const query = ({ orderId, txnTime }: Texts): Promise<Texts> =>
  call('queryTrans', { ...envelope(), txnType: '00', txnSubType: '00', bizType: '000000', orderId: orderId!, txnTime: txnTime! });
const codes = async (fields: Texts): Promise<(string | undefined)[]> => {
  const { respCode, origRespCode } = await query(fields);
  return [respCode, origRespCode];
};

async function placed(over: Texts = {}): Promise<Texts> {
  const fields = payment(over);
  expect(await call('backTransReq', fields)).toMatchObject({ respCode: '00' });
  return fields;
}

/** With the `queryId` of the payment. */
async function paid(over: Texts = {}): Promise<Texts> {
  const fields = await placed(over);
  return { ...fields, queryId: simulator.control.buyerPays(fields['orderId']!).queryId };
}

async function refunded(origQryId: string, txnAmt: string, over: Texts = {}): Promise<Texts> {
  const fields = refundOf(origQryId, txnAmt, over);
  return { ...fields, ...(await call('backTransReq', fields)) };
}

describe('a payment', () => {
  test('goes from its code to a full refund, each refund a transaction of its own', async () => {
    const fields = payment();
    const { qrCode, respMsg } = await call('backTransReq', fields);
    expect([qrCode, respMsg]).toEqual([expect.stringMatching(/^https:\/\/qr\.95516\.com\//), '成功[0000000]']);
    expect(await codes(fields)).toEqual(['34', undefined]);
    simulator.control.buyerPaysQr(qrCode!);
    const sold = await query(fields);
    expect(sold).toMatchObject({ respCode: '00', origRespCode: '00', txnAmt: '8888', currencyCode: '156', settleAmt: '8888', orderId: fields['orderId'] });
    expect(sold).toMatchObject({ queryId: expect.stringMatching(/^\d{21}$/), traceTime: expect.stringMatching(/^\d{10}$/) });

    const first = await refunded(sold['queryId']!, '888');
    expect(first).toMatchObject({ respCode: '00', origQryId: sold['queryId'], txnAmt: '888' });
    await simulator.control.idle();
    expect(await query(first)).toMatchObject({ origRespCode: '00', txnType: '04', txnAmt: '888', queryId: first['queryId'], origQryId: sold['queryId'] });
    expect(await refunded(sold['queryId']!, '8000')).toMatchObject({ respCode: '00' });
    expect(await refunded(sold['queryId']!, '1')).toMatchObject({ respCode: '45' });
    expect(await query(fields)).toMatchObject({ origRespCode: '00', txnAmt: '8888' });
    expect(simulator.control.listOrders().map(({ kind, amount }) => [kind, amount])).toEqual([['payment', 8888n], ['refund', 888n], ['refund', 8000n]]);
  });

  test('in a browser is a page, and attempts may fail before one succeeds', async () => {
    const fields = page();
    const response = await post(`${simulator.gatewayUrl}frontTransReq.do`, form(signed(fields)));
    const html = await response.text();
    expect([response.headers.get('content-type'), html.includes(fields['orderId']!), html.includes('88.88')]).toEqual(['text/html;charset=UTF-8', true, true]);
    for (const code of ['64', '70', '83']) {
      simulator.control.paymentFails(fields['orderId']!, code);
      expect(await codes(fields)).toEqual(['00', code]);
    }
    simulator.control.buyerPays(fields['orderId']!, { code: 'A6' });
    expect(await codes(fields)).toEqual(['00', 'A6']);
    expect(() => simulator.control.paymentFails(fields['orderId']!)).toThrow('is paid');
    expect(await (await post(`${simulator.gatewayUrl}frontTransReq.do`, form(signed(fields)))).text()).toContain('<code id="respCode">12</code>');
  });

  test('in an app is opened by its tn', async () => {
    const fields = page({ channelType: '08' });
    const { tn } = await call('appTransReq', fields);
    expect(simulator.control.buyerPaysQr(tn!, { amountOverride: 1n })).toMatchObject({ orderId: fields['orderId'], product: 'app' });
    expect(await query(fields)).toMatchObject({ origRespCode: '00', txnAmt: '1' });
  });

  test('is placed once; another txnTime is another payment', async () => {
    const fields = await placed();
    expect(await call('backTransReq', fields)).toMatchObject({ respCode: '12' });
    expect(await call('backTransReq', { ...fields, txnAmt: '1' })).toMatchObject({ respCode: '12' });
    expect(await call('backTransReq', { ...fields, txnTime: beijing(1000) })).toMatchObject({ respCode: '00' });
    expect(() => simulator.control.buyerPays(fields['orderId']!)).toThrow('there are several');
    simulator.control.buyerPays(`${fields['orderId']!}@${fields['txnTime']!}`);
    expect(await codes(fields)).toEqual(['00', '00']);
  });

  test('cannot be paid after its payTimeout, and nothing closes it', async () => {
    const fields = await placed({ payTimeout: beijing(10 * MINUTE_MS) });
    simulator.control.paymentFails(fields['orderId']!, '70');
    simulator.control.advanceClock(10 * MINUTE_MS + 1000);
    expect(() => simulator.control.buyerPays(fields['orderId']!)).toThrow('expired');
    expect(await codes(fields)).toEqual(['00', '69']);
    const other = await placed();
    simulator.control.expire(other['orderId']!);
    expect(() => simulator.control.buyerPays(other['orderId']!)).toThrow('expired');
    expect(await codes(other)).toEqual(['34', undefined]);
  });

  test('can be shown with any code', async () => {
    const fields = await paid();
    for (const code of ['03', '42', '74', '75', 'A6', 'ZZ']) {
      simulator.control.forceCode(fields['orderId']!, code);
      expect(await codes(fields)).toEqual(['00', code]);
    }
    simulator.control.forceCode(fields['orderId']!, '34');
    expect(await codes(fields)).toEqual(['34', undefined]);
    simulator.control.forceCode(fields['orderId']!, null);
    expect(await codes(fields)).toEqual(['00', '00']);
  });

  test('is found by its queryId as well', async () => {
    const { queryId, orderId } = await paid();
    const asked = { ...envelope(), txnType: '00', txnSubType: '02', bizType: '000000', txnTime: beijing() };
    expect(await call('queryTrans', { ...asked, queryId: queryId! })).toMatchObject({ origRespCode: '00', orderId });
    expect(await call('queryTrans', asked)).toMatchObject({ respCode: '13' });
  });
});

describe('a refund', () => {
  test('settles after its time, or by control, and what fails can be refunded anew', async () => {
    const at = Date.now();
    await restarted({ refundSettlesAfterMs: 60_000, now: () => new Date(at) });
    const { queryId } = await paid();
    const first = await refunded(queryId!, '100');
    simulator.control.advanceClock(59_999);
    expect(await codes(first)).toEqual(['00', '05']);
    simulator.control.advanceClock(1);
    expect(await codes(first)).toEqual(['00', '00']);

    simulator.control.setRefundSettlesAfter(null);
    const [failing, defective] = [await refunded(queryId!, '8000'), await refunded(queryId!, '100')];
    expect(await refunded(queryId!, '8000')).toMatchObject({ respCode: '36' });
    simulator.control.refundFails(failing['orderId']!, '61');
    simulator.control.refundSettles(defective['orderId']!, 'A6');
    expect([await codes(failing), await codes(defective)]).toEqual([['00', '61'], ['00', 'A6']]);
    expect(() => simulator.control.refundSettles(failing['orderId']!)).toThrow('completed with 61');
    expect(await refunded(queryId!, '8000')).toMatchObject({ respCode: '00' });
  });

  test('follows its payment, its amount, its window and the balance', async () => {
    const unpaid = await placed();
    expect(await refunded(simulator.control.getOrder(unpaid['orderId']!).queryId, '1')).toMatchObject({ respCode: '35' });
    expect(await refunded('5'.repeat(21), '1')).toMatchObject({ respCode: '35' });
    const { queryId, orderId } = await paid();
    expect(await refunded(queryId!, '8889')).toMatchObject({ respCode: '36' });
    simulator.control.setBalance(99n);
    expect(await refunded(queryId!, '100')).toMatchObject({ respCode: '30' });
    simulator.control.setBalance(null);
    expect(simulator.control.refundOutside(orderId!, 8_000n)).toMatchObject({ kind: 'refund', code: '00' });
    expect(() => simulator.control.refundOutside(orderId!, 889n)).toThrow('36');
    simulator.control.advanceClock(330 * DAY_MS + 1000);
    expect(await refunded(queryId!, '1')).toMatchObject({ respCode: '35' });
  });

  test('repeated under its number is a duplicate, and too old once its txnTime is', async () => {
    const { queryId } = await paid();
    const fields = refundOf(queryId!, '8888');
    expect(await call('backTransReq', fields)).toMatchObject({ respCode: '00' });
    expect(await call('backTransReq', fields)).toMatchObject({ respCode: '12' });
    simulator.control.advanceClock(29 * MINUTE_MS);
    expect(await call('backTransReq', fields)).toMatchObject({ respCode: '12' });
    simulator.control.advanceClock(2 * MINUTE_MS);
    expect(await call('backTransReq', fields)).toMatchObject({ respCode: '10' });
  });

  test('may not be found for a while', async () => {
    await restarted({ refundVisibleAfterMs: 5_000 });
    const refund = await refunded((await paid())['queryId']!, '1');
    expect(await codes(refund)).toEqual(['34', undefined]);
    simulator.control.advanceClock(5_000);
    expect(await codes(refund)).toEqual(['00', '00']);
  });

  test('is no void: that is of the whole amount, on the same clearing day, of what was not refunded', async () => {
    await restarted({ now: () => new Date('2026-03-01T22:59:00+08:00') });
    const voided = (origQryId: string, txnAmt: string) => refunded(origQryId, txnAmt, { txnType: '31' });
    const [one, other] = [await paid(), await paid()];
    expect(await voided(one['queryId']!, '8887')).toMatchObject({ respCode: '36' });
    const done = await voided(one['queryId']!, '8888');
    await simulator.control.idle();
    expect(await query(done)).toMatchObject({ origRespCode: '00', txnType: '31', origQryId: one['queryId'] });
    expect(await refunded(one['queryId']!, '1')).toMatchObject({ respCode: '45' });
    simulator.control.advanceClock(MINUTE_MS);
    expect(await voided(other['queryId']!, '8888')).toMatchObject({ respCode: '35' });
    expect(await refunded(other['queryId']!, '1')).toMatchObject({ respCode: '00' });
  });
});

describe('at the door', () => {
  /** Of fields, empty ones are not sent. */
  async function answered(fields: Texts, signer = keys.merchant.privateKeyPem): Promise<string | undefined> {
    const sent = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
    const answer = await told(send(form(signed(sent, signer))));
    expect(holds(answer)).toBe(true);
    return answer['respCode'];
  }

  test.each<[string, Texts]>([
    ['10', { version: '5.0.0' }], ['10', { signMethod: '11' }], ['10', { encoding: 'GBK' }],
    ['13', { merId: '' }], ['31', { merId: '000000000000002' }],
    ['13', { orderId: '' }], ['10', { orderId: 'with-dash-1' }], ['10', { orderId: 'short12' }], ['10', { orderId: 'x'.repeat(41) }],
    ['10', { txnAmt: '88.88' }], ['10', { txnAmt: '0' }], ['10', { currencyCode: '840' }], ['10', { txnTime: '20260230120000' }],
    ['13', { backUrl: '' }], ['10', { bizType: '000201' }], ['10', { reqReserved: '{a=1' }], ['43', { txnType: '02' }],
    // As a float, the number of a certificate is that of another one.
    ['13', { certId: '' }], ['11', { certId: '1' }], ['11', { certId: BigInt(Number(certificateId(keys.merchant))).toString() }],
  ])('%s for %o', async (code, over) => {
    expect(await answered(payment(over))).toBe(code);
  });

  test('a signature is of the merchant and of these very fields', async () => {
    expect(await answered(payment(), stranger.privateKey)).toBe('11');
    const fields = signed(payment({ reqReserved: 'a b+c' }));
    const code = async (body: string, type?: string): Promise<string | undefined> => (await told(send(body, type)))['respCode'];
    expect(await code(form({ ...fields, txnAmt: '8889' }))).toBe('11');
    expect(await code(form({ ...fields, signature: '' }))).toBe('13');
    expect(await code(form({ ...fields, signature: `${fields['signature']!.slice(0, -4)} AA=` }))).toBe('11');
    expect(await code(`${form(fields)}&txnAmt=8888`)).toBe('10');
    expect(await code(`${form(fields)}&x=%ff`)).toBe('10');
    expect(await code(JSON.stringify(fields), 'application/json')).toBe('10');
    expect(await code(form(fields))).toBe('00');
    expect((await fetch(`${simulator.gatewayUrl}other.do`)).status).toBe(404);
  });

  test('the time of a new transaction is about now, in Beijing', async () => {
    for (const [ms, code] of [[29, '00'], [-29, '00'], [31, '10'], [-31, '10'], [-8 * 60, '10']] as const)
      expect([ms, await answered(payment({ txnTime: beijing(ms * MINUTE_MS) }))]).toEqual([ms, code]);
    await restarted({ txnTimeWindowMs: 60_000, staleTimeCode: '39' });
    expect(await answered(payment({ txnTime: beijing(2 * MINUTE_MS) }))).toBe('39');
  });

  test('the first check that fails speaks, and the book stays as it is', async () => {
    const known = await placed();
    const spoilt = { txnTime: beijing(-60 * MINUTE_MS), certId: '1', orderId: '-', merId: '000000000000002', version: '5.0.0' };
    const mended: Texts = {};
    const spoken = [];
    for (const name of ['version', 'merId', 'orderId', 'certId', 'txnTime']) {
      spoken.push(await answered({ ...known, ...spoilt, ...mended }));
      mended[name] = known[name]!;
    }
    expect([...spoken, await answered(known)]).toEqual(['10', '31', '10', '11', '10', '12']);
    expect(simulator.control.listOrders()).toHaveLength(1);
  });
});

test('to openssl an answer and its chain verify, and a request that it signed is taken', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'unionpay-openssl-'));
  const file = (name: string, content: string | Buffer): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const openssl = (...args: string[]): Buffer => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const hashFile = (fields: Texts): string => file('hash', /[0-9a-f]{64}$/.exec(openssl('dgst', '-sha256', file('text', joined(fields))).toString().trim())![0]);

  const answer = await query(await paid({ reqReserved: '{a=1&b=2}' }));
  expect(answer['signPubKeyCert']).toMatch(/^-----BEGIN CERTIFICATE-----\r\n[^]+\r\n-----END CERTIFICATE-----$/);
  const leaf = file('leaf.pem', answer['signPubKeyCert']!);
  const [root, middle] = [file('root.pem', simulator.rootCertificatePem), file('middle.pem', simulator.middleCertificatePem)];
  expect(openssl('verify', '-CAfile', root, '-untrusted', middle, leaf).toString()).toContain('OK');
  expect(() => openssl('verify', '-CAfile', root, leaf)).toThrow();
  const verify = ['dgst', '-sha256', '-verify', file('leaf.pub', openssl('x509', '-in', leaf, '-pubkey', '-noout'))];
  const signature = file('signature', Buffer.from(answer['signature']!, 'base64'));
  expect(openssl(...verify, '-signature', signature, hashFile(answer)).toString()).toContain('Verified OK');
  expect(() => openssl(...verify, '-signature', signature, hashFile({ ...answer, txnAmt: '1' }))).toThrow();

  const serial = /serial=([0-9A-F]+)/.exec(openssl('x509', '-in', file('merchant.pem', simulator.merchantCertificatePem), '-serial', '-noout').toString())![1]!;
  const fields = payment({ certId: BigInt(`0x${serial}`).toString() });
  const made = openssl('dgst', '-sha256', '-sign', file('merchant.key', simulator.merchantPrivateKeyPem), hashFile(fields)).toString('base64');
  expect(await told(send(form({ ...fields, signature: made })))).toMatchObject({ respCode: '00' });
  rmSync(folder, { recursive: true });
});

describe('a fault', () => {
  const add = (operation: string, kind: FaultKind, more: object = {}): void => simulator.control.faults.add({ operation, kind, ...more });
  const raw = (): Promise<Response> => send(form(signed(payment())));
  const htmlOf = async (response: Promise<Response>) => [(await response).status, (await (await response).text()).includes('<html>')];
  const known = (): number => simulator.control.listOrders().length;

  test('ends the connection before or after the payment is placed', async () => {
    for (const [kind, count] of [['drop-before-commit', 0], ['connection-reset', 0], ['commit-then-drop', 1]] as const) {
      add('pay', kind);
      await expect(raw()).rejects.toThrow();
      expect([kind, known()]).toEqual([kind, count]);
    }
    expect(await raw()).toMatchObject({ status: 200 });
  });

  test('answers with a page, or with a code, and executes only when told to', async () => {
    add('pay', 'http-500', { code: '502' });
    expect(await htmlOf(raw())).toEqual([502, true]);
    add('pay', 'html-body', { committed: true });
    expect(await htmlOf(raw())).toEqual([200, true]);
    for (const [kind, code, more] of [['rate-limit', '37'], ['rate-limit', '06', { code: '06' }], ['system-error', '03'], ['error-response', '60', { code: '60' }]] as const) {
      add('pay', kind, more);
      expect(await call('backTransReq', payment())).toMatchObject({ respCode: code });
    }
    expect(known()).toBe(1);
    add('pay', 'system-error', { committed: true });
    expect(await call('backTransReq', payment())).toMatchObject({ respCode: '03' });
    expect(known()).toBe(2);
    add('pay', 'unsigned-error-response');
    const { respCode, signature } = await told(raw());
    expect([respCode, signature]).toEqual(['01', undefined]);
  });

  test('leaves an answer unproven', async () => {
    add('pay', 'truncated');
    expect(holds(await told(raw()))).toBe(false);
    add('pay', 'no-signature');
    expect(holds(await told(raw()))).toBe(false);
    for (const code of SIGNATURE_FLAWS) {
      add('pay', 'bad-signature', { code });
      const answer = await told(raw());
      expect([code, answer['respCode'], holds(answer)]).toEqual([code, '00', false]);
    }
    add('pay', 'smuggled-node');
    expect((await (await raw()).text()).match(/&respCode=/g)).toHaveLength(2);
    expect(known()).toBe(SIGNATURE_FLAWS.length + 3);
  });

  test('delays, trickles and holds', async () => {
    add('pay', 'delay', { delayMs: 1 });
    add('pay', 'slow-trickle', { ordinal: 2, delayMs: 0 });
    for (let time = 0; time < 2; time += 1) expect(await call('backTransReq', payment())).toMatchObject({ respCode: '00' });
    add('pay', 'hold');
    const held = placed();
    await simulator.control.holding('pay');
    expect(known()).toBe(3);
    simulator.control.release();
    expect(await codes(await held)).toEqual(['34', undefined]);
  });

  test('may be an answer of a while ago', async () => {
    const fields = await placed();
    simulator.control.advanceClock(60_000);
    simulator.control.buyerPays(fields['orderId']!);
    const { queryId } = await query(fields);
    const refund = await refunded(queryId!, '1');
    await simulator.control.idle();
    const stale = async (delayMs: number): Promise<unknown[]> => {
      add('query', 'stale-answer', { delayMs, times: 2 });
      return [await codes(fields), await codes(refund)];
    };
    expect(await stale(0)).toEqual([['00', '00'], ['00', '00']]);
    expect(await stale(30_000)).toEqual([['34', undefined], ['34', undefined]]);
  });

  test('accepts a refund and does not carry it out', async () => {
    const { queryId } = await paid();
    add('refund', 'refund-not-executed');
    const refund = await refunded(queryId!, '1');
    await simulator.control.idle();
    expect(await codes(refund)).toEqual(['00', '05']);
  });

  test('is one that this platform could have', () => {
    expect(() => add('pay', 'wrong-serial')).toThrow('nothing that UnionPay could do');
    expect(() => add('close', 'delay')).toThrow('operation must be one of *, pay, refund, void, query, bill');
    expect(() => add('pay', 'bad-signature', { code: 'ugly' })).toThrow('code must be one of');
    expect(simulator.control.events()).toEqual([]);
  });
});

describe('the settlement file', () => {
  const ZM = [3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21, 15, 1, 15, 32, 13, 13, 8, 32, 13, 13, 12, 2, 1, 32, 98];
  const ZME = [3, 11, 11, 6, 10, 19, 12, 4, 2, 2, 6, 10, 4, 12, 13, 13, 15, 15, 1, 12, 2, 135];
  const bill = (settleDate: string): Promise<Texts> => call('/', { ...envelope(), txnType: '76', txnSubType: '01', bizType: '000000', txnTime: beijing(), settleDate, fileType: '00' });
  const later = (hours: number): void => simulator.control.advanceClock(hours * 3_600_000);

  /** By the local headers of the ZIP. */
  function unzipped(bytes: Buffer): [string, Buffer][] {
    if (bytes.readUInt32LE(0) !== 0x04034b50) return [];
    const [size, nameSize, extraSize] = [bytes.readUInt32LE(18), bytes.readUInt16LE(26), bytes.readUInt16LE(28)];
    const start = 30 + nameSize + extraSize;
    const entry: [string, Buffer] = [bytes.toString('latin1', 30, 30 + nameSize), inflateRawSync(bytes.subarray(start, start + size))];
    return [entry, ...unzipped(bytes.subarray(start + size))];
  }

  /** Bytes are cut, then decoded. */
  function cells(content: Buffer, widths: readonly number[]): string[][] {
    const size = widths.reduce((sum, width) => sum + width + 1, 1);
    return Array.from({ length: content.length / size }, (_one, at) => {
      const line = content.subarray(at * size, (at + 1) * size);
      expect(line.toString('latin1', size - 2)).toBe('\r\n');
      let start = 0;
      return widths.map((width) => {
        const cell = new TextDecoder('gbk', { fatal: true }).decode(line.subarray(start, start + width));
        start += width + 1;
        return cell.trimEnd();
      });
    });
  }

  async function rows(settleDate: string): Promise<{ names: string[]; zm: string[][]; zme: string[][] }> {
    const { respCode, fileContent } = await bill(settleDate);
    expect(respCode).toBe('00');
    const entries = unzipped(inflateSync(Buffer.from(fileContent!, 'base64')));
    return { names: entries.map(([name]) => name), zm: cells(entries[0]![1], ZM), zme: cells(entries[1]![1], ZME) };
  }

  beforeEach(async () => {
    await restarted({ now: () => new Date('2026-12-31T22:00:00+08:00') });
  });

  test('tells the transactions of its clearing day, over New Year', async () => {
    const sold = await paid();
    const refund = await refunded(sold['queryId']!, '888');
    await simulator.control.idle();
    later(1);
    const next = await paid();
    later(11);
    const { names, zm, zme } = await rows('1231');
    expect(names).toEqual([`INN26123188ZM_${MERCHANT}`, `INN26123188ZME_${MERCHANT}`]);
    const picked = (row: string[]): (string | undefined)[] => [7, 10, 12, 16, 17, 20, 21, 27, 28, 31, 41].map((field) => row[field - 1]);
    expect(zm.map(picked)).toEqual([
      ['000000008888', sold['queryId'], sold['orderId'], 'D000000000053', 'C000000008835', '01', '07', '', MERCHANT, '模拟商户', ''],
      ['000000000888', refund['queryId'], refund['orderId'], 'C000000000005', 'D000000000883', '04', '00', sold['queryId'], MERCHANT, '模拟商户', sold['orderId']],
    ]);
    expect([zm[0]![4], zme]).toEqual(['1231220000', []]);
    expect(await bill('0101')).toMatchObject({ respCode: '98' });
    later(24);
    expect((await rows('0101')).zm.map((row) => row[9])).toEqual([next['queryId']]);
  });

  test('is not there before its morning, nor for a day without transactions', async () => {
    await paid();
    later(34);
    expect(await bill('1231')).toMatchObject({ respCode: '00', fileName: `${MERCHANT}_20261231.zip`, settleDate: '1231' });
    expect(await bill('1230')).toMatchObject({ respCode: '98', respMsg: expect.stringContaining('文件不存在') });
    expect(await bill('0230')).toMatchObject({ respCode: '10' });
    await restarted({ now: () => new Date('2027-01-01T08:59:00+08:00') });
    expect(await bill('1231')).toMatchObject({ respCode: '98' });
  });

  test('can be made to differ', async () => {
    const [dropped, altered] = [await paid(), await paid()];
    const day = '2026-12-31';
    simulator.control.changeBill({ day, kind: 'drop', orderId: dropped['orderId']! });
    simulator.control.changeBill({ day, kind: 'alter', orderId: altered['orderId']!, amount: 8889n });
    simulator.control.changeBill({ day, kind: 'add', orderId: 'PaymentOfNobody', amount: 5n });
    simulator.control.changeBill({ day, kind: 'add', orderId: 'RefundOfNobody', amount: 7n, origOrderId: altered['orderId']! });
    simulator.control.changeBill({ day, kind: 'adjust', orderId: 'Adjusted', amount: 9n });
    later(12);
    const { zm, zme } = await rows('1231');
    expect(zm.map((row) => [row[11], row[6], row[19], row[26]])).toEqual([
      ['PaymentOfNobody', '000000000005', '01', ''],
      ['RefundOfNobody', '000000000007', '04', altered['queryId']],
      [altered['orderId'], '000000008889', '01', ''],
    ]);
    expect(zme.map((row) => row[6])).toEqual(['000000000009']);
  });
});

describe('a notification', () => {
  let merchant: Server;
  let backUrl: string;
  let received: Texts[];
  let bodies: string[];
  let reply: (count: number) => number;

  beforeEach(async () => {
    [received, bodies, reply] = [[], [], () => 200];
    merchant = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (piece: string) => (body += piece));
      request.on('end', () => {
        expect(request.headers['content-type']).toBe('application/x-www-form-urlencoded;charset=UTF-8');
        bodies.push(body);
        received.push(Object.fromEntries(new URLSearchParams(body)));
        const status = reply(received.length);
        if (status !== 0) response.writeHead(status).end();
      });
    });
    await new Promise<void>((resolve) => merchant.listen(0, '127.0.0.1', resolve));
    backUrl = `http://127.0.0.1:${(merchant.address() as AddressInfo).port}/n?shop=1`;
  });
  afterEach(async () => {
    merchant.closeAllConnections();
    await new Promise((resolve) => merchant.close(resolve));
  });

  const notified = async (over: Texts = {}): Promise<Texts> => {
    const fields = await paid({ backUrl, ...over });
    await simulator.control.idle();
    return fields;
  };
  const types = (): (string | undefined)[] => received.map((one) => one['txnType']);

  test('tells the fields of the payment, signed, and nothing of attempts that fail', async () => {
    const fields = await placed({ backUrl, reqReserved: 'shop=1+2 茶' });
    simulator.control.paymentFails(fields['orderId']!);
    expect(simulator.control.notifications()).toEqual([]);
    simulator.control.buyerPays(fields['orderId']!, { amountOverride: 1n });
    await simulator.control.idle();
    const { merId, orderId, txnTime, txnType, txnSubType, bizType, currencyCode, reqReserved } = fields;
    expect(received).toMatchObject([{ ...{ merId, orderId, txnTime, txnType, txnSubType, bizType, currencyCode, reqReserved }, respCode: '00', txnAmt: '1' }]);
    expect(received.map(holds)).toEqual([true]);
    const queried = await query(fields);
    for (const name of ['queryId', 'traceNo', 'traceTime', 'settleAmt', 'settleDate']) expect(received[0]![name]).toBe(queried[name]);
  });

  test('of refunds and voids tells success and failure, to their own backUrl', async () => {
    await restarted({ refundSettlesAfterMs: null });
    const { queryId, orderId } = await paid();
    const [first, second] = [await refunded(queryId!, '1', { backUrl }), await refunded(queryId!, '2', { backUrl })];
    simulator.control.refundFails(first['orderId']!);
    await simulator.control.idle();
    simulator.control.refundSettles(second['orderId']!, 'A6');
    await simulator.control.idle();
    simulator.control.refundOutside(orderId!, 1n);
    const common = { txnType: '04', origQryId: queryId };
    expect(received).toMatchObject([{ ...common, orderId: first['orderId'], respCode: '01', txnAmt: '1' }, { ...common, orderId: second['orderId'], respCode: 'A6' }]);
    expect([received.map(holds), received[0]!['settleAmt']]).toEqual([[true, true], undefined]);
  });

  test('comes five times with the same bytes, 1, 2, 4 and 5 minutes apart', async () => {
    reply = () => 500;
    const at = Date.now();
    await restarted({ now: () => new Date(at) });
    await notified();
    const counts = [];
    for (const seconds of [59, 1, 120, 240, 299, 1, 3600]) {
      simulator.control.advanceClock(seconds * 1000);
      await simulator.control.idle();
      counts.push(received.length);
    }
    expect([counts, new Set(bodies).size]).toEqual([[1, 2, 3, 4, 4, 5, 5], 1]);
    expect(simulator.control.notifications()).toMatchObject([{ state: 'given-up' }]);
  });

  test.each([[200, [true]], [302, [true]], [201, [false, true]], [404, [false, true]], [0, [false, true]]])('answered with %i: acknowledged %j', async (status, made) => {
    await restarted({ timeFactor: 1e-9, notifyAnswerMaxMs: 200 });
    reply = (count) => (count < 2 ? status : 200);
    await paid({ backUrl });
    await simulator.control.settled();
    const [{ state, attempts }] = simulator.control.notifications() as [Delivery];
    expect([state, attempts.map(({ acknowledged }) => acknowledged)]).toEqual(['acknowledged', made]);
  });

  test('can be withheld, come twice, late, again, and before the answer', async () => {
    simulator.control.notificationPlan({ mode: 'never', times: 1 });
    const fields = await notified();
    const [withheld] = simulator.control.notifications();
    expect([received, withheld?.state]).toEqual([[], 'withheld']);
    expect(await simulator.control.redeliver(withheld!.notification.id)).toMatchObject({ acknowledged: true });

    simulator.control.notificationPlan({ mode: 'replay', times: 1 });
    await refunded(fields['queryId']!, '1', { backUrl });
    await simulator.control.idle();
    expect(types()).toEqual(['01', '04', '01', '04']);

    simulator.control.notificationPlan({ mode: 'reorder' });
    const other = await paid({ backUrl });
    await refunded(other['queryId']!, '1', { backUrl });
    await simulator.control.idle();
    expect(types().slice(4)).toEqual(['04', '01']);

    simulator.control.notificationPlan({ mode: 'duplicate' });
    await notified();
    expect(bodies[6]).toBe(bodies[7]);

    simulator.control.notificationPlan({ mode: 'before-reply' });
    await refunded(other['queryId']!, '2', { backUrl });
    expect(received[8]).toMatchObject({ txnType: '04', txnAmt: '2' });
    expect(received.every(holds)).toBe(true);
  });

  test.each([...SIGNATURE_FLAWS, 'truncated'] as const)('that is %s proves nothing and comes once', async (mode) => {
    reply = () => 400;
    await restarted({ timeFactor: 1e-9 });
    simulator.control.notificationPlan({ mode, times: 1 });
    await paid({ backUrl });
    await simulator.control.settled();
    expect(received.map(holds)).toEqual([false]);
  });

  test('can be about another amount or merchant under a proper signature, and by a new certificate', async () => {
    for (const mode of ['altered-amount', 'other-merchant', 'normal'] as const) {
      simulator.control.notificationPlan({ mode });
      if (mode === 'normal') simulator.control.renewCertificate();
      await notified();
    }
    expect(received).toMatchObject([{ txnAmt: '8889', settleAmt: '8889' }, { merId: '000000000009999', txnAmt: '8888' }, { merId: MERCHANT }]);
    expect(received.map(holds)).toEqual([true, true, true]);
    expect(new Set(received.map((one) => one['signPubKeyCert'])).size).toBe(2);
    expect(simulator.control.listOrders().map((one) => one.paid)).toEqual([8888n, 8888n, 8888n]);
  });
});

describe('the control over HTTP', () => {
  async function control(method: string, name: string, body?: object): Promise<{ status: number; data: unknown }> {
    const request = { method, path: `/unionpay/${name}`, query: '', headers: {}, body: Buffer.from(body === undefined ? '' : JSON.stringify(body)) };
    const answered = (await simulator.answerControl(request)) as Extract<HttpReply, { kind: 'answer' }>;
    return { status: answered.status, data: JSON.parse(answered.body.toString('utf8')) };
  }
  const act = (name: string, body: object = {}) => control('POST', name, body);

  test('plays the buyer and the platform, and shows the books', async () => {
    const fields = payment();
    const { qrCode } = await call('backTransReq', fields);
    const order_id = fields['orderId']!;
    expect(await act('refund-delay', { ms: null })).toMatchObject({ status: 200 });
    expect(await act('payment-fails', { order_id, code: '65' })).toMatchObject({ data: { code: '65' } });
    expect(await act('buyer-pays', { qr_code: qrCode, amount_fen: '8888' })).toMatchObject({ data: { code: '00', paid: '8888' } });
    const { queryId } = simulator.control.getOrder(order_id);
    const [first, second] = [await refunded(queryId, '1'), await refunded(queryId, '2')];
    expect(await act('refund-settles', { order_id: first['orderId'] })).toMatchObject({ data: { code: '00' } });
    expect(await act('refund-fails', { order_id: second['orderId'], code: '61' })).toMatchObject({ data: { code: '61' } });
    expect(await act('refund-outside', { order_id, amount_fen: '5' })).toMatchObject({ data: { amount: '5', origQryId: queryId } });
    expect(await act('code', { order_id, code: 'A6' })).toMatchObject({ data: { forcedCode: 'A6' } });
    expect((await control('GET', 'orders')).data).toHaveLength(4);
    expect(await control('GET', `orders/${order_id}`)).toMatchObject({ data: { amount: '8888', kind: 'payment' } });
    expect(await control('GET', 'events')).toMatchObject({ data: [{ operation: 'pay', code: '00' }, { operation: 'refund' }, { operation: 'refund' }] });
    expect((await control('GET', 'notifications')).data).toHaveLength(3);
  });

  test("turns the platform's switches", async () => {
    for (const [name, body] of [
      ['balance', { amount_fen: '1' }],
      ['req-reserved', { text: '{a=1&b=[2]}' }],
      ['renew-certificate', {}],
      ['faults', { operation: 'query', kind: 'rate-limit', code: '06' }],
      ['notification-plan', { mode: 'forged', times: 1 }],
      ['bill-change', { day: '2026-03-01', kind: 'add', order_id: 'P1', amount_fen: '1' }],
      ['clock', { advance_ms: 1 }],
      ['idle', {}],
    ] as const) expect([name, await act(name, body)]).toMatchObject([name, { status: 200 }]);
    const fields = await paid();
    expect(await query(fields)).toMatchObject({ respCode: '06' });
    expect(await query(fields)).toMatchObject({ respCode: '00', reqReserved: '{a=1&b=[2]}' });
    expect(await refunded(fields['queryId']!, '2')).toMatchObject({ respCode: '30' });
  });

  test('says in a sentence what cannot be done', async () => {
    expect(await act('buyer-pays', { order_id: 'none' })).toEqual({ status: 409, data: { error: 'there is no transaction none' } });
    expect(await act('buyer-pays', { qr_code: 'none' })).toMatchObject({ status: 409, data: { error: 'nobody knows this code' } });
    expect(await act('refund-settles', { order_id: (await placed())['orderId'] })).toMatchObject({ status: 409 });
    expect(await act('req-reserved', { text: '{' })).toMatchObject({ status: 409 });
    expect(await act('bill-change', { day: 'today', kind: 'drop', order_id: 'P1' })).toMatchObject({ status: 409 });
    expect(await act('redeliver', { id: 'none' })).toMatchObject({ status: 409 });
    expect(await act('dance')).toMatchObject({ status: 404 });
  });
});

test('the state stays over a restart', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'unionpay-simulator-'));
  const stateFile = join(folder, 'state.json');
  const at = Date.now();
  await restarted({ stateFile, refundSettlesAfterMs: 60_000, now: () => new Date(at) });
  const fields = await paid();
  const refund = await refunded(fields['queryId']!, '100');
  simulator.control.renewCertificate();
  const before = simulator.keys;

  await simulator.stop();
  simulator = await startUnionPaySimulator({ stateFile, now: () => new Date(at + 60_000) });
  expect(simulator.keys).toEqual(before);
  expect(before.leaf).not.toEqual(keys.leaf);
  expect([await codes(fields), await codes(refund)]).toEqual([['00', '00'], ['00', '00']]);
  expect(simulator.control.getOrder(refund['orderId']!)).toMatchObject({ amount: 100n, origQryId: fields['queryId'] });
  expect(await call('backTransReq', fields)).toMatchObject({ respCode: '12' });
  rmSync(folder, { recursive: true });
});

describe('the independent vectors', () => {
  const vector = (id: string): Texts & { readonly fields: Texts } => (vectors?.[id] ?? {}) as Texts & { readonly fields: Texts };
  const textOf = (fields: Texts): string => signedText(new Map(Object.entries(fields)));

  testVectors(vectors)('U1, a request, is signed as the simulator verifies, and no altered copy is', () => {
    const { fields, stringToHash, sha256hex, signature, certPem, certId } = vector('U1');
    expect(textOf(fields)).toBe(stringToHash);
    expect(sha256Hex(stringToHash!)).toBe(sha256hex);
    expect(signatureHolds(stringToHash!, signature!, certPem!)).toBe(true);
    expect(certificateId({ certificatePem: certPem! })).toBe(certId);
    for (const name of Object.keys(fields)) {
      expect([name, signatureHolds(textOf({ ...fields, [name]: `${fields[name]!}0` }), signature!, certPem!)]).toEqual([name, false]);
    }
    expect(signatureHolds(sha256hex!, signature!, certPem!)).toBe(false);
  });

  testVectors(vectors)('U2, an answer, verifies with the certificate inside of it, line ends and all, which U4 issued', () => {
    const { fields: whole, sha256hex } = vector('U2');
    const { signature, ...fields } = whole;
    const { rootPem, middlePem } = vector('U4');
    const pem = fields['signPubKeyCert']!;
    expect(sha256Hex(textOf(fields))).toBe(sha256hex);
    expect(signatureHolds(textOf(fields), signature!, pem)).toBe(true);
    expect(signatureHolds(textOf({ ...fields, signPubKeyCert: pem.replaceAll('\r\n', '\n') }), signature!, pem)).toBe(false);
    for (const name of Object.keys(fields)) expect(signatureHolds(textOf({ ...fields, [name]: `${fields[name]!} ` }), signature!, pem)).toBe(false);
    expect(signatureHolds(textOf(fields), signature!, keys.leaf.certificatePem)).toBe(false);
    const [leaf, middle, root] = [pem, middlePem!, rootPem!].map((one) => new X509Certificate(one)) as [X509Certificate, X509Certificate, X509Certificate];
    expect([leaf.verify(middle.publicKey), middle.verify(root.publicKey), root.verify(root.publicKey), leaf.verify(root.publicKey)]).toEqual([true, true, true, false]);
    expect(readPlainText(plainText(new Map(Object.entries(whole))))).toEqual(new Map(Object.entries(whole)));
  });
});
