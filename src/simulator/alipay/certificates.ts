/** The certificates of certificate mode (alipay.md section 5), all of the simulator's own making. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { issueCertificate } from '../certificate.js';
import { newKeyPair } from '../rsa-pair.js';
import { DAY_MS } from './format.js';

export interface AlipayCertificates {
  readonly root: { readonly certificatePem: string; readonly privateKeyPem: string };
  /** Nobody's issuer: it stands in the bundle as the SM2 and EC roots stand in the platform's. */
  readonly ecRootPem: string;
  readonly appPem: string;
  /** Oldest first; the key of the last one signs. */
  readonly alipayPems: readonly [string, ...string[]];
}

export interface Holders {
  readonly appId: string;
  readonly sellerId: string;
}

export interface PublicKeys {
  readonly appPublicKeyPem: string;
  readonly alipayPublicKeyPem: string;
}

export function newCertificates({ appPublicKeyPem, alipayPublicKeyPem }: PublicKeys, holders: Holders, now: number): AlipayCertificates {
  const pair = newKeyPair();
  const root = { certificatePem: rootCertificate('R1', pair, now), privateKeyPem: pair.privateKey };
  const appPem = certificate(root, `${holders.sellerId}-${holders.appId}`, appPublicKeyPem, now);
  return { root, ecRootPem: rootCertificate('E1', newEcPair(), now), appPem, alipayPems: [alipayCertificate(root, alipayPublicKeyPem, holders, now)] };
}

export const alipayCertificate = (root: AlipayCertificates['root'], publicKeyPem: string, { sellerId }: Holders, now: number): string =>
  certificate(root, `支付宝(中国)网络技术有限公司-${sellerId}`, publicKeyPem, now);

/** What a merchant downloads as the root certificate. */
export const rootBundle = ({ ecRootPem, root }: AlipayCertificates): string => `${ecRootPem}${root.certificatePem}`;

function rootCertificate(name: string, { privateKey, publicKey }: ReturnType<typeof newKeyPair>, now: number): string {
  return issueCertificate({
    subject: { commonName: `Simulated Ant Financial Certification Authority ${name}`, organization: 'Simulated Ant Financial', country: 'CN' },
    publicKeyPem: publicKey,
    privateKeyPem: privateKey,
    serial: newSerial(),
    notBefore: new Date(now - 5 * 365 * DAY_MS),
    notAfter: new Date(now + 20 * 365 * DAY_MS),
    isAuthority: true,
  });
}

function certificate(issuer: AlipayCertificates['root'], commonName: string, publicKeyPem: string, now: number): string {
  return issueCertificate({
    subject: { commonName, organization: 'Simulated Alipay', country: 'CN' },
    issuer,
    publicKeyPem,
    serial: newSerial(),
    notBefore: new Date(now - DAY_MS),
    notAfter: new Date(now + 5 * 365 * DAY_MS),
  });
}

const newEcPair = (): ReturnType<typeof newKeyPair> =>
  generateKeyPairSync('ec', {
    namedCurve: 'prime256v1',
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });

/** As long as the platform's, of about 39 decimal digits. */
const newSerial = (): bigint => (1n << 125n) | BigInt(`0x${randomBytes(15).toString('hex')}`);
