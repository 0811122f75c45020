/** What only WeChat Pay's notifications have: a signature in headers over raw bytes, a JSON envelope, and a sealed resource in it. */
import { createCipheriv } from 'node:crypto';
import { ALGORITHM, seal } from '../../src/simulator/wechatpay/cipher.js';
import type { WechatPaySimulator } from '../../src/simulator/wechatpay/server.js';
import { SCHEME, signedText } from '../../src/simulator/wechatpay/signature.js';
import { oddNumber } from './form-mutators.js';
import { headerOf, withBody, withHeader, type Input } from './input.js';
import type { Material, Mutator } from './mutators.js';
import type { Random } from './random.js';
import { SignatureMemory, spoiledSignature, WRONG_ALGORITHMS, type SignatureAlgorithm } from './signature-mutators.js';

type Json = Record<string, unknown>;
type Simulated = Pick<WechatPaySimulator, 'keys' | 'apiV3Key' | 'publicKeyId' | 'merchantPrivateKeyPem' | 'merchantSerial'>;

const PROOF = ['wechatpay-timestamp', 'wechatpay-nonce', 'wechatpay-signature', 'wechatpay-serial'];
const MINUTE_S = 60;

export const wechatPayMutators = (simulated: Simulated): Mutator[] => [...headerMutators(simulated), ...jsonMutators(), ...resourceMutators(simulated), ...signedMutators(simulated)];

function headerMutators({ keys, publicKeyId, merchantSerial }: Simulated): Mutator[] {
  const onHeader = (name: string, weight: number, header: string, change: (value: string, random: Random, material: Material) => string | null): Mutator => ({
    name,
    weight,
    mutate: (input, random, material) => withHeader(input, header, change(headerOf(input, header) ?? '', random, material)),
  });
  const serials = [...keys.certificates.map(({ serial }) => serial), merchantSerial];

  return [
    { name: 'signature header stripped', weight: 2, mutate: (input, random) => withHeader(input, random.pick(PROOF), random.pick([null, ''])) },
    {
      name: 'signature header of another notification',
      weight: 3,
      mutate: (input, random, { genuine }) => {
        const other = random.pick(genuine);
        const taken = PROOF.filter(() => random.chance(0.5));
        return taken.reduce((all, name) => withHeader(all, name, headerOf(other, name)), input);
      },
    },
    { name: 'signature header twice', weight: 2, mutate: (input, random) => headerTwice(input, random.pick(PROOF), random) },
    onHeader('signature spoiled', 4, 'wechatpay-signature', (signature, random, { genuine }) =>
      // What no header may hold would only show that the HTTP server refuses it.
      spoiledSignature(signature, random, genuine.map((one) => headerOf(one, 'wechatpay-signature') ?? '')).replace(/[\r\n\0]/g, '_'),
    ),
    onHeader('other serial', 2, 'wechatpay-serial', (serial, random) =>
      random.pick([...serials, serial.toLowerCase(), serial.toUpperCase(), `${serial}0`, serial.slice(0, -1), 'PUB_KEY_ID_', '0', '__proto__', 'constructor', publicKeyId.replace('PUB_KEY_ID_', ''), 'F'.repeat(40)]),
    ),
    onHeader('other kind of signature', 2, 'wechatpay-signature-type', (_kind, random) =>
      random.pick(['WECHATPAY2-SM2-WITH-SM3', 'WECHATPAY2-SHA1-RSA2048', 'WECHATPAY2-SHA256-RSA1024', 'wechatpay2-sha256-rsa2048', `${SCHEME},${SCHEME}`, 'WECHATPAY2-HMAC', 'none', '__proto__']),
    ),
    onHeader('other time', 2, 'wechatpay-timestamp', (time, random) =>
      random.pick([`${Number(time) + random.pick([1, -1, 60, -60, 301, -301])}`, `0${time}`, `+${time}`, `-${time}`, `${time}.0`, `${time}000`, `${time}e0`, 'now', '0', 'NaN', '9'.repeat(400), `0x${Number(time).toString(16)}`]),
    ),
    onHeader('other nonce', 1, 'wechatpay-nonce', (nonce, random) => random.pick([nonce.toLowerCase(), `${nonce}0`, nonce.slice(1), [...nonce].reverse().join(''), 'x'.repeat(4_000), '0'])),
    {
      name: 'time and nonce exchanged',
      weight: 0.5,
      mutate: (input) => withHeader(withHeader(input, 'wechatpay-timestamp', headerOf(input, 'wechatpay-nonce')), 'wechatpay-nonce', headerOf(input, 'wechatpay-timestamp')),
    },
  ];
}

