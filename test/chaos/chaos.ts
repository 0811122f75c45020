/**
 * Convergence under everything at once: callers and buyers at three platforms whose calls and notifications fail in every planned way,
 * a service that is killed every few seconds, a database that crashes twice. Then the trouble ends, the clocks run on, and the
 * service's records are held against the platforms' own books.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { startSimulators, type Simulators } from '../../src/simulator/simulators.js';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/store/embedded-postgres.js';
import { migrateUp } from '../../src/store/migrate.js';
import { Random } from '../notification/random.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { compareBooks, platformBooks, type Verdict } from './books.js';
import type { PlantedBug } from './planted-bugs.js';
import type { ToChild } from './service-child.js';
import { makeTrouble } from './trouble.js';
import { runWorkload, type Told } from './workload.js';

export interface ChaosOptions {
  readonly payments: number;
  readonly seed: number;
  readonly bug?: PlantedBug;
  readonly say: (line: string) => void;
}

export interface ChaosReport extends Verdict {
  readonly told: Told;
  readonly kills: number;
  readonly databaseCrashes: number;
  readonly faultsPlanned: number;
  readonly seconds: number;
}

const CONCURRENCY = 48;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** How far the clocks run on in the end: past every schedule, every expiry, and the service's own patience. */
const ADVANCES_MS = [15 * SECOND, 65 * SECOND, 5 * MINUTE, 40 * MINUTE, 90 * MINUTE, 12 * MINUTE, 4 * HOUR, 12 * HOUR, 26 * HOUR, 26 * HOUR];
const SETTLE_MAX_MS = 120 * SECOND;
const CHILD = new URL('./service-child.js', import.meta.url).pathname;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { payments, seed, say } = options;
  const began = performance.now();
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'paystate-chaos-'));
  await chmod(folder, 0o755);
  stack.defer(() => rm(folder, { recursive: true, force: true }));

  const database = stack.use(await Database.start(join(folder, 'postgres')));
  const simulators = stack.use(await startSimulators());
  const platformsFile = join(folder, 'platforms.json');
  await writeFile(platformsFile, JSON.stringify(simulators.platforms), { mode: 0o600 });
  const service = stack.use(await Service.start({ databaseUrl: database.url, platformsFile, bug: options.bug }));

  const trouble = makeTrouble(simulators, seed);
  const stopping = new AbortController();
  const killing = killAgainAndAgain({ service, database, seed, say }, stopping.signal);
  const told = await runWorkload({ address: service.address, simulators, payments, seed, concurrency: CONCURRENCY });
  say(`every story is told after ${seconds(began)} s; ${trouble.planned()} faults were planned`);

  stopping.abort();
  const { kills, databaseCrashes } = await killing;
  trouble.stop();
  await letTimePass({ service, simulators, databaseUrl: database.url, say });
  const verdict = await compareBooks(database.url, platformBooks(simulators));
  return { ...verdict, told, kills, databaseCrashes, faultsPlanned: trouble.planned(), seconds: Number(seconds(began)) };
}

interface Killing {
  readonly service: Service;
  readonly database: Database;
  readonly seed: number;
  readonly say: (line: string) => void;
}

async function killAgainAndAgain({ service, database, seed, say }: Killing, signal: AbortSignal): Promise<{ kills: number; databaseCrashes: number }> {
  const random = new Random(seed, 2_000_003);
  let [kills, databaseCrashes] = [0, 0];
  while (!signal.aborted) {
    await wait(random.between(1_500, 4_500), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    // The second and the sixth time it is the database that crashes, and the service has to live with it.
    if (kills + databaseCrashes === 1 || kills + databaseCrashes === 5) {
      await database.crash();
      databaseCrashes += 1;
    } else {
      await service.kill();
      kills += 1;
    }
    if ((kills + databaseCrashes) % 10 === 0) say(`${kills} kills, ${databaseCrashes} crashes of the database`);
  }
  // A short run must have seen it all, too.
  for (; databaseCrashes < 2; databaseCrashes += 1) await database.crash();
  if (kills === 0) await service.kill();
  return { kills: Math.max(kills, 1), databaseCrashes };
}

interface Passing {
  readonly service: Service;
  readonly simulators: Simulators;
  readonly databaseUrl: string;
  readonly say: (line: string) => void;
}

async function letTimePass({ service, simulators, databaseUrl, say }: Passing): Promise<void> {
  for (const advanceMs of [0, ...ADVANCES_MS]) {
    for (const { control } of [simulators.alipay, simulators.wechatpay, simulators.unionpay]) control.advanceClock(advanceMs);
    service.advance(advanceMs);
    const left = await untilNothingIsDue(databaseUrl, service);
    for (const { control } of [simulators.alipay, simulators.wechatpay, simulators.unionpay]) await control.idle();
    if (left > 0) say(`${left} payments are still due ${service.aheadMs / MINUTE} minutes on`);
  }
}

/** What came due by the service's clock has been looked at. */
async function untilNothingIsDue(databaseUrl: string, service: Service): Promise<number> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  try {
    const began = performance.now();
    for (;;) {
      const by = new Date(Date.now() + service.aheadMs).toISOString();
      const { rows } = await client.query<{ due: string }>('select count(*)::text as due from payment_sync where due_at <= $1 or lease_until is not null', [by]);
      const due = Number(rows[0]!.due);
      if (due === 0 || performance.now() - began > SETTLE_MAX_MS) return due;
      service.advance(0);
      await wait(200);
    }
  } finally {
    await client.end();
  }
}

