import { Migration } from '@mikro-orm/migrations';

/**
 * The feed in partitions by revision, so that old history is dropped instead of deleted. The table as it is becomes the first one.
 *
 * The default partition stays empty as long as somebody makes partitions ahead. It is there so that the sequencer, which must not
 * wait for such housekeeping, never lacks a place for a revision.
 */
export class FeedRetention20261127 extends Migration {
  override up(): void {
    // Attaching looks at every row of the old table once.
    this.addSql('set local statement_timeout = 0');
    for (const statement of STATEMENTS) this.addSql(statement);
  }
}

const STATEMENTS = [
  'alter table feed rename to feed_before',
  'alter index feed_pkey rename to feed_before_pkey',
  'alter index feed_payment rename to feed_before_payment',
  'alter index feed_time rename to feed_before_time',
  `create table feed (
    shard smallint not null,
    rev bigint not null,
    payment_id uuid not null,
    version int not null,
    status text not null,
    platform text not null,
    app_id text not null,
    sequenced_at timestamptz not null default clock_timestamp(),
    primary key (shard, rev)
  ) partition by range (rev)`,
  'create index feed_payment on feed (payment_id)',
  'create index feed_time on feed (shard, sequenced_at)',
  // A partition is called by its last revision. Its bounds lie where pages of the history end, so that no such page lies in two.
  `do $$
  declare ends bigint := (select (max(rev) / 1000000 + 1) * 1000000 from feed_head);
  begin
    execute format('alter table feed_before rename to feed_to_%s', ends);
    execute format('alter index feed_before_pkey rename to feed_to_%s_pkey', ends);
    execute format('alter index feed_before_payment rename to feed_to_%s_payment_id_idx', ends);
    execute format('alter index feed_before_time rename to feed_to_%s_shard_sequenced_at_idx', ends);
    execute format('alter table feed attach partition feed_to_%1$s for values from (minvalue) to (%2$s)', ends, ends + 1);
    execute format('create table feed_to_%1$s partition of feed for values from (%2$s) to (%3$s)', ends + 1000000, ends + 1, ends + 1000001);
  end $$`,
  'create table feed_rest partition of feed default',
];