function headerTwice(input: Input, name: string, random: Random): Input {
  const value = headerOf(input, name) ?? '';
  const second: [string, string] = [name, random.pick([value, value, '', '0', 'x'])];
  return { ...input, headers: random.chance(0.5) ? [...input.headers, second] : [second, ...input.headers] };
}

/** Each with the signature that it had. */
function jsonMutators(): Mutator[] {
  const onJson = (name: string, weight: number, change: (envelope: Json, random: Random, material: Material) => Json | string | null): Mutator => ({
    name,
    weight,
    mutate(input, random, material) {
      const envelope = parsed(input.body);
      const changed = envelope === null ? null : change(envelope, random, material);
      return changed === null ? null : withBody(input, typeof changed === 'string' ? changed : JSON.stringify(changed));
    },
  });

  return [
    onJson('key twice', 4, (envelope, random) => withKeyTwice(envelope, random)),
    onJson('key dropped', 1, (envelope, random) => withoutKey(envelope, random.pick(Object.keys(envelope)))),
    onJson('key renamed', 1, (envelope, random) => {
      const key = random.pick(Object.keys(envelope));
      return { ...withoutKey(envelope, key), [random.pick([key.toUpperCase(), `${key} `, `${key}\0`, '__proto__', 'constructor'])]: envelope[key] };
    }),
    onJson('value of another notification', 3, (envelope, random, { genuine }) => {
      const other = parsed(random.pick(genuine).body) ?? {};
      const key = random.pick(Object.keys(other));
      return { ...envelope, [key]: other[key] };
    }),
    onJson('value changed', 2, (envelope, random) => ({ ...envelope, [random.pick(Object.keys(envelope))]: random.pick(STRANGE) })),
    onJson('values exchanged', 1, (envelope, random) => {
      const [a, b] = [random.pick(Object.keys(envelope)), random.pick(Object.keys(envelope))];
      return { ...envelope, [a]: envelope[b], [b]: envelope[a] };
    }),
    onJson('huge or odd number', 3, (envelope, random) =>
      JSON.stringify({ ...envelope, [random.pick([...Object.keys(envelope), 'amount'])]: '#' }).replace('"#"', random.chance(0.5) ? oddNumber('8888', random) : `{"total":${oddNumber('8888', random)},"currency":"CNY"}`),
    ),
    {
      // What is nested so deep can be parsed, and not be written again.
      ...onJson('deeply nested', 1, (envelope, random) => {
        const [open, close] = random.pick([['[', ']'], ['{"a":', '}']] as const);
        const nested = open.repeat(10_000) + (open === '[' ? '' : '1') + close.repeat(10_000);
        return JSON.stringify({ ...envelope, [random.pick(['extra', 'resource', 'id'])]: '#' }).replace('"#"', nested);
      }),
      alone: true,
    },
    onJson('other strange keys', 1, (envelope, random) => JSON.stringify(envelope).replace('{', `{"${random.pick(['__proto__', 'constructor', 'toString', '\\u0000', '\\ud800', ''])}":${random.pick(['null', '{"id":"x"}', '{"resource":{}}', '1'])},`)),
    // The same value to whoever parses it, and other bytes than were signed.
    onJson('written otherwise', 3, (envelope, random) => random.pick(WRITINGS)(envelope)),
    onJson('two values', 1, (envelope, random) => JSON.stringify(envelope) + random.pick(['{}', JSON.stringify(envelope), ',', ']', '//', '/* */', ' null'])),
  ];
}

