/** A past without the work of making it: payments and their log entries by SQL, given their revisions by the sequencer itself. */
import type pg from 'pg';

const VERSIONS = 20;
const PIECE = 200_000;

/** So many changes of payments that each have twenty of them. */
export async function recordChanges(client: pg.Client, changes: number): Promise<void> {
  await client.query('set synchronous_commit = off');
  for (let from = 0; from < changes; from += PIECE) {
    const payments = Math.ceil(Math.min(PIECE, changes - from) / VERSIONS);
    await client.query(
      `with made as (
         insert into payment (id, app_id, order_id, user_id, platform, merchant_account, merchant_order_no, platform_order_time, origin, subject, metadata,
           amount, currency, paid_amount, refunded_amount, reserved_amount, external_unallocated, refund_allowed, status, flags, version, facts,
           created_at, updated_at, log_seq)
         select uuidv7(), 'past', 'past-' || ($1 + n), '', 'ALIPAY', 'past', 'past' || ($1 + n), '', 'REGISTERED', 'tea', '{}', 8888, 'CNY', 0, 0, 0, 0, true,
           'PENDING', '{}', ${VERSIONS}, '{}', now(), now(), ${VERSIONS} from generate_series(1, $2::int) n returning id)
       insert into payment_log (payment_id, seq, version, kind, actor_type, actor_id, prev_status, status, reason, evidence, platform, app_id, occurred_at, recorded_at, hash)
       select id, v, v, 'STATUS_CHANGED', 'PLATFORM', 'ALIPAY', case when v = 1 then null else 'PENDING' end, 'PENDING', 'told', '{}', 'ALIPAY', 'past', now(), now(), ''
         from made, generate_series(1, ${VERSIONS}) v order by v, id`,
      [from / VERSIONS, payments],
    );
    await client.query(`select feed_advance(0::smallint, 'feed')`);
  }
  await client.query('analyze');
}
