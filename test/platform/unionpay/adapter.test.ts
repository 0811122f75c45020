/** Every row of the mapping for UnionPay, through the adapter's real client against a tiny platform; openssl is the independent verifier. */
import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync, deflateSync } from 'node:zlib';
import iconv from 'iconv-lite';
import type { NewOrder, NewRefund, PlatformAdapter } from '../../../src/payment/platform.js';
import { createUnionPayAdapter } from '../../../src/platform/unionpay/adapter.js';
import { unionPaySettings } from '../../../src/platform/unionpay/settings.js';
import { verifyBytes } from '../../../src/platform/rsa.js';
import { parseAnswer, signedDigest, whyUnproven } from '../../../src/platform/unionpay/signature.js';
import { certificatePem } from '../../../src/platform/settings.js';
import { issueCertificate } from '../../../src/simulator/certificate.js';
import fc from 'fast-check';
import { nobody, startTinyPlatform, type TinyPlatform, type Told } from '../../support/tiny-platform.js';
import { testVectors, vectorsOf } from '../../support/vectors.js';

const keys = () => generateKeyPairSync('rsa', { modulusLength: 2048, privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } });
const [ours, root, middle, leaf, stranger] = [keys(), keys(), keys(), keys(), keys()];
type Pair = ReturnType<typeof keys>;
const NAME = '041@8310000000083040@中国银联股份有限公司@00016494';
const AT = new Date('2026-01-01T00:00:00Z');
const valid = { notBefore: new Date('2025-01-01'), notAfter: new Date('2030-01-01') };
const selfSigned = (commonName: string, pair: Pair): string =>
  issueCertificate({ subject: { commonName }, publicKeyPem: pair.publicKey, privateKeyPem: pair.privateKey, serial: 1n, ...valid, isAuthority: true });
const issued = (commonName: string, pair: Pair, by: { certificatePem: string; privateKeyPem: string }, change: object = {}): string =>
  issueCertificate({ subject: { commonName }, issuer: by, publicKeyPem: pair.publicKey, serial: 2n, ...valid, ...change });
const rootPem = selfSigned('Root', root);
const middlePem = issued('Middle', middle, { certificatePem: rootPem, privateKeyPem: root.privateKey }, { isAuthority: true });
const byMiddle = { certificatePem: middlePem, privateKeyPem: middle.privateKey };
const leafPem = issued(NAME, leaf, byMiddle);
const SERIAL = 2n ** 70n + 12_345n;
const merchantPem = issued('merchant', ours, byMiddle, { serial: SERIAL });

let platform: TinyPlatform;
let adapter: PlatformAdapter;
beforeAll(async () => {
  platform = await startTinyPlatform();
  adapter = adapterAt(platform.url);
});
afterAll(async () => {
  await platform[Symbol.asyncDispose]();
});

const adapterAt = (url: string, change: object = {}): PlatformAdapter =>
  createUnionPayAdapter(
    unionPaySettings.parse({
      account: 'unionpay', mer_id: '777290058110048', gateway_url: `${url}/gateway/api`, file_url: `${url}/`, signing_key: ours.privateKey,
      signing_certificate: merchantPem, root_certificates: rootPem, middle_certificates: middlePem, ...change,
    }),
    'https://pay.example/notifications/unionpay/unionpay',
  );
const call = () => ({ at: AT, signal: AbortSignal.timeout(5_000) });

type Fields = Record<string, string>;
const joined = (fields: Fields): string =>
  Object.keys(fields).filter((name) => name !== 'signature' && fields[name] !== '').sort().map((name) => `${name}=${fields[name]}`).join('&');

function signed(fields: Fields, { key = leaf.privateKey, certificate = leafPem }: { key?: string; certificate?: string } = {}): Fields {
  const all = { version: '5.1.0', encoding: 'UTF-8', signMethod: '01', merId: '777290058110048', signPubKeyCert: certificate, ...fields };
  const digest = createHash('sha256').update(joined(all)).digest('hex');
  return { ...all, signature: sign('RSA-SHA256', Buffer.from(digest), key).toString('base64') };
}
const wire = (fields: Fields): string => Object.entries(fields).map(([name, value]) => `${name}=${value}`).join('&');
const told = (fields: Fields, signing = {}): Told => ({ body: wire(signed(fields, signing)) });
const code = (respCode: string, more: Fields = {}): Told => told({ respCode, respMsg: `说明[${respCode}0000]`, ...more });

const ORDER: NewOrder = {
  merchantOrderNo: 'P00000001', platformOrderTime: '20260101080000', subject: 'tea 茶', amount: { currency: 'CNY', minorUnits: 8_888n }, checkout: 'QR_CODE',
  expireAt: new Date('2026-01-01T02:00:00Z'), returnUrl: 'https://shop.example/back', buyerId: null, buyerIp: null,
};
const IDENTITY = { merchantOrderNo: 'P00000001', platformOrderTime: '20260101080000', platformTransactionId: 'Q1' };
const REFUND: NewRefund = {
  order: IDENTITY, platformRefundNo: 'R00000001', createdAt: AT, sentAt: AT, amount: { currency: 'CNY', minorUnits: 100n },
  paid: { currency: 'CNY', minorUnits: 8_888n }, paidAt: AT, reason: 'returned', attempt: 1,
};
const lastAsked = (): Fields => Object.fromEntries(new URLSearchParams(platform.asked.at(-1)!.body));

