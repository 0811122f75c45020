import type { Deps } from '../payment/deps.js';
import { DomainError } from '../payment/errors.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from '../payment/idempotency.js';
import type { Payment } from '../payment/payment.js';
import type { Actor } from '../payment/payment-log.js';
import { Refund, type RefundId, type RefundResolution } from './refund.js';
import { refundNotFound } from './send-refund.js';

export interface ResolveRefund {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly refundId: RefundId;
  readonly resolution: RefundResolution;
  readonly reason: string;
  readonly proof: string;
}

/** An operator ends what no platform will answer; the payment's money follows in the same unit of work. */
export async function resolveRefund(deps: Deps, input: ResolveRefund, signal?: AbortSignal): Promise<{ refund: Refund; payment: Payment }> {
  const { refundId, resolution } = input;
  // A refund never changes its payment, so this may be read before the lock.
  const known = await deps.orm.em.fork().findOne(Refund, { id: refundId }, { fields: ['paymentId'] });
  if (known === null) throw refundNotFound(refundId);

  return await deps.work.run(
    {
      payments: [known.paymentId],
      request: requestKey(input.request, null),
      decide: (view) => {
        const payment = view.payment(known.paymentId);
        const refunds = view.refunds(payment);
        const refund = refunds.find(refundId)!;
        if (earlierRequest(view, input.request, payment.appId) !== undefined) return { refund, payment };

        const act = view.act(input.actor);
        const before = refund.status;
        try {
          refund.resolve(resolution, act.at);
        } catch (error) {
          throw error instanceof DomainError ? payment.refusal(act, `end refund ${refund.id} as ${resolution}`, error) : error;
        }
        payment.settleRefunds(refunds, act, {
          kind: 'REFUND_CHANGED',
          refundId,
          reason: input.reason,
          evidence: { refund_from: before, refund_to: refund.status, amount: `${refund.amount} ${refund.currency}`, proof: input.proof },
        });
        rememberRequest(view, input.request, { appId: payment.appId, paymentId: payment.id, refundId });
        return { refund, payment };
      },
    },
    signal,
  );
}
