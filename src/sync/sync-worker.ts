/** The service's own pace: every account's payments that came due are looked at, and the inbox is swept for what was left in it. */
import type { Logger } from '../logger.js';
import { sweepInbox } from '../notification/replay-notification.js';
import type { Deps } from '../payment/deps.js';
import { Lane } from './lane.js';

const SWEEP_MS = 30_000;

export class SyncWorker implements AsyncDisposable {
  private lanes: readonly Lane[] | null = null;
  private running: Promise<unknown> = Promise.resolve();
  private sweep: NodeJS.Timeout | null = null;
  private sweeping: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly deps: () => Deps,
    private readonly log: Logger,
  ) {}

  start(): void {
    this.running = Promise.all(this.open().map((lane) => lane.run()));
    this.sweep = setInterval(() => {
      this.sweeping = sweepInbox(this.deps()).catch((error: unknown) => this.log.error({ err: error }, 'inbox not swept'));
    }, SWEEP_MS).unref();
  }

  /** Looks now instead of when it next would. */
  wake(): void {
    for (const lane of this.lanes ?? []) lane.wake();
  }

  /** Looks at everything that is due, once. Returns how many payments that were. */
  async runOnce(): Promise<number> {
    const looked = await Promise.all(this.open().map((lane) => lane.runOnce()));
    return looked.reduce((sum, count) => sum + count, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.sweep ?? undefined);
    for (const lane of this.lanes ?? []) lane.stop();
    await Promise.all([this.running, this.sweeping]);
  }

  private open(): readonly Lane[] {
    const deps = this.deps();
    this.lanes ??= deps.platforms.all().map((adapter) => new Lane(deps, adapter, this.log));
    return this.lanes;
  }
}
