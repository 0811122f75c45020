import { createPublicKey } from 'node:crypto';
import fc from 'fast-check';
import {
  certificateSerial,
  findNode,
  notificationText,
  requestText,
  rootSerial,
} from '../../../src/platform/alipay/signature.js';
import { parseForm } from '../../../src/platform/form.js';
import { verifyBytes } from '../../../src/platform/rsa.js';
import { testVectors, vectorsOf } from '../../support/vectors.js';

const vectors = vectorsOf('alipay');

interface A1 {
  publicKeyPem: string;
  params: Record<string, string>;
  stringToVerify: string;
  sign: string;
}

testVectors(vectors)('A1: a genuine trade notification verifies, and no altered copy of it does', () => {
  const { publicKeyPem, params, stringToVerify, sign } = vectors!['A1'] as unknown as A1;
  const key = createPublicKey(publicKeyPem);
  const body = Buffer.from(new URLSearchParams({ ...params, sign }).toString());
  const parsed = parseForm(body)!;

  expect(notificationText(parsed)).toBe(stringToVerify);
  expect(verifyBytes(notificationText(parsed), parsed['sign']!, key)).toBe(true);
  expect(verifyBytes(requestText(parsed), sign, key)).toBe(false);
  for (const name of Object.keys(params).filter((name) => name !== 'sign_type')) {
    expect(verifyBytes(notificationText({ ...parsed, [name]: `${params[name]}1` }), sign, key)).toBe(false);
  }
  expect(verifyBytes(stringToVerify, `${sign.slice(0, -4)}AAA=`, key)).toBe(false);
  expect(verifyBytes(stringToVerify, '', key)).toBe(false);
});

testVectors(vectors)('A3: the signature covers the raw text of the node, wherever the signature stands', () => {
  const { publicKeyPem, content, sign } = vectors!['A3'] as { publicKeyPem: string; content: string; sign: string };
  const key = createPublicKey(publicKeyPem);
  for (const response of [`{"x_response":${content},"sign":"${sign}"}`, `{"sign":"${sign}","x_response":${content}}`]) {
    const node = findNode(response, 'x_response')!;
    expect(node).toEqual({ text: content, sign, certificateSerial: null });
    expect(verifyBytes(node.text, node.sign!, key)).toBe(true);
  }
  expect(verifyBytes(content.replace('Success', 'success'), sign, key)).toBe(false);
  expect(verifyBytes(JSON.stringify(JSON.parse(content), null, 1), sign, key)).toBe(false);
});

testVectors(vectors)('A5: certificate serial numbers', () => {
  const a5 = vectors!['A5'] as { appCertPem: string; appCertSn: string; alipayCertPem: string; alipayCertSn: string; rootBundlePem: string[]; rootSn: string };
  expect(certificateSerial(a5.appCertPem)).toBe(a5.appCertSn);
  expect(certificateSerial(a5.alipayCertPem)).toBe(a5.alipayCertSn);
  expect(rootSerial(a5.rootBundlePem)).toBe(a5.rootSn);
});

test('a node is found as it stands, whatever its values contain', () => {
  const awkward = fc.oneof(fc.string(), fc.constantFrom('"sign":"', '}', '{', '\\', '/', '"x_response":{', '\u2028', '中文'));
  const node = fc.dictionary(fc.oneof(fc.string(), fc.constant('sign')), fc.oneof(awkward, fc.array(awkward), fc.dictionary(fc.string(), awkward), fc.integer(), fc.constant(null)));
  fc.assert(
    fc.property(node, awkward, fc.boolean(), (value, sign, first) => {
      const text = JSON.stringify(value).replaceAll('/', '\\/');
      const signMember = `"sign":${JSON.stringify(sign)}`;
      const response = first ? `{${signMember} , "x_response": ${text}}` : `{ "x_response":${text},${signMember}}`;
      expect(findNode(response, 'x_response')).toEqual({ text, sign, certificateSerial: null });
    }),
    { numRuns: 1_000 },
  );
});

test.each([
  ['nothing', ''],
  ['an array', '[{"x_response":{}}]'],
  ['no such node', '{"y_response":{}}'],
  ['a node that is no object', '{"x_response":"{}","sign":"s"}'],
  ['a text cut in the node', '{"x_response":{"a":"b'],
  ['a text cut before its end', '{"x_response":{"a":"b"}'],
  ['something after the end', '{"x_response":{}} {"x_response":{}}'],
])('%s holds no node', (_what, response) => {
  expect(findNode(response, 'x_response')).toBeNull();
});

test('of two nodes with one name the first is what is verified and read', () => {
  expect(findNode('{"x_response":{"a":1},"sign":"s","x_response":{"a":2}}', 'x_response')).toEqual({ text: '{"a":1}', sign: 's', certificateSerial: null });
});

test('a form is read once and in one way, or not at all', () => {
  const fields = fc.dictionary(fc.string({ minLength: 1 }), fc.string({ unit: 'grapheme' }));
  fc.assert(fc.property(fields, (given) => {
    fc.pre(Object.keys(given).length > 0);
    const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ''));
    expect(parseForm(Buffer.from(new URLSearchParams(given).toString()))).toEqual(said);
  }));
  expect(parseForm(Buffer.from('a=100%25%2B&b=x+y'))).toEqual({ a: '100%+', b: 'x y' });
  for (const bad of ['', 'a=1&a=2', 'a=%zz', 'a=%ff', 'a=ü', '=1', 'a=1&&b=2']) expect(parseForm(Buffer.from(bad, 'latin1'))).toBeNull();
});
