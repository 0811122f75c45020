/** Versioned migrations, one process at a time. */
import pg from 'pg';
import type { MikroORM } from '@mikro-orm/postgresql';
import type { Migrator } from '@mikro-orm/migrations';
import { openOrm } from './orm.js';

export interface MigrationStatus {
  readonly applied: readonly string[];
  readonly pending: readonly string[];
}

/** Any number works; it only has to be the same in every process and taken by nothing else. */
const MIGRATION_LOCK = 7_205_759_403;

/** Applies what is pending and returns the names. Processes that start together wait for each other. */
export async function migrateUp(
  databaseUrl: string,
  options: { createDatabase?: boolean } = {},
): Promise<readonly string[]> {
  if (options.createDatabase === true) await ensureDatabase(databaseUrl);
  await using lease = await openForMigration(databaseUrl);
  // This transaction only holds the lock, however long the migrations beside it take; it ends with its connection.
  return await lease.orm.em.fork().transactional(async (em) => {
    await em.execute('set local idle_in_transaction_session_timeout = 0');
    await em.execute('set local lock_timeout = 0');
    await em.execute('set local statement_timeout = 0');
    await em.execute(`select pg_advisory_xact_lock(${MIGRATION_LOCK})`);
    const applied = await migratorOf(lease.orm).up();
    return applied.map((migration) => migration.name);
  });
}

export async function migrationStatus(databaseUrl: string): Promise<MigrationStatus> {
  await using lease = await openForMigration(databaseUrl);
  const migrator = migratorOf(lease.orm);
  const applied = await migrator.getExecuted();
  const pending = await migrator.getPending();
  return { applied: applied.map((row) => row.name), pending: pending.map((row) => row.name) };
}

/** The embedded cluster has no database of ours on its first start. */
async function ensureDatabase(databaseUrl: string): Promise<void> {
  const url = new URL(databaseUrl);
  const name = url.pathname.slice(1);
  url.pathname = '/postgres';
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
}

async function openForMigration(databaseUrl: string): Promise<{ orm: MikroORM } & AsyncDisposable> {
  const orm = await openOrm(databaseUrl, 3);
  return { orm, [Symbol.asyncDispose]: () => orm.close(true) };
}

function migratorOf(orm: MikroORM): Migrator {
  return orm.migrator as Migrator;
}
