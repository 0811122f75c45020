import { IsolationLevel, type EntityManager } from '@mikro-orm/postgresql';
import type { Deps } from './deps.js';
import { paymentNotFound } from './errors.js';
import { findChainFault, PaymentLogEntry, type ChainFault } from './payment-log.js';
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

/** Recomputes a payment's hash chain from what is stored. */
export async function verifyPaymentLog(
  deps: Reads,
  paymentId: PaymentId,
): Promise<{ entries: number; fault: ChainFault | null }> {
  // One snapshot for head and entries, or a change in between would look like a fault.
  return await deps.orm.em.fork().transactional(
    async (em) => {
      const payment = await requirePayment(em, paymentId);
      const entries = await em.find(PaymentLogEntry, { paymentId }, { orderBy: { seq: 'asc' } });
      return { entries: entries.length, fault: findChainFault(entries, { seq: payment.logSeq, hash: payment.logHash }) };
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  );
}

async function requirePayment(em: EntityManager, id: PaymentId): Promise<Payment> {
  const payment = await em.findOne(Payment, { id });
  if (payment === null) throw paymentNotFound(id);
  return payment;
}
