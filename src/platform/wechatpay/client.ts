/** Calls to WeChat Pay's API v3: signed out, verified in, and never an exception for what the platform or the network does. */
import { X509Certificate } from 'node:crypto';
import type { Call, Failure } from '../../payment/platform.js';
import { exchange, openDownload, type HttpAnswer, type HttpFailure } from '../http.js';
import { privateKeyOf } from '../rsa.js';
import { PlatformKeys } from './keys.js';
import type { WechatPaySettings } from './settings.js';
import { authorization, isFresh, openResource, platformSignature, verifies, type EncryptedResource, type Merchant } from './signature.js';

export type Node = Readonly<Record<string, unknown>>;

export type Answer =
  /** A verified answer of success; without a body an empty node. */
  | { readonly kind: 'OK'; readonly node: Node }
  /** A verified refusal, or an answer that is none yet (202); `code` as it came. */
  | (Failure & { readonly kind: 'REFUSED' })
  /** Nothing that can be believed, or the platform's own doubt: it may have been executed. */
  | (Failure & { readonly kind: 'UNKNOWN' | 'UNREACHABLE' | 'RATE_LIMITED' | 'MISCONFIGURED' });

export type Failed = Exclude<Answer, { kind: 'OK' }>;

const CERTIFICATES_PATH = '/v3/certificates';
const CERTIFICATES_MAX_MS = 10_000;

export class WechatPayClient {
  readonly merchant: Merchant;
  readonly keys: PlatformKeys;

  constructor(private readonly settings: WechatPaySettings) {
    const { mchid, merchantCertificateSerial: certificateSerial, merchantPrivateKey } = settings;
    this.merchant = { mchid, certificateSerial, privateKey: privateKeyOf(merchantPrivateKey) };
    const given = { publicKeys: settings.publicKeys, certificates: settings.platformCertificates };
    this.keys = new PlatformKeys(given, (at) => this.fetchCertificates(at));
  }

  async get(path: string, call: Call): Promise<Answer> {
    return await this.send('GET', path, '', call);
  }

  async post(path: string, content: object, call: Call): Promise<Answer> {
    return await this.send('POST', path, JSON.stringify(content), call);
  }

  /** A file by the address of a signed answer: signed out, but not signed in. */
  async download(url: string, call: Call): ReturnType<typeof openDownload> {
    // What we sign goes to the platform's own hosts and nowhere else.
    const place = URL.parse(url);
    if (place === null || !this.settings.baseUrls.some((own) => new URL(own).origin === place.origin)) {
      return { kind: 'UNKNOWN', code: 'BAD_ADDRESS', message: 'the file is not at one of the hosts of the platform' };
    }
    return await openDownload({ method: 'GET', url, headers: this.headers('GET', place.pathname + place.search, '', call.at) }, call);
  }

  private async send(method: 'GET' | 'POST', path: string, body: string, call: Call): Promise<Answer> {
    await this.keys.refresh(call.at);
    const answer = await this.exchange(method, path, body, call);
    if (answer.kind !== 'ANSWER') return answer;

    const signature = platformSignature((name) => answer.headers.get(name) ?? '');
    if (signature !== null && this.keys.find(signature.serial) === null) await this.keys.learn(call.at);
    return this.read(answer, call.at);
  }

  /** The other host is tried only where nothing can have been taken in by the first. */
  private async exchange(method: 'GET' | 'POST', path: string, body: string, call: Call): Promise<HttpAnswer | HttpFailure> {
    let answer: HttpAnswer | HttpFailure | null = null;
    for (const baseUrl of this.settings.baseUrls) {
      const headers = this.headers(method, path, body, call.at);
      answer = await exchange({ method, url: `${baseUrl}${path}`, headers, ...(method === 'POST' ? { body } : {}) }, call);
      if (answer.kind !== 'UNREACHABLE') break;
    }
    return answer!;
  }

  private headers(method: string, path: string, body: string, at: Date): Record<string, string> {
    const { publicKeyId } = this.keys;
    return {
      accept: 'application/json',
      'content-type': 'application/json',
      'user-agent': 'paystate',
      authorization: authorization(this.merchant, { method, path, body }, at),
      ...(publicKeyId === null ? {} : { 'wechatpay-serial': publicKeyId }),
    };
  }

