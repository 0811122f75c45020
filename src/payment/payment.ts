/**
 * A payment and the verbs that move it. This is the only file that assigns a payment's status: every verb joins facts and
 * `settle` derives the status from them, walks the legal edges and writes one log entry per version.
 */
import { defineEntity, p } from '@mikro-orm/postgresql';
import { DomainError } from './errors.js';
import {
  derive,
  externalUnallocated,
  joinExhausted,
  joinMismatch,
  joinNegative,
  joinOpen,
  joinPaid,
  joinRefundContradiction,
  joinRefundedTotal,
  joinRefundElsewhere,
  joinRefundUnclear,
  joinResolution,
  joinUnclear,
  NO_FACTS,
  paidAmount,
  resolutionOf,
  sayTheSame,
  uncounted,
  withoutRefundElsewhere,
  withoutRefundUnclear,
  type EvidenceSource,
  type Facts,
  type RefundBook,
  type RefundElsewhere,
  type Resolution,
} from './facts.js';
import { FactsType } from './facts-type.js';
import type { Money } from './money.js';
import { hashOf, PaymentLogEntry, type Act, type LogText } from './payment-log.js';
import {
  isLegalTransition,
  isOpen,
  isPaid,
  legalPath,
  PAYMENT_TRANSITIONS,
  type PaymentStatus,
} from './payment-status.js';
import type { Checkout, CheckoutKind, OrderIdentity, PaidEvidence, PaymentEvidence, PlatformName } from './platform.js';
import type { ReviewReason } from './review-reason.js';

export type PaymentId = string & { readonly brand?: 'PaymentId' };
export type PaymentOrigin = 'INITIATED' | 'REGISTERED';
/** DEFECTIVE_SUCCESS: paid, with a defect on the platform's side that its settlement bill may correct. */
export type PaymentFlag = 'DUPLICATE_PAYMENT' | 'DEFECTIVE_SUCCESS';

/** What evidence did: APPLIED, DUPLICATE (facts unchanged), STALE (recorded, nothing visible changed), CONFLICT (now in REVIEW). */
export type ApplyOutcome = 'APPLIED' | 'DUPLICATE' | 'STALE' | 'CONFLICT';

/** An unknown order may still appear at the platform this long after its expiry. */
export const NOT_FOUND_MARGIN_MS = 10 * 60_000;

const schema = defineEntity({
  name: 'Payment',
  tableName: 'payment',
  properties: {
    id: p.uuid().primary(),
    appId: p.text(),
    orderId: p.text(),
    userId: p.text(),
    platform: p.text().$type<PlatformName>(),
    merchantAccount: p.text(),
    merchantOrderNo: p.text(),
    platformOrderTime: p.text(),
    platformTransactionId: p.text().strictNullable(),
    origin: p.text().$type<PaymentOrigin>(),
    subject: p.text(),
    metadata: p.json<Readonly<Record<string, string>>>(),
    amount: p.bigint(),
    currency: p.text(),
    paidAmount: p.bigint(),
    refundedAmount: p.bigint(),
    reservedAmount: p.bigint(),
    externalUnallocated: p.bigint(),
    refundAllowed: p.boolean(),
    status: p.text().$type<PaymentStatus>(),
    reviewReason: p.text().$type<ReviewReason>().strictNullable(),
    flags: p.array().$type<PaymentFlag[]>(),
    version: p.integer(),
    facts: p.type(FactsType).$type<Facts>(),
    platformStatus: p.text().strictNullable(),
    checkoutKind: p.text().$type<CheckoutKind>().strictNullable(),
    checkout: p.json<Checkout>().strictNullable(),
    returnUrl: p.text().strictNullable(),
    buyerId: p.text().strictNullable(),
    buyerIp: p.text().strictNullable(),
    closeRequestedAt: p.datetime(3).strictNullable(),
    expireAt: p.datetime(3).strictNullable(),
    paidAt: p.datetime(3).strictNullable(),
    createdAt: p.datetime(3),
    updatedAt: p.datetime(3),
    lastVerifiedAt: p.datetime(3).strictNullable(),
    lastEvidenceSource: p.text().$type<EvidenceSource>().strictNullable(),
    /** Why the last query failed; null once one was answered. */
    queryFailure: p.text().strictNullable(),
    logSeq: p.integer(),
    logHash: p.text().strictNullable(),
  },
});

