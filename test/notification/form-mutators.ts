/** Mutations of forms, whose fields are signed as one joined text. */
import { readEntries, valueOf, withBody, withEntries, withValue, type Entry, type Input } from './input.js';
import type { Material, Mutator } from './mutators.js';
import type { Random } from './random.js';
import { spoiledSignature } from './signature-mutators.js';

export interface FormPlatform {
  readonly signatureField: string;
  /** Fields that the signature does not cover. */
  readonly unsigned: readonly string[];
  /** What would be worth the most to an attacker. */
  readonly precious: readonly string[];
}

type Change = (entries: Entry[], random: Random, material: Material) => readonly Entry[] | null;

const onEntries = (name: string, weight: number, change: Change): Mutator => ({
  name,
  weight,
  mutate(input, random, material) {
    const entries = readEntries(input);
    const changed = entries.length < 2 ? null : change(entries, random, material);
    return changed === null ? null : withEntries(input, changed);
  },
});

export function formMutators(platform: FormPlatform): Mutator[] {
  const { signatureField, precious } = platform;
  const anyField = (entries: readonly Entry[], random: Random): Entry => {
    const named = entries.filter(([name]) => precious.includes(name));
    return random.pick(named.length > 0 && random.chance(0.5) ? named : entries);
  };
  const fromAnother = (random: Random, { genuine }: Material): Entry[] => readEntries(random.pick(genuine));

  return [
    onEntries('values exchanged', 2, (entries, random) => {
      const [a, b] = [anyField(entries, random), random.pick(entries)];
      return withValue(withValue(entries, a[0], b[1]), b[0], a[1]);
    }),
    onEntries('value copied over', 1, (entries, random) => withValue(entries, anyField(entries, random)[0], random.pick(entries)[1])),
    onEntries('value of another notification', 3, (entries, random, material) => {
      const other = fromAnother(random, material);
      const names = other.map(([name]) => name).filter((name) => name !== signatureField);
      const taken = Array.from({ length: random.between(1, 3) }, () => random.pick(random.chance(0.6) ? precious : names));
      return taken.reduce<readonly Entry[]>((all, name) => withValue(all, name, valueOf(other, name)), entries);
    }),
    onEntries('signature of another notification', 2, (entries, random, material) => withValue(entries, signatureField, valueOf(fromAnother(random, material), signatureField))),
    onEntries('signature stripped', 1, (entries) => withValue(entries, signatureField, null)),
    onEntries('signature spoiled', 4, (entries, random, { genuine }) => {
      const others = genuine.map((one) => valueOf(readEntries(one), signatureField));
      return withValue(entries, signatureField, spoiledSignature(valueOf(entries, signatureField), random, others));
    }),
    onEntries('field dropped', 2, (entries, random) => withValue(entries, anyField(entries, random)[0], null)),
    onEntries('field emptied', 1, (entries, random) => withValue(entries, anyField(entries, random)[0], '')),
    onEntries('field added', 2, (entries, random) => [...entries, [random.pick(STRANGE_NAMES), random.pick(STRANGE_VALUES)]]),
    onEntries('field renamed', 1, (entries, random) => renamed(entries, anyField(entries, random)[0], random)),
    onEntries('value changed', 2, (entries, random) => withValue(entries, anyField(entries, random)[0], random.pick(STRANGE_VALUES))),
    onEntries('huge or odd number', 3, (entries, random) => {
      const numbers = entries.filter(([, value]) => /^\d[\d.]*$/.test(value));
      return numbers.length === 0 ? null : withValue(entries, random.pick(numbers)[0], oddNumber(random.pick(numbers)[1], random));
    }),
    onEntries('time changed', 1, (entries, random) => {
      const times = entries.filter(([, value]) => /^20\d\d-?\d\d-?\d\d/.test(value));
      return times.length === 0 ? null : withValue(entries, random.pick(times)[0], random.pick(['2019-01-01 00:00:00', '20190101000000', '2999-12-31 23:59:59', '29991231235959', '0000-00-00 00:00:00', '']));
    }),
    onEntries('decoded once more', 1, (entries, random) => entries.map(([name, value]) => [name, random.chance(0.3) ? encodeURIComponent(value) : value])),
    onEntries('fields merged', 3, (entries, random) => merged(entries, random, platform)),
    onEntries('name takes in its neighbour', 2, (entries, random) => absorbed(entries, random, platform)),
    { name: 'field twice', weight: 4, mutate: (input, random, material) => withFieldTwice(input, random, material, anyField) },
    { name: 'broken encoding', weight: 1, mutate: (input, random) => withBrokenEncoding(input, random) },
    { name: 'other separators', weight: 0.5, mutate: (input, random) => withBody(input, input.body.toString('latin1').replaceAll(random.pick(['&', '=']), random.pick([';', '&amp;', ':', '\n', '&&', '==']))) },
  ];
}

