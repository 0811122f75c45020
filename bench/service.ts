/** The service in a process of its own on a durable database of its own, as it would run, with whatever platforms it is given. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../src/store/embedded-postgres.js';
import { migrateUp } from '../src/store/migrate.js';

const MAIN = new URL('../src/main.js', import.meta.url).pathname;
const AS_NPM_START = ['--max-semi-space-size=16'];

export interface Service extends AsyncDisposable {
  readonly databaseUrl: string;
  readonly pid: number;
  /** host:port of gRPC. */
  readonly address: string;
  /** Base of the notification entrance. */
  readonly entrance: string;
}

type Environment = Readonly<Record<string, string>>;

/** `settings` are the database's, `environment` the service's. */
export async function startService(platforms: object, settings: Environment = {}, environment: Environment = {}): Promise<Service> {
  const stack = new AsyncDisposableStack();
  try {
    const folder = await mkdtemp(join(tmpdir(), 'paystate-bench-'));
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const postgres = stack.use(await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), settings }));
    const databaseUrl = postgres.url('paystate');
    await migrateUp(databaseUrl, { createDatabase: true });

    const file = join(folder, 'platforms.json');
    await writeFile(file, JSON.stringify(platforms), { mode: 0o600 });
    const replica = stack.use(await startReplica(databaseUrl, { PAYSTATE_PLATFORMS_FILE: file, ...environment }));
    return { ...replica, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** One more process on a database that is there. */
export async function startReplica(databaseUrl: string, environment: Environment): Promise<Service> {
  const child = spawn(process.execPath, [...AS_NPM_START, MAIN], {
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: databaseUrl,
      PAYSTATE_GRPC_PORT: '0',
      PAYSTATE_NOTIFICATION_PORT: '0',
      PAYSTATE_ADMIN_PORT: '0',
      PAYSTATE_NOTIFICATION_BASE_URL: 'http://127.0.0.1:9',
      PAYSTATE_LOG_LEVEL: 'error',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  };
  let printed = '';
  for await (const piece of child.stdout as AsyncIterable<Buffer>) {
    printed += piece.toString();
    if (printed.includes('is ready')) break;
  }
  const address = /gRPC\s+(127\.0\.0\.1:\d+)/.exec(printed)?.[1];
  const entrance = /notifications\s+(http:\/\/[\d.:]+)/.exec(printed)?.[1];
  if (address === undefined || entrance === undefined) {
    await stop();
    throw new Error('the service did not start');
  }
  return { databaseUrl, pid: child.pid!, address, entrance, [Symbol.asyncDispose]: stop };
}
