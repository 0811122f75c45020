/** The platform's signature on answers and notifications, with the key of the moment and with every flaw that can be planned. */
import { randomBytes } from 'node:crypto';
import { newKeyPair } from '../rsa-pair.js';
import { newSerial, type WechatPayKeys } from './keys.js';
import { newNonce, SCHEME, sign, signedText } from './signature.js';

export const KEY_MODES = ['certificate-a', 'certificate-b', 'public-key', /** All three by turns. */ 'alternate'] as const;
export type KeyMode = (typeof KEY_MODES)[number];

export type SignatureFlaw =
  /** Over other bytes. */
  | 'altered'
  /** With a key that is not the platform's. */
  | 'forged'
  | 'unknown-serial'
  /** Ten minutes old. */
  | 'stale'
  /** What the platform sends to see whether signatures are checked. */
  | 'probe'
  | 'absent';

export type SignatureHeaders = Readonly<Record<string, string>>;

const STALE_MS = 600_000;

export class Signer {
  private turn = 0;
  private forgerPrivateKeyPem: string | null = null;

  constructor(
    private readonly keys: WechatPayKeys,
    public mode: KeyMode,
  ) {}

  /** Whether the platform certificates are gone. */
  get usesPublicKey(): boolean {
    return this.mode === 'public-key';
  }

  isKeyId(id: string): boolean {
    return this.choices().some((key) => key.id === id);
  }

  headers(body: string | Buffer, at: number, flaw: SignatureFlaw | null = null): SignatureHeaders {
    if (flaw === 'absent') return {};
    const { id, privateKeyPem } = this.next();
    const timestamp = String(Math.floor((flaw === 'stale' ? at - STALE_MS : at) / 1000));
    const nonce = newNonce(32);
    const text = signedText(timestamp, flaw === 'altered' ? `${nonce}0` : nonce, body);
    const signature = sign(text, flaw === 'forged' ? this.forger() : privateKeyPem);
    return {
      'Wechatpay-Timestamp': timestamp,
      'Wechatpay-Nonce': nonce,
      'Wechatpay-Signature': flaw === 'probe' ? `WECHATPAY/SIGNTEST/${randomBytes(192).toString('base64')}` : signature,
      'Wechatpay-Serial': flaw === 'unknown-serial' ? newSerial() : id,
      'Wechatpay-Signature-Type': SCHEME,
    };
  }

  private next(): { readonly id: string; readonly privateKeyPem: string } {
    const [a, b, open] = this.choices();
    switch (this.mode) {
      case 'certificate-a':
        return a;
      case 'certificate-b':
        return b;
      case 'public-key':
        return open;
      case 'alternate':
        return [a, b, open][this.turn++ % 3] ?? a;
    }
  }

  private choices() {
    const { certificates, publicKey } = this.keys;
    const [a, b] = certificates;
    return [
      { id: a.serial, privateKeyPem: a.privateKeyPem },
      { id: b.serial, privateKeyPem: b.privateKeyPem },
      { id: publicKey.id, privateKeyPem: publicKey.privateKeyPem },
    ] as const;
  }

  private forger(): string {
    return (this.forgerPrivateKeyPem ??= newKeyPair().privateKey);
  }
}
