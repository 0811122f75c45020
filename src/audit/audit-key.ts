/** The Ed25519 keys of audits, as PEM: PKCS #8 to sign with, SPKI to check with. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';

const KEY_ID_DIGITS = 32;

export function newKeyPair(): { readonly privatePem: string; readonly publicPem: string; readonly keyId: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    keyId: keyIdOf(publicKey),
  };
}

export const signingKeyOf = (pem: string): KeyObject => ed25519(() => createPrivateKey(pem), 'private');
export const checkingKeyOf = (pem: string): KeyObject => ed25519(() => createPublicKey(pem), 'public');

/** Of the public key, whichever of the two is given. */
export function keyIdOf(key: KeyObject): string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('hex').slice(0, KEY_ID_DIGITS);
}

function ed25519(read: () => KeyObject, kind: string): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch (error) {
    throw new Error(`is not a ${kind} key in PEM`, { cause: error });
  }
  if (key.asymmetricKeyType !== 'ed25519') throw new Error(`is a key of ${key.asymmetricKeyType}, not of Ed25519`);
  return key;
}