function opensslAccepts(fields: Fields, publicKeyPem: string): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'paystate-openssl-'));
  const file = (name: string, content: string | Buffer): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const digest = execFileSync('openssl', ['dgst', '-sha256', '-r', file('text', joined(fields))]).toString().slice(0, 64);
  const given = [file('digest', digest), file('signature', Buffer.from(fields['signature']!, 'base64')), file('key', publicKeyPem)] as const;
  try {
    execFileSync('openssl', ['dgst', '-sha256', '-verify', given[2], '-signature', given[1], given[0]], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

test('openssl accepts what the adapter signs, and nothing that was altered; the serial number keeps all its digits', async () => {
  platform.answer = () => code('00', { qrCode: 'https://qr.95516.com/x' });
  await adapter.create({ ...ORDER, subject: 'a+b %41' }, call());
  const fields = lastAsked();
  expect(fields['certId']).toBe(SERIAL.toString());
  expect(opensslAccepts(fields, ours.publicKey)).toBe(true);
  expect(opensslAccepts({ ...fields, txnAmt: '8889' }, ours.publicKey)).toBe(false);
  expect(opensslAccepts(fields, stranger.publicKey)).toBe(false);
});

test.each<[NewOrder['checkout'], string, Fields, Fields, object]>([
  ['QR_CODE', 'backTransReq.do', { qrCode: 'https://qr.95516.com/x' }, { txnType: '01', txnSubType: '07', bizType: '000000' }, { form: 'QR_TEXT', value: 'https://qr.95516.com/x' }],
  ['APP', 'appTransReq.do', { tn: '123' }, { txnType: '01', txnSubType: '01', bizType: '000201', channelType: '08' }, { form: 'APP_PARAMETERS', value: '123' }],
])('checkout %s goes by %s', async (checkout, endpoint, answer, sent, value) => {
  platform.answer = () => code('00', answer);
  expect(await adapter.create({ ...ORDER, checkout }, call())).toEqual({ kind: 'ACCEPTED', value });
  expect(platform.asked.at(-1)!.path).toBe(`/gateway/api/${endpoint}`);
  expect(lastAsked()).toMatchObject({
    ...sent, version: '5.1.0', signMethod: '01', accessType: '0', merId: '777290058110048', orderId: 'P00000001', txnTime: '20260101080000', txnAmt: '8888',
    currencyCode: '156', payTimeout: '20260101100000', backUrl: 'https://pay.example/notifications/unionpay/unionpay',
  });
});

test.each(['PAGE', 'WAP'] as const)('checkout %s is a signed form that calls nobody', async (checkout) => {
  const before = platform.asked.length;
  const outcome = await adapter.create({ ...ORDER, checkout }, call());
  expect(outcome).toMatchObject({ kind: 'ACCEPTED', value: { form: 'FORM_HTML' } });
  const html = (outcome as { value: { value: string } }).value.value;
  const fields = Object.fromEntries([...html.matchAll(/name="(\w+)" value="([^"]*)"/g)].map(([, name, value]) => [name!, value!.replaceAll('&amp;', '&')]));
  expect(html).toContain(`action="${platform.url}/gateway/api/frontTransReq.do"`);
  expect(fields).toMatchObject({ txnType: '01', frontUrl: 'https://shop.example/back', orderId: 'P00000001' });
  expect(opensslAccepts(fields, ours.publicKey)).toBe(true);
  expect(platform.asked.length).toBe(before);
});

test('nothing is sent where nobody listens', async () => {
  const unreachable = adapterAt(await nobody());
  expect(await unreachable.create(ORDER, call())).toMatchObject({ kind: 'UNREACHABLE', code: 'ECONNREFUSED' });
  expect(await unreachable.refund(REFUND, call())).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true });
});

const GOOD = { respCode: '00', qrCode: 'https://qr', orderId: 'P00000001', txnTime: '20260101080000', origRespCode: '00', queryId: 'Q1', txnAmt: '8888', currencyCode: '156' };
const strangeLeaf = (commonName: string, change = {}): { key: string; certificate: string } => ({ key: stranger.privateKey, certificate: issued(commonName, stranger, byMiddle, change) });
const forged: [string, Fields][] = [
  ["a stranger's signature", signed(GOOD, { key: stranger.privateKey })],
  ['a certificate that signs itself, in the right name', signed(GOOD, { key: stranger.privateKey, certificate: selfSigned(NAME, stranger) })],
  ['the right chain in another name', signed(GOOD, strangeLeaf('041@1@另一家公司@1'))],
  ['the right chain in a name that is too short', signed(GOOD, strangeLeaf('041@中国银联股份有限公司'))],
  ['a chain of strangers', signed(GOOD, { key: stranger.privateKey, certificate: issued(NAME, stranger, { certificatePem: selfSigned('Middle', stranger), privateKeyPem: stranger.privateKey }) })],
  ['a certificate that has run out', signed(GOOD, strangeLeaf(NAME, { notBefore: new Date('2020-01-01'), notAfter: new Date('2025-12-31') }))],
  ['a certificate that is not valid yet', signed(GOOD, strangeLeaf(NAME, { notBefore: new Date('2026-06-01') }))],
  ['another certificate put in after signing', { ...signed(GOOD), signPubKeyCert: issued(NAME, stranger, byMiddle) }],
  ['no certificate', signed({ ...GOOD, signPubKeyCert: '' })],
  ['a certificate that is none', signed({ ...GOOD, signPubKeyCert: 'x' })],
  ['no signature', { ...signed(GOOD), signature: '' }],
  ['another method', signed({ ...GOOD, signMethod: '11' })],
  ['another version', signed({ ...GOOD, version: '5.0.0' })],
  ['an amount altered', { ...signed(GOOD), txnAmt: '1' }],
];
const doubts: [string, () => Told][] = [
  ['no answer', () => 'cut'],
  ['HTTP 500', () => ({ status: 500, body: 'x' })],
  ['HTTP 302', () => ({ status: 302, headers: { location: '/' } })],
  ['HTML', () => ({ body: '<html></html>' })],
  ['nothing', () => ({ body: '' })],
  ['a body cut short', () => ({ body: wire(signed(GOOD)).slice(0, 200) })],
  ['a name twice', () => ({ body: `${wire(signed(GOOD))}&respCode=00` })],
  ['another merchant', () => told({ ...GOOD, merId: '777290058110049' })],
  ...forged.map(([what, fields]): [string, () => Told] => [what, () => ({ body: wire(fields) })]),
];
test.each(doubts)('%s leaves every mutating call in doubt and every query without evidence', async (_what, answer) => {
  platform.answer = answer;
  expect(await adapter.create(ORDER, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN' });
  expect(await adapter.refund(REFUND, call())).toMatchObject({ status: 'UNKNOWN', notExecuted: false });
  expect(await adapter.queryRefund(REFUND, call())).toMatchObject({ status: 'UNCHANGED' });
});

const FAILURES = ['01', '30', '33', '35', '36', '38', '44', '46', ...range(60, 69), '71', '72', '73', ...range(76, 82), ...range(85, 91)];
function range(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_one, at) => `${from + at}`);
}
const each = (codes: readonly string[], expected: object): [string, object][] => codes.map((one) => [one, expected]);

test.each<[string, object]>([
  ...each(['03', '04', '05'], { kind: 'UNKNOWN' }),
  ...each(['12', '99'], { kind: 'REJECTED', meaning: 'QUERY' }),
  ...each(['06', '37'], { kind: 'RATE_LIMITED' }),
  ...each(['10', '11', '13', '14', '31', '32', '40', '43'], { kind: 'MISCONFIGURED' }),
  ...each(['42', '74', '75'], { kind: 'REJECTED', meaning: 'MONEY_UNCLEAR' }),
  ...each(['02', '39', ...FAILURES], { kind: 'REJECTED', meaning: 'FINAL' }),
  ...each(['00', 'A6', '34', '45'], { kind: 'UNKNOWN' }),
  ...each(['41', '98', 'ZZ'], { kind: 'UNKNOWN', unmapped: true }),
])('creation answered with %s and nothing to pay with', async (respCode, outcome) => {
  platform.answer = () => code(respCode);
  expect(await adapter.create(ORDER, call())).toMatchObject({ ...outcome, code: respCode });
});

test('another name is believed only where it is listed, as for the test environment', async () => {
  const other = strangeLeaf('00040000:SIGN');
  platform.answer = () => told({ ...found, origRespCode: '00' }, other);
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'BAD_SIGNATURE' });
  expect(await adapterAt(platform.url, { other_common_names: ['00040000:SIGN'] }).query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED' });
});

