/** Platforms give local times without an offset: always UTC+8, without daylight saving, whatever the zone of the process. */
const AHEAD_MS = 8 * 3600_000;

const local = (at: Date): string => new Date(at.getTime() + AHEAD_MS).toISOString();

/** `yyyy-MM-dd HH:mm:ss`. */
export const beijingTime = (at: Date): string => local(at).slice(0, 19).replace('T', ' ');

/** `yyyyMMddHHmmss`. */
export const compactBeijingTime = (at: Date): string => local(at).slice(0, 19).replace(/\D/g, '');

/** RFC 3339 with `+08:00`, to the second. */
export const offsetBeijingTime = (at: Date): string => `${local(at).slice(0, 19)}+08:00`;

/** `yyyy-MM-dd HH:mm:ss`, with or without a fraction; null where it is none. */
export function parseBeijingTime(text: string): Date | null {
  const match = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,3}))?$/.exec(text);
  return match === null ? null : validDate(`${match[1]}T${match[2]}.${(match[3] ?? '').padEnd(3, '0')}+08:00`);
}

/** `yyyyMMddHHmmss`; null where it is none. */
export function parseCompactBeijingTime(text: string): Date | null {
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/.exec(text);
  if (match === null) return null;
  const [, year, month, day, hour, minute, second] = match;
  return validDate(`${year}-${month}-${day}T${hour}:${minute}:${second}+08:00`);
}

/** RFC 3339 with an offset; null where it is none. */
export function parseOffsetTime(text: string): Date | null {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(text) ? validDate(text) : null;
}

/** Of times without a year (`MMddHHmmss`): the one nearest to a time that is known. */
export function nearestYear(monthToSecond: string, near: Date): Date | null {
  const year = Number(local(near).slice(0, 4));
  const candidates = [year - 1, year, year + 1].flatMap((one) => parseCompactBeijingTime(`${one}${monthToSecond}`) ?? []);
  const distance = (at: Date): number => Math.abs(at.getTime() - near.getTime());
  return candidates.sort((a, b) => distance(a) - distance(b))[0] ?? null;
}

function validDate(text: string): Date | null {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? null : at;
}
