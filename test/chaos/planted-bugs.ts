/** Bugs that were made elsewhere and would be fatal here, planted to see whether the chaos run sees them. */
import { Payment } from '../../src/payment/payment.js';
import type { Facts } from '../../src/payment/facts.js';
import { Refund } from '../../src/refund/refund.js';
import type { RefundStatus } from '../../src/refund/refund-status.js';

export const PLANTED_BUGS = ['refund-number-renewed', 'timer-ends-refund', 'negative-overwrites-paid'] as const;
export type PlantedBug = (typeof PLANTED_BUGS)[number];

/** Whose payments they are: nobody's bug, or the one that bears its name. */
export type Application = 'sound' | PlantedBug;

/** Each strikes the payments of its own application and leaves the others alone. */
export function plant(names: readonly string[]): void {
  for (const bug of PLANTED_BUGS.filter((one) => names.includes(one))) PLANT[bug](({ appId }) => appId === bug);
}

const UNPAID: readonly string[] = ['AWAITING_BUYER', 'NOT_FOUND'];

const PLANT: Record<PlantedBug, (strikes: (one: { readonly appId: string }) => boolean) => void> = {
  /** After a lost reply it is all made anew, under a number that the platform takes for another refund. */
  'refund-number-renewed'(strikes) {
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { apply, giveUpSending } = Refund.prototype;
    const renew = (refund: Refund): void => void (refund.platformRefundNo = `${refund.platformRefundNo.slice(0, -2)}${String(refund.attempts).padStart(2, '0')}`);
    Refund.prototype.apply = function (this: Refund, report, source, at) {
      if (strikes(this) && report.status === 'UNKNOWN' && source === 'SYNC_REPLY') renew(this);
      return apply.call(this, report, source, at);
    };
    Refund.prototype.giveUpSending = function (this: Refund, at) {
      if (!giveUpSending.call(this, at)) return false;
      if (strikes(this)) renew(this);
      return true;
    };
  },

  /** A refund in doubt is given up by the clock, and what it held is given back to be refunded again. */
  'timer-ends-refund'(strikes) {
    const prototype = Refund.prototype as unknown as { moveTo(target: RefundStatus, at: Date): boolean };
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { apply, giveUpSending } = Refund.prototype;
    Refund.prototype.giveUpSending = function (this: Refund, at) {
      if (!strikes(this)) return giveUpSending.call(this, at);
      this.sendingUntil = null;
      return prototype.moveTo.call(this, 'FAILED', at);
    };
    Refund.prototype.apply = function (this: Refund, report, source, at) {
      const isInDoubt = strikes(this) && report.status === 'UNKNOWN' && source === 'SYNC_REPLY';
      return isInDoubt ? apply.call(this, { ...report, status: 'FAILED', confirmed: true }, 'QUERY', at) : apply.call(this, report, source, at);
    };
  },

  /** The last word wins: "not paid", heard late, erases what was paid. */
  'negative-overwrites-paid'(strikes) {
    const prototype = Payment.prototype as unknown as { withEvidence: (this: Payment, evidence: { class: string }, source: string) => Facts };
    const original = prototype.withEvidence;
    prototype.withEvidence = function (this: Payment, evidence, source) {
      const facts = original.call(this, evidence, source);
      if (!strikes(this) || !UNPAID.includes(evidence.class)) return facts;
      const { paid: _erased, ...rest } = facts;
      return rest;
    };
  },
};
