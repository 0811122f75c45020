/**
 * A client without a server, for the unit tests of its users: the same calls, watches and errors over payments in memory. It has the
 * rules that such tests are about (idempotency, versions, what may be refunded and closed, the feed) and refuses what it does not
 * have as NOT_IMPLEMENTED: logs, statistics, verification and everything of the operators.
 */
import { PaymentStatus, RefundStatus, type Payment, type Refund } from '../../gen/payment/v1/payment.js';
import { clientOver, type PaystateClient } from '../client.js';
import { statusName } from '../status.js';
import { FakeBook } from './fake-book.js';
import { isOpen, paidFields } from './fake-payments.js';
import { settleRefund, type RefundPace } from './fake-refunds.js';
import { FakeTransport, type Failure } from './fake-transport.js';

export type { Failure } from './fake-transport.js';
export type { RefundPace } from './fake-refunds.js';

export interface FakeOptions {
  readonly now?: (() => Date) | undefined;
  /** Default AT_ONCE. */
  readonly refunds?: RefundPace | undefined;
}

/** What buyers, platforms and networks do; a test plays them. */
export interface FakeWorld {
  readonly payments: readonly Payment[];
  readonly refunds: readonly Refund[];
  /** The buyer pays everything, or another amount of minor units, which leads to REVIEW. */
  pays(paymentId: string, minorUnits?: bigint): void;
  /** The order ends at the platform, unpaid. */
  ends(paymentId: string, as?: 'CLOSED' | 'FAILED' | 'CANCELED'): void;
  /** A refund that is still SUBMITTED comes to its end. */
  settlesRefund(refundId: string, as: 'SUCCEEDED' | 'FAILED'): void;
  /** The next call of the method fails; several failures are used up one by one. */
  failNext(method: keyof PaystateClient['payments'] | 'watchPayments', failure: Failure): void;
  /** Every watch loses its connection; the loops over them go on by themselves. */
  cutWatches(): void;
}

export interface FakeClient extends PaystateClient {
  readonly world: FakeWorld;
}

export function createFakeClient({ now = () => new Date(), refunds = 'AT_ONCE' }: FakeOptions = {}): FakeClient {
  const book = new FakeBook(now);
  const transport = new FakeTransport(book, refunds);
  return Object.assign(clientOver(transport), { world: worldOf(book, transport) });
}

function worldOf(book: FakeBook, transport: FakeTransport): FakeWorld {
  return {
    get payments() {
      return [...book.payments.values()];
    },
    get refunds() {
      return [...book.refunds.values()];
    },
    pays(paymentId, minorUnits) {
      const payment = requireOpen(book, paymentId);
      const amount = { ...payment.amount!, minorUnits: minorUnits ?? payment.amount!.minorUnits };
      const isRight = amount.minorUnits === payment.amount!.minorUnits;
      const paid = paidFields(amount, `fake-${payment.merchantOrderNo}`);
      book.put({ ...payment, ...paid, status: isRight ? PaymentStatus.PAYMENT_STATUS_SUCCEEDED : PaymentStatus.PAYMENT_STATUS_REVIEW });
    },
    ends(paymentId, as = 'CLOSED') {
      book.put({ ...requireOpen(book, paymentId), status: PaymentStatus[`PAYMENT_STATUS_${as}`] });
    },
    settlesRefund(refundId, as) {
      settleRefund(book, book.refund(refundId), RefundStatus[`REFUND_STATUS_${as}`]);
    },
    failNext: (method, failure) => transport.fail(`${method.charAt(0).toUpperCase()}${method.slice(1)}`, failure),
    cutWatches: () => transport.cutWatches(),
  };
}

function requireOpen(book: FakeBook, paymentId: string): Payment {
  const payment = book.payment(paymentId);
  if (isOpen(payment.status)) return payment;
  throw new Error(`payment ${paymentId} is ${statusName(payment.status)}: nothing can happen to it at the platform any more`);
}
