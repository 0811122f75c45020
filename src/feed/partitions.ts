/**
 * The partitions of the feed by revision, each called by its last one. Beside them there is a default one, which is empty unless
 * nobody made partitions ahead for too long: what went there stays there, and the partitions go on beyond it.
 *
 * The locks that are taken here stand in the way of everybody who reads or sequences: on the whole feed to drop, on the default
 * partition to attach. The connection's lock_timeout bounds the wait; who has failed comes back later.
 */
import type { ClientBase } from 'pg';
import { SHARD } from './history.js';

export interface Partition {
  readonly name: string;
  readonly lastRev: bigint;
}

/** Oldest first, without the default one. */
export async function partitionsOf(client: ClientBase): Promise<readonly Partition[]> {
  const { rows } = await client.query<{ name: string; last: string }>(LIST);
  return rows.map(({ name, last }) => ({ name, lastRev: BigInt(last) }));
}

/** A place for the revisions after one, up to and with another. */
export async function makePartition(client: ClientBase, { after, to }: { after: bigint; to: bigint }): Promise<void> {
  // Made apart and then attached: unlike "create table … partition of", that keeps nobody from the feed itself. Statements that
  // are sent together are one transaction.
  await client.query(
    `create table feed_to_${to} (like feed including defaults);
     alter table feed attach partition feed_to_${to} for values from (${after + 1n}) to (${to + 1n})`,
  );
}

export async function dropPartition(client: ClientBase, { name }: Partition): Promise<void> {
  // Where a vacuum is at work in it there is no use in keeping everybody from the feed for as long as we may wait.
  await client.query(`lock table ${name} in share update exclusive mode nowait; drop table ${name}`);
}

/** Empties the default partition once everything in it is removed history. */
export async function clearRest(client: ClientBase, compactRev: bigint): Promise<void> {
  const { rowCount } = await client.query('select 1 from feed_rest where shard = $1 and rev <= $2 limit 1', [SHARD, `${compactRev}`]);
  if (rowCount === 0) return;
  await client.query(
    `do $$ begin
       lock table feed_rest in access exclusive mode;
       if not exists (select from feed_rest where rev > ${compactRev}) then truncate feed_rest; end if;
     end $$`,
  );
}

/** Whether the newest row of a full partition is older than so many days, by the clock that has stamped it. */
export async function isOlder(client: ClientBase, { lastRev }: Partition, days: number): Promise<boolean> {
  const { rows } = await client.query<{ older: boolean }>(
    'select sequenced_at < now() - make_interval(days => $3) as older from feed where shard = $1 and rev = $2',
    [SHARD, `${lastRev}`, days],
  );
  return rows[0]?.older ?? false;
}

/** How many revisions were given in the last day. */
export async function revisionsInDay(client: ClientBase, headRev: bigint): Promise<bigint> {
  const { rows } = await client.query<{ rev: string }>(
    `select rev::text from feed where shard = $1 and sequenced_at >= now() - interval '1 day' order by sequenced_at limit 1`,
    [SHARD],
  );
  return rows[0] === undefined ? 0n : headRev - BigInt(rows[0].rev) + 1n;
}

const LIST = `
  select p.name, p.last::text
    from (select c.oid::regclass::text as name, substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \\(''?(\\d+)''?\\)')::bigint - 1 as last
            from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = 'feed'::regclass) p
   where p.last is not null
   order by p.last`;
