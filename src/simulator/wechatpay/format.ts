/** How WeChat Pay writes time (RFC 3339 with the offset of Beijing) and, in its bills, money. */
const BEIJING_MS = 8 * 3_600_000;
export const DAY_MS = 86_400_000;

/** `2018-06-08T10:34:56+08:00`. */
export const rfc3339 = (at: number): string => `${shifted(at).slice(0, 19)}+08:00`;

/** `2018-06-08 10:34:56`, as in bills. */
export const beijing = (at: number): string => shifted(at).slice(0, 19).replace('T', ' ');

/** `2018-06-08`. */
export const beijingDay = (at: number): string => shifted(at).slice(0, 10);

/** Null for what is no time with an offset, the 30th of February included. */
export function fromRfc3339(text: string): number | null {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/.exec(text);
  const local = Date.parse(`${match?.[1]}Z`);
  if (Number.isNaN(local) || new Date(local).toISOString().slice(0, 19) !== match?.[1]) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

/** The first moment of a Beijing day; null for what is no day. */
export function startOfDay(day: string): number | null {
  const at = /^\d{4}-\d\d-\d\d$/.test(day) ? fromRfc3339(`${day}T00:00:00+08:00`) : null;
  return at;
}

export function yuan(fen: bigint): string {
  const size = fen < 0n ? -fen : fen;
  return `${fen < 0n ? '-' : ''}${size / 100n}.${(size % 100n).toString().padStart(2, '0')}`;
}

const shifted = (at: number): string => new Date(at + BEIJING_MS).toISOString();
