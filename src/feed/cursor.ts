/**
 * Cursors: opaque bytes that name a position in the feed, good on every replica and with any filter. Layout:
 *
 *   format (1) | feed id (4) | shards (1) | shard, epoch, revision as varints | phase | check (8)
 *
 * The phase is 0, or inside a snapshot 1 and the last payment id (16), or 2 and the revision (varint) at which the snapshot is
 * complete. A cursor holds no xid and no LSN: both die at a restore.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { DomainError, fieldInvalid } from '../payment/errors.js';
import { divergence, SHARD, type FeedHead, type FeedPosition } from './history.js';

export type SnapshotPhase =
  | { readonly kind: 'PAGES'; readonly lastPaymentId: string }
  | { readonly kind: 'REPLAY'; readonly untilRev: bigint };

export interface Cursor {
  readonly feedId: number;
  readonly position: FeedPosition;
  readonly phase: SnapshotPhase | null;
}

const FORMAT = 1;
const CHECK_BYTES = 8;
const VARINT_BYTES_MAX = 10;

export class Cursors {
  constructor(private readonly key: string) {}

  seal({ feedId, position, phase }: Cursor): Uint8Array {
    const prefix = Buffer.alloc(6);
    prefix.writeUInt8(FORMAT, 0);
    prefix.writeUInt32BE(feedId, 1);
    prefix.writeUInt8(1, 5);
    const body = Buffer.concat([
      prefix,
      varint(BigInt(position.shard)),
      varint(BigInt(position.epoch)),
      varint(position.rev),
      phaseBytes(phase),
    ]);
    return Buffer.concat([body, this.checkOf(body)]);
  }

  /** Opens a cursor and finds its place in the history; every fault by its own reason, in this order: FIELD_INVALID on
   * `after_cursor`, FEED_HISTORY_DIVERGED, CURSOR_EXPIRED. */
  resolve(bytes: Uint8Array, head: FeedHead): Cursor {
    const cursor = this.open(bytes);
    if (cursor.feedId !== head.feedId) throw cursorInvalid('is a cursor of another feed');
    this.requireWithin(cursor.position, head);
    return cursor;
  }

  requireWithin(position: FeedPosition, head: FeedHead): void {
    const safeRev = divergence(position, head);
    if (safeRev !== null) throw this.diverged(position, head, safeRev);
    if (position.rev < head.compactRev) throw this.expired(position, head);
  }

  expired(position: FeedPosition, head: FeedHead): DomainError {
    const earliest = { ...position, epoch: head.epoch, rev: head.compactRev };
    return new DomainError('CURSOR_EXPIRED', `revision ${position.rev} is gone; revisions up to ${head.compactRev} were removed`, {
      metadata: { earliest_cursor: this.text(earliest, head), compact_revision: `${head.compactRev}` },
    });
  }

  open(bytes: Uint8Array): Cursor {
    const buffer = Buffer.from(bytes);
    const body = buffer.subarray(0, -CHECK_BYTES);
    const genuine = body.length > 0 && timingSafeEqual(buffer.subarray(-CHECK_BYTES), this.checkOf(body));
    if (!genuine) throw cursorInvalid('is not a cursor of this service');
    return readBody(body);
  }

  private diverged(position: FeedPosition, head: FeedHead, safeRev: bigint): DomainError {
    const safe = { ...position, epoch: head.epoch, rev: safeRev };
    const sentence = `revision ${position.rev} of epoch ${position.epoch} is not in the history of epoch ${head.epoch}: the database lost its newest changes; both agree up to revision ${safeRev}`;
    return new DomainError('FEED_HISTORY_DIVERGED', sentence, {
      metadata: { safe_cursor: this.text(safe, head), epoch: `${head.epoch}` },
    });
  }

  private text(position: FeedPosition, { feedId }: FeedHead): string {
    return cursorText(this.seal({ feedId, position, phase: null }));
  }

  private checkOf(body: Buffer): Buffer {
    return createHmac('sha256', this.key).update('feed cursor\0').update(body).digest().subarray(0, CHECK_BYTES);
  }
}

/** As in logs, error metadata and the command line. */
export const cursorText = (cursor: Uint8Array): string => Buffer.from(cursor).toString('base64url');

function cursorInvalid(description: string): DomainError {
  return fieldInvalid({ field: 'after_cursor', description });
}

function phaseBytes(phase: SnapshotPhase | null): Buffer {
  if (phase === null) return Buffer.from([0]);
  if (phase.kind === 'PAGES') return Buffer.from(`01${phase.lastPaymentId.replaceAll('-', '')}`, 'hex');
  return Buffer.concat([Buffer.from([2]), varint(phase.untilRev)]);
}

/** What a genuine cursor says; a layout that this version does not write is refused like a forged one. */
function readBody(body: Buffer): Cursor {
  const reader = new Reader(body);
  const format = reader.byte();
  const feedId = reader.bytes(4).readUInt32BE();
  const shards = reader.byte();
  const position = { shard: Number(reader.varint()), epoch: Number(reader.varint()), rev: reader.varint() };
  const phase = readPhase(reader);
  if (format !== FORMAT || shards !== 1 || position.shard !== SHARD || !reader.atEnd) throw cursorInvalid('has an unknown format');
  return { feedId, position, phase };
}

function readPhase(reader: Reader): SnapshotPhase | null {
  const kind = reader.byte();
  if (kind === 0) return null;
  if (kind === 2) return { kind: 'REPLAY', untilRev: reader.varint() };
  const hex = reader.bytes(16).toString('hex');
  return { kind: 'PAGES', lastPaymentId: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5') };
}

class Reader {
  private at = 0;
  constructor(private readonly body: Buffer) {}

  get atEnd(): boolean {
    return this.at === this.body.length;
  }

  bytes(count: number): Buffer {
    if (this.at + count > this.body.length) throw cursorInvalid('is cut off');
    this.at += count;
    return this.body.subarray(this.at - count, this.at);
  }

  byte(): number {
    return this.bytes(1)[0]!;
  }

  varint(): bigint {
    let value = 0n;
    for (let place = 0; place < VARINT_BYTES_MAX; place++) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << BigInt(7 * place);
      if (byte < 0x80) return value;
    }
    throw cursorInvalid('has an unknown format');
  }
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
