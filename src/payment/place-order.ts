import { PLATFORM_CALL_MAX_MS, type Deps } from './deps.js';
import { DomainError } from './errors.js';
import { joinEvidence } from './join-evidence.js';
import type { Payment, PaymentId } from './payment.js';
import type { Act } from './payment-log.js';
import { isOpen } from './payment-status.js';
import type { CallOutcome, Checkout } from './platform.js';
import type { View } from '../store/unit-of-work.js';

/** Orders that this process is placing right now: concurrent repetitions of one request share one call. */
const placing = new Map<PaymentId, Promise<Payment>>();

interface Placing {
  /** Whether nobody can have sent this order before: not even a process that was killed before it could record the answer. */
  readonly isFirst: boolean;
}

/** Places the order of an initiated payment and records the outcome; safe to repeat, for the order number never changes. */
export function placeOrder(deps: Deps, payment: Payment, how: Placing): Promise<Payment> {
  const underWay = placing.get(payment.id);
  if (underWay !== undefined) return underWay;
  const placed = place(deps, payment, how).finally(() => placing.delete(payment.id));
  placing.set(payment.id, placed);
  return placed;
}

async function place(deps: Deps, payment: Payment, { isFirst }: Placing): Promise<Payment> {
  const adapter = deps.platforms.adapter(payment.platform, payment.merchantAccount);
  const at = deps.clock.now();
  const outcome = await adapter.create(
    {
      merchantOrderNo: payment.merchantOrderNo,
      platformOrderTime: payment.platformOrderTime,
      subject: payment.subject,
      amount: payment.money,
      checkout: payment.checkoutKind!,
      expireAt: payment.expireAt!,
      returnUrl: payment.returnUrl,
      buyerId: payment.buyerId,
      buyerIp: payment.buyerIp,
    },
    { at, signal: AbortSignal.timeout(PLATFORM_CALL_MAX_MS) },
  );

  const placed = await deps.work.run({
    payments: [payment.id],
    decide: (view) => {
      const locked = view.payment(payment.id);
      joinPlacing(view, locked, { outcome, at, isFirst }, view.act({ type: 'PLATFORM', id: locked.platform }));
      return locked;
    },
  });
  deps.wakeSync();
  refuseUnplaced(outcome, placed);
  return placed;
}

interface Placed extends Placing {
  readonly outcome: CallOutcome<Checkout>;
  readonly at: Date;
}

function joinPlacing(view: View, payment: Payment, { outcome, at, isFirst }: Placed, act: Act): void {
  const source = 'SYNC_REPLY';
  if (outcome.kind === 'ACCEPTED') {
    payment.storeCheckout(outcome.value, act.at);
    joinEvidence(view, payment, { evidence: { class: 'AWAITING_BUYER', at, word: 'ORDER_PLACED' }, source }, act);
    return;
  }

  // A first call that ended in doubt is asked about at once; repeated ones are the worker's, at the pace of its schedule.
  const isKnown = payment.facts.open !== undefined || !isOpen(payment.status);
  const askAbout = (): void => {
    if (!isKnown) view.syncDue(payment, act.at);
  };
  payment.recordCall({ reason: `placing the order: ${outcome.kind}`, error: outcome }, act);
  if (outcome.kind === 'UNKNOWN') {
    joinEvidence(view, payment, { evidence: { class: outcome.unmapped === true ? 'UNMAPPED' : 'INCONCLUSIVE', at, word: outcome.code }, source }, act);
    askAbout();
  }
  if (outcome.kind !== 'REJECTED') return;
  // A refusal of a repeated call may be the echo of a first one that succeeded; then only a query tells.
  if (outcome.meaning === 'FINAL' && isFirst && !isKnown) {
    joinEvidence(view, payment, { evidence: { class: 'NEGATIVE_FINAL', status: 'FAILED', at, word: outcome.code }, source }, act);
  } else if (outcome.meaning === 'MONEY_UNCLEAR') {
    joinEvidence(view, payment, { evidence: { class: 'MONEY_UNCLEAR', at, word: outcome.code }, source }, act);
  } else if (outcome.meaning !== 'CONFLICT') {
    askAbout();
  }
}

/** What the caller has to hear as an error: nothing was placed, and the same request may be sent again once the cause is gone. */
function refuseUnplaced(outcome: CallOutcome<Checkout>, payment: Payment): void {
  if (outcome.kind === 'ACCEPTED' || outcome.kind === 'UNKNOWN') return;
  const metadata = { payment_id: payment.id, platform: payment.platform, platform_code: outcome.code };

  switch (outcome.kind) {
    case 'REJECTED':
      if (outcome.meaning !== 'CONFLICT') return;
      throw new DomainError('ORDER_EXISTS', `${payment.platform} knows the order number with other parameters`, { metadata });
    case 'MISCONFIGURED':
      throw new DomainError('PLATFORM_REJECTED', `${payment.platform} refused the call as ${outcome.code}`, { metadata });
    case 'UNREACHABLE':
    case 'RATE_LIMITED':
      throw new DomainError('PLATFORM_UNREACHABLE', `${payment.platform} took no order: ${outcome.code}`, {
        metadata,
        retryAfterMs: 1_000,
      });
  }
}
