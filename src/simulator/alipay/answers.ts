/** The platform's answers: raw JSON with `\/`, members in no alphabetic order, signed over the exact bytes of the node. */
import type { Fault } from '../faults.js';
import { text as textReply, type HttpReply } from '../http.js';
import type { Refusal } from './refusal.js';
import { sign } from './signature.js';

export type Node = Readonly<Record<string, unknown>>;

const MESSAGE: Readonly<Record<string, string>> = {
  '20000': 'Service Currently Unavailable',
  '40001': 'Missing Required Arguments',
  '40002': 'Invalid Arguments',
  '40004': 'Business Failed',
  '40005': 'Call Limited',
  '40006': 'Insufficient Permissions',
};

export const success = (fields: Node = {}): Node => ({ code: '10000', msg: 'Success', ...fields });

export const refused = ({ code, subCode, message }: Refusal): Node => ({
  code,
  msg: MESSAGE[code] ?? 'Business Failed',
  sub_code: subCode,
  sub_msg: message,
});

export const nodeName = (method: string): string => `${method.replaceAll('.', '_')}_response`;

/** The platform's serialiser escapes every slash; one can only stand inside a text. */
export const platformJson = (node: Node): string => JSON.stringify(node).replaceAll('/', '\\/');

export interface Envelope {
  readonly name: string;
  readonly content: string;
  /** Null in key mode. */
  readonly alipayCertSn: string | null;
  readonly signature: string | null;
  readonly signFirst: boolean;
}

/** The whole answer around the exact text of its node. */
export function envelope({ name, content, alipayCertSn, signature, signFirst }: Envelope): string {
  const node = `"${name}":${content}`;
  const proof = [...(alipayCertSn === null ? [] : [`"alipay_cert_sn":"${alipayCertSn}"`]), ...(signature === null ? [] : [`"sign":"${signature}"`])];
  return `{${(signFirst ? [...proof, node] : [node, ...proof]).join()}}`;
}

export interface Answering {
  readonly privateKeyPem: string;
  readonly alipayCertSn: string | null;
  readonly signFirst: boolean;
  readonly traceId: string;
}

export function answer(answering: Answering, name: string, node: Node, fault: Fault | null): HttpReply {
  const { privateKeyPem, alipayCertSn, signFirst, traceId } = answering;
  const content = platformJson(node);
  const kind = fault?.kind;
  const signed = kind === 'bad-signature' ? `${content} ` : content;
  const unsigned = kind === 'no-signature' || kind === 'unsigned-error-response';

  let body = envelope({
    name,
    content,
    alipayCertSn: alipayCertSn !== null && kind === 'wrong-serial' ? NOBODYS_SN : alipayCertSn,
    signature: unsigned ? null : sign(signed, privateKeyPem),
    signFirst: signFirst || kind === 'sign-first',
  });
  if (kind === 'smuggled-node') body = `${body.slice(0, -1)},"${name}":${platformJson({ ...node, ...FORGED })}}`;

  // Cut by bytes: half a Chinese character is part of the fault.
  const bytes = Buffer.from(body, 'utf8');
  return {
    kind: 'answer',
    status: 200,
    contentType: 'text/html;charset=utf-8',
    body: kind === 'truncated' ? bytes.subarray(0, bytes.length >> 1) : bytes,
    headers: { trace_id: traceId },
    ...(kind === 'slow-trickle' ? { trickle: { pieceBytes: 16, gapMs: fault?.delayMs ?? 1 } } : {}),
  };
}

export const htmlPage = (status: number, title: string): HttpReply =>
  textReply(status, 'text/html;charset=utf-8', `<!DOCTYPE html><html><head><title>${title}</title></head><body><h1>${title}</h1></body></html>`);

const NOBODYS_SN = '0'.repeat(32);

/** What a smuggler would like a careless reader to believe. */
const FORGED: Node = { code: '10000', msg: 'Success', trade_status: 'TRADE_SUCCESS', fund_change: 'Y', refund_status: 'REFUND_SUCCESS' };
