/** The platform's side of RSA2, written from the protocol and on other primitives than any client of it. */
import { createSign, createVerify } from 'node:crypto';

/** Name and value of everything sent, in any order. */
export type Fields = Map<string, string>;

export function textToSign(fields: Fields, without: ReadonlySet<string>): string {
  const pairs: string[] = [];
  for (const [name, value] of [...fields].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))) {
    if (value.length > 0 && !without.has(name)) pairs.push(name + '=' + value);
  }
  return pairs.join('&');
}

export const REQUEST_WITHOUT: ReadonlySet<string> = new Set(['sign']);
export const NOTIFICATION_WITHOUT: ReadonlySet<string> = new Set(['sign', 'sign_type']);

export function rsa2(text: string, privateKeyPem: string): string {
  return createSign('sha256').update(text, 'utf8').sign(privateKeyPem, 'base64');
}

export function rsa2Holds(text: string, signature: string, publicKeyPem: string): boolean {
  return createVerify('sha256').update(text, 'utf8').verify(publicKeyPem, signature, 'base64');
}

/** The platform's serialiser escapes every slash. */
export const platformJson = (node: object): string => JSON.stringify(node).replaceAll('/', '\\/');
