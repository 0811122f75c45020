/** signMethod 01 of version 5.1.0 (unionpay.md section 3): SHA-256 as lower-case hexadecimal text, and RSA-SHA256 over that text. */
import { createHash, createSign, createVerify } from 'node:crypto';
import type { Fields } from './wire.js';

/** Everything that is not empty, except the signature, by the order of ASCII, not url-encoded. */
export function signedText(fields: Fields): string {
  const names = [...fields.keys()].filter((name) => name !== 'signature' && fields.get(name) !== '');
  return names
    .sort()
    .map((name) => `${name}=${fields.get(name) ?? ''}`)
    .join('&');
}

export const sha256Hex = (text: string): string => createHash('sha256').update(text, 'utf8').digest('hex');

export function sign(text: string, privateKeyPem: string): string {
  return createSign('RSA-SHA256').update(sha256Hex(text), 'ascii').sign(privateKeyPem, 'base64');
}

/** Strict about base64: a `+` that was not url-encoded arrives as a space and must not be forgiven. `key` is a public key or a certificate. */
export function signatureHolds(text: string, signature: string, key: string): boolean {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) return false;
  return createVerify('RSA-SHA256').update(sha256Hex(text), 'ascii').verify(key, signature, 'base64');
}

/** signMethod 11, which proves nothing to whoever does not share the key. */
export const keyedHash = (text: string, secureKey: string): string => sha256Hex(`${text}&${sha256Hex(secureKey)}`);
