import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, readConfig } from '../src/config.js';
import { newKeyPair } from '../src/simulator/rsa-pair.js';

const { privateKey, publicKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});
const simulated = newKeyPair();
const ALIPAY = {
  account: 'main',
  app_id: '2021000000000001',
  seller_id: '2088000000000001',
  app_private_key: privateKey,
  alipay_public_key: publicKey,
};
const WECHATPAY = {
  account: 'main',
  mchid: '1900000001',
  appid: 'wx0000000000000001',
  merchant_private_key: privateKey,
  merchant_certificate_serial: 'ABCDEF0123456789',
  api_v3_key: 'k'.repeat(32),
  public_keys: { PUB_KEY_ID_01: publicKey },
};
const of = (platforms: unknown) => ({ PAYSTATE_PLATFORMS: JSON.stringify(platforms), PAYSTATE_NOTIFICATION_BASE_URL: 'https://pay.example' });
const PRODUCTION = { ...of({ alipay: [ALIPAY] }), NODE_ENV: 'production', DATABASE_URL: 'postgresql://db/pay', PAYSTATE_TOKEN_KEY: 'a key of sixteen and more' };

test('no configuration is a service for development: embedded database, simulators, loopback, everybody trusted', () => {
  expect(readConfig({})).toMatchObject({
    production: false,
    databaseUrl: null,
    migrateAtStart: true,
    grpc: { host: '127.0.0.1', port: 50051, reflection: true },
    simulator: { port: 50053 },
    platforms: [],
    trustedReporters: null,
    feedRetentionDays: 30,
  });
});

test('a database of your own is not migrated unasked', () => {
  expect(readConfig({ DATABASE_URL: 'postgresql://db/pay' })).toMatchObject({ migrateAtStart: false });
  expect(readConfig({ DATABASE_URL: 'postgresql://db/pay', PAYSTATE_MIGRATE: 'true' })).toMatchObject({ migrateAtStart: true });
});

test('production trusts nobody by default, has no simulators and no reflection', () => {
  expect(readConfig(PRODUCTION)).toMatchObject({ production: true, simulator: null, trustedReporters: [], grpc: { reflection: false } });
});

test('a mounted secret is read from its file', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'paystate-config-')), 'key');
  writeFileSync(file, 'secret of a file\n');
  expect(readConfig({ PAYSTATE_TOKEN_KEY_FILE: file }).tokenKey).toBe('secret of a file');
});

test('NATS brings the feed where it is asked to, and only then is an address of it of any use', () => {
  expect(readConfig({ PAYSTATE_NATS_URL: 'nats://one' }).nats).toBeNull();
  const urls = 'tls://user:secret@one:4222, tls://two:4222';
  expect(readConfig({ PAYSTATE_FEED_TRANSPORT: 'nats', PAYSTATE_NATS_URL: urls, PAYSTATE_NATS_REPLICAS: '3' }).nats).toEqual({
    urls: ['tls://user:secret@one:4222', 'tls://two:4222'],
    replicas: 3,
  });
});

test('several accounts of several platforms, with keys in files beside the configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'paystate-config-'));
  writeFileSync(join(folder, 'app.pem'), privateKey);
  const { app_private_key: _key, ...rest } = ALIPAY;
  const platforms = { alipay: [{ ...rest, app_private_key_file: 'app.pem' }, { ...ALIPAY, account: 'shop', apps: ['shop'], calls_per_second: 50 }], wechatpay: [WECHATPAY] };
  writeFileSync(join(folder, 'platforms.json'), JSON.stringify(platforms));

  const config = readConfig({ PAYSTATE_PLATFORMS_FILE: join(folder, 'platforms.json'), PAYSTATE_NOTIFICATION_BASE_URL: 'https://pay.example' });
  expect(config.simulator).toBeNull();
  expect(config.platforms).toMatchObject([
    { platform: 'ALIPAY', account: 'main', apps: [] },
    { platform: 'ALIPAY', account: 'shop', apps: ['shop'], limits: { perSecond: 50 } },
    { platform: 'WECHATPAY', account: 'main' },
  ]);
  expect(config.platforms.map((account) => account.connect('https://pay.example/n').merchantAccount)).toEqual(['main', 'shop', 'main']);
});

