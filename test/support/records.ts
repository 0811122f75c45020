import type { TestApp } from './app.js';

/** Every payment, refund, log entry and due time as it stands in the database, to be held against what it was. */
export async function allRecords({ app }: TestApp): Promise<{ payments: unknown; refunds: unknown; log: unknown; due: unknown }> {
  const rows = async (table: string, order: string): Promise<unknown> => await app.deps.orm.em.fork().execute(`select t::text as row from ${table} t order by ${order}`);
  return {
    payments: await rows('payment', 'id'),
    refunds: await rows('refund', 'id'),
    log: await rows('payment_log', 'payment_id, seq'),
    due: await rows('payment_sync', 'payment_id'),
  };
}

/** What every payment has come to. */
export async function versions({ app }: TestApp): Promise<unknown> {
  return await app.deps.orm.em.fork().execute('select id, version, status, paid_amount, refunded_amount, reserved_amount from payment order by id');
}
