import type { MikroORM } from '@mikro-orm/postgresql';
import { Payment, type PaymentId } from '../payment/payment.js';
import { paymentsOf, type FeedFilter } from './filter.js';
import { countThatFits } from './message-size.js';

/** Before the id of every payment. */
export const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';

/**
 * The current payments by id, in short reads. No long database snapshot is held: a page may show what the replay repeats, and
 * the version on each item makes it converge.
 */
export class Snapshot {
  private lastId: Promise<PaymentId> | null = null;

  constructor(
    private readonly orm: MikroORM,
    private readonly filter: FeedFilter,
  ) {}

  /** The payments that follow an id, as many as fit into a message; none at the end. */
  async page(after: PaymentId, max: number): Promise<readonly Payment[]> {
    const lastId = await this.end();
    const payments = await this.orm.em
      .fork()
      .find(Payment, { $and: [paymentsOf(this.filter), { id: { $gt: after, $lte: lastId } }] }, { orderBy: { id: 'asc' }, limit: max });
    return payments.slice(0, countThatFits(payments));
  }

  /** Payments created after the snapshot began come with the replay; without an end the pages could run after them for ever. */
  private end(): Promise<PaymentId> {
    this.lastId ??= this.readLastId().catch((error: unknown) => {
      this.lastId = null;
      throw error;
    });
    return this.lastId;
  }

  private async readLastId(): Promise<PaymentId> {
    const [last] = await this.orm.em.fork().find(Payment, {}, { orderBy: { id: 'desc' }, limit: 1 });
    return last?.id ?? BEFORE_ALL;
  }
}
