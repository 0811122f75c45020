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
}

const SETTLE_MAX_MS = 120_000;

/** In hand are the leases of the living, as long as no news has moved them: what a killed service held comes due when its lease is over. */
const DUE = `select count(*)::text as due from payment_sync where due_at <= $1 or (due_at = lease_until and lease_until > $2)`;

export class Passing {
  constructor(private readonly parts: PassingParts) {}

  /** After each step, what came due by the service's clock has been looked at, and what was notified has arrived. */
  async letPass(stepsMs: readonly number[]): Promise<void> {
    const { service, simulators, say } = this.parts;
    const controls = [simulators.alipay.control, simulators.wechatpay.control, simulators.unionpay.control];
    for (const stepMs of stepsMs) {
      for (const control of controls) control.advanceClock(stepMs);
      service.advance(stepMs);
      const left = await untilNothingIsDue(service);
      for (const control of controls) await control.idle();
      if (left > 0) say(`${left} payments are still due ${service.aheadMs / 60_000} minutes on`);
    }
  }
}

async function untilNothingIsDue(service: Service): Promise<number> {
  const began = performance.now();
  for (;;) {
    const left = await dueOf(service).catch(() => Infinity);
    if (left === 0 || performance.now() - began > SETTLE_MAX_MS) return left;
    service.advance(0);
    await wait(100);
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