/** PostgreSQL behind one address, whichever port it came up on last. */
class Database implements AsyncDisposable {
  private constructor(
    private postgres: EmbeddedPostgres,
    private readonly dataDir: string,
    private readonly target: { host: string; port: number },
    private readonly proxy: Awaited<ReturnType<typeof startTcpProxy>>,
  ) {}

  static async start(dataDir: string): Promise<Database> {
    const postgres = await startEmbeddedPostgres({ dataDir });
    await migrateUp(postgres.url('paystate'), { createDatabase: true });
    const target = { host: '127.0.0.1', port: postgres.port };
    return new Database(postgres, dataDir, target, await startTcpProxy({ target }));
  }

  get url(): string {
    const url = new URL(this.postgres.url('paystate'));
    url.port = `${this.proxy.port}`;
    return url.href;
  }

  /** As when the power goes: no shutdown, then recovery from what was written ahead. */
  async crash(): Promise<void> {
    await this.postgres.stop('immediate');
    this.postgres = await startEmbeddedPostgres({ dataDir: this.dataDir });
    this.target.port = this.postgres.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy.close();
    await this.postgres.stop('immediate');
  }
}

interface ServiceOptions {
  readonly databaseUrl: string;
  readonly platformsFile: string;
  readonly bug: PlantedBug | undefined;
}

class Service implements AsyncDisposable {
  aheadMs = 0;
  private child: ChildProcess | null = null;

  private constructor(
    private readonly options: ServiceOptions,
    private readonly ports: { readonly grpc: number; readonly notification: number },
  ) {}

  static async start(options: ServiceOptions): Promise<Service> {
    const service = new Service(options, { grpc: await freePort(), notification: await freePort() });
    await service.open();
    return service;
  }

  get address(): string {
    return `127.0.0.1:${this.ports.grpc}`;
  }

  advance(ms: number): void {
    this.aheadMs += ms;
    this.child?.send({ aheadMs: this.aheadMs } satisfies ToChild);
  }

  async kill(): Promise<void> {
    await this.end('SIGKILL');
    await this.open();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }

  private async open(): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      this.child = fork(CHILD, { env: this.env(), stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
      const [event] = await Promise.race([once(this.child, 'message').then(() => ['ready']), once(this.child, 'exit').then(() => ['exit'])]);
      if (event === 'ready') return;
      // The database may be coming up again, too.
      if (attempt > 20) throw new Error('the service does not start');
      await wait(300);
    }
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }

  private env(): Record<string, string> {
    const { databaseUrl, platformsFile, bug } = this.options;
    return {
      PATH: process.env['PATH'] ?? '',
      DATABASE_URL: databaseUrl,
      PAYSTATE_GRPC_PORT: `${this.ports.grpc}`,
      PAYSTATE_NOTIFICATION_PORT: `${this.ports.notification}`,
      PAYSTATE_ADMIN_PORT: '0',
      PAYSTATE_NOTIFICATION_BASE_URL: `http://127.0.0.1:${this.ports.notification}`,
      PAYSTATE_PLATFORMS_FILE: platformsFile,
      CHAOS_AHEAD_MS: `${this.aheadMs}`,
      ...(bug === undefined ? {} : { CHAOS_BUG: bug }),
    };
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const seconds = (began: number): string => ((performance.now() - began) / SECOND).toFixed(1);
