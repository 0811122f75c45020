import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { resetEmbeddedPostgres, startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/store/embedded-postgres.js';
import { until } from '../support/until.js';

const NOBODY = 65_534;
const COMPILED = new URL('../../dist/src/store/embedded-postgres.js', import.meta.url).href;
/** In a container of another user's checkout a stranger cannot even start Node. */
const strangersMayPass = [process.execPath, new URL(COMPILED).pathname].every((path) => openToAll(dirname(path)));
const asRoot = process.getuid?.() === 0 ? test : test.skip;
const asRootInOpenCheckout = process.getuid?.() === 0 && strangersMayPass ? test : test.skip;

let folder: string;
let dataDir: string;
/** A cluster that was made and stopped, to be copied: initdb is most of a cold start. */
let pristine: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  pristine = mkdtempSync(join(process.env['PAYSTATE_TEST_FOLDER']!, 'paystate-embedded-'));
  chmodSync(pristine, 0o755);
  const postgres = await startEmbeddedPostgres({ dataDir: join(pristine, 'postgres'), durable: false });
  await postgres.stop('fast');
});

afterAll(() => {
  rmSync(pristine, { recursive: true, force: true });
});

beforeEach(() => {
  folder = mkdtempSync(join(process.env['PAYSTATE_TEST_FOLDER']!, 'paystate-embedded-'));
  chmodSync(folder, 0o755);
  dataDir = join(folder, 'postgres');
});

afterEach(async () => {
  for (const child of children.splice(0)) await kill(child);
  await resetEmbeddedPostgres(dataDir).catch(() => undefined);
  rmSync(folder, { recursive: true, force: true });
});

test('a cold start makes a cluster that listens on the loopback only and speaks UTF-8', async () => {
  await using postgres = await start();

  expect(postgres).toMatchObject({ reused: false, dataDir });
  expect(await ask(postgres, 'show listen_addresses')).toEqual(['127.0.0.1']);
  expect(await ask(postgres, 'show unix_socket_directories')).toEqual(['']);
  expect(await ask(postgres, 'show server_encoding')).toEqual(['UTF8']);
  expect(await ask(postgres, 'show fsync')).toEqual(['off']);
  expect(statSync(dataDir).mode & 0o777).toBe(0o700);
});

test('a cluster is durable unless told otherwise, and takes settings as they are', async () => {
  await using postgres = await startEmbeddedPostgres({ dataDir, settings: { max_connections: '33', application_name: "it's $HOME" } });

  expect(await ask(postgres, 'show fsync')).toEqual(['on']);
  expect(await ask(postgres, 'show max_connections')).toEqual(['33']);
  expect(await ask(postgres, "select reset_val from pg_settings where name = 'application_name'")).toEqual(["it's $HOME"]);
});

test('a warm start finds the rows of the run before', async () => {
  putCluster();
  const first = await start();
  await ask(first, 'create table receipt as select 7 as id');
  await first.stop('fast');
  expect(existsSync(join(dataDir, 'postmaster.pid'))).toBe(false);

  await using second = await start();
  expect(second.reused).toBe(false);
  expect(await ask(second, 'select id from receipt')).toEqual([7]);
});

test('the cluster of an instance that was killed is taken over, and stopped by whoever took it over', async () => {
  putCluster();
  const orphaned = await startInChild();
  await kill(orphaned.child);

  const heir = await start();
  expect(heir).toMatchObject({ reused: true, port: orphaned.port });
  expect(await ask(heir, 'select 1')).toEqual([1]);

  await heir.stop('fast');
  expect(existsSync(join(dataDir, 'postmaster.pid'))).toBe(false);
});

test('an instance that merely passes by leaves the cluster to the one that lives', async () => {
  putCluster();
  const owner = await startInChild();
  const guest = await start();
  expect(guest).toMatchObject({ reused: true, port: owner.port });

  await guest.stop('immediate');
  expect(await ask(guest, 'select 1')).toEqual([1]);
});

