/**
 * A process that is killed in the middle of many payments at once. Every step of an operation crosses one of two seams, a unit of
 * work or a call to a platform, once on its way out and once on its way back. A payment stops for ever at the crossing it was told
 * to; when all stand where they should, the process is killed: nothing of it goes on, writes or answers any more.
 */
import type { App } from '../../src/app.js';
import { platformNumber } from '../../src/payment/ids.js';
import type { PlatformAdapter } from '../../src/payment/platform.js';
import type { Account } from '../../src/platform/accounts.js';
import type { Operation } from '../../src/store/unit-of-work.js';

/** One payment on its way through the service, known by the order of the business that it is for. */
export class Errand {
  readonly crossed: string[] = [];
  merchantOrderNo = '';
  isStopped = false;
  private readonly standing = Promise.withResolvers<void>();

  /** `stopsAt` counts crossings from 1; Infinity never stops. */
  constructor(
    readonly orderId: string,
    readonly stopsAt = Infinity,
  ) {}

  /** Until it is over, or the payment has stopped in it. */
  async through(step: Promise<unknown>): Promise<void> {
    await Promise.race([step, this.standing.promise]);
  }

  /** Whether it may go on. */
  cross(where: string): boolean {
    if (this.isStopped) return false;
    this.crossed.push(where);
    this.isStopped = this.crossed.length === this.stopsAt;
    if (this.isStopped) this.standing.resolve();
    return !this.isStopped;
  }
}

const CALLS = ['create', 'query', 'close', 'refund', 'queryRefund'] as const;
type Asked = { readonly merchantOrderNo: string } | { readonly order: { readonly merchantOrderNo: string } };

export class Crossings {
  private readonly errands: Errand[] = [];
  private readonly killed = Promise.withResolvers<never>();
  private app: App | null = null;

  constructor() {
    // Nobody may be waiting when it comes.
    this.killed.promise.catch(() => undefined);
  }

  follow(errand: Errand): void {
    this.errands.push(errand);
  }

  /** The accounts with a crossing on either side of each call. */
  watched(accounts: readonly Account[]): Account[] {
    return accounts.map((account) => ({ ...account, connect: (url) => this.watchedAdapter(account.connect(url)) }));
  }

  /** From here on its units of work are crossings, too. */
  watch(app: App): void {
    const { work } = app.deps;
    const run = work.run.bind(work);
    work.run = async <T>(operation: Operation<T>, signal?: AbortSignal): Promise<T> => {
      const errand = this.errandOf(operation);
      await this.cross(errand, 'a commit');
      const decided = await run(operation, signal);
      await this.cross(errand, 'its return');
      return decided;
    };
    this.app = app;
  }

  kill(): void {
    const killed = new Error('the process is killed');
    // What does not go through the seams, such as giving a lease back, must not happen either.
    this.app!.deps.orm.em.fork = () => {
      throw killed;
    };
    this.killed.reject(killed);
  }

  private watchedAdapter(adapter: PlatformAdapter): PlatformAdapter {
    const watched = CALLS.map((name) => {
      const call = adapter[name].bind(adapter) as (asked: Asked, options: unknown) => Promise<unknown>;
      return [
        name,
        async (asked: Asked, options: unknown): Promise<unknown> => {
          const { merchantOrderNo } = 'order' in asked ? asked.order : asked;
          const errand = this.errands.find((one) => one.merchantOrderNo === merchantOrderNo);
          await this.cross(errand, name);
          const reply = await call(asked, options);
          await this.cross(errand, `the reply to ${name}`);
          return reply;
        },
      ];
    });
    return { ...adapter, ...(Object.fromEntries(watched) as Pick<PlatformAdapter, (typeof CALLS)[number]>) };
  }

  private errandOf({ businessOrder, order, payments = [] }: Operation<unknown>): Errand | undefined {
    const merchantOrderNo = order?.merchantOrderNo ?? platformNumber(payments[0] ?? '');
    const created = this.errands.find(({ orderId }) => orderId === businessOrder?.orderId);
    if (created !== undefined) created.merchantOrderNo = merchantOrderNo;
    return created ?? this.errands.find((one) => one.merchantOrderNo === merchantOrderNo);
  }

  private async cross(errand: Errand | undefined, where: string): Promise<void> {
    if (errand !== undefined && !errand.cross(where)) await this.killed.promise;
  }
}
