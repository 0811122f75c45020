import type { Paces } from '../payment/platform.js';

/** Written in seconds, as the platforms' documents do. */
export function paces({ open, unknown, refund }: Paces): Paces {
  const inMs = (seconds: readonly number[]): number[] => seconds.map((one) => one * 1_000);
  return { open: inMs(open), unknown: inMs(unknown), refund: inMs(refund) };
}
