import type { Deps } from './deps.js';
import { DomainError, fieldInvalid } from './errors.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from './idempotency.js';
import { claimOrder } from './join-evidence.js';
import type { Money } from './money.js';
import type { Decision, Payment, PaymentId } from './payment.js';
import type { Act, Actor } from './payment-log.js';

export interface ResolveReview {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly paymentId: PaymentId;
  readonly decision: Decision['decision'];
  readonly reason: string;
  readonly proof: string;
  readonly expectedVersion: number;
  /** What was paid, where no evidence says it. */
  readonly paid: { readonly amount: Money; readonly transactionId: string } | null;
}

/** An operator's decision about a payment in review. It covers what is known now; what comes later and is new opens the review again. */
export async function resolveReview(deps: Deps, input: ResolveReview, signal?: AbortSignal): Promise<Payment> {
  return await deps.work.run(
    {
      payments: [input.paymentId],
      request: requestKey(input.request, null),
      decide: (view) => {
        const payment = view.payment(input.paymentId);
        if (earlierRequest(view, input.request, payment.appId) !== undefined) return payment;
        const act = view.act(input.actor);
        payment.requireVersion(input.expectedVersion, act, `resolve as ${input.decision}`);
        requireReview(payment, input, act);

        payment.resolve(decisionOf(payment, input), view.refunds(payment), act);
        claimOrder(view, payment, act);
        rememberRequest(view, input.request, { appId: payment.appId, paymentId: payment.id });
        return payment;
      },
    },
    signal,
  );
}

function requireReview(payment: Payment, { decision }: ResolveReview, act: Act): void {
  if (payment.status === 'REVIEW') return;
  const metadata = { payment_id: payment.id, from: payment.status, to: decision, allowed: '' };
  throw payment.refusal(act, `resolve as ${decision}`, new DomainError('ILLEGAL_TRANSITION', `there is nothing to decide: the payment is ${payment.status}`, { metadata }));
}

function decisionOf(payment: Payment, { decision, actor, reason, proof, paid }: ResolveReview): Decision {
  const known = payment.facts.paid;
  if (decision !== 'PAID' && paid !== null) throw fieldInvalid({ field: 'paid_amount', description: 'only for PAID' });
  if (decision === 'PAID' && known === undefined && paid === null) {
    throw fieldInvalid({ field: 'paid_amount', description: 'is required: nothing that is known says what was paid' });
  }
  if (known !== undefined && paid !== null) {
    throw fieldInvalid({ field: 'paid_amount', description: `the payment ${known.transactionId} of ${known.amount} ${known.currency} is known` });
  }
  if (paid !== null && paid.amount.currency !== payment.currency) {
    throw fieldInvalid({ field: 'paid_amount.currency_code', description: `the payment is in ${payment.currency}` });
  }
  const said = paid === null ? null : { amount: paid.amount.minorUnits, currency: paid.amount.currency, transactionId: paid.transactionId };
  return { decision, by: `operator ${actor.id}`, reason, proof, paid: said };
}
