/** A refund and the verbs that move it. This is the only file that assigns a refund's status. */
import { defineEntity, p } from '@mikro-orm/postgresql';
import { DomainError } from '../payment/errors.js';
import { platformNumber } from '../payment/ids.js';
import type { Money } from '../payment/money.js';
import type { Payment } from '../payment/payment.js';
import type { Failure, NewRefund, RefundIdentity, RefundReport } from '../payment/platform.js';
import { isLegalRefundTransition, isOpenRefund, type RefundStatus } from './refund-status.js';

export type RefundId = string & { readonly brand?: 'RefundId' };
/** How an operator may end a refund. */
export type RefundResolution = 'FAILED' | 'SUCCEEDED' | 'REVERSED';

const RESOLVABLE: Record<RefundResolution, readonly RefundStatus[]> = {
  FAILED: ['CREATED', 'UNKNOWN', 'ABNORMAL'],
  SUCCEEDED: ['UNKNOWN', 'ABNORMAL'],
  REVERSED: ['SUCCEEDED'],
};

export type RefundRetry = 'SAME_NUMBER' | 'NEW_NUMBER';

/** How a report about a refund was obtained. A definite refusal of a repeated send counts only once a query agrees. */
export type RefundReportSource = 'SYNC_REPLY' | 'QUERY' | 'NOTIFICATION' | 'SETTLEMENT_BILL';

/** What a report did. CONTRADICTION and AMOUNT_MISMATCH leave the refund as it is and concern the payment. */
export type RefundOutcome = 'CHANGED' | 'UNCHANGED' | 'CONTRADICTION' | 'AMOUNT_MISMATCH';

const schema = defineEntity({
  name: 'Refund',
  tableName: 'refund',
  properties: {
    id: p.uuid().primary(),
    paymentId: p.uuid(),
    appId: p.text(),
    amount: p.bigint(),
    currency: p.text(),
    status: p.text().$type<RefundStatus>(),
    reason: p.text(),
    platformRefundNo: p.text(),
    platformRefundId: p.text().strictNullable(),
    external: p.boolean(),
    retry: p.text().$type<RefundRetry>().strictNullable(),
    attempts: p.integer(),
    sendingUntil: p.datetime(3).strictNullable(),
    sentAt: p.datetime(3).strictNullable(),
    failureCode: p.text().strictNullable(),
    failureMessage: p.text().strictNullable(),
    createdAt: p.datetime(3),
    updatedAt: p.datetime(3),
    succeededAt: p.datetime(3).strictNullable(),
  },
});

export class Refund extends schema.class {
  static create(payment: Payment, fields: { id: RefundId; amount: bigint; reason: string }, at: Date): Refund {
    return Object.assign(new Refund(), {
      ...fields,
      paymentId: payment.id,
      appId: payment.appId,
      currency: payment.currency,
      status: 'CREATED',
      // Fixed before the first call and never changed: another number would be another movement of money.
      platformRefundNo: platformNumber(fields.id),
      platformRefundId: null,
      external: false,
      retry: null,
      attempts: 0,
      sendingUntil: null,
      sentAt: null,
      failureCode: null,
      failureMessage: null,
      createdAt: at,
      updatedAt: at,
      succeededAt: null,
    } satisfies Partial<Refund>);
  }

  /** Money that was refunded elsewhere. */
  static external(
    payment: Payment,
    {
      platformRefundNo,
      platformRefundId = null,
      succeededAt,
      ...fields
    }: { id: RefundId; amount: bigint; reason: string; platformRefundNo?: string | null; platformRefundId?: string | null; succeededAt?: Date | undefined },
    at: Date,
  ): Refund {
    const refund = Refund.create(payment, fields, at);
    return Object.assign(refund, {
      platformRefundNo: platformRefundNo ?? refund.platformRefundNo,
      platformRefundId,
      external: true,
      status: 'SUCCEEDED',
      succeededAt: succeededAt ?? at,
    } satisfies Partial<Refund>);
  }

  get money(): Money {
    return { currency: this.currency, minorUnits: this.amount };
  }

  /** Whether its number is one that this service made up for money refunded elsewhere: the platform knows it by another one. */
  get isUnnumbered(): boolean {
    return this.external && this.platformRefundNo === platformNumber(this.id);
  }

  /** Whether another process may be sending it right now. */
  isBeingSent(at: Date): boolean {
    return this.sendingUntil !== null && this.sendingUntil > at;
  }

  /** A notification denied what succeeded here; whether that stands is a question for a query. */
  get isDenied(): boolean {
    return this.status === 'SUCCEEDED' && this.failureCode !== null;
  }

  /** Whether the platform is to be asked about it. */
  get isAsked(): boolean {
    return !this.external && (isOpenRefund(this.status) || this.isDenied);
  }

  /** Whether it may be sent now: never sent, or to be sent again under its number, and nobody else is at it. */
  canSend(at: Date): boolean {
    if (this.external || !isOpenRefund(this.status) || this.isBeingSent(at)) return false;
    return this.attempts === 0 || this.retry === 'SAME_NUMBER';
  }

  /** Committed before the call goes out, so that a crash leaves a record of what may have been sent. */
  markSending(call: { at: Date; until: Date }): void {
    this.attempts += 1;
    this.sendingUntil = call.until;
    this.sentAt = call.at;
    this.updatedAt = call.at;
  }

