/**
 * A batch of payments held against their platforms. The plan: each record is compared with what its platform says of it, the items of
 * each account beside those of the others, so that a platform that hangs holds up none but its own. Applying is the plan carried out:
 * what was heard is joined as evidence, item by item. An item's failure is its own.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { ANSWERING_MS, type Deps } from './deps.js';
import { DomainError } from './errors.js';
import { findPayments, type PaymentRef } from './get-payment.js';
import type { Payment} from './payment.js';
import { type ApplyOutcome } from './payment.js';
import type { Actor } from './payment-log.js';
import { isNegative, isOpen, isPaid } from './payment-status.js';
import { OVER_RATE, type CallOutcome, type PaymentEvidence, type PaymentReport } from './platform.js';
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

/** Calls in flight to one account for one batch request; its own limits hold for all requests together. */
const CONCURRENCY = 32;
/** A batch that is faster than its account may be asks again after this time. */
const PACE_MS = 100;

export interface Asking {
  readonly actor: Actor;
  /** How long the caller will still wait: what could not be asked by then is said so, item by item. */
  timeLeftMs(): number;
}

/** Compares each record with the platform, in the order of the request. */
export async function verifyPayments(
  deps: Deps,
  refs: readonly PaymentRef[],
  asking: Asking,
  { apply }: { readonly apply: boolean },
): Promise<VerifiedItem[]> {
  const found = await findPayments(deps, refs);
  const items = refs.map((ref, place) => ({ ref, found: found[place]! }));
  return await eachByQueue(items, accountOf, async ({ ref, found: payment }) => {
    if (payment instanceof DomainError) return unasked(ref, 'NOT_FOUND', payment);
    const planned = await plan(deps, { ref, payment }, asking);
    return apply ? await carryOut(deps, planned, asking.actor) : planned.item;
  });
}

/** Asks the platform about each payment and applies the answer. */
export async function syncPayments(deps: Deps, refs: readonly PaymentRef[], asking: Asking): Promise<SyncedItem[]> {
  const items = await verifyPayments(deps, refs, asking, { apply: true });
  return items.map(({ ref, payment, result, applied, error }) =>
    applied === null
      ? { ref, payment, outcome: 'ERROR', error: error ?? { reason: result, message: 'the answer was not applied' } }
      : { ref, payment, outcome: applied, error: null },
  );
}

const accountOf = ({ found }: { found: Payment | DomainError }): string =>
  found instanceof DomainError ? '' : `${found.platform} ${found.merchantAccount}`;

/** An item with what was heard about it; null where nobody was asked. */
interface Planned {
  readonly item: VerifiedItem;
  readonly answer: CallOutcome<PaymentReport> | null;
}

async function plan(deps: Deps, { ref, payment }: { ref: PaymentRef; payment: Payment }, asking: Asking): Promise<Planned> {
  const { platform, merchantAccount } = payment;
  if (deps.platforms.find(platform, merchantAccount) === undefined) {
    const error = { reason: 'PLATFORM_NOT_CONFIGURED', message: `no account ${merchantAccount} of ${platform} is configured here` };
    return { item: { ...unasked(ref, 'PLATFORM_UNREACHABLE', error), payment }, answer: null };
  }

  const answer = await askInTime(deps, payment, asking);
  if (answer === null) {
    const error = { reason: 'DEADLINE_EXCEEDED', message: 'not asked: the time of the call was over' };
    return { item: { ...unasked(ref, 'PLATFORM_UNREACHABLE', error), payment }, answer: null };
  }
  if (answer.kind !== 'ACCEPTED') {
    const error = { reason: answer.code, message: answer.message };
    return { item: { ...unasked(ref, 'PLATFORM_UNREACHABLE', error), payment }, answer };
  }

  const { evidence } = answer.value;
  const differences = differencesOf(payment, evidence);
  const result = evidence.class === 'NOT_FOUND' ? 'NOT_FOUND_AT_PLATFORM' : differences.length === 0 ? 'MATCH' : 'MISMATCH';
  return { item: { ref, result, payment, evidence, differences, applied: null, error: null }, answer };
}

function unasked(ref: PaymentRef, result: VerifyResult, { reason, message }: { reason: string; message: string }): VerifiedItem {
  return { ref, result, payment: null, evidence: null, differences: [], applied: null, error: { reason, message } };
}

/** Null when the caller's time was over before the platform could be asked. What is over the account's rate is asked a little later. */
async function askInTime(deps: Deps, payment: Payment, asking: Asking): Promise<CallOutcome<PaymentReport> | null> {
  for (;;) {
    const leftMs = asking.timeLeftMs() - ANSWERING_MS;
    if (leftMs <= 0) return null;
    const answer = await askPlatform(deps, payment, leftMs);
    if (answer.kind !== 'RATE_LIMITED' || answer.code !== OVER_RATE) return answer;
    await wait(Math.min(PACE_MS, leftMs));
  }
}

async function carryOut(deps: Deps, { item, answer }: Planned, actor: Actor): Promise<VerifiedItem> {
  if (answer === null) return item;
  const joined = await joinOne(deps, item.payment!, answer, actor);
  return { ...item, ...joined, error: item.error ?? joined.error };
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

/** Works through each queue beside the others, a bounded number of its items at a time; answers in the order of the items. */
async function eachByQueue<T, R>(items: readonly T[], queueOf: (item: T) => string, work: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  const drain = async (places: number[]): Promise<void> => {
    for (let place = places.shift(); place !== undefined; place = places.shift()) results[place] = await work(items[place]!);
  };

  const queues = Map.groupBy(items.keys(), (place) => queueOf(items[place]!));
  const workers = [...queues.values()].flatMap((places) => Array.from({ length: Math.min(CONCURRENCY, places.length) }, () => drain(places)));
  await Promise.all(workers);
  return results;
}
