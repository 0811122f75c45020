/** Why a payment is where it is: what is known, the rule that made its status of it, what comes next and what a person could do. */
import type { Deps } from './deps.js';
import { EVIDENCE_SOURCES, isResolved, type EvidenceSource, type Facts } from './facts.js';
import { findPayment, nextSyncOf, type PaymentRef } from './get-payment.js';
import type { Payment } from './payment.js';
import { isSettled, type PaymentStatus } from './payment-status.js';
import type { ReviewReason } from './review-reason.js';

export interface KnownFact {
  readonly name: string;
  readonly text: string;
  readonly source: EvidenceSource | null;
  readonly at: Date | null;
}

/** What one source said last that was new. */
export interface LastWord {
  readonly source: EvidenceSource;
  /** 1 is the strongest; the stronger one wins where two values of one fact must be chosen between. */
  readonly rank: number;
  readonly text: string;
  readonly logSeq: number;
  readonly occurredAt: Date | null;
  readonly recordedAt: Date;
}

export interface Explanation {
  readonly payment: Payment;
  readonly rule: string;
  readonly facts: readonly KnownFact[];
  /** Strongest source first. */
  readonly evidence: readonly LastWord[];
  /** The last question to the platform, answered or not. */
  readonly lastQueryAt: Date | null;
  readonly lastNotificationAt: Date | null;
  readonly nextSyncAt: Date | null;
  /** What keeps it from settling; empty when it is settled. */
  readonly blockedBy: string;
  /** Empty when nobody needs to do anything. */
  readonly suggestedAct: string;
  readonly unmappedWords: readonly string[];
}

const UNMAPPED_MAX = 20;

export async function explainPayment(deps: Pick<Deps, 'orm' | 'platforms' | 'clock'>, ref: PaymentRef): Promise<Explanation> {
  const payment = await findPayment(deps, ref);
  const { lastQueryAt, lastNotificationAt, unmappedWords } = await readTraces(deps, payment);
  const adapter = deps.platforms.find(payment.platform, payment.merchantAccount);
  const situation: Situation = {
    payment,
    unmappedWords,
    isConfigured: adapter !== undefined,
    isHeldBack: adapter?.openCircuits?.includes('query') ?? false,
    now: deps.clock.now(),
  };
  return {
    payment,
    rule: ruleOf(payment),
    facts: knownFacts(payment.facts, payment.currency),
    evidence: await lastWords(deps, payment),
    lastQueryAt,
    lastNotificationAt,
    nextSyncAt: await nextSyncOf(deps, payment),
    blockedBy: blockedBy(situation),
    suggestedAct: suggestedAct(situation),
    unmappedWords,
  };
}

async function lastWords(deps: Pick<Deps, 'orm'>, { id }: Payment): Promise<LastWord[]> {
  const rows = await deps.orm.em.fork().execute<{ source: EvidenceSource; reason: string; seq: number; occurred: string | null; recorded: string }[]>(
    `select distinct on (source) source, reason, seq, occurred_at::text as occurred, recorded_at::text as recorded
       from payment_log where payment_id = ? and source is not null order by source, seq desc`,
    [id],
  );
  return rows
    .map(({ source, reason, seq, occurred, recorded }) => ({
      source,
      rank: EVIDENCE_SOURCES.indexOf(source) + 1,
      text: reason,
      logSeq: seq,
      occurredAt: occurred === null ? null : new Date(occurred),
      recordedAt: new Date(recorded),
    }))
    .sort((a, b) => a.rank - b.rank);
}

