/**
 * What keeps calls to one account within what the platform bears, and a platform that is down from holding everything up: a rate, a
 * number of calls at a time, a pause after "too many", and a circuit breaker, the last two for each operation. Calls that it does not
 * let through were never sent, and say so. It repeats nothing.
 */
import { bulkhead, BulkheadRejectedError, TaskCancelledError } from 'cockatiel';
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
const SILENCES_MAX = 10;
const OPEN_MIN_MS = 1_000;
const OPEN_MAX_MS = 60_000;
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
    holdsBack: (operation) => guardOf(operation).holdsBack,
  };
}

type Refused = Failure & { readonly kind: 'UNREACHABLE' | 'RATE_LIMITED' };

class Guard {
  private readonly circuit = new Circuit();
  private pausedUntil = 0;
  private pauses = 0;

  constructor(
    private readonly gate: ReturnType<typeof bulkhead>,
    private readonly bucket: TokenBucket,
  ) {}

  get isOpen(): boolean {
    return this.circuit.isOpen;
  }

  /** Whether its circuit lets no call through now. */
  get holdsBack(): boolean {
    return !this.circuit.lets;
  }

  async run<T, R>(call: Call, run: () => Promise<T>, refused: (failure: Refused) => R): Promise<T | R> {
    const now = call.at.getTime();
    if (this.isPaused(now)) return refused({ kind: 'RATE_LIMITED', code: 'PAUSED', message: 'the platform asked for fewer calls', heldBack: true });
    if (!this.circuit.lets) return refused(CIRCUIT_OPEN);
    if (!this.bucket.take(now)) return refused({ kind: 'RATE_LIMITED', code: OVER_RATE, message: 'more calls a second than are configured', heldBack: true });
    try {
      const { result } = await this.inTurn(async () => await waited(run, call.signal), call.signal);
      this.pauseAfter(result, now);
      return result;
    } catch (error) {
      if (error instanceof CircuitIsOpen) return refused(CIRCUIT_OPEN);
      if (error instanceof BulkheadRejectedError) return refused({ kind: 'RATE_LIMITED', code: 'CONCURRENCY', message: 'too many calls at a time', heldBack: true });
      if (error instanceof TaskCancelledError) return refused({ kind: 'UNREACHABLE', code: 'WAITED', message: 'its time was over before its turn came', heldBack: true });
      throw error;
    }
  }

  /** Waits for its turn no longer than its time; once under way it ends by itself. */
  private async inTurn<T>(run: () => Promise<Waited<T>>, signal: AbortSignal): Promise<Waited<T>> {
    let waits = true;
    const { promise: over, reject } = Promise.withResolvers<never>();
    const giveUp = (): void => {
      if (waits) reject(new TaskCancelledError());
    };

    signal.addEventListener('abort', giveUp, { once: true });
    const inItsTurn = this.gate.execute(async () => {
      waits = false;
      // It may have opened meanwhile: what has waited is not sent into a silence.
      return await this.circuit.run(run);
    }, signal);
    try {
      return await Promise.race([inItsTurn, over]);
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** However far the clock went back meanwhile; but a call may bear the time of a little before. */
  private isPaused(now: number): boolean {
    return now < this.pausedUntil && this.pausedUntil - now <= 2 * PAUSE_MAX_MS;
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

const CIRCUIT_OPEN: Refused = { kind: 'UNREACHABLE', code: 'CIRCUIT_OPEN', message: 'the platform has not answered lately', heldBack: true };
class CircuitIsOpen extends Error {}

/**
 * Opens when so many calls in a row got no answer, and then lets one at a time find out whether there is one, after pauses that double. It
 * has a clock that nobody sets. Ours because nobody shall wait for what the one finds out, and no call that was not made may close it.
 */
class Circuit {
  private silences = 0;
  private pauseMs = 0;
  private openUntil: number | null = null;
  private isTried = false;

  get isOpen(): boolean {
    return this.openUntil !== null;
  }

  /** Whether a call would be let through now. */
  get lets(): boolean {
    return this.openUntil === null || (!this.isTried && performance.now() >= this.openUntil);
  }

  async run<T>(call: () => Promise<Waited<T>>): Promise<Waited<T>> {
    if (!this.lets) throw new CircuitIsOpen();
    const isTrial = this.isOpen;
    if (isTrial) this.isTried = true;
    try {
      const waited = await call();
      if (waited.isSilence === false) this.close();
      else if (waited.isSilence === true && (this.isOpen ? isTrial : ++this.silences >= SILENCES_MAX)) this.open();
      return waited;
    } finally {
      if (isTrial) this.isTried = false;
    }
  }

  private close(): void {
    [this.silences, this.pauseMs, this.openUntil] = [0, 0, null];
  }

  private open(): void {
    this.pauseMs = Math.min(Math.max(2 * this.pauseMs, OPEN_MIN_MS), OPEN_MAX_MS);
    this.openUntil = performance.now() + this.pauseMs * (0.5 + Math.random() / 2);
  }
}

/** What a call brought, and whether it shows that the platform does not answer; null where it shows nothing. */
interface Waited<T> {
  readonly result: T;
  readonly isSilence: boolean | null;
}

/** Somebody who does not wait this long has not found out whether the platform answers. */
const PATIENCE_MS = 2_000;

async function waited<T>(run: () => Promise<T>, signal: AbortSignal): Promise<Waited<T>> {
  const began = performance.now();
  const result = await run();
  const gaveUp = signal.aborted && performance.now() - began < PATIENCE_MS;
  const silent = isSilence(codeOf(result));
  return { result, isSilence: silent && gaveUp ? null : silent };
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
const isSilence = (code: string): boolean => /^(TIMEOUT|NO_ANSWER|HTTP_5\d\d|UND_ERR_\w+|EAI_\w+|ERR_(?:TLS|SSL)_\w+|CERT_\w+|E[A-Z]{4,})$/.test(code);
