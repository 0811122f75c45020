/** The simulated Alipay against an independent client, and against the published vectors. */
import { createPublicKey } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AlipaySdk } from 'alipay-sdk';
import { NOTIFICATION_WITHOUT, rsa2Holds, textToSign } from '../../src/simulator/alipay/signature.js';
import { startAlipaySimulator, type AlipaySimulator } from '../../src/simulator/alipay/server.js';
import { beijing } from '../../src/simulator/alipay/time.js';
import { testVectors, vectorsOf } from '../support/vectors.js';

/** The client stamps its calls in the zone of the process, the platform reads Beijing time: its clock is set to agree. */
const now = (): Date => new Date(Date.now() - (480 + new Date().getTimezoneOffset()) * 60_000);

const vectors = vectorsOf('alipay');
let simulator: AlipaySimulator;
let merchant: Server;
let received: string[];
let sdk: AlipaySdk;
let reply = 'success';

beforeAll(async () => {
  received = [];
  merchant = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      received.push(body);
      response.end(reply);
    });
  });
  await new Promise<void>((resolve) => merchant.listen(0, '127.0.0.1', resolve));
  simulator = await startAlipaySimulator({
    now,
    refundGapMs: 3_000,
    timeFactor: 0,
    // This client reads answers whose signature comes last only.
    signFirstEvery: 0,
  });
  sdk = new AlipaySdk({
    appId: simulator.appId,
    privateKey: simulator.appPrivateKeyPem,
    alipayPublicKey: simulator.alipayPublicKeyPem,
    gateway: simulator.gatewayUrl,
    keyType: 'PKCS8',
  });
});
afterAll(async () => {
  await simulator.stop();
  await new Promise((resolve) => merchant.close(resolve));
});

let orders = 0;
const notifyUrl = (): string => `http://127.0.0.1:${(merchant.address() as AddressInfo).port}/notify`;
const exec = (method: string, bizContent: object, extra: object = {}): Promise<Record<string, string>> =>
  sdk.exec(method, { ...extra, bizContent }, { validateSign: true });
async function place(): Promise<string> {
  const number = `order${(orders += 1)}`;
  await exec('alipay.trade.precreate', { out_trade_no: number, total_amount: '100.00', subject: 'A/B 茶'.replace('/', ' ') }, { notify_url: notifyUrl() });
  return number;
}

test('an independent client places, pays, refunds twice and sees each step signed', async () => {
  const number = await place();
  expect(await exec('alipay.trade.query', { out_trade_no: number })).toMatchObject({ code: '40004', subCode: 'ACQ.TRADE_NOT_EXIST' });
  expect(await exec('alipay.trade.close', { out_trade_no: number })).toMatchObject({ subCode: 'ACQ.TRADE_NOT_EXIST' });

  simulator.control.buyerScans(number);
  expect(await exec('alipay.trade.query', { out_trade_no: number })).toMatchObject({ tradeStatus: 'WAIT_BUYER_PAY' });
  simulator.control.buyerPays(number);
  expect(await exec('alipay.trade.query', { out_trade_no: number })).toMatchObject({ code: '10000', tradeStatus: 'TRADE_SUCCESS', totalAmount: '100.00' });

  const refund = (requestNo: string, amount: string) => exec('alipay.trade.refund', { out_trade_no: number, out_request_no: requestNo, refund_amount: amount });
  expect(await refund('r1', '30.00')).toMatchObject({ fundChange: 'Y', refundFee: '30.00' });
  expect(await refund('r1', '30.00')).toMatchObject({ fundChange: 'N', refundFee: '30.00' });
  expect(await refund('r1', '31.00')).toMatchObject({ subCode: 'ACQ.DISCORDANT_REPEAT_REQUEST' });
  expect(await refund('r2', '1.00')).toMatchObject({ subCode: 'ACQ.SYSTEM_ERROR' });
  simulator.control.advanceClock(3_000);
  expect(await refund('r2', '70.01')).toMatchObject({ subCode: 'ACQ.REFUND_AMT_NOT_EQUAL_TOTAL' });
  expect(await exec('alipay.trade.fastpay.refund.query', { out_trade_no: number, out_request_no: 'r2' })).not.toHaveProperty('refundStatus');
  expect(await refund('r2', '70.00')).toMatchObject({ fundChange: 'Y', refundFee: '100.00' });
  expect(await exec('alipay.trade.fastpay.refund.query', { out_trade_no: number, out_request_no: 'r2' })).toMatchObject({ refundStatus: 'REFUND_SUCCESS', refundAmount: '70.00' });
  expect(await exec('alipay.trade.query', { out_trade_no: number })).toMatchObject({ tradeStatus: 'TRADE_CLOSED' });
});

