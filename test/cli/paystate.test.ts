import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { readConfig } from '../../src/config.js';
import { PaymentStatus, Platform } from '../../src/gen/payment/v1/payment.js';
import { beijingDay } from '../../src/reconciliation/bill-day.js';
import { alipayAccount } from '../../src/simulator/accounts.js';
import { startAlipaySimulator } from '../../src/simulator/alipay/server.js';
import { accountsOf, startTestApp } from '../support/app.js';
import { Forger } from '../support/forger.js';
import { initiated, logOf, refundOf, registered, reported } from '../support/requests.js';
import { until } from '../support/until.js';

const COMPILED = new URL('../../dist/src/', import.meta.url).pathname;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(script: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const options = { env: { PATH: process.env['PATH'], ...env }, timeout: 15_000 };
  return promisify(execFile)(process.execPath, [`${COMPILED}${script}`, ...args], options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => error,
  );
}
const paystate = (args: readonly string[], env?: Record<string, string>) => run('cli/paystate.js', args, env);

const MIGRATIONS = ['20261124_core', '20261125_platforms', '20261126_sync', '20261126_reconciliation', '20261126_insight', '20261127_feed_retention'];
const lines = (before: string): string => MIGRATIONS.map((name) => `${before}${name}\n`).join('');

test('an empty database is refused at start, migrated by command, and then current', async () => {
  const admin = new pg.Client(process.env['PAYSTATE_TEST_ADMIN_URL']);
  await admin.connect();
  const name = `cli_${randomBytes(6).toString('hex')}`;
  await admin.query(`create database ${name}`);
  const url = new URL(process.env['PAYSTATE_TEST_ADMIN_URL']!);
  url.pathname = `/${name}`;
  const env = { DATABASE_URL: url.href, PAYSTATE_GRPC_PORT: '0', PAYSTATE_NOTIFICATION_PORT: '0', PAYSTATE_ADMIN_PORT: '0', PAYSTATE_SIMULATOR: 'false' };
  try {
    const refused = await run('main.js', [], env);
    expect(refused.code).toBe(78);
    expect(refused.stderr).toContain(`the database lacks ${MIGRATIONS.length} migrations (${MIGRATIONS.join(', ')})`);

    expect(await paystate(['migrate', 'status'], env)).toMatchObject({ code: 1, stdout: lines('pending  ') });
    // Two at once: one applies, the other waits and finds nothing.
    const both = await Promise.all([paystate(['migrate', 'up'], env), paystate(['migrate', 'up'], env)]);
    expect(both.map(({ stdout }) => stdout).sort()).toEqual([lines('applied '), 'nothing pending\n']);
    expect(await paystate(['migrate', 'status'], env)).toMatchObject({ code: 0, stdout: lines('applied  ') });
  } finally {
    await admin.query(`drop database ${name} with (force)`);
    await admin.end();
  }
});

test('a faulty configuration names everything at once and ends with 78', async () => {
  const { code, stderr } = await run('main.js', [], { PAYSTATE_GRPC_PORT: 'x', PAYSTATE_LOG_LEVEL: 'loud' });
  expect(code).toBe(78);
  expect(stderr).toContain('PAYSTATE_GRPC_PORT');
  expect(stderr).toContain('PAYSTATE_LOG_LEVEL');
});

test('nothing is deleted without --yes, and never a database of yours', async () => {
  expect(await paystate(['reset'], { PAYSTATE_DATA_DIR: '/tmp/paystate-no-such' })).toMatchObject({ code: 78, stderr: expect.stringContaining('--yes') });
  expect(await paystate(['reset', '--yes'], { DATABASE_URL: 'postgresql://db/x' })).toMatchObject({ code: 78, stderr: expect.stringContaining('embedded') });
});

test('reset deletes what is its own and leaves the rest', async () => {
  const dataDir = mkdtempSync(join(process.env['PAYSTATE_TEST_FOLDER']!, 'paystate-reset-'));
  for (const name of ['simulator-alipay.json', 'platforms.json', 'thesis.tex']) writeFileSync(join(dataDir, name), '{}');
  expect(await paystate(['reset', '--yes'], { PAYSTATE_DATA_DIR: dataDir })).toMatchObject({ code: 0 });
  expect(readdirSync(dataDir)).toEqual(['thesis.tex']);
  rmSync(dataDir, { recursive: true });
});

