import type { EntityManager } from '@mikro-orm/postgresql';
import { CompiledQuery } from 'kysely';

/** With real binds: one statement, however many keys there are. Numbers of 64 bits and instants come as text. */
export async function query<Row>(em: EntityManager, text: string, values: readonly unknown[]): Promise<Row[]> {
  return (await em.getKysely().executeQuery<Row>(CompiledQuery.raw(text, [...values]))).rows;
}
