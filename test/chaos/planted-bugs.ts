/** Bugs that were made elsewhere and would be fatal here, planted to see whether the chaos run sees them. */
import { Payment } from '../../src/payment/payment.js';
import type { Facts } from '../../src/payment/facts.js';
import { Refund } from '../../src/refund/refund.js';
import type { RefundStatus } from '../../src/refund/refund-status.js';

export const PLANTED_BUGS = ['refund-number-renewed', 'timer-ends-refund', 'negative-overwrites-paid'] as const;
export type PlantedBug = (typeof PLANTED_BUGS)[number];

export function plant(name: string | undefined): void {
  const bug = PLANTED_BUGS.find((one) => one === name);
  if (bug !== undefined) PLANT[bug]();
}

const PLANT: Record<PlantedBug, () => void> = {
  /** After a lost reply it is all made anew, under a number that the platform takes for another refund. */
  'refund-number-renewed'() {
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { apply, giveUpSending } = Refund.prototype;
    const renew = (refund: Refund): void => void (refund.platformRefundNo = `${refund.platformRefundNo.slice(0, -2)}${String(refund.attempts).padStart(2, '0')}`);
    Refund.prototype.apply = function (this: Refund, report, source, at) {
      if (report.status === 'UNKNOWN' && source === 'SYNC_REPLY') renew(this);
      return apply.call(this, report, source, at);
    };
    Refund.prototype.giveUpSending = function (this: Refund, at) {
      if (!giveUpSending.call(this, at)) return false;
      renew(this);
      return true;
    };
  },

  /** A refund in doubt is given up by the clock, and what it held is given back to be refunded again. */
  'timer-ends-refund'() {
    const prototype = Refund.prototype as unknown as { moveTo(target: RefundStatus, at: Date): boolean };
    Refund.prototype.giveUpSending = function (this: Refund, at) {
      this.sendingUntil = null;
      return prototype.moveTo.call(this, 'FAILED', at);
    };
    const original = Object.getOwnPropertyDescriptor(Refund.prototype, 'apply')!.value as Refund['apply'];
    Refund.prototype.apply = function (this: Refund, report, source, at) {
      return report.status === 'UNKNOWN' && source === 'SYNC_REPLY' ? original.call(this, { ...report, status: 'FAILED', confirmed: true }, 'QUERY', at) : original.call(this, report, source, at);
    };
  },

  /** The last word wins: "not paid", heard late, erases what was paid. */
  'negative-overwrites-paid'() {
    const prototype = Payment.prototype as unknown as { withEvidence: (this: Payment, evidence: { class: string }, source: string) => Facts };
    const original = prototype.withEvidence;
    prototype.withEvidence = function (this: Payment, evidence, source) {
      const { paid, ...rest } = original.call(this, evidence, source);
      return evidence.class === 'AWAITING_BUYER' || paid === undefined ? rest : { ...rest, paid };
    };
  },
};
