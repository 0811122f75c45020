/** The keys that WeChat Pay signs with: public keys and certificates side by side, and new certificates as they appear. */
import type { X509Certificate} from 'node:crypto';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { publicKeyOf } from '../rsa.js';

export class PlatformKeys {
  private readonly keys = new Map<string, KeyObject>();
  private fetchedAt: number | null = null;
  private fetching: Promise<void> | null = null;

  constructor(
    given: { readonly publicKeys: Readonly<Record<string, string>>; readonly certificates: readonly X509Certificate[] },
    /** The certificates that the platform has now; null where it could not be asked, or has none. */
    private readonly fetchCertificates: (at: Date) => Promise<readonly X509Certificate[] | null>,
  ) {
    for (const [id, pem] of Object.entries(given.publicKeys)) this.keys.set(id, publicKeyOf(pem));
    for (const certificate of given.certificates) this.add(certificate);
    this.publicKeyId = Object.keys(given.publicKeys).at(-1) ?? null;
  }

  /** The id of the public key that answers are asked to be signed with; null in certificate mode. */
  readonly publicKeyId: string | null;

  find(serial: string): KeyObject | null {
    return this.keys.get(serial) ?? this.keys.get(serial.toUpperCase()) ?? null;
  }

  /** Looks for an unknown serial number, at most once a minute: anybody can name one. Never throws. */
  async learn(at: Date): Promise<void> {
    if (this.fetching !== null) return this.fetching;
    if (this.fetchedAt !== null && at.getTime() - this.fetchedAt < MINUTE_MS) return;
    this.fetchedAt = at.getTime();
    this.fetching = this.fetch(at).finally(() => (this.fetching = null));
    return this.fetching;
  }

  /** Before a call: a certificate that was announced must be known when the first answer is signed with it. */
  async refresh(at: Date): Promise<void> {
    const never = this.fetchedAt === null;
    if (never ? this.keys.size === 0 : this.publicKeyId === null && at.getTime() - this.fetchedAt! > REFRESH_MS) await this.learn(at);
  }

  private async fetch(at: Date): Promise<void> {
    for (const certificate of (await this.fetchCertificates(at)) ?? []) this.add(certificate);
  }

  private add(certificate: X509Certificate): void {
    this.keys.set(certificate.serialNumber.toUpperCase(), createPublicKey(certificate.publicKey.export({ type: 'spki', format: 'pem' })));
    for (const oldest of [...this.keys.keys()].slice(0, -KEYS_MAX)) if (!oldest.startsWith('PUB_KEY_ID_')) this.keys.delete(oldest);
  }
}

const MINUTE_MS = 60_000;
const REFRESH_MS = 12 * 60 * MINUTE_MS;
const KEYS_MAX = 16;
