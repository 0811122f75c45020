import { Migration } from '@mikro-orm/migrations';

/** What has not ended is few beside what has, and is counted at every scrape. */
export class OpenRefunds20261126 extends Migration {
  override up(): void {
    this.addSql(`create index refund_open on refund (created_at) where status in ('CREATED', 'SUBMITTED', 'UNKNOWN', 'ABNORMAL')`);
    this.addSql('create index reconciliation_day on reconciliation (platform, merchant_account, day, id)');
  }
}
