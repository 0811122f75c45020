import { generateKeyPairSync } from 'node:crypto';

/** No platform's keys have this public exponent (theirs is 65537): a simulator's key can be told from a real one wherever it turns up. */
const MARK = 65_539;

/** RSA of 2048 bit. */
export const newKeyPair = (): { readonly privateKey: string; readonly publicKey: string } =>
  generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicExponent: MARK,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