  /** The marked call was held back before it left: it was no attempt. Whoever took the refund over meanwhile has a mark of his own. */
  unmarkSending(call: { at: Date; sentAt: Date | null; failure: Failure }): void {
    this.attempts -= 1;
    if (this.sentAt?.getTime() !== call.at.getTime()) return;
    this.sendingUntil = null;
    this.sentAt = call.sentAt;
    if (isOpenRefund(this.status)) this.setFailure(call.failure);
  }

  /** A mark that expired without an outcome: it was sent, and nobody can tell what happened. */
  giveUpSending(at: Date): boolean {
    if (this.sendingUntil === null || this.isBeingSent(at)) return false;
    this.sendingUntil = null;
    this.retry = 'SAME_NUMBER';
    return this.moveTo('UNKNOWN', at);
  }

  cancel(at: Date): void {
    if (this.status !== 'CREATED' || this.attempts > 0) {
      throw new DomainError('REFUND_NOT_CANCELABLE', `refund ${this.id} is ${this.status} and was sent ${this.attempts} times`, {
        metadata: { refund_id: this.id, status: this.status, attempts: `${this.attempts}` },
      });
    }
    this.moveTo('CANCELED', at);
  }

  /** An operator's word where no platform will give one. SUBMITTED is left to the platform, which still answers. */
  resolve(resolution: RefundResolution, at: Date): void {
    if (!RESOLVABLE[resolution].includes(this.status) || this.isBeingSent(at)) {
      const why = this.isBeingSent(at) ? 'it is being sent right now' : `from ${this.status} it cannot become ${resolution}`;
      throw new DomainError('ILLEGAL_TRANSITION', `refund ${this.id}: ${why}`, {
        metadata: { refund_id: this.id, from: this.status, to: resolution, allowed: '' },
      });
    }
    this.sendingUntil = null;
    this.retry = resolution === 'FAILED' ? 'NEW_NUMBER' : null;
    if (resolution === 'SUCCEEDED') this.succeededAt = at;
    this.moveTo(resolution, at);
  }

  apply(report: RefundReport, source: RefundReportSource, at: Date): RefundOutcome {
    if (source === 'SYNC_REPLY') this.sendingUntil = null;
    if (report.status === 'SUCCEEDED' && report.amount !== null && report.amount !== this.amount) return 'AMOUNT_MISMATCH';
    const target = this.targetOf(report, source);

    if (target === null || target === this.status) {
      if (isOpenRefund(this.status)) this.remember(report, target, at);
      else if (target === 'SUCCEEDED' && source === 'QUERY') this.setFailure(null);
      return 'UNCHANGED';
    }
    // What could not be delivered was taken in.
    if (target === 'ABNORMAL' && this.status === 'CREATED') this.moveTo('SUBMITTED', at);
    if (!isLegalRefundTransition(this.status, target)) return this.contradict(target, report, source);
    this.remember(report, target, at);
    if (target === 'SUCCEEDED') this.succeededAt = report.at;
    this.moveTo(target, at);
    return 'CHANGED';
  }

  identity(payment: Payment): RefundIdentity {
    const { platformRefundNo, createdAt, sentAt } = this;
    return { order: payment.identity, platformRefundNo, createdAt, sentAt };
  }

  order(payment: Payment): NewRefund {
    return {
      ...this.identity(payment),
      amount: this.money,
      paid: { currency: payment.currency, minorUnits: payment.paidAmount },
      paidAt: payment.paidAt ?? payment.createdAt,
      reason: this.reason,
      attempt: this.attempts,
    };
  }

  private targetOf(report: RefundReport, source: RefundReportSource): RefundStatus | null {
    if (report.status === 'UNCHANGED') return null;
    const unconfirmed = source === 'SYNC_REPLY' && report.confirmed !== true;
    const refusedAgain = report.status === 'FAILED' && unconfirmed && (this.attempts > 1 || this.status === 'UNKNOWN');
    return refusedAgain ? 'UNKNOWN' : report.status;
  }

  /** A success of what failed here, or a failure of what succeeded here; a notification of the latter only asks for a query. */
  private contradict(target: RefundStatus, report: RefundReport, source: RefundReportSource): RefundOutcome {
    if (this.status === 'FAILED' || this.status === 'CANCELED') return target === 'SUCCEEDED' ? 'CONTRADICTION' : 'UNCHANGED';
    const denied = this.status === 'SUCCEEDED' && (target === 'FAILED' || target === 'ABNORMAL');
    if (!denied || source === 'SYNC_REPLY') return 'UNCHANGED';
    if (source === 'QUERY') {
      this.setFailure(null);
      return 'CONTRADICTION';
    }
    this.setFailure(report.failure ?? { code: report.word, message: '' });
    return 'UNCHANGED';
  }

  private remember(report: RefundReport, target: RefundStatus | null, at: Date): void {
    // A refusal that no query has confirmed uses up no number: an earlier send may stand.
    this.retry = report.status === 'FAILED' && target === 'UNKNOWN' ? 'SAME_NUMBER' : report.retry;
    this.platformRefundId = report.platformRefundId ?? this.platformRefundId;
    this.setFailure(report.failure);
    this.updatedAt = at;
  }

  private setFailure(failure: Failure | null): void {
    this.failureCode = failure?.code ?? null;
    this.failureMessage = failure?.message ?? null;
  }

  private moveTo(target: RefundStatus, at: Date): boolean {
    if (!isLegalRefundTransition(this.status, target)) return false;
    this.status = target;
    this.updatedAt = at;
    return true;
  }
}
schema.setClass(Refund);
export { schema as RefundSchema };

