/** How Alipay writes money (yuan with two decimals) and time (Beijing, without an offset). */
const BEIJING_MS = 8 * 3_600_000;
export const DAY_MS = 86_400_000;

/** `yyyy-MM-dd HH:mm:ss`. */
export const beijing = (at: number): string => new Date(at + BEIJING_MS).toISOString().slice(0, 19).replace('T', ' ');

/** With milliseconds, as in `gmt_refund`. */
export const beijingMillis = (at: number): string => new Date(at + BEIJING_MS).toISOString().slice(0, 23).replace('T', ' ');

/** `yyyy-MM-dd`. */
export const beijingDay = (at: number): string => beijing(at).slice(0, 10);

/** `yyyy年MM月dd日 HH:mm:ss`, as in bills. */
export const beijingWords = (at: number): string => beijing(at).replace(/^(\d+)-(\d+)-(\d+)/, '$1年$2月$3日');

/** Null for what is no such time, the 30th of February included. */
export function fromBeijing(text: string): number | null {
  if (!/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/.test(text)) return null;
  const at = Date.parse(`${text.replace(' ', 'T')}+08:00`);
  return !Number.isNaN(at) && beijing(at) === text ? at : null;
}

/** The first moment of a Beijing day; null for what is no day. */
export const startOfDay = (day: string): number | null => fromBeijing(`${day} 00:00:00`);

/** Negative only in bills. */
export function yuan(fen: bigint): string {
  const size = fen < 0n ? -fen : fen;
  return `${fen < 0n ? '-' : ''}${size / 100n}.${(size % 100n).toString().padStart(2, '0')}`;
}

/** Fen of a yuan text; null for more decimals, signs and exponents. */
export function fen(text: string): bigint | null {
  const match = /^(\d{1,9})(?:\.(\d{1,2}))?$/.exec(text);
  return match === null ? null : BigInt(match[1] ?? '') * 100n + BigInt((match[2] ?? '').padEnd(2, '0'));
}

const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: DAY_MS };

/** When `timeout_express` (`1m` to `15d`, or `1c` for the end of the day) ends; null for what is none. */
export function expressEnd(text: string, now: number): number | null {
  if (text === '1c') return now - ((now + BEIJING_MS) % DAY_MS) + DAY_MS;
  const match = /^([1-9]\d{0,4})([mhd])$/.exec(text);
  const ms = match === null ? 0 : Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? 0);
  return ms > 0 && ms <= 15 * DAY_MS ? now + ms : null;
}
