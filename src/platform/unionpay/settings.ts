import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { pemsOf } from '../certificates.js';
import { certificatePem, certificatePems, httpUrl, privateKey } from '../settings.js';

const slashed = httpUrl.transform((url) => (url.endsWith('/') ? url : `${url}/`));

/** One account at UnionPay, as it is configured. */
export const unionPaySettings = z
  .strictObject({
    account: z.string(),
    mer_id: z.string().regex(/^[0-9A-Za-z]{15}$/, 'must have 15 characters'),
    gateway_url: slashed.default('https://gateway.95516.com/gateway/api/'),
    file_url: slashed.default('https://filedownload.95516.com/'),
    signing_key: privateKey,
    signing_certificate: certificatePem,
    root_certificates: certificatePems,
    middle_certificates: certificatePems,
    /** Common names that may sign beside UnionPay's own; only UnionPay's test environment needs any. */
    other_common_names: z.array(z.string()).default([]),
  })
  .transform((given) => ({
    account: given.account,
    merId: given.mer_id,
    gatewayUrl: given.gateway_url,
    fileUrl: given.file_url,
    signingKey: given.signing_key,
    // A serial number exceeds what a float holds.
    certId: BigInt(`0x${new X509Certificate(given.signing_certificate).serialNumber}`).toString(),
    roots: pemsOf(given.root_certificates).map((pem) => new X509Certificate(pem)),
    middles: pemsOf(given.middle_certificates).map((pem) => new X509Certificate(pem)),
    otherCommonNames: given.other_common_names,
  }));

export type UnionPaySettings = z.output<typeof unionPaySettings>;
