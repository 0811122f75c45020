/** Alipay's signatures (v2): RSA2 only, over the exact text that travels; nothing is serialised again before it is verified. */
import { X509Certificate, createHash, type KeyObject } from 'node:crypto';
import { hasOneReading, joinedParameters, type Parameters } from '../form.js';

/** The text that a request's signature covers: every parameter but `sign`, without empty ones, sorted, values unencoded. */
export function requestText(parameters: Parameters): string {
  return joinedParameters(parameters, ['sign']);
}

/** The text that a trade notification's signature covers: `sign_type` stays out of it, too. */
export function notificationText(parameters: Parameters): string {
  return joinedParameters(parameters, NOT_NOTIFIED);
}

/** Whether that text stands for these parameters and no others. */
export const isUnambiguous = (parameters: Parameters): boolean => hasOneReading(parameters, NOT_NOTIFIED);

const NOT_NOTIFIED = ['sign', 'sign_type'];

/** Serial number of a certificate as Alipay counts it: the reversed issuer name and the decimal serial, hashed. */
export function certificateSerial(pem: string): string {
  const certificate = new X509Certificate(pem);
  const issuer = certificate.issuer.split('\n').reverse().join(',');
  return createHash('md5').update(issuer + BigInt(`0x${certificate.serialNumber}`).toString()).digest('hex');
}

/** Serial number of a root bundle: of its RSA certificates, joined; the others (SM2, EC) do not count. */
export function rootSerial(pems: readonly string[]): string {
  return pems.filter(isRsa).map(certificateSerial).join('_');
}

function isRsa(pem: string): boolean {
  try {
    // An algorithm that this runtime does not know has no key here, or throws; neither is RSA.
    return (new X509Certificate(pem).publicKey as KeyObject | undefined)?.asymmetricKeyType === 'rsa';
  } catch {
    return false;
  }
}

export interface SignedNode {
  /** The node's value as it stands in the text, braces included: exactly what is signed, and what is to be parsed. */
  readonly text: string;
  readonly sign: string | null;
  /** In certificate mode, the serial number of the certificate that signed. */
  readonly certificateSerial: string | null;
}

/**
 * Cuts a node out of a response without parsing the whole: the signature covers the raw text, and a second member of the same
 * name must not be able to pass for the signed one. Null where the text is no JSON object with that node.
 */
export function findNode(response: string, name: string): SignedNode | null {
  const members = topLevelMembers(response);
  const node = members?.find((member) => member.name === name);
  if (members == null || node === undefined || !node.text.startsWith('{')) return null;
  const beside = (wanted: string): string | null => {
    const member = members.find((one) => one.name === wanted);
    return member === undefined ? null : asString(member.text);
  };
  return { text: node.text, sign: beside('sign'), certificateSerial: beside('alipay_cert_sn') };
}

interface Member {
  readonly name: string;
  readonly text: string;
}

/** The members of the outermost object, values as raw text. Null where the text is not one well-delimited object. */
function topLevelMembers(text: string): Member[] | null {
  const members: Member[] = [];
  let at = skipSpace(text, 0);
  if (text[at] !== '{') return null;
  at = skipSpace(text, at + 1);
  if (text[at] === '}') return members;

  for (;;) {
    const nameEnd = endOfString(text, at);
    if (nameEnd === null) return null;
    const name = asString(text.slice(at, nameEnd));
    at = skipSpace(text, nameEnd);
    if (name === null || text[at] !== ':') return null;

    const start = skipSpace(text, at + 1);
    const end = endOfValue(text, start);
    if (end === null) return null;
    members.push({ name, text: text.slice(start, end) });

    at = skipSpace(text, end);
    if (text[at] === '}') return skipSpace(text, at + 1) === text.length ? members : null;
    if (text[at] !== ',') return null;
    at = skipSpace(text, at + 1);
  }
}

function endOfValue(text: string, start: number): number | null {
  if (text[start] === '"') return endOfString(text, start);
  if (text[start] !== '{' && text[start] !== '[') {
    const scalar = /^[^,\]}\s"]+/.exec(text.slice(start, start + 64));
    return scalar === null ? null : start + scalar[0].length;
  }
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    const character = text[at]!;
    if (character === '"') {
      const end = endOfString(text, at);
      if (end === null) return null;
      at = end - 1;
    } else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return null;
}

function endOfString(text: string, start: number): number | null {
  if (text[start] !== '"') return null;
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at + 1;
  }
  return null;
}

function skipSpace(text: string, start: number): number {
  let at = start;
  while (at < text.length && ' \t\r\n'.includes(text[at]!)) at += 1;
  return at;
}

function asString(literal: string): string | null {
  try {
    const value: unknown = JSON.parse(literal);
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}