export interface NewPayment {
  readonly id: PaymentId;
  readonly appId: string;
  readonly orderId: string;
  readonly userId: string;
  readonly platform: PlatformName;
  readonly merchantAccount: string;
  readonly merchantOrderNo: string;
  readonly platformOrderTime: string;
  readonly platformTransactionId: string | null;
  readonly origin: PaymentOrigin;
  readonly subject: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly amount: Money;
  readonly checkoutKind: CheckoutKind | null;
  readonly returnUrl: string | null;
  readonly buyerId: string | null;
  readonly buyerIp: string | null;
  readonly expireAt: Date | null;
}

/** A status that a trusted reporter knows, with what a success needs. */
export interface Report {
  readonly status: PaymentStatus;
  readonly reason: string;
  readonly at: Date;
  readonly paid: { readonly amount: Money; readonly transactionId: string } | null;
}

/** What an operator or a policy makes of a payment in review. */
export interface Decision {
  readonly decision: Resolution['decision'];
  readonly by: string;
  readonly reason: string;
  /** Where it can be looked up, such as a ticket; empty for a policy. */
  readonly proof: string;
  /** The payment that is meant by PAID, where no evidence has brought one. */
  readonly paid: { readonly amount: bigint; readonly currency: string; readonly transactionId: string } | null;
}

export class Payment extends schema.class {
  /** When the worker looks at it next by itself, null for never; undefined where the unit of work that it comes from did not touch that. */
  nextSyncAt: Date | null | undefined;

  static create(fields: NewPayment, act: Act): Payment {
    const { amount, ...rest } = fields;
    const payment = Object.assign(new Payment(), rest, {
      amount: amount.minorUnits,
      currency: amount.currency,
      paidAmount: 0n,
      refundedAmount: 0n,
      reservedAmount: 0n,
      externalUnallocated: 0n,
      refundAllowed: true,
      status: 'PENDING',
      reviewReason: null,
      flags: [],
      version: 1,
      facts: fields.platformTransactionId === null ? NO_FACTS : { registeredId: fields.platformTransactionId },
      platformStatus: null,
      checkout: null,
      closeRequestedAt: null,
      paidAt: null,
      createdAt: act.at,
      updatedAt: act.at,
      lastVerifiedAt: null,
      lastEvidenceSource: null,
      queryFailure: null,
      logSeq: 0,
      logHash: null,
    } satisfies Partial<Payment>);
    payment.append(act, { kind: 'CREATED', reason: `${fields.origin.toLowerCase()} payment` }, { from: null, versioned: true });
    return payment;
  }

  get money(): Money {
    return { currency: this.currency, minorUnits: this.amount };
  }

  get identity(): OrderIdentity {
    return {
      merchantOrderNo: this.merchantOrderNo,
      platformOrderTime: this.platformOrderTime,
      platformTransactionId: this.platformTransactionId,
    };
  }

  /** What may still be refunded, in minor units. */
  get refundableAmount(): bigint {
    const free = this.paidAmount - this.refundedAmount - this.reservedAmount - this.externalUnallocated;
    return this.refundAllowed && free > 0n ? free : 0n;
  }

  isExpired(at: Date, marginMs = 0): boolean {
    return this.expireAt !== null && at.getTime() > this.expireAt.getTime() + marginMs;
  }

  /** Joins what a platform said; authenticated input only. */
  joinEvidence(evidence: PaymentEvidence, source: EvidenceSource, refunds: RefundBook, act: Act): ApplyOutcome {
    const facts = this.withEvidence(evidence, source);
    const text: LogText = {
      kind: 'EVIDENCE',
      source,
      reason: `platform says ${evidence.word}`,
      occurredAt: evidence.at,
      evidence: masked(evidence),
    };

    const isSameWord = this.platformStatus === evidence.word;
    this.platformStatus = evidence.word;
    this.lastEvidenceSource = source;
    if (source === 'QUERY') this.queryFailure = null;
    if (source === 'QUERY' || source === 'NOTIFICATION' || source === 'SETTLEMENT_BILL') this.lastVerifiedAt = act.at;
    if (evidence.class === 'PAID' && !evidence.refundable) this.endRefunds();
    const outcome = this.join(facts, refunds, act, { ...text, isRepetition: source === 'QUERY' && isSameWord && sayTheSame(this.facts, facts) });
    if (evidence.class === 'PAID' && evidence.defective === true) this.flag('DEFECTIVE_SUCCESS', `platform says ${evidence.word}`, act);
    return outcome;
  }

