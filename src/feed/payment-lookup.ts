import type { MikroORM } from '@mikro-orm/postgresql';
import { Payment, type PaymentId } from '../payment/payment.js';

/** Reads payments as they are now for all watches: what is asked for in one turn of the event loop is read once. */
export class PaymentLookup {
  private next: { readonly ids: Set<PaymentId>; readonly found: Promise<ReadonlyMap<PaymentId, Payment>> } | null = null;

  constructor(private readonly orm: MikroORM) {}

  /** Payments that do not exist are absent. The entities are shared: nobody changes them. */
  async find(ids: Iterable<PaymentId>): Promise<ReadonlyMap<PaymentId, Payment>> {
    this.next ??= this.gather();
    const { found } = this.next;
    for (const id of ids) this.next.ids.add(id);
    return await found;
  }

  private gather() {
    const ids = new Set<PaymentId>();
    const found = new Promise<void>((resolve) => setImmediate(resolve)).then(async () => {
      this.next = null;
      const payments = await this.orm.em.fork().find(Payment, { id: { $in: [...ids] } });
      return new Map(payments.map((payment) => [payment.id, payment]));
    });
    return { ids, found };
  }
}
