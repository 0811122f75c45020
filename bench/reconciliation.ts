/**
 * What holding a large bill against the records costs: `npm run bench:reconciliation -- [--rows N] [--json FILE]`.
 *
 * A durable database is filled with as many payments and refunds of one day as the bill has rows, ten payments to a refund, under numbers
 * in no order. The bill comes from a generator in the place of the wire, as an adapter gives it: a row at a time. Twenty differences are
 * planted, and exactly those must be found. Ends with 1 beyond 120 seconds for a million rows, in proportion for more, or 256 MB in all:
 * the process runs with the young generation that `npm start` gives it, for V8 would take 100 MB more for nothing.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import pg from 'pg';
import { systemClock } from '../src/clock.js';
import { createLogger } from '../src/logger.js';
import type { Deps } from '../src/payment/deps.js';
import type { Bill, BillRow, PlatformAdapter } from '../src/payment/platform.js';
import { PlatformRegistry } from '../src/payment/platform-registry.js';
import { getReconciliation } from '../src/reconciliation/get-reconciliation.js';
import { ReconciliationWorker } from '../src/reconciliation/reconciliation-worker.js';
import { runReconciliation } from '../src/reconciliation/run-reconciliation.js';
import { startEmbeddedPostgres } from '../src/store/embedded-postgres.js';
import { migrateUp } from '../src/store/migrate.js';
import { openOrm } from '../src/store/orm.js';
import { UnitOfWork } from '../src/store/unit-of-work.js';

const SECONDS_MAX = 120;
const PEAK_MAX_BYTES = 256 * 1024 ** 2;
const DAY = '2026-03-10';
const START_MS = Date.parse(`${DAY}T00:00:00+08:00`);
const REPLY = { status: 200, contentType: 'text/plain', body: '' };

const PLANTED = {
  'MISSING_HERE PAYMENT': 3,
  'MISSING_HERE REFUND': 2,
  'MISSING_THERE PAYMENT': 3,
  'MISSING_THERE REFUND': 2,
  'AMOUNT_DIFFERS PAYMENT': 3,
  'AMOUNT_DIFFERS REFUND': 2,
  'STATUS_DIFFERS PAYMENT': 3,
  'STATUS_DIFFERS REFUND': 1,
  'BILLED_TWICE PAYMENT': 1,
};

const given = (name: string): string | undefined => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const rowCount = Number(given('--rows') ?? 1_000_000);
const refundCount = Math.floor(rowCount / 11);
const paymentCount = rowCount - refundCount;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

await using stack = new AsyncDisposableStack();
const folder = await mkdtemp(join(tmpdir(), 'paystate-bench-'));
stack.defer(() => rm(folder, { recursive: true, force: true }));
const postgres = stack.use(await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') }));
const databaseUrl = postgres.url('paystate');
await migrateUp(databaseUrl, { createDatabase: true });
say(`records   ${paymentCount} payments and ${refundCount} refunds are being written …`);
await fill();

const orm = await openOrm(databaseUrl);
stack.defer(() => orm.close(true));
const deps: Deps = {
  orm,
  work: new UnitOfWork(orm, systemClock),
  clock: systemClock,
  platforms: new PlatformRegistry([{ adapter: adapterOf(billRows()), apps: [] }]),
  isTrustedReporter: () => false,
  applyWaiting: () => undefined,
  wakeSync: () => undefined,
};
const request = { method: 'RunReconciliation', requestId: 'bench', bodyHash: 'bench' };
const run = await runReconciliation(
  { ...deps, wakeReconciliation: () => undefined },
  { request, actor: { type: 'OPERATOR', id: 'bench' }, platform: 'WECHATPAY', merchantAccount: null, day: DAY, apply: false },
);

const memory = watchMemory();
const began = performance.now();
await new ReconciliationWorker(() => deps, createLogger('error')).runOnce();
const seconds = (performance.now() - began) / 1_000;
const { growth, peak } = memory.stop();

const { run: ended, findings } = await getReconciliation(deps, run.id, { size: 500, after: null });
const results = { rows: rowCount, seconds, rows_per_second: rowCount / seconds, peak_rss_growth_mb: growth / 1024 ** 2, peak_rss_mb: peak / 1024 ** 2, findings: findings.length };
say(`bill      ${ended.status} ${ended.failure}: ${ended.billRows} rows, ${ended.matched} agree, ${ended.findingCount} findings, fees ${ended.feeTotal}`);
say(`time      ${seconds.toFixed(1)} s, ${Math.round(results.rows_per_second)} rows a second`);
say(`memory    grew by ${results.peak_rss_growth_mb.toFixed(0)} MB to ${results.peak_rss_mb.toFixed(0)} MB at its peak`);
const json = given('--json');
if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);

const counts = Object.entries(Object.groupBy(findings, ({ kind, about }) => `${kind} ${about}`)).map(([kind, some]) => `${some.length} ${kind}`);
say(`findings  ${counts.sort().join(', ')}`);
const expected = Object.entries(PLANTED).map(([kind, count]) => `${count} ${kind}`);
const faults = [
  ...(counts.sort().join() === expected.sort().join() && ended.status === 'COMPLETED' ? [] : [`the findings are not the planted ones: ${expected.join(', ')}`]),
  ...(seconds <= SECONDS_MAX * Math.max(1, rowCount / 1e6) ? [] : [`more than ${SECONDS_MAX} s`]),
  ...(peak <= PEAK_MAX_BYTES ? [] : ['more than 256 MB']),
];
for (const fault of faults) say(`FAILED    ${fault}`);
process.exitCode = faults.length === 0 ? 0 : 1;

/** By SQL: making them through the service is not what is measured. */
async function fill(): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  await client.query('set synchronous_commit = off');
  const piece = 100_000;
  for (let from = 1; from <= paymentCount; from += piece) {
    await client.query(
      `insert into payment (id, app_id, order_id, user_id, platform, merchant_account, merchant_order_no, platform_order_time, platform_transaction_id,
         origin, subject, metadata, amount, currency, paid_amount, refunded_amount, reserved_amount, external_unallocated, refund_allowed, status, flags,
         version, facts, paid_at, created_at, updated_at, log_seq)
       select md5('payment' || n)::uuid, 'shop', 'order' || n, '', 'WECHATPAY', 'wechatpay', md5('order' || n), '', 'T' || md5('transaction' || n),
         'REGISTERED', 'tea', '{}', 10000, 'CNY', 10000, case when n <= $3 then 2500 else 0 end, 0, 0, true, case when n <= $3 then 'PARTIALLY_REFUNDED' else 'SUCCEEDED' end, '{}',
         2, '{}', at, at, at, 2
         from generate_series($1::int, $2::int) n, lateral (select to_timestamp($4::float8 + n * $5::float8) as at) t`,
      [from, Math.min(from + piece - 1, paymentCount), refundCount, START_MS / 1_000, 86_000 / paymentCount],
    );
  }
  await client.query(
    `insert into refund (id, payment_id, app_id, amount, currency, status, reason, platform_refund_no, external, attempts, created_at, updated_at, succeeded_at)
     select md5('refund id' || n)::uuid, md5('payment' || n)::uuid, 'shop', 2500, 'CNY', 'SUCCEEDED', '', md5('refund' || n), false, 1, at, at, at
       from generate_series(1, $1::int) n, lateral (select to_timestamp($2::float8 + n * $3::float8) as at) t`,
    [refundCount, START_MS / 1_000, 86_000 / paymentCount],
  );
  // Unheard of here, paid in the bill.
  await client.query(`update payment set status = 'PENDING', paid_amount = 0, paid_at = null, platform_transaction_id = null where merchant_order_no = any($1)`, [[7, 8, 9].map((back) => orderNo(paymentCount - back))]);
  await client.query(`update refund set status = 'UNKNOWN', succeeded_at = null where platform_refund_no = $1`, [refundNo(refundCount - 7)]);
  await client.query('analyze');
  await client.end();
}

