/** Delivers notifications over real HTTP by a platform's schedule, until the exact acknowledgement comes. */
export interface Delivery {
  readonly id: string;
  readonly url: string;
  readonly body: string;
  readonly contentType: string;
}

export interface Attempt {
  readonly id: string;
  /** Null: no answer. */
  readonly status: number | null;
  readonly reply: string;
  readonly acknowledged: boolean;
}

const ANSWER_MAX_MS = 10_000;

export class Notifier {
  readonly attempts: Attempt[] = [];
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly waiting: (() => void)[] = [];
  private underWay = 0;
  private stopped = false;

  constructor(
    private readonly schedule: { readonly gapsMs: readonly number[]; isAcknowledged(status: number, reply: string): boolean },
  ) {}

  deliver(delivery: Delivery, attempt = 0): void {
    if (this.stopped) return;
    this.underWay += 1;
    void this.post(delivery)
      .then((result) => {
        this.attempts.push(result);
        if (!result.acknowledged) this.later(delivery, attempt);
      })
      .finally(() => {
        this.underWay -= 1;
        if (this.underWay === 0) for (const resolve of this.waiting.splice(0)) resolve();
      });
  }

  /** Resolves once no delivery is under way; repetitions that are only scheduled do not count. */
  async idle(): Promise<void> {
    if (this.underWay > 0) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    for (const timer of this.timers) clearTimeout(timer);
    await this.idle();
  }

  private later(delivery: Delivery, attempt: number): void {
    const gap = this.schedule.gapsMs[attempt];
    if (gap === undefined || this.stopped) return;
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      this.deliver(delivery, attempt + 1);
    }, gap).unref();
    this.timers.add(timer);
  }

  private async post({ id, url, body, contentType }: Delivery): Promise<Attempt> {
    try {
      const signal = AbortSignal.timeout(ANSWER_MAX_MS);
      const response = await fetch(url, { method: 'POST', headers: { 'content-type': contentType }, body, redirect: 'manual', signal });
      const reply = await response.text();
      return { id, status: response.status, reply, acknowledged: this.schedule.isAcknowledged(response.status, reply) };
    } catch {
      return { id, status: null, reply: '', acknowledged: false };
    }
  }
}
