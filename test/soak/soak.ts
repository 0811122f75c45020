/**
 * The status feed under everything at once: writers on two service processes, watchers with filters of all kinds that stall and resume,
 * kill -9 and drains of both processes, crashes of the database. In the end what each watcher was told is held against the tables.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import type pg from 'pg';
import { PaymentStatus, Platform } from '../../src/gen/payment/v1/payment.js';
import { PaymentServiceClient } from '../../src/gen/payment/v1/payment_service.js';
import { Database } from '../chaos/database.js';
import { freePort } from '../chaos/service.js';
import { Random } from '../notification/random.js';
import { connected } from '../support/pg-client.js';
import { startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import type { PlantedFault } from './planted-faults.js';
import { isMeant, randomFilter } from './random-filter.js';
import { markOf, SoakWatcher } from './watcher.js';
import { CHANGES_EACH, writeAll } from './writer.js';

export interface SoakOptions {
  readonly changes: number;
  readonly watchers: number;
  readonly seed: number;
  readonly faults?: readonly PlantedFault[];
  /** Where a folder for the database may be made. */
  readonly parent?: string;
  readonly say?: (line: string) => void;
}

export interface SoakReport {
  readonly changes: number;
  readonly deliveries: number;
  readonly missed: number;
  readonly duplicated: number;
  /** In the feed itself, by payment. */
  readonly outOfOrder: number;
  readonly kills: number;
  readonly drains: number;
  readonly databaseCrashes: number;
  readonly ends: Readonly<Record<string, number>>;
  readonly seconds: number;
}

const IN_FLIGHT = 96;
const SECOND = 1_000;

/** Compiled, whether this file is or not. */
const PLANTED = new URL(import.meta.url.replace(/(\/dist)?\/test\/soak\/.*$/, '/dist/test/soak/planted-faults.js')).pathname;

export async function runSoak({ changes, watchers: count, seed, faults = [], parent = tmpdir(), say = () => undefined }: SoakOptions): Promise<SoakReport> {
  const began = performance.now();
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(parent, 'paystate-soak-'));
  await chmod(folder, 0o755);
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const database = stack.use(await Database.start(join(folder, 'postgres')));
  const services = [stack.use(await Service.start(database.url, faults)), stack.use(await Service.start(database.url, faults))];
  const addresses = services.map(({ address }) => address);

  const clients = addresses.map((address) => new PaymentServiceClient(address, grpc.credentials.createInsecure(), { 'grpc.max_reconnect_backoff_ms': 500, 'grpc.initial_reconnect_backoff_ms': 50 }));
  stack.defer(() => clients.forEach((client) => client.close()));
  const watchers = Array.from({ length: count }, (_, at) => new SoakWatcher(clients, randomFilter(at, new Random(seed, 1_000_000 + at)), at, seed));
  const watching = Promise.all(watchers.map((watcher) => watcher.run()));
  // Told when it is awaited; until then it must not end the process.
  watching.catch(() => undefined);

  const payments = Math.ceil(changes / CHANGES_EACH);
  const stopping = new AbortController();
  const trouble = makeTrouble({ services, database, seed }, stopping.signal);
  let made = 0;
  await writeAll(addresses, { payments, seed, inFlight: IN_FLIGHT }, () => {
    made += 1;
    if (made % 50_000 === 0) say(`${made} changes after ${seconds(began)} s`);
  });
  stopping.abort();
  const { kills, drains, databaseCrashes } = await trouble;
  say(`all ${made} changes are made after ${seconds(began)} s`);

  await using client = await connected(database.url);
  const head = await settledHead(client, payments * CHANGES_EACH);
  for (const watcher of watchers) watcher.finishAt(head);
  await watching;

  const { missed, surplus, outOfOrder } = await holdAgainstTables(client, watchers);
  const books = watchers.map((watcher) => watcher.books);
  return {
    changes: Number(head),
    deliveries: sum(books.map((one) => one.count)),
    missed,
    duplicated: surplus + sum(books.map(({ notBeyond }) => notBeyond)),
    outOfOrder,
    kills,
    drains,
    databaseCrashes,
    ends: added(books.map(({ ends }) => ends)),
    seconds: Number(seconds(began)),
  };
}

/** Everything that was committed has its revision; nobody but the services themselves gives it. */
async function settledHead(client: pg.Client, expected: number): Promise<bigint> {
  for (;;) {
    const { rows } = await client.query<{ rev: string; logged: string }>('select rev::text, (select count(*) from payment_log where version is not null)::text as logged from feed_head');
    const { rev, logged } = rows[0]!;
    // There are more, where two payments of one order were paid.
    if (Number(logged) < expected) throw new Error(`${logged} changes are logged, ${expected} were acknowledged`);
    if (rev === logged) return BigInt(rev);
    await wait(100);
  }
}

