import type { X509Certificate } from 'node:crypto';

/** The certificates of a text that holds any number of PEM blocks. */
export const pemsOf = (text: string): string[] => text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];

const CHAIN_MAX = 5;

/** Whether a certificate is valid now and issued, by way of the given ones, under one of the trusted roots. */
export function isIssuedUnder(
  leaf: X509Certificate,
  trust: { readonly intermediates: readonly X509Certificate[]; readonly roots: readonly X509Certificate[] },
  at: Date,
): boolean {
  let current = leaf;
  for (let depth = 0; depth < CHAIN_MAX; depth += 1) {
    if (!isValidAt(current, at)) return false;
    if (trust.roots.some((root) => root.fingerprint256 === current.fingerprint256)) return depth > 0;
    const issuer = [...trust.roots, ...trust.intermediates].find((candidate) => hasIssued(candidate, current));
    if (issuer === undefined) return false;
    current = issuer;
  }
  return false;
}

/** Only an authority issues, whatever its certificate was issued under. Without throwing for keys of kinds that this runtime does not know. */
function hasIssued(issuer: X509Certificate, subject: X509Certificate): boolean {
  try {
    return issuer.ca && subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

const isValidAt = (certificate: X509Certificate, at: Date): boolean =>
  Date.parse(certificate.validFrom) <= at.getTime() && at.getTime() <= Date.parse(certificate.validTo);
