import type { Deps } from '../payment/deps.js';
import type { PaymentFilter } from '../payment/list-payments.js';

/**
 * Has the sync worker look at every unsettled payment that matches, now. Answers how many. The due times are a table of their own,
 * so that this changes no payment.
 */
export async function markDue(deps: Pick<Deps, 'orm' | 'clock' | 'wakeSync'>, filter: PaymentFilter): Promise<bigint> {
  const conditions = ["status in ('PENDING', 'PROCESSING', 'UNKNOWN', 'REVIEW')"];
  const values: string[] = [];
  const where = (condition: string, ...given: string[]): void => {
    conditions.push(condition);
    values.push(...given);
  };
  if (filter.appId !== null) where('app_id = ?', filter.appId);
  if (filter.orderId !== null) where('order_id = ?', filter.orderId);
  if (filter.userId !== null) where('user_id = ?', filter.userId);
  if (filter.platform !== null) where('platform = ?', filter.platform);
  if (filter.statuses.length > 0) where(`status in (${filter.statuses.map(() => '?').join(', ')})`, ...filter.statuses);
  if (filter.createdFrom !== null) where('created_at >= ?', filter.createdFrom.toISOString());
  if (filter.createdTo !== null) where('created_at < ?', filter.createdTo.toISOString());

  const [row] = await deps.orm.em.fork().execute<[{ marked: string }]>(
    `with marked as (
       insert into payment_sync (payment_id, platform, merchant_account, due_at)
       select id, platform, merchant_account, ?::timestamptz from payment where ${conditions.join(' and ')} order by id
       on conflict (payment_id) do update set due_at = least(payment_sync.due_at, excluded.due_at) returning 1)
     select count(*)::text as marked from marked`,
    [deps.clock.now().toISOString(), ...values],
  );
  deps.wakeSync();
  return BigInt(row.marked);
}
