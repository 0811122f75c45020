/** What the settings of every platform are made of: each refuses with a sentence about itself. */
import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { pemsOf } from './certificates.js';
import { privateKeyOf, publicKeyOf } from './rsa.js';

export const httpUrl = z.url({ protocol: /^https?$/, error: 'must be an http(s) URL' });

/** PEM of PKCS#8 or PKCS#1, or the bare base64 of a platform's console. */
export const privateKey = z.string().refine((text) => isRsaKey(() => privateKeyOf(text)), 'must be an RSA private key, as PEM or base64');

export const publicKey = z.string().refine((text) => isRsaKey(() => publicKeyOf(text)), 'must be an RSA public key, as PEM or base64');

/** One or more certificates. */
export const certificatePems = z.string().refine((text) => pemsOf(text).length > 0, 'must be one or more certificates as PEM');

/** One certificate whose key can be used here. */
export const certificatePem = z
  .string()
  .refine((text) => pemsOf(text).length === 1 && isRsaKey(() => new X509Certificate(text).publicKey), 'must be one RSA certificate as PEM');

function isRsaKey(read: () => { readonly asymmetricKeyType?: string | undefined }): boolean {
  try {
    return read().asymmetricKeyType === 'rsa';
  } catch {
    return false;
  }
}
