import { ANSWERING_MS, type Deps } from './deps.js';
import { paymentNotFound } from './errors.js';
import type { PaymentId } from './payment.js';
import type { ChainFault } from './payment-log.js';
import { paymentsAfter, walkChains, type CreationRange, type Place, type WalkedChain } from './read-chains.js';

type Reads = Pick<Deps, 'orm'>;

export interface LogFault extends ChainFault {
  readonly paymentId: PaymentId;
}

/** What recomputing chains showed, as far as it got. */
export interface LogCheck {
  readonly payments: number;
  readonly entries: number;
  /** The first fault of each payment that has one. */
  readonly faults: readonly LogFault[];
  /** The last payment that was checked, where there may be more. */
  readonly next: Place | null;
}

/** Recomputes a payment's hash chain from what is stored. */
export async function verifyPaymentLog(deps: Reads, paymentId: PaymentId): Promise<LogCheck> {
  const chain = (await walkChains(deps.orm, [{ id: paymentId }])).get(paymentId);
  if (chain === undefined) throw paymentNotFound(paymentId);
  const fault = faultOf(chain);
  return { payments: 1, entries: chain.walk.entries, faults: fault === null ? [] : [{ paymentId, ...fault }], next: null };
}

/** Payments in one look at the database; at least these are checked, however little time there is. */
const LOOK = 200;
/** A page of faults is full then; the next page goes on behind the last of them. */
const FAULTS_MAX = 100;

/** Recomputes the chains of a range in the order of creation, as many as the page and the caller's time allow; ends with its caller. */
export async function verifyPaymentLogs(
  deps: Reads,
  range: CreationRange,
  page: { readonly size: number; readonly after: Place | null },
  caller: { readonly signal: AbortSignal; timeLeftMs(): number },
): Promise<LogCheck> {
  const faults: LogFault[] = [];
  let [payments, entries, last] = [0, 0, page.after];

  do {
    caller.signal.throwIfAborted();
    const size = Math.min(LOOK, page.size - payments);
    const found = await paymentsAfter(deps.orm, range, last, size);
    const chains = await walkChains(deps.orm, found);

    for (const payment of found) {
      if (faults.length === FAULTS_MAX) return { payments, entries, faults, next: last };
      const chain = chains.get(payment.id);
      const fault = chain === undefined ? { seq: 0, what: 'the payment has just disappeared' } : faultOf(chain);
      if (fault !== null) faults.push({ paymentId: payment.id, ...fault });
      payments += 1;
      entries += chain?.walk.entries ?? 0;
      last = payment;
    }
    if (found.length < size) return { payments, entries, faults, next: null };
  } while (payments < page.size && caller.timeLeftMs() > ANSWERING_MS);

  return { payments, entries, faults, next: last };
}

/** Of the chain itself, or of a payment that is not what its log says. */
function faultOf({ payment, walk }: WalkedChain): ChainFault | null {
  const { last } = walk;
  const fault = walk.endAt({ seq: payment.logSeq, hash: payment.logHash });
  if (fault !== null) return fault;
  if (last.version !== payment.version) return { seq: 0, what: `the payment is at version ${payment.version}, its log at version ${last.version}` };
  if (last.status !== payment.status) return { seq: 0, what: `the payment is ${payment.status}, by its log ${last.status}` };
  return null;
}
