import { Migration } from '@mikro-orm/migrations';

/** The schedule of queries by account, so that the backlog of one never keeps another waiting. */
export class Sync20261126 extends Migration {
  override up(): void {
    this.addSql('alter table payment add column query_failure text');
    this.addSql('alter table payment_sync add column platform text, add column merchant_account text');
    this.addSql(
      `update payment_sync s set platform = p.platform, merchant_account = p.merchant_account from payment p where p.id = s.payment_id`,
    );
    this.addSql('alter table payment_sync alter column platform set not null, alter column merchant_account set not null');
    this.addSql('drop index payment_sync_due');
    this.addSql('create index payment_sync_due on payment_sync (platform, merchant_account, due_at)');
  }
}