test('the last of two instances to leave stops the cluster, whoever started it', async () => {
  putCluster();
  const first = await start();
  const second = await start();

  await first.stop('fast');
  expect(await ask(second, 'select 1')).toEqual([1]);
  await second.stop('fast');
  await expect(ask(second, 'select 1')).rejects.toThrow(/ECONNREFUSED/);
});

test('three instances that start at once in an empty folder share one cluster', async () => {
  const instances = await Promise.all([start(), start(), start()]);

  expect(new Set(instances.map(({ port }) => port)).size).toBe(1);
  expect(instances.filter(({ reused }) => !reused)).toHaveLength(1);
  expect(readdirSync(folder)).toEqual(['postgres']);
  for (const instance of instances) await instance.stop('immediate');
});

test('after kill -9 of the postmaster the next start keeps what was committed', async () => {
  putCluster();
  const crashed = await startEmbeddedPostgres({ dataDir });
  await ask(crashed, 'create table receipt as select 7 as id');
  const postmaster = postmasterOf(dataDir);
  process.kill(postmaster, 'SIGKILL');
  await until(() => !existsSync(`/proc/${postmaster}`) || /^State:\s*Z/m.test(readFileSync(`/proc/${postmaster}/status`, 'utf8')));

  await using restarted = await startEmbeddedPostgres({ dataDir });
  expect(restarted.reused).toBe(false);
  expect(await ask(restarted, 'select id from receipt')).toEqual([7]);
});

test('a postmaster.pid that names a stranger is not a running cluster', async () => {
  putCluster();
  const first = await start();
  const pidFile = readFileSync(join(dataDir, 'postmaster.pid'), 'utf8');
  await first.stop('immediate');
  // The pid of a process that lives and that PostgreSQL's user may signal, as after a reboot.
  const stranger = spawn('sleep', ['60'], { cwd: '/', stdio: 'ignore', uid: statSync(dataDir).uid });
  children.push(stranger);
  await once(stranger, 'spawn');
  writeFileSync(join(dataDir, 'postmaster.pid'), pidFile.replace(/^\d+/, String(stranger.pid)));

  await using second = await start();
  expect(second.reused).toBe(false);
  expect(await ask(second, 'select 1')).toEqual([1]);
});

test('what a killed initdb left behind is cleared away, what a live one is making is not', async () => {
  const dead = spawn('true', { stdio: 'ignore' });
  await once(dead, 'exit');
  const halfMade = `${dataDir}.initialising-${dead.pid}-0badcafe`;
  const inTheMaking = `${dataDir}.initialising-${process.ppid}-0badcafe`;
  for (const leftover of [halfMade, inTheMaking]) {
    mkdirSync(leftover);
    writeFileSync(join(leftover, 'PG_VERSION'), '18\n');
  }

  await using postgres = await start();
  expect(await ask(postgres, 'select 1')).toEqual([1]);
  expect(existsSync(halfMade)).toBe(false);
  expect(existsSync(inTheMaking)).toBe(true);
});

test('a folder that holds something else is neither used nor deleted', async () => {
  mkdirSync(dataDir);
  writeFileSync(join(dataDir, 'thesis.tex'), 'years of work');

  await expect(start()).rejects.toThrow(/is not empty and holds no PostgreSQL cluster/);
  await expect(resetEmbeddedPostgres(dataDir)).rejects.toThrow(/is not empty and holds no PostgreSQL cluster/);
  expect(readFileSync(join(dataDir, 'thesis.tex'), 'utf8')).toBe('years of work');
});

test('a cluster of another version is refused in a sentence', async () => {
  putCluster();
  await (await start()).stop('immediate');
  writeFileSync(join(dataDir, 'PG_VERSION'), '15\n');

  await expect(start()).rejects.toThrow(/was made by PostgreSQL 15, and this is PostgreSQL 18/);
});

