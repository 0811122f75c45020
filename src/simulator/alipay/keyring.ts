import { ControlError } from '../control-error.js';
import { newKeyPair } from '../rsa-pair.js';
import { certificateSn, rootCertificateSn } from './certificate-sn.js';
import { alipayCertificate, rootBundle, type Holders } from './certificates.js';
import type { AlipayKeys } from './keys.js';

export interface CallSerials {
  readonly appCertSn: string;
  readonly alipayRootCertSn: string;
}

/** The keys as they are now: a renewal puts a new Alipay certificate with a new key in the place of the old one. */
export class Keyring {
  constructor(
    private current: AlipayKeys,
    private readonly holders: Holders,
    private readonly onChange: () => void,
  ) {}

  get keys(): AlipayKeys {
    return this.current;
  }

  /** Of answers, notifications and redirects. */
  get signingKeyPem(): string {
    return this.current.alipayPrivateKeyPem;
  }

  /** Null in key mode, like everything about certificates. */
  get appCertificatePem(): string | null {
    return this.current.certificates?.appPem ?? null;
  }

  /** A bundle. */
  get alipayRootCertificatePem(): string | null {
    const { certificates } = this.current;
    return certificates === undefined ? null : rootBundle(certificates);
  }

  /** By which calls name the certificates they are made with. */
  get callSerials(): CallSerials | null {
    const { appCertificatePem, alipayRootCertificatePem } = this;
    if (appCertificatePem === null || alipayRootCertificatePem === null) return null;
    return { appCertSn: certificateSn(appCertificatePem), alipayRootCertSn: rootCertificateSn(alipayRootCertificatePem) };
  }

  get alipayCertificatePem(): string | null {
    return this.current.certificates?.alipayPems.at(-1) ?? null;
  }

  get alipayCertSn(): string | null {
    const pem = this.alipayCertificatePem;
    return pem === null ? null : certificateSn(pem);
  }

  /** Of Alipay, old ones too; null for a number that nobody has. */
  certificateNamed(sn: string): string | null {
    return this.current.certificates?.alipayPems.find((pem) => certificateSn(pem) === sn) ?? null;
  }

  renew(now: number): void {
    const { certificates } = this.current;
    if (certificates === undefined) throw new ControlError('there is no certificate in key mode');
    const { privateKey, publicKey } = newKeyPair();
    const pem = alipayCertificate(certificates.root, publicKey, this.holders, now);
    this.current = {
      ...this.current,
      alipayPrivateKeyPem: privateKey,
      alipayPublicKeyPem: publicKey,
      certificates: { ...certificates, alipayPems: [...certificates.alipayPems, pem] },
    };
    this.onChange();
  }
}