  /** Applies the word of a trusted reporter to a registered payment, along legal edges only. */
  report(report: Report, refunds: RefundBook, act: Act): ApplyOutcome {
    const facts = this.withReport(report);
    if (report.status === this.status && facts === this.facts) return this.join(facts, refunds, act, reportText(report));

    const allowed = reportableFrom(this.status);
    if (!allowed.includes(report.status)) {
      throw this.refusal(act, `report ${report.status}`, illegalTransition(this.status, report.status, allowed));
    }
    this.lastEvidenceSource = 'REPORTED';
    return this.join(facts, refunds, act, reportText(report));
  }

  /** Records a caller's word that is not believed as such; a query will tell. */
  claim(report: Report, act: Act): void {
    this.append(act, {
      ...reportText(report),
      kind: 'CLAIM',
      source: null,
      evidence: { ...reportText(report).evidence, claimed_status: report.status },
    });
  }

  /** The schedule of queries ended without an answer. */
  exhaust(refunds: RefundBook, act: Act): ApplyOutcome {
    return this.join(joinExhausted(this.facts, act.at), refunds, act, { kind: 'EVIDENCE', reason: 'sync schedule exhausted' });
  }

  /** An operator's or policy's decision about every fact that is known now, and about a payment that only the operator knows. */
  resolve(made: Decision, refunds: RefundBook, act: Act): ApplyOutcome {
    const { decision, by, reason, proof, paid } = made;
    const known = paid === null ? this.facts : joinPaid(this.facts, { ...paid, at: act.at, source: 'REPORTED' });
    const facts = joinResolution(known, resolutionOf(known, decision, by, act.at));
    return this.join(facts, refunds, act, { kind: 'EVIDENCE', reason, evidence: { decision, decided_by: by, ...(proof === '' ? {} : { proof }) } });
  }

  /** The platform contradicts what is recorded about one refund. */
  contradictRefund(refundId: string, reason: string, refunds: RefundBook, act: Act): ApplyOutcome {
    const facts = joinRefundContradiction(this.facts, { at: act.at, refundId });
    return this.join(facts, refunds, act, { kind: 'EVIDENCE', refundId, reason });
  }

  /** The money of an open refund may have moved otherwise than was asked. */
  unclearRefund(refundId: string, report: { at: Date; word: string }, refunds: RefundBook, act: Act): ApplyOutcome {
    const facts = joinRefundUnclear(this.facts, { at: report.at, refundId });
    return this.join(facts, refunds, act, { kind: 'EVIDENCE', refundId, reason: `platform says ${report.word}`, occurredAt: report.at });
  }

  /** What was unclear about a refund has been settled; seen with the next settling. */
  clearRefund(refundId: string): void {
    if (this.facts.refundUnclear?.refundId === refundId) this.facts = withoutRefundUnclear(this.facts);
  }

  /** The platform confirmed a refund under a number that nobody here knows: money returned elsewhere. */
  joinRefundElsewhere(platformRefundNo: string, refund: RefundElsewhere, source: EvidenceSource, refunds: RefundBook, act: Act): ApplyOutcome {
    const { amount, platformRefundId, at } = refund;
    return this.join(joinRefundElsewhere(this.facts, platformRefundNo, { amount, platformRefundId, at }), refunds, act, {
      kind: 'EVIDENCE',
      source,
      reason: 'refunded elsewhere',
      occurredAt: at,
      evidence: { amount: `${amount} ${this.currency}`, platform_refund_no: platformRefundNo },
    });
  }

