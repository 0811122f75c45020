/** The only composition root: every part is made here, in the order of need, and ended in the reverse one. */
import { readFileSync } from 'node:fs';
import type { MikroORM } from '@mikro-orm/postgresql';
import { startAdminServer } from './admin/admin-server.js';
import { systemClock, type Clock } from './clock.js';
import { ConfigError, type Config } from './config.js';
import { openFeed } from './feed/feed.js';
import { Retention } from './feed/retention.js';
import type { Logger } from './logger.js';
import { notificationPath, openNotificationEntrance } from './notification/entrance.js';
import { applyWaiting } from './notification/receive-notification.js';
import type { Deps } from './payment/deps.js';
import type { LateSuccessPolicy } from './payment/late-success.js';
import { PlatformRegistry, type PlatformAccount } from './payment/platform-registry.js';
import { readAccounts, type Account } from './platform/accounts.js';
import { alarming } from './platform/alarm.js';
import { limited } from './platform/limits.js';
import { ReconciliationWorker } from './reconciliation/reconciliation-worker.js';
import { PageTokens } from './rpc/page-token.js';
import type { Simulators } from './simulator/simulators.js';
import { startPostgresOf, type EmbeddedPostgres } from './store/embedded-postgres.js';
import { StoreHeartbeat } from './store/heartbeat.js';
import { migrateUp, migrationStatus } from './store/migrate.js';
import { openOrm } from './store/orm.js';
import { getSystemHealth } from './stats/get-system-health.js';
import { UnitOfWork } from './store/unit-of-work.js';
import { SyncWorker } from './sync/sync-worker.js';

export interface App {
  readonly grpcPort: number;
  readonly notificationPort: number;
  readonly adminPort: number;
  readonly databaseUrl: string;
  /** Whether PostgreSQL is the embedded one. */
  readonly embedded: boolean;
  readonly simulators: Simulators | null;
  readonly deps: Deps;
  readonly worker: SyncWorker;
  readonly reconciliations: ReconciliationWorker;
  /** Ends everything in order: calls under way finish, watches are told where to resume, nothing acknowledged is lost. */
  stop(): Promise<void>;
}

export interface AppOptions {
  readonly clock?: Clock;
  readonly log: Logger;
  /** The embedded PostgreSQL, where it has been started before. */
  readonly postgres?: Promise<EmbeddedPostgres>;
  /** Tests look at what is due, at reconciliations that wait and at old history themselves. */
  readonly manualSync?: boolean;
}

const POSTGRES_MIN = 140_000;
const DAY_MS = 86_400_000;

export const VERSION = (JSON.parse(readFileSync(findPackageJson(), 'utf8')) as { version: string }).version;

