import { randomUUID } from 'node:crypto';
import pg from 'pg';

export interface FreshDatabase extends AsyncDisposable {
  readonly url: string;
}

/** A migrated, empty database of its own for one test; disposing drops it together with the connections to it. */
export async function freshDatabase(): Promise<FreshDatabase> {
  return await createDatabase('template tpl');
}

/** One without any table. */
export async function emptyDatabase(): Promise<FreshDatabase> {
  return await createDatabase('');
}

async function createDatabase(how: string): Promise<FreshDatabase> {
  const name = `t_${randomUUID().replaceAll('-', '')}`;
  await administer(`create database ${name} ${how}`);

  const url = new URL(adminUrl());
  url.pathname = `/${name}`;
  return { url: url.href, [Symbol.asyncDispose]: () => administer(`drop database if exists ${name} with (force)`) };
}

async function administer(statement: string): Promise<void> {
  const admin = new pg.Client({ connectionString: adminUrl() });
  await admin.connect();
  try {
    await admin.query(statement);
  } finally {
    await admin.end();
  }
}

function adminUrl(): string {
  const url = process.env['PAYSTATE_TEST_ADMIN_URL'];
  if (url === undefined) throw new Error('PAYSTATE_TEST_ADMIN_URL is not set: these tests run under jest -c jest.config.mjs');
  return url;
}