test('notifications are signed, keep their id when repeated, and stop at the exact acknowledgement', async () => {
  reply = 'success\n';
  const number = await place();
  simulator.control.buyerPays(number);
  await simulator.control.idle();
  const [sent] = simulator.control.notifications.sent.slice(-1);
  // Eight deliveries for a merchant that never answers right; the gaps are zero here.
  while (simulator.control.attempts.filter(({ id }) => id === sent!.id).length < 8) await new Promise((resolve) => setImmediate(resolve));
  const about = received.map((body) => new URLSearchParams(body)).filter((fields) => fields.get('out_trade_no') === number);
  expect(new Set(about.map((fields) => fields.get('notify_id')))).toEqual(new Set([sent!.id]));
  expect(sdk.checkNotifySignV2(Object.fromEntries(about[0]!))).toBe(true);

  reply = 'success';
  simulator.control.notifications.again(sent!.id);
  await simulator.control.idle();
  expect(simulator.control.attempts.at(-1)).toMatchObject({ id: sent!.id, acknowledged: true });

  simulator.control.notifications.mode = 'forged';
  simulator.control.buyerPays(await place());
  await simulator.control.idle();
  simulator.control.notifications.mode = 'normal';
  expect(sdk.checkNotifySignV2(Object.fromEntries(new URLSearchParams(received.at(-1))))).toBe(false);
});

test.each([
  ['another application', '2021999999999999', false, 'isv.invalid-app-id'],
  ['another key', null, true, 'isv.invalid-signature'],
])('a call of %s is refused at the door', async (_what, appId, otherKey, subCode) => {
  const stranger = await startAlipaySimulator();
  const other = new AlipaySdk({
    appId: appId ?? simulator.appId,
    privateKey: otherKey ? stranger.appPrivateKeyPem : simulator.appPrivateKeyPem,
    alipayPublicKey: simulator.alipayPublicKeyPem,
    gateway: simulator.gatewayUrl,
    keyType: 'PKCS8',
  });
  await stranger.stop();
  await expect(other.exec('alipay.trade.query', { bizContent: { out_trade_no: 'x' } })).resolves.toMatchObject({ code: '40002', subCode });
});

test('a call from an hour ago is refused at the door', async () => {
  await using late = await startAlipaySimulator({ now: () => new Date(now().getTime() + 3_600_000) });
  const client = new AlipaySdk({ appId: late.appId, privateKey: late.appPrivateKeyPem, alipayPublicKey: late.alipayPublicKeyPem, gateway: late.gatewayUrl, keyType: 'PKCS8' });
  await expect(client.exec('alipay.trade.query', { bizContent: { out_trade_no: 'x' } })).resolves.toMatchObject({ subCode: 'isv.invalid-timestamp' });
});

test('Beijing time is Beijing time in any zone of the process', () => {
  expect(beijing(new Date('2026-01-01T16:30:05Z'))).toBe('2026-01-02 00:30:05');
});

testVectors(vectors)('A1 verifies by the functions of the simulator, and its altered copies do not', () => {
  const a1 = vectors!['A1'] as unknown as { publicKeyPem: string; params: Record<string, string>; stringToVerify: string; sign: string };
  const fields = new Map(Object.entries(a1.params));
  const pem = createPublicKey(a1.publicKeyPem).export({ type: 'spki', format: 'pem' }) as string;
  expect(textToSign(fields, NOTIFICATION_WITHOUT)).toBe(a1.stringToVerify);
  expect(rsa2Holds(a1.stringToVerify, a1.sign, pem)).toBe(true);
  expect(rsa2Holds(textToSign(fields, new Set(['sign'])), a1.sign, pem)).toBe(false);
  expect(rsa2Holds(a1.stringToVerify.replace('0.10', '0.11'), a1.sign, pem)).toBe(false);
});

testVectors(vectors)('A3 verifies by the functions of the simulator, and its altered copies do not', () => {
  const a3 = vectors!['A3'] as { publicKeyPem: string; content: string; sign: string };
  expect(rsa2Holds(a3.content, a3.sign, a3.publicKeyPem)).toBe(true);
  expect(rsa2Holds(a3.content.replace('10000', '10001'), a3.sign, a3.publicKeyPem)).toBe(false);
});
