/** WECHATPAY2-SHA256-RSA2048 as the platform computes it (wechatpay.md sections 2 and 3). */
import { createSign, createVerify, randomInt } from 'node:crypto';

export const SCHEME = 'WECHATPAY2-SHA256-RSA2048';

/** Every part ends with a line feed, the last one as well. */
export const signedText = (...parts: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.flatMap((part) => [typeof part === 'string' ? Buffer.from(part, 'utf8') : part, LINE_FEED]));

export function sign(text: Buffer, privateKeyPem: string): string {
  return createSign('RSA-SHA256').update(text).sign(privateKeyPem, 'base64');
}

/** `key` is a public key or a certificate, as PEM. */
export function signatureHolds(text: Buffer, signature: string, key: string): boolean {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) return false;
  return createVerify('RSA-SHA256').update(text).verify(key, signature, 'base64');
}

export interface Authorization {
  readonly mchid: string;
  readonly nonce: string;
  readonly timestamp: string;
  readonly serial: string;
  readonly signature: string;
}

/** Null unless the scheme is right and each of the five members is there exactly once. */
export function parseAuthorization(header: string): Authorization | null {
  const start = `${SCHEME} `;
  if (!header.startsWith(start)) return null;
  const members = new Map<string, string>();
  for (const member of header.slice(start.length).split(',')) {
    const [, name = '', value = ''] = /^ *([a-z_]+)="([^"]+)" *$/.exec(member) ?? [];
    if (!MEMBERS.includes(name) || members.has(name)) return null;
    members.set(name, value);
  }
  const [mchid, nonce, timestamp, serial, signature] = MEMBERS.map((name) => members.get(name));
  if (mchid === undefined || nonce === undefined || timestamp === undefined || serial === undefined || signature === undefined) return null;
  return { mchid, nonce, timestamp, serial, signature };
}

/** Of letters and digits. */
export function newNonce(length: number): string {
  return Array.from({ length }, () => ALPHABET.charAt(randomInt(ALPHABET.length))).join('');
}

const LINE_FEED = Buffer.from('\n');
const MEMBERS: readonly string[] = ['mchid', 'nonce_str', 'timestamp', 'serial_no', 'signature'];
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
