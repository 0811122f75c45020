/** The simulators' own books, and what differs between them and the service's. */
import pg from 'pg';
import type { Simulators } from '../../src/simulator/simulators.js';
import { countBy } from './trouble.js';

export interface PlatformOrder {
  /** Placed under this number; more than one is a second order. */
  orders: number;
  /** Null: never paid. */
  paid: bigint | null;
  readonly refunds: { readonly no: string; readonly amount: bigint; readonly state: 'DONE' | 'OPEN' | 'FAILED' }[];
}

export function platformBooks({ alipay, wechatpay, unionpay }: Simulators): Map<string, PlatformOrder> {
  const books = new Map<string, PlatformOrder>();
  const orderOf = (no: string): PlatformOrder => {
    const known = books.get(no) ?? { orders: 0, paid: null, refunds: [] };
    books.set(no, known);
    return known;
  };

  for (const trade of alipay.control.listTrades()) {
    const order = orderOf(trade.outTradeNo);
    order.orders += 1;
    if (trade.paidAt !== null) order.paid = trade.paid ?? trade.total;
    for (const { requestNo, amount } of trade.refunds) order.refunds.push({ no: requestNo, amount, state: 'DONE' });
  }
  const states = { SUCCESS: 'DONE', PROCESSING: 'OPEN', CLOSED: 'FAILED', ABNORMAL: 'OPEN' } as const;
  for (const one of wechatpay.control.listOrders()) {
    const order = orderOf(one.outTradeNo);
    order.orders += 1;
    if (one.paidAt !== null) order.paid = one.paid ?? one.total;
    for (const { outRefundNo, amount, status } of one.refunds) order.refunds.push({ no: outRefundNo, amount, state: states[status] });
  }
  const all = unionpay.control.listOrders();
  for (const payment of all.filter(({ kind }) => kind === 'payment')) {
    const order = orderOf(payment.orderId);
    order.orders += 1;
    if (payment.completedAt !== null && isSuccess(payment.code)) order.paid = payment.paid ?? payment.amount;
    for (const one of all.filter(({ origQryId }) => origQryId === payment.queryId)) {
      const state = one.completedAt === null ? 'OPEN' : isSuccess(one.code) ? 'DONE' : 'FAILED';
      order.refunds.push({ no: one.orderId, amount: one.amount, state });
    }
  }
  return books;
}

const isSuccess = (code: string | null): boolean => code === '00' || code === 'A6';

export const VIOLATIONS = [
  'paid but not recorded',
  'recorded but not paid',
  'unpaid after it was paid',
  'second order',
  'double refund',
  'refund not as recorded',
  'more refunded than paid',
  'stuck without a reason',
  'broken log chain',
] as const;
export type Violation = (typeof VIOLATIONS)[number];

export interface Verdict {
  readonly payments: number;
  readonly refunds: number;
  readonly byStatus: Readonly<Record<string, number>>;
  readonly byReviewReason: Readonly<Record<string, number>>;
  readonly violations: readonly Violated[];
  /** How the first of them came there: their payments' logs, a line for each entry. */
  readonly stories: readonly string[];
}

interface Violated {
  readonly kind: Violation;
  readonly payment: string;
  readonly what: string;
}

interface PaymentRow {
  readonly id: string;
  readonly no: string;
  readonly status: string;
  readonly reason: string | null;
  readonly paid: string;
  readonly seq: number;
  readonly hash: string;
}

interface RefundRow {
  readonly payment: string;
  readonly no: string;
  readonly status: string;
  readonly amount: string;
  readonly external: boolean;
  /** How it came there, for whoever looks into a violation. */
  readonly told: string;
}

/** The records of one application. */
export async function compareBooks(databaseUrl: string, application: string, books: ReadonlyMap<string, PlatformOrder>): Promise<Verdict> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  try {
    const payments = await client.query<PaymentRow>(
      'select id, merchant_order_no as no, status, review_reason as reason, paid_amount::text as paid, log_seq as seq, log_hash as hash from payment where app_id = $1',
      [application],
    );
    const refunds = await client.query<RefundRow>(
      `select r.payment_id as payment, r.platform_refund_no as no, r.status, r.amount::text as amount, r.external,
              concat_ws(', ', p.platform, r.attempts || ' sent', r.retry, r.failure_code) as told
         from refund r join payment p on p.id = r.payment_id where p.app_id = $1`,
      [application],
    );
    const ofPayment = Map.groupBy(refunds.rows, ({ payment }) => payment);
    const violations = payments.rows.flatMap((payment) => violationsOf(payment, ofPayment.get(payment.id) ?? [], books.get(payment.no)));
    const all = [...violations, ...(await unpaidAgain(client, application)), ...(await brokenChains(client, application))];
    return {
      payments: payments.rows.length,
      refunds: refunds.rows.length,
      byStatus: countBy(payments.rows.map(({ status }) => status)),
      byReviewReason: countBy(payments.rows.flatMap(({ reason }) => reason ?? [])),
      violations: all,
      stories: await storiesOf(client, [...new Set(all.map(({ payment }) => payment))].slice(0, STORIES_MAX)),
    };
  } finally {
    await client.end();
  }
}

