/** Calls to Alipay's v2 gateway: signed out, verified in, and never an exception for what the platform or the network does. */
import type { KeyObject } from 'node:crypto';
import type { Call, Failure } from '../../payment/platform.js';
import { findNode, requestText, signText, verifyText, type Parameters } from './signature.js';

export type Node = Readonly<Record<string, unknown>>;

export type Answer =
  /** A verified node with code 10000. */
  | { readonly kind: 'OK'; readonly node: Node }
  /** A verified business refusal (code 40004). */
  | (Failure & { readonly kind: 'REFUSED' })
  /** A verified node of any other code, or nothing that can be believed: it may have been executed. */
  | (Failure & { readonly kind: 'UNKNOWN' | 'UNREACHABLE' | 'RATE_LIMITED' | 'MISCONFIGURED' });

export interface ClientConfig {
  readonly gatewayUrl: string;
  readonly appId: string;
  readonly privateKey: KeyObject;
  readonly alipayKey: KeyObject;
}

const CALL_MAX_MS = 15_000;
const ANSWER_MAX_BYTES = 1024 * 1024;
/** Nothing left this machine, or nothing was there to take it. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);
const RATE_LIMITS = new Set(['isv.app-call-limited', 'isp.call-limited']);

/** The parameters of a call, signed; `bizContent` travels as JSON. */
export function signedParameters(config: ClientConfig, method: string, bizContent: object, call: { at: Date; extra?: Parameters }): Parameters {
  const parameters = {
    app_id: config.appId,
    method,
    format: 'JSON',
    charset: 'utf-8',
    sign_type: 'RSA2',
    timestamp: beijingTime(call.at),
    version: '1.0',
    ...call.extra,
    biz_content: JSON.stringify(bizContent),
  };
  return { ...parameters, sign: signText(requestText(parameters), config.privateKey) };
}

/** One POST, never repeated by itself: whether it was executed is a question for a query. */
export async function callGateway(
  config: ClientConfig,
  method: string,
  bizContent: object,
  call: Call & { extra?: Parameters },
): Promise<Answer> {
  const { biz_content: body, ...query } = signedParameters(config, method, bizContent, call);
  const url = `${config.gatewayUrl}?${new URLSearchParams(query).toString()}`;
  let status: number;
  let text: string;
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded;charset=utf-8' },
      body: new URLSearchParams({ biz_content: body! }).toString(),
      redirect: 'error',
      signal: AbortSignal.any([call.signal, AbortSignal.timeout(CALL_MAX_MS)]),
    });
    status = response.status;
    text = await readText(response);
  } catch (error) {
    return transportFailure(error);
  }
  if (status !== 200) return { kind: 'UNKNOWN', code: `HTTP_${status}`, message: `the gateway answered HTTP ${status}` };
  return readAnswer(config, method, text);
}

/** Reads an answer: what is verified is what is parsed, and nothing else. */
export function readAnswer(config: Pick<ClientConfig, 'alipayKey'>, method: string, text: string): Answer {
  const node = findNode(text, `${method.replaceAll('.', '_')}_response`) ?? findNode(text, 'error_response');
  if (node === null) return { kind: 'UNKNOWN', code: 'BAD_ANSWER', message: 'the answer is not what the gateway sends' };
  // Without a signature an error may come from anybody in between: it proves neither refusal nor absence.
  if (node.sign === null) return { kind: 'UNKNOWN', code: 'NOT_SIGNED', message: 'the answer is not signed' };
  if (!verifyText(node.text, node.sign, config.alipayKey)) {
    return { kind: 'UNKNOWN', code: 'BAD_SIGNATURE', message: "the answer's signature does not verify" };
  }

  const value = parseObject(node.text);
  if (value === null) return { kind: 'UNKNOWN', code: 'BAD_ANSWER', message: 'the signed answer is not JSON' };
  const code = textOf(value, 'code');
  const failure = {
    code: textOf(value, 'sub_code') || code,
    message: textOf(value, 'sub_msg') || textOf(value, 'msg'),
  };
  if (code === '10000') return { kind: 'OK', node: value };
  if (code === '40004') return { kind: 'REFUSED', ...failure };
  if (code === '40005' || RATE_LIMITS.has(failure.code)) return { kind: 'RATE_LIMITED', ...failure };
  if (['20001', '40001', '40002', '40003', '40006'].includes(code)) return { kind: 'MISCONFIGURED', ...failure };
  return { kind: 'UNKNOWN', ...failure };
}

export const textOf = (node: Node, name: string): string => {
  const value = node[name];
  return typeof value === 'string' ? value : '';
};

const BEIJING_MS = 8 * 3600_000;

/** `yyyy-MM-dd HH:mm:ss` in UTC+8, whatever the zone of the process. */
export const beijingTime = (at: Date): string => new Date(at.getTime() + BEIJING_MS).toISOString().slice(0, 19).replace('T', ' ');

/** The instant of a platform-local time, with or without a fraction; null where it is none. */
export function parseBeijingTime(text: string): Date | null {
  const match = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,3}))?$/.exec(text);
  if (match === null) return null;
  const at = new Date(`${match[1]}T${match[2]}.${(match[3] ?? '').padEnd(3, '0')}+08:00`);
  return Number.isNaN(at.getTime()) ? null : at;
}

function parseObject(text: string): Node | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Node) : null;
  } catch {
    return null;
  }
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > ANSWER_MAX_BYTES) throw new Error(`the answer exceeds ${ANSWER_MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function transportFailure(error: unknown): Answer {
  const code = transportCode(error);
  if (NOT_SENT.has(code)) return { kind: 'UNREACHABLE', code, message: 'the gateway cannot be reached' };
  return { kind: 'UNKNOWN', code, message: 'the call ended without an answer' };
}

function transportCode(error: unknown): string {
  const seen: unknown[] = [];
  for (let cause = error; typeof cause === 'object' && cause !== null && seen.length < 8; ) {
    seen.push(cause);
    if ('code' in cause && typeof cause.code === 'string') return cause.code;
    if ('name' in cause && (cause.name === 'TimeoutError' || cause.name === 'AbortError')) return 'TIMEOUT';
    cause = 'cause' in cause ? cause.cause : null;
  }
  return 'NO_ANSWER';
}
