import { newKeyPair } from '../rsa-pair.js';
import type { AlipayCertificates } from './certificates.js';

/** The application's private key is unknown where only its public half was given. */
export interface AlipayKeys {
  readonly appPrivateKeyPem: string | null;
  readonly appPublicKeyPem: string;
  readonly alipayPrivateKeyPem: string;
  readonly alipayPublicKeyPem: string;
  /** Of certificate mode only. */
  readonly certificates?: AlipayCertificates;
}

export interface KeySources {
  readonly given?: AlipayKeys | undefined;
  readonly saved?: AlipayKeys | undefined;
  readonly appPublicKeyPem?: string | undefined;
  /** Null in key mode. */
  readonly newCertificates: ((keys: AlipayKeys) => AlipayCertificates) | null;
}

/** Given keys win over saved ones, new ones are made where there are none. */
export function keysFrom({ given, saved, appPublicKeyPem, newCertificates }: KeySources): AlipayKeys {
  const { certificates, ...keys } = pairsFrom(given ?? saved, appPublicKeyPem);
  return newCertificates === null ? keys : { ...keys, certificates: certificates ?? newCertificates(keys) };
}

function pairsFrom(known: AlipayKeys | undefined, appPublicKeyPem: string | undefined): AlipayKeys {
  const alipay = known ?? alipayPair();
  if (appPublicKeyPem !== undefined && appPublicKeyPem !== known?.appPublicKeyPem) {
    return { ...pick(alipay), appPrivateKeyPem: null, appPublicKeyPem };
  }
  if (known !== undefined) return known;
  const app = newKeyPair();
  return { ...pick(alipay), appPrivateKeyPem: app.privateKey, appPublicKeyPem: app.publicKey };
}

type AlipayHalf = Pick<AlipayKeys, 'alipayPrivateKeyPem' | 'alipayPublicKeyPem'>;

function alipayPair(): AlipayHalf {
  const { privateKey, publicKey } = newKeyPair();
  return { alipayPrivateKeyPem: privateKey, alipayPublicKeyPem: publicKey };
}

const pick = ({ alipayPrivateKeyPem, alipayPublicKeyPem }: AlipayHalf): AlipayHalf => ({ alipayPrivateKeyPem, alipayPublicKeyPem });
