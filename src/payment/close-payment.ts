import { PLATFORM_CALL_MAX_MS, type Deps } from './deps.js';
import { DomainError } from './errors.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from './idempotency.js';
import { joinEvidence } from './join-evidence.js';
import type { Payment, PaymentId } from './payment.js';
import type { Actor } from './payment-log.js';
import { isOpen, isPaid } from './payment-status.js';
import type { CallOutcome, CloseReport } from './platform.js';
import { queryPayment } from './query-payment.js';

export interface ClosePayment {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly paymentId: PaymentId;
  readonly reason: string;
  readonly expectedVersion: number | null;
}

/** IN_DOUBT: the platform's answer is unknown; the sync worker finds out. CLOSE_AT_EXPIRY: the intent is kept and carried out. */
export type CloseOutcome = 'CLOSED' | 'PAID' | 'CLOSE_AT_EXPIRY' | 'IN_DOUBT';

/** Closes an unpaid payment, at the platform first: nothing here ever closes what may still be paid there. */
export async function closePayment(
  deps: Deps,
  input: ClosePayment,
  signal?: AbortSignal,
): Promise<{ payment: Payment; outcome: CloseOutcome }> {
  const payment = await recordIntent(deps, input, signal);
  if (!isOpen(payment.status)) return { payment, outcome: outcomeOf(payment) };
  return await closeAtPlatform(deps, payment, input.actor);
}

/** Also the sync worker's way of ending an expired order. */
export async function closeAtPlatform(
  deps: Deps,
  payment: Payment,
  actor: Actor,
): Promise<{ payment: Payment; outcome: CloseOutcome }> {
  const adapter = deps.platforms.adapter(payment.platform, payment.merchantAccount);
  const at = deps.clock.now();
  const answer = await adapter.close(payment.identity, { at, signal: AbortSignal.timeout(PLATFORM_CALL_MAX_MS) });
  const closed = await joinClosing(deps, payment.id, answer, { at, actor });

  if (answer.kind === 'REJECTED') {
    const asked = await queryPayment(deps, closed, actor);
    return { payment: asked.payment, outcome: outcomeOf(asked.payment) };
  }
  refuseUnclosed(answer, closed);
  return { payment: closed, outcome: outcomeOf(closed) };
}

function recordIntent(deps: Deps, input: ClosePayment, signal?: AbortSignal): Promise<Payment> {
  return deps.work.run(
    {
      payments: [input.paymentId],
      request: requestKey(input.request, null),
      decide: (view) => {
        const payment = view.payment(input.paymentId);
        if (earlierRequest(view, input.request, payment.appId) !== undefined) return payment;
        const act = view.act(input.actor);
        payment.requireVersion(input.expectedVersion, act, 'close');
        if (payment.status === 'FAILED' || payment.status === 'REVIEW') throw payment.refusal(act, 'close', notClosable(payment));
        if (isOpen(payment.status)) {
          deps.platforms.adapter(payment.platform, payment.merchantAccount);
          payment.requestClose(input.reason, act);
          view.syncDue(payment, act.at);
        }
        rememberRequest(view, input.request, { appId: payment.appId, paymentId: payment.id });
        return payment;
      },
    },
    signal,
  );
}

function joinClosing(
  deps: Deps,
  id: PaymentId,
  answer: CallOutcome<CloseReport>,
  { at, actor }: { at: Date; actor: Actor },
): Promise<Payment> {
  return deps.work.run({
    payments: [id],
    decide: (view) => {
      const payment = view.payment(id);
      const act = view.act({ type: 'PLATFORM', id: payment.platform });
      const source = 'SYNC_REPLY';

      if (answer.kind !== 'ACCEPTED') {
        payment.recordCall({ reason: `close: ${answer.kind}`, error: answer }, act);
        if (answer.kind === 'UNKNOWN') {
          joinEvidence(view, payment, { evidence: { class: answer.unmapped === true ? 'UNMAPPED' : 'INCONCLUSIVE', at, word: answer.code }, source }, act);
        }
      } else if (answer.value.result === 'CLOSED') {
        const evidence = { class: 'NEGATIVE_FINAL', status: 'CLOSED', at: answer.value.at, word: 'CLOSED' } as const;
        joinEvidence(view, payment, { evidence, source }, act);
      } else {
        // The worker asks again and again; once is enough to tell.
        if (actor.type !== 'WORKER') payment.recordCall({ reason: 'close: the platform cannot close it yet' }, act);
        // Its expiry is the next moment that can settle it; once that is past, the schedule of queries sets the pace.
        if (payment.expireAt !== null && payment.expireAt > act.at) view.syncDue(payment, payment.expireAt);
      }
      return payment;
    },
  });
}

function outcomeOf(payment: Payment): CloseOutcome {
  if (isPaid(payment.status)) return 'PAID';
  if (payment.status === 'CLOSED' || payment.status === 'CANCELED' || payment.status === 'FAILED') return 'CLOSED';
  return payment.status === 'UNKNOWN' || payment.status === 'REVIEW' ? 'IN_DOUBT' : 'CLOSE_AT_EXPIRY';
}

function notClosable(payment: Payment): DomainError {
  return new DomainError('PAYMENT_NOT_CLOSABLE', `a payment that is ${payment.status} cannot be closed`, {
    metadata: { payment_id: payment.id, status: payment.status },
  });
}

/** The intent stays recorded; the caller hears that nothing was closed yet. */
function refuseUnclosed(answer: CallOutcome<CloseReport>, payment: Payment): void {
  if (answer.kind === 'ACCEPTED' || answer.kind === 'UNKNOWN' || answer.kind === 'REJECTED') return;
  const metadata = { payment_id: payment.id, platform: payment.platform, platform_code: answer.code };
  if (answer.kind === 'MISCONFIGURED') {
    throw new DomainError('PLATFORM_REJECTED', `${payment.platform} refused the call as ${answer.code}`, { metadata });
  }
  throw new DomainError('PLATFORM_UNREACHABLE', `${payment.platform} could not be asked to close: ${answer.code}`, {
    metadata,
    retryAfterMs: 1_000,
  });
}
