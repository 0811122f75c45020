import type { Deps } from './deps.js';
import { DomainError } from './errors.js';
import { findPayment, type PaymentRef } from './get-payment.js';
import type { ApplyOutcome, Payment } from './payment.js';
import type { Actor } from './payment-log.js';
import { isNegative, isOpen, isPaid } from './payment-status.js';
import type { CallOutcome, PaymentEvidence, PaymentReport } from './platform.js';
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
const CONCURRENCY = 32;
/** Kept back of the caller's time for writing down and answering what the platforms have said. */
const ANSWERING_MS = 1_500;

export interface Asking {
  readonly actor: Actor;
  /** How long the caller will still wait: what could not be asked by then is said so, item by item. */
  timeLeftMs(): number;
}

/** Compares each record with the platform, in the order of the request; one bad item never fails the batch. */
export async function verifyPayments(
  deps: Deps,
  refs: readonly PaymentRef[],
  options: Asking & { readonly apply: boolean },
): Promise<VerifiedItem[]> {
  return await eachOf(refs, (ref) => verifyOne(deps, ref, options));
}

/** Asks the platform about each payment and applies the answer. */
export async function syncPayments(deps: Deps, refs: readonly PaymentRef[], asking: Asking): Promise<SyncedItem[]> {
  return await eachOf(refs, async (ref): Promise<SyncedItem> => {
    const verified = await verifyOne(deps, ref, { ...asking, apply: true });
    const error = verified.error ?? { reason: verified.result, message: 'the answer was not applied' };
    return verified.applied === null
      ? { ref, payment: verified.payment, outcome: 'ERROR', error }
      : { ref, payment: verified.payment, outcome: verified.applied, error: null };
  });
}

async function verifyOne(deps: Deps, ref: PaymentRef, options: Asking & { readonly apply: boolean }): Promise<VerifiedItem> {
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

  const leftMs = options.timeLeftMs() - ANSWERING_MS;
  if (leftMs <= 0) {
    const error = { reason: 'DEADLINE_EXCEEDED', message: 'not asked: the time of the call was over' };
    return { ...nothing, payment, result: 'PLATFORM_UNREACHABLE', error };
  }

  const answer = await askPlatform(deps, payment, leftMs);
  if (answer.kind !== 'ACCEPTED') {
    const error = { reason: answer.code, message: answer.message };
    const joined = options.apply ? await joinOne(deps, payment, answer, options.actor) : { payment };
    return { ...nothing, payment: joined.payment, result: 'PLATFORM_UNREACHABLE', error };
  }

  const { evidence } = answer.value;
  const differences = differencesOf(payment, evidence);
  const result = evidence.class === 'NOT_FOUND' ? 'NOT_FOUND_AT_PLATFORM' : differences.length === 0 ? 'MATCH' : 'MISMATCH';
  if (!options.apply) return { ...nothing, payment, evidence, result, differences };
  const joined = await joinOne(deps, payment, answer, options.actor);
  return { ...nothing, evidence, result, differences, ...joined };
}

/** Joins an answer; a refusal to write it is the item's own. */
async function joinOne(
  deps: Deps,
  payment: Payment,
  answer: CallOutcome<PaymentReport>,
  actor: Actor,
): Promise<Pick<VerifiedItem, 'payment' | 'applied' | 'error'>> {
  try {
    const joined = await joinAnswer(deps, payment.id, answer, actor);
    return { payment: joined.payment, applied: joined.outcome, error: null };
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    return { payment, applied: null, error: { reason: error.reason, message: error.message } };
  }
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
    case 'MONEY_UNCLEAR':
      compare('status', payment.status === 'REVIEW', payment.status, evidence.word);
      break;
    case 'UNMAPPED':
      compare('status', payment.status === 'UNKNOWN', payment.status, evidence.word);
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
