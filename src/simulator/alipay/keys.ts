import { generateKeyPairSync } from 'node:crypto';

/** The application's private key is unknown where only its public half was given. */
export interface AlipayKeys {
  readonly appPrivateKeyPem: string | null;
  readonly appPublicKeyPem: string;
  readonly alipayPrivateKeyPem: string;
  readonly alipayPublicKeyPem: string;
}

export interface KeySources {
  readonly given?: AlipayKeys | undefined;
  readonly saved?: AlipayKeys | undefined;
  readonly appPublicKeyPem?: string | undefined;
}

/** Given keys win over saved ones, new ones are made where there are none. */
export function keysFrom({ given, saved, appPublicKeyPem }: KeySources): AlipayKeys {
  const known = given ?? saved;
  const alipay = known ?? alipayPair();
  if (appPublicKeyPem !== undefined && appPublicKeyPem !== known?.appPublicKeyPem) {
    return { ...pick(alipay), appPrivateKeyPem: null, appPublicKeyPem };
  }
  if (known !== undefined) return known;
  const app = newKeyPair();
  return { ...pick(alipay), appPrivateKeyPem: app.privateKey, appPublicKeyPem: app.publicKey };
}

/** RSA of 2048 bit, as RSA2 wants it. */
export const newKeyPair = (): { readonly privateKey: string; readonly publicKey: string } =>
  generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });

type AlipayHalf = Pick<AlipayKeys, 'alipayPrivateKeyPem' | 'alipayPublicKeyPem'>;

function alipayPair(): AlipayHalf {
  const { privateKey, publicKey } = newKeyPair();
  return { alipayPrivateKeyPem: privateKey, alipayPublicKeyPem: publicKey };
}

const pick = ({ alipayPrivateKeyPem, alipayPublicKeyPem }: AlipayHalf): AlipayHalf => ({ alipayPrivateKeyPem, alipayPublicKeyPem });
