import fc from 'fast-check';
import type { EvidenceSource } from '../../src/payment/facts.js';
import { joinEvidence } from '../../src/payment/join-evidence.js';
import type { Payment } from '../../src/payment/payment.js';
import { statusClass } from '../../src/payment/payment-status.js';
import type { PaymentEvidence } from '../../src/payment/platform.js';
import { ACTOR, creation, openStore, type Store } from '../support/store.js';
import { CNY, minutes } from '../support/payments.js';

const RUNS = 40;
const HISTORIES_PER_RUN = 50;

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
});

type Heard = { evidence: PaymentEvidence; source: EvidenceSource };

const at = fc.integer({ min: 0, max: 60 }).map(minutes);
const source = fc.constantFrom<EvidenceSource>('SETTLEMENT_BILL', 'QUERY', 'NOTIFICATION', 'SYNC_REPLY');
const paidEvidence = fc.record({
  class: fc.constant('PAID' as const),
  at,
  word: fc.constant('PAID'),
  amount: fc.constantFrom(CNY(10_000n), CNY(10_000n), CNY(10_000n), CNY(1n)),
  transactionId: fc.constantFrom('tx-1', 'tx-1', 'tx-1', 'tx-2'),
  merchantAccount: fc.constantFrom('shop-account', 'shop-account', null, 'other-account'),
  refundedTotal: fc.constantFrom(null, null, 0n, 300n, 10_000n),
  refundable: fc.boolean(),
});
const negative = fc.record({
  class: fc.constant('NEGATIVE_FINAL' as const),
  status: fc.constantFrom('FAILED' as const, 'CLOSED' as const, 'CANCELED' as const),
  at,
  word: fc.constant('ENDED'),
});
const other = fc.record({
  class: fc.constantFrom('AWAITING_BUYER', 'IN_PROGRESS', 'INCONCLUSIVE', 'UNMAPPED', 'NOT_FOUND', 'MONEY_UNCLEAR') as fc.Arbitrary<'AWAITING_BUYER'>,
  at,
  word: fc.constant('WORD'),
});
const heard: fc.Arbitrary<Heard> = fc.record({ evidence: fc.oneof(paidEvidence, negative, other), source });

/** A set of evidence, and a second telling of it: another order, with repetitions. */
const history = fc
  .array(heard, { minLength: 1, maxLength: 6 })
  .chain((once) => fc.tuple(fc.constant(once), retelling(once)));

function retelling(once: Heard[]): fc.Arbitrary<Heard[]> {
  return fc.array(fc.constantFrom(...once), { maxLength: 4 }).chain((repeated) => {
    const all = [...once, ...repeated];
    return fc.shuffledSubarray(all, { minLength: all.length });
  });
}

test('any order and repetition of a set of evidence ends in the same status class and money, through the store', async () => {
  let histories = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(history, { minLength: HISTORIES_PER_RUN, maxLength: HISTORIES_PER_RUN }), async (told) => {
      await Promise.all(
        told.map(async ([once, again]) => {
          const [first, second] = await Promise.all([tell(once), tell(again)]);
          expect(second).toBe(first);
          histories += 1;
        }),
      );
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
  expect(histories).toBe(RUNS * HISTORIES_PER_RUN);
}, 60_000);

/** Tells a new payment everything, each piece in an operation of its own, and answers where it ended. */
async function tell(pieces: readonly Heard[]): Promise<string> {
  const { id } = await store.work.run(creation({ expireAt: minutes(20) }));
  const told = pieces.map((piece) =>
    store.work.run({
      payments: [id],
      decide: (view): Payment => {
        const payment = view.payment(id);
        joinEvidence(view, payment, piece, view.act(ACTOR));
        return payment;
      },
    }),
  );
  const payment = (await Promise.all(told)).at(-1)!;
  return [statusClass(payment.status), payment.reviewReason, payment.paidAmount, payment.refundedAmount, payment.externalUnallocated, payment.refundableAmount].join(' ');
}
