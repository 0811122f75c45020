/** Checks a call at the door, in the order of wechatpay.md section 12. */
import type { HttpRequest } from '../http.js';
import type { WechatPayKeys } from './keys.js';
import { invalidParameter, Refusal } from './refusal.js';
import type { Signer } from './signer.js';
import { parseAuthorization, signatureHolds, signedText } from './signature.js';

export interface Door {
  readonly mchid: string;
  readonly merchant: WechatPayKeys['merchant'];
  readonly signer: Signer;
  /** Whether a call must name the public key once the platform signs with it only. */
  readonly demandsPublicKeyId: boolean;
  now(): number;
}

const CLOCK_SKEW_MAX_MS = 300_000;
const SHOWN_MAX = 1_024;

/** Path and query exactly as they were sent. */
export const targetOf = ({ path, query }: HttpRequest): string => (query === '' ? path : `${path}?${query}`);

/** Throws the refusal of the first check that fails. */
export function checkDoor(door: Door, request: HttpRequest): void {
  checkSignature(door, request);

  const { method, headers } = request;
  if ((headers['user-agent'] ?? '') === '') throw invalidParameter('User-Agent', '请求头缺少User-Agent', 'header');
  if (!/application\/json|\*\/\*/.test(headers.accept ?? '')) throw invalidParameter('Accept', '请求头Accept必须接受application/json', 'header');
  if (method === 'POST' && !/^application\/json(;\s*charset="?utf-8"?)?\s*$/i.test(headers['content-type'] ?? '')) {
    throw invalidParameter('Content-Type', '请求头Content-Type必须为application/json', 'header');
  }
  checkKeyId(door, request);
}

function checkSignature(door: Door, request: HttpRequest): void {
  const given = parseAuthorization(request.headers.authorization ?? '');
  if (given === null) throw unauthorized('Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》');
  if (given.mchid !== door.mchid) throw new Refusal('MCH_NOT_EXISTS', '商户号不存在', request.path.startsWith('/v3/refund/') ? { status: 404 } : {});
  if (given.serial !== door.merchant.serial) throw unauthorized('商户证书序列号有误，请使用签名私钥匹配的证书序列号');
  if (!/^[0-9A-Za-z]{1,32}$/.test(given.nonce)) throw unauthorized('随机字符串不合法');

  const late = door.now() - Number(given.timestamp) * 1000;
  if (!/^\d{10}$/.test(given.timestamp) || Math.abs(late) > CLOCK_SKEW_MAX_MS) throw unauthorized('Http头Authorization中的timestamp与发起请求的时间不得超过5分钟');

  const text = signedText(request.method, targetOf(request), given.timestamp, given.nonce, request.body);
  if (signatureHolds(text, given.signature, door.merchant.certificatePem)) return;
  throw unauthorized('错误的签名，验签失败', {
    detail: { issue: 'sign not match' },
    field: 'signature',
    location: 'authorization',
    sign_information: {
      method: request.method,
      url: targetOf(request),
      truncated_sign_message: text.toString('utf8').slice(0, SHOWN_MAX),
      sign_message_length: text.length,
    },
  });
}

function checkKeyId({ signer, demandsPublicKeyId }: Door, { headers }: HttpRequest): void {
  const given = headers['wechatpay-serial'];
  const isMissing = given === undefined && demandsPublicKeyId && signer.usesPublicKey;
  const isWrong = given !== undefined && (!signer.isKeyId(String(given)) || (signer.usesPublicKey && !String(given).startsWith('PUB_KEY_ID_')));
  if (isMissing || isWrong) throw invalidParameter('Wechatpay-Serial', '请求头Wechatpay-Serial与微信支付公钥ID不符', 'header');
}

const unauthorized = (message: string, detail: Readonly<Record<string, unknown>> = { location: 'authorization' }): Refusal =>
  new Refusal('SIGN_ERROR', message, { detail });
