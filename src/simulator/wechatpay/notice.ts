/** The body of a notification: an envelope around a sealed resource (wechatpay.md sections 4 and 5). */
import { ALGORITHM, seal, tampered } from './cipher.js';
import { rfc3339 } from './format.js';
import { orderObject, refundNotice, type JsonObject, type Merchant } from './objects.js';
import type { OrderEvent } from './order.js';
import { newNonce } from './signature.js';

/** What is wrong with the resource, or unusual. */
export type ResourceVariant =
  | 'altered-amount'
  | 'other-app'
  | 'other-merchant'
  | 'tampered-ciphertext'
  | 'tampered-tag'
  /** Sealed with another APIv3 key. */
  | 'wrong-key'
  /** `associated_data` is empty, or not there: proper, and rare. */
  | 'empty-aad'
  | 'absent-aad';

export interface Envelope {
  readonly id: string;
  readonly now: number;
  readonly merchant: Merchant;
  readonly apiV3Key: string;
  readonly variant: ResourceVariant | null;
}

export const eventType = (event: OrderEvent): string => (event.kind === 'paid' ? 'TRANSACTION.SUCCESS' : `REFUND.${event.refund.status}`);

export function noticeBody(event: OrderEvent, { id, now, merchant, apiV3Key, variant }: Envelope): string {
  const originalType = event.kind === 'paid' ? 'transaction' : 'refund';
  const associatedData = variant === 'empty-aad' || variant === 'absent-aad' ? '' : originalType;
  const nonce = newNonce(12);
  const key = variant === 'wrong-key' ? newNonce(32) : apiV3Key;
  const sealed = seal(JSON.stringify(resourceOf(event, merchant, variant)), { key, nonce, associatedData });
  const ciphertext = variant === 'tampered-ciphertext' ? tampered(sealed, 'content') : variant === 'tampered-tag' ? tampered(sealed, 'tag') : sealed;
  return JSON.stringify({
    id,
    create_time: rfc3339(now),
    resource_type: 'encrypt-resource',
    event_type: eventType(event),
    summary: SUMMARY[eventType(event)],
    resource: {
      original_type: originalType,
      algorithm: ALGORITHM,
      ciphertext,
      ...(variant === 'absent-aad' ? {} : { associated_data: associatedData }),
      nonce,
    },
  });
}

function resourceOf(event: OrderEvent, { mchid, appid }: Merchant, variant: ResourceVariant | null): JsonObject {
  const told = variant === 'other-merchant' ? `${mchid.slice(0, -4)}9999` : mchid;
  if (event.kind === 'refund') {
    const refund = variant === 'altered-amount' ? { ...event.refund, amount: event.refund.amount + 1n } : event.refund;
    return refundNotice(event.order, refund, told);
  }
  const object = orderObject(variant === 'altered-amount' ? { ...event.order, paid: (event.order.paid ?? 0n) + 1n } : event.order, { mchid: told });
  return variant === 'other-app' ? { ...object, appid: `${appid.slice(0, -4)}9999` } : object;
}

const SUMMARY: Readonly<Record<string, string>> = {
  'TRANSACTION.SUCCESS': '支付成功',
  'REFUND.SUCCESS': '退款成功',
  'REFUND.ABNORMAL': '退款异常',
  'REFUND.CLOSED': '退款关闭',
};