test('a certificate that is damaged anywhere ends nothing but its message', () => {
  const der = Buffer.from(leafPem.replace(/-----[^-]+-----|\n/g, ''), 'base64');
  for (let index = 0; index < der.length; index += 1) {
    const damaged = Buffer.from(der);
    damaged[index]! ^= 0x20;
    const certificate = `-----BEGIN CERTIFICATE-----\n${damaged.toString('base64').match(/.{1,64}/g)!.join('\n')}\n-----END CERTIFICATE-----\n`;
    expect(read({ ...signed(notice()), signPubKeyCert: certificate }).verified).toBe(false);
  }
});

test('there is no closing: the order ends by itself, and nobody is called', async () => {
  const before = platform.asked.length;
  expect(await adapter.close(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED', value: { result: 'NOT_CLOSABLE_YET' } });
  expect(platform.asked.length).toBe(before);
});

const PAID_AT = new Date('2026-01-01T00:05:00Z');
const found = { respCode: '00', orderId: 'P00000001', txnTime: '20260101080000', queryId: 'Q1', txnAmt: '8888', currencyCode: '156', traceTime: '0101080500' };
const paid = { class: 'PAID', at: PAID_AT, amount: { currency: 'CNY', minorUnits: 8_888n }, transactionId: 'Q1', merchantAccount: 'unionpay', refundedTotal: null, refundable: true };
test.each<[string, object]>([
  ['00', paid],
  ['A6', { ...paid, defective: true }],
  ...each(['03', '04', '05', '70', '83'], { class: 'IN_PROGRESS' }),
  ['34', { class: 'NOT_FOUND' }],
  ...each(['02', '39', '99', ...FAILURES], { class: 'ATTEMPT_FAILED' }),
  ...each(['42', '74', '75'], { class: 'MONEY_UNCLEAR' }),
  ...each(['84', 'ZZ'], { class: 'UNMAPPED' }),
  ['', { class: 'UNMAPPED', word: 'NO_CODE' }],
])('a query that was answered, about a payment that is %s', async (origRespCode, evidence) => {
  platform.answer = () => told({ ...found, origRespCode });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'ACCEPTED', value: { evidence } });
  expect(lastAsked()).toMatchObject({ txnType: '00', orderId: 'P00000001', txnTime: '20260101080000' });
});

