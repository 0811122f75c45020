import type { FilterQuery } from '@mikro-orm/postgresql';
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
  const [found] = await findPayments(deps, [ref]);
  if (found instanceof Payment) return found;
  throw found!;
}

/** For each reference its payment, or why there is none; one statement, however many there are. */
export async function findPayments(deps: Reads, refs: readonly PaymentRef[]): Promise<(Payment | DomainError)[]> {
  const keys = refs.map((ref) => keyOf(deps, ref));
  const wanted = whereOf(keys.flatMap((key) => (key instanceof DomainError ? [] : [key])));
  const payments = wanted.length === 0 ? [] : await deps.orm.em.fork().find(Payment, { $or: wanted });
  const byId = new Map(payments.map((payment) => [payment.id, payment]));
  const byOrder = Map.groupBy(payments, orderText);

  return keys.map((key) => {
    if (key instanceof DomainError) return key;
    if ('paymentId' in key) return byId.get(key.paymentId) ?? paymentNotFound(key.paymentId);
    return theOnly(key, byOrder.get(orderText(key)) ?? []);
  });
}

type Key = { readonly paymentId: PaymentId } | OrderRef;
type OrderRef = Pick<Payment, 'platform' | 'merchantAccount' | 'merchantOrderNo' | 'platformOrderTime'>;

function keyOf(deps: Reads, ref: PaymentRef): Key | DomainError {
  if ('paymentId' in ref) return ref;
  try {
    return { ...ref, merchantAccount: ref.merchantAccount ?? deps.platforms.defaultAccount(ref.platform, null) };
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
}

/** Conditions that each have an index: the ids, and the numbers of each account. */
function whereOf(keys: readonly Key[]): FilterQuery<Payment>[] {
  const ids = keys.flatMap((key) => ('paymentId' in key ? [key.paymentId] : []));
  const orders = keys.flatMap((key) => ('paymentId' in key ? [] : [key]));
  const accounts = Map.groupBy(orders, ({ platform, merchantAccount }) => `${platform} ${merchantAccount}`);
  return [
    ...(ids.length === 0 ? [] : [{ id: { $in: ids } }]),
    ...[...accounts.values()].map((of) => {
      const { platform, merchantAccount } = of[0]!;
      return { platform, merchantAccount, merchantOrderNo: { $in: of.map(({ merchantOrderNo }) => merchantOrderNo) } };
    }),
  ];
}

const orderText = ({ platform, merchantAccount, merchantOrderNo }: OrderRef): string => `${platform} ${merchantAccount} ${merchantOrderNo}`;

function theOnly({ platform, merchantAccount, merchantOrderNo, platformOrderTime: time }: OrderRef, candidates: readonly Payment[]): Payment | DomainError {
  const [payment, second] = candidates.filter(({ platformOrderTime }) => time === '' || platformOrderTime === time);
  if (second !== undefined) {
    return fieldInvalid({ field: 'platform_order_time', description: `several orders of ${platform} have the number ${merchantOrderNo}` });
  }
  if (payment !== undefined) return payment;
  return new DomainError('PAYMENT_NOT_FOUND', `there is no payment of order ${merchantOrderNo} at ${platform}`, {
    metadata: { platform, merchant_account: merchantAccount, merchant_order_no: merchantOrderNo },
  });
}

/** One payment with its next sync; FULL adds its refunds and the newest log entries. */
export async function getPayment(deps: Reads, ref: PaymentRef, view: 'BASIC' | 'FULL'): Promise<FullPayment> {
  const payment = await findPayment(deps, ref);
  const em = deps.orm.em.fork();
  const nextSyncAt = await nextSyncOf(deps, payment);
  if (view === 'BASIC') return { payment, nextSyncAt, refunds: [], recentLog: [] };

  const refunds = await em.find(Refund, { paymentId: payment.id }, { orderBy: { id: 'asc' } });
  const recentLog = await em.find(PaymentLogEntry, { paymentId: payment.id }, { orderBy: { seq: 'desc' }, limit: RECENT_LOG });
  return { payment, nextSyncAt, refunds, recentLog };
}

interface Gathering {
  readonly ids: Set<PaymentId>;
  readonly found: Promise<ReadonlyMap<PaymentId, Date>>;
}

/** Nearly every answer says when its payment is looked at next: where its unit of work did not set that, what is asked for in one turn of the event loop is read once. */
const gatherings = new WeakMap<Deps['orm'], Gathering>();

export async function nextSyncOf({ orm }: Pick<Deps, 'orm'>, { id, nextSyncAt }: Payment): Promise<Date | null> {
  if (nextSyncAt !== undefined) return nextSyncAt;
  const { ids, found } = gatherings.get(orm) ?? gather(orm);
  ids.add(id);
  return (await found).get(id) ?? null;
}

function gather(orm: Deps['orm']): Gathering {
  const ids = new Set<PaymentId>();
  const found = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
    gatherings.delete(orm);
    return nextSyncs({ orm }, [...ids]);
  });
  const gathering = { ids, found };
  gatherings.set(orm, gathering);
  return gathering;
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
