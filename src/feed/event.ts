import type { Payment, PaymentId } from '../payment/payment.js';
import type { PaymentStatus } from '../payment/payment-status.js';
import type { PlatformName } from '../payment/platform.js';

/** One change of a payment, at its place in the total order of all changes. */
export interface FeedEvent {
  /** `<payment id>:<version>`; receivers drop what they know by it. */
  readonly eventId: string;
  readonly revision: bigint;
  readonly shard: number;
  readonly epoch: number;
  readonly paymentId: PaymentId;
  readonly version: number;
  /** Null for the change that created the payment. */
  readonly previousStatus: PaymentStatus | null;
  readonly status: PaymentStatus;
  readonly occurredAt: Date;
  readonly platform: PlatformName;
  readonly appId: string;
  readonly orderId: string;
  readonly userId: string;
  /** In the FULL view: the payment as it is now, at this version or a later one. */
  readonly payment?: Payment;
}