test.each<[string, Fields, object]>([
  ['in dollars', { currencyCode: '840' }, { class: 'PAID', amount: { currency: '840' } }],
  ['an amount with a point', { txnAmt: '88.88' }, { class: 'MONEY_UNCLEAR' }],
  ['without an amount', { txnAmt: '' }, { class: 'MONEY_UNCLEAR' }],
  ['without a queryId', { queryId: '' }, { class: 'MONEY_UNCLEAR' }],
  ['on the last day of the year, seen from the first of the next', { traceTime: '1231235900' }, { class: 'PAID', at: new Date('2025-12-31T15:59:00Z') }],
])('a query that says paid, %s', async (_what, change, evidence) => {
  platform.answer = () => told({ ...found, origRespCode: '00', ...change });
  expect(await adapter.query(IDENTITY, call())).toMatchObject({ value: { evidence } });
});

test.each<[string, object]>([
  ['34', { kind: 'ACCEPTED', value: { evidence: { class: 'NOT_FOUND', at: AT } } }],
  ...each(['06', '37'], { kind: 'RATE_LIMITED' }),
  ...each(['10', '11', '13', '14', '31', '32', '40', '43'], { kind: 'MISCONFIGURED' }),
  ...each(['03', '04', '05', '12', '42', '01', '99', 'ZZ'], { kind: 'UNKNOWN' }),
])('a query that itself is answered with %s', async (respCode, outcome) => {
  platform.answer = () => code(respCode);
  expect(await adapter.query(IDENTITY, call())).toMatchObject(outcome);
});

test('a query about another order, or of another time, says nothing', async () => {
  for (const change of [{ orderId: 'P00000002' }, { txnTime: '20260101080001' }]) {
    platform.answer = () => told({ ...found, origRespCode: '00', ...change });
    expect(await adapter.query(IDENTITY, call())).toMatchObject({ kind: 'UNKNOWN', code: 'OTHER_ORDER' });
  }
});

test.each<[string, object]>([
  ...each(['00', '05'], { status: 'SUBMITTED', retry: null }),
  ...each(['03', '04'], { status: 'UNKNOWN', retry: null }),
  ...each(FAILURES, { status: 'FAILED', retry: 'NEW_NUMBER' }),
  ...each(['02', '39', '06', '37', '10', '11', '13', '14', '31', '32', '40', '43'], { status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true }),
  ['12', { status: 'UNCHANGED', retry: null }],
  ...each(['45', '99'], { status: 'UNKNOWN', retry: null }),
  ...each(['42', '74', '75'], { status: 'UNKNOWN', moneyUnclear: true }),
  ['ZZ', { status: 'UNKNOWN', unmapped: true }],
])('a refund answered with %s', async (respCode, report) => {
  platform.answer = () => code(respCode, { queryId: 'F1' });
  expect(await adapter.refund(REFUND, call())).toMatchObject(report);
  expect(lastAsked()).toMatchObject({ txnType: '04', orderId: 'R00000001', txnTime: '20260101080000', txnAmt: '100', origQryId: 'Q1' });
});

test.each<[string, Partial<NewRefund>, string]>([
  ['a part of it', {}, '04'],
  ['all of it on the day of its clearing', { amount: REFUND.paid }, '31'],
  ['all of it, paid before 23:00 and given back after', { amount: REFUND.paid, paidAt: new Date('2026-01-01T14:59:59Z'), createdAt: new Date('2026-01-01T15:00:00Z') }, '04'],
  ['all of it, paid after 23:00 and given back the next day', { amount: REFUND.paid, paidAt: new Date('2026-01-01T15:00:00Z'), createdAt: new Date('2026-01-02T14:59:59Z') }, '31'],
])('giving back %s', async (_what, change, txnType) => {
  platform.answer = () => code('00');
  await adapter.refund({ ...REFUND, ...change }, { ...call(), at: change.createdAt ?? AT });
  expect(lastAsked()).toMatchObject({ txnType });
});

test('a void that goes out only after the clearing is a refund, under the same number and time', async () => {
  platform.answer = () => code('00');
  const whole = { ...REFUND, amount: REFUND.paid, paidAt: new Date('2026-01-01T14:00:00Z'), createdAt: new Date('2026-01-01T14:59:59Z') };
  await adapter.refund(whole, { ...call(), at: new Date('2026-01-01T14:59:59Z') });
  expect(lastAsked()).toMatchObject({ txnType: '31', orderId: 'R00000001', txnTime: '20260101225959' });
  await adapter.refund(whole, { ...call(), at: new Date('2026-01-01T15:00:00Z') });
  expect(lastAsked()).toMatchObject({ txnType: '04', orderId: 'R00000001', txnTime: '20260101225959' });
});

test('a refund of a payment whose queryId is not known is not sent', async () => {
  const before = platform.asked.length;
  expect(await adapter.refund({ ...REFUND, order: { ...IDENTITY, platformTransactionId: null } }, call())).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true });
  expect(platform.asked.length).toBe(before);
});

