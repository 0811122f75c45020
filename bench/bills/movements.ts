/** The movements of money of one day, the same on every run, and what they come to. */

export const DAY = '2026-01-01';
const DAY_START = Date.parse(`${DAY}T00:00:00+08:00`);
const DAY_MS = 86_400_000;

/** Amounts and fees in fen; both positive. */
export interface Movement {
  readonly at: number;
  readonly orderNo: string;
  readonly transactionId: string;
  readonly amount: bigint;
  readonly fee: bigint;
  /** Null for a payment. */
  readonly refund: { readonly no: string; readonly id: string } | null;
}

export interface Totals {
  payments: number;
  refunds: number;
  paid: bigint;
  refunded: bigint;
  /** What the platform keeps: of payments, less what it gives back with refunds. */
  fees: bigint;
}

export const noTotals = (): Totals => ({ payments: 0, refunds: 0, paid: 0n, refunded: 0n, fees: 0n });

/** Every fifth one refunds the payment before it. */
export function* movements(count: number): Generator<Movement> {
  for (let at = 0; at < count; at += 1) {
    const isRefund = at % 5 === 4;
    const order = digits(isRefund ? at - 1 : at);
    const amount = BigInt(1_000 + ((at * 7_919_777) % 9_999_991));
    yield {
      at: DAY_START + Math.floor((at / count) * DAY_MS),
      orderNo: `BENCH${order}`,
      transactionId: `2026010122001400${order}`,
      amount,
      fee: feeOf(amount),
      refund: isRefund ? { no: `REFUND${order}`, id: `50300000002026${order}` } : null,
    };
  }
}

/** Ten digits in no order, each number's its own: what runs on would pack far better than a real bill does. */
const digits = (number: number): string => String((number * 7_368_787 + 12_345) % 9_999_999_967).padStart(10, '0');

/** 0.60 %, as the simulators reckon it. */
const feeOf = (amount: bigint): bigint => (amount * 60n) / 10_000n;

/** So many at a time that writing them is quick and never holds the whole bill. */
export function* batches(count: number, onMovement: (movement: Movement) => void): Generator<Movement[]> {
  let batch: Movement[] = [];
  for (const movement of movements(count)) {
    onMovement(movement);
    if (batch.push(movement) < 2_000) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

export function add(totals: Totals, { refund, amount, fee }: Movement): void {
  if (refund === null) {
    totals.payments += 1;
    totals.paid += amount;
    totals.fees += fee;
  } else {
    totals.refunds += 1;
    totals.refunded += amount;
    totals.fees -= fee;
  }
}
