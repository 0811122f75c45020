import type { Deps } from '../payment/deps.js';
import { DomainError } from '../payment/errors.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from '../payment/idempotency.js';
import type { Payment } from '../payment/payment.js';
import type { Actor } from '../payment/payment-log.js';
import { Refund, type RefundId } from './refund.js';
import { refundNotFound } from './send-refund.js';

export interface CancelRefund {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly refundId: RefundId;
  readonly reason: string;
}

/** Cancels a refund that was never sent and releases what it reserved. */
export async function cancelRefund(
  deps: Deps,
  input: CancelRefund,
  signal?: AbortSignal,
): Promise<{ refund: Refund; payment: Payment }> {
  // A refund never changes its payment, so this may be read before the lock.
  const known = await deps.orm.em.fork().findOne(Refund, { id: input.refundId }, { fields: ['paymentId'] });
  if (known === null) throw refundNotFound(input.refundId);

  return await deps.work.run(
    {
      payments: [known.paymentId],
      request: requestKey(input.request, null),
      decide: (view) => {
        const payment = view.payment(known.paymentId);
        const refunds = view.refunds(payment);
        const refund = refunds.find(input.refundId)!;
        if (earlierRequest(view, input.request, payment.appId) !== undefined) return { refund, payment };

        const act = view.act(input.actor);
        try {
          refund.cancel(act.at);
        } catch (error) {
          throw error instanceof DomainError ? payment.refusal(act, `cancel refund ${refund.id}`, error) : error;
        }
        payment.settleRefunds(refunds, act, {
          kind: 'REFUND_CHANGED',
          refundId: refund.id,
          reason: input.reason,
          evidence: { refund_from: 'CREATED', refund_to: refund.status },
        });
        rememberRequest(view, input.request, { appId: payment.appId, paymentId: payment.id, refundId: refund.id });
        return { refund, payment };
      },
    },
    signal,
  );
}
