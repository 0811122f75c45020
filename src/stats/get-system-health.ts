import type { Deps } from '../payment/deps.js';
import { storeUnavailable } from '../store/store-failure.js';
import type { NotificationStatus } from '../notification/notification.js';
import type { PaymentStatus } from '../payment/payment-status.js';
import type { PlatformName } from '../payment/platform.js';
import { reconciliationHealth, type ReconciliationHealth } from '../reconciliation/reconciliation-health.js';
import type { RefundStatus } from '../refund/refund-status.js';
import { openRefunds, unsettledPayments, type Unsettled } from './unsettled.js';

export interface SystemHealth {
  readonly databaseLatencyMs: number;
  readonly databaseVersion: string;
  readonly platforms: readonly { readonly platform: PlatformName; readonly merchantAccount: string; readonly openCircuits: readonly string[] }[];
  readonly sync: { readonly waiting: bigint; readonly due: bigint; readonly oldestDueAt: Date | null };
  readonly unsettled: readonly Unsettled<PaymentStatus>[];
  readonly openRefunds: readonly Unsettled<RefundStatus>[];
  readonly reconciliations: readonly ReconciliationHealth[];
  readonly inbox: readonly { readonly status: NotificationStatus; readonly count: bigint }[];
  /** Words that nobody has mapped, newest first. */
  readonly unmappedWords: readonly { readonly platform: PlatformName; readonly word: string; readonly count: bigint; readonly last: Date }[];
}

const UNMAPPED_MAX = 100;

/** What an operator looks at first. STORE_UNAVAILABLE when the database does not answer. */
export async function getSystemHealth(deps: Pick<Deps, 'orm' | 'clock' | 'platforms'>): Promise<SystemHealth> {
  const em = deps.orm.em.fork();
  const now = deps.clock.now();
  const started = performance.now();
  const [version] = await em.execute<[{ version: string }]>("select current_setting('server_version') as version").catch((error: unknown) => {
    throw storeUnavailable(error);
  });
  const databaseLatencyMs = performance.now() - started;

  const [sync] = await em.execute<[{ waiting: string; due: string; oldest: string | null }]>(
    `select count(*)::text as waiting, count(*) filter (where due_at <= ?)::text as due, min(due_at)::text as oldest from payment_sync`,
    [now.toISOString()],
  );
  const inbox = await em.execute<{ status: NotificationStatus; count: string }[]>(
    `select status, count(*)::text as count from notification group by 1 order by 1`,
  );
  const unmapped = await em.execute<{ platform: PlatformName; word: string; count: string; last: string }[]>(
    `select platform, evidence ->> 'word' as word, count(*)::text as count, max(recorded_at)::text as last from payment_log
      where evidence ->> 'class' = 'UNMAPPED' group by 1, 2 order by max(recorded_at) desc limit ${UNMAPPED_MAX}`,
  );

  return {
    databaseLatencyMs,
    databaseVersion: version.version,
    platforms: deps.platforms.all().map(({ platform, merchantAccount, openCircuits = [] }) => ({ platform, merchantAccount, openCircuits })),
    sync: {
      waiting: BigInt(sync.waiting),
      due: BigInt(sync.due),
      oldestDueAt: sync.oldest === null ? null : new Date(sync.oldest),
    },
    unsettled: await unsettledPayments(em, now),
    openRefunds: await openRefunds(em, now),
    reconciliations: await reconciliationHealth(em),
    inbox: inbox.map((row) => ({ ...row, count: BigInt(row.count) })),
    unmappedWords: unmapped.map((row) => ({ ...row, count: BigInt(row.count), last: new Date(row.last) })),
  };
}
