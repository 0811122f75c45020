/** Mutations of bytes and headers that know nothing of a platform. */
import { headerOf, withBody, withHeader, type Input } from './input.js';
import type { Random } from './random.js';

/** What a round of inputs is made of. */
export interface Material {
  readonly genuine: readonly Input[];
  /** Wrongly signed or wrongly addressed ones, as the simulator makes them. */
  readonly forged: readonly { readonly mode: string; readonly input: Input }[];
  /** When the genuine ones were signed. */
  readonly at: Date;
}

export interface Mutator {
  readonly name: string;
  readonly weight: number;
  /** Never combined with others: together they might undo one another. */
  readonly alone?: boolean;
  /** Null where the input has nothing that it could change. */
  mutate(input: Input, random: Random, material: Material): Input | null;
}

export const BODY_MAX_BYTES = 64 * 1024;

const onBody = (name: string, weight: number, change: (body: Buffer, random: Random) => Buffer): Mutator => ({
  name,
  weight,
  mutate: (input, random) => withBody(input, change(input.body, random)),
});

export const plainMutators: readonly Mutator[] = [
  onBody('bit flipped', 6, (body, random) => flipped(body, random, 1)),
  onBody('bits flipped', 3, (body, random) => flipped(body, random, random.between(2, 64))),
  onBody('bytes inserted', 2, (body, random) => spliced(body, random.below(body.length + 1), 0, random.bytes(random.between(1, 8)))),
  onBody('bytes deleted', 2, (body, random) => spliced(body, random.below(body.length), random.between(1, 8))),
  onBody('truncated', 2, (body, random) => body.subarray(0, random.below(body.length))),
  onBody('head cut', 1, (body, random) => body.subarray(random.between(1, body.length))),
  onBody('bytes repeated', 1, (body, random) => {
    const { start, end } = slice(body, random);
    return spliced(body, end, 0, body.subarray(start, end));
  }),
  onBody('bytes exchanged', 1, (body, random) => {
    const [{ start, end }, at] = [slice(body, random), random.below(body.length)];
    return spliced(spliced(body, start, end - start), at, 0, body.subarray(start, end));
  }),
  onBody('sent twice in one', 0.5, (body, random) => Buffer.concat([body, Buffer.from(random.pick(['', '&', '\n', '\r\n\r\n'])), body])),
  onBody('NUL bytes', 1, (body, random) => spliced(body, random.below(body.length + 1), 0, Buffer.from(random.pick(['\0', '\0\0\0\0', '%00'])))),
  onBody('byte order mark', 2, (body, random) => Buffer.concat([random.pick(BYTE_ORDER_MARKS), body])),
  onBody('other charset', 1, (body, random) => random.pick(CHARSETS)(body)),
  onBody('space around', 1, (body, random) => {
    const space = Buffer.from(random.pick([' ', '\n', '\r\n', '\t', '\u00a0', '\u2028', '\u200b']));
    return random.chance(0.5) ? Buffer.concat([space, body]) : Buffer.concat([body, space]);
  }),
  onBody('empty or nothing like it', 1, (_body, random) => Buffer.from(random.pick(NOTHING))),
  onBody('large', 0.3, (body, random) => padded(body, random)),
  { name: 'content-type', weight: 2, mutate: (input, random) => withContentType(input, random.pick(CONTENT_TYPES), random) },
  { name: 'content-encoding', weight: 0.2, mutate: (input, random) => withHeader(input, 'content-encoding', random.pick(['gzip', 'br', 'identity'])) },
  { name: 'header bits flipped', weight: 3, mutate: (input, random) => withFlippedHeader(input, random) },
  {
    name: 'forged by the simulator',
    weight: 3,
    alone: true,
    mutate: (_input, random, { forged }) => (forged.length === 0 ? null : random.pick(forged).input),
  },
];

const BYTE_ORDER_MARKS = ['efbbbf', 'fffe', 'feff', 'fffe0000', '0000feff', '2b2f76', 'efbbbfefbbbf'].map((hex) => Buffer.from(hex, 'hex'));
const CHARSETS: readonly ((body: Buffer) => Buffer)[] = [
  (body) => Buffer.from(body.toString('latin1'), 'utf16le'),
  (body) => Buffer.from(body.toString('latin1'), 'utf16le').swap16(),
  (body) => Buffer.concat([Buffer.from('fffe', 'hex'), Buffer.from(body.toString('latin1'), 'utf16le')]),
  (body) => Buffer.from([...body].flatMap((byte) => [byte, 0, 0, 0])),
  // Letters in the wide forms of the same meaning to a human eye.
  (body) => Buffer.from(body.toString('latin1').replace(/[0-9A-Za-z]/g, (one) => String.fromCodePoint(one.codePointAt(0)! + 0xfee0))),
];
const NOTHING = ['', ' ', '\0', 'null', '0', '[]', '{}', '""', '=', '&', '&&&&', '=&=', 'a', 'a=1', '%', '%%%', '<xml/>', '{"a":1}', '['.repeat(10_000), '{"a":'.repeat(10_000)];
const CONTENT_TYPES = [null, '', ';', 'text/plain', 'text/html', 'text/xml', 'application/octet-stream', 'multipart/form-data; boundary=x', 'application/json5', 'application/jsonp', 'application/x-www-form-urlencoded2', 'application/ json', 'x-www-form-urlencoded', '*/*', 'application/json, application/x-www-form-urlencoded', 'application/x-www-form-urlencoded, application/json', '__proto__'];

function withContentType(input: Input, value: string | null, random: Random): Input {
  const other = headerOf(input, 'content-type')?.includes('json') === true ? 'application/x-www-form-urlencoded' : 'application/json';
  return withHeader(input, 'content-type', random.chance(0.3) ? other : value);
}

export function flipped(bytes: Buffer, random: Random, count: number): Buffer {
  const changed = Buffer.from(bytes);
  for (let turn = 0; turn < count && changed.length > 0; turn += 1) {
    const at = random.below(changed.length);
    changed[at] = changed[at]! ^ (1 << random.below(8));
  }
  return changed;
}

function withFlippedHeader(input: Input, random: Random): Input | null {
  if (input.headers.length === 0) return null;
  const [name, value] = random.pick(input.headers);
  return withHeader(input, name, flipped(Buffer.from(value, 'latin1'), random, random.chance(0.7) ? 1 : 4).toString('latin1'));
}

function spliced(bytes: Buffer, at: number, removed: number, added: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
}

function slice(bytes: Buffer, random: Random): { readonly start: number; readonly end: number } {
  const start = random.below(bytes.length);
  return { start, end: Math.min(bytes.length, start + random.between(1, 200)) };
}

/** To the very limit, and beyond it. */
function padded(body: Buffer, random: Random): Buffer {
  const size = random.pick([BODY_MAX_BYTES, BODY_MAX_BYTES, BODY_MAX_BYTES + 1, BODY_MAX_BYTES * 2]);
  const filler = body[0] === '{'.charCodeAt(0) ? [' ', ' '] : ['&padding=', 'A'];
  return Buffer.concat([body, Buffer.from(filler[0]!), Buffer.alloc(size, filler[1])]).subarray(0, size);
}
