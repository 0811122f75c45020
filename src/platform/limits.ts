/**
 * What keeps calls to one account within what the platform bears, and a platform that is down from holding everything up: a rate, a
 * number of calls at a time, a pause after "too many", and a circuit breaker, the last two for each operation. Calls that it does not
 * let through were never sent, and say so. It repeats nothing.
 */
import {
  BrokenCircuitError,
  bulkhead,
  BulkheadRejectedError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhenResult,
  TaskCancelledError,
  wrap,
  type IPolicy,
} from 'cockatiel';
import { OVER_RATE, type Call, type Failure, type PlatformAdapter, type RefundReport } from '../payment/platform.js';

export interface Limits {
  /** Calls at a time; others wait, a bounded number of them. */
  readonly concurrency: number;
  readonly perSecond: number;
}

export const DEFAULT_LIMITS: Limits = { concurrency: 64, perSecond: 300 };

const OPERATIONS = ['create', 'query', 'close', 'refund', 'queryRefund', 'downloadBill'] as const;
type Operation = (typeof OPERATIONS)[number];

const WAITING_FACTOR = 16;
/** Consecutive calls without any answer before an operation is left alone. */
const FAILURES_MAX = 10;
const OPEN_MS = { initialDelay: 1_000, maxDelay: 60_000 };
const PAUSE_MIN_MS = 1_000;
const PAUSE_MAX_MS = 60_000;

type Outcome = { readonly kind: string; readonly code?: string };

export function limited(adapter: PlatformAdapter, limits: Limits): PlatformAdapter {
  const gate = bulkhead(limits.concurrency, limits.concurrency * WAITING_FACTOR);
  const bucket = new TokenBucket(limits.perSecond);
  const guards = new Map(OPERATIONS.map((operation) => [operation, new Guard(gate, bucket)]));
  const guardOf = (operation: Operation): Guard => guards.get(operation)!;

  const outcome = <T extends Outcome>(operation: Operation, call: Call, run: () => Promise<T>): Promise<T | (Failure & { kind: 'UNREACHABLE' | 'RATE_LIMITED' })> =>
    guardOf(operation).run(call, run, (refused) => refused);
  const report = (operation: Operation, call: Call, run: () => Promise<RefundReport>): Promise<RefundReport> =>
    guardOf(operation).run(call, run, (refused) => notSent(refused, call.at));

  return {
    platform: adapter.platform,
    merchantAccount: adapter.merchantAccount,
    paces: adapter.paces,
    currencies: adapter.currencies,
    checkouts: adapter.checkouts,
    deliveryHeaders: adapter.deliveryHeaders,
    replies: adapter.replies,
    billDayShiftMs: adapter.billDayShiftMs,
    orderTime: (at) => adapter.orderTime(at),
    readNotification: (delivery) => adapter.readNotification(delivery),
    create: (order, call) => outcome('create', call, () => adapter.create(order, call)),
    query: (order, call) => outcome('query', call, () => adapter.query(order, call)),
    close: (order, call) => outcome('close', call, () => adapter.close(order, call)),
    refund: (refund, call) => report('refund', call, () => adapter.refund(refund, call)),
    queryRefund: (refund, call) => report('queryRefund', call, () => adapter.queryRefund(refund, call)),
    downloadBill: (day, call) => outcome('downloadBill', call, () => adapter.downloadBill(day, call)),
    get openCircuits() {
      return OPERATIONS.filter((operation) => guardOf(operation).isOpen);
    },
  };
}

type Refused = Failure & { readonly kind: 'UNREACHABLE' | 'RATE_LIMITED' };

class Guard {
  private readonly policy: IPolicy;
  private readonly breaker;
  private pausedUntil = 0;
  private pauses = 0;

  constructor(gate: ReturnType<typeof bulkhead>, private readonly bucket: TokenBucket) {
    this.breaker = circuitBreaker(handleWhenResult((outcome) => (outcome as Waited<unknown>).isSilence), {
      breaker: new ConsecutiveBreaker(FAILURES_MAX),
      halfOpenAfter: new ExponentialBackoff(OPEN_MS),
    });
    // In this order: what waits for its turn is not sent into a silence that was found out meanwhile.
    this.policy = wrap(gate, this.breaker);
  }

  get isOpen(): boolean {
    return this.breaker.state === CircuitState.Open;
  }

