/** What a run has met in its bill. It may be a million records, so that it is kept in the database and not in memory. */
import type { EntityManager } from '@mikro-orm/postgresql';
import { query } from './query.js';
import type { Reconciliation } from './reconciliation.js';

export interface Mark {
  /** The id of the payment or refund; of a row without one its own numbers. */
  readonly record: string;
  /** Whether the record itself is dated to another day than the bill's, whose reconciliation must not miss it. */
  readonly kept: boolean;
}

/** Answers which of them had not been met before. */
export async function markSeen(em: EntityManager, run: Reconciliation, marks: readonly Mark[]): Promise<Set<string>> {
  const rows = await query<{ record: string }>(
    em,
    `insert into reconciliation_seen (reconciliation_id, record, kept)
     select $1::uuid, k.record, k.kept from unnest($2::text[], $3::boolean[]) as k (record, kept)
     on conflict do nothing returning record`,
    [run.id, marks.map(({ record }) => record), marks.map(({ kept }) => kept)],
  );
  return new Set(rows.map(({ record }) => record));
}

/** Those that the bill has not mentioned, and no bill of another day either. */
export async function unseenOf(em: EntityManager, run: Reconciliation, ids: readonly string[]): Promise<string[]> {
  // One probe of the index for each: a join would be free to read the whole table instead.
  const rows = await query<{ record: string }>(
    em,
    `select k.record from unnest($2::text[]) with ordinality as k (record, place)
       left join lateral (select true as met from reconciliation_seen s
                           where s.reconciliation_id = $1::uuid and s.record = k.record limit 1) seen on true
       left join lateral (select true as met from reconciliation_seen s join reconciliation r on r.id = s.reconciliation_id
                           where s.kept and s.record = k.record and r.day <> $3 limit 1) elsewhere on true
      where seen.met is null and elsewhere.met is null order by k.place`,
    [run.id, ids, run.day],
  );
  return rows.map(({ record }) => record);
}

/** After the comparison only what other days have to know stays; before one, nothing. */
export async function forgetSeen(em: EntityManager, run: Reconciliation, what: 'ALL' | 'BUT_KEPT'): Promise<void> {
  await em.execute(`delete from reconciliation_seen where reconciliation_id = ? ${what === 'ALL' ? '' : 'and not kept'}`, [run.id]);
}
