/** What can be said of a payment's status without asking. A number that this version does not know is kept and is not settled. */
import { PaymentStatus } from '../gen/payment/v1/payment.js';

const PAID: ReadonlySet<PaymentStatus> = new Set([
  PaymentStatus.PAYMENT_STATUS_SUCCEEDED,
  PaymentStatus.PAYMENT_STATUS_PARTIALLY_REFUNDED,
  PaymentStatus.PAYMENT_STATUS_REFUNDED,
]);
const UNPAID: ReadonlySet<PaymentStatus> = new Set([
  PaymentStatus.PAYMENT_STATUS_FAILED,
  PaymentStatus.PAYMENT_STATUS_CLOSED,
  PaymentStatus.PAYMENT_STATUS_CANCELED,
]);

/** Money came in, whatever was refunded of it since. */
export const isPaid = (status: PaymentStatus): boolean => PAID.has(status);

/** Nobody is expected to act: paid in any form, or definitely never paid. */
export const isSettled = (status: PaymentStatus): boolean => PAID.has(status) || UNPAID.has(status);

/** Such as SUCCEEDED; the number where this version has no name for it. */
export function statusName(status: PaymentStatus): string {
  return (PaymentStatus[status] as string | undefined)?.replace('PAYMENT_STATUS_', '') ?? `${status as number}`;
}
