import type pg from 'pg';
import { defineConfig, MikroORM, type Options } from '@mikro-orm/postgresql';
import { Migrator } from '@mikro-orm/migrations';
import { NotificationSchema } from '../notification/notification.js';
import { PaidOrderSchema } from '../payment/paid-order.js';
import { PaymentSchema } from '../payment/payment.js';
import { PaymentLogEntrySchema } from '../payment/payment-log.js';
import { RequestRecordSchema } from '../payment/request-record.js';
import { ReconciliationFindingSchema, ReconciliationSchema } from '../reconciliation/reconciliation.js';
import { RefundSchema } from '../refund/refund.js';
import { Core20261124 } from './migrations/20261124_core.js';
import { Platforms20261125 } from './migrations/20261125_platforms.js';
import { Sync20261126 } from './migrations/20261126_sync.js';
import { Reconciliation20261126 } from './migrations/20261126_reconciliation.js';
import { Insight20261126 } from './migrations/20261126_insight.js';
import { FeedRetention20261127 } from './migrations/20261127_feed_retention.js';

/** Write time-outs are fixed: a batch serves many callers and is never cut short for one of them. */
const STATEMENT_TIMEOUT_MS = 10_000;
const LOCK_TIMEOUT_MS = 3_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000;
const CONNECT_TIMEOUT_MS = 5_000;
const RECLAIM_AFTER_MS = 250;

export function ormConfig(databaseUrl: string, poolMax = 10): Options {
  return defineConfig({
    clientUrl: databaseUrl,
    entities: [
      PaymentSchema,
      RefundSchema,
      PaymentLogEntrySchema,
      RequestRecordSchema,
      PaidOrderSchema,
      NotificationSchema,
      ReconciliationSchema,
      ReconciliationFindingSchema,
    ],
    extensions: [Migrator],
    migrations: {
      migrationsList: [
        { name: '20261124_core', class: Core20261124 },
        { name: '20261125_platforms', class: Platforms20261125 },
        { name: '20261126_sync', class: Sync20261126 },
        { name: '20261126_reconciliation', class: Reconciliation20261126 },
        { name: '20261126_insight', class: Insight20261126 },
        { name: '20261127_feed_retention', class: FeedRetention20261127 },
      ],
      tableName: 'migration',
      transactional: true,
      allOrNothing: true,
      snapshot: false,
      silent: true,
    },
    pool: { min: 0, max: poolMax, idleTimeoutMillis: 30_000 },
    driverOptions: {
      application_name: 'paystate',
      statement_timeout: STATEMENT_TIMEOUT_MS,
      lock_timeout: LOCK_TIMEOUT_MS,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      onPoolCreated: reclaimBrokenConnections,
    },
    forceUtcTimezone: true,
    timezone: 'Z',
    flushMode: 'commit',
    // Safe here because the unit of work, the only writer, has locked every row that it updates in the same transaction;
    // without those locks batched updates lose changes silently.
    useBatchUpdates: true,
    discovery: { checkDuplicateTableNames: false },
    debug: false,
    logger: () => undefined,
  }) as Options;
}

/**
 * A transaction whose COMMIT or ROLLBACK fails with its connection never gives the connection back: Kysely's controlled
 * transaction releases it only on success. Each such loss would cost the pool a place for ever, and closing it would wait.
 */
function reclaimBrokenConnections(pool: pg.Pool): void {
  const inUse = new Set<pg.PoolClient>();
  pool.on('acquire', (client) => void inUse.add(client));
  pool.on('release', (_error, client) => void inUse.delete(client));
  pool.on('connect', (client) => {
    client.once('end', () => {
      // Whoever holds it may still be about to release it in the ordinary way.
      setTimeout(() => {
        if (inUse.delete(client)) client.release(true);
      }, RECLAIM_AFTER_MS).unref();
    });
  });
}

export async function openOrm(databaseUrl: string, poolMax?: number): Promise<MikroORM> {
  return await MikroORM.init(ormConfig(databaseUrl, poolMax));
}
