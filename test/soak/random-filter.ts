import { PaymentStatus, Platform, type Payment } from '../../src/gen/payment/v1/payment.js';
import { WatchFilter } from '../../src/gen/payment/v1/payment_service.js';
import type { Random } from '../notification/random.js';

/** What the writers give their payments, so that filters have something to choose from. */
export const APPS = Array.from({ length: 10 }, (_, n) => `app-${n}`);
export const USERS = Array.from({ length: 200 }, (_, n) => `user-${n}`);
export const PLATFORMS = [Platform.PLATFORM_ALIPAY, Platform.PLATFORM_WECHATPAY, Platform.PLATFORM_UNIONPAY] as const;
const STATUSES = [PaymentStatus.PAYMENT_STATUS_PENDING, PaymentStatus.PAYMENT_STATUS_PROCESSING, PaymentStatus.PAYMENT_STATUS_SUCCEEDED, PaymentStatus.PAYMENT_STATUS_FAILED];

/** Every twentieth watcher has no filter at all; the others choose by one or two fields. */
export function randomFilter(at: number, random: Random): WatchFilter {
  const filter = WatchFilter.fromPartial({});
  if (at % 20 === 0) return filter;
  const fields = [
    () => (filter.appIds = [random.pick(APPS)]),
    () => (filter.appIds = [random.pick(APPS), random.pick(APPS)]),
    () => (filter.userIds = [random.pick(USERS), random.pick(USERS)]),
    () => (filter.orderIds = Array.from({ length: 20 }, () => `order-${random.below(2_000)}`)),
  ];
  random.pick(fields)();
  if (random.chance(0.5)) filter.platforms = [random.pick(PLATFORMS)];
  if (random.chance(0.5)) filter.statuses = [random.pick(STATUSES)];
  return filter;
}

/** One change as the tables have it. */
export interface Change extends Pick<Payment, 'appId' | 'userId' | 'orderId' | 'platform'> {
  readonly previousStatus: PaymentStatus;
  readonly status: PaymentStatus;
}

/** The contract's meaning of a filter, written down a second time. */
export function isMeant(filter: WatchFilter, change: Change): boolean {
  const within = <T>(values: readonly T[], ...some: readonly T[]): boolean => values.length === 0 || some.some((value) => values.includes(value));
  return (
    within(filter.appIds, change.appId) &&
    within(filter.userIds, change.userId) &&
    within(filter.orderIds, change.orderId) &&
    within(filter.platforms, change.platform) &&
    within(filter.statuses, change.status, change.previousStatus)
  );
}