/** What the log and the schedule tell; answers of queries that repeat what was known leave their time there or on the payment alone. */
async function readTraces(deps: Pick<Deps, 'orm'>, payment: Payment): Promise<{ lastQueryAt: Date | null; lastNotificationAt: Date | null; unmappedWords: string[] }> {
  const em = deps.orm.em.fork();
  const [times] = await em.execute<[{ queried: string | null; notified: string | null; asked: string | null }]>(
    `select max(recorded_at) filter (where source = 'QUERY' or (kind = 'PLATFORM_CALL' and reason like 'query:%'))::text as queried,
            max(recorded_at) filter (where source = 'NOTIFICATION')::text as notified,
            (select asked_at::text from payment_sync where payment_id = ?) as asked
       from payment_log where payment_id = ?`,
    [payment.id, payment.id],
  );
  const words = await em.execute<{ word: string }[]>(
    `select evidence ->> 'word' as word from payment_log where payment_id = ? and evidence ->> 'class' = 'UNMAPPED'
      group by 1 order by max(seq) desc limit ${UNMAPPED_MAX}`,
    [payment.id],
  );
  const verified = payment.lastEvidenceSource === 'QUERY' ? payment.lastVerifiedAt : null;
  const queried = [times.queried, times.asked].flatMap((at) => (at === null ? [] : [Date.parse(at)]));
  const lastQuery = Math.max(...queried, verified?.getTime() ?? -Infinity);
  return {
    lastQueryAt: Number.isFinite(lastQuery) ? new Date(lastQuery) : null,
    lastNotificationAt: times.notified === null ? null : new Date(times.notified),
    unmappedWords: words.map(({ word }) => word),
  };
}

function ruleOf(payment: Payment): string {
  const { facts, status, reviewReason } = payment;
  if (facts.resolution !== undefined && isResolved(facts)) {
    return `${facts.resolution.by} decided ${facts.resolution.decision}, and the decision covers everything that is known`;
  }
  return status === 'REVIEW' ? REVIEW_RULES[reviewReason!] : STATUS_RULES[status];
}

const REVIEW_RULES: Record<ReviewReason, string> = {
  AMOUNT_MISMATCH: 'the platform names another amount or currency than is recorded; both are kept and neither is taken for true',
  IDENTITY_MISMATCH: 'the platform names another merchant, or a second transaction for this order; both are kept',
  CONTRADICTION: 'it was paid, and the platform said later that it was not',
  LATE_SUCCESS: 'it was paid after it had ended unpaid',
  EXTERNAL_REFUND: 'more was refunded at the platform than the refunds recorded here explain',
  REFUND_CONTRADICTION: 'the platform contradicts what is recorded about a refund',
  MONEY_UNCLEAR: 'the platform says that money may have moved and not whether it has',
  SYNC_EXHAUSTED: 'the platform was asked until the schedule ended and gave no decisive answer',
};

const STATUS_RULES: Record<Exclude<PaymentStatus, 'REVIEW'>, string> = {
  PENDING: 'nothing decisive is known; the platform awaits the buyer, or is not known to have the order yet',
  PROCESSING: 'the platform says that the payment is under way',
  UNKNOWN: 'an act of ours is in doubt, or the platform used a word that has no mapping',
  SUCCEEDED: 'the platform confirmed the payment; amount, currency, merchant and order match',
  PARTIALLY_REFUNDED: 'it was paid, and a part of it was refunded',
  REFUNDED: 'it was paid, and all of it was refunded',
  FAILED: 'the platform gave a definite negative answer, and nothing says that it was paid',
  CLOSED: 'it was never paid, and its end is confirmed at the platform',
  CANCELED: 'it was revoked before anybody paid',
};

