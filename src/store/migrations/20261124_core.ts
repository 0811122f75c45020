import { Migration } from '@mikro-orm/migrations';

/** Payments, refunds, log, inbox and the feed's tables; the feed's head is created with the log, or it would miss entries. */
export class Core20261124 extends Migration {
  override up(): void {
    for (const statement of [...RECORDS, ...LOG, ...FEED]) this.addSql(statement);
  }
}

const RECORDS = [
  `create table payment (
    id uuid primary key,
    app_id text not null,
    order_id text not null,
    user_id text not null,
    platform text not null check (platform in ('ALIPAY', 'WECHATPAY', 'UNIONPAY')),
    merchant_account text not null,
    merchant_order_no text not null,
    platform_order_time text not null,
    platform_transaction_id text,
    origin text not null check (origin in ('INITIATED', 'REGISTERED')),
    subject text not null,
    metadata jsonb not null,
    amount bigint not null check (amount > 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    paid_amount bigint not null check (paid_amount >= 0),
    refunded_amount bigint not null check (refunded_amount >= 0),
    reserved_amount bigint not null check (reserved_amount >= 0),
    external_unallocated bigint not null check (external_unallocated >= 0),
    refund_allowed boolean not null,
    status text not null check (status in ('PENDING', 'PROCESSING', 'UNKNOWN', 'SUCCEEDED', 'PARTIALLY_REFUNDED',
      'REFUNDED', 'FAILED', 'CLOSED', 'CANCELED', 'REVIEW')),
    review_reason text,
    flags text[] not null,
    version int not null check (version > 0),
    facts jsonb not null,
    platform_status text,
    checkout_kind text,
    checkout jsonb,
    return_url text,
    buyer_id text,
    close_requested_at timestamptz(3),
    expire_at timestamptz(3),
    paid_at timestamptz(3),
    created_at timestamptz(3) not null,
    updated_at timestamptz(3) not null,
    last_verified_at timestamptz(3),
    last_evidence_source text,
    log_seq int not null,
    log_hash text,
    constraint payment_never_over_refunded check (refunded_amount + reserved_amount <= paid_amount),
    constraint payment_review_has_reason check ((status = 'REVIEW') = (review_reason is not null)),
    constraint payment_paid_status_has_money check (status not in ('PARTIALLY_REFUNDED', 'REFUNDED') or refunded_amount > 0),
    constraint payment_platform_order unique (platform, merchant_account, merchant_order_no, platform_order_time)
  )`,
  `create index payment_app_order on payment (app_id, order_id)`,
  `create index payment_user on payment (user_id, id) where user_id <> ''`,
  `create index payment_unsettled on payment (platform, created_at) where status in ('PENDING', 'PROCESSING', 'UNKNOWN', 'REVIEW')`,
  `create index payment_created on payment (created_at)`,
  `create table refund (
    id uuid primary key,
    payment_id uuid not null references payment (id) deferrable initially deferred,
    app_id text not null,
    amount bigint not null check (amount > 0),
    currency text not null,
    status text not null check (status in ('CREATED', 'SUBMITTED', 'UNKNOWN', 'ABNORMAL', 'SUCCEEDED', 'FAILED',
      'CANCELED', 'REVERSED')),
    reason text not null,
    platform_refund_no text not null,
    platform_refund_id text,
    external boolean not null,
    retry text check (retry in ('SAME_NUMBER', 'NEW_NUMBER')),
    attempts int not null check (attempts >= 0),
    sending_until timestamptz(3),
    sent_at timestamptz(3),
    failure_code text,
    failure_message text,
    created_at timestamptz(3) not null,
    updated_at timestamptz(3) not null,
    succeeded_at timestamptz(3),
    constraint refund_platform_no unique (payment_id, platform_refund_no),
    constraint refund_canceled_was_never_sent check (status <> 'CANCELED' or attempts = 0)
  )`,
  `create index refund_app on refund (app_id, id)`,
  `create table request (
    app_id text not null,
    method text not null,
    request_id text not null,
    body_hash text not null,
    payment_id uuid not null references payment (id) deferrable initially deferred,
    refund_id uuid references refund (id) deferrable initially deferred,
    answer jsonb not null,
    created_at timestamptz(3) not null,
    primary key (app_id, method, request_id)
  )`,
  `create table paid_order (
    app_id text not null,
    order_id text not null,
    payment_id uuid not null references payment (id) deferrable initially deferred,
    primary key (app_id, order_id)
  )`,
  `create table notification (
    id uuid primary key,
    platform text not null,
    merchant_account text not null,
    notification_id text,
    content_hash text not null,
    status text not null check (status in ('APPLIED', 'STORED', 'ORPHAN', 'QUARANTINED')),
    merchant_order_no text,
    platform_order_time text not null,
    payment_id uuid,
    outcome text,
    why text not null,
    headers jsonb not null,
    body bytea not null,
    deliveries int not null check (deliveries > 0),
    received_at timestamptz(3) not null,
    applied_at timestamptz(3),
    constraint notification_verified_has_id check ((status = 'QUARANTINED') = (notification_id is null))
  )`,
  `create unique index notification_once on notification (platform, notification_id) where notification_id is not null`,
  `create unique index notification_quarantine on notification (platform, content_hash) where status = 'QUARANTINED'`,
  `create index notification_waiting on notification (platform, merchant_account, merchant_order_no) where status in ('ORPHAN', 'STORED')`,
  `create table payment_sync (
    payment_id uuid primary key references payment (id) deferrable initially deferred,
    due_at timestamptz(3) not null,
    attempts int not null default 0,
    lease_until timestamptz(3)
  )`,
  `create index payment_sync_due on payment_sync (due_at)`,
];

