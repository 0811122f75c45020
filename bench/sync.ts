/**
 * What the sync worker bears: `npm run bench:sync -- [--payments N] [--seconds S] [--json FILE]`.
 *
 * All payments are due at once, and the platform answers at once that the buyer is still awaited: what is measured is claiming,
 * joining the answer, and giving back with the next due time. Beside it the claim query alone, a worker with nothing to do, and the
 * whole way over the wire: signed questions by HTTP to a simulated platform in a process of its own, whose answers are verified.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { systemClock } from '../src/clock.js';
import { createLogger } from '../src/logger.js';
import type { Deps } from '../src/payment/deps.js';
import { PlatformRegistry } from '../src/payment/platform-registry.js';
import type { NewOrder, PlatformAdapter } from '../src/payment/platform.js';
import { readAccounts } from '../src/platform/accounts.js';
import { createWechatPayAdapter } from '../src/platform/wechatpay/adapter.js';
import { wechatPaySettings } from '../src/platform/wechatpay/settings.js';
import { startEmbeddedPostgres } from '../src/store/embedded-postgres.js';
import { migrateUp } from '../src/store/migrate.js';
import { openOrm } from '../src/store/orm.js';
import { UnitOfWork } from '../src/store/unit-of-work.js';
import { claimDue } from '../src/sync/claims.js';
import { SyncWorker } from '../src/sync/sync-worker.js';
import { connected } from '../test/support/pg-client.js';
import { WechatNotifications } from './wechat-notifications.js';

const PAYMENTS = Number(optionOf('--payments') ?? 1_000_000);
const SECONDS = Number(optionOf('--seconds') ?? 20);
const IDLE_SECONDS = 10;
const CLAIMS = 300;
/** Orders at the simulated platform. */
const WIRED = 5_000;
const CLI = new URL('../src/cli/paystate.js', import.meta.url).pathname;

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const results: Record<string, number> = {};

const folder = await mkdtemp(join(tmpdir(), 'paystate-bench-'));
const postgres = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), settings: { max_wal_size: '4GB', shared_buffers: '512MB' } });
try {
  const url = postgres.url('paystate');
  await migrateUp(url, { createDatabase: true });
  await using client = await connected(url);
  await fill(client);
  await measureIdle(url);
  await measureLooks(url, client);
  await measureClaims(url);
  await measureWire(url, client);
} finally {
  await postgres.stop('immediate');
  await rm(folder, { recursive: true, force: true });
}
const json = optionOf('--json');
if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);

/** A registered payment each, not due before it is told so. */
async function fill(client: pg.Client): Promise<void> {
  const began = performance.now();
  await record(client, 'wechatpay', PAYMENTS);
  await client.query('vacuum analyze');
  say(`filled    ${PAYMENTS} unsettled payments in ${((performance.now() - began) / 1_000).toFixed(0)} s`);
}

async function record(client: pg.Client, account: string, count: number): Promise<void> {
  await client.query(
    `insert into payment (id, app_id, order_id, user_id, platform, merchant_account, merchant_order_no, platform_order_time, origin, subject,
       metadata, amount, currency, paid_amount, refunded_amount, reserved_amount, external_unallocated, refund_allowed, status, flags, version,
       facts, expire_at, created_at, updated_at, log_seq)
     select uuidv7(), 'shop', 'o' || n, '', 'WECHATPAY', $2, 'order' || n, '', 'REGISTERED', 'tea', '{}', 8888, 'CNY', 0, 0, 0, 0, true,
       'PENDING', '{}', 1, '{}', now() + interval '1 day', now(), now(), 0 from generate_series(1, $1::int) n`,
    [count, account],
  );
  await client.query(
    `insert into payment_sync (payment_id, platform, merchant_account, due_at)
     select id, platform, merchant_account, now() + interval '1 day' from payment where merchant_account = $1`,
    [account],
  );
}

async function measureIdle(url: string): Promise<void> {
  await using sync = await openWorker(url, awaiting);
  sync.worker.start();
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1_000));
  const { user, system } = process.cpuUsage(before);
  const share = (user + system) / (IDLE_SECONDS * 1e6);
  results['idle_share_of_a_core'] = share;
  say(`idle      ${(share * 100).toFixed(2)} % of a core with nothing due`);
}

async function measureLooks(url: string, client: pg.Client): Promise<void> {
  await client.query(`update payment_sync set due_at = now() - interval '1 minute'`);
  await client.query('vacuum payment_sync');
  await using sync = await openWorker(url, awaiting);
  sync.worker.start();
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const before = sync.asked();
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1_000));
  const perSecond = (sync.asked() - before) / ((performance.now() - began) / 1_000);
  results['looks_per_second'] = perSecond;
  say(`due       ${Math.round(perSecond)} payments a second claimed, asked about, joined and given back`);
}

