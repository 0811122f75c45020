/**
 * The unit of work is a group commit: operations that arrive while a transaction is in flight share the next one. Where nothing is in
 * flight an operation starts at once, and load makes the batches grow by itself. Every write of a payment goes through here.
 *
 * One operation never harms another: a refusal is its own answer, a poisoned operation is found by bisection and fails alone, a
 * conflict runs the batch again, and a connection lost during COMMIT is answered by what the database says of the transaction.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { Clock } from '../clock.js';
import { DomainError } from '../payment/errors.js';
import type { LateSuccessPolicy } from '../payment/late-success.js';
import { CommitInDoubt, exclusiveKeys, PoisonedDecision, runBatch, tablesOf, type BatchStore, type Committing, type Decision, type Operation, type Witness } from './batch.js';
import { boundQuery } from './bound-query.js';
import { codeOf, isServersWord, storeFailure, storeUnavailable } from './store-failure.js';

export type { NotificationKey, Operation, OrderKey, RequestKey, View } from './batch.js';

export interface UnitOfWorkOptions {
  readonly transactionsMax?: number;
  readonly batchMax?: number;
  readonly queueMax?: number;
  /** By app; HOLD where there is none. */
  readonly lateSuccessPolicy?: (appId: string) => LateSuccessPolicy;
  /** Called after each commit that gave a payment a new version. */
  readonly onCommit?: () => void;
}

/**
 * Beside a transaction in flight another one starts for so many operations, or when it has been in flight for so long: small ones side by
 * side cost more than one that waits a moment for company, and nobody waits long behind one that hangs.
 */
const COMPANY = 32;
const COMPANY_MS = 10;
/** Two conflicts in a row are chance, more are contention from outside; then the caller should know. */
const CONFLICT_RETRIES_MAX = 5;
/** Another process took the key between our look and our insert; looking again finds its row. */
const UNIQUE_RETRIES_MAX = 3;
const INVALID_PARAMETER = '22023';
/** How long a backend may take to notice that its client is gone. */
const DOUBT_POLL_MS = [5, 20, 50, 100, 200, 400, 800, 1_600];

interface Waiting {
  readonly operation: Operation<unknown>;
  readonly keys: readonly string[];
  settle(decision: Decision): void;
}

export class UnitOfWork {
  private readonly queue: Waiting[] = [];
  private readonly busy = new Set<string>();
  /** When each of the transactions in flight was started, in that order. */
  private readonly inFlight = new Set<{ readonly startedAt: number }>();
  private scheduled = false;
  private timer: NodeJS.Timeout | undefined;
  private idle: (() => void)[] = [];
  private readonly transactionsMax: number;
  private readonly batchMax: number;
  private readonly queueMax: number;
  private readonly onCommit: () => void;
  private readonly store: BatchStore;

  constructor(
    private readonly orm: MikroORM,
    private readonly clock: Clock,
    options: UnitOfWorkOptions = {},
  ) {
    this.transactionsMax = options.transactionsMax ?? 3;
    this.batchMax = options.batchMax ?? 128;
    this.queueMax = options.queueMax ?? 10_000;
    this.store = { orm, tables: tablesOf(orm), lateSuccessPolicy: options.lateSuccessPolicy ?? (() => 'HOLD') };
    this.onCommit = options.onCommit ?? (() => undefined);
  }

  /**
   * Runs one operation in a unit of work and answers after its commit. Rejects with the operation's own refusal, OVERLOADED when
   * the queue is full, STORE_UNAVAILABLE when the database is away. The signal drops it only while it waits in the queue.
   */
  run<T>(operation: Operation<T>, signal?: AbortSignal): Promise<T> {
    if (this.queue.length >= this.queueMax) {
      const sentence = `${this.queue.length} writes are waiting already`;
      return Promise.reject(new DomainError('OVERLOADED', sentence, { metadata: { waiting: `${this.queue.length}` }, retryAfterMs: 200 }));
    }

    return new Promise<T>((resolve, reject) => {
      const waiting: Waiting = {
        operation,
        keys: exclusiveKeys(operation),
        settle: (decision) => {
          signal?.removeEventListener('abort', drop);
          if (decision.ok) resolve(decision.value as T);
          else reject(decision.error);
        },
      };
      const drop = (): void => {
        const place = this.queue.indexOf(waiting);
        if (place === -1) return;
        this.queue.splice(place, 1);
        waiting.settle({ ok: false, error: signal?.reason ?? new Error('aborted') });
      };
      if (signal?.aborted === true) return reject(signal.reason as Error);
      signal?.addEventListener('abort', drop, { once: true });
      this.queue.push(waiting);
      this.schedule();
    });
  }

