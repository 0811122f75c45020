import { Migration } from '@mikro-orm/migrations';

/** What further platforms need, and what an operator asks of the inbox and of words that nobody has mapped. */
export class Platforms20261125 extends Migration {
  override up(): void {
    this.addSql('alter table payment add column buyer_ip text');
    this.addSql(`create index notification_unapplied on notification (status, id) where status <> 'APPLIED'`);
    this.addSql('create index notification_order on notification (merchant_order_no, id) where merchant_order_no is not null');
    this.addSql(`create index payment_log_unmapped on payment_log (recorded_at) where evidence ->> 'class' = 'UNMAPPED'`);
  }
}
