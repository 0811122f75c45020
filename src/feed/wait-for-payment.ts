import { paymentNotFound } from '../payment/errors.js';
import { Payment, type PaymentId } from '../payment/payment.js';
import { isSettled, type PaymentStatus } from '../payment/payment-status.js';
import { EVERYTHING } from './filter.js';
import type { Feed } from './feed.js';

export interface WaitForPayment {
  readonly caller: string;
  readonly paymentId: PaymentId;
  /** Empty: any settled status. */
  readonly statuses: readonly PaymentStatus[];
  /** Any change beyond this version is enough, too; null: only the status counts. */
  readonly afterVersion: number | null;
  readonly timeoutMs: number;
}

/**
 * Waits until a payment has one of the statuses or is beyond a version, or the time is over: then `reached` is false. The row is
 * read when the waiting begins and when it ends, never in between. Refusals are those of a watch, and PAYMENT_NOT_FOUND.
 */
export async function waitForPayment(
  feed: Feed,
  input: WaitForPayment,
  signal?: AbortSignal,
): Promise<{ payment: Payment; reached: boolean }> {
  const { caller, paymentId } = input;
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), input.timeoutMs);
  const cancel = (): void => stop.abort();
  signal?.addEventListener('abort', cancel, { once: true });

  try {
    signal?.throwIfAborted();
    // First the watch, then the row: nothing falls between them.
    await using watch = await feed.watch({ ...WATCH, caller, filter: { ...EVERYTHING, paymentIds: [paymentId] } }, stop.signal);
    const payment = await read(feed, paymentId);
    if (isReached(input, payment)) return { payment, reached: true };

    for await (const message of watch) {
      const news = message.kind === 'events' ? message.events.filter(({ version }) => version > payment.version) : [];
      if (news.some((event) => isReached(input, event))) return { payment: await read(feed, paymentId), reached: true };
    }
    signal?.throwIfAborted();
    return { payment: await read(feed, paymentId), reached: false };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', cancel);
  }
}

const WATCH = {
  start: { kind: 'NOW' },
  view: 'STATUS',
  bookmarkIntervalMs: 60_000,
  eventsPerMessageMax: null,
  lingerMs: 0,
  stopWhenSettled: false,
  stopAtHead: false,
} as const;

function isReached({ statuses, afterVersion }: WaitForPayment, at: { status: PaymentStatus; version: number }): boolean {
  if (afterVersion !== null && at.version > afterVersion) return true;
  return statuses.length === 0 ? isSettled(at.status) : statuses.includes(at.status);
}

async function read(feed: Feed, id: PaymentId): Promise<Payment> {
  const payment = await feed.orm.em.fork().findOne(Payment, { id });
  if (payment === null) throw paymentNotFound(id);
  return payment;
}