/** In the order of time, with the differences at the end: three payments and two refunds are left out, altered, or nobody's; one comes twice. */
function* billRows(): Generator<BillRow> {
  for (let n = 1; n <= paymentCount; n += 1) {
    if (n > paymentCount - 3) continue;
    const isAltered = n > paymentCount - 6;
    yield paymentRow(n, isAltered ? 12_345n : 10_000n);
    if (n > refundCount - 2) continue;
    yield refundRow(n, n > refundCount - 4 && n <= refundCount ? 2_501n : 2_500n);
  }
  for (let n = 1; n <= 3; n += 1) yield { ...paymentRow(n, 1n), merchantOrderNo: `NOBODY${n}`, platformTransactionId: `NOBODY${n}` };
  for (let n = 1; n <= 2; n += 1) yield { ...refundRow(n, 1n), platformRefundNo: `NOBODY${n}` };
  yield paymentRow(1, 10_000n);
}

function md5(text: string): string {
  return createHash('md5').update(text).digest('hex');
}
function orderNo(n: number): string {
  return md5(`order${n}`);
}
function refundNo(n: number): string {
  return md5(`refund${n}`);
}

function paymentRow(n: number, minorUnits: bigint): BillRow {
  return {
    kind: 'PAYMENT',
    merchantOrderNo: orderNo(n),
    platformTransactionId: `T${md5(`transaction${n}`)}`,
    platformRefundNo: '',
    platformRefundId: '',
    amount: { currency: 'CNY', minorUnits },
    fee: 60n,
    at: new Date(START_MS + (n * 86_000_000) / paymentCount),
    state: 'DONE',
    word: 'SUCCESS',
  };
}

function refundRow(n: number, minorUnits: bigint): BillRow {
  return { ...paymentRow(n, minorUnits), kind: 'REFUND', platformRefundNo: refundNo(n), platformRefundId: `R${n}`, fee: -15n, word: 'REFUND' };
}

function adapterOf(rows: Iterable<BillRow>): PlatformAdapter {
  const never = (): never => {
    throw new Error('only the bill is asked for');
  };
  const bill: Bill = { rows: Readable.from(rows), [Symbol.asyncDispose]: () => Promise.resolve() };
  const calls = { orderTime: never, create: never, query: never, close: never, refund: never, queryRefund: never, readNotification: never };
  return {
    ...calls,
    platform: 'WECHATPAY',
    merchantAccount: 'wechatpay',
    checkouts: {},
    currencies: ['CNY'],
    deliveryHeaders: [],
    replies: { stored: REPLY, refused: REPLY, failed: REPLY },
    paces: { open: [], unknown: [], refund: [] },
    billDayShiftMs: 0,
    downloadBill: () => Promise.resolve({ kind: 'ACCEPTED', value: bill }),
  };
}

/** Resident memory of this process, from now on. */
function watchMemory(): { stop(): { growth: number; peak: number } } {
  const before = process.memoryUsage.rss();
  let peak = before;
  const look = (): void => void (peak = Math.max(peak, process.memoryUsage.rss()));
  const timer = setInterval(look, 20);
  return {
    stop: () => {
      clearInterval(timer);
      look();
      return { growth: peak - before, peak };
    },
  };
}
