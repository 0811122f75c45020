/** Each simulator as an account that the service can be configured with. */
import type { AlipaySimulator } from './alipay/server.js';
import type { UnionPaySimulator } from './unionpay/server.js';
import type { WechatPaySimulator } from './wechatpay/server.js';

/** What a simulator bears. */
const UNLIMITED = { calls_at_a_time: 1_000, calls_per_second: 100_000 };

export const alipayAccount = (simulator: AlipaySimulator, account = 'alipay') => ({
  ...UNLIMITED,
  account,
  app_id: simulator.appId,
  seller_id: simulator.sellerId,
  gateway_url: simulator.gatewayUrl,
  app_private_key: simulator.appPrivateKeyPem,
  ...alipayTrust(simulator),
});

/** By which of its two modes the application knows Alipay. */
function alipayTrust(simulator: AlipaySimulator) {
  const { appCertificatePem, alipayCertificatePem, alipayRootCertificatePem } = simulator;
  if (appCertificatePem === null) return { alipay_public_key: simulator.alipayPublicKeyPem };
  return { app_certificate: appCertificatePem, alipay_certificate: alipayCertificatePem, alipay_root_certificates: alipayRootCertificatePem };
}

export const wechatPayAccount = (simulator: WechatPaySimulator, account = 'wechatpay') => ({
  ...UNLIMITED,
  account,
  mchid: simulator.mchid,
  appid: simulator.appid,
  base_url: simulator.baseUrl,
  merchant_private_key: simulator.merchantPrivateKeyPem,
  merchant_certificate_serial: simulator.merchantSerial,
  api_v3_key: simulator.apiV3Key,
  public_keys: { [simulator.publicKeyId]: simulator.publicKeyPem },
});

export const unionPayAccount = (simulator: UnionPaySimulator, account = 'unionpay') => ({
  ...UNLIMITED,
  account,
  mer_id: simulator.merId,
  gateway_url: simulator.gatewayUrl,
  file_url: simulator.fileUrl,
  signing_key: simulator.merchantPrivateKeyPem,
  signing_certificate: simulator.merchantCertificatePem,
  root_certificates: simulator.rootCertificatePem,
  middle_certificates: simulator.middleCertificatePem,
});
