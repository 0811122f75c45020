import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, readConfig } from '../src/config.js';

const ALIPAY = {
  PAYSTATE_ALIPAY_APP_ID: '2021000000000001',
  PAYSTATE_ALIPAY_SELLER_ID: '2088000000000001',
  PAYSTATE_ALIPAY_APP_PRIVATE_KEY: 'key',
  PAYSTATE_ALIPAY_PUBLIC_KEY: 'key',
  PAYSTATE_NOTIFICATION_BASE_URL: 'https://pay.example',
};
const PRODUCTION = { ...ALIPAY, NODE_ENV: 'production', DATABASE_URL: 'postgresql://db/pay', PAYSTATE_TOKEN_KEY: 'a key of sixteen and more' };

test('no configuration is a service for development: embedded database, simulator, loopback, everybody trusted', () => {
  expect(readConfig({})).toMatchObject({
    production: false,
    databaseUrl: null,
    migrateAtStart: true,
    grpc: { host: '127.0.0.1', port: 50051, reflection: true },
    simulator: { gatewayPort: 50053 },
    alipay: null,
    trustedReporters: null,
  });
});

test('a database of your own is not migrated unasked', () => {
  expect(readConfig({ DATABASE_URL: 'postgresql://db/pay' })).toMatchObject({ migrateAtStart: false });
  expect(readConfig({ DATABASE_URL: 'postgresql://db/pay', PAYSTATE_MIGRATE: 'true' })).toMatchObject({ migrateAtStart: true });
});

test('production trusts nobody by default, has no simulator and no reflection', () => {
  expect(readConfig(PRODUCTION)).toMatchObject({ production: true, simulator: null, trustedReporters: [], grpc: { reflection: false } });
});

test('a mounted secret is read from its file', () => {
  const file = join(mkdtempSync('/tmp/paystate-config-'), 'key');
  writeFileSync(file, 'secret of a file\n');
  expect(readConfig({ PAYSTATE_TOKEN_KEY_FILE: file }).tokenKey).toBe('secret of a file');
});

test.each<[string, Record<string, string>, string[]]>([
  ['a port that is none', { PAYSTATE_GRPC_PORT: '70000' }, ['PAYSTATE_GRPC_PORT']],
  ['a database of another kind', { DATABASE_URL: 'mysql://db' }, ['DATABASE_URL']],
  ['two faults at once', { PAYSTATE_GRPC_PORT: 'x', PAYSTATE_LOG_LEVEL: 'loud' }, ['PAYSTATE_GRPC_PORT', 'PAYSTATE_LOG_LEVEL']],
  ['a missing secret file', { PAYSTATE_TOKEN_KEY_FILE: '/nonexistent' }, ['PAYSTATE_TOKEN_KEY_FILE']],
  ['half an account', { PAYSTATE_ALIPAY_APP_ID: '1' }, ['PAYSTATE_ALIPAY_SELLER_ID', 'PAYSTATE_ALIPAY_APP_PRIVATE_KEY', 'PAYSTATE_NOTIFICATION_BASE_URL']],
  ['a simulator in production', { ...PRODUCTION, PAYSTATE_SIMULATOR: 'true' }, ['simulators are refused in production']],
  ['a local gateway in production', { ...PRODUCTION, PAYSTATE_ALIPAY_GATEWAY_URL: 'http://localhost:50053/gateway.do' }, ['refused in production']],
  ['production without a database or key', { ...ALIPAY, NODE_ENV: 'production' }, ['DATABASE_URL: required', 'PAYSTATE_TOKEN_KEY: required']],
])('%s is refused by name', (_what, env, names) => {
  expect(() => readConfig(env)).toThrow(ConfigError);
  for (const name of names) expect(() => readConfig(env)).toThrow(name);
});
