/** AEAD_AES_256_GCM (wechatpay.md section 4): the tag follows the ciphertext, texts are UTF-8. */
import { createCipheriv, createDecipheriv } from 'node:crypto';

export const ALGORITHM = 'AEAD_AES_256_GCM';

export interface Sealing {
  /** 32 bytes. */
  readonly key: string;
  /** 12 bytes. */
  readonly nonce: string;
  /** Empty where there is none. */
  readonly associatedData: string;
}

/** Ciphertext and tag in base64. */
export function seal(plaintext: string, sealing: Sealing): string {
  const cipher = createCipheriv('aes-256-gcm', keyOf(sealing), Buffer.from(sealing.nonce, 'utf8'), { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(sealing.associatedData, 'utf8'));
  return Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

/** Throws on anything that was not sealed in just this way. */
export function unseal(ciphertext: string, sealing: Sealing): string {
  const sealed = Buffer.from(ciphertext, 'base64');
  if (sealed.length < TAG_BYTES) throw new Error('the ciphertext is shorter than its tag');
  const tagAt = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', keyOf(sealing), Buffer.from(sealing.nonce, 'utf8'), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(sealing.associatedData, 'utf8'));
  decipher.setAuthTag(sealed.subarray(tagAt));
  return Buffer.concat([decipher.update(sealed.subarray(0, tagAt)), decipher.final()]).toString('utf8');
}

/** The same text with one bit changed, in its first byte or in the tag. */
export function tampered(ciphertext: string, where: 'content' | 'tag'): string {
  const sealed = Buffer.from(ciphertext, 'base64');
  const at = where === 'content' ? 0 : sealed.length - 1;
  sealed.writeUInt8(sealed.readUInt8(at) ^ 1, at);
  return sealed.toString('base64');
}

const TAG_BYTES = 16;

function keyOf({ key }: Sealing): Buffer {
  const bytes = Buffer.from(key, 'utf8');
  if (bytes.length !== 32) throw new Error(`an APIv3 key has 32 bytes, not ${bytes.length}`);
  return bytes;
}