test('the simulators alone are platforms for a service that is configured with them', async () => {
  const dataDir = mkdtempSync(join(process.env['PAYSTATE_TEST_FOLDER']!, 'paystate-simulators-'));
  const child = spawn(process.execPath, [`${COMPILED}cli/paystate.js`, 'simulator'], {
    env: { PATH: process.env['PATH'], PAYSTATE_DATA_DIR: dataDir, PAYSTATE_SIMULATOR_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  using _ = { [Symbol.dispose]: () => child.kill('SIGKILL') };
  const exit = once(child, 'exit');
  let printed = '';
  child.stdout.on('data', (piece: Buffer) => (printed += piece.toString()));
  await until(() => printed.includes('npm start'));
  const file = /PAYSTATE_PLATFORMS_FILE=(\S+)/.exec(printed)![1]!;
  const buyer = /buyer\s+(\S+)/.exec(printed)![1]!;

  await using service = await startTestApp({ config: { platforms: readConfig({ PAYSTATE_PLATFORMS_FILE: file, PAYSTATE_NOTIFICATION_BASE_URL: 'http://127.0.0.1:9' }).platforms }, manualSync: true });
  for (const platform of [Platform.PLATFORM_ALIPAY, Platform.PLATFORM_WECHATPAY, Platform.PLATFORM_UNIONPAY]) {
    const { payment } = await service.payments.createPayment(initiated({ platform }));
    expect(payment).toMatchObject({ status: PaymentStatus.PAYMENT_STATUS_PENDING });
    const name = Platform[platform].replace('PLATFORM_', '').toLowerCase();
    const paid = await fetch(`${buyer}/${name}/buyer-pays`, { method: 'POST', body: JSON.stringify({ qr_code: payment!.checkout!.form!.value }) });
    expect(paid.status).toBe(200);
    const ref = { ref: { $case: 'paymentId' as const, value: payment!.paymentId } };
    const { items } = await service.payments.syncPayments({ target: { $case: 'payments', value: { refs: [ref] } } });
    expect(items).toMatchObject([{ payment: { status: PaymentStatus.PAYMENT_STATUS_SUCCEEDED } }]);
  }
  child.kill('SIGTERM');
  expect(await exit).toEqual([0, null]);
  rmSync(dataDir, { recursive: true });
});

test.each<[string, 'pid' | 'ready', NodeJS.Signals]>([
  ['in the middle of the start', 'pid', 'SIGTERM'],
  ['that npm passes on beside the terminal', 'ready', 'SIGINT'],
])('a signal %s leaves no database behind', async (_what, when, signal) => {
  const folder = mkdtempSync(join(process.env['PAYSTATE_TEST_FOLDER']!, 'paystate-signal-'));
  // Root's PostgreSQL runs as another user, who must get there.
  chmodSync(folder, 0o755);
  const pidFile = join(folder, 'data', 'postgres', 'postmaster.pid');
  const child = spawn(process.execPath, [`${COMPILED}main.js`], {
    env: { PATH: process.env['PATH'], PAYSTATE_DATA_DIR: join(folder, 'data'), PAYSTATE_GRPC_PORT: '0', PAYSTATE_NOTIFICATION_PORT: '0', PAYSTATE_ADMIN_PORT: '0', PAYSTATE_SIMULATOR_PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (said += text.toString()));
  const exit = once(child, 'exit');
  await until(() => (when === 'pid' ? existsSync(pidFile) : said.includes('is ready')));
  child.kill(signal);
  if (when === 'ready') {
    await until(() => said.includes('stopping'));
    child.kill(signal);
  }
  expect(await exit).toEqual([0, null]);
  expect(existsSync(pidFile)).toBe(false);
  rmSync(folder, { recursive: true, force: true });
});

test.each([
  [['no-such-command'], 2],
  [['--help'], 0],
  [['--version'], 0],
])('paystate %j ends with %i', async (args, code) => {
  expect((await paystate(args)).code).toBe(code);
});

test('call reaches any method, keeps 64-bit numbers whole and explains refusals', async () => {
  await using service = await startTestApp({ manualSync: true });
  const call = (method: string, data: object) => paystate(['call', method, '-d', JSON.stringify(data), '--address', service.address]);
  const created = await call('payment.v1.PaymentService/CreatePayment', {
    request_id: 'by-cli', app_id: 'shop', order_id: 'o', platform: 'PLATFORM_WECHATPAY', merchant_account: 'm',
    amount: { currency_code: 'CNY', minor_units: '900719925474099' }, registered: { merchant_order_no: 'n' },
  });
  expect(JSON.parse(created.stdout)).toMatchObject({ payment: { status: 'PAYMENT_STATUS_PENDING', amount: { minor_units: '900719925474099' } } });
  const refused = await call('payment.v1.PaymentService/CreatePayment', {});
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('INVALID_ARGUMENT');
  expect(refused.stderr).toContain('request_id: is required');
  expect(await call('payment.v1.PaymentService/NoSuchMethod', {})).toMatchObject({ code: 1, stderr: expect.stringContaining('there is no method') });
  const watched = await call('payment.v1.PaymentService/WatchPayments', { start_at: 'WATCH_START_EARLIEST', stop_at_head: true });
  expect(watched.stdout).toContain('event_id');
});

test('an audit export is signed, verified, and shows a rewrite that nothing else shows', async () => {
  await using service = await startTestApp({ manualSync: true });
  await using forger = await Forger.of(service.app.databaseUrl);
  const folder = mkdtempSync(join(tmpdir(), 'paystate-audit-'));
  const file = (name: string): string => join(folder, name);
  const audit = (...args: string[]) => paystate(['audit', ...args], { DATABASE_URL: service.app.databaseUrl });
  const { payment } = await service.payments.createPayment(registered());
  const { paymentId } = payment!;
  await service.payments.updatePaymentStatus(reported(paymentId));
  const range = ['--from', new Date(Date.now() - 60_000).toISOString(), '--to', new Date(Date.now() + 60_000).toISOString()];

  expect(await audit('keygen', '--out', folder)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^key [0-9a-f]{32} is in /) });
  expect(statSync(file('audit-private.pem')).mode & 0o777).toBe(0o600);
  expect(await audit('keygen', '--out', folder)).toMatchObject({ code: 78, stderr: expect.stringContaining('exists already') });

  expect(await audit('export', ...range, '--out', file('signed'), '--key', file('audit-private.pem'))).toMatchObject({ code: 0, stdout: expect.stringMatching(/^1 payments created from .*signed by key [0-9a-f]{32}\n$/s) });
  expect(await audit('export', ...range, '--out', file('signed'))).toMatchObject({ code: 78, stderr: expect.stringContaining('exists already') });
  const unsigned = await audit('export', ...range, '--out', file('unsigned'));
  const sha256 = /^sha256 ([0-9a-f]{64}), not signed/m.exec(unsigned.stdout)![1]!;

  const verify = (name = 'signed', ...by: string[]) => audit('verify', file(name), ...(by.length > 0 ? by : ['--key', file('audit-public.pem')]));
  await service.payments.createRefund(refundOf(paymentId, 100n));
  expect(await verify()).toMatchObject({ code: 0, stdout: expect.stringContaining('1 payments with 2 entries: all is as it was exported') });
  expect(await verify('unsigned', '--sha256', sha256)).toMatchObject({ code: 0, stdout: expect.stringContaining('genuine, by its sha256') });

  await forger.rewrite(paymentId, 2, 'actor_id', 'somebody else');
  expect(await service.operations.verifyPaymentLog(logOf(paymentId))).toMatchObject({ valid: true });
  expect(await verify()).toMatchObject({ code: 1, stdout: expect.stringContaining(`evidence ${paymentId}: the log up to entry 2 is not what was exported`) });

  expect(await verify('unsigned')).toMatchObject({ code: 2, stderr: expect.stringContaining('is not signed') });
  expect(await verify('unsigned', '--sha256', 'f'.repeat(64))).toMatchObject({ code: 2 });
  writeFileSync(file('altered'), readFileSync(file('signed'), 'utf8').replace('SUCCEEDED', 'REFUNDED'));
  expect(await verify('altered')).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('was altered') });

  expect(await audit('verify', file('signed'))).toMatchObject({ code: 78, stderr: expect.stringContaining('--key or --sha256') });
  expect(await verify('signed', '--key', file('unsigned'))).toMatchObject({ code: 78, stderr: expect.stringContaining('is not a public key') });
  expect(await verify('no-such-file')).toMatchObject({ code: 75 });
  const away = { DATABASE_URL: 'postgresql://nobody@127.0.0.1:9/none' };
  expect(await paystate(['audit', 'verify', file('signed'), '--key', file('audit-public.pem')], away)).toMatchObject({ code: 75, stdout: expect.stringContaining('genuine') });
  rmSync(folder, { recursive: true });
}, 60_000);

test.each([
  [['audit', 'export', '--out', '/tmp/x'], 2],
  [['audit', 'export', '--from', 'yesterday', '--out', '/tmp/x'], 2],
  [['audit', 'export', '--from', '2026-01-01T00:00:00', '--out', '/tmp/x'], 2],
  [['audit', 'export', '--from', '2026-01-02', '--to', '2026-01-01', '--out', '/tmp/x'], 78],
  [['audit', 'verify', '/tmp/x', '--sha256', 'abc'], 2],
])('paystate %j ends with %i', async (args, code) => {
  expect((await paystate(args)).code).toBe(code);
});

test('reconcile tells findings as lines and ends with what they mean: 0 none, 1 some, 2 nobody can tell', async () => {
  const simulator = await startAlipaySimulator();
  await using service = await startTestApp({ config: { platforms: accountsOf({ alipay: [alipayAccount(simulator)] }) } });
  const dayBefore = (days: number): string => beijingDay(new Date(Date.now() - days * 86_400_000));
  const noon = (day: string) => ({ seconds: BigInt(Date.parse(`${day}T12:00:00+08:00`) / 1_000), nanos: 0 });
  const paidOn = async (day: string): Promise<string> => {
    const { payment } = await service.payments.createPayment(registered({ platform: Platform.PLATFORM_ALIPAY, merchantAccount: 'alipay' }));
    await service.payments.updatePaymentStatus(reported(payment!.paymentId, { occurredTime: noon(day) }));
    return payment!.merchantOrderNo;
  };
  const reconcile = (...args: string[]) => paystate(['reconcile', '--platform', 'alipay', '--address', service.address, ...args]);

  const [quiet, differing, unbilled] = [dayBefore(3), dayBefore(4), dayBefore(5)] as const;
  expect(await reconcile('--day', quiet)).toMatchObject({ code: 0, stdout: expect.stringContaining('rows 0  matched 0  findings 0  fees 0 (minor units)') });

  const orderNo = await paidOn(differing);
  simulator.control.changeBill({ day: differing, kind: 'add', outTradeNo: 'GHOST1', amount: 700n });
  const found = await reconcile('--day', differing, '--account', 'alipay', '--apply');
  expect(found).toMatchObject({ code: 1, stdout: expect.stringMatching(/MISSING_HERE {3}GHOST1 \| not here \| bill: payment of 7\.00 CNY, done at /) });
  expect(found.stdout).toMatch(new RegExp(`MISSING_THERE {2}${orderNo} [0-9a-f-]{36} \\| here: payment of 100\\.00 CNY, SUCCEEDED as \\S+ at \\S+ \\| not in the bill`));
  expect(found.stdout).toContain('rows 1  matched 0  findings 2');

  await paidOn(unbilled);
  const failures = await Promise.all([
    reconcile('--day', unbilled),
    reconcile('--day', '2026-02-30'),
    reconcile('--day', quiet, '--account', 'nobody'),
    paystate(['reconcile', '--platform', 'paypal', '--day', quiet]),
    paystate(['reconcile', '--platform', 'alipay', '--day', quiet, '--address', '127.0.0.1:9']),
    paystate(['reconcile']),
  ]);
  expect(failures.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 2]);
  expect(failures[0].stdout).toContain('failed: the platform has no bill of');
  const sentences = ['day: must be a day of the calendar', 'PLATFORM_NOT_CONFIGURED', 'there is no platform paypal', 'UNAVAILABLE', "required option '--platform <name>'"];
  sentences.forEach((sentence, at) => expect(failures[at + 1]!.stderr).toContain(sentence));
  await simulator.stop();
});
