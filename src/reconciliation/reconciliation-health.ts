import type { EntityManager } from '@mikro-orm/postgresql';
import type { PlatformName } from '../payment/platform.js';

export interface ReconciliationHealth {
  readonly platform: PlatformName;
  readonly merchantAccount: string;
  /** The latest day that was compared to the end, by its last run; null when none was. */
  readonly last: { readonly day: string; readonly findings: bigint; readonly endedAt: Date } | null;
  /** Runs that failed after that one. */
  readonly failed: bigint;
}

/** Of each account that has ever been reconciled. */
export async function reconciliationHealth(em: EntityManager): Promise<ReconciliationHealth[]> {
  const rows = await em.execute<{ platform: PlatformName; merchant_account: string; day: string | null; findings: string; ended: string; failed: string }[]>(
    `select account.platform, account.merchant_account, last.day, last.finding_count::text as findings, last.ended_at::text as ended,
            (select count(*)::text from reconciliation r
              where (r.platform, r.merchant_account) = (account.platform, account.merchant_account) and r.status = 'FAILED'
                and (last.id is null or r.id > last.id)) as failed
       from (select distinct platform, merchant_account from reconciliation) account
       left join lateral (
         select id, day, finding_count, ended_at from reconciliation r
          where (r.platform, r.merchant_account) = (account.platform, account.merchant_account) and r.status = 'COMPLETED'
          order by day desc, id desc limit 1) last on true
      order by 1, 2`,
  );
  return rows.map(({ platform, merchant_account: merchantAccount, day, findings, ended, failed }) => ({
    platform,
    merchantAccount,
    last: day === null ? null : { day, findings: BigInt(findings), endedAt: new Date(ended) },
    failed: BigInt(failed),
  }));
}
