/** What only UnionPay's notifications have: they bring the certificate of the key that signed them. */
import { createHash, createSign, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { issueCertificate } from '../../src/simulator/certificate.js';
import { newKeyPair } from '../../src/simulator/rsa-pair.js';
import { LEAF_NAME, strangeAuthority, type CertifiedKey, type UnionPayKeys } from '../../src/simulator/unionpay/keys.js';
import { keyedHash, sha256Hex, signedText } from '../../src/simulator/unionpay/signature.js';
import { SIGNATURE_FLAWS, Signer, type SignatureFlaw } from '../../src/simulator/unionpay/signer.js';
import { formMutators } from './form-mutators.js';
import { readEntries, valueOf, withEntries, withValue, type Entry } from './input.js';
import { flipped, type Mutator } from './mutators.js';
import type { Random } from './random.js';
import { SignatureMemory, WRONG_ALGORITHMS } from './signature-mutators.js';

const FORM = {
  signatureField: 'signature',
  unsigned: ['signature'],
  precious: ['orderId', 'txnTime', 'txnAmt', 'settleAmt', 'respCode', 'txnType', 'queryId', 'origQryId', 'merId', 'currencyCode', 'reqReserved', 'signPubKeyCert', 'signMethod', 'version'],
};

export function unionPayMutators({ keys }: { readonly keys: UnionPayKeys }): Mutator[] {
  const memory = new SignatureMemory();
  const wronglySigned = wrongSigner(keys);
  const textOf = (entries: readonly Entry[]): string => signedText(new Map(entries));
  const signedBy = (entries: readonly Entry[], key: string): Entry[] =>
    withValue(entries, 'signature', memory.sign(Buffer.from(sha256Hex(textOf(entries))), 'RSA-SHA256', key));
  const onEntries = (name: string, weight: number, change: (entries: Entry[], random: Random) => readonly Entry[], alone = false): Mutator => ({
    name,
    weight,
    alone,
    mutate: (input, random) => withEntries(input, change(readEntries(input), random)),
  });
  const strangers = strangeCertificates(keys);

  return [
    ...formMutators(FORM),
    // Any flaw of the simulator's signer, over a notification about more money or another order.
    onEntries('wrongly signed anew', 2, (entries, random) => {
      const unsigned = withValue(withValue(entries, 'signature', null), 'signPubKeyCert', null);
      return wronglySigned(random.chance(0.5) ? unsigned : withValue(unsigned, 'txnAmt', '1'), random.pick(SIGNATURE_FLAWS));
    }, true),
    onEntries('other certificate and its own signature', 4, (entries, random) => {
      const { pem, key } = random.pick(strangers);
      return signedBy(withValue(entries, 'signPubKeyCert', pem), key);
    }, true),
    onEntries('other certificate, signature kept', 2, (entries, random) => withValue(entries, 'signPubKeyCert', random.pick(strangers).pem)),
    // A certificate nobody could have made, for whatever reads certificates.
    onEntries('certificate bits flipped', 3, (entries, random) => withValue(entries, 'signPubKeyCert', spoiledPem(valueOf(entries, 'signPubKeyCert'), random))),
    onEntries('other signMethod or version', 2, (entries, random) => {
      const [name, value] = random.pick(OTHER_METHODS);
      const told = withValue(entries, name, value);
      // Proper but for the method, which is ours to choose.
      return random.chance(0.3) ? signedBy(told, keys.leaf.privateKeyPem) : told;
    }, true),
    onEntries('downgraded by the right key', 2, (entries, random) => downgraded(entries, random, { memory, key: keys.leaf.privateKeyPem, textOf }), true),
  ];
}

/** Remembers, as signing costs much more than anything else here. */
function wrongSigner(keys: UnionPayKeys): (entries: readonly Entry[], flaw: SignatureFlaw) => readonly Entry[] {
  const signer = new Signer(keys, { lineEnd: '\r\n', now: Date.now });
  const made = new Map<string, readonly Entry[]>();
  return (entries, flaw) => {
    const name = JSON.stringify([flaw, entries]);
    const signed = made.get(name) ?? [...signer.signed(new Map(entries), flaw)];
    if (made.size >= MADE_MAX) made.clear();
    made.set(name, signed);
    return signed;
  };
}

const MADE_MAX = 2_000;

const OTHER_METHODS: readonly (readonly [string, string | null])[] = [
  ...['11', '12', '02', '1', '001', '01 ', '', null].map((value) => ['signMethod', value] as const),
  ...['5.0.0', '5.0.1', '5.1', '5.1.0 ', '5.1.1', '6.0.0', '', null].map((value) => ['version', value] as const),
];

function downgraded(entries: readonly Entry[], random: Random, { memory, key, textOf }: { memory: SignatureMemory; key: string; textOf: (entries: readonly Entry[]) => string }): Entry[] {
  const told = withValue(entries, 'signMethod', random.pick(['01', '01', '11', '12']));
  const old = withValue(entries, 'version', random.pick(['5.0.0', '5.1.0']));
  const digest = Buffer.from(sha256Hex(textOf(told)));
  const sha1Hex = createHash('sha1').update(textOf(old), 'utf8').digest('hex');
  return random.pick<() => Entry[]>([
    () => withValue(told, 'signature', memory.sign(digest, random.pick(WRONG_ALGORITHMS), key)),
    // Hashed once, or into other text.
    () => withValue(told, 'signature', memory.sign(Buffer.from(textOf(told)), 'RSA-SHA256', key)),
    () => withValue(told, 'signature', memory.sign(Buffer.from(digest.toString().toUpperCase()), 'RSA-SHA256', key)),
    () => withValue(old, 'signature', createSign('RSA-SHA1').update(sha1Hex).sign(key, 'base64')),
    () => withValue(old, 'signature', memory.sign(Buffer.from(sha1Hex), 'RSA-SHA256', key)),
    () => withValue(told, 'signature', keyedHash(textOf(told), random.pick(['', 'simulated', 'null', '0'.repeat(32)]))),
  ])();
}

interface Stranger {
  readonly pem: string;
  readonly key: string;
}

/** Certificates that do not make a message the platform's, each with a key that fits. */
function strangeCertificates(keys: UnionPayKeys): Stranger[] {
  const pair = newKeyPair();
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256', privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } });
  const day = 86_400_000;
  const now = Date.now();
  const span = { notBefore: new Date(now - 400 * day), notAfter: new Date(now + 400 * day), serial: 1n };
  const issued = (commonName: string, change: Partial<Parameters<typeof issueCertificate>[0]> = {}): Stranger => ({
    pem: issueCertificate({ subject: { commonName, organization: 'CFCA simulated', country: 'CN' }, issuer: keys.middle, publicKeyPem: pair.publicKey, ...span, ...change }),
    key: pair.privateKey,
  });
  const self = issueCertificate({ subject: { commonName: LEAF_NAME }, publicKeyPem: pair.publicKey, privateKeyPem: pair.privateKey, ...span, isAuthority: true });
  const given = ({ certificatePem, privateKeyPem }: CertifiedKey): Stranger => ({ pem: certificatePem, key: privateKeyPem });
  const leaf = keys.leaf.certificatePem;

  return [
    ...OTHER_NAMES.map((name) => issued(name)),
    issued('somebody', { subject: { commonName: 'somebody', organization: `x\nCN=${LEAF_NAME}`, country: 'CN' } }),
    issued('somebody', { subject: { commonName: 'somebody', organization: LEAF_NAME, country: 'CN' } }),
    issued(LEAF_NAME, { notBefore: new Date(now + day) }),
    issued(LEAF_NAME, { notAfter: new Date(now - 1_000) }),
    { ...issued(LEAF_NAME, { publicKeyPem: ec.publicKey }), key: ec.privateKey },
    // Issued by somebody who was not made an authority: by the merchant, and by the platform's own leaf.
    issued(LEAF_NAME, { issuer: keys.merchant }),
    issued(LEAF_NAME, { issuer: keys.leaf }),
    issued(LEAF_NAME, { issuer: strangeAuthority(now) }),
    { pem: self, key: pair.privateKey },
    issued(LEAF_NAME, { issuer: { certificatePem: self, privateKeyPem: pair.privateKey } }),
    given(keys.merchant),
    given(keys.middle),
    given(keys.root),
    // Two in one text: which one is believed, and which one verifies?
    { pem: `${leaf}${self}`, key: pair.privateKey },
    { pem: `${self}${leaf}`, key: pair.privateKey },
    { pem: `${self}${keys.middle.certificatePem}${keys.root.certificatePem}`, key: pair.privateKey },
    { pem: pair.publicKey, key: pair.privateKey },
    { pem: '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----', key: pair.privateKey },
    { pem: new X509Certificate(self).raw.toString('base64'), key: pair.privateKey },
  ];
}

const OTHER_NAMES = ['', 'CN', '@@@', '00040000:SIGN', '中国银联股份有限公司', '中国银联股份有限公司@中国银联股份有限公司', '041@8310000000083040@中国银联股份有限公司 @00000001', '041@8310000000083040@中国银联股份有限公司\0@00000001', '041@8310000000083040@另一家支付有限公司@中国银联股份有限公司', '041@Z000000000000001@SIGN@00000001', '041,8310000000083040,中国银联股份有限公司,00000001', `CN=${LEAF_NAME.replaceAll('@', ',')}`];

function spoiledPem(pem: string, random: Random): string {
  const bytes = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const spoiled = random.chance(0.2) ? bytes.subarray(0, random.below(bytes.length + 1)) : flipped(bytes, random, random.pick([1, 1, 1, 2, 8]));
  const lines = spoiled.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----'].join('\r\n');
}