function knownFacts({ open, paid, negative, mismatch, unclear, refundContradiction, refundUnclear, exhausted, refundedTotal, refundsElsewhere = {}, resolution }: Facts, currency: string): KnownFact[] {
  const known: KnownFact[] = [];
  const add = (name: string, text: string, at: Date | null, source: EvidenceSource | null = null): number => known.push({ name, text, at, source });

  if (open !== undefined) add('open', `undecided: ${open.status}`, open.at);
  if (paid !== undefined) add('paid', `${paid.amount} ${paid.currency} as ${paid.transactionId}`, paid.at, paid.source);
  if (negative !== undefined) add('negative', negative.notFound ? `${negative.status}: the platform does not know the order` : negative.status, negative.at);
  if (mismatch !== undefined) add('mismatch', `${mismatch.reason}: recorded ${mismatch.recorded}, seen ${mismatch.seen}`, mismatch.at);
  if (unclear !== undefined) add('unclear', 'money may have moved', unclear.at);
  if (refundContradiction !== undefined) add('refund_contradiction', `about refund ${refundContradiction.refundId}`, refundContradiction.at);
  if (refundUnclear !== undefined) add('refund_unclear', `the money of refund ${refundUnclear.refundId} may have moved`, refundUnclear.at);
  if (exhausted !== undefined) add('exhausted', 'the schedule of queries ended', exhausted.at);
  if (refundedTotal !== undefined) add('refunded_total', `the platform has named ${refundedTotal} ${currency} as refunded`, null);
  for (const [number, { amount }] of Object.entries(refundsElsewhere)) add('refund_elsewhere', `${amount} ${currency} as ${number}, for which there is no room`, null);
  if (resolution !== undefined) add('resolution', `${resolution.decision} by ${resolution.by}`, resolution.at);
  return known;
}

interface Situation {
  readonly payment: Payment;
  readonly unmappedWords: readonly string[];
  readonly isConfigured: boolean;
  /** This replica leaves the platform's queries alone for a while. */
  readonly isHeldBack: boolean;
  readonly now: Date;
}

function blockedBy(situation: Situation): string {
  const { payment, isConfigured, isHeldBack } = situation;
  const { status, platform, merchantAccount, queryFailure } = payment;
  if (isSettled(status)) return '';
  if (!isConfigured) return `no account ${merchantAccount} of ${platform} is configured here, so nobody can ask`;
  const causes = [guardThatBlocks(situation)];
  if (queryFailure !== null) causes.push(`the last query told nothing (${queryFailure})`);
  if (isHeldBack) causes.push('queries are held back for a while, since the platform has not answered them lately');
  return causes.join('; ');
}

function guardThatBlocks({ payment, unmappedWords, now }: Situation): string {
  const { status, expireAt } = payment;
  switch (status) {
    case 'REVIEW':
      return REVIEW_RULES[payment.reviewReason!];
    case 'UNKNOWN':
      return unmappedWords.length === 0 ? 'the outcome of a call to the platform is in doubt' : `nobody has mapped what the platform says: ${unmappedWords.join(', ')}`;
    case 'PROCESSING':
      return 'the platform has not decided yet';
    default:
      if (!payment.isExpired(now)) return 'the buyer has not paid yet';
      return `it expired at ${expireAt!.toISOString()}, and the platform has not confirmed yet that it was never paid`;
  }
}

const REVIEW_ACTS: Record<ReviewReason, string> = {
  AMOUNT_MISMATCH: 'compare both values at the platform, then ResolveReview',
  IDENTITY_MISMATCH: 'find out whose the other transaction is, then ResolveReview',
  CONTRADICTION: 'look the order up in the platform\'s console, then ResolveReview',
  LATE_SUCCESS: 'deliver and ResolveReview as PAID, or give the money back',
  EXTERNAL_REFUND: 'find the refund at the platform, then RecordExternalRefund',
  REFUND_CONTRADICTION: 'look the refund up at the platform, then ResolveRefund or RecordExternalRefund',
  MONEY_UNCLEAR: 'wait for the settlement bill, or look the order up at the platform, then ResolveReview',
  SYNC_EXHAUSTED: 'SyncPayments once the platform answers again; look the order up there if it does not',
};

function suggestedAct({ payment, unmappedWords, isConfigured }: Situation): string {
  if (isSettled(payment.status)) return '';
  if (!isConfigured) return 'configure the account in PAYSTATE_PLATFORMS';
  if (payment.status === 'REVIEW') return REVIEW_ACTS[payment.reviewReason!];
  if (unmappedWords.length > 0) return 'look up what the platform means and have its word mapped, then SyncPayments';
  return '';
}