  /** A refund was confirmed with another amount than was asked for. */
  mismatchRefund(refundId: string, recorded: bigint, seen: bigint, refunds: RefundBook, act: Act): ApplyOutcome {
    const facts = joinMismatch(this.facts, {
      reason: 'AMOUNT_MISMATCH',
      at: act.at,
      recorded: `refund ${refundId} ${recorded} ${this.currency}`,
      seen: `refund ${refundId} ${seen} ${this.currency}`,
    });
    return this.join(facts, refunds, act, { kind: 'EVIDENCE', refundId, reason: 'refund confirmed with another amount' });
  }

  /** Brings amounts and status up to date after a refund row changed. Returns whether the visible payment changed. */
  settleRefunds(refunds: RefundBook, act: Act, text: LogText): boolean {
    return this.settle(refunds, act, text);
  }

  /** The platform refuses every further refund of it; what is under way goes on. */
  endRefunds(): void {
    this.refundAllowed = false;
  }

  /** Something about the payment that changed nothing visible. */
  note(act: Act, text: LogText): void {
    this.append(act, text);
  }

  storeCheckout(checkout: Checkout, at: Date): void {
    this.checkout = checkout;
    this.updatedAt = at;
  }

  requestClose(reason: string, act: Act): void {
    this.closeRequestedAt ??= act.at;
    this.append(act, { kind: 'CLOSE_REQUESTED', reason });
  }

  /** A call to the platform that told nothing about the payment. */
  recordCall(text: Omit<LogText, 'kind'>, act: Act): void {
    this.append(act, { ...text, kind: 'PLATFORM_CALL' });
  }

  /** A query that told nothing. The log has the first of a row of equal failures: an outage of hours must not bury the story. */
  queryFailed({ kind, code, message }: { kind: string; code: string; message: string }, act: Act): void {
    if (this.queryFailure === code) return;
    this.queryFailure = code;
    this.recordCall({ reason: `query: ${kind}`, error: { code, message } }, act);
  }

  flagDuplicate(act: Act): void {
    this.flag('DUPLICATE_PAYMENT', `order ${this.orderId} of ${this.appId} was already paid by another payment`, act);
  }

  private flag(flag: PaymentFlag, reason: string, act: Act): void {
    if (this.flags.includes(flag)) return;
    this.flags = [...this.flags, flag];
    this.version += 1;
    this.updatedAt = act.at;
    this.append(act, { kind: 'PAYMENT_CHANGED', reason }, { from: this.status, versioned: true });
  }

  /** Leaves the refused act in the log and gives the error back for its caller. */
  refusal(act: Act, what: string, error: DomainError): DomainError {
    this.append(act, { kind: 'REFUSED', reason: what, error: { code: error.reason, message: error.message } });
    return error;
  }

  requireVersion(expected: number | null, act: Act, what: string): void {
    if (expected === null || expected === this.version) return;
    throw this.refusal(
      act,
      what,
      new DomainError('VERSION_MISMATCH', `payment ${this.id} is at version ${this.version}, not ${expected}`, {
        metadata: { payment_id: this.id, current: `${this.version}`, expected: `${expected}` },
      }),
    );
  }

  private withEvidence(evidence: PaymentEvidence, source: EvidenceSource): Facts {
    const { facts } = this;
    switch (evidence.class) {
      case 'AWAITING_BUYER':
        return joinOpen(facts, { status: 'PENDING', at: evidence.at });
      case 'IN_PROGRESS':
        return joinOpen(facts, { status: 'PROCESSING', at: evidence.at });
      case 'INCONCLUSIVE':
        // A failed query proves nothing; only an act of ours leaves a doubt.
        return source === 'QUERY' ? facts : joinOpen(facts, { status: 'UNKNOWN', at: evidence.at });
      case 'UNMAPPED':
        return joinOpen(facts, { status: 'UNKNOWN', at: evidence.at });
      case 'PAID':
        return this.withPaid({ ...evidence, at: evidence.at, source });
      case 'NEGATIVE_FINAL':
        return joinNegative(facts, { status: evidence.status, at: evidence.at, notFound: false });
      case 'MONEY_UNCLEAR':
        return joinUnclear(facts, evidence.at);
      case 'ATTEMPT_FAILED':
        if (!this.isExpired(evidence.at, NOT_FOUND_MARGIN_MS)) return facts;
        return joinNegative(facts, { status: 'FAILED', at: evidence.at, notFound: false });
      case 'NOT_FOUND':
        if (!this.isExpired(evidence.at, NOT_FOUND_MARGIN_MS)) return facts;
        return joinNegative(facts, { status: 'CLOSED', at: evidence.at, notFound: true });
    }
  }

