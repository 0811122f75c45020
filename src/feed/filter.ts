import type { FilterQuery } from '@mikro-orm/postgresql';
import { fieldInvalid, type FieldViolation } from '../payment/errors.js';
import type { Payment, PaymentId } from '../payment/payment.js';
import { isSettled, PAYMENT_STATUSES, type PaymentStatus } from '../payment/payment-status.js';
import type { PlatformName } from '../payment/platform.js';
import type { FeedEvent } from './event.js';

/** AND between fields, OR inside one; an empty field matches everything. */
export interface FeedFilter {
  readonly paymentIds: readonly PaymentId[];
  readonly orderIds: readonly string[];
  readonly userIds: readonly string[];
  readonly appIds: readonly string[];
  readonly platforms: readonly PlatformName[];
  /** Matches the new or the previous status, so that "left PENDING" is seen. */
  readonly statuses: readonly PaymentStatus[];
  /** Only what the new status has settled. */
  readonly settledOnly: boolean;
}

export const EVERYTHING: FeedFilter = { paymentIds: [], orderIds: [], userIds: [], appIds: [], platforms: [], statuses: [], settledOnly: false };

export type Predicate = (event: FeedEvent) => boolean;

const VALUES_MAX = 1_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

type List = Exclude<keyof FeedFilter, 'settledOnly'>;
const FIELD_NAMES: Record<List, string> = {
  paymentIds: 'filter.payment_ids',
  orderIds: 'filter.order_ids',
  userIds: 'filter.user_ids',
  appIds: 'filter.app_ids',
  platforms: 'filter.platforms',
  statuses: 'filter.statuses',
};

/** FIELD_INVALID where a list is too long or a payment id is none. */
export function requireFilter(filter: FeedFilter): void {
  const violations: FieldViolation[] = [];
  for (const [name, field] of Object.entries(FIELD_NAMES) as [List, string][]) {
    if (filter[name].length > VALUES_MAX) violations.push({ field, description: `has ${filter[name].length} values; at most ${VALUES_MAX}` });
  }
  const stray = filter.paymentIds.find((id) => !UUID.test(id));
  if (stray !== undefined) violations.push({ field: FIELD_NAMES.paymentIds, description: `${stray} is not a lower-case UUID` });
  if (violations.length > 0) throw fieldInvalid(...violations);
}

export function predicateOf(filter: FeedFilter): Predicate {
  const tests: Predicate[] = [];
  addTest(tests, filter.paymentIds, (event, ids) => ids.has(event.paymentId));
  addTest(tests, filter.orderIds, (event, ids) => ids.has(event.orderId));
  addTest(tests, filter.userIds, (event, ids) => ids.has(event.userId));
  addTest(tests, filter.appIds, (event, ids) => ids.has(event.appId));
  addTest(tests, filter.platforms, (event, names) => names.has(event.platform));
  addTest(tests, filter.statuses, (event, statuses) => {
    return statuses.has(event.status) || (event.previousStatus !== null && statuses.has(event.previousStatus));
  });
  if (filter.settledOnly) tests.push(({ status }) => isSettled(status));
  return (event) => tests.every((test) => test(event));
}

/** The same filter on the payments themselves, for the snapshot. */
export function paymentsOf(filter: FeedFilter): FilterQuery<Payment> {
  return {
    ...(filter.paymentIds.length === 0 ? {} : { id: { $in: [...filter.paymentIds] } }),
    ...(filter.orderIds.length === 0 ? {} : { orderId: { $in: [...filter.orderIds] } }),
    ...(filter.userIds.length === 0 ? {} : { userId: { $in: [...filter.userIds] } }),
    ...(filter.appIds.length === 0 ? {} : { appId: { $in: [...filter.appIds] } }),
    ...(filter.platforms.length === 0 ? {} : { platform: { $in: [...filter.platforms] } }),
    ...(filter.statuses.length === 0 && !filter.settledOnly ? {} : { status: { $in: statusesOf(filter) } }),
  };
}

function statusesOf({ statuses, settledOnly }: FeedFilter): PaymentStatus[] {
  const wanted = statuses.length === 0 ? PAYMENT_STATUSES : statuses;
  return wanted.filter((status) => !settledOnly || isSettled(status));
}

function addTest<T>(tests: Predicate[], values: readonly T[], test: (event: FeedEvent, values: ReadonlySet<T>) => boolean): void {
  if (values.length === 0) return;
  const set = new Set(values);
  tests.push((event) => test(event, set));
}
