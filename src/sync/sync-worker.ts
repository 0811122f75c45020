/**
 * The service's own pace: payments that came due are claimed in small batches by any number of replicas and looked at. A claim is
 * a due time moved ahead; a process that dies leaves it to expire. Claims live in their own table, never on the payment row.
 */
import type { Logger } from '../logger.js';
import { sweepInbox } from '../notification/replay-notification.js';
import type { Deps } from '../payment/deps.js';
import { isOverdue, nextLook } from './schedule.js';
import { syncPayment } from './sync-payment.js';

const CLAIM_MAX = 32;
const CONCURRENCY = 8;
const LEASE_MS = 60_000;
const POLL_MS = 1_000;
const SWEEP_MS = 30_000;

interface Claim {
  readonly payment_id: string;
  readonly attempts: number;
}

export class SyncWorker implements AsyncDisposable {
  private stopped = false;
  private sweptAt = 0;
  private wakeUp: () => void = () => undefined;
  private loop: Promise<void> | null = null;

  constructor(
    private readonly deps: () => Deps,
    private readonly log: Logger,
  ) {}

  start(): void {
    this.loop = this.run();
  }

  /** Looks now instead of at the next poll. */
  wake(): void {
    this.wakeUp();
  }

  /** Looks at everything that is due, once. Returns how many payments that were. */
  async runOnce(): Promise<number> {
    const claims = await this.claim();
    const queue = [...claims];
    const workers = Array.from({ length: Math.min(CONCURRENCY, queue.length) }, async () => {
      for (let claim = queue.shift(); claim !== undefined; claim = queue.shift()) await this.work(claim);
    });
    await Promise.all(workers);
    return claims.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopped = true;
    this.wake();
    await this.loop;
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      const woken = new Promise<void>((resolve) => {
        this.wakeUp = resolve;
      });
      const found = await this.runOnce().catch((error: unknown) => {
        this.log.error({ err: error }, 'sync worker could not claim');
        return 0;
      });
      await this.sweep().catch((error: unknown) => this.log.error({ err: error }, 'inbox not swept'));
      if (found < CLAIM_MAX && !this.stopped) await Promise.race([woken, this.pause()]);
    }
  }

  private async sweep(): Promise<void> {
    const now = this.deps().clock.now().getTime();
    if (Math.abs(now - this.sweptAt) < SWEEP_MS) return;
    this.sweptAt = now;
    await sweepInbox(this.deps());
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      setTimeout(resolve, POLL_MS + Math.random() * 100).unref();
    });
  }

  private async claim(): Promise<Claim[]> {
    const { orm, clock } = this.deps();
    const now = clock.now();
    const lease = new Date(now.getTime() + LEASE_MS).toISOString();
    return await orm.em.fork().execute<Claim[]>(
      `update payment_sync set due_at = ?, lease_until = ?
        where payment_id in (select payment_id from payment_sync where due_at <= ? order by due_at limit ${CLAIM_MAX}
                               for update skip locked)
        returning payment_id, attempts`,
      [lease, lease, now.toISOString()],
    );
  }

  private async work(claim: Claim): Promise<void> {
    const { payment_id: id, attempts } = claim;
    const { clock } = this.deps();
    let next: Date | null;
    try {
      const seen = await syncPayment(this.deps(), id);
      for (const refund of seen?.refunds ?? []) {
        if (!isOverdue(refund, clock.now())) continue;
        const { id: refund_id, status, failureCode, createdAt } = refund;
        this.log.warn({ payment_id: id, refund_id, status, code: failureCode, since: createdAt }, 'a refund is still open; its reservation is held');
      }
      next = seen === null ? null : (nextLook(seen.payment, seen.refunds, attempts, clock.now())?.at ?? null);
    } catch (error) {
      this.log.warn({ err: error, payment_id: id }, 'sync of a payment failed');
      next = new Date(clock.now().getTime() + 5_000 * 2 ** Math.min(attempts, 6));
    }
    await this.release(id, next).catch((error: unknown) => this.log.error({ err: error, payment_id: id }, 'sync lease not released'));
  }

  /** A due time that was moved meanwhile, by news about the payment, stays as it is. */
  private async release(id: string, next: Date | null): Promise<void> {
    const em = this.deps().orm.em.fork();
    if (next === null) {
      await em.execute('delete from payment_sync where payment_id = ? and due_at = lease_until', [id]);
      return;
    }
    await em.execute(
      `update payment_sync set due_at = case when due_at = lease_until then ? else due_at end, lease_until = null,
         attempts = attempts + 1 where payment_id = ?`,
      [next.toISOString(), id],
    );
  }
}
