/**
 * One throw-away PostgreSQL for a run of jest: the database `tpl`, migrated and closed, and a copy of it per worker. The
 * environment hands the administrator's URL to the workers, and where clusters of their own may be made; `pg-setup.mjs` makes the rest of it.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';

const FOLDER_NAME = /^paystate-jest-(\d+)-/;
const compiled = (path) => new URL(`../dist/src/store/${path}`, import.meta.url);

export default async function startTestPostgres({ maxWorkers }) {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 22 || (major === 22 && minor < 17)) throw new Error(`Node >= 22.17 required, running ${process.version}; start the tests with "npm test"`);
  if (!existsSync(compiled('embedded-postgres.js'))) throw new Error('Nothing is compiled yet; start the tests with "npm test", or run "npm run build" first');
  const { startEmbeddedPostgres, resetEmbeddedPostgres } = await import(compiled('embedded-postgres.js'));

  const parent = openFolder();
  process.env.PAYSTATE_TEST_FOLDER = parent;
  await sweep(parent, resetEmbeddedPostgres);

  const folder = mkdtempSync(join(parent, `paystate-jest-${process.pid}-`));
  chmodSync(folder, 0o755);
  // What tests leave lying goes with the folder.
  process.env.TMPDIR = join(folder, 'tmp');
  mkdirSync(process.env.TMPDIR);
  const dataDir = join(folder, 'postgres');
  globalThis.stopTestPostgres = async () => {
    await resetEmbeddedPostgres(dataDir);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const postgres = await startEmbeddedPostgres({ dataDir, durable: false, settings: { max_connections: '300' } });
    await makeDatabases(postgres, maxWorkers);
    process.env.PAYSTATE_TEST_ADMIN_URL = postgres.url('postgres');
  } catch (error) {
    await globalThis.stopTestPostgres();
    throw error;
  }
}

async function makeDatabases(postgres, workers) {
  const admin = new pg.Client({ connectionString: postgres.url('postgres') });
  await admin.connect();
  try {
    await admin.query('create database tpl');
    if (existsSync(compiled('migrate.js'))) {
      const { migrateUp } = await import(compiled('migrate.js'));
      await migrateUp(postgres.url('tpl'));
    }
    // A database with visitors cannot be copied.
    await admin.query('alter database tpl with is_template true allow_connections false');
    for (let worker = 1; worker <= workers; worker++) await admin.query(`create database w${worker} template tpl`);
  } finally {
    await admin.end();
  }
}

/** Copies of a database are made 20 times as fast in memory; these need none of it for long. */
const MEMORY = '/dev/shm';
const ROOM = 4 * 1024 ** 3;

function isRoomy(folder) {
  const { bavail, bsize } = statfsSync(folder);
  return Math.min(bavail * bsize, freemem()) > ROOM;
}

/** Where PostgreSQL's own user may pass, whatever TMPDIR says. */
function openFolder() {
  if (existsSync(MEMORY) && isRoomy(MEMORY)) return MEMORY;
  const mayPass = (folder) => (statSync(folder).mode & 1) === 1 && (dirname(folder) === folder || mayPass(dirname(folder)));
  return [tmpdir(), '/tmp', '/var/tmp'].find((folder) => existsSync(folder) && mayPass(folder)) ?? tmpdir();
}

/** What killed runs of ours left behind; a run whose process lives is never touched. */
async function sweep(parent, resetEmbeddedPostgres) {
  for (const name of readdirSync(parent)) {
    const pid = FOLDER_NAME.exec(name)?.[1];
    const folder = join(parent, name);
    if (pid === undefined || isAlive(Number(pid)) || !isOurs(folder)) continue;
    try {
      await resetEmbeddedPostgres(join(folder, 'postgres'));
      rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      console.warn(`A killed earlier run left ${folder}, and it cannot be removed:`, error);
    }
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** False as well when another run swept it just now. */
function isOurs(folder) {
  const found = statSync(folder, { throwIfNoEntry: false });
  return found !== undefined && (process.getuid === undefined || found.uid === process.getuid());
}
