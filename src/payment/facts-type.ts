import { Type } from '@mikro-orm/postgresql';
import type { Facts } from './facts.js';

/** Stores facts as jsonb: bigint as decimal text, instants as ISO 8601 in UTC. */
export class FactsType extends Type<Facts, string> {
  override convertToDatabaseValue(facts: Facts): string {
    return JSON.stringify(facts, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
  }

  override convertToJSValue(stored: string | Facts): Facts {
    const value: unknown = typeof stored === 'string' ? JSON.parse(stored) : stored;
    return revive(value) as Facts;
  }

  override getColumnType(): string {
    return 'jsonb';
  }

  override compareAsType(): string {
    return 'string';
  }
}

const AMOUNTS = new Set(['amount', 'refundedTotal']);

function revive(value: unknown, key = ''): unknown {
  if (typeof value === 'string') return key === 'at' ? new Date(value) : AMOUNTS.has(key) ? BigInt(value) : value;
  if (Array.isArray(value) || value === null || typeof value !== 'object' || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, revive(inner, name)]));
}
