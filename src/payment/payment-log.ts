/**
 * The append-only log of a payment: one entry per accepted change (with the new version) and per act that changed nothing
 * (without). Entries form one hash chain per payment, so that a rewritten, removed or inserted entry is evident.
 *
 * The hash of an entry is the lower-case hex SHA-256 of its canonical text: one line per field in the order of `canonicalText`,
 * `name=<bytes>:<UTF-8 value>\n`, or `name=-\n` for an absent value. Times are milliseconds since 1970 in decimal; evidence is
 * one line per key, sorted by code unit, named `evidence.<key>`. The first entry's `prev_hash` is absent.
 */
import { createHash } from 'node:crypto';
import { defineEntity, p } from '@mikro-orm/postgresql';
import type { EvidenceSource } from './facts.js';
import type { PaymentStatus } from './payment-status.js';

export type LogKind =
  | 'CREATED'
  | 'STATUS_CHANGED'
  /** The visible payment changed, but not its status: an amount, the review reason, the platform's transaction. */
  | 'PAYMENT_CHANGED'
  /** Evidence that changed nothing visible. */
  | 'EVIDENCE'
  | 'REFUND_CHANGED'
  /** A caller's word that is not believed as such. */
  | 'CLAIM'
  /** An act that was refused. */
  | 'REFUSED'
  /** A call to the platform that failed or whose outcome is open. */
  | 'PLATFORM_CALL'
  | 'CLOSE_REQUESTED';

export type ActorType = 'CALLER' | 'PLATFORM' | 'WORKER' | 'OPERATOR';

export interface Actor {
  readonly type: ActorType;
  readonly id: string;
}

/** Who acts, when, and where the entries of the act go. */
export interface Act {
  readonly actor: Actor;
  readonly at: Date;
  record(entry: PaymentLogEntry): void;
}

/** What an entry says; who, when and the chain come from the act and the payment. */
export interface LogText {
  readonly kind: LogKind;
  readonly source?: EvidenceSource | null;
  readonly refundId?: string | null;
  readonly reason?: string;
  readonly error?: { readonly code: string; readonly message: string } | null;
  readonly evidence?: Readonly<Record<string, string>>;
  readonly occurredAt?: Date;
}

const schema = defineEntity({
  name: 'PaymentLogEntry',
  tableName: 'payment_log',
  properties: {
    paymentId: p.uuid().primary(),
    seq: p.integer().primary(),
    version: p.integer().strictNullable(),
    kind: p.text().$type<LogKind>(),
    actorType: p.text().$type<ActorType>(),
    actorId: p.text(),
    source: p.text().$type<EvidenceSource>().strictNullable(),
    prevStatus: p.text().$type<PaymentStatus>().strictNullable(),
    status: p.text().$type<PaymentStatus>(),
    refundId: p.uuid().strictNullable(),
    reason: p.text(),
    errorCode: p.text().strictNullable(),
    errorMessage: p.text().strictNullable(),
    evidence: p.json<Readonly<Record<string, string>>>(),
    platform: p.text(),
    appId: p.text(),
    occurredAt: p.datetime(3),
    recordedAt: p.datetime(3),
    prevHash: p.text().strictNullable(),
    hash: p.text(),
  },
});

export class PaymentLogEntry extends schema.class {}
schema.setClass(PaymentLogEntry);
export { schema as PaymentLogEntrySchema };

export type HashedFields = Pick<
  PaymentLogEntry,
  | 'paymentId' | 'seq' | 'version' | 'kind' | 'actorType' | 'actorId' | 'source' | 'prevStatus' | 'status' | 'refundId'
  | 'reason' | 'errorCode' | 'errorMessage' | 'evidence' | 'occurredAt' | 'recordedAt' | 'prevHash'
>;

export function hashOf(entry: HashedFields): string {
  return createHash('sha256').update(canonicalText(entry), 'utf8').digest('hex');
}

