import { z } from 'zod';
import { certificatePems, httpUrl, privateKey, publicKey } from '../settings.js';

/** One account at Alipay, as it is configured. */
export const alipaySettings = z
  .strictObject({
    account: z.string(),
    app_id: z.string().regex(/^\d{8,32}$/, 'must be digits'),
    seller_id: z.string().regex(/^\d{8,32}$/, 'must be digits'),
    gateway_url: httpUrl.default('https://openapi.alipay.com/gateway.do'),
    app_private_key: privateKey,
    /** Public-key mode. */
    alipay_public_key: publicKey.optional(),
    /** Certificate mode: all three. */
    app_certificate: certificatePems.optional(),
    alipay_certificate: certificatePems.optional(),
    alipay_root_certificates: certificatePems.optional(),
  })
  .transform((given, context) => {
    const { account, app_id: appId, seller_id: sellerId, gateway_url: gatewayUrl, app_private_key: appPrivateKey } = given;
    const common = { account, appId, sellerId, gatewayUrl, appPrivateKey };
    const { alipay_public_key: alipayPublicKey, app_certificate: app, alipay_certificate: alipay, alipay_root_certificates: roots } = given;
    if (alipayPublicKey !== undefined && app === undefined && alipay === undefined && roots === undefined) {
      return { ...common, trust: { mode: 'PUBLIC_KEY', alipayPublicKey } as const };
    }
    if (alipayPublicKey === undefined && app !== undefined && alipay !== undefined && roots !== undefined) {
      return { ...common, trust: { mode: 'CERTIFICATE', app, alipay, roots } as const };
    }
    context.addIssue({
      code: 'custom',
      message: 'needs either alipay_public_key, or all of app_certificate, alipay_certificate and alipay_root_certificates',
    });
    return z.NEVER;
  });

export type AlipaySettings = z.output<typeof alipaySettings>;