  private withPaid(paid: PaidEvidence & { at: Date; source: EvidenceSource }): Facts {
    const seen = `${paid.amount.minorUnits} ${paid.amount.currency}`;
    const recorded = `${this.amount} ${this.currency}`;
    if (seen !== recorded) {
      return joinMismatch(this.facts, { reason: 'AMOUNT_MISMATCH', at: paid.at, recorded, seen });
    }
    if (paid.merchantAccount !== null && paid.merchantAccount !== this.merchantAccount) {
      return joinMismatch(this.facts, {
        reason: 'IDENTITY_MISMATCH',
        at: paid.at,
        recorded: this.merchantAccount,
        seen: paid.merchantAccount,
      });
    }

    const { registeredId } = this.facts;
    if (registeredId !== undefined && registeredId !== paid.transactionId) {
      return joinMismatch(this.facts, { reason: 'IDENTITY_MISMATCH', at: paid.at, recorded: registeredId, seen: paid.transactionId });
    }

    const facts = joinPaid(this.facts, {
      amount: paid.amount.minorUnits,
      currency: paid.amount.currency,
      transactionId: paid.transactionId,
      at: paid.at,
      source: paid.source,
    });
    return paid.refundedTotal === null ? facts : joinRefundedTotal(facts, paid.refundedTotal);
  }

  private withReport(report: Report): Facts {
    if (report.paid !== null && report.status === 'SUCCEEDED') {
      // A repeated report names the payment that is known already, not a second one at another time.
      const known = this.facts.paid;
      const at = known !== undefined && known.transactionId === report.paid.transactionId ? known.at : report.at;
      const { amount, transactionId } = report.paid;
      const paid = { amount, transactionId, merchantAccount: null, refundedTotal: null, refundable: true };
      return this.withPaid({ ...paid, at, source: 'REPORTED' });
    }
    if (isOpen(report.status)) return joinOpen(this.facts, { status: report.status, at: report.at });
    if (isPaid(report.status) || report.status === 'REVIEW') return this.facts;
    return joinNegative(this.facts, { status: report.status, at: report.at, notFound: false });
  }

  private join(facts: Facts, refunds: RefundBook, act: Act, { isRepetition = false, ...text }: LogText & { isRepetition?: boolean }): ApplyOutcome {
    const duplicate = facts === this.facts;
    const before = this.reviewReason;
    this.facts = facts;

    if (this.settle(refunds, act, text)) {
      return this.status === 'REVIEW' && this.reviewReason !== before ? 'CONFLICT' : 'APPLIED';
    }
    // What a query repeats is kept as freshness on the payment; a log entry per query would bury the story.
    if (!isRepetition) this.append(act, text);
    return duplicate ? 'DUPLICATE' : 'STALE';
  }

  /** Derives status and amounts from the facts; one version and one log entry for each edge walked. */
  private settle(refunds: RefundBook, act: Act, text: LogText): boolean {
    this.fitExternalRefund(refunds, act);
    const sums = refunds.sums();
    const { status, reviewReason } = derive(this.facts, sums);
    const visible = {
      paidAmount: paidAmount(this.facts),
      refundedAmount: sums.refunded,
      reservedAmount: sums.reserved,
      externalUnallocated: externalUnallocated(this.facts, sums),
      platformTransactionId: this.facts.paid?.transactionId ?? this.platformTransactionId,
      reviewReason,
    };
    const path = legalPath(this.status, status);
    if (path.length === 0 && (Object.keys(visible) as (keyof typeof visible)[]).every((key) => this[key] === visible[key])) {
      return false;
    }

    Object.assign(this, visible, { paidAt: this.facts.paid?.at ?? null, updatedAt: act.at });
    for (const next of path.length === 0 ? [this.status] : path) {
      const from = this.status;
      this.status = next;
      this.version += 1;
      const kind = text.kind !== 'EVIDENCE' ? text.kind : from === next ? 'PAYMENT_CHANGED' : 'STATUS_CHANGED';
      this.append(act, { ...text, kind }, { from, versioned: true });
    }
    return true;
  }

