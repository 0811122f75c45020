import type { FilterQuery } from '@mikro-orm/postgresql';
import type { Deps } from '../payment/deps.js';
import type { PaymentId } from '../payment/payment.js';
import { Refund, type RefundId } from './refund.js';
import { refundNotFound } from './send-refund.js';
import type { RefundStatus } from './refund-status.js';

export interface RefundFilter {
  readonly paymentId: PaymentId | null;
  readonly appId: string | null;
  readonly statuses: readonly RefundStatus[];
}

export async function getRefund(deps: Pick<Deps, 'orm'>, id: RefundId): Promise<Refund> {
  const refund = await deps.orm.em.fork().findOne(Refund, { id });
  if (refund === null) throw refundNotFound(id);
  return refund;
}

/** Newest first. `before` is the last id of the page before. */
export async function listRefunds(
  deps: Pick<Deps, 'orm'>,
  filter: RefundFilter,
  page: { size: number; before: RefundId | null },
): Promise<{ refunds: Refund[]; next: RefundId | null }> {
  const where: FilterQuery<Refund> = {
    ...(filter.paymentId === null ? {} : { paymentId: filter.paymentId }),
    ...(filter.appId === null ? {} : { appId: filter.appId }),
    ...(filter.statuses.length === 0 ? {} : { status: { $in: [...filter.statuses] } }),
    ...(page.before === null ? {} : { id: { $lt: page.before } }),
  };
  const found = await deps.orm.em.fork().find(Refund, where, { orderBy: { id: 'desc' }, limit: page.size + 1 });
  const refunds = found.slice(0, page.size);
  return { refunds, next: found.length > page.size ? refunds.at(-1)!.id : null };
}
