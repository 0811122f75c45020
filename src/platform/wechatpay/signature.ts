/** WeChat Pay's signatures (API v3), both ways, and the encryption of what it sends by itself. */
import { createDecipheriv, randomBytes, type KeyObject } from 'node:crypto';
import { signBytes, verifyBytes } from '../rsa.js';

export interface Merchant {
  readonly mchid: string;
  readonly certificateSerial: string;
  readonly privateKey: KeyObject;
}

/** What is signed: path and body exactly as they are sent, the body empty where there is none. */
export interface SignedRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly body: string;
}

/** The value of the `Authorization` header. */
export function authorization(merchant: Merchant, { method, path, body }: SignedRequest, at: Date): string {
  const nonce = randomBytes(16).toString('hex');
  const seconds = secondsOf(at);
  const signature = signBytes(linesToSign(method, path, seconds, nonce, body), merchant.privateKey);
  const fields = { mchid: merchant.mchid, nonce_str: nonce, timestamp: seconds, serial_no: merchant.certificateSerial, signature };
  const list = Object.entries(fields).map(([name, value]) => `${name}="${value}"`);
  return `WECHATPAY2-SHA256-RSA2048 ${list.join(',')}`;
}

/** What the platform signs: an answer's or a notification's time, nonce and raw body. */
export interface PlatformSignature {
  readonly timestamp: string;
  readonly nonce: string;
  readonly signature: string;
  /** Of the key: `PUB_KEY_ID_…` or the serial number of a certificate. */
  readonly serial: string;
}

export const SIGNATURE_HEADERS = ['timestamp', 'nonce', 'signature', 'serial', 'signature-type'].map((name) => `wechatpay-${name}`);

/** Null where a header is missing, or names another kind of signature. `header` answers empty for what is absent. */
export function platformSignature(header: (name: string) => string): PlatformSignature | null {
  const type = header('wechatpay-signature-type');
  const [timestamp, nonce, signature, serial] = ['timestamp', 'nonce', 'signature', 'serial'].map((name) => header(`wechatpay-${name}`));
  if (!timestamp || !nonce || !signature || !serial || (type !== '' && type !== 'WECHATPAY2-SHA256-RSA2048')) return null;
  return { timestamp, nonce, signature, serial };
}

const SKEW_MAX_SECONDS = 300;

/** Whether it was signed about now: an old message must not be believed again. */
export function isFresh({ timestamp }: PlatformSignature, at: Date): boolean {
  return /^\d{1,12}$/.test(timestamp) && Math.abs(at.getTime() / 1000 - Number(timestamp)) <= SKEW_MAX_SECONDS;
}

export function verifies({ timestamp, nonce, signature }: PlatformSignature, body: Buffer, key: KeyObject): boolean {
  return verifyBytes(Buffer.concat([Buffer.from(`${timestamp}\n${nonce}\n`), body, Buffer.from('\n')]), signature, key);
}

/** What a front end hands to WeChat in order to pay; the fourth line differs by the way it is opened. */
export function invocation(merchant: Merchant, lines: { appid: string; at: Date; fourth: string }): { timestamp: string; nonce: string; signature: string } {
  const nonce = randomBytes(16).toString('hex');
  const timestamp = secondsOf(lines.at);
  return { timestamp, nonce, signature: signBytes(linesToSign(lines.appid, timestamp, nonce, lines.fourth), merchant.privateKey) };
}

export interface EncryptedResource {
  readonly algorithm: string;
  readonly ciphertext: string;
  readonly nonce: string;
  readonly associated_data?: string | undefined;
}

const TAG_BYTES = 16;

/** The text inside an encrypted resource; null where it is not what was encrypted with this key. */
export function openResource(resource: EncryptedResource, apiV3Key: string): string | null {
  const key = Buffer.from(apiV3Key, 'utf8');
  if (resource.algorithm !== 'AEAD_AES_256_GCM' || key.length !== 32) return null;
  const sealed = Buffer.from(resource.ciphertext, 'base64');
  if (sealed.length < TAG_BYTES || resource.nonce === '') return null;
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(resource.nonce, 'utf8'), { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(resource.associated_data ?? '', 'utf8'));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const opened = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
    // The end is where tampering shows.
    return Buffer.concat([opened, decipher.final()]).toString('utf8');
  } catch {
    return null;
  }
}

const secondsOf = (at: Date): string => Math.floor(at.getTime() / 1000).toString();
const linesToSign = (...lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');
