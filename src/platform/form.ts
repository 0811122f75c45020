/** Form bodies and forms, as two of the platforms speak. */

export const FORM_TYPE = 'application/x-www-form-urlencoded';

export type Parameters = Readonly<Record<string, string>>;

/**
 * A form body as parameters: decoded once (a value may legally contain `%`), in UTF-8, every name at most once. Null where it is
 * anything else; what cannot be read in exactly one way is not read at all. Empty ones are left out: no signature covers them, so that
 * anybody could have added them.
 */
export function parseForm(body: Buffer): Parameters | null {
  const parameters = new Map<string, string>();
  const text = body.toString('latin1');
  if (text === '') return null;
  for (const pair of text.split('&')) {
    const split = pair.indexOf('=');
    const name = decodeOnce(split === -1 ? pair : pair.slice(0, split));
    const value = decodeOnce(split === -1 ? '' : pair.slice(split + 1));
    if (name === null || value === null || name === '' || parameters.has(name)) return null;
    parameters.set(name, value);
  }
  return Object.fromEntries([...parameters].filter(([, value]) => value !== ''));
}

/** The text that both platforms sign: names sorted, values as they are, without empty ones. */
export function joinedParameters(parameters: Parameters, leftOut: readonly string[]): string {
  return Object.keys(parameters)
    .filter((name) => !leftOut.includes(name) && parameters[name] !== '')
    .sort()
    .map((name) => `${name}=${parameters[name]}`)
    .join('&');
}

/**
 * Whether the joined text can be read as these parameters only. Nothing is escaped in it: `a=1&b=2` is signed alike as two fields and as
 * one that holds `1&b=2`, so that a signature would hold for fields that were never signed. Where no value has in it what could be a
 * later field, there is no other reading: two of them would differ first where one has a field and the other still the value before.
 */
export function hasOneReading(parameters: Parameters, leftOut: readonly string[]): boolean {
  return Object.entries(parameters).every(
    ([name, value]) => leftOut.includes(name) || (!/[=&]/.test(name) && Array.from(value.matchAll(/&([^=&]+)=/g)).every(([, inner]) => inner! <= name)),
  );
}

export const formBody = (parameters: Parameters): string => new URLSearchParams(parameters).toString();

/** A page that the buyer's browser sends on by itself. */
export function autoSubmitForm(action: string, parameters: Parameters): string {
  const inputs = Object.entries(parameters).map(
    ([name, value]) => `<input type="hidden" name="${escapeHtml(name)}" value="${escapeHtml(value)}">`,
  );
  return [
    '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>',
    `<form id="pay" method="post" action="${escapeHtml(action)}">`,
    ...inputs,
    '</form><script>document.getElementById("pay").submit()</script></body></html>',
  ].join('');
}

function decodeOnce(text: string): string | null {
  if (/[^\x21-\x7e]/.test(text)) return null;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);
