import { defineEntity, p } from '@mikro-orm/postgresql';
import type { ApplyOutcome } from '../payment/payment.js';
import type { PlatformName } from '../payment/platform.js';

/**
 * APPLIED: joined into its payment. STORED: verified, still to be applied. ORPHAN: verified, its order is not recorded (yet).
 * QUARANTINED: not verified; it changes nothing and is kept as evidence of an attempt.
 */
export type NotificationStatus = 'APPLIED' | 'STORED' | 'ORPHAN' | 'QUARANTINED';

const schema = defineEntity({
  name: 'Notification',
  tableName: 'notification',
  properties: {
    id: p.uuid().primary(),
    platform: p.text().$type<PlatformName>(),
    merchantAccount: p.text(),
    /** The platform's id of it; only verified rows have one, so that a forged copy never looks like the genuine one. */
    notificationId: p.text().strictNullable(),
    contentHash: p.text(),
    status: p.text().$type<NotificationStatus>(),
    merchantOrderNo: p.text().strictNullable(),
    platformOrderTime: p.text(),
    paymentId: p.uuid().strictNullable(),
    outcome: p.text().$type<ApplyOutcome>().strictNullable(),
    why: p.text(),
    headers: p.json<Readonly<Record<string, string>>>(),
    body: p.blob(),
    deliveries: p.integer(),
    receivedAt: p.datetime(3),
    appliedAt: p.datetime(3).strictNullable(),
  },
});

/** One delivery at the notification entrance, kept as it came. */
export class Notification extends schema.class {}
schema.setClass(Notification);
export { schema as NotificationSchema };
