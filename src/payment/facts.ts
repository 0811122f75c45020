import type { ReviewReason } from './review-reason.js';
import type { Act } from './payment-log.js';
import type { NegativeStatus, OpenStatus, PaidStatus, PaymentStatus } from './payment-status.js';

/**
 * What is known about a payment, as facts that do not care in which order or how often they were learned, and the status that
 * follows from them. Every join is commutative, associative and idempotent in what `derive` looks at; that is the whole reason
 * why notifications, queries, bills and reports may arrive in any order and still end in the same status class and money.
 * (The kind of a negative answer alone is first come, first kept: FAILED, CLOSED and CANCELED are one class.)
 */
export interface Facts {
  /** The platform's number that the order was registered with: a payment under another one is not this payment. */
  readonly registeredId?: string;
  /** What the platform last said while undecided. */
  readonly open?: { readonly status: OpenStatus; readonly at: Date };
  readonly paid?: PaidFact;
  /** `notFound` marks the weaker kind: the platform does not know the order after its expiry and the margin. */
  readonly negative?: { readonly status: NegativeStatus; readonly at: Date; readonly notFound: boolean };
  readonly mismatch?: MismatchFact;
  /** The platform says that money may have moved. */
  readonly unclear?: { readonly at: Date };
  /** The platform confirmed a refund that is FAILED or CANCELED here, or denied one that SUCCEEDED here. */
  readonly refundContradiction?: { readonly at: Date; readonly refundId: string };
  /** The platform says that the money of an open refund may have moved otherwise than was asked. */
  readonly refundUnclear?: { readonly at: Date; readonly refundId: string };
  /** The sync schedule ended without an answer. */
  readonly exhausted?: { readonly at: Date };
  /** The largest sum that the platform ever named as refunded so far, in minor units. */
  readonly refundedTotal?: bigint;
  /** Refunds that the platform confirmed under numbers of somebody else, by these; those that are booked as rows are left out. */
  readonly refundsElsewhere?: Readonly<Record<string, RefundElsewhere>>;
  readonly resolution?: Resolution;
}

export interface RefundElsewhere {
  readonly amount: bigint;
  readonly platformRefundId: string | null;
  readonly at: Date;
}

export interface PaidFact {
  readonly amount: bigint;
  readonly currency: string;
  readonly transactionId: string;
  readonly at: Date;
  readonly source: EvidenceSource;
}

export interface MismatchFact {
  readonly reason: 'AMOUNT_MISMATCH' | 'IDENTITY_MISMATCH';
  readonly at: Date;
  readonly recorded: string;
  readonly seen: string;
}

/** An operator's or a policy's decision, and the facts it was made about. */
export interface Resolution {
  readonly decision: 'PAID' | NegativeStatus;
  readonly at: Date;
  readonly by: string;
  readonly covers: readonly string[];
}

/** Strongest first; where two values of one fact must be chosen, the stronger source wins. */
export const EVIDENCE_SOURCES = ['SETTLEMENT_BILL', 'QUERY', 'NOTIFICATION', 'SYNC_REPLY', 'REPORTED'] as const;
export type EvidenceSource = (typeof EVIDENCE_SOURCES)[number];

/** Sums over a payment's refund rows, in minor units. */
export interface RefundSums {
  /** Σ SUCCEEDED. */
  readonly refunded: bigint;
  /** Σ CREATED, SUBMITTED, UNKNOWN, ABNORMAL: every refund that is not final. */
  readonly reserved: bigint;
  /** The part of `reserved` that was sent, so that the platform may already count it. */
  readonly sent: bigint;
  /** Σ REVERSED: the platform's own sum may still contain it. */
  readonly reversed: bigint;
}

/** The refund rows of one payment, as far as the payment has to know them. */
export interface RefundBook {
  sums(): RefundSums;
  /** Books money that was refunded elsewhere as a row of its own, under the platform's number where that is known. */
  bookExternal(refund: Partial<RefundElsewhere> & { readonly amount: bigint; readonly platformRefundNo?: string }, act: Act): void;
}

export interface Derived {
  readonly status: PaymentStatus;
  readonly reviewReason: ReviewReason | null;
}

export const NO_FACTS: Facts = {};

