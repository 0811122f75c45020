/**
 * Many statements as one: each round trip to the database costs more than most of what is done in it. All parts see the same snapshot and
 * not what the others write, in no promised order, so that no two of them may concern the same row.
 */
import type { EntityManager } from '@mikro-orm/postgresql';
import { boundQuery } from './bound-query.js';

/** SQL whose values are numbered from where it is told to begin. */
export interface Part {
  readonly values: readonly unknown[];
  text(from: number): string;
}

/** Answers with what the last part returns; without one, with nothing. */
export async function writeParts<Row>(em: EntityManager, parts: readonly (Part | null)[], last: Part | null): Promise<Row[]> {
  const { texts, values } = numbered([...parts, last]);
  if (texts.length === 0) return [];
  const named = texts.map((text, at) => `part_${at} as (${text})`).join(', ');
  const told = last === null ? 'select where false' : `select * from part_${texts.length - 1}`;
  return await boundQuery<Row>(em, `with ${named} ${told}`, values);
}

/** The rows of all parts, which must have the same columns. */
export async function readParts<Row>(em: EntityManager, parts: readonly (Part | null)[]): Promise<Row[]> {
  const { texts, values } = numbered(parts);
  return texts.length === 0 ? [] : await boundQuery<Row>(em, texts.join(' union all '), values);
}

function numbered(parts: readonly (Part | null)[]): { texts: string[]; values: unknown[] } {
  const [texts, values]: [string[], unknown[]] = [[], []];
  for (const part of parts) {
    if (part === null) continue;
    texts.push(part.text(values.length + 1));
    values.push(...part.values);
  }
  return { texts, values };
}