const LOG = [
  `create table payment_log (
    id bigint generated always as identity (cache 1),
    xid xid8 not null default pg_current_xact_id(),
    shard smallint not null default 0,
    payment_id uuid not null references payment (id) deferrable initially deferred,
    seq int not null check (seq > 0),
    version int check (version > 0),
    kind text not null,
    actor_type text not null,
    actor_id text not null,
    source text,
    prev_status text,
    status text not null,
    refund_id uuid,
    reason text not null,
    error_code text,
    error_message text,
    evidence jsonb not null,
    platform text not null,
    app_id text not null,
    occurred_at timestamptz(3) not null,
    recorded_at timestamptz(3) not null,
    prev_hash text,
    hash text not null,
    primary key (payment_id, seq),
    constraint payment_log_version unique (payment_id, version)
  )`,
  `create index payment_log_unfed on payment_log (shard, xid) where version is not null`,
  `create function payment_log_is_append_only() returns trigger language plpgsql as $$
  begin
    raise exception 'payment_log is append-only' using errcode = 'insufficient_privilege';
  end $$`,
  `create trigger payment_log_append_only before update or delete on payment_log
    for each row execute function payment_log_is_append_only()`,
  `create trigger payment_log_no_truncate before truncate on payment_log
    for each statement execute function payment_log_is_append_only()`,
];

/** The sequencer after commit: gives committed log entries with a version a dense, gapless, totally ordered revision. */
const FEED = [
  `create table feed_head (
    shard smallint primary key,
    epoch int not null default 1,
    rev bigint not null default 0,
    compact_rev bigint not null default 0,
    snap pg_snapshot not null default pg_current_snapshot(),
    lineage text not null default '',
    feed_id int not null default (floor(random() * 2147483647))::int
  ) with (fillfactor = 10)`,
  `create table feed_epoch (
    shard smallint,
    epoch int,
    start_rev bigint not null,
    lineage text not null,
    at timestamptz not null default clock_timestamp(),
    primary key (shard, epoch)
  )`,
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
  )`,
  `create index feed_payment on feed (payment_id)`,
  `create index feed_time on feed (shard, sequenced_at)`,
  `insert into feed_head (shard) values (0)`,
  `create function feed_advance(p_shard smallint, p_chan text, p_peek boolean default false,
                               out epoch int, out rev bigint, out appended int) language plpgsql
  set enable_seqscan = off set enable_bitmapscan = off
  as $$
  declare h feed_head; lin text;
  begin
    -- An idle poll is read-only: no xid, no WAL, no lock.
    if p_peek then
      select f.epoch, f.rev, 0 into epoch, rev, appended from feed_head f
       where f.shard = p_shard and not exists (
         select 1 from payment_log l
          where l.shard = p_shard and l.version is not null
            and l.xid >= pg_snapshot_xmin(f.snap) and not pg_visible_in_snapshot(l.xid, f.snap));
      if found then return; end if;
    end if;

    -- Inside a writing transaction an entry would be sequenced twice; under REPEATABLE READ the reading statement would use
    -- a snapshot older than the lock.
    if pg_current_xact_id_if_assigned() is not null or current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'feed_advance must be its own READ COMMITTED transaction' using errcode = 'invalid_transaction_state';
    end if;

    -- One sequencer at a time: this row lock is the whole election.
    select * into h from feed_head f where f.shard = p_shard for update;

    -- After a promotion or a restore another timeline or cluster is writing: a new epoch opens at the current revision.
    lin := (select system_identifier from pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
    if h.lineage <> lin then
      h.epoch := h.epoch + (h.lineage <> '')::int;
      insert into feed_epoch(shard, epoch, start_rev, lineage) values (p_shard, h.epoch, h.rev, lin);
      update feed_head f set epoch = h.epoch, lineage = lin where f.shard = p_shard;
    end if;

    -- A second statement on purpose: it takes its snapshot after the lock was granted.
    with new as materialized (
      select l.payment_id, l.version, l.status, l.platform, l.app_id, row_number() over (order by l.id) as rn
        from payment_log l
       where l.shard = p_shard and l.version is not null
         and l.xid >= pg_snapshot_xmin(h.snap) and not pg_visible_in_snapshot(l.xid, h.snap)),
    ins as (
      insert into feed(shard, rev, payment_id, version, status, platform, app_id)
      select p_shard, h.rev + n.rn, n.payment_id, n.version, n.status, n.platform, n.app_id from new n order by n.rn)
    update feed_head f set rev = h.rev + (select count(*) from new), snap = pg_current_snapshot()
     where f.shard = p_shard and exists (select 1 from new) returning f.rev into rev;

    epoch := h.epoch;
    appended := coalesce(rev - h.rev, 0);
    rev := coalesce(rev, h.rev);
    if appended > 0 then
      perform pg_notify(p_chan, p_shard || ':' || epoch || ':' || rev);
    end if;
  end $$`,
];
