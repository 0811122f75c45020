/** The platform's chain (root, middle, leaf) and the merchant's certificate, all of the simulator's own making. */
import { randomBytes, X509Certificate } from 'node:crypto';
import { issueCertificate } from '../certificate.js';
import { newKeyPair } from '../rsa-pair.js';
import { DAY_MS } from './format.js';

export interface CertifiedKey {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

export interface UnionPayKeys {
  readonly root: CertifiedKey;
  readonly middle: CertifiedKey;
  /** Signs answers and notifications, and travels with them. */
  readonly leaf: CertifiedKey;
  readonly merchant: CertifiedKey;
}

export const LEAF_NAME = '041@8310000000083040@中国银联股份有限公司@00000001';
const ROOT_NAME = 'Simulated UnionPay Root';
const MIDDLE_NAME = 'Simulated UnionPay OCA1';

export function newKeys(now: number, merId: string): UnionPayKeys {
  const root = certified(ROOT_NAME, now, { isAuthority: true });
  const middle = certified(MIDDLE_NAME, now, { issuer: root, isAuthority: true });
  return { root, middle, leaf: certified(LEAF_NAME, now, { issuer: middle }), merchant: certified(`041@Z${merId}@SIGN@00000001`, now, { issuer: middle }) };
}

export const newLeaf = (now: number, issuer: CertifiedKey, commonName = LEAF_NAME): CertifiedKey => certified(commonName, now, { issuer });

/** An authority of the same name as the middle one, which nobody trusts. */
export const strangeAuthority = (now: number): CertifiedKey => certified(MIDDLE_NAME, now, { isAuthority: true });

export interface CertificateKind {
  /** Self-signed without one. */
  readonly issuer?: CertifiedKey;
  readonly isAuthority?: boolean;
  readonly key?: { readonly privateKey: string; readonly publicKey: string };
  /** Ended a day ago. */
  readonly isExpired?: boolean;
}

export function certified(commonName: string, now: number, { issuer, isAuthority = false, key = newKeyPair(), isExpired = false }: CertificateKind): CertifiedKey {
  const certificatePem = issueCertificate({
    subject: { commonName, organization: 'CFCA simulated', country: 'CN' },
    ...(issuer === undefined ? { privateKeyPem: key.privateKey } : { issuer }),
    publicKeyPem: key.publicKey,
    serial: newSerial(),
    notBefore: new Date(now - 400 * DAY_MS),
    notAfter: new Date(isExpired ? now - DAY_MS : now + 5 * 365 * DAY_MS),
    isAuthority,
  });
  return { certificatePem, privateKeyPem: key.privateKey };
}

/** As `certId` has it: far beyond 2^53, where a float no longer tells two certificates apart. */
export const certificateId = ({ certificatePem }: Pick<CertifiedKey, 'certificatePem'>): string => BigInt(`0x${new X509Certificate(certificatePem).serialNumber}`).toString();

const newSerial = (): bigint => (1n << 77n) | BigInt(`0x${randomBytes(9).toString('hex')}`);
