/**
 * The schedule of one account: what is due is claimed as fast as it can be looked at, and no faster than the platform can be asked.
 * Every account has a lane of its own, so that the backlog of one never keeps another waiting.
 */
import type { Logger } from '../logger.js';
import type { Deps } from '../payment/deps.js';
import { Payment } from '../payment/payment.js';
import type { PlatformAdapter } from '../payment/platform.js';
import { Refund } from '../refund/refund.js';
import { bringForward, claimDue, nextDueAt, release, type Claim, type Release } from './claims.js';
import { isOverdue, nextLook, spread } from './schedule.js';
import { syncPayment } from './sync-payment.js';

/** Looked at at a time. */
const IN_HAND_MAX = 128;
/** The room that must be free before more is claimed: small claims cost as much as large ones. */
const CLAIM_MIN = 32;
/** Nothing came due by what was known; another process may know more. */
const SLEEP_MAX_MS = 5_000;
const SLEEP_MIN_MS = 20;
/** After a look that failed in our own code or database, doubling. */
const FAILED_MS = 5_000;
/** What a clock may go back when it is put right as it runs. */
const CLOCK_BACK_MS = 1_000;
/** Where nobody could be asked: the lane pauses, and these come again within a few of its pauses; later what was marked as being sent. */
const HELD_BACK_MS = 1_000;

export class Lane {
  private stopped = false;
  private wakeUp: () => void = () => undefined;
  private inHand = 0;
  private pausedUntil = 0;
  private sleepsUntil = new Date(0);
  private lastSeen = new Date(0);
  private releases: Release[] = [];
  private releasing: Promise<void> = Promise.resolve();

  constructor(
    private readonly deps: Deps,
    private readonly adapter: PlatformAdapter,
    private readonly log: Logger,
  ) {}

  wake(): void {
    this.wakeUp();
  }

  stop(): void {
    this.stopped = true;
    this.wakeUp();
  }

  /** Until it is stopped, and then until nothing is in hand. */
  async run(): Promise<void> {
    const looks = new Set<Promise<void>>();
    while (!this.stopped) {
      const woken = new Promise<void>((resolve) => (this.wakeUp = resolve));
      const isPaused = performance.now() < this.pausedUntil;
      const claims = isPaused ? [] : await this.claim().catch((error: unknown) => this.failedToClaim(error));
      for (const claim of claims) {
        const look: Promise<void> = this.lookAt(claim).finally(() => looks.delete(look));
        looks.add(look);
      }
      if (IN_HAND_MAX - this.inHand < CLAIM_MIN) await Promise.race([...looks]);
      else if (claims.length === 0) await Promise.race([woken, this.sleep()]);
    }
    await Promise.all(looks);
    await this.releasing;
  }

  /** Looks at everything that is due, once. Answers how many payments that were. */
  async runOnce(): Promise<number> {
    const claims = await this.claim();
    await Promise.all(claims.map((claim) => this.lookAt(claim)));
    await this.releasing;
    return claims.length;
  }

  private async claim(): Promise<Read[]> {
    const room = IN_HAND_MAX - this.inHand;
    if (room < CLAIM_MIN) return [];
    const { orm, clock } = this.deps;
    const now = clock.now();
    await this.heed(now);
    const claims = await claimDue(orm, this.adapter, now, room);
    if (claims.length === 0) return [];

    this.inHand += claims.length;
    try {
      return await this.read(claims);
    } catch (error) {
      this.inHand -= claims.length;
      throw error;
    }
  }

  /** A clock that goes back would keep everything waiting for as long as it went. */
  private async heed(now: Date): Promise<void> {
    const byMs = this.lastSeen.getTime() - now.getTime();
    if (byMs > CLOCK_BACK_MS) {
      this.log.warn({ by_ms: byMs }, 'the clock went back; what is scheduled is brought forward');
      await bringForward(this.deps.orm, this.adapter, now, byMs);
    }
    this.lastSeen = now;
  }

  /** The payments of a claim and their refunds, each by one query. */
  private async read(claims: readonly Claim[]): Promise<Read[]> {
    const em = this.deps.orm.em.fork();
    const ids = claims.map(({ paymentId }) => paymentId);
    const payments = new Map((await em.find(Payment, { id: { $in: ids } })).map((payment) => [payment.id, payment]));
    const refunds = Map.groupBy(await em.find(Refund, { paymentId: { $in: ids } }, { orderBy: { id: 'asc' } }), ({ paymentId }) => paymentId);
    return claims.map((claim) => ({ claim, payment: payments.get(claim.paymentId)!, refunds: refunds.get(claim.paymentId) ?? [] }));
  }

  private async lookAt({ claim, payment, refunds }: Read): Promise<void> {
    const { clock } = this.deps;
    try {
      const looked = await syncPayment(this.deps, { payment, refunds });
      if (looked.heldBack) this.pause();
      const next = looked.heldBack
        ? new Date(clock.now().getTime() + spread(HELD_BACK_MS))
        : nextLook({ ...looked, attempts: claim.attempts, now: clock.now() }, this.adapter.paces);
      this.warnOfOverdue(looked.refunds);
      this.giveBack({ claim, next, askedAt: looked.heldBack ? null : clock.now() });
    } catch (error) {
      this.log.warn({ err: error, payment_id: claim.paymentId }, 'sync of a payment failed');
      const next = new Date(clock.now().getTime() + spread(FAILED_MS * 2 ** Math.min(claim.attempts, 6)));
      this.giveBack({ claim, next, askedAt: clock.now() });
    } finally {
      this.inHand -= 1;
    }
  }

  private warnOfOverdue(refunds: readonly Refund[]): void {
    for (const refund of refunds) {
      if (!isOverdue(refund, this.deps.clock.now())) continue;
      const { id: refund_id, paymentId: payment_id, status, failureCode: code, createdAt: since } = refund;
      this.log.warn({ payment_id, refund_id, status, code, since }, 'a refund is still open; its reservation is held');
    }
  }

  private pause(): void {
    this.pausedUntil = performance.now() + spread(HELD_BACK_MS / 2);
  }

  /** What ends in one turn of the event loop is given back by one statement. */
  private giveBack(one: Release): void {
    this.releases.push(one);
    if (this.releases.length > 1) return;
    const before = this.releasing;
    this.releasing = new Promise<void>((resolve) => setImmediate(resolve)).then(async () => {
      const releases = this.releases.splice(0);
      // A claim that could not be given back comes due again when its lease is over.
      await release(this.deps.orm, releases).catch((error: unknown) => this.log.error({ err: error, count: releases.length }, 'sync leases not given back'));
      if (releases.some(({ next }) => next !== null && next < this.sleepsUntil)) this.wakeUp();
      await before;
    });
  }

  private failedToClaim(error: unknown): Read[] {
    this.log.error({ err: error }, 'sync worker could not claim');
    this.pause();
    return [];
  }

  private async sleep(): Promise<void> {
    const paused = this.pausedUntil - performance.now();
    const due = await nextDueAt(this.deps.orm, this.adapter).catch(() => null);
    const untilDue = due === null ? SLEEP_MAX_MS : due.getTime() - this.deps.clock.now().getTime();
    const ms = Math.max(paused, Math.min(SLEEP_MAX_MS, Math.max(SLEEP_MIN_MS, untilDue)));
    this.sleepsUntil = new Date(this.deps.clock.now().getTime() + ms);
    await new Promise((resolve) => setTimeout(resolve, ms).unref());
  }
}

interface Read {
  readonly claim: Claim;
  readonly payment: Payment;
  readonly refunds: readonly Refund[];
}
