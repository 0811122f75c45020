/** What is done to a signature in base64, wherever a platform carries it. */
import { constants, createSign, sign } from 'node:crypto';
import { flipped } from './mutators.js';
import type { Random } from './random.js';

/** Another text in the place of a signature; the raw bytes may even be the same, as base64 that is not canonical has many forms. */
export function spoiledSignature(signature: string, random: Random, others: readonly string[]): string {
  return random.pick(SPOILS)(signature, random, others);
}

type Spoil = (signature: string, random: Random, others: readonly string[]) => string;

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

const SPOILS: readonly Spoil[] = [
  () => '',
  (_signature, random, others) => random.pick(others),
  (signature, random) => flipped(Buffer.from(signature, 'base64'), random, 1).toString('base64'),
  (signature) => Buffer.from(signature, 'base64').reverse().toString('base64'),
  (signature) => Buffer.from(signature, 'base64').toString('base64url'),
  (signature) => Buffer.from(signature, 'base64').toString('hex'),
  (signature) => signature.replace(/=+$/, ''),
  (signature) => `${signature}=`,
  (signature, random) => signature + random.pick(['A', 'AAAA', '\n', ' ', '%3D', '.', ',', signature]),
  (signature, random) => ` ${signature.slice(0, random.between(1, 300))}`,
  (signature, random) => withInside(signature, random.below(signature.length), random.pick([' ', '\n', '\r\n', '\0', '-', '_'])),
  (signature) => signature.replaceAll('+', ' '),
  trailingBits,
  (signature) => signature.toLowerCase(),
  // A valid number for the key, and one above its modulus.
  () => Buffer.alloc(256).toString('base64'),
  () => Buffer.alloc(256, 1).toString('base64'),
  () => Buffer.alloc(256, 255).toString('base64'),
  (signature) => Buffer.concat([Buffer.alloc(1), Buffer.from(signature, 'base64')]).toString('base64'),
  (_signature, random) => random.bytes(256).toString('base64'),
  (_signature, random) => `WECHATPAY/SIGNTEST/${random.bytes(192).toString('base64')}`,
  (_signature, random) => random.pick(['null', 'undefined', 'true', '0', '[object Object]', '__proto__', 'A'.repeat(4_000)]),
];

const withInside = (text: string, at: number, added: string): string => text.slice(0, at) + added + text.slice(at);

/** The last character before the padding has bits that mean nothing. */
function trailingBits(signature: string): string {
  const [, start = '', last = 'A', padding = ''] = /^(.*?)([^=])(=*)$/s.exec(signature) ?? [];
  return start + ALPHABET[(ALPHABET.indexOf(last) ^ 1) & 63] + padding;
}

/** By the right key over the right text, and not as the platform signs. */
export const WRONG_ALGORITHMS = ['RSA-SHA1', 'RSA-MD5', 'RSA-SHA224', 'RSA-SHA384', 'RSA-SHA512', 'RSA-RIPEMD160', 'PSS'] as const;
export type SignatureAlgorithm = (typeof WRONG_ALGORITHMS)[number] | 'RSA-SHA256';

/** Remembers, as signing costs much more than anything else here. */
export class SignatureMemory {
  private readonly made = new Map<string, string>();

  sign(text: Buffer, algorithm: SignatureAlgorithm, privateKeyPem: string): string {
    const name = `${algorithm}\n${privateKeyPem}\n${text.toString('latin1')}`;
    const known = this.made.get(name);
    if (known !== undefined) return known;
    if (this.made.size >= MADE_MAX) this.made.clear();
    const signature = signed(text, algorithm, privateKeyPem);
    this.made.set(name, signature);
    return signature;
  }
}

const MADE_MAX = 2_000;

function signed(text: Buffer, algorithm: SignatureAlgorithm, privateKeyPem: string): string {
  if (algorithm !== 'PSS') return createSign(algorithm).update(text).sign(privateKeyPem, 'base64');
  return sign('sha256', text, { key: privateKeyPem, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }).toString('base64');
}
