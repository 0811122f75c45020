import { randomBytes, X509Certificate } from 'node:crypto';
import { issueCertificate } from '../certificate.js';
import { newKeyPair } from '../rsa-pair.js';
import { DAY_MS } from './format.js';
import { newNonce } from './signature.js';

export interface CertifiedKey {
  /** Hexadecimal, upper case. */
  readonly serial: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly validFrom: number;
  readonly validUntil: number;
}

export interface WechatPayKeys {
  readonly merchant: CertifiedKey;
  /** 32 characters. */
  readonly apiV3Key: string;
  /** Of the platform, the older one first. */
  readonly certificates: readonly [CertifiedKey, CertifiedKey];
  /** The platform's key without a certificate. */
  readonly publicKey: { readonly id: string; readonly publicKeyPem: string; readonly privateKeyPem: string };
}

/** Platform certificates run 5 years; the first is in its second year. */
export function newKeys(now: number, mchid: string): WechatPayKeys {
  const platform = 'Tenpay.com sign certificate';
  const open = newKeyPair();
  return {
    merchant: certified(mchid, now - DAY_MS),
    apiV3Key: newNonce(32),
    certificates: [certified(platform, now - 400 * DAY_MS), certified(platform, now - DAY_MS)],
    publicKey: { id: `PUB_KEY_ID_0114${mchid}${randomBytes(8).toString('hex')}`, publicKeyPem: open.publicKey, privateKeyPem: open.privateKey },
  };
}

/** 20 bytes; the second highest bit is set, so that neither a zero nor a sign changes its 40 digits. */
export const newSerial = (): string => (0x40 | (randomBytes(1).readUInt8(0) & 0x3f)).toString(16).toUpperCase() + randomBytes(19).toString('hex').toUpperCase();

function certified(commonName: string, since: number): CertifiedKey {
  const { publicKey, privateKey } = newKeyPair();
  // A certificate knows whole seconds only.
  const validFrom = Math.floor(since / 1000) * 1000;
  const validUntil = validFrom + 5 * 365 * DAY_MS;
  const certificatePem = issueCertificate({
    subject: { commonName, organization: '财付通支付科技有限公司', country: 'CN' },
    publicKeyPem: publicKey,
    privateKeyPem: privateKey,
    serial: BigInt(`0x${newSerial()}`),
    notBefore: new Date(validFrom),
    notAfter: new Date(validUntil),
  });
  return { serial: new X509Certificate(certificatePem).serialNumber, certificatePem, privateKeyPem: privateKey, validFrom, validUntil };
}
