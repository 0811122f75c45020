import type { MikroORM } from '@mikro-orm/postgresql';
import type { DatabaseIdentity } from './export-format.js';

/** Which database this is, for a person who wonders why two do not agree. */
export async function databaseIdentity(orm: MikroORM): Promise<DatabaseIdentity> {
  const [row] = await orm.em
    .fork()
    .execute<[{ feed_id: number; system_identifier: string }]>(
      'select feed_id, (select system_identifier from pg_control_system())::text as system_identifier from feed_head where shard = 0',
    );
  return { feedId: row.feed_id, systemIdentifier: row.system_identifier };
}
