/** RSASSA-PKCS1-v1_5 with SHA-256: the one signature of all three platforms, over the exact bytes that travel. */
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';

export function signBytes(bytes: string | Buffer, key: KeyObject): string {
  return sign('RSA-SHA256', bufferOf(bytes), key).toString('base64');
}

export function verifyBytes(bytes: string | Buffer, signature: string, key: KeyObject): boolean {
  const raw = Buffer.from(signature, 'base64');
  // Base64 that is not canonical would let one signature have many forms.
  if (raw.length === 0 || raw.toString('base64') !== signature) return false;
  return verify('RSA-SHA256', bufferOf(bytes), key, raw);
}

/** PEM of either kind, or the bare base64 that a platform's console hands out (PKCS#8, else PKCS#1). */
export function privateKeyOf(text: string): KeyObject {
  if (text.includes('-----BEGIN')) return createPrivateKey(text);
  const der = Buffer.from(text, 'base64');
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } catch {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs1' });
  }
}

export function publicKeyOf(text: string): KeyObject {
  if (text.includes('-----BEGIN')) return createPublicKey(text);
  return createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
}

const bufferOf = (bytes: string | Buffer): Buffer => (Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes, 'utf8'));
