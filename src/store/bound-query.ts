import type { EntityManager } from '@mikro-orm/postgresql';
import { CompiledQuery } from 'kysely';

/** SQL with real binds, inside the transaction of the given entity manager if it has one; the ORM would write values into the text. */
export async function boundQuery<Row>(em: Pick<EntityManager, 'getKysely'>, text: string, values: readonly unknown[]): Promise<Row[]> {
  return (await em.getKysely().executeQuery<Row>(CompiledQuery.raw(text, [...values]))).rows;
}
