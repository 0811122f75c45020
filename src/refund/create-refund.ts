import type { Deps } from '../payment/deps.js';
import { DomainError, fieldInvalid } from '../payment/errors.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from '../payment/idempotency.js';
import { uuidv7 } from '../payment/ids.js';
import { formatDecimal, type Money } from '../payment/money.js';
import type { Payment, PaymentId } from '../payment/payment.js';
import type { Act, Actor } from '../payment/payment-log.js';
import { isPaid } from '../payment/payment-status.js';
import { Refund, type RefundId } from './refund.js';
import { driveRefund, sendRefund } from './send-refund.js';

export interface CreateRefund {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly paymentId: PaymentId;
  readonly amount: Money;
  readonly reason: string;
  /** What the caller believes to be refundable; the refund is refused when that differs. */
  readonly expectedRefundable: Money | null;
}

/** After this a refund that nobody sent is sent by the sync worker. */
const UNSENT_MS = 5_000;

/**
 * Reserves the amount under the payment's lock, then sends the refund. A replay answers with the refund as it is now; whatever
 * happens between the two steps, the reservation stands and the refund goes out under its one number.
 */
export async function createRefund(
  deps: Deps,
  input: CreateRefund,
  signal?: AbortSignal,
): Promise<{ refund: Refund; payment: Payment; replayed: boolean }> {
  const reserved = await deps.work.run(
    {
      payments: [input.paymentId],
      request: requestKey(input.request, null),
      decide: (view) => {
        const payment = view.payment(input.paymentId);
        const refunds = view.refunds(payment);
        const earlier = earlierRequest(view, input.request, payment.appId);
        if (earlier !== undefined) return { refund: refunds.find(earlier.refundId!)!, payment, replayed: true };

        const act = view.act(input.actor);
        requireRefundable(payment, input, act);

        const fields = { id: uuidv7(act.at) as RefundId, amount: input.amount.minorUnits, reason: input.reason };
        const refund = Refund.create(payment, fields, act.at);
        refunds.add(refund);
        payment.settleRefunds(refunds, act, {
          kind: 'REFUND_CHANGED',
          refundId: refund.id,
          reason: input.reason,
          evidence: { refund_to: refund.status, amount: `${refund.amount} ${refund.currency}` },
        });
        rememberRequest(view, input.request, { appId: payment.appId, paymentId: payment.id, refundId: refund.id });
        view.syncDue(payment, new Date(act.at.getTime() + UNSENT_MS));
        return { refund, payment, replayed: false };
      },
    },
    signal,
  );

  if (deps.platforms.find(reserved.payment.platform, reserved.payment.merchantAccount) === undefined) return reserved;
  const { payment, refund } = reserved;
  const sent = reserved.replayed && refund.isAsked ? await driveRefund(deps, payment, refund) : await sendRefund(deps, payment.id, refund.id);
  return { refund: sent.refund, payment: sent.payment, replayed: reserved.replayed };
}

function requireRefundable(payment: Payment, input: CreateRefund, act: Act): void {
  const { amount, expectedRefundable } = input;
  const what = `refund ${amount.minorUnits} ${amount.currency}`;
  if (amount.currency !== payment.currency) {
    throw fieldInvalid({ field: 'amount.currency_code', description: `the payment is in ${payment.currency}` });
  }
  // Of all reviews only that of late money may end by giving it back.
  const hasMoney = isPaid(payment.status) || payment.reviewReason === 'LATE_SUCCESS';
  if (!hasMoney || !payment.refundAllowed) {
    const why = hasMoney ? `${payment.platform} refuses further refunds of it` : `it is ${payment.status}`;
    const metadata = { payment_id: payment.id, status: payment.status };
    throw payment.refusal(act, what, new DomainError('PAYMENT_NOT_REFUNDABLE', `payment cannot be refunded: ${why}`, { metadata }));
  }

  const refundable = payment.refundableAmount;
  const text = formatDecimal({ currency: payment.currency, minorUnits: refundable });
  const metadata = { payment_id: payment.id, refundable: `${refundable}`, currency: payment.currency };
  const expected = expectedRefundable?.minorUnits ?? refundable;
  if (expected !== refundable || (expectedRefundable !== null && expectedRefundable.currency !== payment.currency)) {
    const sentence = `refundable is ${text} ${payment.currency}, not what was expected`;
    throw payment.refusal(act, what, new DomainError('REFUNDABLE_MISMATCH', sentence, { metadata }));
  }
  if (amount.minorUnits > refundable) {
    const sentence = `only ${text} ${payment.currency} can still be refunded`;
    throw payment.refusal(act, what, new DomainError('REFUND_EXCEEDS_REFUNDABLE', sentence, { metadata }));
  }
}
