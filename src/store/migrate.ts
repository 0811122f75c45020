/** Versioned migrations, one process at a time. */
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
export async function migrateUp(databaseUrl: string): Promise<readonly string[]> {
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

async function openForMigration(databaseUrl: string): Promise<{ orm: MikroORM } & AsyncDisposable> {
  const orm = await openOrm(databaseUrl, 3);
  return { orm, [Symbol.asyncDispose]: () => orm.close(true) };
}

function migratorOf(orm: MikroORM): Migrator {
  return orm.migrator as Migrator;
}
