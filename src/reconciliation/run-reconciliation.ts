import type { Deps } from '../payment/deps.js';
import { DomainError } from '../payment/errors.js';
import type { RequestOf } from '../payment/idempotency.js';
import { uuidv7 } from '../payment/ids.js';
import type { Actor } from '../payment/payment-log.js';
import type { PlatformName } from '../payment/platform.js';
import { Reconciliation } from './reconciliation.js';

export interface RunReconciliation {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly platform: PlatformName;
  /** Null: the default one. */
  readonly merchantAccount: string | null;
  readonly day: string;
  readonly apply: boolean;
}

export interface ReconciliationDeps extends Pick<Deps, 'orm' | 'clock' | 'platforms'> {
  /** There is something to reconcile. */
  wakeReconciliation(): void;
}

/** Leaves the run to the workers and answers with it, RUNNING; the same request is the same run. PLATFORM_NOT_CONFIGURED. */
export async function runReconciliation(deps: ReconciliationDeps, input: RunReconciliation): Promise<Reconciliation> {
  const { request, platform, day, apply, actor } = input;
  const account = input.merchantAccount ?? deps.platforms.defaultAccount(platform, null);
  const { merchantAccount } = deps.platforms.adapter(platform, account);

  const em = deps.orm.em.fork();
  const at = deps.clock.now();
  await em.execute(
    `insert into reconciliation (id, request_id, body_hash, operator, platform, merchant_account, day, apply, status, bill_rows, matched,
       finding_count, fee_total, failure, attempts, started_at)
     values (?, ?, ?, ?, ?, ?, ?, ?, 'RUNNING', 0, 0, 0, 0, '', 0, ?) on conflict (request_id) do nothing`,
    [uuidv7(at), request.requestId, request.bodyHash, actor.id, platform, merchantAccount, day, apply, at.toISOString()],
  );
  const run = await em.findOneOrFail(Reconciliation, { requestId: request.requestId });
  if (run.bodyHash !== request.bodyHash) throw reused(run, request);
  deps.wakeReconciliation();
  return run;
}

function reused(run: Reconciliation, { requestId, method }: RequestOf): DomainError {
  const startedAt = run.startedAt.toISOString();
  return new DomainError('REQUEST_ID_REUSED', `request_id ${requestId} was used at ${startedAt} for another ${method}`, {
    metadata: { request_id: requestId, method, first_request_time: startedAt, reconciliation_id: run.id },
  });
}
