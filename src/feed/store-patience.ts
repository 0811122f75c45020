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

/** How long a watch has been without the database, by its own reads; a short absence ends no watch. */
export class StorePatience {
  private lostSince: number | null = null;

  constructor(private readonly lostMaxMs: number) {}

  found(): void {
    this.lostSince = null;
  }

  lost(): void {
    this.lostSince ??= performance.now();
  }

  /** Whether it is over; `lostElsewhere` is since when the sequencer goes without. */
  isOver(lostElsewhere: number | null): boolean {
    const since = this.lostSince ?? lostElsewhere;
    return since !== null && performance.now() - since >= this.lostMaxMs;
  }
}
