import type { FilterQuery } from '@mikro-orm/postgresql';
import type { Deps } from './deps.js';
import { Payment, type PaymentId } from './payment.js';
import type { PaymentStatus } from './payment-status.js';
import type { PlatformName } from './platform.js';

/** AND between fields, OR inside one; an empty field matches everything. Created from inclusive to exclusive. */
export interface PaymentFilter {
  readonly appId: string | null;
  readonly orderId: string | null;
  readonly userId: string | null;
  readonly platform: PlatformName | null;
  readonly statuses: readonly PaymentStatus[];
  readonly createdFrom: Date | null;
  readonly createdTo: Date | null;
}

/** Newest first, by payment id (ids sort by creation). `before` is the last id of the page before. */
export async function listPayments(
  deps: Pick<Deps, 'orm'>,
  filter: PaymentFilter,
  page: { size: number; before: PaymentId | null },
): Promise<{ payments: Payment[]; next: PaymentId | null }> {
  const where: FilterQuery<Payment>[] = [whereOf(filter)];
  if (page.before !== null) where.push({ id: { $lt: page.before } });
  const found = await deps.orm.em.fork().find(Payment, { $and: where }, { orderBy: { id: 'desc' }, limit: page.size + 1 });
  const payments = found.slice(0, page.size);
  return { payments, next: found.length > page.size ? payments.at(-1)!.id : null };
}

export function whereOf(filter: PaymentFilter): FilterQuery<Payment> {
  const { appId, orderId, userId, platform, statuses, createdFrom, createdTo } = filter;
  return {
    ...(appId === null ? {} : { appId }),
    ...(orderId === null ? {} : { orderId }),
    ...(userId === null ? {} : { userId }),
    ...(platform === null ? {} : { platform }),
    ...(statuses.length === 0 ? {} : { status: { $in: [...statuses] } }),
    ...(createdFrom === null && createdTo === null
      ? {}
      : { createdAt: { ...(createdFrom === null ? {} : { $gte: createdFrom }), ...(createdTo === null ? {} : { $lt: createdTo }) } }),
  };
}
