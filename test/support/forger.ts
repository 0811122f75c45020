import pg from 'pg';
import { hashOf, type ChainEntry } from '../../src/payment/payment-log.js';

/** Somebody with the rights of a superuser, who rewrites the log as no service may. */
export class Forger implements AsyncDisposable {
  private constructor(private readonly client: pg.Client) {}

  static async of(databaseUrl: string): Promise<Forger> {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    return new Forger(client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.end();
  }

  /** Any statement, with every trigger of the log and the payments asleep. */
  async run(statement: string, values: unknown[] = []): Promise<void> {
    await this.unseen(() => this.client.query(statement, values));
  }

  private async unseen(work: () => Promise<unknown>): Promise<void> {
    const triggers = (verb: string): string => ['payment', 'payment_log', 'refund', 'request'].map((table) => `alter table ${table} ${verb} trigger all`).join('; ');
    await this.client.query(`begin; ${triggers('disable')}`);
    await work();
    await this.client.query(`${triggers('enable')}; commit`);
  }

  async setEntry(paymentId: string, seq: number, column: string, value: unknown): Promise<void> {
    await this.run(`update payment_log set ${column} = $3 where payment_id = $1 and seq = $2`, [paymentId, seq, value]);
  }

  /** Rewrites an entry and everything that its hash goes into: the chain holds afterwards. */
  async rewrite(paymentId: string, seq: number, column: string, value: unknown): Promise<void> {
    await this.setEntry(paymentId, seq, column, value);
    const { rows } = await this.client.query<Record<string, never>>('select * from payment_log where payment_id = $1 order by seq', [paymentId]);
    let prevHash: string | null = null;
    await this.unseen(async () => {
      for (const row of rows) {
        const entry: Omit<ChainEntry, 'hash'> = {
          paymentId: row['payment_id']!, seq: row['seq']!, version: row['version']!, kind: row['kind']!, actorType: row['actor_type']!, actorId: row['actor_id']!,
          source: row['source']!, prevStatus: row['prev_status']!, status: row['status']!, refundId: row['refund_id']!, reason: row['reason']!,
          errorCode: row['error_code']!, errorMessage: row['error_message']!, evidence: row['evidence']!, occurredAt: row['occurred_at']!, recordedAt: row['recorded_at']!, prevHash,
        };
        const hash = hashOf(entry);
        await this.client.query('update payment_log set prev_hash = $3, hash = $4 where payment_id = $1 and seq = $2', [paymentId, entry.seq, prevHash, hash]);
        prevHash = hash;
      }
      await this.client.query('update payment set log_hash = $2 where id = $1', [paymentId, prevHash]);
    });
  }

  /** Cuts the newest entries off and makes the payment agree. */
  async truncate(paymentId: string, seq: number): Promise<void> {
    await this.run('delete from payment_log where payment_id = $1 and seq > $2', [paymentId, seq]);
    await this.run(
      `update payment p set log_seq = l.seq, log_hash = l.hash, status = l.status,
              version = (select max(version) from payment_log v where v.payment_id = p.id)
         from payment_log l where l.payment_id = p.id and l.seq = $2 and p.id = $1`,
      [paymentId, seq],
    );
  }

  async deletePayment(paymentId: string): Promise<void> {
    for (const [table, column] of [['payment_log', 'payment_id'], ['payment_sync', 'payment_id'], ['request', 'payment_id'], ['payment', 'id']]) {
      await this.run(`delete from ${table} where ${column} = $1`, [paymentId]);
    }
  }
}
