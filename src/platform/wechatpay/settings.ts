import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { pemsOf } from '../certificates.js';
import { certificatePems, httpUrl, privateKey, publicKey } from '../settings.js';

/** One account at WeChat Pay, as it is configured. */
export const wechatPaySettings = z
  .strictObject({
    account: z.string(),
    mchid: z.string().regex(/^\d{8,10}$/, 'must be 8 to 10 digits'),
    /** The application that orders are placed for. */
    appid: z.string().regex(/^wx[0-9a-z]{6,30}$/, 'must begin with wx'),
    /** Further applications of this merchant whose payments are recorded here. */
    other_appids: z.array(z.string()).default([]),
    base_url: httpUrl.default('https://api.mch.weixin.qq.com'),
    /** Tried when the first cannot be reached. */
    backup_url: httpUrl.optional(),
    merchant_private_key: privateKey,
    merchant_certificate_serial: z.string().regex(/^[0-9A-Fa-f]{8,64}$/, 'must be a hexadecimal serial number'),
    api_v3_key: z.string().refine((text) => Buffer.byteLength(text) === 32, 'must have 32 bytes'),
    /** Of public-key mode, by their `PUB_KEY_ID_…`. */
    public_keys: z.record(z.string().regex(/^PUB_KEY_ID_[0-9A-Za-z]{1,64}$/, 'must be a PUB_KEY_ID_…'), publicKey).default({}),
    /** Known from the start; others are fetched. */
    platform_certificates: certificatePems.optional(),
  })
  .transform((given) => ({
    account: given.account,
    mchid: given.mchid,
    appid: given.appid,
    appids: [given.appid, ...given.other_appids] as readonly string[],
    baseUrls: [given.base_url, ...(given.backup_url === undefined ? [] : [given.backup_url])].map((url) => url.replace(/\/$/, '')),
    merchantPrivateKey: given.merchant_private_key,
    merchantCertificateSerial: given.merchant_certificate_serial.toUpperCase(),
    apiV3Key: given.api_v3_key,
    publicKeys: given.public_keys,
    platformCertificates: pemsOf(given.platform_certificates ?? '').map((pem) => new X509Certificate(pem)),
  }));

export type WechatPaySettings = z.output<typeof wechatPaySettings>;