const STORIES_MAX = 3;
const OPEN = ['PENDING', 'PROCESSING', 'UNKNOWN'];
const OPEN_REFUND = ['CREATED', 'SUBMITTED', 'UNKNOWN', 'ABNORMAL'];

function violationsOf(payment: PaymentRow, refunds: readonly RefundRow[], order: PlatformOrder | undefined): Violated[] {
  const found: Violated[] = [];
  const add = (kind: Violation, what: string): number => found.push({ kind, payment: payment.id, what: `${payment.no}: ${what}` });
  const paid = order?.paid ?? null;

  if (paid !== null && payment.paid === '0') add('paid but not recorded', `${paid} paid, the record is ${payment.status}`);
  if (paid === null && payment.paid !== '0') add('recorded but not paid', `${payment.paid} recorded as paid`);
  if ((order?.orders ?? 0) > 1) add('second order', `${order?.orders} orders under one number`);
  if (OPEN.includes(payment.status)) add('stuck without a reason', payment.status);

  const movements = Map.groupBy(order?.refunds ?? [], ({ no }) => no);
  for (const [no, moved] of movements) {
    if (moved.length > 1) add('double refund', `refund ${no} was carried out ${moved.length} times`);
    if (!refunds.some((refund) => refund.no === no)) add('double refund', `refund ${no} of ${moved[0]!.amount} is nobody's`);
  }
  for (const refund of refunds.filter(({ external }) => !external)) {
    const moved = movements.get(refund.no)?.[0];
    const isDone = moved?.state === 'DONE';
    if (OPEN_REFUND.includes(refund.status)) add('stuck without a reason', `refund ${refund.no} is ${refund.status} (${refund.told})`);
    else if (isDone !== (refund.status === 'SUCCEEDED')) add('refund not as recorded', `${refund.no} is ${refund.status} here, ${moved?.state ?? 'unknown'} there`);
    else if (isDone && moved.amount.toString() !== refund.amount) add('refund not as recorded', `${refund.no}: ${refund.amount} here, ${moved.amount} there`);
  }
  const returned = (order?.refunds ?? []).filter(({ state }) => state === 'DONE').reduce((sum, { amount }) => sum + amount, 0n);
  if (returned > (paid ?? 0n)) add('more refunded than paid', `${returned} of ${paid ?? 0n}`);
  return found;
}

/** Whatever it is in the end: between, somebody was told that the money is not there. Nobody decides a review in this run. */
async function unpaidAgain(client: pg.Client, application: string): Promise<Violated[]> {
  const { rows } = await client.query<{ id: string; what: string }>(
    `select payment_id as id, min(seq) || ': ' || min(status) as what from payment_log l
      where app_id = $1 and status not in ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED', 'REVIEW')
        and exists (select 1 from payment_log b where b.payment_id = l.payment_id and b.seq < l.seq and b.status in ('SUCCEEDED', 'PARTIALLY_REFUNDED', 'REFUNDED'))
      group by payment_id`,
    [application],
  );
  return rows.map(({ id: payment, what }) => ({ kind: 'unpaid after it was paid', payment, what: `log entry ${what}` }));
}

/** The chain's shape for all, its head against the payment; the content is VerifyPaymentLog's. */
async function brokenChains(client: pg.Client, application: string): Promise<Violated[]> {
  const { rows } = await client.query<{ id: string; what: string }>(
    `select p.id, 'the chain is not dense, or not its payment''s' as what from payment p
      where p.app_id = $1 and ((select count(*) from payment_log l where l.payment_id = p.id) <> p.log_seq
         or not exists (select 1 from payment_log l where l.payment_id = p.id and l.seq = p.log_seq and l.hash = p.log_hash)
         or exists (select 1 from payment_log l left join payment_log b on b.payment_id = l.payment_id and b.seq = l.seq - 1
                     where l.payment_id = p.id and l.prev_hash is distinct from b.hash))`,
    [application],
  );
  return rows.map(({ id: payment, what }) => ({ kind: 'broken log chain', payment, what }));
}

async function storiesOf(client: pg.Client, payments: readonly string[]): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `select concat_ws(' ', l.payment_id, l.seq, to_char(l.recorded_at, 'DD HH24:MI:SS.MS'), l.kind, l.actor_type, l.source, l.prev_status, l.status, l.reason, l.error_code, l.error_message, l.evidence) as line
       from payment_log l where l.payment_id = any($1) and l.kind <> 'REFUSED' order by l.payment_id, l.seq`,
    [payments],
  );
  return rows.map(({ line }) => line);
}
