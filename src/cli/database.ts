import { join } from 'node:path';
import type { Config } from '../config.js';
import { startEmbeddedPostgres } from '../store/embedded-postgres.js';

/** The configured database, or the embedded cluster, which is stopped again unless it was running. */
export async function withDatabase<T>(config: Config, work: (url: string, embedded: boolean) => Promise<T>): Promise<T> {
  if (config.databaseUrl !== null) return await work(config.databaseUrl, false);
  const postgres = await startEmbeddedPostgres({ dataDir: join(config.dataDir, 'postgres') });
  try {
    return await work(postgres.url('paystate'), true);
  } finally {
    if (!postgres.reused) await postgres.stop('fast');
  }
}
