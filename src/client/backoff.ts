/** Pauses between attempts: exponential with full jitter, so that clients that lost the same server do not come back together. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface BackoffLimits {
  /** The first pause is at most this long, each one after it at most twice as long as the one before. */
  readonly firstMs: number;
  readonly maxMs: number;
}

export class Backoff {
  private failures = 0;

  constructor(
    private readonly limits: BackoffLimits,
    private readonly random: () => number = Math.random,
  ) {}

  /** Counts a failure and says how long to pause after it. */
  next(): number {
    const { firstMs, maxMs } = this.limits;
    const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(this.failures, 30));
    this.failures++;
    return this.random() * ceilingMs;
  }

  /** To be called on progress. */
  reset(): void {
    this.failures = 0;
  }
}

/** Resolves after the time, or at once when the signal fires; the caller looks at the signal. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
    if (signal?.aborted !== true) throw error;
  });
}