const STRANGE = [null, true, false, 0, -1, 1e308, '', 'x', '\0', '__proto__', [], {}, [[]], ['a'], { algorithm: ALGORITHM }, 'TRANSACTION.SUCCESS', 'REFUND.SUCCESS', 'x'.repeat(20_000)];
const WRITINGS: readonly ((envelope: Json) => string)[] = [
  (envelope) => JSON.stringify(envelope, null, 2),
  (envelope) => JSON.stringify(Object.fromEntries(Object.entries(envelope).reverse())),
  (envelope) => JSON.stringify(envelope).replaceAll('/', '\\/'),
  (envelope) => JSON.stringify(envelope).replace(/[\u0080-\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`),
  (envelope) => JSON.stringify(envelope).replace('id', '\\u0069d'),
  (envelope) => JSON.stringify(envelope).replaceAll(',', ', '),
  (envelope) => `\ufeff${JSON.stringify(envelope)}`,
];

function withKeyTwice(envelope: Json, random: Random): string {
  const inner = random.chance(0.5) ? (envelope['resource'] as Json | null) : null;
  const target = typeof inner === 'object' && inner !== null && Object.keys(inner).length > 0 ? inner : envelope;
  const key = random.pick(Object.keys(target));
  const pair = `${JSON.stringify(key)}:${JSON.stringify(random.pick([target[key], '', null, 'x', {}]))}`;
  const text = JSON.stringify(target);
  const twice = random.chance(0.5) ? `{${pair},${text.slice(1)}` : `${text.slice(0, -1)},${pair}}`;
  return target === envelope ? twice : JSON.stringify({ ...envelope, resource: '#' }).replace('"#"', () => twice);
}

/** The sealed part changed, under the signature that was there. */
function resourceMutators({ apiV3Key }: Simulated): Mutator[] {
  return [
    {
      name: 'resource spoiled',
      weight: 3,
      mutate: (input, random) => withSpoiledResource(input, random, apiV3Key),
    },
    {
      name: 'resource sealed anew',
      weight: 1,
      mutate(input, random) {
        const content = JSON.stringify({ mchid: '1900000001', out_trade_no: 'x', trade_state: 'SUCCESS', transaction_id: '1', amount: { total: random.below(10_000), currency: 'CNY' } });
        return withResource(input, (resource) => ({ ...resource, ciphertext: seal(content, { key: apiV3Key, nonce: 'abcdefghijkl', associatedData: 'transaction' }), nonce: 'abcdefghijkl' }));
      },
    },
  ];
}

/** By the platform's own key, and in a way in which the platform does not sign or seal. */
function signedMutators({ keys, apiV3Key, publicKeyId, merchantPrivateKeyPem, merchantSerial }: Simulated): Mutator[] {
  const memory = new SignatureMemory();
  const platformKey = keys.publicKey.privateKeyPem;
  const signedAgain = (input: Input, change: { timestamp?: string; algorithm?: SignatureAlgorithm; key?: string; serial?: string } = {}): Input => {
    const timestamp = change.timestamp ?? headerOf(input, 'wechatpay-timestamp') ?? '';
    const text = signedText(timestamp, headerOf(input, 'wechatpay-nonce') ?? '', input.body);
    const signature = memory.sign(text, change.algorithm ?? 'RSA-SHA256', change.key ?? platformKey);
    const [timed, serial] = [withHeader(input, 'wechatpay-timestamp', timestamp), change.serial ?? publicKeyId];
    return withHeader(withHeader(timed, 'wechatpay-signature', signature), 'wechatpay-serial', serial);
  };

  return [
    { name: 'downgraded by the right key', weight: 2, mutate: (input, random) => signedAgain(input, { algorithm: random.pick(WRONG_ALGORITHMS) }) },
    { name: 'old or future time by the right key', weight: 2, alone: true, mutate: (input, random, { at }) => signedAgain(input, { timestamp: otherTime(at, random) }) },
    { name: 'right key under another serial', weight: 1, alone: true, mutate: (input, random) => signedAgain(input, { serial: random.pick([merchantSerial, keys.certificates[0].serial, 'PUB_KEY_ID_0']) }) },
    { name: "signed by the merchant's key", weight: 1, alone: true, mutate: (input, random) => signedAgain(input, { key: merchantPrivateKeyPem, serial: random.pick([publicKeyId, merchantSerial]) }) },
    {
      name: 'other envelope by the right key',
      weight: 2,
      alone: true,
      mutate: (input, random) => {
        const changed = random.chance(0.7) ? withSpoiledResource(input, random, apiV3Key) : withBody(input, random.pick(UNREADABLE));
        return changed === null ? null : signedAgain(changed);
      },
    },
  ];
}

/** More than five minutes off by a margin that a slow answer does not use up, or in a form that the platform does not use. */
function otherTime(at: Date, random: Random): string {
  const now = Math.floor(at.getTime() / 1_000);
  const off = random.pick([20 * MINUTE_S, 60 * MINUTE_S, 86_400, 400 * 86_400, now]);
  return random.pick([`${now - off}`, `${now - off}`, `${now + off}`, `${now}.0`, `+${now}`, `${now * 1_000}`, `${now}e0`, `0x${now.toString(16)}`, '9'.repeat(400), 'NaN', 'now']);
}

const UNREADABLE = ['null', '[]', '{}', '0', '""', '{', '[[', '{"resource":null}', '{"resource":[]}', '{"resource":1,"id":1}', '{"__proto__":{"resource":{}}}', '['.repeat(10_000), '{"resource":'.repeat(5_000) + '1' + '}'.repeat(5_000), '\ufeff{}', '\0', '{"id":"x","event_type":"TRANSACTION.SUCCESS"}'];

function withSpoiledResource(input: Input, random: Random, apiV3Key: string): Input | null {
  return withResource(input, (resource) => random.pick(RESOURCE_SPOILS)(resource, random, apiV3Key));
}

type ResourceSpoil = (resource: Json, random: Random, apiV3Key: string) => Json;

const RESOURCE_SPOILS: readonly ResourceSpoil[] = [
  (resource, random) => ({ ...resource, algorithm: random.pick(['AEAD_AES_128_GCM', 'AEAD_SM4_GCM', 'AES-256-CBC', 'aead_aes_256_gcm', '', null, 'none', 256]) }),
  // A tag of fewer bytes, as if fewer had been asked for.
  (resource, random) => ({ ...resource, ciphertext: cutSealed(resource, 16 - random.pick([4, 8, 12, 0])) }),
  (resource, random, key) => ({ ...resource, ...sealedWithTag('{"mchid":"1900000001","out_trade_no":"x"}', key, random.pick([4, 8, 12])) }),
  (resource, random) => ({ ...resource, ciphertext: bitFlipped(resource, random) }),
  (resource) => ({ ...resource, ciphertext: Buffer.concat([sealedBytes(resource).subarray(0, -16), Buffer.alloc(16)]).toString('base64') }),
  (resource, random) => ({ ...resource, ciphertext: random.pick(['', 'AAAA', null, 1, [], {}, '!', 'A'.repeat(30_000), Buffer.alloc(16).toString('base64')]) }),
  (resource, random) => ({ ...resource, nonce: random.pick(['', 'abcdefghijkl', null, 1, [], 'x'.repeat(10_000), '\0'.repeat(12)]) }),
  (resource, random) => ({ ...resource, associated_data: random.pick(['', 'certificate', null, 1, [], 'x'.repeat(10_000), 'Transaction']) }),
  (resource, random) => withoutKey(resource, random.pick(['algorithm', 'ciphertext', 'nonce', 'associated_data'])),
  () => ({ mchid: '1900000001', out_trade_no: 'x', trade_state: 'SUCCESS' }),
];

function sealedWithTag(content: string, key: string, authTagLength: number): Json {
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(key), Buffer.from('abcdefghijkl'), { authTagLength });
  const bytes = Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()]);
  return { ciphertext: bytes.toString('base64'), nonce: 'abcdefghijkl', associated_data: '' };
}

const sealedBytes = ({ ciphertext }: Json): Buffer => Buffer.from(typeof ciphertext === 'string' ? ciphertext : '', 'base64');
const cutSealed = (resource: Json, bytes: number): string => sealedBytes(resource).subarray(0, bytes === 0 ? -1 : -bytes).toString('base64');

function bitFlipped(resource: Json, random: Random): string {
  const bytes = sealedBytes(resource);
  const at = random.below(Math.max(1, bytes.length));
  if (bytes.length > 0) bytes[at] = bytes[at]! ^ (1 << random.below(8));
  return bytes.toString('base64');
}

function withResource(input: Input, change: (resource: Json) => Json): Input | null {
  const envelope = parsed(input.body);
  const resource = envelope?.['resource'];
  if (envelope === null || typeof resource !== 'object' || resource === null) return null;
  return withBody(input, JSON.stringify({ ...envelope, resource: change(resource as Json) }));
}

const withoutKey = (object: Json, key: string): Json => Object.fromEntries(Object.entries(object).filter(([one]) => one !== key));

/** Null for what is no object with anything in it. */
function parsed(body: Buffer): Json | null {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0 ? (value as Json) : null;
  } catch {
    return null;
  }
}
