/** Checks a call at the door, in the order of unionpay.md section 11. */
import type { HttpRequest } from '../http.js';
import { fromStamp } from './format.js';
import { isWellFormed } from './formats.js';
import { certificateId, type CertifiedKey } from './keys.js';
import { badSignature, malformed, missing, Refusal } from './refusal.js';
import { signatureHolds, signedText } from './signature.js';
import { readForm, type Fields } from './wire.js';

export interface Door {
  readonly merId: string;
  readonly merchant: Pick<CertifiedKey, 'certificatePem'>;
  readonly txnTimeWindowMs: number;
  /** What a `txnTime` outside of the window is answered with. */
  readonly staleTimeCode: string;
  now(): number;
}

/** What a call of this kind must have. */
export interface Demands {
  readonly fields: readonly string[];
  readonly bizTypes: readonly string[];
  readonly channelTypes: readonly string[];
  /** Its `txnTime` is the present, not the identity of something earlier. */
  readonly isFresh: boolean;
}

const COMMON = ['certId', 'signature', 'txnType', 'txnSubType', 'bizType', 'accessType', 'txnTime'];

/** Null for what is no form. */
export function readFields({ method, query, headers, body }: HttpRequest): Fields | null {
  const isForm = /^application\/x-www-form-urlencoded(;\s*charset="?utf-8"?)?\s*$/i.test(headers['content-type'] ?? '');
  return method === 'POST' && query === '' && isForm ? readForm(body) : null;
}

/** Throws the refusal of the first check that fails; `demands` is null for an operation that is not served. */
export function checkDoor(door: Door, fields: Fields, demands: Demands | null): void {
  for (const name of ['version', 'encoding', 'signMethod', 'merId']) check(fields, name);
  if (fields.get('merId') !== door.merId) throw new Refusal('31');

  for (const name of [...COMMON, ...(demands?.fields ?? [])]) if ((fields.get(name) ?? '') === '') throw missing(name);
  for (const [name, value] of fields) if (value !== '' && !isWellFormed(name, value)) throw malformed(name);
  if (demands !== null) checkKind(fields, demands);

  if (fields.get('certId') !== certificateId(door.merchant)) throw badSignature();
  if (!signatureHolds(signedText(fields), fields.get('signature') ?? '', door.merchant.certificatePem)) throw badSignature();

  if (demands === null) throw new Refusal('43');
  const offMs = Math.abs((fromStamp(fields.get('txnTime') ?? '') ?? 0) - door.now());
  if (demands.isFresh && offMs > door.txnTimeWindowMs) throw new Refusal(door.staleTimeCode);
}

function checkKind(fields: Fields, { bizTypes, channelTypes }: Demands): void {
  if (!bizTypes.includes(fields.get('bizType') ?? '')) throw malformed('bizType');
  const channel = fields.get('channelType') ?? '';
  if (channel !== '' && !channelTypes.includes(channel)) throw malformed('channelType');
}

function check(fields: Fields, name: string): void {
  const value = fields.get(name) ?? '';
  if (value === '') throw missing(name);
  if (!isWellFormed(name, value)) throw malformed(name);
}