  private read({ status, headers, body }: HttpAnswer, at: Date): Answer {
    const unproven = this.whyUnproven((name) => headers.get(name) ?? '', body, at);
    if (unproven !== null) {
      // Without proof a refusal may come from anybody in between: it proves neither refusal nor absence.
      const code = status === 200 || status === 204 ? unproven : `HTTP_${status}`;
      return { kind: 'UNKNOWN', code, message: `the answer is not proven to be the platform's: ${unproven}` };
    }
    if (status === 204) return { kind: 'OK', node: {} };
    const node = parseObject(body.toString('utf8'));
    if (node === null) return { kind: 'UNKNOWN', code: 'BAD_ANSWER', message: 'the signed answer is not JSON' };
    return status === 200 ? { kind: 'OK', node } : refusal(status, node);
  }

  /** Null for what the platform has signed now. */
  whyUnproven(header: (name: string) => string, body: Buffer, at: Date): string | null {
    const signature = platformSignature(header);
    if (signature === null) return 'NOT_SIGNED';
    if (!isFresh(signature, at)) return 'STALE_SIGNATURE';
    const key = this.keys.find(signature.serial);
    if (key === null) return 'UNKNOWN_SERIAL';
    return verifies(signature, body, key) ? null : 'BAD_SIGNATURE';
  }

  /**
   * The list is encrypted with our key, which is what makes it believed; its signature must come from one of the certificates
   * that it brings, or from one that is known.
   */
  private async fetchCertificates(at: Date): Promise<X509Certificate[] | null> {
    const answer = await this.exchange('GET', CERTIFICATES_PATH, '', { at, signal: AbortSignal.timeout(CERTIFICATES_MAX_MS) });
    if (answer.kind !== 'ANSWER' || answer.status !== 200) return null;
    const certificates = this.openCertificates(answer.body);
    const signature = platformSignature((name) => answer.headers.get(name) ?? '');
    if (signature === null || !isFresh(signature, at)) return null;
    const brought = certificates.find(({ serialNumber }) => serialNumber.toUpperCase() === signature.serial.toUpperCase());
    const key = brought?.publicKey ?? this.keys.find(signature.serial);
    return key !== null && verifies(signature, answer.body, key) ? certificates : null;
  }

  private openCertificates(body: Buffer): X509Certificate[] {
    const list = parseObject(body.toString('utf8'))?.['data'];
    if (!Array.isArray(list)) return [];
    return (list as { encrypt_certificate?: EncryptedResource }[]).flatMap(({ encrypt_certificate: sealed }) => {
      const pem = sealed === undefined ? null : openResource(sealed, this.settings.apiV3Key);
      try {
        return pem === null ? [] : [new X509Certificate(pem)];
      } catch {
        return [];
      }
    });
  }
}

/** Codes come in an old and a new spelling, with and without underscores. */
export const plainCode = (code: string): string => code.replaceAll('_', '').toUpperCase();

const RATE_LIMITS = new Set(['FREQUENCYLIMITED', 'FREQUENCYLIMITEXCEED', 'RATELIMITEXCEEDED', 'RATELIMITEXCEED']);
const OUR_FAULTS = new Set(['PARAMERROR', 'SIGNERROR', 'NOAUTH', 'MCHNOTEXISTS', 'APPIDMCHIDNOTMATCH', 'OPENIDMISMATCH', 'INVALIDTRANSACTIONID']);

function refusal(status: number, node: Node): Failed {
  const failure = { code: textOf(node, 'code') || `HTTP_${status}`, message: textOf(node, 'message') };
  const code = plainCode(failure.code);
  if (status === 429 || RATE_LIMITS.has(code)) return { kind: 'RATE_LIMITED', ...failure };
  if (status >= 500 || code === 'SYSTEMERROR' || code === 'BANKERROR') return { kind: 'UNKNOWN', ...failure };
  if (OUR_FAULTS.has(code)) return { kind: 'MISCONFIGURED', ...failure };
  return { kind: 'REFUSED', ...failure };
}

export const textOf = (node: Node, name: string): string => {
  const value = node[name];
  return typeof value === 'string' ? value : '';
};

export const nodeOf = (node: Node, name: string): Node => {
  const value = node[name];
  return typeof value === 'object' && value !== null ? (value as Node) : {};
};

export function parseObject(text: string): Node | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Node) : null;
  } catch {
    return null;
  }
}
