import { DomainError } from '../payment/errors.js';
import { FeedBroken } from './pages.js';

/** A read that may succeed when it is tried again; everything else that is thrown ends the watch. */
export class StoreFailed extends Error {}

export async function fromStore<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof DomainError || error instanceof FeedBroken) throw error;
    throw new StoreFailed('the database could not be read', { cause: error });
  }
}
