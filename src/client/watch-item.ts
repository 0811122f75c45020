/** What a watch yields. */
import type { Payment } from '../gen/payment/v1/payment.js';
import type { PaymentEvent, WatchPaymentsResponse } from '../gen/payment/v1/payment_service.js';
import { toDate } from './input.js';
import type { SeenVersions } from './seen-versions.js';

/**
 * A position in the feed, good on every replica. It stands behind everything in the item that it came with: store it in the same
 * transaction as the effect of that item, and start the next watch with it.
 */
export type Cursor = string;

export type WatchItem = { readonly cursor: Cursor } & (
  | {
      /** The watch stands: nothing behind the cursor is missed. Comes first and after every resumption. */
      readonly kind: 'connected';
      readonly startRevision: bigint;
      /** The feed's history; it changes when the database was replaced. */
      readonly epoch: number;
    }
  /** Changes in the order in which they happened. */
  | { readonly kind: 'events'; readonly events: readonly PaymentEvent[] }
  /** Payments as they are, before the changes. */
  | { readonly kind: 'snapshot'; readonly payments: readonly Payment[] }
  | {
      /** Nothing happened up to here; worth storing, as a cursor that stands still gets too old. */
      readonly kind: 'bookmark';
      /** Everything committed before this moment has been delivered; undefined while the watch is far behind. */
      readonly asOf: Date | undefined;
      readonly headRevision: bigint;
      readonly behind: bigint;
      /** True once, when the snapshot and the changes during it are delivered. */
      readonly snapshotComplete: boolean;
    }
);

export const cursorOf = (message: WatchPaymentsResponse): Cursor => Buffer.from(message.cursor).toString('base64url');

/** A message of the contract without what was delivered before; null where nothing is left of it. */
export function itemOf(message: WatchPaymentsResponse, seen: SeenVersions): WatchItem | null {
  const cursor = cursorOf(message);
  switch (message.kind?.$case) {
    case 'created': {
      const { startRevision, epoch } = message.kind.value;
      return { kind: 'connected', cursor, startRevision, epoch };
    }
    case 'events': {
      const events = message.kind.value.events.filter(({ paymentId, version }) => seen.isNews(paymentId, version));
      return events.length === 0 ? null : { kind: 'events', cursor, events };
    }
    case 'snapshot': {
      const payments = message.kind.value.payments.filter(({ paymentId, version }) => seen.isNews(paymentId, version));
      return payments.length === 0 ? null : { kind: 'snapshot', cursor, payments };
    }
    case 'bookmark': {
      const { asOfTime, headRevision, behind, snapshotComplete } = message.kind.value;
      return { kind: 'bookmark', cursor, asOf: toDate(asOfTime), headRevision, behind, snapshotComplete };
    }
    default:
      // A goodbye, or something that this version does not know: only its position counts.
      return null;
  }
}
