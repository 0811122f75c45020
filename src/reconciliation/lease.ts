/**
 * The right of one replica to work at one run. It lasts a minute and is renewed while the work goes on; whoever finds it expired takes
 * the run over. Every write of a run asks for the right in its own transaction, so that a worker that was only slow, and not dead,
 * writes nothing beside its successor.
 */
import { randomUUID } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Deps } from '../payment/deps.js';
import { Reconciliation } from './reconciliation.js';

const LEASE_MS = 60_000;
const RENEW_MS = 15_000;
/** A bill may have a million rows to forget at once. */
const STATEMENT_MAX_MS = 120_000;

/** Another worker has taken the run over. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

export type LeaseDeps = Pick<Deps, 'orm' | 'clock' | 'platforms'>;

export class Lease {
  private constructor(
    private readonly deps: LeaseDeps,
    private readonly holder: string,
    /** As it was when it was claimed. */
    readonly run: Reconciliation,
  ) {}

  /** The oldest run that nobody works at, of an account that is configured here. */
  static async claim(deps: LeaseDeps): Promise<Lease | null> {
    const accounts = deps.platforms.all();
    if (accounts.length === 0) return null;
    const [holder, now] = [randomUUID(), deps.clock.now()];
    const em = deps.orm.em.fork();
    const [claimed] = await em.execute<{ id: string }[]>(
      `update reconciliation set lease_holder = ?, lease_until = ?, attempts = attempts + 1
        where id = (select id from reconciliation where status = 'RUNNING' and (lease_until is null or lease_until <= ?)
                       and (platform, merchant_account) in (${accounts.map(() => '(?, ?)').join(', ')})
                      order by id limit 1 for update skip locked)
        returning id`,
      [holder, expiry(now), now.toISOString(), ...accounts.flatMap(({ platform, merchantAccount }) => [platform, merchantAccount])],
    );
    return claimed === undefined ? null : new Lease(deps, holder, await em.findOneOrFail(Reconciliation, { id: claimed.id }));
  }

  /** Writes of the run, in one transaction; LeaseLost when it is somebody else's by now. */
  async write<T>(work: (em: EntityManager) => Promise<T>): Promise<T> {
    return await this.deps.orm.em.fork().transactional(async (em) => {
      await em.execute(`set local statement_timeout = ${STATEMENT_MAX_MS}`);
      const held = await em.execute<unknown[]>(
        `select 1 from reconciliation where id = ? and lease_holder = ? and status = 'RUNNING' for no key update`,
        [this.run.id, this.holder],
      );
      if (held.length === 0) throw new LeaseLost(`reconciliation ${this.run.id} was taken over`);
      return await work(em);
    });
  }

  /** Renews the lease until it is disposed of. `onLost` is called when somebody else has it. */
  keepAlive(onLost: () => void): Disposable {
    const timer = setInterval(() => {
      // One that fails is tried again: while the database is away, or the run is being written, nobody takes it over either.
      this.renew().then((isHeld) => void (isHeld || onLost()), () => undefined);
    }, RENEW_MS).unref();
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  /** Gives the run back unfinished, to be taken up by anybody at once. */
  async release(): Promise<void> {
    await this.deps.orm.em.fork().execute(
      'update reconciliation set lease_holder = null, lease_until = null, attempts = attempts - 1 where id = ? and lease_holder = ?',
      [this.run.id, this.holder],
    );
  }

  private async renew(): Promise<boolean> {
    const renewed = await this.deps.orm.em.fork().execute<unknown[]>(
      'update reconciliation set lease_until = ? where id = ? and lease_holder = ? returning id',
      [expiry(this.deps.clock.now()), this.run.id, this.holder],
    );
    return renewed.length > 0;
  }
}

const expiry = (now: Date): string => new Date(now.getTime() + LEASE_MS).toISOString();
