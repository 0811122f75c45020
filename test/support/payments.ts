import type { Act, PaymentLogEntry } from '../../src/payment/payment-log.js';
import { uuidv7 } from '../../src/payment/ids.js';
import { Payment, type NewPayment } from '../../src/payment/payment.js';
import type { PaymentEvidence } from '../../src/payment/platform.js';
import { PaymentRefunds } from '../../src/refund/payment-refunds.js';
import { Refund } from '../../src/refund/refund.js';

export const T0 = new Date('2026-01-01T00:00:00Z');
export const minutes = (count: number): Date => new Date(T0.getTime() + count * 60_000);
export const CNY = (minorUnits: bigint) => ({ currency: 'CNY', minorUnits });

export interface Fixture {
  readonly payment: Payment;
  readonly refunds: PaymentRefunds;
  readonly log: PaymentLogEntry[];
  act(at?: Date): Act;
}

/** A payment of 100.00 CNY created at T0, without a database. */
export function newPayment(fields: Partial<NewPayment> = {}): Fixture {
  const log: PaymentLogEntry[] = [];
  const act = (at = T0): Act => ({ actor: { type: 'CALLER', id: 'test' }, at, record: (entry) => void log.push(entry) });
  const payment = Payment.create(
    {
      id: uuidv7(T0),
      appId: 'shop',
      orderId: 'order-1',
      userId: 'user-1',
      platform: 'ALIPAY',
      merchantAccount: 'alipay',
      merchantOrderNo: 'no-1',
      platformOrderTime: '',
      platformTransactionId: null,
      origin: 'REGISTERED',
      subject: 'tea',
      metadata: {},
      amount: CNY(10_000n),
      checkoutKind: null,
      returnUrl: null,
      buyerId: null,
      buyerIp: null,
      expireAt: minutes(30),
      ...fields,
    },
    act(),
  );
  return { payment, refunds: new PaymentRefunds(payment, [], () => undefined), log, act };
}

export function paid(at = minutes(5), change: Partial<Extract<PaymentEvidence, { class: 'PAID' }>> = {}): PaymentEvidence {
  return {
    class: 'PAID',
    at,
    word: 'TRADE_SUCCESS',
    amount: CNY(10_000n),
    transactionId: 'tx-1',
    merchantAccount: 'alipay',
    refundedTotal: null,
    refundable: true,
    ...change,
  };
}

export const closed = (at = minutes(31)): PaymentEvidence => ({ class: 'NEGATIVE_FINAL', status: 'CLOSED', at, word: 'TRADE_CLOSED' });
export const failed = (at = minutes(4)): PaymentEvidence => ({ class: 'NEGATIVE_FINAL', status: 'FAILED', at, word: 'PAYERROR' });
export const heard = (
  kind: 'AWAITING_BUYER' | 'IN_PROGRESS' | 'INCONCLUSIVE' | 'UNMAPPED' | 'NOT_FOUND' | 'MONEY_UNCLEAR',
  at = minutes(1),
): PaymentEvidence => ({ class: kind, at, word: kind });

/** Puts a refund of the payment into a status as if the platform had led it there. */
export function refundIn(fixture: Fixture, status: Refund['status'], amount: bigint): Refund {
  const { payment, refunds } = fixture;
  const refund = Refund.create(payment, { id: uuidv7(T0), amount, reason: 'returned' }, T0);
  if (status !== 'CREATED' && status !== 'CANCELED') refund.markSending({ at: T0, until: minutes(1) });
  refund.status = status;
  refunds.add(refund);
  return refund;
}
