import type { Deps } from './deps.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from './idempotency.js';
import { claimOrder } from './join-evidence.js';
import { followPolicy } from './late-success.js';
import type { ApplyOutcome, Payment, PaymentId, Report } from './payment.js';
import type { Actor } from './payment-log.js';

export interface UpdatePaymentStatus {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly paymentId: PaymentId;
  readonly reporter: string;
  readonly report: Omit<Report, 'at'> & { readonly at: Date | null };
  readonly expectedVersion: number | null;
}

/** CLAIM_RECORDED: the word is in the log and a query is scheduled; the status is unchanged. */
export type ReportOutcome = ApplyOutcome | 'CLAIM_RECORDED';

/** A caller reports a status that it knows: applied from a trusted reporter of a registered payment, a claim from anybody else. */
export async function updatePaymentStatus(
  deps: Deps,
  input: UpdatePaymentStatus,
  signal?: AbortSignal,
): Promise<{ payment: Payment; outcome: ReportOutcome }> {
  const answer = await deps.work.run(
    {
      payments: [input.paymentId],
      request: requestKey(input.request, null),
      decide: (view): { payment: Payment; outcome: ReportOutcome } => {
        const payment = view.payment(input.paymentId);
        const earlier = earlierRequest(view, input.request, payment.appId);
        if (earlier !== undefined) return { payment, outcome: earlier.answer['outcome'] as ReportOutcome };

        const act = view.act(input.actor);
        payment.requireVersion(input.expectedVersion, act, `report ${input.report.status}`);
        const report = { ...input.report, at: input.report.at ?? act.at };
        let outcome: ReportOutcome = 'CLAIM_RECORDED';
        if (payment.origin === 'REGISTERED' && deps.isTrustedReporter(payment.appId, input.reporter)) {
          outcome = payment.report(report, view.refunds(payment), act);
          followPolicy(view, payment, act);
          claimOrder(view, payment, act);
        } else {
          payment.claim(report, act);
          view.syncDue(payment, act.at);
        }
        rememberRequest(view, input.request, { appId: payment.appId, paymentId: payment.id, answer: { outcome } });
        return { payment, outcome };
      },
    },
    signal,
  );
  if (answer.outcome === 'CLAIM_RECORDED') deps.wakeSync();
  return answer;
}
