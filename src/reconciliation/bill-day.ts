/** Days of bills: Beijing days, always UTC+8, which some platforms begin a little before midnight. */
import type { PlatformAdapter } from '../payment/platform.js';

const AHEAD_MS = 8 * 3600_000;
const DAY_MS = 24 * 3600_000;

/** From, and up to but not including. */
export interface Period {
  readonly from: Date;
  readonly to: Date;
}

export const beijingDay = (at: Date): string => new Date(at.getTime() + AHEAD_MS).toISOString().slice(0, 10);

/** Whether it is a day of the calendar, as `yyyy-MM-dd`. */
export function isDay(text: string): boolean {
  const midnight = /^\d{4}-\d\d-\d\d$/.test(text) ? midnightOf(text) : new Date(NaN);
  return !Number.isNaN(midnight.getTime()) && beijingDay(midnight) === text;
}

/** What the account's bill of that day covers. */
export function periodOf({ billDayShiftMs }: Pick<PlatformAdapter, 'billDayShiftMs'>, day: string): Period {
  const from = midnightOf(day).getTime() + billDayShiftMs;
  return { from: new Date(from), to: new Date(from + DAY_MS) };
}

export const isWithin = (at: Date, { from, to }: Period): boolean => at >= from && at < to;

const midnightOf = (day: string): Date => new Date(`${day}T00:00:00+08:00`);
