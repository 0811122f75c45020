import { PaymentLogEntry } from './payment-log.js';
import { DomainError, fieldInvalid, paymentNotFound } from './errors.js';
import { Payment, type PaymentId } from './payment.js';
import type { PlatformName } from './platform.js';
import type { Deps } from './deps.js';
import { Refund } from '../refund/refund.js';

/** A payment by our id, or by the platform's order. An empty order time means the only order of that number. */
export type PaymentRef =
  | { readonly paymentId: PaymentId }
  | {
      readonly platform: PlatformName;
      readonly merchantAccount: string | null;
      readonly merchantOrderNo: string;
      readonly platformOrderTime: string;
    };

export interface FullPayment {
  readonly payment: Payment;
  readonly nextSyncAt: Date | null;
  readonly refunds: readonly Refund[];
  readonly recentLog: readonly PaymentLogEntry[];
}

const RECENT_LOG = 20;

type Reads = Pick<Deps, 'orm' | 'platforms'>;

export async function findPayment(deps: Reads, ref: PaymentRef): Promise<Payment> {
  const em = deps.orm.em.fork();
  if ('paymentId' in ref) {
    const payment = await em.findOne(Payment, { id: ref.paymentId });
    if (payment !== null) return payment;
    throw paymentNotFound(ref.paymentId);
  }

  const { platform, merchantOrderNo, platformOrderTime } = ref;
  const merchantAccount = ref.merchantAccount ?? deps.platforms.defaultAccount(platform, null);
  const time = platformOrderTime === '' ? {} : { platformOrderTime };
  const [payment, second] = await em.find(Payment, { platform, merchantAccount, merchantOrderNo, ...time }, { limit: 2 });
  if (second !== undefined) {
    throw fieldInvalid({ field: 'platform_order_time', description: `several orders of ${platform} have the number ${merchantOrderNo}` });
  }
  if (payment !== undefined) return payment;
  throw new DomainError('PAYMENT_NOT_FOUND', `there is no payment of order ${merchantOrderNo} at ${platform}`, {
    metadata: { platform, merchant_account: merchantAccount, merchant_order_no: merchantOrderNo },
  });
}

/** One payment with its next sync; FULL adds its refunds and the newest log entries. */
export async function getPayment(deps: Reads, ref: PaymentRef, view: 'BASIC' | 'FULL'): Promise<FullPayment> {
  const payment = await findPayment(deps, ref);
  const em = deps.orm.em.fork();
  const nextSyncAt = await nextSyncOf(deps, payment.id);
  if (view === 'BASIC') return { payment, nextSyncAt, refunds: [], recentLog: [] };

  const refunds = await em.find(Refund, { paymentId: payment.id }, { orderBy: { id: 'asc' } });
  const recentLog = await em.find(PaymentLogEntry, { paymentId: payment.id }, { orderBy: { seq: 'desc' }, limit: RECENT_LOG });
  return { payment, nextSyncAt, refunds, recentLog };
}

export async function nextSyncOf(deps: Pick<Deps, 'orm'>, id: PaymentId): Promise<Date | null> {
  return (await nextSyncs(deps, [id])).get(id) ?? null;
}

/** When each of some payments is looked at next by itself; those that are not are missing. */
export async function nextSyncs(deps: Pick<Deps, 'orm'>, ids: readonly PaymentId[]): Promise<Map<PaymentId, Date>> {
  if (ids.length === 0) return new Map();
  const rows = await deps.orm.em
    .fork()
    .execute<{ payment_id: string; due_at: string | Date }[]>(
      `select payment_id, due_at from payment_sync where payment_id in (${ids.map(() => '?').join(', ')})`,
      [...ids],
    );
  return new Map(rows.map((row) => [row.payment_id, new Date(row.due_at)]));
}
