import type { MikroORM } from '@mikro-orm/postgresql';
import { paymentNotFound } from '../payment/errors.js';
import { Payment, type PaymentId } from '../payment/payment.js';
import { isSettled } from '../payment/payment-status.js';
import type { FeedEvent } from './event.js';

/** Which of some payments are settled, first by their rows and then by what the feed says of them. */
export class Settlement {
  private readonly known: Map<PaymentId, { version: number; settled: boolean }>;
  private seen = 0n;

  private constructor(payments: readonly Payment[]) {
    this.known = new Map(payments.map(({ id, version, status }) => [id, { version, settled: isSettled(status) }]));
  }

  /** PAYMENT_NOT_FOUND where one does not exist: it would be waited for without end. */
  static async read(orm: MikroORM, ids: readonly PaymentId[]): Promise<Settlement> {
    const found = await orm.em.fork().find(Payment, { id: { $in: [...ids] } });
    const settlement = new Settlement(found);
    const missing = ids.find((id) => !settlement.known.has(id));
    if (missing !== undefined) throw paymentNotFound(missing);
    return settlement;
  }

  /** Up to where events were looked at, sent or not. */
  get seenRev(): bigint {
    return this.seen;
  }

  readonly see = ({ revision, paymentId, version, status }: FeedEvent): void => {
    if (revision > this.seen) this.seen = revision;
    const known = this.known.get(paymentId);
    if (known !== undefined && version > known.version) this.known.set(paymentId, { version, settled: isSettled(status) });
  };

  get isComplete(): boolean {
    return [...this.known.values()].every(({ settled }) => settled);
  }
}
