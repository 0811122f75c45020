import type { EntityManager } from '@mikro-orm/postgresql';
import type { Deps } from './deps.js';
import { paymentNotFound } from './errors.js';
import { PaymentLogEntry } from './payment-log.js';
import { Payment, type PaymentId } from './payment.js';

type Reads = Pick<Deps, 'orm'>;

/** The log of a payment by seq; `after` is the last seq of the page before. */
export async function listPaymentLogs(
  deps: Reads,
  paymentId: PaymentId,
  page: { size: number; after: number | null; order: 'asc' | 'desc' },
): Promise<{ entries: PaymentLogEntry[]; next: number | null }> {
  const em = deps.orm.em.fork();
  await requirePayment(em, paymentId);
  const seq = page.after === null ? {} : { seq: page.order === 'asc' ? { $gt: page.after } : { $lt: page.after } };
  const found = await em.find(PaymentLogEntry, { paymentId, ...seq }, { orderBy: { seq: page.order }, limit: page.size + 1 });
  const entries = found.slice(0, page.size);
  return { entries, next: found.length > page.size ? entries.at(-1)!.seq : null };
}

async function requirePayment(em: EntityManager, id: PaymentId): Promise<Payment> {
  const payment = await em.findOne(Payment, { id });
  if (payment === null) throw paymentNotFound(id);
  return payment;
}
