/** The clocks of the service and the platforms, which run on together. */
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import type { Simulators } from '../../src/simulator/simulators.js';
import { LEASE_MS } from '../../src/sync/claims.js';
import type { Service } from './service.js';

export interface PassingParts {
  readonly service: Service;
  readonly simulators: Simulators;
  readonly say: (line: string) => void;
  readonly onLook: () => void;
}

/** In trouble the clocks run on over what is not yet done; in peace it has to be done. */
const TROUBLE_MAX_MS = 8_000;
const PEACE_MAX_MS = 300_000;

/** In hand are the leases of the living, as long as no news has moved them: what a killed service held comes due when its lease is over. */
const DUE = `select count(*)::text as due from payment_sync where due_at <= $1 or (due_at = lease_until and lease_until > $2)`;

export class Passing {
  constructor(private readonly parts: PassingParts) {}

  async letPassInTrouble(stepsMs: readonly number[]): Promise<void> {
    for (const stepMs of stepsMs) await this.step(stepMs, TROUBLE_MAX_MS);
  }

  /** After each step, what came due by the service's clock has been looked at, and what was notified has arrived. */
  async letPassInPeace(stepsMs: readonly number[]): Promise<void> {
    const { service, simulators, say } = this.parts;
    for (const stepMs of stepsMs) {
      const left = await this.step(stepMs, PEACE_MAX_MS);
      for (const { control } of [simulators.alipay, simulators.wechatpay, simulators.unionpay]) await control.idle();
      if (left > 0) say(`${left} payments are still due ${service.aheadMs / 60_000} minutes on`);
    }
  }

  private async step(stepMs: number, waitMaxMs: number): Promise<number> {
    const { service, simulators, onLook } = this.parts;
    for (const { control } of [simulators.alipay, simulators.wechatpay, simulators.unionpay]) control.advanceClock(stepMs);
    service.advance(stepMs);
    const began = performance.now();
    for (;;) {
      const left = await dueOf(service).catch(() => Infinity);
      if (left === 0 || performance.now() - began > waitMaxMs) return left;
      service.advance(0);
      onLook();
      await wait(100);
    }
  }
}

/** The database may be crashing meanwhile. */
async function dueOf(service: Service): Promise<number> {
  const client = new pg.Client(service.databaseUrl);
  client.on('error', () => undefined);
  try {
    await client.connect();
    const values = [new Date(service.now()), new Date(service.startedAt + LEASE_MS)];
    const { rows } = await client.query<{ due: string }>(DUE, values);
    return Number(rows[0]!.due);
  } finally {
    await client.end();
  }
}
