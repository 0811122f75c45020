/** Whose signatures are believed: one configured key, or in certificate mode the certificates under Alipay's roots. */
import { X509Certificate, type KeyObject } from 'node:crypto';
import { certificateSerial, rootSerial } from './signature.js';
import { isIssuedUnder, pemsOf } from '../certificates.js';
import type { Parameters } from '../form.js';
import { publicKeyOf } from '../rsa.js';

export interface Trust {
  /** What a request says about the certificates that are in use. */
  readonly requestParameters: Parameters;
  /** The key for a serial number that came with an answer; null for one that is not known. */
  keyOf(serial: string | null): KeyObject | null;
  /** Every key that may have signed a message without a serial number, newest first. */
  keys(): readonly KeyObject[];
  /** Adds a certificate that was fetched; refuses one that is not issued under the roots, or has another serial number or name. */
  learn(pem: string, serial: string, at: Date): boolean;
}

export function publicKeyTrust(alipayPublicKey: string): Trust {
  const key = publicKeyOf(alipayPublicKey);
  return { requestParameters: {}, keyOf: () => key, keys: () => [key], learn: () => false };
}

/** Certificates that were rotated out keep verifying what they signed; this many are remembered. */
const CERTIFICATES_MAX = 4;

export function certificateTrust(pems: { readonly app: string; readonly alipay: string; readonly roots: string }): Trust {
  const rootPems = pemsOf(pems.roots);
  const roots = rootPems.flatMap(readable);
  const known = new Map<string, KeyObject>();
  const alipayPem = pemsOf(pems.alipay)[0] ?? pems.alipay;
  const alipay = new X509Certificate(alipayPem);
  known.set(certificateSerial(alipayPem), alipay.publicKey);

  return {
    requestParameters: { app_cert_sn: certificateSerial(pemsOf(pems.app)[0] ?? pems.app), alipay_root_cert_sn: rootSerial(rootPems) },
    keyOf: (serial) => (serial === null ? null : (known.get(serial) ?? null)),
    keys: () => [...known.values()].reverse(),
    learn(pem, serial, at) {
      const [leaf, ...intermediates] = pemsOf(pem).flatMap(readable);
      if (leaf === undefined || certificateSerial(leaf.toString()) !== serial) return false;
      if (!isIssuedUnder(leaf, { intermediates, roots }, at)) return false;
      // Merchants have certificates under the same roots; who speaks for Alipay is in the name.
      if (commonNameOf(leaf) !== commonNameOf(alipay)) return false;
      known.set(serial, leaf.publicKey);
      for (const oldest of [...known.keys()].slice(0, -CERTIFICATES_MAX)) known.delete(oldest);
      return true;
    },
  };
}

const commonNameOf = ({ subject }: X509Certificate): string => subject.split('\n').filter((line) => line.startsWith('CN=')).join('\n');

/** A bundle also holds certificates of algorithms that this runtime cannot read; they verify nothing here. */
function readable(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)];
  } catch {
    return [];
  }
}