test.each<[string, Record<string, string>, string[]]>([
  ['a port that is none', { PAYSTATE_GRPC_PORT: '70000' }, ['PAYSTATE_GRPC_PORT']],
  ['a database of another kind', { DATABASE_URL: 'mysql://db' }, ['DATABASE_URL']],
  ...['0', '3651', '1.5', '-1', 'a month'].map(
    (days): [string, Record<string, string>, string[]] => [`a feed that is kept for ${days} days`, { PAYSTATE_FEED_RETENTION: days }, ['PAYSTATE_FEED_RETENTION']],
  ),
  ['a transport nobody knows', { PAYSTATE_FEED_TRANSPORT: 'kafka' }, ['PAYSTATE_FEED_TRANSPORT']],
  ['NATS without an address', { PAYSTATE_FEED_TRANSPORT: 'nats' }, ['PAYSTATE_NATS_URL: required']],
  ['an address of NATS that is none', { PAYSTATE_NATS_URL: 'nats://one,http://two' }, ['PAYSTATE_NATS_URL']],
  ['two copies of a stream', { PAYSTATE_NATS_REPLICAS: '2' }, ['PAYSTATE_NATS_REPLICAS']],
  ['two faults at once', { PAYSTATE_GRPC_PORT: 'x', PAYSTATE_LOG_LEVEL: 'loud' }, ['PAYSTATE_GRPC_PORT', 'PAYSTATE_LOG_LEVEL']],
  ['a missing secret file', { PAYSTATE_TOKEN_KEY_FILE: '/nonexistent' }, ['PAYSTATE_TOKEN_KEY_FILE']],
  ['platforms that are no JSON', { PAYSTATE_PLATFORMS: '{' }, ['PAYSTATE_PLATFORMS: is not JSON']],
  ['platforms that are a list', of([]), ['must be an object of platforms']],
  ['a platform nobody knows', of({ paypal: [] }), ['paypal: is not one of alipay, wechatpay, unionpay']],
  ['an account that is none', of({ alipay: [1], wechatpay: {} }), ['alipay[0]: must be an object', 'wechatpay: must be a list of accounts']],
  [
    'every fault of every account at once',
    of({ alipay: [{ ...ALIPAY, account: 'a b', app_id: 'x', app_private_key: 'no key' }], wechatpay: [{ ...WECHATPAY, mchid: '1', api_v3_key: 'short', oops: 1 }] }),
    ['alipay[0].account: must be 1 to 64 letters', 'alipay[0].app_id: must be digits', 'alipay[0].app_private_key: must be an RSA private key', 'wechatpay[0].mchid', 'wechatpay[0].api_v3_key: must have 32 bytes', 'oops'],
  ],
  ['neither mode of keys', of({ alipay: [{ ...ALIPAY, alipay_public_key: undefined }] }), ['needs either alipay_public_key, or all of app_certificate']],
  ['a key file that is missing', of({ alipay: [{ ...ALIPAY, app_private_key_file: '/nonexistent' }] }), ['alipay[0].app_private_key_file: cannot be read (Error: ENOENT']],
  ['an account twice', of({ alipay: [ALIPAY, ALIPAY] }), ['alipay account main: is configured twice']],
  ['accounts without an address for notifications', { PAYSTATE_PLATFORMS: JSON.stringify({ alipay: [ALIPAY] }) }, ['PAYSTATE_NOTIFICATION_BASE_URL: required']],
  ['simulators beside accounts', { ...of({ alipay: [ALIPAY] }), PAYSTATE_SIMULATOR: 'true' }, ['PAYSTATE_SIMULATOR: simulators stand for the platforms']],
  ['simulators in production', { ...PRODUCTION, PAYSTATE_SIMULATOR: 'true' }, ['simulators are refused in production']],
  ['a local gateway in production', { ...PRODUCTION, ...of({ alipay: [{ ...ALIPAY, gateway_url: 'http://localhost:50054/gateway.do' }] }) }, ['ALIPAY account main: http://localhost:50054/gateway.do is on this machine']],
  ...['http://[::1]:1/', 'http://[::]:1/', 'http://[::ffff:127.0.0.1]:1/', 'http://127.1:1/', 'http://0:1/', 'http://2130706433:1/', 'https://pay.localhost/'].map(
    (gateway_url): [string, Record<string, string>, string[]] => [`${gateway_url} in production`, { ...PRODUCTION, ...of({ alipay: [{ ...ALIPAY, gateway_url }] }) }, ['is on this machine']],
  ),
  ["a simulator's public key in production", { ...PRODUCTION, ...of({ alipay: [{ ...ALIPAY, alipay_public_key: simulated.publicKey }] }) }, ["one of its keys is a simulator's and refused in production"]],
  ["a simulator's private key in production", { ...PRODUCTION, ...of({ wechatpay: [{ ...WECHATPAY, merchant_private_key: simulated.privateKey }] }) }, ['WECHATPAY account main']],
  ['production without a database or key', { ...of({ alipay: [ALIPAY] }), NODE_ENV: 'production' }, ['DATABASE_URL: required', 'PAYSTATE_TOKEN_KEY: required']],
])('%s is refused by name', (_what, env, names) => {
  expect(() => readConfig(env)).toThrow(ConfigError);
  for (const name of names) expect(() => readConfig(env)).toThrow(name);
});
