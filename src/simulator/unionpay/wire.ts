/**
 * Two ways in which UnionPay writes fields (unionpay.md section 4). Requests and notifications are forms. Synchronous answers are
 * pairs that are not url-encoded: `&` separates only outside of braces and brackets, and the first `=` ends the name.
 */
export type Fields = ReadonlyMap<string, string>;

export const plainText = (fields: Fields): string => [...fields].map(([name, value]) => `${name}=${value}`).join('&');

/** Null for what is malformed: a part without a name, a name twice, braces that do not close. */
export function readPlainText(text: string): Fields | null {
  const fields = new Map<string, string>();
  for (const part of partsOf(text)) {
    const split = part?.indexOf('=') ?? 0;
    if (part === null || split < 1 || fields.has(part.slice(0, split))) return null;
    fields.set(part.slice(0, split), part.slice(split + 1));
  }
  return fields;
}

/** Whether a value comes through a plain answer as it is, whatever stands around it. */
export function isPlainSafe(value: string): boolean {
  const read = readPlainText(`a=${value}&b=`);
  return read?.size === 2 && read.get('a') === value;
}

export const formText = (fields: Fields): string => new URLSearchParams([...fields]).toString();

/** Null for what cannot be decoded, for bytes that are not UTF-8 and for a name twice. */
export function readForm(body: Buffer): Fields | null {
  const fields = new Map<string, string>();
  for (const pair of body.toString('latin1').split('&').filter((one) => one !== '')) {
    const split = pair.indexOf('=');
    const name = decoded(split < 0 ? pair : pair.slice(0, split));
    const value = split < 0 ? '' : decoded(pair.slice(split + 1));
    if (name === null || name === '' || value === null || fields.has(name)) return null;
    fields.set(name, value);
  }
  return fields;
}

/** The last part is null where a brace is left open. A closing one too many closes nothing. */
function* partsOf(text: string): Generator<string | null> {
  let depth = 0;
  let start = 0;
  for (const { 0: mark, index } of text.matchAll(/[&{}[\]]/g)) {
    if (mark === '{' || mark === '[') depth += 1;
    else if (mark !== '&') depth = Math.max(0, depth - 1);
    else if (depth === 0) {
      yield text.slice(start, index);
      start = index + 1;
    }
  }
  yield depth === 0 ? text.slice(start) : null;
}

function decoded(text: string): string | null {
  if (!/^[\x21-\x7e]*$/.test(text)) return null;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}
