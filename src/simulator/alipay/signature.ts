/** RSA2 as the platform computes it (alipay.md sections 2, 3 and 6). */
import { createSign, createVerify } from 'node:crypto';

export type Fields = ReadonlyMap<string, string>;

/** What a request signs: every non-empty value except `sign`; `sign_type` stays in. */
export const requestText = (fields: Fields): string => joined(fields, ['sign']);

/** What a trade notification and the return redirect sign: without `sign_type` as well. */
export const notificationText = (fields: Fields): string => joined(fields, ['sign', 'sign_type']);

export function sign(text: string, privateKeyPem: string): string {
  return createSign('RSA-SHA256').update(text, 'utf8').sign(privateKeyPem, 'base64');
}

/** Strict about base64: a `+` that was not url-encoded arrives as a space and must not be forgiven. */
export function signatureHolds(text: string, signature: string, publicKeyPem: string): boolean {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) return false;
  return createVerify('RSA-SHA256').update(text, 'utf8').verify(publicKeyPem, signature, 'base64');
}

function joined(fields: Fields, without: readonly string[]): string {
  const names = [...fields.keys()].filter((name) => !without.includes(name) && fields.get(name) !== '');
  return names
    .sort()
    .map((name) => `${name}=${fields.get(name) ?? ''}`)
    .join('&');
}
