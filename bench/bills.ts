/**
 * What a bill costs to download, prove and read: `npm run bench:bills -- [--rows N] [--platform NAME] [--json FILE]`.
 *
 * For each platform a bill of a million rows is written to disk as the platform packs and signs it. A process of its own, with nothing
 * in it but the adapter, downloads it and adds its rows up. Fails where a count or a sum is not what was written, or where the memory
 * of that process grows by more than 64 MB, from before the first call: what the code itself takes when it first runs is in it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { serveAlipayBill } from './bills/alipay.js';
import { DAY } from './bills/movements.js';
import type { Job, Reading } from './bills/read-bill.js';
import type { ServedBill } from './bills/served-bill.js';
import { serveUnionPayBill } from './bills/unionpay.js';
import { serveWechatBill } from './bills/wechatpay.js';

const GROWTH_MAX_MB = 64;
const READER = new URL('./bills/read-bill.js', import.meta.url).pathname;
const SERVE: Readonly<Record<Job['platform'], (folder: string, rows: number) => Promise<ServedBill>>> = {
  alipay: serveAlipayBill,
  wechatpay: serveWechatBill,
  unionpay: serveUnionPayBill,
};

const { values: given } = parseArgs({ options: { rows: { type: 'string', default: '1000000' }, platform: { type: 'string' }, json: { type: 'string' } } });
const rows = Number(given.rows);
const platforms = (Object.keys(SERVE) as Job['platform'][]).filter((name) => given.platform === undefined || name === given.platform);
if (!Number.isSafeInteger(rows) || rows < 1) throw new Error(`--rows ${given.rows} is no number of rows`);
if (platforms.length === 0) throw new Error(`--platform ${given.platform} is not one of ${Object.keys(SERVE).join(', ')}`);

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const results: Record<string, object> = {};
const faults: string[] = [];
for (const platform of platforms) await measure(platform);
if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(results, null, 2)}\n`);
for (const fault of faults) process.stderr.write(`${fault}\n`);
if (faults.length > 0) process.exitCode = 1;

async function measure(platform: Job['platform']): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'paystate-bench-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const bill = stack.use(await SERVE[platform](folder, rows));
  const reading = await readInChild({ platform, account: bill.account, day: DAY });

  const differences = differencesOf(bill, reading);
  const { seconds, downloadSeconds, rssBefore, rssSampled, rssPeak, maxRss } = reading;
  const result = {
    rows: reading.payments + reading.refunds,
    seconds,
    download_seconds: downloadSeconds,
    rows_per_second: Math.round((reading.payments + reading.refunds) / seconds),
    memory_before_mb: megabytes(rssBefore),
    growth_sampled_mb: megabytes(rssSampled - rssBefore),
    growth_peak_mb: megabytes(rssPeak - rssBefore),
    max_rss_mb: megabytes(maxRss),
    sums_equal: differences.length === 0,
  };
  results[platform] = result;
  say(`${platform.padEnd(9)} ${result.rows} rows in ${seconds.toFixed(2)} s (${downloadSeconds.toFixed(2)} s until the file was proven): ${result.rows_per_second} a second`);
  say(`          memory ${result.memory_before_mb} MB before; +${result.growth_sampled_mb} MB sampled, +${result.growth_peak_mb} MB by the kernel's mark; counts and sums ${result.sums_equal ? 'are what was written' : 'DIFFER'}`);

  faults.push(...differences.map((difference) => `${platform}: ${difference}`));
  const growth = Math.max(result.growth_sampled_mb, result.growth_peak_mb);
  if (growth > GROWTH_MAX_MB) faults.push(`${platform}: memory grew by ${growth} MB, more than ${GROWTH_MAX_MB}`);
}

async function readInChild(job: Job): Promise<Reading> {
  const child = spawn(process.execPath, [READER], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close') as Promise<[code: number | null]>;
  child.stdin.end(JSON.stringify(job));
  const [printed, [code]] = await Promise.all([text(child.stdout), ended]);
  if (code !== 0) throw new Error(`${job.platform}: the bill could not be read`);
  return JSON.parse(printed) as Reading;
}

function differencesOf({ totals }: ServedBill, reading: Reading): string[] {
  const names = ['payments', 'refunds', 'paid', 'refunded', 'fees'] as const;
  return names.filter((name) => `${totals[name]}` !== `${reading[name]}`).map((name) => `${name} are ${reading[name]}, not ${totals[name]}`);
}

function megabytes(bytes: number): number {
  return Math.round((bytes / 1_024 ** 2) * 10) / 10;
}
