import { PLATFORM_CALL_MAX_MS, type Deps } from './deps.js';
import { joinEvidence } from './join-evidence.js';
import type { ApplyOutcome, Payment, PaymentId } from './payment.js';
import type { Actor } from './payment-log.js';
import type { CallOutcome, Failure, PaymentReport } from './platform.js';

export type QueryResult =
  | { readonly payment: Payment; readonly outcome: ApplyOutcome; readonly failure: null }
  | { readonly payment: Payment; readonly outcome: null; readonly failure: Failure };

/** Asks the platform about a payment and joins the answer. A failed query changes nothing but leaves its trace in the log. */
export async function queryPayment(deps: Deps, payment: Payment, actor: Actor): Promise<QueryResult> {
  const answer = await askPlatform(deps, payment);
  if (answer.kind !== 'ACCEPTED' && answer.heldBack === true) return { payment, outcome: null, failure: answer };
  return await joinAnswer(deps, payment.id, answer, actor);
}

/** The question alone: one call to the platform, nothing recorded. */
export async function askPlatform(deps: Deps, payment: Payment, maxMs = PLATFORM_CALL_MAX_MS): Promise<CallOutcome<PaymentReport>> {
  const adapter = deps.platforms.adapter(payment.platform, payment.merchantAccount);
  return await adapter.query(payment.identity, { at: deps.clock.now(), signal: AbortSignal.timeout(Math.ceil(Math.min(maxMs, PLATFORM_CALL_MAX_MS))) });
}

export async function joinAnswer(
  deps: Deps,
  id: PaymentId,
  answer: CallOutcome<PaymentReport>,
  actor: Actor,
): Promise<QueryResult> {
  return await deps.work.run({
    payments: [id],
    decide: (view): QueryResult => {
      const payment = view.payment(id);
      const act = view.act(actor);
      if (answer.kind !== 'ACCEPTED') {
        payment.queryFailed({ kind: answer.kind, code: answer.code, message: answer.message }, act);
        return { payment, outcome: null, failure: { code: answer.code, message: answer.message } };
      }
      const heard = { evidence: answer.value.evidence, source: 'QUERY' } as const;
      return { payment, outcome: joinEvidence(view, payment, heard, act), failure: null };
    },
  });
}