export function canonicalText(entry: HashedFields): string {
  const lines: [string, string | null | undefined][] = [
    ['prev_hash', entry.prevHash],
    ['payment_id', entry.paymentId],
    ['seq', entry.seq.toString()],
    ['version', entry.version?.toString()],
    ['kind', entry.kind],
    ['actor_type', entry.actorType],
    ['actor_id', entry.actorId],
    ['source', entry.source],
    ['prev_status', entry.prevStatus],
    ['status', entry.status],
    ['refund_id', entry.refundId],
    ['reason', entry.reason],
    ['error_code', entry.errorCode],
    ['error_message', entry.errorMessage],
    ['occurred_at', entry.occurredAt.getTime().toString()],
    ['recorded_at', entry.recordedAt.getTime().toString()],
    ...Object.keys(entry.evidence)
      .sort()
      .map((key): [string, string | undefined] => [`evidence.${key}`, entry.evidence[key]]),
  ];
  return lines.map(([name, value]) => `${name}=${value == null ? '-' : `${Buffer.byteLength(value)}:${value}`}\n`).join('');
}

export interface ChainFault {
  readonly seq: number;
  readonly what: string;
}

export type ChainEntry = HashedFields & Pick<PaymentLogEntry, 'hash'>;

/** Where a payment says that its chain ends. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string | null;
}

/** The first fault of a payment's chain, read in the order of seq, or null when every entry is what was written. */
export function findChainFault(entries: readonly ChainEntry[], head: ChainHead): ChainFault | null {
  const walk = new ChainWalk();
  for (const entry of entries) walk.step(entry);
  return walk.endAt(head);
}

/** Follows one payment's chain entry by entry, in the order of seq, and keeps its first fault; holds no entry itself. */
export class ChainWalk {
  /** Entries seen, behind a fault, too. */
  entries = 0;
  fault: ChainFault | null = null;
  /** The end of what holds. */
  last: ChainEnd = { seq: 0, hash: null, version: 0, status: null };

  step(entry: ChainEntry): void {
    this.entries += 1;
    if (this.fault !== null) return;
    const { last } = this;
    this.fault = faultOf(entry, last);
    if (this.fault === null) this.last = { seq: entry.seq, hash: entry.hash, version: entry.version ?? last.version, status: entry.status };
  }

  /** The first fault of a chain that was followed to its end: its own, or that the payment says otherwise. */
  endAt(head: ChainHead): ChainFault | null {
    const { last, fault } = this;
    if (fault !== null) return fault;
    if (last.seq < head.seq) return { seq: last.seq + 1, what: `entry ${last.seq + 1} is missing; the payment's chain head is entry ${head.seq}` };
    if (last.seq > head.seq) return { seq: head.seq + 1, what: `entry ${head.seq + 1} is beyond the payment's chain head` };
    return last.hash === head.hash ? null : { seq: last.seq, what: `the payment's chain head is entry ${head.seq} with another hash` };
  }
}

export interface ChainEnd extends ChainHead {
  readonly version: number;
  readonly status: PaymentStatus | null;
}

function faultOf(entry: ChainEntry, last: ChainEnd): ChainFault | null {
  const seq = last.seq + 1;
  if (entry.seq !== seq) return { seq, what: `entry ${seq} is missing` };
  if (entry.prevHash !== last.hash) return { seq, what: 'prev_hash is not the hash of the entry before' };
  if (!isTextByName(entry.evidence)) return { seq, what: 'the evidence is not text by name' };
  if (hashOf(entry) !== entry.hash) return { seq, what: 'the content does not give the recorded hash' };
  if (entry.version !== null && entry.version !== last.version + 1) {
    return { seq, what: `version ${entry.version} does not follow version ${last.version}` };
  }
  return null;
}

/** A rewritten row may hold any JSON, and 5 would give the hash of "5". */
const isTextByName = (evidence: unknown): boolean =>
  typeof evidence === 'object' && evidence !== null && !Array.isArray(evidence) && Object.values(evidence).every((value) => typeof value === 'string');
