import type { Deps } from '../payment/deps.js';
import { DomainError, fieldInvalid } from '../payment/errors.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from '../payment/idempotency.js';
import { uuidv7 } from '../payment/ids.js';
import { formatDecimal, type Money } from '../payment/money.js';
import type { Payment, PaymentId } from '../payment/payment.js';
import type { Act, Actor } from '../payment/payment-log.js';
import type { PaymentRefunds } from './payment-refunds.js';
import { Refund, type RefundId } from './refund.js';

export interface RecordExternalRefund {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly paymentId: PaymentId;
  readonly amount: Money;
  /** Null where the platform has given none. */
  readonly platformRefundNo: string | null;
  readonly reason: string;
  readonly proof: string;
}

/** Books money that was refunded outside of this service, as far as it fits beside what is refunded and reserved here. */
export async function recordExternalRefund(deps: Deps, input: RecordExternalRefund, signal?: AbortSignal): Promise<{ refund: Refund; payment: Payment }> {
  return await deps.work.run(
    {
      payments: [input.paymentId],
      request: requestKey(input.request, null),
      decide: (view) => {
        const payment = view.payment(input.paymentId);
        const refunds = view.refunds(payment);
        const earlier = earlierRequest(view, input.request, payment.appId);
        if (earlier !== undefined) return { refund: refunds.find(earlier.refundId!)!, payment };
        const act = view.act(input.actor);
        requireRoom(payment, refunds, input, act);

        const id = uuidv7(act.at) as RefundId;
        const refund = Refund.external(payment, { id, amount: input.amount.minorUnits, reason: input.reason, platformRefundNo: input.platformRefundNo }, act.at);
        refunds.add(refund);
        payment.settleRefunds(refunds, act, {
          kind: 'REFUND_CHANGED',
          refundId: id,
          reason: input.reason,
          evidence: { refund_to: refund.status, amount: `${refund.amount} ${refund.currency}`, proof: input.proof },
        });
        rememberRequest(view, input.request, { appId: payment.appId, paymentId: payment.id, refundId: id });
        return { refund, payment };
      },
    },
    signal,
  );
}

function requireRoom(payment: Payment, refunds: PaymentRefunds, { amount, platformRefundNo }: RecordExternalRefund, act: Act): void {
  const what = `book ${amount.minorUnits} ${amount.currency} as refunded elsewhere`;
  if (amount.currency !== payment.currency) {
    throw fieldInvalid({ field: 'amount.currency_code', description: `the payment is in ${payment.currency}` });
  }
  if (payment.paidAmount === 0n) {
    const metadata = { payment_id: payment.id, status: payment.status };
    throw payment.refusal(act, what, new DomainError('PAYMENT_NOT_REFUNDABLE', `nothing was paid: the payment is ${payment.status}`, { metadata }));
  }
  if (platformRefundNo !== null && refunds.findByPlatformNo(platformRefundNo) !== undefined) {
    throw fieldInvalid({ field: 'platform_refund_no', description: 'is a refund of this payment already' });
  }
  // What the platform has named without an explanation is just what is to be booked here.
  const room = payment.paidAmount - payment.refundedAmount - payment.reservedAmount;
  if (amount.minorUnits <= room) return;
  const text = `${formatDecimal({ currency: payment.currency, minorUnits: room })} ${payment.currency}`;
  const metadata = { payment_id: payment.id, refundable: `${room}`, currency: payment.currency };
  throw payment.refusal(act, what, new DomainError('REFUND_EXCEEDS_REFUNDABLE', `only ${text} are neither refunded nor reserved`, { metadata }));
}
