/** What may bring the events of the feed to a replica, so that it need not read each of them from the database. */
import type { Closure } from './sequencer.js';

export interface Carrier extends AsyncDisposable {
  /** Whether what follows in this epoch is on its way; where it does not come in time, the carrier has the tail read it. */
  brings(epoch: number): boolean;
  /** This replica has advanced the feed, or looked whether it must. */
  advanced(closure: Closure): void;
  /** Another replica says that the head is there now. */
  heard(head: { epoch: number; rev: bigint }): void;
  health(): CarrierHealth;
}

export interface CarrierHealth {
  readonly isLive: boolean;
  /** Why it is not; null while it is. */
  readonly fault: string | null;
  /** The last revision that it is known to have. */
  readonly lastRev: bigint;
  /** Events that it brought and nobody had to read, since the start. */
  readonly brought: bigint;
  /** Publishes of this replica that were refused since it became live, because another was faster or knew better. */
  readonly refused: number;
}
