/** Works off the runs that were asked for, one at a time, and takes over those whose worker is gone. Any number of replicas may. */
import type { Logger } from '../logger.js';
import type { Deps } from '../payment/deps.js';
import { Lease, LeaseLost } from './lease.js';
import { reconcile } from './reconcile.js';

const POLL_MS = 5_000;
/** Large enough to make round trips cheap, small enough to make memory so. */
const CHUNK_ROWS = 2_000;

export class ReconciliationWorker implements AsyncDisposable {
  private readonly stopping = new AbortController();
  private wakeUp: () => void = () => undefined;
  private loop: Promise<void> = Promise.resolve();

  constructor(
    private readonly deps: () => Deps,
    private readonly log: Logger,
    private readonly chunkRows = CHUNK_ROWS,
  ) {}

  start(): void {
    this.loop = this.run();
  }

  /** Looks now instead of at the next poll. */
  wake(): void {
    this.wakeUp();
  }

  /** Works at one run, if there is any; answers whether there was. */
  async runOnce(): Promise<boolean> {
    const lease = await Lease.claim(this.deps());
    if (lease === null) return false;
    await this.work(lease);
    return true;
  }

  /** A run under way is given back between two chunks. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stopping.abort(new Error('the service is stopping'));
    this.wake();
    await this.loop;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.wakeUp = resolve;
      });
      const found = await this.runOnce().catch((error: unknown) => {
        this.log.error({ err: error }, 'reconciliation worker could not claim');
        return false;
      });
      if (!found && !this.stopping.signal.aborted) await Promise.race([woken, pause()]);
    }
  }

  private async work(lease: Lease): Promise<void> {
    const lost = new AbortController();
    const signal = AbortSignal.any([this.stopping.signal, lost.signal]);
    using _alive = lease.keepAlive(() => lost.abort(new LeaseLost('the run was taken over')));
    try {
      await reconcile(this.deps(), lease, { signal, chunkRows: this.chunkRows });
    } catch (error) {
      const about = { err: error, reconciliation_id: lease.run.id, attempts: lease.run.attempts };
      if (error instanceof LeaseLost) return this.log.warn(about, 'a reconciliation was taken over');
      if (this.stopping.signal.aborted) return await lease.release();
      // Begun again when the lease has run out.
      this.log.error(about, 'a reconciliation could not go on');
    }
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, POLL_MS + Math.random() * 500).unref();
  });
}
