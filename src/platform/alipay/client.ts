/** Calls to Alipay's v2 gateway: signed out, verified in, and never an exception for what the platform or the network does. */
import type { KeyObject } from 'node:crypto';
import type { Call, Failure } from '../../payment/platform.js';
import { beijingTime } from '../beijing-time.js';
import { formBody, type Parameters } from '../form.js';
import { exchange } from '../http.js';
import { signBytes, verifyBytes } from '../rsa.js';
import { findNode, requestText, type SignedNode } from './signature.js';
import type { Trust } from './trust.js';

export type Node = Readonly<Record<string, unknown>>;

export type Answer =
  /** A verified node with code 10000. */
  | { readonly kind: 'OK'; readonly node: Node }
  /** A verified business refusal (code 40004). */
  | (Failure & { readonly kind: 'REFUSED' })
  /** A verified node of any other code, or nothing that can be believed: it may have been executed. */
  | (Failure & { readonly kind: 'UNREACHABLE' | 'RATE_LIMITED' | 'MISCONFIGURED' })
  | (Failure & { readonly kind: 'UNKNOWN'; readonly unmapped?: boolean });

export interface ClientConfig {
  readonly gatewayUrl: string;
  readonly appId: string;
  readonly privateKey: KeyObject;
  readonly trust: Trust;
}

const RATE_LIMITS = new Set(['isv.app-call-limited', 'isp.call-limited']);
const CERTIFICATE_DOWNLOAD = 'alipay.open.app.alipaycert.download';

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
    ...config.trust.requestParameters,
    ...call.extra,
    biz_content: JSON.stringify(bizContent),
  };
  return { ...parameters, sign: signBytes(requestText(parameters), config.privateKey) };
}

/** One POST, never repeated by itself: whether it was executed is a question for a query. */
export async function callGateway(
  config: ClientConfig,
  method: string,
  bizContent: object,
  call: Call & { extra?: Parameters },
): Promise<Answer> {
  const answered = await post(config, method, bizContent, call);
  if (typeof answered !== 'string') return answered;

  const serial = serialOf(method, answered);
  if (serial !== null && config.trust.keyOf(serial) === null) await learnCertificate(config, serial, call);
  return readAnswer(config, method, answered);
}

async function post(config: ClientConfig, method: string, bizContent: object, call: Call & { extra?: Parameters }): Promise<string | Answer> {
  const { biz_content: body, ...query } = signedParameters(config, method, bizContent, call);
  const sent = await exchange(
    {
      method: 'POST',
      url: `${config.gatewayUrl}?${formBody(query)}`,
      headers: { 'content-type': 'application/x-www-form-urlencoded;charset=utf-8' },
      body: formBody({ biz_content: body! }),
    },
    call,
  );
  if (sent.kind !== 'ANSWER') return sent;
  if (sent.status !== 200) return { kind: 'UNKNOWN', code: `HTTP_${sent.status}`, message: `the gateway answered HTTP ${sent.status}` };
  return sent.body.toString('utf8');
}

/** A certificate that is not known is fetched; what makes it believed are the roots, not the answer that brings it. */
async function learnCertificate(config: ClientConfig, serial: string, call: Call): Promise<void> {
  const answered = await post(config, CERTIFICATE_DOWNLOAD, { alipay_cert_sn: serial }, call);
  const node = typeof answered === 'string' ? findSignedNode(CERTIFICATE_DOWNLOAD, answered) : null;
  const content = node === null ? '' : textOf(parseObject(node.text) ?? {}, 'alipay_cert_content');
  config.trust.learn(Buffer.from(content, 'base64').toString('utf8'), serial, call.at);
}

/** Reads an answer: what is verified is what is parsed, and nothing else. */
export function readAnswer(config: Pick<ClientConfig, 'trust'>, method: string, text: string): Answer {
  const node = findSignedNode(method, text);
  if (node === null) return { kind: 'UNKNOWN', code: 'BAD_ANSWER', message: 'the answer is not what the gateway sends' };
  // Without a signature an error may come from anybody in between: it proves neither refusal nor absence.
  if (node.sign === null) return { kind: 'UNKNOWN', code: 'NOT_SIGNED', message: 'the answer is not signed' };
  const key = config.trust.keyOf(node.certificateSerial);
  if (key === null) return { kind: 'UNKNOWN', code: 'UNKNOWN_CERTIFICATE', message: 'the answer is signed with a certificate that is not known' };
  if (!verifyBytes(node.text, node.sign, key)) {
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
  return { kind: 'UNKNOWN', ...failure, ...(code === '20000' ? {} : { unmapped: true }) };
}

export const textOf = (node: Node, name: string): string => {
  const value = node[name];
  return typeof value === 'string' ? value : '';
};

const findSignedNode = (method: string, text: string): SignedNode | null =>
  findNode(text, `${method.replaceAll('.', '_')}_response`) ?? findNode(text, 'error_response');

const serialOf = (method: string, text: string): string | null => findSignedNode(method, text)?.certificateSerial ?? null;

function parseObject(text: string): Node | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Node) : null;
  } catch {
    return null;
  }
}