test('a setting that PostgreSQL refuses is named by the error', async () => {
  putCluster();
  await expect(startEmbeddedPostgres({ dataDir, durable: false, settings: { max_connections: 'many' } })).rejects.toThrow(
    /does not start.*max_connections/s,
  );
});

test('a durable instance refuses to join a cluster that runs without fsync', async () => {
  putCluster();
  await using _careless = await start();
  await expect(startEmbeddedPostgres({ dataDir })).rejects.toThrow(/fsync off/);
});

test('a reset stops the cluster and deletes its data', async () => {
  putCluster();
  const postgres = await start();

  expect(await resetEmbeddedPostgres(dataDir)).toBe(true);
  await expect(ask(postgres, 'select 1')).rejects.toThrow(/ECONNREFUSED/);
  expect(readdirSync(folder)).toEqual([]);
  expect(await resetEmbeddedPostgres(dataDir)).toBe(false);
});

asRoot('below a folder that is closed to the user of PostgreSQL the data moves elsewhere, and stays there', async () => {
  const closed = join(folder, 'closed');
  mkdirSync(closed, { mode: 0o700 });
  dataDir = join(closed, 'deep', 'postgres');

  const first = await start();
  expect(first.dataDir).toMatch(/^\/var\/tmp\/paystate-postgres-0\/data-[0-9a-f]{32}$/);
  await ask(first, 'create table receipt as select 7 as id');
  await first.stop('fast');

  // Opening the folder must not trade the data for an empty cluster.
  chmodSync(closed, 0o755);
  const second = await start();
  expect(await ask(second, 'select id from receipt')).toEqual([7]);

  expect(await resetEmbeddedPostgres(dataDir)).toBe(true);
  expect(existsSync(first.dataDir)).toBe(false);
});

asRoot('closing a folder above a cluster is an error, not an empty cluster', async () => {
  putCluster();
  await (await start()).stop('immediate');
  chmodSync(folder, 0o700);

  await expect(start()).rejects.toThrow(new RegExp(`cannot be reached by the user \\w+: ${folder} is closed to it`));
  chmodSync(folder, 0o755);
});

asRootInOpenCheckout('without root PostgreSQL runs as oneself, and root carries on as the owner of the cluster', async () => {
  chownSync(folder, NOBODY, NOBODY);

  const { child, port } = await startInChild({ uid: NOBODY, gid: NOBODY });
  expect(statSync(dataDir).uid).toBe(NOBODY);
  await kill(child);

  const heir = await start();
  expect(heir).toMatchObject({ reused: true, port });
  await heir.stop('fast');
  await using again = await start();
  expect(again.reused).toBe(false);
  expect(statSync(`/proc/${postmasterOf(dataDir)}`).uid).toBe(NOBODY);
});

/** Puts a stopped, empty cluster into the data folder. */
function putCluster(): void {
  execFileSync('cp', ['-a', join(pristine, 'postgres'), dataDir]);
}

const start = (): Promise<EmbeddedPostgres> => startEmbeddedPostgres({ dataDir, durable: false });

/** The first column of every row. */
async function ask(postgres: EmbeddedPostgres, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: postgres.url('postgres') });
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' });
    return rows.map(([first]) => first);
  } finally {
    await client.end();
  }
}

/** An instance in a process of its own that can be killed; it goes on until then. */
async function startInChild(identity: { uid?: number; gid?: number } = {}): Promise<{ child: ChildProcess; port: number }> {
  const program = `
    import { startEmbeddedPostgres } from ${JSON.stringify(COMPILED)};
    const { port } = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)}, durable: false });
    console.log(port);
    setInterval(() => {}, 1_000_000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { cwd: '/', env: {}, stdio: ['ignore', 'pipe', 'inherit'], ...identity });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout })) return { child, port: Number(line) };
  throw new Error('The child ended before its PostgreSQL was ready.');
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

const postmasterOf = (cluster: string): number => Number(readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')[0]);

function openToAll(path: string): boolean {
  return (statSync(path).mode & 1) === 1 && (dirname(path) === path || openToAll(dirname(path)));
}
