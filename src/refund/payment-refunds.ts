import type { RefundBook, RefundSums } from '../payment/facts.js';
import { uuidv7 } from '../payment/ids.js';
import type { Act } from '../payment/payment-log.js';
import type { Payment } from '../payment/payment.js';
import { Refund } from './refund.js';
import { REFUND_MONEY } from './refund-status.js';

/** The refund rows of one locked payment, in the order of their creation. */
export class PaymentRefunds implements RefundBook {
  constructor(
    private readonly payment: Payment,
    readonly rows: Refund[],
    private readonly persist: (refund: Refund) => void,
  ) {}

  sums(): RefundSums {
    const sums = { refunded: 0n, reserved: 0n, sent: 0n, reversed: 0n };
    for (const refund of this.rows) {
      const money = REFUND_MONEY[refund.status];
      if (money === 'REFUNDED') sums.refunded += refund.amount;
      if (money === 'REVERSED') sums.reversed += refund.amount;
      if (money !== 'RESERVED') continue;
      sums.reserved += refund.amount;
      if (refund.attempts > 0) sums.sent += refund.amount;
    }
    return sums;
  }

  find(refundId: string): Refund | undefined {
    return this.rows.find((refund) => refund.id === refundId);
  }

  findByPlatformNo(platformRefundNo: string): Refund | undefined {
    return this.rows.find((refund) => refund.platformRefundNo === platformRefundNo);
  }

  add(refund: Refund): void {
    this.rows.push(refund);
    this.persist(refund);
  }

  bookExternal({ at: succeededAt, ...refund }: Parameters<RefundBook['bookExternal']>[0], act: Act): void {
    this.add(Refund.external(this.payment, { id: uuidv7(act.at), reason: 'refunded elsewhere', succeededAt, ...refund }, act.at));
  }
}
