/** An event as a message: JSON, with a number for its layout. What the stream says anyway, shard and epoch, is not repeated. */
import type { PaymentStatus } from '../../payment/payment-status.js';
import type { PlatformName } from '../../payment/platform.js';
import type { FeedEvent } from '../event.js';
import type { Place } from './names.js';

const VERSION = 1;

interface Payload {
  readonly v: number;
  readonly rev: string;
  readonly payment_id: string;
  readonly version: number;
  readonly previous_status: PaymentStatus | null;
  readonly status: PaymentStatus;
  /** Milliseconds since 1970. */
  readonly occurred_at: number;
  readonly platform: PlatformName;
  readonly app_id: string;
  readonly order_id: string;
  readonly user_id: string;
}

export function encodeEvent(event: FeedEvent): string {
  const payload: Payload = {
    v: VERSION,
    rev: `${event.revision}`,
    payment_id: event.paymentId,
    version: event.version,
    previous_status: event.previousStatus,
    status: event.status,
    occurred_at: event.occurredAt.getTime(),
    platform: event.platform,
    app_id: event.appId,
    order_id: event.orderId,
    user_id: event.userId,
  };
  return JSON.stringify(payload);
}

/** Null where a later version of the service has written it in another layout: the database has it, too. */
export function decodeEvent(text: string, { shard, epoch }: Place): FeedEvent | null {
  const payload = JSON.parse(text) as Payload;
  if (payload.v !== VERSION) return null;
  return {
    eventId: `${payload.payment_id}:${payload.version}`,
    revision: BigInt(payload.rev),
    shard,
    epoch,
    paymentId: payload.payment_id,
    version: payload.version,
    previousStatus: payload.previous_status,
    status: payload.status,
    occurredAt: new Date(payload.occurred_at),
    platform: payload.platform,
    appId: payload.app_id,
    orderId: payload.order_id,
    userId: payload.user_id,
  };
}