/** Each change once, by the tables, against what each watcher added up. */
async function holdAgainstTables(client: pg.Client, watchers: readonly SoakWatcher[]): Promise<{ missed: number; surplus: number; outOfOrder: number }> {
  const expected = watchers.map(() => ({ count: 0, marks: 0 }));
  const versions = new Map<string, number>();
  let outOfOrder = 0;
  let after = '0';
  for (;;) {
    const { rows } = await client.query<Row>(
      `select f.rev::text, f.payment_id, f.version, l.status, l.prev_status, f.app_id, f.platform, p.user_id, p.order_id from feed f
         join payment_log l on l.payment_id = f.payment_id and l.version = f.version join payment p on p.id = f.payment_id
        where f.shard = 0 and f.rev > $1 and f.rev <= $1 + 20000 order by f.rev`,
      [after],
    );
    if (rows.length === 0) break;
    after = rows.at(-1)!.rev;
    for (const row of rows) {
      if (row.version !== (versions.get(row.payment_id) ?? 0) + 1) outOfOrder += 1;
      versions.set(row.payment_id, row.version);
      const change = {
        appId: row.app_id,
        userId: row.user_id,
        orderId: row.order_id,
        platform: Platform[`PLATFORM_${row.platform}` as keyof typeof Platform],
        status: statusOf(row.status),
        previousStatus: row.prev_status === null ? PaymentStatus.PAYMENT_STATUS_UNSPECIFIED : statusOf(row.prev_status),
      };
      const mark = markOf(`${row.payment_id}:${row.version}`, BigInt(row.rev));
      watchers.forEach(({ filter }, at) => {
        if (!isMeant(filter, change)) return;
        expected[at]!.count += 1;
        expected[at]!.marks += mark;
      });
    }
  }
  const differences = watchers.map(({ books }, at) => expected[at]!.count - books.count);
  const others = watchers.filter(({ books }, at) => differences[at] === 0 && expected[at]!.marks !== books.marks).length;
  return { missed: sum(differences.filter((difference) => difference > 0)) + others, surplus: -sum(differences.filter((difference) => difference < 0)), outOfOrder };
}

interface Row {
  readonly rev: string;
  readonly payment_id: string;
  readonly version: number;
  readonly status: string;
  readonly prev_status: string | null;
  readonly app_id: string;
  readonly platform: string;
  readonly user_id: string;
  readonly order_id: string;
}

const statusOf = (name: string): PaymentStatus => PaymentStatus[`PAYMENT_STATUS_${name}` as keyof typeof PaymentStatus];

interface Stage {
  readonly services: readonly Service[];
  readonly database: Database;
  readonly seed: number;
}

/** Every few seconds one of the services is killed or drained; every tenth time it is the database that crashes. */
async function makeTrouble({ services, database, seed }: Stage, signal: AbortSignal): Promise<{ kills: number; drains: number; databaseCrashes: number }> {
  const random = new Random(seed, 2_000_003);
  const done = { kills: 0, drains: 0, databaseCrashes: 0 };
  for (let turn = 1; !signal.aborted; turn += 1) {
    await wait(random.between(2 * SECOND, 6 * SECOND), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    if (turn % 10 === 3) {
      await database.crash();
      done.databaseCrashes += 1;
    } else {
      const isDrain = random.chance(0.4);
      await random.pick(services).restart(isDrain ? 'SIGTERM' : 'SIGKILL');
      done[isDrain ? 'drains' : 'kills'] += 1;
    }
  }
  // A short soak must have seen it all, too.
  if (done.kills === 0) await services[0]!.restart('SIGKILL').then(() => (done.kills += 1));
  if (done.drains === 0) await services[1]!.restart('SIGTERM').then(() => (done.drains += 1));
  if (done.databaseCrashes === 0) await database.crash().then(() => (done.databaseCrashes += 1));
  return done;
}

/** One of the two, always at the same address. */
class Service implements AsyncDisposable {
  private constructor(
    private process: ServiceProcess,
    private readonly env: Readonly<Record<string, string>>,
  ) {}

  static async start(databaseUrl: string, faults: readonly PlantedFault[]): Promise<Service> {
    const planted = faults.length === 0 ? {} : { NODE_OPTIONS: `--import=${PLANTED}`, SOAK_FAULTS: faults.join() };
    const env = { DATABASE_URL: databaseUrl, PAYSTATE_SIMULATOR: 'false', PAYSTATE_GRPC_PORT: `${await freePort()}`, ...planted };
    return new Service(await startServiceProcess(env), env);
  }

  get address(): string {
    return `127.0.0.1:${this.env['PAYSTATE_GRPC_PORT']}`;
  }

  async restart(signal: NodeJS.Signals): Promise<void> {
    await this.process.end(signal);
    for (let attempt = 0; ; attempt += 1) {
      try {
        this.process = await startServiceProcess(this.env);
        return;
      } catch (error) {
        // The database may be coming up again, too.
        if (attempt > 20) throw error;
        await wait(300);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process.end('SIGKILL');
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);

function added(some: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const one of some) for (const [name, count] of Object.entries(one)) total[name] = (total[name] ?? 0) + count;
  return total;
}

const seconds = (began: number): string => ((performance.now() - began) / SECOND).toFixed(1);
