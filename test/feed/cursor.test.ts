import { Cursors, cursorText, type Cursor } from '../../src/feed/cursor.js';
import type { FeedHead } from '../../src/feed/history.js';
import { DomainError } from '../../src/payment/errors.js';

const cursors = new Cursors('a key');
const ID = '0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b';

function cursor(rev: bigint, epoch = 1, phase: Cursor['phase'] = null): Cursor {
  return { feedId: 77, position: { shard: 0, epoch, rev }, phase };
}

function head(rev: bigint, fields: Partial<FeedHead> = {}): FeedHead {
  return { feedId: 77, epoch: 1, rev, compactRev: 0n, epochs: [{ epoch: 1, startRev: 0n }], ...fields };
}

function refusal(bytes: Uint8Array, at: FeedHead): DomainError {
  try {
    cursors.resolve(bytes, at);
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
  throw new Error('the cursor was accepted');
}

const SAMPLES: Cursor[] = [
  cursor(0n),
  cursor(127n),
  cursor(128n, 300),
  cursor(2n ** 62n, 2 ** 31 - 1),
  cursor(5n, 2, { kind: 'PAGES', lastPaymentId: ID }),
  cursor(5n, 2, { kind: 'REPLAY', untilRev: 1n << 40n }),
];

test.each(SAMPLES)('a cursor comes back as it was sealed: %#', (sample) => {
  expect(cursors.open(cursors.seal(sample))).toEqual(sample);
});

test.each(SAMPLES)('every flipped bit of a cursor is FIELD_INVALID on after_cursor: %#', (sample) => {
  const sealed = cursors.seal(sample);
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = Uint8Array.from(sealed);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const error = refusal(flipped, head(10n));
    expect([error.reason, error.violations[0]?.field]).toEqual(['FIELD_INVALID', 'after_cursor']);
  }
});

test.each([
  ['nothing', new Uint8Array()],
  ['a few bytes', Uint8Array.of(1, 2, 3)],
  ['a cursor cut off', cursors.seal(cursor(5n)).slice(0, -1)],
  ['a cursor with a tail', Uint8Array.of(...cursors.seal(cursor(5n)), 0)],
  ['a cursor of another key', new Cursors('another key').seal(cursor(5n))],
  ['a cursor of another feed', cursors.seal({ ...cursor(5n), feedId: 78 })],
])('%s is FIELD_INVALID on after_cursor', (_, bytes) => {
  const error = refusal(bytes, head(10n));
  expect([error.reason, error.violations[0]?.field]).toEqual(['FIELD_INVALID', 'after_cursor']);
});

const EPOCHS = [1n, 40n, 60n, 50n].map((startRev, index) => ({ epoch: index + 1, startRev: index === 0 ? 0n : startRev }));
const later = head(100n, { epoch: 4, epochs: EPOCHS });

test.each([
  ['before every change of history', cursor(30n, 1), null],
  ['at the very revision of a change', cursor(40n, 1), null],
  ['one revision beyond it', cursor(41n, 1), 40n],
  ['far beyond all of them: the smallest is safe', cursor(90n, 1), 40n],
  ['in an epoch whose tail was kept by the next and cut by the one after', cursor(55n, 2), 50n],
  ['the same, but not as far', cursor(50n, 2), null],
  ['in the epoch of the head', cursor(100n, 4), null],
  ['ahead of the head in its own epoch', cursor(101n, 4), 50n],
  ['in an epoch that the head has not reached', cursor(70n, 5), 50n],
  ['in such an epoch, but before the head parted from it', cursor(45n, 5), 45n],
])('a position is judged: %s', (_, sample, safeRev) => {
  const sealed = cursors.seal(sample);
  if (safeRev === null) return expect(cursors.resolve(sealed, later)).toEqual(sample);

  const error = refusal(sealed, later);
  const safe = cursors.seal(cursor(safeRev, 4));
  expect([error.reason, error.metadata]).toEqual(['FEED_HISTORY_DIVERGED', { safe_cursor: cursorText(safe), epoch: '4' }]);
  expect(cursors.resolve(safe, later).position.rev).toBe(safeRev);
});

test('a position that was removed has expired, and the earliest one has not', () => {
  const compacted = head(100n, { compactRev: 20n });
  const error = refusal(cursors.seal(cursor(19n)), compacted);
  const earliest = cursors.seal(cursor(20n));
  expect([error.reason, error.metadata]).toEqual(['CURSOR_EXPIRED', { earliest_cursor: cursorText(earliest), compact_revision: '20' }]);
  expect(cursors.resolve(earliest, compacted).position.rev).toBe(20n);
});

test('a position in an epoch that the history does not have goes back to the epoch before it', () => {
  const branch = head(100n, { epoch: 9, epochs: [{ epoch: 1, startRev: 0n }, { epoch: 4, startRev: 30n }, { epoch: 9, startRev: 80n }] });
  const error = refusal(cursors.seal(cursor(60n, 7)), branch);
  expect([error.reason, error.metadata['safe_cursor']]).toEqual(['FEED_HISTORY_DIVERGED', cursorText(cursors.seal(cursor(30n, 9)))]);
});

test('a lost history is said before a removed one', () => {
  const both = head(100n, { epoch: 2, compactRev: 60n, epochs: [{ epoch: 1, startRev: 0n }, { epoch: 2, startRev: 40n }] });
  expect(refusal(cursors.seal(cursor(50n, 1)), both).reason).toBe('FEED_HISTORY_DIVERGED');
});
