/** The platform's signature on answers and notifications, with every flaw that can be planned. */
import { createPublicKey } from 'node:crypto';
import { newKeyPair } from '../rsa-pair.js';
import { certified, LEAF_NAME, newLeaf, strangeAuthority, type CertifiedKey, type UnionPayKeys } from './keys.js';
import { keyedHash, sign, signedText } from './signature.js';
import type { Fields } from './wire.js';

/** What is wrong with a signature or with the certificate that came with it (unionpay.md section 11). */
export const SIGNATURE_FLAWS = [
  /** A self-signed certificate with the right name. */
  'forged',
  /** The right name, issued by an authority that bears the name of the trusted one. */
  'foreign-chain',
  /** Properly issued to another company. */
  'wrong-common-name',
  /** Properly issued to a name without the parts of the platform's: the one of UnionPay's test environment. */
  'short-common-name',
  'expired-certificate',
  /** Another proper certificate of the platform in the place of the one that signed. */
  'swapped-certificate',
  /** A keyed hash instead of RSA. */
  'sign-method-11',
  'no-certificate',
  /** Over other fields. */
  'bad-signature',
  'no-signature',
] as const;

export type SignatureFlaw = (typeof SIGNATURE_FLAWS)[number];

/** Null where the name is of something else. */
export const flawOf = (name: string | undefined): SignatureFlaw | null => SIGNATURE_FLAWS.find((flaw) => flaw === name) ?? null;

export class Signer {
  private readonly made = new Map<SignatureFlaw, CertifiedKey>();

  constructor(
    private current: UnionPayKeys,
    private readonly options: { readonly lineEnd: '\n' | '\r\n'; now(): number },
  ) {}

  get keys(): UnionPayKeys {
    return this.current;
  }

  /** The platform goes over to a new certificate of the same chain. */
  renew(): void {
    this.current = { ...this.current, leaf: newLeaf(this.options.now(), this.current.middle) };
    this.made.clear();
  }

  /** With `signMethod`, `signPubKeyCert` and `signature`, in the order of ASCII. */
  signed(fields: Fields, flaw: SignatureFlaw | null = null): Fields {
    const usedKey = flaw === null || flaw === 'swapped-certificate' ? this.current.leaf : this.keyFor(flaw);
    const full = new Map(fields).set('signMethod', flaw === 'sign-method-11' ? '11' : '01');
    if (flaw !== 'no-certificate') full.set('signPubKeyCert', this.sent(usedKey));

    const text = flaw === 'bad-signature' ? `${signedText(full)}0` : signedText(full);
    if (flaw !== 'no-signature') full.set('signature', flaw === 'sign-method-11' ? keyedHash(text, 'simulated') : sign(text, usedKey.privateKeyPem));
    if (flaw === 'swapped-certificate') full.set('signPubKeyCert', this.sent(this.keyFor(flaw)));
    return new Map([...full].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** The text ends with its last dash. */
  private sent({ certificatePem }: CertifiedKey): string {
    return certificatePem.trimEnd().replaceAll('\n', this.options.lineEnd);
  }

  private keyFor(flaw: SignatureFlaw): CertifiedKey {
    const known = this.made.get(flaw) ?? this.make(flaw);
    this.made.set(flaw, known);
    return known;
  }

  private make(flaw: SignatureFlaw): CertifiedKey {
    const now = this.options.now();
    const { leaf, middle } = this.current;
    const own = { privateKey: leaf.privateKeyPem, publicKey: createPublicKey(leaf.privateKeyPem).export({ type: 'spki', format: 'pem' }).toString() };
    switch (flaw) {
      case 'forged':
        return certified(LEAF_NAME, now, {});
      case 'foreign-chain':
        return newLeaf(now, strangeAuthority(now));
      case 'wrong-common-name':
        return newLeaf(now, middle, '041@8310000000083040@另一家支付有限公司@00000001');
      case 'short-common-name':
        return newLeaf(now, middle, '00040000:SIGN');
      case 'expired-certificate':
        return certified(LEAF_NAME, now, { issuer: middle, key: own, isExpired: true });
      case 'swapped-certificate':
        return certified(LEAF_NAME, now, { issuer: middle, key: newKeyPair() });
      case 'sign-method-11':
      case 'no-certificate':
      case 'bad-signature':
      case 'no-signature':
        return leaf;
    }
  }
}
