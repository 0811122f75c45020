/** Where a watch starts and where it may end; every refusal is decided here, before the first message. */
import type { MikroORM } from '@mikro-orm/postgresql';
import type { Cursors, SnapshotPhase } from './cursor.js';
import { SHARD, type FeedPosition } from './history.js';
import type { Pages } from './pages.js';
import { Settlement } from './settlement.js';
import type { Closure, Sequencer } from './sequencer.js';
import { BEFORE_ALL } from './snapshot.js';
import type { Tail } from './tail.js';
import type { FilledRequest } from './watch.js';

export interface Sources {
  readonly orm: MikroORM;
  readonly sequencer: Sequencer;
  readonly pages: Pages;
  readonly tail: Tail;
  readonly cursors: Cursors;
}

export interface Start {
  readonly feedId: number;
  readonly position: FeedPosition;
  readonly phase: SnapshotPhase | null;
  /** Everything committed before the call has a revision up to this one; 0 where nobody asks. */
  readonly headRev: bigint;
  readonly settlement: Settlement | null;
}

export async function findStart(sources: Sources, request: FilledRequest): Promise<Start> {
  // First the rows, then the head: an event that the rows show already has a revision up to that head.
  const settlement = request.stopWhenSettled ? await Settlement.read(sources.orm, request.filter.paymentIds) : null;
  const atHead = request.start.kind === 'NOW' || request.start.kind === 'SNAPSHOT';
  const needsHead = atHead || request.stopAtHead || request.stopWhenSettled;
  const closure = needsHead ? await sources.sequencer.catchUp() : null;
  // The sequencer may know of another history before the tail does; what is in memory would then be taken for it.
  if (closure !== null && closure.epoch !== sources.tail.head.epoch) await sources.pages.head();

  const { position, phase } = await placeOf(sources, request, closure);
  return { feedId: sources.tail.head.feedId, position, phase, headRev: closure?.rev ?? 0n, settlement };
}

type Place = Pick<Start, 'position' | 'phase'>;

async function placeOf({ pages, tail, cursors }: Sources, { start }: FilledRequest, closure: Closure | null): Promise<Place> {
  switch (start.kind) {
    case 'NOW':
      return { position: at(closure!), phase: null };
    case 'SNAPSHOT':
      return { position: at(closure!), phase: { kind: 'PAGES', lastPaymentId: BEFORE_ALL } };
    case 'EARLIEST': {
      const { epoch, compactRev } = await pages.head();
      return { position: at({ epoch, rev: compactRev }), phase: null };
    }
    case 'SINCE':
      return { position: await firstSince({ pages, cursors }, start.since), phase: null };
    case 'CURSOR': {
      // After a restart of a replica many come at once, and most of them are near the head.
      const { position } = cursors.open(start.cursor);
      const known = position.epoch === tail.head.epoch && tail.holds(position.rev);
      const head = known ? tail.head : await pages.head();
      const { phase } = cursors.resolve(start.cursor, head);
      return { position: { ...position, epoch: head.epoch }, phase };
    }
  }
}

async function firstSince({ pages, cursors }: Pick<Sources, 'pages' | 'cursors'>, since: Date): Promise<FeedPosition> {
  const head = await pages.head();
  const first = await pages.firstSince(since);
  if (first === null) return at(head);

  // The first that is kept may not be the first that there was.
  const position = at({ epoch: head.epoch, rev: first - 1n });
  if (head.compactRev > 0n && position.rev <= head.compactRev) throw cursors.expired(position, head);
  return position;
}

const at = ({ epoch, rev }: { epoch: number; rev: bigint }): FeedPosition => ({ shard: SHARD, epoch, rev });
