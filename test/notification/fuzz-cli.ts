/**
 * Fuzzes the notification entrance: `npm run fuzz:notifications -- --count N [--seed S] [--platform alipay|wechatpay|unionpay]`.
 *
 * Service, simulators and database are its own and gone afterwards. The seed decides what is done to which notification at which
 * place; keys, numbers and times of the notifications are new in every run. Ends with 1 unless nothing was accepted, nothing
 * crashed, and every genuine notification among the others was applied.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startSimulators } from '../../src/simulator/simulators.js';
import { startEmbeddedPostgres } from '../../src/store/embedded-postgres.js';
import { migrateUp } from '../../src/store/migrate.js';
import { accountsOf, startTestApp } from '../support/app.js';
import { fuzz, isClean, type Finding, type Report } from './fuzz.js';
import { TARGETS, type TargetName } from './targets.js';

const USAGE = 'usage: npm run fuzz:notifications -- --count N [--seed S] [--platform alipay|wechatpay|unionpay]\n';
const EXIT_USAGE = 64;
/** Of base64, and of findings and faults. */
const SHOWN_MAX = 3_000;
const LINES_MAX = 5;

const arguments_ = readArguments();
if (arguments_ === null) {
  process.stderr.write(USAGE);
  process.exit(EXIT_USAGE);
}
process.exitCode = (await fuzzAll(arguments_)) ? 0 : 1;

interface Arguments {
  readonly count: number;
  readonly seed: number;
  readonly targets: readonly TargetName[];
}

function readArguments(): Arguments | null {
  try {
    const { values } = parseArgs({ options: { count: { type: 'string' }, seed: { type: 'string' }, platform: { type: 'string' } } });
    const count = Number(values.count);
    const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(values.seed);
    const targets = TARGETS.filter((name) => values.platform === undefined || values.platform === name);
    const isWhole = (number: number, least: number): boolean => Number.isSafeInteger(number) && number >= least;
    return isWhole(count, 1) && isWhole(seed, 0) && targets.length > 0 ? { count, seed, targets } : null;
  } catch {
    return null;
  }
}

async function fuzzAll({ count, seed, targets }: Arguments): Promise<boolean> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'paystate-fuzz-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const postgres = stack.use(await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') }));
  const databaseUrl = postgres.url('paystate');
  await migrateUp(databaseUrl, { createDatabase: true });
  const simulators = stack.use(await startSimulators());
  const app = stack.use(
    await startTestApp({
      databaseUrl,
      // Nothing takes notifications at that address: only what the fuzz sends arrives.
      config: { platforms: accountsOf(simulators.platforms), notifications: { host: '127.0.0.1', port: 0, baseUrl: 'http://127.0.0.1:9' } },
      manualSync: true,
    }),
  );

  let clean = true;
  for (const name of targets) {
    const report = await fuzz({ app, simulators, now: () => new Date() }, name, { count, seed });
    print(report);
    clean &&= isClean(report);
  }
  return clean;
}

function print(report: Report): void {
  const { platform, seed, tried, accepted, crashes, controls, controlsApplied, refused, turnedAway, quarantined, seconds } = report;
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  say(`${platform.padEnd(9)} tried ${tried}  accepted ${accepted}  crashes ${crashes}  genuine applied ${controlsApplied} of ${controls}  seed ${seed}`);
  say(`          refused ${refused} (quarantined ${quarantined}, a flood is sampled), turned away unread ${turnedAway}; ${seconds.toFixed(1)} s, ${Math.round(tried / seconds)} a second`);
  say(`          ${[...report.byMutator].sort(([, a], [, b]) => b - a).map(([name, count]) => `${name} ${count}`).join(', ')}`);
  for (const fault of report.faults.slice(0, LINES_MAX)) say(`  FAULT   ${fault}`);
  for (const finding of report.findings.slice(0, LINES_MAX)) say(described(finding));
}

function described({ kind, index, mutators, input, said }: Finding): string {
  const head = `  ${kind.toUpperCase()}  input ${index ?? '-'} [${mutators.join(' + ')}] answered: ${said}`;
  if (input === null) return head;
  const body = input.body.toString('base64');
  const cut = body.length > SHOWN_MAX ? `${body.slice(0, SHOWN_MAX)}… (${input.body.length} bytes)` : body;
  return `${head}\n    headers ${JSON.stringify(input.headers)}\n    body    ${cut}`;
}
