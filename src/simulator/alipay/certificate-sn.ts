/** The serial numbers by which calls and answers name certificates in certificate mode (alipay.md section 5). */
import { createHash, X509Certificate } from 'node:crypto';
import { isSignedWithRsa } from '../certificate.js';

/** 32 hexadecimal digits over the issuer's name, its last part first, and the decimal number. */
export function certificateSn(pem: string): string {
  const { issuer, serialNumber } = new X509Certificate(pem);
  const name = issuer.split('\n').reverse().join(',');
  return createHash('md5').update(`${name}${BigInt(`0x${serialNumber}`)}`, 'utf8').digest('hex');
}

/** Of a bundle of roots: those that RSA signed, in their order. */
export function rootCertificateSn(bundlePem: string): string {
  const pems = bundlePem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return pems.filter(isSignedWithRsa).map(certificateSn).join('_');
}