/** The status that the facts imply; the first rule that matches wins. */
export function derive(facts: Facts, refunds: RefundSums): Derived {
  const { paid, negative, resolution } = facts;

  if (resolution !== undefined && isResolved(facts)) {
    if (resolution.decision !== 'PAID') return settled(resolution.decision);
    return externalRefund(facts, refunds) ?? settled(paidStatus(paidAmount(facts), refunds.refunded));
  }

  if (facts.mismatch !== undefined) return review(facts.mismatch.reason);

  if (paid !== undefined && negative !== undefined) {
    if (negative.at <= paid.at) return review('LATE_SUCCESS');
    // "Not found" after the payment is no statement about it; a definite negative is.
    if (!negative.notFound) return review('CONTRADICTION');
  }

  if (facts.refundContradiction !== undefined) return review('REFUND_CONTRADICTION');
  if (facts.refundUnclear !== undefined) return review('MONEY_UNCLEAR');
  const external = externalRefund(facts, refunds);
  if (external !== null) return external;
  if (facts.unclear !== undefined && paid === undefined) return review('MONEY_UNCLEAR');
  if (paid !== undefined) return settled(paidStatus(paid.amount, refunds.refunded));
  if (negative !== undefined) return settled(negative.status);
  if (facts.exhausted !== undefined && !(facts.open !== undefined && facts.open.at > facts.exhausted.at)) {
    return review('SYNC_EXHAUSTED');
  }
  return settled(facts.open?.status ?? 'PENDING');
}

/** Whether a decision covers every decisive fact; one that it did not see opens the question again. */
export function isResolved(facts: Facts): boolean {
  const { resolution } = facts;
  return resolution !== undefined && decisiveFacts(facts).every((fact) => resolution.covers.includes(fact));
}

/** What was paid, in minor units; zero when nothing was. */
export function paidAmount(facts: Facts): bigint {
  return facts.paid?.amount ?? 0n;
}

/** Money refunded elsewhere: what the platform counts as refunded, or names one by one, beyond anything that a refund row can explain. */
export function externalUnallocated(facts: Facts, refunds: RefundSums): bigint {
  return uncounted(facts, refunds) + named(facts);
}

/** The part of it that is known from the platform's sum alone. */
export function uncounted(facts: Facts, refunds: RefundSums): bigint {
  const unexplained = (facts.refundedTotal ?? 0n) - named(facts) - refunds.refunded - refunds.sent - refunds.reversed;
  return unexplained > 0n ? unexplained : 0n;
}

const named = ({ refundsElsewhere = {} }: Facts): bigint => Object.values(refundsElsewhere).reduce((sum, { amount }) => sum + amount, 0n);

/** Names of the facts that a resolution has to cover to hold; a fact with another content has another name. */
export function decisiveFacts(facts: Facts): string[] {
  const names: string[] = [];
  if (facts.paid !== undefined) names.push(`paid:${facts.paid.transactionId}`);
  if (facts.negative !== undefined) names.push('negative');
  if (facts.mismatch !== undefined) names.push(`mismatch:${facts.mismatch.reason}:${facts.mismatch.seen}`);
  if (facts.unclear !== undefined) names.push('unclear');
  if (facts.refundContradiction !== undefined) names.push(`refund-contradiction:${facts.refundContradiction.refundId}`);
  if (facts.refundUnclear !== undefined) names.push(`refund-unclear:${facts.refundUnclear.refundId}`);
  if (facts.exhausted !== undefined) names.push('exhausted');
  return names;
}

/** Whether nothing but the time has changed at which the platform said the same of an undecided payment. */
export function sayTheSame(before: Facts, after: Facts): boolean {
  if (before === after) return true;
  const { open: known, ...rest } = before;
  const { open: heard, ...others } = after;
  const names = new Set([...Object.keys(rest), ...Object.keys(others)]) as Set<keyof typeof rest>;
  return known?.status === heard?.status && [...names].every((name) => rest[name] === others[name]);
}

const OPEN_ORDER: Record<OpenStatus, number> = { UNKNOWN: 0, PENDING: 1, PROCESSING: 2 };

export function joinOpen(facts: Facts, open: NonNullable<Facts['open']>): Facts {
  const known = facts.open;
  if (known !== undefined) {
    if (known.at > open.at) return facts;
    if (+known.at === +open.at && OPEN_ORDER[known.status] >= OPEN_ORDER[open.status]) return facts;
  }
  return { ...facts, open };
}

/** Keeps the earliest payment; a second transaction is an identity mismatch that names the other one. */
export function joinPaid(facts: Facts, paid: PaidFact): Facts {
  const known = facts.paid;
  if (known === undefined) return { ...facts, paid };

  const [first, second] = comparePaid(known, paid) <= 0 ? [known, paid] : [paid, known];
  const joined = first === known ? facts : { ...facts, paid: first };
  if (first.transactionId === second.transactionId && first.amount === second.amount) return joined;
  return joinMismatch(joined, {
    reason: first.transactionId === second.transactionId ? 'AMOUNT_MISMATCH' : 'IDENTITY_MISMATCH',
    at: second.at,
    recorded: `${first.transactionId} ${first.amount} ${first.currency}`,
    seen: `${second.transactionId} ${second.amount} ${second.currency}`,
  });
}

