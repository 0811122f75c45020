/**
 * X.509 version 3 certificates (RFC 5280), signed with SHA-256 and RSA or, by an EC key, ECDSA. Only what a payment platform's chains
 * show: a name, a serial number, a validity and whether the holder may issue further ones.
 */
import { createPrivateKey, createPublicKey, sign, X509Certificate } from 'node:crypto';

export interface CertificateRequest {
  /** Issued in the order country, organization, common name. */
  readonly subject: { readonly commonName: string; readonly organization?: string; readonly country?: string };
  /** Without one the certificate is self-signed with `privateKeyPem`. */
  readonly issuer?: { readonly certificatePem: string; readonly privateKeyPem: string };
  /** The subject's key (SPKI). */
  readonly publicKeyPem: string;
  readonly privateKeyPem?: string;
  /** Positive. */
  readonly serial: bigint;
  /** To the second. */
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Default false. */
  readonly isAuthority?: boolean;
}

/** As PEM. */
export function issueCertificate(request: CertificateRequest): string {
  const signingKey = request.issuer?.privateKeyPem ?? request.privateKeyPem;
  if (signingKey === undefined) throw new Error('a certificate needs an issuer, or the private key to sign itself with');
  if (request.serial <= 0n) throw new Error('the serial number of a certificate is positive');

  const algorithm = createPrivateKey(signingKey).asymmetricKeyType === 'ec' ? SHA256_WITH_ECDSA : SHA256_WITH_RSA;
  const content = contentOf(request, algorithm);
  const certificate = sequence(content, algorithm, bits(sign('sha256', content, signingKey)));
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

/** Whether an algorithm of PKCS #1 (RFC 8017) signed it, whatever the certificate's own key is. */
export function isSignedWithRsa(certificatePem: string): boolean {
  const [, algorithm] = members(new X509Certificate(certificatePem).raw);
  const [name] = algorithm === undefined ? [] : members(algorithm);
  return name?.subarray(2, 2 + PKCS_1.length).equals(PKCS_1) ?? false;
}

/** TBSCertificate, RFC 5280 section 4.1. */
function contentOf(request: CertificateRequest, algorithm: Buffer): Buffer {
  const { subject, issuer, publicKeyPem, serial, notBefore, notAfter, isAuthority = false } = request;
  const own = nameOf(subject);
  return sequence(
    element(0xa0, integer(2n)),
    integer(serial),
    algorithm,
    issuer === undefined ? own : subjectOf(issuer.certificatePem),
    sequence(time(notBefore), time(notAfter)),
    own,
    createPublicKey(publicKeyPem).export({ type: 'spki', format: 'der' }),
    element(0xa3, sequence(extension(BASIC_CONSTRAINTS, sequence(...(isAuthority ? [TRUE] : []))), extension(KEY_USAGE, usage(isAuthority)))),
  );
}

function nameOf({ commonName, organization, country }: CertificateRequest['subject']): Buffer {
  const part = (type: Buffer, value: Buffer): Buffer => element(0x31, sequence(type, value));
  return sequence(
    ...(country === undefined ? [] : [part(COUNTRY, element(0x13, Buffer.from(country, 'ascii')))]),
    ...(organization === undefined ? [] : [part(ORGANIZATION, element(0x0c, Buffer.from(organization, 'utf8')))]),
    part(COMMON_NAME, element(0x0c, Buffer.from(commonName, 'utf8'))),
  );
}

/** The bytes of a certificate's subject: the name of the issuer must be equal to them. */
function subjectOf(certificatePem: string): Buffer {
  const [content] = members(new X509Certificate(certificatePem).raw);
  // After version, serial number, algorithm, issuer and validity.
  const subject = content === undefined ? undefined : members(content)[5];
  if (subject === undefined) throw new Error('the issuer has no certificate of version 3');
  return subject;
}

/** The elements inside of an element, each with its head. */
function members(outer: Buffer): readonly Buffer[] {
  const found: Buffer[] = [];
  for (let at = extent(outer, 0).start; at < outer.length;) {
    const { end } = extent(outer, at);
    found.push(outer.subarray(at, end));
    at = end;
  }
  return found;
}

function extent(bytes: Buffer, at: number): { readonly start: number; readonly end: number } {
  const first = bytes.readUInt8(at + 1);
  if (first < 0x80) return { start: at + 2, end: at + 2 + first };
  const width = first - 0x80;
  const start = at + 2 + width;
  return { start, end: start + bytes.readUIntBE(at + 2, width) };
}

function element(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const size = unsigned(BigInt(content.length));
  return Buffer.concat([Buffer.from([tag, 0x80 + size.length]), size, content]);
}

const sequence = (...contents: readonly Buffer[]): Buffer => element(0x30, ...contents);

/** A leading zero keeps the sign positive. */
function integer(value: bigint): Buffer {
  const digits = unsigned(value);
  return element(0x02, digits.readUInt8(0) >= 0x80 ? Buffer.concat([Buffer.from([0]), digits]) : digits);
}

function unsigned(value: bigint): Buffer {
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
}

const bits = (content: Buffer, unused = 0): Buffer => element(0x03, Buffer.from([unused]), content);

/** UTCTime until 2049, GeneralizedTime from 2050. */
function time(at: Date): Buffer {
  const digits = at.toISOString().slice(0, 19).replace(/\D/g, '');
  return at.getUTCFullYear() < 2050 ? element(0x17, Buffer.from(`${digits.slice(2)}Z`)) : element(0x18, Buffer.from(`${digits}Z`));
}

/** Always critical. */
const extension = (type: Buffer, value: Buffer): Buffer => sequence(type, TRUE, element(0x04, value));

/** keyCertSign and cRLSign for an authority, digitalSignature and nonRepudiation for everybody else. */
const usage = (isAuthority: boolean): Buffer => (isAuthority ? bits(Buffer.from([0x06]), 1) : bits(Buffer.from([0xc0]), 6));

const identifier = (...content: readonly number[]): Buffer => element(0x06, Buffer.from(content));

const TRUE = element(0x01, Buffer.from([0xff]));
const COMMON_NAME = identifier(0x55, 0x04, 0x03);
const COUNTRY = identifier(0x55, 0x04, 0x06);
const ORGANIZATION = identifier(0x55, 0x04, 0x0a);
const BASIC_CONSTRAINTS = identifier(0x55, 0x1d, 0x13);
const KEY_USAGE = identifier(0x55, 0x1d, 0x0f);
/** 1.2.840.113549.1.1 */
const PKCS_1 = Buffer.from([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01]);
const SHA256_WITH_RSA = sequence(identifier(...PKCS_1, 0x0b), Buffer.from([0x05, 0x00]));
const SHA256_WITH_ECDSA = sequence(identifier(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