  async run<T, R>(call: Call, run: () => Promise<T>, refused: (failure: Refused) => R): Promise<T | R> {
    const now = call.at.getTime();
    if (this.isPaused(now)) return refused({ kind: 'RATE_LIMITED', code: 'PAUSED', message: 'the platform asked for fewer calls', heldBack: true });
    if (!this.bucket.take(now)) return refused({ kind: 'RATE_LIMITED', code: OVER_RATE, message: 'more calls a second than are configured', heldBack: true });
    try {
      const { result } = await this.inTurn(async () => await waited(run, call.signal), call.signal);
      this.pauseAfter(result, now);
      return result;
    } catch (error) {
      if (error instanceof BrokenCircuitError) return refused({ kind: 'UNREACHABLE', code: 'CIRCUIT_OPEN', message: 'the platform has not answered lately', heldBack: true });
      if (error instanceof BulkheadRejectedError) return refused({ kind: 'RATE_LIMITED', code: 'CONCURRENCY', message: 'too many calls at a time', heldBack: true });
      if (error instanceof TaskCancelledError) return refused({ kind: 'UNREACHABLE', code: 'WAITED', message: 'its time was over before its turn came', heldBack: true });
      throw error;
    }
  }

  /** Waits for its turn no longer than its time; once under way it ends by itself. */
  private async inTurn<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    let waits = true;
    const { promise: over, reject } = Promise.withResolvers<never>();
    const giveUp = (): void => {
      if (waits) reject(new TaskCancelledError());
    };

    signal.addEventListener('abort', giveUp, { once: true });
    const inItsTurn = this.policy.execute(() => {
      waits = false;
      return run();
    }, signal);
    try {
      return await Promise.race([inItsTurn, over]);
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** No pause lasts longer than the longest, however far the clock went back meanwhile. */
  private isPaused(now: number): boolean {
    return now < this.pausedUntil && this.pausedUntil - now <= PAUSE_MAX_MS;
  }

  /** Longer with each refusal in a row, and anywhere below that, so that what was refused together does not come back together. */
  private pauseAfter(result: unknown, now: number): void {
    const limitedAtTheDoor = kindOf(result) === 'RATE_LIMITED' || codeOf(result) === 'HTTP_429';
    // Calls that were under way together are refused together: that is one refusal.
    if (this.isPaused(now)) return;
    this.pauses = limitedAtTheDoor ? this.pauses + 1 : 0;
    if (limitedAtTheDoor) this.pausedUntil = now + Math.random() * Math.min(PAUSE_MIN_MS * 2 ** (this.pauses - 1), PAUSE_MAX_MS);
  }
}

/** What a call brought, and whether it shows that the platform does not answer. */
interface Waited<T> {
  readonly result: T;
  readonly isSilence: boolean;
}

/** Somebody who does not wait this long has not found out whether the platform answers. */
const PATIENCE_MS = 2_000;

async function waited<T>(run: () => Promise<T>, signal: AbortSignal): Promise<Waited<T>> {
  const began = performance.now();
  const result = await run();
  const gaveUp = signal.aborted && performance.now() - began < PATIENCE_MS;
  return { result, isSilence: isSilence(codeOf(result)) && !gaveUp };
}

/** Refills with time; holds one second's worth. */
class TokenBucket {
  private tokens: number;
  private filledAt: number | null = null;

  constructor(private readonly perSecond: number) {
    this.tokens = perSecond;
  }

  take(now: number): boolean {
    const elapsed = Math.max(0, now - (this.filledAt ?? now));
    this.filledAt = now;
    this.tokens = Math.min(this.perSecond, this.tokens + (elapsed * this.perSecond) / 1000);
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}

const notSent = ({ code, message }: Failure, at: Date): RefundReport => ({
  status: 'UNCHANGED',
  retry: 'SAME_NUMBER',
  amount: null,
  platformRefundId: null,
  at,
  word: code,
  failure: { code, message, heldBack: true },
  notExecuted: true,
});

const kindOf = (result: unknown): string => (result as { kind?: string }).kind ?? '';
const codeOf = (result: unknown): string => (result as { code?: string }).code ?? (result as { failure?: Failure | null }).failure?.code ?? '';

/** No answer of the platform, whatever its content; a refusal is one. */
const isSilence = (code: string): boolean => /^(TIMEOUT|NO_ANSWER|HTTP_5\d\d|UND_ERR_\w+|E[A-Z]{4,})$/.test(code);
