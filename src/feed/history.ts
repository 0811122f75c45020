/**
 * Where a position stands in the history of the feed. An epoch opens at a promotion or a restore, at the revision up to which the
 * new history agrees with the one before; whoever has read further in an older epoch has read events that no longer exist.
 */
export interface FeedPosition {
  readonly shard: number;
  readonly epoch: number;
  /** The last revision read. */
  readonly rev: bigint;
}

export interface FeedHead {
  readonly feedId: number;
  readonly epoch: number;
  /** The last revision given. */
  readonly rev: bigint;
  /** Revisions up to this one are gone. */
  readonly compactRev: bigint;
  /** All epochs up to the head's, oldest first. */
  readonly epochs: readonly Epoch[];
}

export interface Epoch {
  readonly epoch: number;
  /** The last revision of the history before. */
  readonly startRev: bigint;
}

/** One total order for all payments; the columns and the cursor have room for more shards. */
export const SHARD = 0;

/** The newest revision known to be common to a position and the head's history; null where the position lies in that history. */
export function divergence(position: FeedPosition, head: FeedHead): bigint | null {
  const lost = head.epochs.filter(({ epoch, startRev }) => epoch > position.epoch && position.rev > startRev);
  if (lost.length > 0) return lost.map(({ startRev }) => startRev).reduce(smaller);

  // Another branch of the history, or a database that went back without a new epoch. Where they parted is unknown; what was
  // given before the newest epoch that both have is surely common.
  const isKnown = head.epochs.some(({ epoch }) => epoch === position.epoch);
  if (isKnown && (position.epoch !== head.epoch || position.rev <= head.rev)) return null;
  const common = head.epochs.findLast(({ epoch }) => epoch < position.epoch || (isKnown && epoch === position.epoch));
  return smaller(position.rev, common?.startRev ?? 0n);
}

/** The epoch in which a revision was given. */
export function epochOf(rev: bigint, head: FeedHead): number {
  return head.epochs.findLast(({ startRev }) => startRev < rev)?.epoch ?? head.epochs[0]?.epoch ?? head.epoch;
}

const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
