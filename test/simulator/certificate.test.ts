/** Certificates as node's own X.509 reader sees them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { issueCertificate } from '../../src/simulator/certificate.js';
import { newKeyPair } from '../../src/simulator/rsa-pair.js';

const validity = { notBefore: new Date('2024-01-01T00:00:00Z'), notAfter: new Date('2055-06-30T12:00:00Z') };
const [root, middle, leaf] = [newKeyPair(), newKeyPair(), newKeyPair()];
const commonName = '041@8310000000083040@中国银联股份有限公司@00016495';

const rootPem = issueCertificate({
  subject: { commonName: '根', organization: '测试', country: 'CN' },
  publicKeyPem: root.publicKey,
  privateKeyPem: root.privateKey,
  serial: 1n,
  isAuthority: true,
  ...validity,
});
const middlePem = issueCertificate({
  subject: { commonName: 'Middle' },
  issuer: { certificatePem: rootPem, privateKeyPem: root.privateKey },
  publicKeyPem: middle.publicKey,
  serial: 0xffn,
  isAuthority: true,
  ...validity,
});
const leafPem = issueCertificate({
  subject: { commonName },
  issuer: { certificatePem: middlePem, privateKeyPem: middle.privateKey },
  publicKeyPem: leaf.publicKey,
  serial: 69026276696123456789n,
  ...validity,
});

test('a chain holds from the leaf to the root, and only there', () => {
  const [r, m, l] = [rootPem, middlePem, leafPem].map((pem) => new X509Certificate(pem));
  expect([r!.verify(r!.publicKey), m!.verify(r!.publicKey), l!.verify(m!.publicKey), l!.verify(r!.publicKey)]).toEqual([true, true, true, false]);
  expect([r!.checkIssued(r!), m!.checkIssued(r!), l!.checkIssued(m!), l!.checkIssued(r!)]).toEqual([true, true, true, false]);
  expect([r!.ca, m!.ca, l!.ca]).toEqual([true, true, false]);
});

test('names, numbers and times are read as they were written', () => {
  const certificate = new X509Certificate(leafPem);
  expect(certificate.subject).toBe(`CN=${commonName}`);
  expect(new X509Certificate(rootPem).subject).toBe('C=CN\nO=测试\nCN=根');
  expect(BigInt(`0x${certificate.serialNumber}`)).toBe(69026276696123456789n);
  expect(BigInt(`0x${new X509Certificate(middlePem).serialNumber}`)).toBe(0xffn);
  expect([new Date(certificate.validFrom), new Date(certificate.validTo)]).toEqual([validity.notBefore, validity.notAfter]);
  expect(certificate.checkPrivateKey(createPrivateKey(leaf.privateKey))).toBe(true);
});

test('nothing is signed by nobody, and no number is zero', () => {
  const request = { subject: { commonName }, publicKeyPem: leaf.publicKey, serial: 1n, ...validity };
  expect(() => issueCertificate(request)).toThrow('needs an issuer');
  expect(() => issueCertificate({ ...request, privateKeyPem: leaf.privateKey, serial: 0n })).toThrow('positive');
});
