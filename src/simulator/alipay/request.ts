/** Reads a call of the gateway and checks it at the door, in the order of alipay.md section 14. */
import type { HttpRequest } from '../http.js';
import { fromBeijing } from './format.js';
import type { CallSerials } from './keyring.js';
import { invalidArgument, missingArgument } from './refusal.js';
import { requestText, signatureHolds, type Fields } from './signature.js';

export interface Door {
  readonly appId: string;
  readonly appPublicKeyPem: string;
  /** Null in key mode. */
  readonly serials: CallSerials | null;
  readonly timestampWindowMs: number;
  now(): number;
}

/** Query and body together, each decoded once; null for what cannot be decoded or names a parameter twice. */
export function readFields({ method, query, headers, body }: HttpRequest): Fields | null {
  const parts = [query];
  if (method === 'POST' && body.length > 0) {
    if (!/^application\/x-www-form-urlencoded(;\s*charset="?utf-8"?)?\s*$/i.test(headers['content-type'] ?? '')) return null;
    parts.push(body.toString('latin1'));
  }
  return decodeFields(parts);
}

export function decodeFields(parts: readonly string[]): Fields | null {
  const fields = new Map<string, string>();
  for (const pair of parts.flatMap((part) => part.split('&')).filter((one) => one !== '')) {
    const split = pair.indexOf('=');
    const name = decode(split < 0 ? pair : pair.slice(0, split));
    const value = split < 0 ? '' : decode(pair.slice(split + 1));
    if (name === null || value === null || fields.has(name)) return null;
    fields.set(name, value);
  }
  return fields;
}

/** Throws the refusal of the first check that fails. */
export function checkDoor(door: Door, fields: Fields): void {
  const appId = argument(fields, 'app_id', 'isv.missing-app-id');
  if (appId !== door.appId) throw invalidArgument('isv.invalid-app-id', '无效的AppID参数');

  const timestamp = fromBeijing(argument(fields, 'timestamp', 'isv.missing-timestamp'));
  if (timestamp === null || Math.abs(timestamp - door.now()) > door.timestampWindowMs) {
    throw invalidArgument('isv.invalid-timestamp', '非法的时间戳参数');
  }

  if (argument(fields, 'sign_type', 'isv.missing-signature-type') !== 'RSA2') {
    throw invalidArgument('isv.invalid-signature-type', '无效的签名类型');
  }
  const signature = argument(fields, 'sign', 'isv.missing-signature');
  if ((fields.get('charset') ?? '').toLowerCase() !== 'utf-8') throw invalidArgument('isv.invalid-charset', '字符集错误');
  checkSerials(door, fields);
  const text = requestText(fields);
  if (!signatureHolds(text, signature, door.appPublicKeyPem)) {
    const shown = text.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
    throw invalidArgument('isv.invalid-signature', `验签出错，建议检查签名字符串或签名私钥与应用公钥是否匹配，网关生成的验签字符串为：${shown}`);
  }

  argument(fields, 'method', 'isv.missing-method');
  if (argument(fields, 'version', 'isv.missing-version') !== '1.0') throw invalidArgument('isv.invalid-parameter', '参数有误：version');
  if ((fields.get('format') ?? 'JSON').toUpperCase() !== 'JSON') throw invalidArgument('isv.invalid-format', '无效的数据格式');
}

/** The application's certificate decides which key the signature is checked with. */
function checkSerials({ serials }: Door, fields: Fields): void {
  if (serials === null) return;
  const [app = '', root = ''] = [fields.get('app_cert_sn'), fields.get('alipay_root_cert_sn')];
  if (app === '') throw invalidArgument('isv.missing-app-cert-sn', '缺少应用公钥证书序列号');
  if (app !== serials.appCertSn) throw invalidArgument('isv.app-cert-not-exist', '应用公钥证书不存在');
  if (root === '') throw invalidArgument('isv.missing-alipay-root-cert-sn', '缺少支付宝根证书序列号');
  if (root !== serials.alipayRootCertSn) throw invalidArgument('isv.invalid-alipay-root-cert-sn', '支付宝根证书序列号错误');
}

/** The URL a call wants its notifications at; null where it wants none. */
export function urlOf(fields: Fields, name: 'notify_url' | 'return_url'): string | null {
  const given = fields.get(name) ?? '';
  if (given === '') return null;
  if (given.length > 256 || !/^https?:\/\//i.test(given) || !URL.canParse(given)) throw invalidArgument('isv.invalid-parameter', `参数有误：${name}`);
  return given;
}

function argument(fields: Fields, name: string, subCode: string): string {
  const value = fields.get(name) ?? '';
  if (value === '') throw missingArgument(subCode, `缺少${name}参数`);
  return value;
}

/** Null for a broken escape or bytes that are not UTF-8. */
function decode(text: string): string | null {
  if (!/^[\x20-\x7e]*$/.test(text)) return null;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}
