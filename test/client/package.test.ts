/** The client as its users get it: packed, installed in an empty project, run against a service, and its README compiled. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PAYMENT_STATUSES } from '../../src/payment/payment-status.js';
import { startTestApp, type TestApp } from '../support/app.js';

/** As in a shell of its own: without what npm and jest tell their children. */
const ENV = { ...process.env, NODE_OPTIONS: '', npm_config_local_prefix: undefined };
const run = (command: string, args: readonly string[], { cwd = ROOT } = {}) => promisify(execFile)(command, args, { cwd, env: ENV });
const ROOT = new URL('../../', import.meta.url).pathname;
const NETWORK = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED/;

let app: TestApp;
let project: string;
beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), 'paystate-client-'));
  [app] = await Promise.all([startTestApp({ manualSync: true }), install()]);
}, 60_000);
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  rmSync(project, { recursive: true, force: true });
});

async function install(): Promise<void> {
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }));
  const { stdout } = await run(process.execPath, [join(ROOT, 'scripts/pack-client.mjs'), project]);
  const tarball = stdout.trim();
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--fetch-retries=0', '--fetch-timeout=10000'];
  await run('npm', ['install', ...flags, tarball], { cwd: project }).catch((error: { stderr: string }) => {
    if (!NETWORK.test(error.stderr)) throw error;
    return unpack(tarball);
  });
}

/** Without a registry in reach: the dependencies that this project has stand in for the installed ones. */
async function unpack(tarball: string): Promise<void> {
  const folder = join(project, 'node_modules/@paystate/client');
  mkdirSync(folder, { recursive: true });
  await run('tar', ['xzf', tarball, '-C', folder, '--strip-components=1']);
  for (const scope of ['@grpc', '@bufbuild']) symlinkSync(join(ROOT, 'node_modules', scope), join(project, 'node_modules', scope));
}

test('an empty project that installs it makes a payment and follows it', async () => {
  cpSync(new URL('use.mjs', import.meta.url).pathname, join(project, 'use.mjs'));
  const { stdout, stderr } = await run(process.execPath, ['use.mjs', app.address], { cwd: project });
  expect(JSON.parse(stdout)).toEqual({ seen: ['PENDING', 'SUCCEEDED', 'TypeError'], paid: '900719925474099', statuses: PAYMENT_STATUSES.length });
  expect(stderr).toBe('');
}, 60_000);

test('it brings two dependencies and nothing of the service', () => {
  const folder = join(project, 'node_modules/@paystate/client');
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { dependencies: object };
  expect(Object.keys(manifest.dependencies)).toEqual(['@bufbuild/protobuf', '@grpc/grpc-js']);
  expect(readdirSync(folder).sort()).toEqual(['README.md', 'lib', 'package.json', 'service_config.json']);
  expect(readdirSync(join(folder, 'lib')).sort()).toEqual(['client', 'gen']);
});

test('what its README shows compiles, and a number as an amount does not', async () => {
  const blocks = readFileSync(join(ROOT, 'src/client/README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```/gms);
  writeFileSync(join(project, 'readme.ts'), [...blocks].map(([, block]) => block).join('\n'));
  writeFileSync(join(project, 'use.ts'), TYPED_USE);
  writeFileSync(join(project, 'surroundings.d.ts'), SURROUNDINGS);
  const types = { typeRoots: [join(ROOT, 'node_modules/@types')], types: ['node'], skipLibCheck: true };
  const options = { strict: true, exactOptionalPropertyTypes: true, noEmit: true, target: 'es2022', module: 'nodenext', ...types };
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['readme.ts', 'use.ts', 'surroundings.d.ts'] }));
  const { stdout } = await run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc')], { cwd: project }).catch((error: { stdout: string }) => error);
  expect(stdout).toBe('');
}, 60_000);

const SURROUNDINGS = `
import type { PaymentStatus } from '@paystate/client';
declare global {
  const paymentId: string;
  const database: { transaction(work: (transaction: object) => Promise<void>): Promise<void> };
  function loadCursor(): Promise<string | null>;
  function storeCursor(transaction: object, cursor: string): Promise<void>;
  function apply(transaction: object, paymentId: string, version: number, status: PaymentStatus): Promise<void>;
}
`;

const TYPED_USE = `
import { isReason, paymentRef, toDate, type Payment, type PaystateClient, type WatchItem } from '@paystate/client';
import { createFakeClient } from '@paystate/client/fake';
import type { ExplainPaymentResponse } from '@paystate/client/payment/v1/operations_service';

export async function use(client: PaystateClient = createFakeClient()): Promise<ExplainPaymentResponse> {
  const { payment } = await client.payments.getPayment({ ref: paymentRef('x') }, { deadlineMs: 100, signal: AbortSignal.timeout(50) });
  const paid: bigint | undefined = payment?.paidAmount?.minorUnits;
  const at: Date | undefined = toDate(payment?.paidTime);
  // @ts-expect-error a number is no amount
  await client.payments.createRefund({ amount: { currencyCode: 'CNY', minorUnits: 1 } });
  // @ts-expect-error a text is no amount, either
  await client.payments.createRefund({ amount: { currencyCode: 'CNY', minorUnits: '1' } });
  // @ts-expect-error there is no such method
  await client.payments.payNow({});
  // @ts-expect-error a watch is no unary method
  await client.payments.watchPayments({});
  // @ts-expect-error there is no such reason
  isReason(new Error(), 'BAD_LUCK');
  return await client.operations.explainPayment({ ref: { ref: { $case: 'paymentId', value: String(paid ?? at) } } });
}

export function size(item: WatchItem): number {
  switch (item.kind) {
    case 'events':
      return item.events.length;
    case 'snapshot':
      return item.payments.reduce((sum: number, _: Payment) => sum + 1, 0);
    case 'bookmark':
      return item.snapshotComplete ? 1 : 0;
    case 'connected':
      return item.epoch;
    default:
      return item satisfies never;
  }
}
`;