const sent = (secondsAgo: number): NewRefund => ({ ...REFUND, sentAt: new Date(AT.getTime() - secondsAgo * 1_000) });
const refundFound = (origRespCode: string, change: Fields = {}): Told => told({ ...found, orderId: 'R00000001', queryId: 'F1', txnAmt: '100', origRespCode, ...change });
const FAILED = { status: 'FAILED', retry: 'NEW_NUMBER' };
test.each<[string, Told, Told, number, object, number]>([
  ['is found done', refundFound('00'), code('00'), 70, { status: 'SUCCEEDED', amount: 100n }, 0],
  ['is found under way', refundFound('05'), code('00'), 70, { status: 'SUBMITTED' }, 0],
  ['is found failed', refundFound('01'), code('00'), 70, { ...FAILED, confirmed: true }, 0],
  ['cannot be asked about', 'cut', code('00'), 70, { status: 'UNCHANGED', retry: 'SAME_NUMBER' }, 0],
  ['is not found, and taken now', code('34'), code('00'), 70, { status: 'SUBMITTED' }, 1],
  ['is not found yet, and taken now', code('34'), code('00'), 10, { status: 'SUBMITTED' }, 1],
  ['is not found, and refused now', code('34'), code('36'), 70, { ...FAILED, confirmed: true }, 1],
  ['is not found yet, and refused now', code('34'), code('36'), 10, FAILED, 1],
])('a refund that was sent before is asked about before it is sent again: it %s', async (_what, asked, answered, secondsAgo, report, sends) => {
  const before = platform.asked.length;
  platform.answer = ({ path }) => (path.endsWith('queryTrans.do') ? asked : answered);
  const outcome = await adapter.refund({ ...sent(secondsAgo), attempt: 2 }, call());
  expect(outcome).toMatchObject(report);
  if (secondsAgo === 10) expect(outcome.confirmed).toBeUndefined();
  expect(platform.asked.slice(before).filter(({ path }) => path.endsWith('backTransReq.do'))).toHaveLength(sends);
});

test.each([
  [23, { status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true }],
  [25, { status: 'FAILED', retry: 'NEW_NUMBER', confirmed: true }],
])('a refund that the platform does not know and refuses %i hours after it was made', async (hours, report) => {
  platform.answer = ({ path }) => (path.endsWith('queryTrans.do') ? code('34') : code('10'));
  const createdAt = new Date(AT.getTime() - hours * 3_600_000);
  expect(await adapter.refund({ ...sent(3_600), createdAt, attempt: 9 }, call())).toMatchObject(report);
});

test.each<[string, Told, NewRefund, object]>([
  ['00', refundFound('00'), sent(60), { status: 'SUCCEEDED', amount: 100n, at: PAID_AT, platformRefundId: 'F1' }],
  ['A6', refundFound('A6'), sent(60), { status: 'SUCCEEDED' }],
  ...['03', '04', '05'].map((one): [string, Told, NewRefund, object] => [one, refundFound(one), sent(60), { status: 'SUBMITTED' }]),
  ...['01', '99'].map((one): [string, Told, NewRefund, object] => [one, refundFound(one), sent(60), { status: 'FAILED', retry: 'NEW_NUMBER' }]),
  ...['42', '74', '75'].map((one): [string, Told, NewRefund, object] => [one, refundFound(one), sent(60), { status: 'UNKNOWN', moneyUnclear: true }]),
  ['done, an amount with a point', refundFound('00', { txnAmt: '1.00' }), sent(60), { status: 'UNKNOWN', amount: null, unmapped: true }],
  ['done, without an amount', refundFound('00', { txnAmt: '' }), sent(60), { status: 'UNKNOWN', amount: null, unmapped: true }],
  ['found, and none such, asked too early', refundFound('34'), sent(62), { status: 'UNCHANGED' }],
  ['found, and none such, asked later', refundFound('34'), sent(63), { status: 'UNKNOWN', retry: 'SAME_NUMBER' }],
  ['another refund', refundFound('00', { orderId: 'R00000002' }), sent(60), { status: 'UNCHANGED', word: 'OTHER_REFUND' }],
  ['a code nobody knows', refundFound('ZZ'), sent(60), { status: 'UNKNOWN', unmapped: true }],
  ['not found, asked too early', code('34'), sent(62), { status: 'UNCHANGED' }],
  ['not found, asked later', code('34'), sent(63), { status: 'UNKNOWN', retry: 'SAME_NUMBER' }],
  ['a failure of the query', code('06'), sent(60), { status: 'UNCHANGED' }],
])('a refund query that says %s', async (_what, answer, refund, report) => {
  platform.answer = () => answer;
  expect(await adapter.queryRefund(refund, call())).toMatchObject(report);
  expect(lastAsked()).toMatchObject({ txnType: '00', orderId: 'R00000001', txnTime: '20260101080000' });
});

