/** The platform's answers: signed over the exact bytes of the body, a 204 and usually an error as well. */
import { randomBytes } from 'node:crypto';
import type { Fault, FaultKind } from '../faults.js';
import { text as textReply, type HttpReply } from '../http.js';
import type { JsonObject } from './objects.js';
import { spelled, type Refusal, type Spelling } from './refusal.js';
import type { SignatureFlaw, Signer } from './signer.js';

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Buffer;
  readonly isSigned: boolean;
  /** Of an error; null for a success. */
  readonly code: string | null;
  /** The last part of the `Request-ID`. */
  readonly internalCode: number;
}

const JSON_TYPE = 'application/json; charset=utf-8';
const success = { status: 200, contentType: JSON_TYPE, isSigned: true, code: null, internalCode: 0 } as const;

export const answerJson = (object: JsonObject): Answer => ({ ...success, body: Buffer.from(JSON.stringify(object), 'utf8') });

export const answerEmpty = (): Answer => ({ ...success, status: 204, body: Buffer.alloc(0) });

export const answerFile = (body: Buffer, contentType: string): Answer => ({ ...success, contentType, body, isSigned: false });

export function answerRefusal(refusal: Refusal, { spelling, isSigned }: { readonly spelling: Spelling; readonly isSigned: boolean }): Answer {
  const { status, code } = spelled(refusal, spelling);
  const { detail, internalCode = 268435456 + status } = refusal.more;
  const { body } = answerJson({ code, message: refusal.message, ...(detail === undefined ? {} : { detail }) });
  return { status, contentType: JSON_TYPE, body, isSigned, code, internalCode };
}

const FLAWS: Partial<Readonly<Record<FaultKind, SignatureFlaw>>> = {
  'bad-signature': 'altered',
  'no-signature': 'absent',
  'wrong-serial': 'unknown-serial',
  'stale-timestamp': 'stale',
  'signature-probe': 'probe',
};

export function replyWith(answer: Answer, { signer, now }: { readonly signer: Signer; readonly now: number }, fault: Fault | null): HttpReply {
  const { status, contentType, body } = answer;
  const kind = fault?.kind;
  const signature: Record<string, string | string[]> = answer.isSigned ? { ...signer.headers(body, now, kind === undefined ? null : (FLAWS[kind] ?? null)) } : {};
  const given = signature['Wechatpay-Signature'];
  if (kind === 'duplicate-header' && typeof given === 'string') signature['Wechatpay-Signature'] = [given, given];

  return {
    kind: 'answer',
    status,
    contentType,
    // Cut by bytes: half a Chinese character is part of the fault.
    body: kind === 'truncated' ? body.subarray(0, body.length >> 1) : body,
    headers: { ...signature, 'Request-ID': `08${randomBytes(16).toString('hex').toUpperCase()}-${answer.internalCode}` },
    ...(kind === 'slow-trickle' ? { trickle: { pieceBytes: 16, gapMs: fault?.delayMs ?? 1 } } : {}),
  };
}

export const htmlPage = (status: number, title: string): HttpReply =>
  textReply(status, 'text/html;charset=utf-8', `<!DOCTYPE html><html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>`);
