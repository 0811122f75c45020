/** The usual way to name a payment where the contract offers several. */
import type { PaymentRef } from '../gen/payment/v1/payment_service.js';

export function paymentRef(paymentId: string): PaymentRef {
  return { ref: { $case: 'paymentId', value: paymentId } };
}