  /** Resolves once nothing waits and nothing is in flight. */
  async whenIdle(): Promise<void> {
    if (this.queue.length === 0 && this.inFlight.size === 0) return;
    await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.start();
    });
  }

  private start(): void {
    while (this.inFlight.size < this.transactionsMax && !this.waitsForCompany()) {
      const batch = this.takeBatch();
      if (batch.length === 0) break;

      const keys = new Set(batch.flatMap((waiting) => waiting.keys));
      for (const key of keys) this.busy.add(key);
      const transaction = { startedAt: performance.now() };
      this.inFlight.add(transaction);
      void this.commit(batch).finally(() => {
        for (const key of keys) this.busy.delete(key);
        this.inFlight.delete(transaction);
        this.start();
      });
    }

    if (this.queue.length > 0 || this.inFlight.size > 0) return;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private waitsForCompany(): boolean {
    const newest = [...this.inFlight].at(-1);
    if (newest === undefined || this.queue.length === 0 || this.queue.length >= COMPANY) return false;
    const leftMs = newest.startedAt + COMPANY_MS - performance.now();
    if (leftMs <= 0) return false;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.start();
    }, leftMs);
    return true;
  }

  /** The oldest operations that need nothing of a batch in flight; within one batch they may share anything. */
  private takeBatch(): Waiting[] {
    const batch: Waiting[] = [];
    const left: Waiting[] = [];
    for (const waiting of this.queue) {
      const free = batch.length < this.batchMax && !waiting.keys.some((key) => this.busy.has(key));
      (free ? batch : left).push(waiting);
    }
    this.queue.splice(0, this.queue.length, ...left);
    return batch;
  }

  private async commit(batch: readonly Waiting[], retries = 0, passLocked = false): Promise<void> {
    if (batch.length === 0) return;
    try {
      const { decisions, versioned } = await runBatch(this.store, batch.map((waiting) => waiting.operation), { at: this.clock.now(), passLocked });
      this.answer(batch, decisions, versioned);
    } catch (error) {
      await this.recover(batch, error, retries);
    }
  }

  private async recover(batch: readonly Waiting[], error: unknown, retries: number): Promise<void> {
    if (error instanceof PoisonedDecision) {
      batch[error.index]!.settle({ ok: false, error: error.cause });
      return await this.commit(batch.filter((_, index) => index !== error.index), retries);
    }
    if (error instanceof CommitInDoubt) return await this.resolveDoubt(batch, error, retries);

    const failure = storeFailure(error);
    if (failure === 'UNAVAILABLE') return refuseAll(batch, storeUnavailable(error));
    if (failure === 'CONFLICT') {
      if (retries < CONFLICT_RETRIES_MAX) return await this.commit(batch, retries + 1);
      return refuseAll(batch, storeUnavailable(error));
    }
    // Somebody outside holds a payment for longer than a batch may wait: only those who need it are told so.
    if (failure === 'LOCKED' && retries < CONFLICT_RETRIES_MAX) return await this.commit(batch, retries + 1, true);
    if (failure === 'LOCKED') return refuseAll(batch, storeUnavailable(error));
    if (batch.length > 1) {
      const middle = Math.ceil(batch.length / 2);
      await this.commit(batch.slice(0, middle));
      return await this.commit(batch.slice(middle));
    }
    if (failure === 'UNIQUE_VIOLATION' && retries < UNIQUE_RETRIES_MAX) return await this.commit(batch, retries + 1);
    refuseAll(batch, error);
  }

  /** The commit may have happened. Only the database knows; nobody is told anything before it was asked. */
  private async resolveDoubt(batch: readonly Waiting[], doubt: CommitInDoubt, retries: number): Promise<void> {
    // A COMMIT that the server answered with an error (a deferred constraint, say) is no doubt; whatever else went wrong is one.
    const isAnswered = isServersWord(doubt.cause) && storeFailure(doubt.cause) !== 'UNAVAILABLE';
    if (isAnswered) return await this.recover(batch, doubt.cause, retries);

    const { committing } = doubt;
    const outcome = await this.outcomeOf(committing);
    if (outcome === 'committed') return this.answer(batch, committing.decisions, committing.versioned);
    if (outcome === 'aborted' && retries < CONFLICT_RETRIES_MAX) return await this.commit(batch, retries + 1);
    refuseAll(
      batch,
      new DomainError('STORE_UNAVAILABLE', 'the connection to the database was lost during COMMIT and the outcome is unknown', {
        metadata: { outcome: 'unknown' },
        retryAfterMs: 1_000,
        cause: doubt,
      }),
    );
  }

  private async outcomeOf({ xid, witness }: Committing): Promise<Outcome> {
    for (const pause of DOUBT_POLL_MS) {
      try {
        // On one connection, and so at one server; as two statements, for the row must be looked for after the status is known.
        const outcome = await this.orm.em.fork().transactional(async (em): Promise<Outcome | 'in progress'> => {
          const [row] = await boundQuery<{ status: Outcome | 'in progress' | null }>(em, 'select pg_xact_status($1::text::xid8) as status', [xid]);
          if (row?.status !== 'committed' || witness === null) return row?.status ?? 'unknown';
          return await testify(em, xid, witness);
        });
        if (outcome !== 'in progress') return outcome;
      } catch (error) {
        // The id is one that this server has yet to give out: a crash has lost that it ever was.
        if (codeOf(error) === INVALID_PARAMETER) return 'aborted';
        if (isServersWord(error) && storeFailure(error) !== 'UNAVAILABLE') return 'unknown';
      }
      await wait(pause);
    }
    return 'unknown';
  }

  private answer(batch: readonly Waiting[], decisions: readonly Decision[], versioned: boolean): void {
    batch.forEach((waiting, index) => waiting.settle(decisions[index]!));
    if (versioned) this.onCommit();
  }
}

type Outcome = 'committed' | 'aborted' | 'unknown';

/** Somebody of this id has committed. Whether it was the one that wrote the row, the row knows. */
async function testify(em: Pick<EntityManager, 'getKysely'>, xid: string, { table, columns, isLasting }: Witness): Promise<Outcome> {
  const same = columns.map(({ name, type }, at) => `t.${name} = $${at + 2}::text::${type}`).join(' and ');
  const found = await boundQuery(em, `select 1 from ${table} t where t.xmin = $1::text::xid8::xid and ${same}`, [xid, ...columns.map(({ value }) => value)]);
  if (found.length > 0) return 'committed';
  return isLasting ? 'aborted' : 'unknown';
}

function refuseAll(batch: readonly Waiting[], error: unknown): void {
  for (const waiting of batch) waiting.settle({ ok: false, error });
}
