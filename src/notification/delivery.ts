import { createHash } from 'node:crypto';
import type { Delivery } from '../payment/platform.js';

/** Header names that may be stored; anything else could carry credentials of a proxy. */
const KEPT_HEADERS = /^(content-type|content-length|user-agent|wechatpay-.*|x-request-id)$/;
const HEADER_MAX = 2_048;

export const contentHash = (body: Buffer): string => createHash('sha256').update(body).digest('hex');

export function keptHeaders(delivery: Delivery): Record<string, string> {
  return Object.fromEntries(
    Object.entries(delivery.headers).filter(([name, value]) => KEPT_HEADERS.test(name) && value.length <= HEADER_MAX),
  );
}
