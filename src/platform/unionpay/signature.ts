/**
 * UnionPay's signatures (ACP 5.1.0, signMethod 01). The key that verifies travels inside the message: what makes it believed is its
 * chain up to a configured root, and the name in it.
 */
import { createHash, X509Certificate, type KeyObject } from 'node:crypto';
import { isIssuedUnder } from '../certificates.js';
import { hasOneReading, joinedParameters, type Parameters } from '../form.js';
import { signBytes, verifyBytes } from '../rsa.js';

/** SHA-256 of the joined fields as lowercase hex text; signing hashes that text once more. */
export function signedDigest(fields: Parameters): string {
  return createHash('sha256').update(joinedParameters(fields, ['signature']), 'utf8').digest('hex');
}

/** Whether the signed text stands for these fields and no others. */
export const isUnambiguous = (fields: Parameters): boolean => hasOneReading(fields, ['signature']);

export function signFields(fields: Parameters, key: KeyObject): Parameters {
  return { ...fields, signature: signBytes(signedDigest(fields), key) };
}

export interface AcpTrust {
  readonly roots: readonly X509Certificate[];
  readonly middles: readonly X509Certificate[];
  readonly otherCommonNames: readonly string[];
}

/** Null for what UnionPay has signed, else what is wrong with it. `verifies` is for fields that are too large to hold. */
export function whyUnproven(
  fields: Parameters,
  trust: AcpTrust,
  at: Date,
  verifies = (signature: string, key: KeyObject): boolean => verifyBytes(signedDigest(fields), signature, key),
): string | null {
  // Version and method are ours to choose, not the message's.
  if (fields['version'] !== '5.1.0') return 'version is not 5.1.0';
  if (fields['signMethod'] !== '01') return 'signMethod is not 01';
  const certificate = certificateOf(fields['signPubKeyCert'] ?? '');
  if (certificate === null) return 'signPubKeyCert is missing or no certificate';
  // The chain comes first: what a stranger has made is not looked into.
  if (!isIssuedUnder(certificate, { intermediates: trust.middles, roots: trust.roots }, at)) return 'the certificate is not issued under a trusted root';
  if (!isPlatformName(certificate, trust.otherCommonNames)) return 'the certificate is in another name';
  if (certificate.publicKey.asymmetricKeyType !== 'rsa') return 'the certificate has no RSA key';
  return verifies(fields['signature'] ?? '', certificate.publicKey) ? null : 'the signature does not verify';
}

function certificateOf(pem: string): X509Certificate | null {
  try {
    return new X509Certificate(pem);
  } catch {
    return null;
  }
}

const PLATFORM_NAME = '中国银联股份有限公司';

/**
 * The common name has the form `041@<id>@<company>@<n>`. It is read from the subject's lines: `toLegacyObject` ends the whole process
 * for some malformed certificates (Node 24.21).
 */
function isPlatformName({ subject }: X509Certificate, others: readonly string[]): boolean {
  const names = subject.split('\n').filter((line) => line.startsWith('CN='));
  // A certificate with several names says nothing certain.
  const [commonName] = names.map((line) => line.slice('CN='.length));
  if (commonName === undefined || names.length !== 1) return false;
  return commonName.split('@')[2] === PLATFORM_NAME || others.includes(commonName);
}

/**
 * Reads an answer, which is `k=v&k=v` without any encoding: `&` divides outside of braces only, the first `=` ends a name. Null where
 * it cannot be read in exactly one way.
 */
export function parseAnswer(text: string): Parameters | null {
  const fields = new Map<string, string>();
  let depth = 0;
  let start = 0;
  for (let at = 0; at <= text.length; at += 1) {
    const character = text[at];
    if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth = Math.max(0, depth - 1);
    if (character !== undefined && !(character === '&' && depth === 0)) continue;

    const pair = text.slice(start, at);
    const split = pair.indexOf('=');
    const name = pair.slice(0, Math.max(split, 0));
    if (split <= 0 || fields.has(name)) return null;
    fields.set(name, pair.slice(split + 1));
    start = at + 1;
  }
  return depth === 0 ? Object.fromEntries(fields) : null;
}