export function joinNegative(facts: Facts, negative: NonNullable<Facts['negative']>): Facts {
  const known = facts.negative;
  if (known === undefined) return { ...facts, negative };
  const at = known.at <= negative.at ? known.at : negative.at;
  const notFound = known.notFound && negative.notFound;
  if (at === known.at && notFound === known.notFound) return facts;
  return { ...facts, negative: { status: known.status, at, notFound } };
}

export function joinMismatch(facts: Facts, mismatch: MismatchFact): Facts {
  const known = facts.mismatch;
  if (known !== undefined && compareMismatch(known, mismatch) <= 0) return facts;
  return { ...facts, mismatch };
}

export function joinUnclear(facts: Facts, at: Date): Facts {
  return facts.unclear !== undefined && facts.unclear.at <= at ? facts : { ...facts, unclear: { at } };
}

export function joinRefundContradiction(facts: Facts, contradiction: NonNullable<Facts['refundContradiction']>): Facts {
  const known = facts.refundContradiction;
  if (known !== undefined) {
    if (known.at < contradiction.at) return facts;
    if (+known.at === +contradiction.at && known.refundId <= contradiction.refundId) return facts;
  }
  return { ...facts, refundContradiction: contradiction };
}

export function joinRefundUnclear(facts: Facts, unclear: NonNullable<Facts['refundUnclear']>): Facts {
  return facts.refundUnclear !== undefined && facts.refundUnclear.at <= unclear.at ? facts : { ...facts, refundUnclear: unclear };
}

export function withoutRefundUnclear({ refundUnclear: _ended, ...facts }: Facts): Facts {
  return facts;
}

/** A number is one refund, however often it is named. */
export function joinRefundElsewhere(facts: Facts, platformRefundNo: string, refund: RefundElsewhere): Facts {
  if (facts.refundsElsewhere?.[platformRefundNo] !== undefined) return facts;
  return { ...facts, refundsElsewhere: { ...facts.refundsElsewhere, [platformRefundNo]: refund } };
}

export function withoutRefundElsewhere({ refundsElsewhere = {}, ...facts }: Facts, platformRefundNo: string): Facts {
  const { [platformRefundNo]: _booked, ...rest } = refundsElsewhere;
  return Object.keys(rest).length === 0 ? facts : { ...facts, refundsElsewhere: rest };
}

export function joinRefundedTotal(facts: Facts, refundedTotal: bigint): Facts {
  return refundedTotal > (facts.refundedTotal ?? 0n) ? { ...facts, refundedTotal } : facts;
}

export function joinExhausted(facts: Facts, at: Date): Facts {
  return facts.exhausted !== undefined && facts.exhausted.at >= at ? facts : { ...facts, exhausted: { at } };
}

export function joinResolution(facts: Facts, resolution: Resolution): Facts {
  return facts.resolution !== undefined && facts.resolution.at > resolution.at ? facts : { ...facts, resolution };
}

/** A decision about everything that is known now. */
export function resolutionOf(facts: Facts, decision: Resolution['decision'], by: string, at: Date): Resolution {
  return { decision, by, at, covers: decisiveFacts(facts) };
}

function externalRefund(facts: Facts, refunds: RefundSums): Derived | null {
  return refunds.reserved === 0n && externalUnallocated(facts, refunds) > 0n ? review('EXTERNAL_REFUND') : null;
}

function paidStatus(paid: bigint, refunded: bigint): PaidStatus {
  if (refunded === 0n) return 'SUCCEEDED';
  return refunded < paid ? 'PARTIALLY_REFUNDED' : 'REFUNDED';
}

const settled = (status: PaymentStatus): Derived => ({ status, reviewReason: null });
const review = (reviewReason: ReviewReason): Derived => ({ status: 'REVIEW', reviewReason });

const rank = (source: EvidenceSource): number => EVIDENCE_SOURCES.indexOf(source);

function comparePaid(a: PaidFact, b: PaidFact): number {
  return (
    +a.at - +b.at ||
    rank(a.source) - rank(b.source) ||
    compareText(a.transactionId, b.transactionId) ||
    compareText(a.amount.toString(), b.amount.toString())
  );
}

function compareMismatch(a: MismatchFact, b: MismatchFact): number {
  return +a.at - +b.at || compareText(a.reason, b.reason) || compareText(a.seen, b.seen) || compareText(a.recorded, b.recorded);
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