/** The claim query on its own, against a backlog that nobody works off meanwhile. */
async function measureClaims(url: string): Promise<void> {
  const orm = await openOrm(url);
  const took: number[] = [];
  for (let count = 0; count < CLAIMS; count += 1) {
    const began = performance.now();
    const claims = await claimDue(orm, { platform: 'WECHATPAY', merchantAccount: 'wechatpay' }, new Date(), 128);
    took.push(performance.now() - began);
    if (claims.length === 0) break;
  }
  await orm.close(true);
  took.sort((a, b) => a - b);
  const [p50, p99] = [0.5, 0.99].map((share) => took[Math.floor(took.length * share)]!);
  results['claim_p99_ms'] = p99!;
  say(`claim     p50 ${p50!.toFixed(1)} ms, p99 ${p99!.toFixed(1)} ms for 128 of the backlog, ${took.length} times`);
}

/** Every order is at the platform, and every look asks about it there. */
async function measureWire(url: string, client: pg.Client): Promise<void> {
  await using platform = await startPlatform();
  await record(client, platform.adapter.merchantAccount, WIRED);
  const call = { signal: AbortSignal.timeout(60_000), at: new Date() };
  for (let from = 1; from <= WIRED; from += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, at) => platform.adapter.create(orderOf(from + at), call)));
  }

  await using sync = await openWorker(url, (onAsked) => ({
    ...platform.adapter,
    query: (order, made) => {
      onAsked();
      return platform.adapter.query(order, made);
    },
  }));
  await client.query('update payment_sync set due_at = now() where merchant_account = $1', [platform.adapter.merchantAccount]);
  const began = performance.now();
  sync.worker.start();
  while (sync.asked() < WIRED) await new Promise((resolve) => setTimeout(resolve, 10));
  const perSecond = WIRED / ((performance.now() - began) / 1_000);
  const { rows } = await client.query<{ failed: string }>('select count(*)::text as failed from payment where merchant_account = $1 and query_failure is not null', [platform.adapter.merchantAccount]);
  if (rows[0]!.failed !== '0') throw new Error(`${rows[0]!.failed} questions were not answered`);
  results['wire_looks_per_second'] = perSecond;
  say(`wire      ${Math.round(perSecond)} payments a second with the question signed, sent, answered by a platform in a process beside it, and verified`);
}

function orderOf(n: number): NewOrder {
  return {
    merchantOrderNo: `order${n}`,
    platformOrderTime: '',
    subject: 'tea',
    amount: { currency: 'CNY', minorUnits: 8_888n },
    checkout: 'QR_CODE',
    expireAt: new Date(Date.now() + 86_400_000),
    returnUrl: null,
    buyerId: null,
    buyerIp: null,
  };
}

/** `paystate simulator`, and the adapter of its account, with no limit of its own. */
async function startPlatform(): Promise<AsyncDisposable & { readonly adapter: PlatformAdapter }> {
  const child = spawn(process.execPath, [CLI, 'simulator'], {
    env: { PATH: process.env['PATH'], PAYSTATE_DATA_DIR: folder, PAYSTATE_SIMULATOR_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const { accounts, faults } = readAccounts(JSON.parse(await readFile(join(folder, 'platforms.json'), 'utf8')), () => '');
  const account = accounts.find(({ platform }) => platform === 'WECHATPAY');
  if (account === undefined) throw new Error(faults.join('; '));
  return {
    adapter: { ...account.connect('http://127.0.0.1:9/'), merchantAccount: 'wire' },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

async function openWorker(url: string, adapterOf: (onAsked: () => void) => PlatformAdapter) {
  const orm = await openOrm(url);
  let asked = 0;
  const adapter = adapterOf(() => (asked += 1));
  const deps: Deps = {
    orm,
    work: new UnitOfWork(orm, systemClock),
    clock: systemClock,
    platforms: new PlatformRegistry([{ adapter, apps: [] }]),
    isTrustedReporter: () => true,
    applyWaiting: () => undefined,
    wakeSync: () => undefined,
  };
  const worker = new SyncWorker(() => deps, createLogger('error'));
  return {
    worker,
    asked: () => asked,
    async [Symbol.asyncDispose]() {
      await worker[Symbol.asyncDispose]();
      await deps.work.whenIdle();
      await orm.close(true);
    },
  };
}

/** The real adapter, but for its query, which asks nobody. */
function awaiting(onAsked: () => unknown): PlatformAdapter {
  const adapter = createWechatPayAdapter(wechatPaySettings.parse(new WechatNotifications().account), 'http://127.0.0.1:9');
  return {
    ...adapter,
    query: (_order, { at }) => {
      onAsked();
      return Promise.resolve({ kind: 'ACCEPTED', value: { evidence: { class: 'AWAITING_BUYER', at, word: 'NOTPAY' } } });
    },
  };
}

function optionOf(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at === -1 ? undefined : process.argv[at + 1];
}
