import { createHash } from 'node:crypto';
import type { Delivery, PlatformAdapter } from '../payment/platform.js';

const HEADER_MAX = 2_048;

export const contentHash = (body: Buffer): string => createHash('sha256').update(body).digest('hex');

/** The headers that reading it again needs; anything else could carry credentials of a proxy. */
export function keptHeaders({ deliveryHeaders }: PlatformAdapter, { headers }: Delivery): Record<string, string> {
  const kept = ['content-type', ...deliveryHeaders].flatMap((name) => {
    const value = headers[name];
    return value === undefined || value.length > HEADER_MAX ? [] : [[name, value] as const];
  });
  return Object.fromEntries(kept);
}
