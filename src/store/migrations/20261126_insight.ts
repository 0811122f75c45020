import { Migration } from '@mikro-orm/migrations';

/** What operators ask again and again: which refunds are open, what was reconciled last, when a payment was asked about last. */
export class Insight20261126 extends Migration {
  override up(): void {
    this.addSql(`create index refund_open on refund (created_at) where status in ('CREATED', 'SUBMITTED', 'UNKNOWN', 'ABNORMAL')`);
    this.addSql('create index reconciliation_day on reconciliation (platform, merchant_account, day, id)');
    this.addSql('alter table payment_sync add column asked_at timestamptz(3)');
  }
}
