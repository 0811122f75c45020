/** What the store holds and what the service counts, read beside the service's own code. */
import pg from 'pg';
import type { TestApp } from '../support/app.js';

export interface Recorded {
  /** Of every payment and refund by its id: its status, and what else would show that it was touched. */
  readonly states: ReadonlyMap<string, string>;
  readonly verified: bigint;
  readonly inQuarantine: bigint;
  readonly refused: bigint;
  readonly quarantined: bigint;
}

export interface Records extends AsyncDisposable {
  read(): Promise<Recorded>;
}

export async function openRecords({ app, operations }: TestApp): Promise<Records> {
  const client = new pg.Client(app.databaseUrl);
  await client.connect();
  return {
    async read() {
      const { rows: states } = await client.query<{ id: string; state: string }>(
        `select id::text, concat_ws(' ', status, version, log_seq, paid_amount, refunded_amount, reserved_amount, flags) as state from payment
         union all select id::text, concat_ws(' ', status, attempts, retry, updated_at) from refund`,
      );
      const { rows } = await client.query<{ verified: string; quarantined: string }>(
        `select coalesce(sum(deliveries) filter (where status <> 'QUARANTINED'), 0)::text as verified,
           coalesce(sum(deliveries) filter (where status = 'QUARANTINED'), 0)::text as quarantined from notification`,
      );
      const { entrance } = await operations.getSystemHealth({});
      return {
        states: new Map(states.map(({ id, state }) => [id, state])),
        verified: BigInt(rows[0]!.verified),
        inQuarantine: BigInt(rows[0]!.quarantined),
        refused: entrance!.refused,
        quarantined: entrance!.quarantined,
      };
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