export async function startApp(config: Config, options: AppOptions): Promise<App> {
  const { log } = options;
  const clock = options.clock ?? systemClock;
  const closers: (() => Promise<void>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) {
      await close().catch((error: unknown) => log.error({ err: error }, 'a part did not end cleanly'));
    }
  };

  try {
    return await compose();
  } catch (error) {
    await closeAll();
    throw error;
  }

  async function compose(): Promise<App> {
    // Loading gRPC and the contract takes as long as PostgreSQL takes to come up: both at once.
    const [database, simulators, { startRpcServer }] = await Promise.all([openDatabase(), openSimulators(), import('./rpc/server.js')]);
    const { orm, databaseUrl, keepAfterFailure } = database;

    const nats = config.nats === null ? null : { ...config.nats, maxAgeMs: config.feedRetentionDays * DAY_MS };
    const feed = await openFeed({ orm, databaseUrl, clock, log, cursorKey: config.tokenKey, nats, watchesPerCallerMax: 1_000 });
    closers.push(async () => await feed[Symbol.asyncDispose]());
    const retention = new Retention({ databaseUrl, days: config.feedRetentionDays, log });
    closers.push(async () => await retention[Symbol.asyncDispose]());
    const { lateSuccessPolicies: policies } = config;
    const lateSuccessPolicy = (appId: string): LateSuccessPolicy => policies[appId] ?? policies['*'] ?? 'HOLD';
    const work = new UnitOfWork(orm, clock, { lateSuccessPolicy, onCommit: () => feed.kick() });
    closers.push(async () => await work.whenIdle());

    // Entrance and worker live in a circle with the adapters: the entrance's address goes into every order.
    let deps: Deps | null = null;
    const ready = (): Deps | null => deps;
    const entrance = await openNotificationEntrance(ready, { ...config.notifications, log });
    closers.push(async () => await entrance[Symbol.asyncDispose]());
    const baseUrl = config.notifications.baseUrl ?? `http://127.0.0.1:${entrance.port}`;
    const platforms = new PlatformRegistry(connect(simulators === null ? config.platforms : accountsOf(simulators), baseUrl, log));
    const worker = new SyncWorker(() => deps!, log);
    const reconciliations = new ReconciliationWorker(() => deps!, log);

    deps = {
      orm,
      work,
      clock,
      platforms,
      isTrustedReporter: trustOf(config),
      applyWaiting: applyWaiting((payment) => platforms.find(payment.platform, payment.merchantAccount)),
      wakeSync: () => worker.wake(),
    };
    if (options.manualSync !== true) {
      worker.start();
      reconciliations.start();
      retention.start();
    }
    closers.push(async () => await worker[Symbol.asyncDispose]());
    closers.push(async () => await reconciliations[Symbol.asyncDispose]());

    const sources = { feedHealth: () => feed.health(), entranceHealth: () => entrance.health() };
    const server = await startRpcServer(
      {
        ...deps,
        feed,
        pages: new PageTokens(config.tokenKey),
        version: VERSION,
        ...sources,
        wakeReconciliation: () => reconciliations.wake(),
      },
      { ...config.grpc, log },
    );
    closers.push(async () => {
      server.setServing(false);
      await feed.drain();
      await server.drain();
    });
    server.setServing(true);
    const heartbeat = new StoreHeartbeat(orm, (isThere) => {
      log.warn({ isThere }, isThere ? 'the database is there again' : 'the database does not answer');
      server.setServing(isThere);
    });
    closers.push(async () => await heartbeat[Symbol.asyncDispose]());
    const admin = await startAdminServer(
      { ...sources, systemHealth: () => getSystemHealth({ orm, clock, platforms }), isServing: () => server.isServing(), now: () => clock.now() },
      { ...config.admin, log },
    );
    closers.push(async () => await admin[Symbol.asyncDispose]());
    keepAfterFailure.release();

    return {
      grpcPort: server.port,
      notificationPort: entrance.port,
      adminPort: admin.port,
      databaseUrl,
      embedded: config.databaseUrl === null,
      simulators,
      deps,
      worker,
      reconciliations,
      stop: closeAll,
    };
  }

  async function openDatabase(): Promise<{ orm: MikroORM; databaseUrl: string; keepAfterFailure: { release(): void } }> {
    // A cluster that was found running may belong to another instance: it is left alone unless this one came up beside it.
    const ours = { stop: true };
    let databaseUrl = config.databaseUrl;
    if (databaseUrl === null) {
      const postgres = await (options.postgres ?? startPostgresOf(config, log)!);
      ours.stop = !postgres.reused;
      closers.push(async () => {
        if (ours.stop) await postgres.stop('fast');
      });
      databaseUrl = postgres.url('paystate');
    }

    if (config.migrateAtStart) await migrateUp(databaseUrl, { createDatabase: config.databaseUrl === null });
    else await refusePendingMigrations(databaseUrl);
    const orm = await openOrm(databaseUrl);
    closers.push(async () => await orm.close(true));
    await refuseOldPostgres(orm);
    return { orm, databaseUrl, keepAfterFailure: { release: () => (ours.stop = true) } };
  }

  async function openSimulators(): Promise<Simulators | null> {
    if (config.simulator === null) return null;
    const { startSimulators } = await import('./simulator/simulators.js');
    const { port } = config.simulator;
    const simulators = await startSimulators({ port, stateFolder: config.dataDir, now: () => clock.now() });
    closers.push(async () => await simulators[Symbol.asyncDispose]());
    return simulators;
  }
}

function connect(accounts: readonly Account[], baseUrl: string, log: Logger): PlatformAccount[] {
  return accounts.map(({ platform, account, apps, limits, connect: connectAccount }) => {
    const notificationUrl = new URL(notificationPath(platform, account), baseUrl).href;
    return { adapter: limited(alarming(connectAccount(notificationUrl), log), limits), apps };
  });
}

/** The simulators are configured like any platform. */
function accountsOf({ platforms }: Simulators): readonly Account[] {
  const { accounts, faults } = readAccounts(platforms, (path) => readFileSync(path, 'utf8'));
  if (faults.length > 0) throw new Error(faults.join('; '));
  return accounts;
}

function trustOf(config: Config): (appId: string, reporter: string) => boolean {
  const { trustedReporters } = config;
  if (trustedReporters === null) return () => true;
  const trusted = new Set(trustedReporters);
  return (appId, reporter) => [`${appId}:${reporter}`, `*:${reporter}`, `${appId}:*`].some((pair) => trusted.has(pair));
}

async function refusePendingMigrations(databaseUrl: string): Promise<void> {
  const { pending } = await migrationStatus(databaseUrl);
  if (pending.length === 0) return;
  throw new ConfigError(
    `the database lacks ${pending.length} migrations (${pending.join(', ')}): run "npm run paystate -- migrate up", or set PAYSTATE_MIGRATE=true`,
  );
}

async function refuseOldPostgres(orm: MikroORM): Promise<void> {
  const [row] = await orm.em.fork().execute<[{ version: string }]>("select current_setting('server_version_num') as version");
  if (BigInt(row.version) < POSTGRES_MIN) throw new ConfigError(`PostgreSQL 14 or newer is needed; this one is ${row.version}`);
}

function findPackageJson(): URL {
  // Compiled code runs from dist/src.
  return new URL(import.meta.url.includes('/dist/src/') ? '../../package.json' : '../package.json', import.meta.url);
}
