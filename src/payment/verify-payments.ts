import type { Deps } from './deps.js';
import { DomainError } from './errors.js';
import { findPayment, type PaymentRef } from './get-payment.js';
import type { ApplyOutcome, Payment } from './payment.js';
import type { Actor } from './payment-log.js';
import { isNegative, isOpen, isPaid } from './payment-status.js';
import type { PaymentEvidence } from './platform.js';
import { askPlatform, joinAnswer } from './query-payment.js';

export type VerifyResult = 'MATCH' | 'MISMATCH' | 'NOT_FOUND_AT_PLATFORM' | 'PLATFORM_UNREACHABLE' | 'NOT_FOUND';

export interface Difference {
  readonly field: string;
  readonly recorded: string;
  readonly platform: string;
}

export interface VerifiedItem {
  readonly ref: PaymentRef;
  readonly result: VerifyResult;
  readonly payment: Payment | null;
  readonly evidence: PaymentEvidence | null;
  readonly differences: readonly Difference[];
  /** Set only when the answer was applied. */
  readonly applied: ApplyOutcome | null;
  readonly error: { readonly reason: string; readonly message: string } | null;
}

export interface SyncedItem {
  readonly ref: PaymentRef;
  readonly payment: Payment | null;
  readonly outcome: ApplyOutcome | 'ERROR';
  readonly error: { readonly reason: string; readonly message: string } | null;
}

/** Calls in flight to the platforms for one batch request. */
const CONCURRENCY = 8;

/** Compares each record with the platform, in the order of the request; one bad item never fails the batch. */
export async function verifyPayments(
  deps: Deps,
  refs: readonly PaymentRef[],
  options: { apply: boolean; actor: Actor },
): Promise<VerifiedItem[]> {
  return await eachOf(refs, (ref) => verifyOne(deps, ref, options));
}

/** Asks the platform about each payment and applies the answer. */
export async function syncPayments(deps: Deps, refs: readonly PaymentRef[], actor: Actor): Promise<SyncedItem[]> {
  return await eachOf(refs, async (ref): Promise<SyncedItem> => {
    const verified = await verifyOne(deps, ref, { apply: true, actor });
    const error = verified.error ?? { reason: verified.result, message: 'the answer was not applied' };
    return verified.applied === null
      ? { ref, payment: verified.payment, outcome: 'ERROR', error }
      : { ref, payment: verified.payment, outcome: verified.applied, error: null };
  });
}

async function verifyOne(deps: Deps, ref: PaymentRef, options: { apply: boolean; actor: Actor }): Promise<VerifiedItem> {
  const nothing = { ref, evidence: null, differences: [], applied: null, payment: null, error: null };
  let payment: Payment;
  try {
    payment = await findPayment(deps, ref);
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    return { ...nothing, result: 'NOT_FOUND', error: { reason: error.reason, message: error.message } };
  }
  if (deps.platforms.find(payment.platform, payment.merchantAccount) === undefined) {
    const message = `no account ${payment.merchantAccount} of ${payment.platform} is configured here`;
    return { ...nothing, payment, result: 'PLATFORM_UNREACHABLE', error: { reason: 'PLATFORM_NOT_CONFIGURED', message } };
  }

  const answer = await askPlatform(deps, payment);
  if (answer.kind !== 'ACCEPTED') {
    if (options.apply) payment = (await joinAnswer(deps, payment.id, answer, options.actor)).payment;
    return { ...nothing, payment, result: 'PLATFORM_UNREACHABLE', error: { reason: answer.code, message: answer.message } };
  }

  const { evidence } = answer.value;
  const differences = differencesOf(payment, evidence);
  const result = evidence.class === 'NOT_FOUND' ? 'NOT_FOUND_AT_PLATFORM' : differences.length === 0 ? 'MATCH' : 'MISMATCH';
  if (!options.apply) return { ...nothing, payment, evidence, result, differences };
  const joined = await joinAnswer(deps, payment.id, answer, options.actor);
  return { ...nothing, payment: joined.payment, evidence, result, differences, applied: joined.outcome };
}

function differencesOf(payment: Payment, evidence: PaymentEvidence): Difference[] {
  const differences: Difference[] = [];
  const compare = (field: string, same: boolean, recorded: string, platform: string): void => {
    if (!same) differences.push({ field, recorded, platform });
  };

  switch (evidence.class) {
    case 'PAID': {
      const amount = `${evidence.amount.minorUnits} ${evidence.amount.currency}`;
      compare('status', isPaid(payment.status), payment.status, evidence.word);
      compare('amount', amount === `${payment.amount} ${payment.currency}`, `${payment.amount} ${payment.currency}`, amount);
      const known = payment.platformTransactionId ?? '';
      compare('platform_transaction_id', known === evidence.transactionId, known, evidence.transactionId);
      if (evidence.refundedTotal !== null) {
        compare('refunded_amount', evidence.refundedTotal === payment.refundedAmount, `${payment.refundedAmount}`, `${evidence.refundedTotal}`);
      }
      break;
    }
    case 'NEGATIVE_FINAL':
      compare('status', isNegative(payment.status), payment.status, evidence.word);
      break;
    case 'NOT_FOUND':
      break;
    default:
      compare('status', isOpen(payment.status), payment.status, evidence.word);
  }
  return differences;
}

async function eachOf<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  const places = [...items.keys()];
  const workers = Array.from({ length: Math.min(CONCURRENCY, items.length) }, async () => {
    for (let place = places.shift(); place !== undefined; place = places.shift()) results[place] = await work(items[place]!);
  });
  await Promise.all(workers);
  return results;
}
