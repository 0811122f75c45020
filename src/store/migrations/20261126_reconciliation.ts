import { Migration } from '@mikro-orm/migrations';

/** Reconciliations, their findings, and what a run under way has seen in its bill. */
export class Reconciliation20261126 extends Migration {
  override up(): void {
    for (const statement of [...RUNS, ...LOOKUPS]) this.addSql(statement);
  }
}

const RUNS = [
  `create table reconciliation (
    id uuid primary key,
    request_id text not null,
    body_hash text not null,
    operator text not null,
    platform text not null,
    merchant_account text not null,
    day text not null check (day ~ '^\\d{4}-\\d\\d-\\d\\d$'),
    apply boolean not null,
    status text not null check (status in ('RUNNING', 'COMPLETED', 'FAILED')),
    bill_rows bigint not null,
    matched bigint not null,
    finding_count bigint not null,
    fee_total bigint not null,
    failure text not null,
    attempts int not null,
    lease_holder uuid,
    lease_until timestamptz(3),
    compared_at timestamptz(3),
    started_at timestamptz(3) not null,
    ended_at timestamptz(3),
    constraint reconciliation_request unique (request_id),
    constraint reconciliation_ended check ((status = 'RUNNING') = (ended_at is null))
  )`,
  `create index reconciliation_running on reconciliation (id) where status = 'RUNNING'`,
  `create table reconciliation_finding (
    reconciliation_id uuid not null references reconciliation (id),
    place bigint not null check (place > 0),
    kind text not null check (kind in ('MISSING_HERE', 'MISSING_THERE', 'AMOUNT_DIFFERS', 'STATUS_DIFFERS', 'BILLED_TWICE', 'WRONG_DAY')),
    about text not null check (about in ('PAYMENT', 'REFUND')),
    payment_id uuid,
    refund_id uuid,
    merchant_order_no text not null,
    platform_transaction_id text not null,
    platform_refund_no text not null,
    recorded text not null,
    billed text not null,
    bill_row jsonb,
    outcome text,
    applied_at timestamptz(3),
    primary key (reconciliation_id, place)
  )`,
  // Kept is what its record dates to another day: the reconciliation of that day must not miss it there. No foreign key: a million rows
  // come and go with a run, which nobody ever deletes.
  `create table reconciliation_seen (
    reconciliation_id uuid not null,
    record text collate "C" not null,
    kept boolean not null,
    primary key (reconciliation_id, record)
  )`,
  `create index reconciliation_seen_kept on reconciliation_seen (record) where kept`,
];

/** How a bill names records, and what was recorded for a day. */
const LOOKUPS = [
  `create index payment_transaction on payment (platform, merchant_account, platform_transaction_id) where platform_transaction_id is not null`,
  `create index payment_paid on payment (platform, merchant_account, paid_at, id) where paid_at is not null`,
  `create index refund_succeeded on refund (succeeded_at, id) where succeeded_at is not null`,
];
