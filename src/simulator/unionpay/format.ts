/** How UnionPay writes time: Beijing, `yyyyMMddHHmmss`, often without the year. */
export const BEIJING_MS = 8 * 3_600_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** `20260101100000`. */
export const stamp = (at: number): string => new Date(at + BEIJING_MS).toISOString().slice(0, 19).replace(/\D/g, '');

/** `0101100000`, as in `traceTime`. */
export const shortStamp = (at: number): string => stamp(at).slice(4);

/** Null for what is no such time, the 30th of February included. */
export function fromStamp(text: string): number | null {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/.exec(text) ?? [];
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}+08:00`);
  return !Number.isNaN(at) && stamp(at) === text ? at : null;
}

/** `2026-01-01`: the clearing day runs from 23:00 to 23:00 (unionpay.md section 8). */
export const clearingDay = (at: number): string => new Date(at + BEIJING_MS + HOUR_MS).toISOString().slice(0, 10);

/** `0101`, as in `settleDate`. */
export const settleDate = (at: number): string => clearingDay(at).slice(5).replace('-', '');

/** The first moment of a Beijing day; null for what is no day. */
export const startOfDay = (day: string): number | null => (/^\d{4}-\d\d-\d\d$/.test(day) ? fromStamp(`${day.replaceAll('-', '')}000000`) : null);