const notice = (change: Fields = {}): Fields => ({
  queryId: 'Q1', orderId: 'P00000001', txnTime: '20260101080000', txnType: '01', txnAmt: '8888', currencyCode: '156', respCode: '00', respMsg: '成功[0000000]', traceTime: '0101080500', ...change,
});
const FORM = { 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' };
const read = (fields: Fields) => adapter.readNotification({ headers: FORM, body: Buffer.from(new URLSearchParams(fields).toString()), receivedAt: AT });

test.each<[string, Fields, object]>([
  ['a payment', {}, { notificationId: 'Q1:00', order: { merchantOrderNo: 'P00000001', platformOrderTime: '20260101080000' }, evidence: paid, refund: null }],
  ['a payment with a defect', { respCode: 'A6' }, { evidence: { class: 'PAID', defective: true } }],
  ['a payment without a queryId', { queryId: '' }, { evidence: { class: 'MONEY_UNCLEAR' } }],
])('a genuine notification of %s', (_what, change, reading) => {
  expect(read(signed(notice(change)))).toMatchObject({ verified: true, ...reading });
});

test.each([
  ['04', '00', { status: 'SUCCEEDED', amount: 100n }],
  ['04', '01', { status: 'FAILED', retry: 'NEW_NUMBER' }],
  ['31', '00', { status: 'SUCCEEDED' }],
  ['31', 'A6', { status: 'SUCCEEDED' }],
])('a genuine notification of a refund (%s, %s) finds its payment by what we have sent along', async (txnType, respCode, report) => {
  platform.answer = () => code('00');
  await adapter.refund(REFUND, call());
  const { reqReserved } = lastAsked();
  const fields = notice({ txnType, respCode, orderId: 'R00000001', txnAmt: '100', queryId: 'F1', origQryId: 'Q1', reqReserved: reqReserved! });
  expect(read(signed(fields))).toMatchObject({
    verified: true, order: { merchantOrderNo: 'P00000001', platformOrderTime: '20260101080000', platformTransactionId: 'Q1' }, evidence: null, refund: { platformRefundNo: 'R00000001', report },
  });
});

test('a notification without a queryId is known by its order, also where an empty one was added', () => {
  const { queryId: _none, ...fields } = notice();
  const body = new URLSearchParams(signed(fields)).toString();
  for (const text of [body, `${body}&queryId=`]) {
    expect(adapter.readNotification({ headers: FORM, body: Buffer.from(text), receivedAt: AT })).toMatchObject({ verified: true, notificationId: '777290058110048:P00000001:20260101080000:01:00' });
  }
});

test.each(forged)('a notification with %s is not believed', (_what, fields) => {
  const reading = read({ ...fields, txnType: '01' });
  expect(reading.verified || reading.claimedOrderNo()).toBe('P00000001');
});

test.each<[string, Fields, string]>([
  ['another merchant', { merId: '777290058110049' }, 'it is for another merId'],
  ['no number', { orderId: '' }, 'orderId, txnTime or respCode is missing'],
  ['another type', { txnType: '02' }, 'txnType 02 is not about a payment or a refund'],
  ["the words of a query's answer", { origRespCode: '05' }, 'it is the answer to a call'],
  ["the words of a placed code's answer", { qrCode: 'https://qr.95516.com/1' }, 'it is the answer to a call'],
  ["the words of a placed app order's answer", { tn: '1' }, 'it is the answer to a call'],
])('a genuine notification with %s is not taken', (_what, change, why) => {
  expect(read(signed(notice(change)))).toMatchObject({ verified: false, why });
});

test('an empty queryId, which nobody signs, is none: each notification keeps an id of its own', () => {
  const { queryId: _none, ...fields } = notice();
  const without = { verified: true, notificationId: '777290058110048:P00000001:20260101080000:01:00', order: { platformTransactionId: null } };
  expect(read(signed(fields))).toMatchObject(without);
  expect(read({ ...signed(fields), queryId: '' })).toMatchObject(without);
});

test('fields under the signature of others whose joined text is the same are not believed', () => {
  const genuine = signed(notice({ reqReserved: '{a=1&b=2}' }));
  expect(read(genuine)).toMatchObject({ verified: true });
  const { settleAmt: _a, respMsg, respCode, ...others } = genuine;
  const forgeries: Fields[] = [
    // Found by fuzz:notifications: a field that goes on after its value, and a name that begins before it.
    { ...others, respCode: `${respCode}&respMsg=${respMsg}` },
    { ...others, [`respCode=${respCode}&respMsg`]: respMsg! },
    { ...others, respCode: respCode!, reqReserved: '{a', 'reqReserved={a': '1&b=2}', respMsg: respMsg! },
  ];
  for (const forged of forgeries) expect(read(forged)).toMatchObject({ verified: false, why: 'a value holds what could be another field' });
});

test('of a genuine notification no field that counts can be hidden inside of another', () => {
  const fields = signed(notice({ reqReserved: '{a=1&b=2}' }));
  expect(read(fields).verified).toBe(true);
  const names = Object.keys(fields).filter((name) => name !== 'signature').sort();
  for (const [at, name] of names.entries()) {
    if (at === 0 || name === 'encoding') continue;
    const { [name]: hidden, ...rest } = fields;
    const before = names[at - 1]!;
    expect([name, read({ ...rest, [before]: `${fields[before]}&${name}=${hidden}` }).verified]).toEqual([name, false]);
  }
});

test('a genuine notification under another content-type is not believed', () => {
  const body = Buffer.from(new URLSearchParams(signed(notice())).toString());
  for (const type of ['application/json', 'text/plain', '']) {
    expect(adapter.readNotification({ headers: { 'content-type': type }, body, receivedAt: AT })).toMatchObject({ verified: false });
  }
});

test('no single changed byte of a genuine notification is believed', () => {
  const genuine = Buffer.from(new URLSearchParams(signed(notice())).toString());
  for (let index = 0; index < genuine.length; index += 1) {
    const body = Buffer.from(genuine);
    body[index]! ^= 1;
    const reading = adapter.readNotification({ headers: FORM, body, receivedAt: AT });
    // A change of letter case inside a percent escape is the same text.
    if (reading.verified) expect(decodeURIComponent(body.toString())).toBe(decodeURIComponent(genuine.toString()));
  }
});

test('an answer is taken apart at the outermost level, whatever the values hold', () => {
  const plain = fc.string({ unit: fc.constantFrom('a', '=', '+', '/', '\n', '\r', '茶', ' ', '%') });
  const inner = fc.array(fc.tuple(fc.constantFrom('a', 'b'), plain), { maxLength: 3 }).map((pairs) => `{${pairs.map(([name, value]) => `${name}=${value}`).join('&')}}`);
  const value = fc.oneof(plain, inner, inner.map((one) => `[${one}]`));
  fc.assert(
    fc.property(fc.dictionary(fc.stringMatching(/^[A-Za-z]{1,8}$/), value, { minKeys: 1 }), (fields) => {
      expect({ ...parseAnswer(wire(fields)) }).toEqual({ ...fields });
    }),
    { numRuns: 1_000 },
  );
  for (const text of ['', 'a', '=a', 'a=1&', 'a=1&a=2', 'a={b=1', '&a=1']) expect(parseAnswer(text)).toBeNull();
});

const vectors = vectorsOf('unionpay');

testVectors(vectors)('U1: the signature of a request of another implementation', () => {
  const { fields, sha256hex, certPem, certId, signature } = vectors!['U1'] as { fields: Fields; sha256hex: string; certPem: string; certId: string; signature: string };
  expect(signedDigest(fields)).toBe(sha256hex);
  expect(BigInt(`0x${new X509Certificate(certPem).serialNumber}`).toString()).toBe(certId);
  const publicKeyPem = new X509Certificate(certPem).publicKey.export({ type: 'spki', format: 'pem' }).toString();
  expect(opensslAccepts({ ...fields, signature }, publicKeyPem)).toBe(true);
  const key = new X509Certificate(certPem).publicKey;
  expect(verifyBytes(signedDigest(fields), signature, key)).toBe(true);
  expect(verifyBytes(Buffer.from(sha256hex, 'hex'), signature, key)).toBe(false);
  expect(verifyBytes(joined(fields), signature, key)).toBe(false);
  for (const name of Object.keys(fields).filter((one) => fields[one] !== '')) expect(verifyBytes(signedDigest({ ...fields, [name]: `${fields[name]}1` }), signature, key)).toBe(false);
  expect(certificatePem.safeParse(certPem).success).toBe(true);
});

testVectors(vectors)('U2, U4: a genuine answer is proven by its chain and nothing else, and no altered copy is', () => {
  const { fields, sha256hex, clock } = vectors!['U2'] as { fields: Fields; sha256hex: string; clock: string };
  const { middlePem: middleText, rootPem: rootText } = vectors!['U4'] as Record<string, string>;
  const trust = { roots: [new X509Certificate(rootText!)], middles: [new X509Certificate(middleText!)], otherCommonNames: [] };
  const at = new Date(clock);
  expect(signedDigest(fields)).toBe(sha256hex);
  expect(whyUnproven(fields, trust, at)).toBeNull();
  expect(whyUnproven(fields, { ...trust, middles: [] }, at)).toBe('the certificate is not issued under a trusted root');
  expect(whyUnproven(fields, { ...trust, roots: [new X509Certificate(rootPem)] }, at)).toBe('the certificate is not issued under a trusted root');
  const { signPubKeyCert } = fields;
  expect(signPubKeyCert).toContain('\r\n');
  expect(whyUnproven({ ...fields, signPubKeyCert: signPubKeyCert!.replaceAll('\r\n', '\n') }, trust, at)).toBe('the signature does not verify');
  const sameName = /CN=(.*)$/m.exec(new X509Certificate(signPubKeyCert!).subject)![1]!;
  expect(whyUnproven({ ...fields, signPubKeyCert: selfSigned(sameName, stranger) }, trust, at)).toBe('the certificate is not issued under a trusted root');
  expect(whyUnproven(fields, trust, new Date('2026-01-01'))).toBe('the certificate is not issued under a trusted root');
  for (const name of Object.keys(fields).filter((one) => !['signature', 'signPubKeyCert', 'version', 'signMethod'].includes(one) && fields[one] !== '')) {
    expect(whyUnproven({ ...fields, [name]: `${fields[name]}1` }, trust, at)).toBe('the signature does not verify');
  }
});

describe('the settlement file', () => {
  const WIDTHS = [3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21, 15, 1, 15, 32, 13, 13, 8, 32, 13, 13, 12, 2, 1, 32, 98];
  const line = (cells: Record<number, string>): Buffer =>
    Buffer.concat(
      WIDTHS.flatMap((width, at) => {
        const cell = iconv.encode(cells[at + 1] ?? '', 'gbk');
        return [Buffer.concat([cell, Buffer.alloc(width - cell.length, 0x20)]), Buffer.from(at === WIDTHS.length - 1 ? '\r\n' : ' ')];
      }),
    );
  const PAY = { 5: '0101080500', 7: '000000008888', 10: 'Q1', 12: 'P00000001', 16: 'D000000000053', 20: '01', 31: '子商户简称' };
  const BACK = { 5: '0101090000', 7: '000000000100', 10: 'F1', 12: 'R00000001', 16: 'C000000000001', 20: '04', 27: 'Q1', 41: 'P00000001' };

  /** One stored file, as plain as the format allows. */
  function zip(name: string, content: Buffer, checksum = crc32(content)): Buffer {
    const packed = deflateRawSync(content);
    const sizes = [checksum, packed.length, content.length];
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(20, 4);
    local.writeUInt16LE(8, 8);
    sizes.forEach((value, at) => local.writeUInt32LE(value, 14 + at * 4));
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(20, 4);
    central.writeUInt16LE(20, 6);
    central.writeUInt16LE(8, 10);
    sizes.forEach((value, at) => central.writeUInt32LE(value, 16 + at * 4));
    central.writeUInt16LE(name.length, 28);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(1, 8);
    end.writeUInt16LE(1, 10);
    end.writeUInt32LE(central.length + name.length, 12);
    end.writeUInt32LE(local.length + name.length + packed.length, 16);
    return Buffer.concat([local, Buffer.from(name), packed, central, Buffer.from(name), end]);
  }
  const content = (file: Buffer): string => deflateSync(file).toString('base64');
  const NAME_IN_ZIP = 'INN20260102ZM_777290058110048';

  async function rowsOf(answer: Told): Promise<unknown> {
    platform.answer = () => answer;
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
  const file = (...lines: Buffer[]): Told => told({ respCode: '00', fileName: 'x.zip', fileContent: content(zip(NAME_IN_ZIP, Buffer.concat(lines))) });

  test('payments, refunds and voids, by byte widths', async () => {
    expect(await rowsOf(file(line(PAY), line(BACK), line({ ...BACK, 20: '31' })))).toMatchObject([
      { kind: 'PAYMENT', merchantOrderNo: 'P00000001', platformTransactionId: 'Q1', platformRefundNo: '', amount: { currency: 'CNY', minorUnits: 8_888n }, fee: 53n, at: PAID_AT, word: '01' },
      { kind: 'REFUND', merchantOrderNo: 'P00000001', platformTransactionId: 'Q1', platformRefundNo: 'R00000001', platformRefundId: 'F1', amount: { minorUnits: 100n }, fee: -1n },
      { kind: 'REFUND', word: '31' },
    ]);
    expect(lastAsked()).toMatchObject({ txnType: '76', txnSubType: '01', settleDate: '0101', fileType: '00' });
  });

  test('lines are whole wherever the file is cut into pieces; the file may name its day', async () => {
    const lines = Array.from({ length: 2_000 }, (_one, at) => line({ ...PAY, 12: `P${at}` }));
    const answer = told({ respCode: '00', settleDate: '0101', fileContent: content(zip(NAME_IN_ZIP, Buffer.concat(lines))) });
    const rows = (await rowsOf(answer)) as { merchantOrderNo: string }[];
    expect(rows.map(({ merchantOrderNo }) => merchantOrderNo)).toEqual(lines.map((_one, at) => `P${at}`));
  });

  test('no file is no bill; a refusal is none either', async () => {
    expect(await rowsOf(code('98'))).toMatchObject({ kind: 'ACCEPTED', value: null });
    expect(await rowsOf(code('98', { settleDate: '0102' }))).toMatchObject({ kind: 'UNKNOWN', code: 'BAD_BILL', message: 'the file is of 0102' });
    expect(await rowsOf(code('31'))).toMatchObject({ kind: 'MISCONFIGURED' });
    expect(await rowsOf(code('06'))).toMatchObject({ kind: 'RATE_LIMITED' });
  });

  const good = zip(NAME_IN_ZIP, line(PAY));
  const recoded = (gbk: Buffer): Buffer => Buffer.from(iconv.decode(gbk, 'gbk'));
  test.each<[string, () => Told, unknown]>([
    ['in the name of a stranger', () => told({ respCode: '00', fileContent: content(good) }, { key: stranger.privateKey }), { kind: 'UNKNOWN', code: 'BAD_BILL' }],
    ['with other content than was signed', () => ({ body: wire({ ...signed({ respCode: '00', fileContent: content(good) }), fileContent: content(zip(NAME_IN_ZIP, line(BACK))) }) }), { kind: 'UNKNOWN', code: 'BAD_BILL' }],
    ['that is cut', () => ({ body: wire(signed({ respCode: '00', fileContent: content(good) })).slice(0, 200) }), { kind: 'UNKNOWN', code: 'BAD_BILL' }],
    ['that is no zip', () => told({ respCode: '00', fileContent: content(Buffer.from('no zip')) }), { kind: 'UNKNOWN', code: 'BAD_BILL' }],
    ['without the entry', () => told({ respCode: '00', fileContent: content(zip('INN20260102ZME_777290058110048', line(PAY))) }), { kind: 'UNKNOWN', code: 'BAD_BILL' }],
    ['whose content is not what was packed', () => told({ respCode: '00', fileContent: content(zip(NAME_IN_ZIP, line(PAY), 1)) }), { kind: 'UNKNOWN', code: 'BAD_BILL', message: 'the entry of the zip file is not what was packed' }],
    ['whose zip is cut', () => told({ respCode: '00', fileContent: content(good.subarray(0, -40)) }), { kind: 'UNKNOWN', code: 'BAD_BILL' }],
    ['whose content is cut before it was signed', () => told({ respCode: '00', fileContent: content(good).slice(0, -8) }), { kind: 'UNKNOWN', code: 'BAD_BILL' }],
    ['of another day', () => told({ respCode: '00', settleDate: '0102', fileContent: content(good) }), { kind: 'UNKNOWN', code: 'BAD_BILL', message: 'the file is of 0102' }],
    ['of another merchant', () => told({ respCode: '00', merId: '777290058110049', fileContent: content(good) }), { kind: 'UNKNOWN', code: 'BAD_BILL', message: 'the file is for another merchant' }],
    // UTF-8 gives a name more bytes than its field has.
    ['in another encoding', () => file(line(PAY), recoded(line({ ...PAY, 33: 'C000000008835' }))), { rows: 1, error: 'the fields of a line are not where they belong' }],
    ['with a number that is not in ASCII', () => file(line({ ...PAY, 12: '订单1' })), { error: 'field 12 of a line is not in ASCII' }],
    ['with a line cut', () => file(line(PAY), line(PAY).subarray(0, 100)), { rows: 1, error: 'a line of the bill is cut' }],
    ['with a type nobody knows', () => file(line({ ...PAY, 20: '02' })), { error: '"02" is no type of transaction' }],
    ['with an amount that is none', () => file(line({ ...PAY, 7: '88.88' })), { error: '"88.88" is no amount' }],
  ])('one %s is not believed', async (_what, answer, finding) => {
    expect(await rowsOf(answer())).toMatchObject(finding as object);
  });
});