const STRANGE_NAMES = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'length', 'sign_type2', 'extra', 'é', '名', 'a b', 'a[]', 'a[b]', 'a.b', '\0', ' ', '=', '&', 'x'.repeat(4_000)];
const STRANGE_VALUES = ['1', 'x', '__proto__', '[object Object]', 'null', 'undefined', 'true', '\0', '\r\n', '%', '%00', '%41', '&', '=', '&a=1', '👻', '\u202e', "' or 1=1 --", '${7*7}', '../../etc/passwd', '<script>', '['.repeat(10_000), '{"a":'.repeat(5_000), 'x'.repeat(20_000), 'TRADE_SUCCESS', 'TRADE_CLOSED', '00', 'A6', '0.01', '1'];

export function oddNumber(number: string, random: Random): string {
  const odd = ['1e400', '-1', `-${number}`, `+${number}`, ` ${number}`, `${number} `, `0${number}`, `${number}0`, `${number}.0`, `${number}e0`, '9223372036854775807', '9223372036854775808', '18446744073709551616', '9'.repeat(400), '1E5', '0x10', '0b1', 'NaN', 'Infinity', '1.005', '1_000', '1,000.00', '٣', '１００', '0', '-0', '1e-400', `${BigInt(number.replaceAll('.', '')) + 1n}`];
  return random.pick(odd);
}

function renamed(entries: readonly Entry[], name: string, random: Random): Entry[] {
  const other = random.pick([name.toUpperCase(), ` ${name}`, `${name} `, `${name}[]`, `${name}\0`, `\ufeff${name}`, name.replaceAll('_', '-'), name.replaceAll('_', '.'), `${name}2`, name.slice(1), random.pick(STRANGE_NAMES)]);
  return entries.map(([one, value]) => [one === name ? other : one, value]);
}

/** Signed fields in the order in which they are joined. */
const joinedOrder = (entries: readonly Entry[], { unsigned }: FormPlatform): Entry[] =>
  entries.filter(([name, value]) => !unsigned.includes(name) && value !== '').sort(([a], [b]) => (a < b ? -1 : 1));

/** A value may hold what looks like further fields: the joined text, and with it the signature, stays the same. */
function merged(entries: readonly Entry[], random: Random, platform: FormPlatform): Entry[] | null {
  const signed = joinedOrder(entries, platform);
  if (signed.length < 2) return null;
  const first = random.below(signed.length - 1);
  const taken = signed.slice(first + 1, first + 1 + random.between(1, 3));
  const value = [signed[first]![1], ...taken.map(([name, one]) => `${name}=${one}`)].join('&');
  const left = entries.filter(([name]) => !taken.some(([one]) => one === name));
  return withValue(left, signed[first]![0], value);
}

/** As above, by a name that holds `=` and `&`. */
function absorbed(entries: readonly Entry[], random: Random, platform: FormPlatform): Entry[] | null {
  const signed = joinedOrder(entries, platform);
  if (signed.length < 2) return null;
  const at = random.below(signed.length - 1);
  const [[name, value], [nextName, nextValue]] = [signed[at]!, signed[at + 1]!];
  const split = value.indexOf('=');
  if (split !== -1 && random.chance(0.5)) {
    return [...withValue(entries, name, null), [`${name}=${value.slice(0, split)}`, value.slice(split + 1)]];
  }
  const others = entries.filter(([one]) => one !== name && one !== nextName);
  return [...others, [`${name}=${value}&${nextName}`, nextValue]];
}

function withFieldTwice(input: Input, random: Random, { genuine }: Material, anyField: (entries: readonly Entry[], random: Random) => Entry): Input | null {
  const entries = readEntries(input);
  if (entries.length === 0) return null;
  const [name, value] = anyField(entries, random);
  const other = random.pick([value, '1', '', 'TRADE_SUCCESS', '00', valueOf(readEntries(random.pick(genuine)), name)]);
  const written = random.pick([name, name, `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`, `${name}[]`, name.toUpperCase()]);
  const pair = `${written}=${encodeURIComponent(other)}`;
  const body = input.body.toString('latin1');
  return withBody(input, Buffer.from(random.chance(0.5) ? `${pair}&${body}` : `${body}&${pair}`, 'latin1'));
}

const BROKEN = ['%', '%4', '%zz', '%ff', '%c3', '%c0%ae', '%ed%a0%80', '%f4%90%80%80', '+%2', '%u4e2d', '%e4%b8'];

function withBrokenEncoding(input: Input, random: Random): Input {
  const body = input.body.toString('latin1');
  const at = random.below(body.length + 1);
  return withBody(input, Buffer.from(body.slice(0, at) + random.pick(BROKEN) + body.slice(at), 'latin1'));
}