  /** Money refunded elsewhere becomes a refund row where it fits; what only a sum tells of, once every refund of ours is final. */
  private fitExternalRefund(refunds: RefundBook, act: Act): void {
    const paid = paidAmount(this.facts);
    for (const [platformRefundNo, refund] of Object.entries(this.facts.refundsElsewhere ?? {})) {
      const { refunded, reserved } = refunds.sums();
      if (refunded + reserved + refund.amount > paid) continue;
      refunds.bookExternal({ ...refund, platformRefundNo }, act);
      this.facts = withoutRefundElsewhere(this.facts, platformRefundNo);
    }

    const sums = refunds.sums();
    const external = uncounted(this.facts, sums);
    if (external === 0n || sums.reserved > 0n || sums.refunded + external > paid) return;
    refunds.bookExternal({ amount: external }, act);
  }

  private append(act: Act, text: LogText, change: { from: PaymentStatus | null; versioned: boolean } | null = null): void {
    const entry = Object.assign(new PaymentLogEntry(), {
      paymentId: this.id,
      seq: this.logSeq + 1,
      version: change?.versioned === true ? this.version : null,
      kind: text.kind,
      actorType: act.actor.type,
      actorId: act.actor.id,
      source: text.source ?? null,
      prevStatus: change === null ? this.status : change.from,
      status: this.status,
      refundId: text.refundId ?? null,
      reason: text.reason ?? '',
      errorCode: text.error?.code ?? null,
      errorMessage: text.error?.message ?? null,
      evidence: text.evidence ?? {},
      platform: this.platform,
      appId: this.appId,
      occurredAt: text.occurredAt ?? act.at,
      recordedAt: act.at,
      prevHash: this.logHash,
    } satisfies Omit<PaymentLogEntry, 'hash'>);
    entry.hash = hashOf(entry);
    this.logSeq = entry.seq;
    this.logHash = entry.hash;
    act.record(entry);
  }
}
schema.setClass(Payment);
export { schema as PaymentSchema };

/** Where a reporter may move a payment from a status: the legal edges without the statuses that only this service computes. */
export function reportableFrom(status: PaymentStatus): readonly PaymentStatus[] {
  const computed: readonly PaymentStatus[] = ['PARTIALLY_REFUNDED', 'REFUNDED', 'REVIEW'];
  return PAYMENT_TRANSITIONS[status].filter((target) => {
    if (computed.includes(target)) return false;
    // From a refunded payment SUCCEEDED is computed, too: it follows only from a reversed refund.
    return !isPaid(status);
  });
}

export function illegalTransition(from: PaymentStatus, to: PaymentStatus, allowed: readonly PaymentStatus[]): DomainError {
  const choice = allowed.length === 0 ? 'none' : allowed.join(', ');
  const legality = isLegalTransition(from, to) ? 'is computed and cannot be set' : 'cannot be reached';
  return new DomainError('ILLEGAL_TRANSITION', `${to} ${legality} from ${from}; allowed: ${choice}`, {
    metadata: { from, to, allowed: allowed.join(',') },
  });
}

function reportText(report: Report): LogText {
  const paid: Record<string, string> =
    report.paid === null
      ? {}
      : {
          amount: `${report.paid.amount.minorUnits} ${report.paid.amount.currency}`,
          platform_transaction_id: report.paid.transactionId,
        };
  return { kind: 'EVIDENCE', source: 'REPORTED', reason: report.reason, occurredAt: report.at, evidence: paid };
}

/** What of the evidence goes into the log: names and amounts, nothing about the buyer. */
function masked(evidence: PaymentEvidence): Record<string, string> {
  const common = { class: evidence.class, word: evidence.word };
  if (evidence.class !== 'PAID') return common;
  return {
    ...common,
    amount: `${evidence.amount.minorUnits} ${evidence.amount.currency}`,
    platform_transaction_id: evidence.transactionId,
    ...(evidence.refundedTotal === null ? {} : { refunded_total: evidence.refundedTotal.toString() }),
  };
}

