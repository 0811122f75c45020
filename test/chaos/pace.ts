/** How long a run is made to last. */
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

export interface Pace {
  /** Stories at a time. */
  readonly concurrency: number;
  /** How often callers look at one payment, at most. */
  readonly looksMax: number;
  /** No sooner than after this time, and after so many acts of callers: a machine that is slow is not hit harder. */
  readonly faultEveryMs: number;
  readonly actsPerFault: number;
  /** Between two kills: at least, and at most. */
  readonly killEveryMs: readonly [number, number];
  readonly killsMax: number;
  /** The turns at which it is the database that crashes, and the service has to live with it. */
  readonly crashes: readonly number[];
  /** How far the clocks run on while the trouble lasts: up to the last minutes before the orders expire, and past their expiry. */
  readonly beforeExpiryMs: readonly number[];
  readonly pastExpiryMs: readonly number[];
  /** And without it: past every schedule and the service's own patience. */
  readonly inPeaceMs: readonly number[];
}

export const FULL: Pace = {
  concurrency: 96,
  looksMax: 5,
  faultEveryMs: 40,
  actsPerFault: 2,
  killEveryMs: [1_500, 4_500],
  killsMax: Infinity,
  crashes: [1, 5],
  beforeExpiryMs: [15 * SECOND, 65 * SECOND, 5 * MINUTE, 40 * MINUTE],
  pastExpiryMs: [90 * MINUTE, 12 * MINUTE],
  inPeaceMs: [0, 65 * SECOND, 40 * MINUTE, 4 * HOUR, 12 * HOUR, 26 * HOUR, 26 * HOUR],
};

/** For a few dozen payments: everything happens, and most of it once. */
export const BRIEF: Pace = {
  concurrency: 48,
  looksMax: 8,
  faultEveryMs: 40,
  actsPerFault: 0.5,
  killEveryMs: [1_000, 1_500],
  killsMax: 1,
  crashes: [1],
  beforeExpiryMs: [65 * SECOND, 40 * MINUTE],
  pastExpiryMs: [90 * MINUTE],
  inPeaceMs: FULL.inPeaceMs,
};
