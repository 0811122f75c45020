const ZONE = '+08:00';

/** `yyyy-MM-dd HH:mm:ss` of Beijing. */
export function beijing(at: Date): string {
  const parts = new Intl.DateTimeFormat('sv-SE', { timeZone: 'Asia/Shanghai', dateStyle: 'short', timeStyle: 'medium' });
  return parts.format(at);
}

export function fromBeijing(text: string): Date | null {
  if (!/^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$/.test(text)) return null;
  const at = new Date(text.replace(' ', 'T') + ZONE);
  return Number.isNaN(at.getTime()) ? null : at;
}

/** Fen of a yuan text with at most two decimals; null where it is none. */
export function fenOf(text: string): bigint | null {
  if (!/^[0-9]{1,9}(\.[0-9]{1,2})?$/.test(text)) return null;
  const [whole = '0', cents = ''] = text.split('.');
  return BigInt(whole) * 100n + BigInt(cents.padEnd(2, '0'));
}

export const yuanOf = (fen: bigint): string => `${fen / 100n}.${(fen % 100n).toString().padStart(2, '0')}`;
