/** What is sent to the notification entrance, and what it means to whoever reads it by the platform's document. */
import { SCHEME } from '../../src/simulator/wechatpay/signature.js';

export type Header = readonly [name: string, value: string];

/** One HTTP request; names of headers are lower case, and may come twice. */
export interface Input {
  readonly headers: readonly Header[];
  readonly body: Buffer;
}

/** All values of that name as a server hands them on; null where there is none. */
export function headerOf({ headers }: Input, name: string): string | null {
  const values = headers.filter(([one]) => one === name).map(([, value]) => value.trim());
  return values.length === 0 ? null : values.join(', ');
}

/** With that one value in the place of all of that name; null: without any. */
export function withHeader({ headers, body }: Input, name: string, value: string | null): Input {
  const others = headers.filter(([one]) => one !== name);
  return { headers: value === null ? others : [...others, [name, value]], body };
}

export const withBody = ({ headers }: Input, body: Buffer | string): Input => ({ headers, body: Buffer.from(body) });

export type Entry = readonly [name: string, value: string];

export const readEntries = ({ body }: Input): Entry[] => [...new URLSearchParams(body.toString('latin1'))];

export const withEntries = (input: Input, entries: readonly Entry[]): Input =>
  withBody(input, new URLSearchParams(entries.map(([name, value]): [string, string] => [name, value])).toString());

export const valueOf = (entries: readonly Entry[], name: string): string => entries.find(([one]) => one === name)?.[1] ?? '';

/** The value in the place of the field's; at the end where there is no such field; null takes the field away. */
export function withValue(entries: readonly Entry[], name: string, value: string | null): Entry[] {
  if (value === null) return entries.filter(([one]) => one !== name);
  const known = entries.some(([one]) => one === name);
  return known ? entries.map(([one, old]) => [one, one === name ? value : old]) : [...entries, [name, value]];
}

/**
 * What a form says. Percent-encoding and order are no part of it, nor are empty fields, which the platforms leave out of what they
 * sign; two inputs with one meaning are the same notification. Null for what is not even sent as a form.
 */
export function formMeaning(input: Input): string | null {
  if (mediaTypeOf(input) !== 'application/x-www-form-urlencoded') return null;
  const entries = readEntries(input).filter(([, value]) => value !== '');
  return JSON.stringify(entries.sort(([a, x], [b, y]) => compare(a, b) || compare(x, y)));
}

/** WeChat Pay signs bytes, with the time and the nonce in headers; the kind of signature may be left unsaid. */
export function signedBodyMeaning(input: Input): string | null {
  if (mediaTypeOf(input) !== 'application/json') return null;
  const kind = headerOf(input, 'wechatpay-signature-type') ?? '';
  const proof = ['timestamp', 'nonce', 'signature', 'serial'].map((name) => headerOf(input, `wechatpay-${name}`));
  return JSON.stringify([kind === '' ? SCHEME : kind, ...proof, input.body.toString('latin1')]);
}

/** Its parameters say nothing that the signature does not. */
const mediaTypeOf = (input: Input): string => (headerOf(input, 'content-type') ?? '').split(';')[0]!.trim().toLowerCase();

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
