/**
 * Payments and their logs as an audit reads them: plain rows, a bounded number in memory, however many payments there are and however
 * long a chain is. Statements are short and no snapshot is held for longer than one page of payments, so that an audit of millions
 * runs beside the service.
 */
import { IsolationLevel, type MikroORM } from '@mikro-orm/postgresql';
import { CompiledQuery } from 'kysely';
import type { Payment, PaymentId } from './payment.js';
import { ChainWalk, type ChainEntry } from './payment-log.js';

/** Of a payment what its log accounts for. */
export type RecordedPayment = Pick<Payment, 'id' | 'createdAt' | 'amount' | 'currency' | 'paidAmount' | 'refundedAmount' | 'status' | 'version' | 'logSeq' | 'logHash'>;

/** Payments created from inclusive to exclusive. */
export interface CreationRange {
  readonly from: Date;
  readonly to: Date;
}

/** Where a payment stands in a range: by creation, then by id. */
export type Place = Pick<RecordedPayment, 'createdAt' | 'id'>;

export interface WalkedChain {
  readonly payment: RecordedPayment;
  readonly walk: ChainWalk;
}

type Statement = (text: string, values: readonly unknown[]) => Promise<readonly Row[]>;
type Row = Readonly<Record<string, unknown>>;

const ENTRIES_AT_A_TIME = 500;
const SEQ_MAX = 2 ** 31 - 1;

/** The payments of a range after a place, in the order of creation. */
export async function paymentsAfter(orm: MikroORM, { from, to }: CreationRange, after: Place | null, limit: number): Promise<RecordedPayment[]> {
  const { createdAt, id } = after ?? { createdAt: from, id: '00000000-0000-0000-0000-000000000000' };
  return await reading(orm, async (run) => {
    // The index has the order but for the ids of one instant: sorting more than those is sorting the rest of the range.
    await run(`select set_config('enable_sort', 'off', true)`, []);
    const rows = await run(
      `select ${PAYMENT} from payment
        where created_at >= $1 and created_at < $2 and (created_at, id) > ($1, $3::uuid) order by created_at, id limit $4`,
      [createdAt, to, id, limit],
    );
    return rows.map(paymentOf);
  });
}

/** All payments of a range, in the order of creation, a page at a time. */
export async function* paymentPages(orm: MikroORM, range: CreationRange, size: number): AsyncGenerator<readonly RecordedPayment[]> {
  for (let page = await paymentsAfter(orm, range, null, size); page.length > 0; page = await paymentsAfter(orm, range, page.at(-1)!, size)) {
    yield page;
    if (page.length < size) return;
  }
}

/** Follows the chains of some payments, up to an entry where one is given. Payments that do not exist are absent. */
export async function walkChains(
  orm: MikroORM,
  wanted: readonly { readonly id: PaymentId; readonly upTo?: number }[],
): Promise<ReadonlyMap<PaymentId, WalkedChain>> {
  return await reading(orm, async (run) => {
    const ids = wanted.map(({ id }) => id);
    const heads = await run(`select ${PAYMENT} from payment where id = any($1::uuid[])`, [ids]);
    const chains = new Map(heads.map((row) => [row['id'] as PaymentId, { payment: paymentOf(row), walk: new ChainWalk() }]));

    await run(DECLARE, [ids, wanted.map(({ upTo }) => upTo ?? SEQ_MAX)]);
    let rows: readonly Row[];
    do {
      rows = await run(`fetch ${ENTRIES_AT_A_TIME} from entries`, []);
      for (const row of rows) chains.get(row['payment_id'] as PaymentId)?.walk.step(entryOf(row));
    } while (rows.length === ENTRIES_AT_A_TIME);
    return chains;
  });
}

/** One snapshot for payments and entries, or a change in between would look like a fault. */
async function reading<T>(orm: MikroORM, work: (run: Statement) => Promise<T>): Promise<T> {
  return await orm.em.fork().transactional(
    async (em) => {
      const database = em.getKysely();
      const run: Statement = async (text, values) => (await database.executeQuery(CompiledQuery.raw(text, [...values]))).rows as Row[];
      await run(BY_INDEX, []);
      return await work(run);
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  );
}

/** With statistics that are poor or old the planner would read the rest of a table for each page. */
const BY_INDEX = `select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`;

const PAYMENT = 'id, created_at, amount::text, currency, paid_amount::text, refunded_amount::text, status, version, log_seq, log_hash';

/** The fence of `offset 0` keeps it one look into the index for each payment. */
const DECLARE = `
  declare entries no scroll cursor for
   select l.*
     from unnest($1::uuid[], $2::int[]) as k (id, up_to)
    cross join lateral (select payment_id, seq, version, kind, actor_type, actor_id, source, prev_status, status, refund_id, reason, error_code,
                               error_message, evidence, occurred_at, recorded_at, prev_hash, hash
                          from payment_log where payment_id = k.id and seq <= k.up_to offset 0) l
    order by l.payment_id, l.seq`;

function paymentOf(row: Row): RecordedPayment {
  return {
    id: row['id'] as PaymentId,
    createdAt: timeOf(row['created_at']),
    amount: BigInt(row['amount'] as string),
    currency: row['currency'] as string,
    paidAmount: BigInt(row['paid_amount'] as string),
    refundedAmount: BigInt(row['refunded_amount'] as string),
    status: row['status'] as RecordedPayment['status'],
    version: row['version'] as number,
    logSeq: row['log_seq'] as number,
    logHash: row['log_hash'] as string | null,
  };
}

function entryOf(row: Row): ChainEntry {
  return {
    paymentId: row['payment_id'],
    seq: row['seq'],
    version: row['version'],
    kind: row['kind'],
    actorType: row['actor_type'],
    actorId: row['actor_id'],
    source: row['source'],
    prevStatus: row['prev_status'],
    status: row['status'],
    refundId: row['refund_id'],
    reason: row['reason'],
    errorCode: row['error_code'],
    errorMessage: row['error_message'],
    evidence: row['evidence'],
    occurredAt: timeOf(row['occurred_at']),
    recordedAt: timeOf(row['recorded_at']),
    prevHash: row['prev_hash'],
    hash: row['hash'],
  } as ChainEntry;
}

const timeOf = (value: unknown): Date => new Date(value as string);
