/** A reconciliation from the command line: started, waited for, and told as lines. */
import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import {
  FindingKind,
  GetReconciliationRequest,
  OperationsServiceClient,
  ReconciliationStatus,
  type GetReconciliationResponse,
  type Reconciliation,
  type ReconciliationFinding,
} from '../gen/payment/v1/operations_service.js';
import { Platform } from '../gen/payment/v1/payment.js';
import { ApplyOutcome } from '../gen/payment/v1/payment_service.js';
import { PLATFORMS } from '../payment/platform.js';
import { explain } from './call.js';
import { promised, type Promised } from './promised.js';

export interface ReconcileOptions {
  readonly platform: string;
  readonly day: string;
  readonly account: string;
  readonly apply: boolean;
  readonly address: string;
}

const DEADLINE_MS = 15_000;
const POLL_MS = 500;
const PAGE_SIZE = 500;

/** What the process ends with: 0 the bill and the records agree, 1 they do not, 2 nobody can tell. */
export async function reconcileDay(options: ReconcileOptions): Promise<0 | 1 | 2> {
  const client = new OperationsServiceClient(options.address, grpc.credentials.createInsecure());
  const failure = (error: grpc.ServiceError): Error => new Error(explain(error), { cause: error });
  try {
    const operations = promised(client, { deadlineMs: DEADLINE_MS, failure });
    const run = await finished(operations, await started(operations, options));
    const findings = await print(operations, run);
    if (run.status === ReconciliationStatus.RECONCILIATION_STATUS_FAILED) return 2;
    return findings === 0 ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 2;
  } finally {
    client.close();
  }
}

type Operations = Promised<OperationsServiceClient>;

async function started(operations: Operations, { platform, account: merchantAccount, day, apply }: ReconcileOptions): Promise<string> {
  const name = PLATFORMS.find((one) => one === platform.toUpperCase());
  if (name === undefined) throw new Error(`there is no platform ${platform}; there are ${PLATFORMS.join(', ').toLowerCase()}`);
  const request = { requestId: randomUUID(), platform: Platform[`PLATFORM_${name}`], merchantAccount, day, apply };
  const { reconciliation } = await operations.runReconciliation(request);
  say(`reconciliation ${reconciliation!.reconciliationId}: ${name} ${reconciliation!.merchantAccount}, ${day}${apply ? ', findings are applied' : ''}`);
  return reconciliation!.reconciliationId;
}

async function finished(operations: Operations, reconciliationId: string): Promise<Reconciliation> {
  for (;;) {
    const { reconciliation } = await page(operations, reconciliationId, { size: 1, token: '' });
    if (reconciliation!.status !== ReconciliationStatus.RECONCILIATION_STATUS_RUNNING) return reconciliation!;
    await wait(POLL_MS);
  }
}

async function print(operations: Operations, run: Reconciliation): Promise<number> {
  let count = 0;
  for (let token = '', isLast = false; !isLast; ) {
    const { findings, nextPageToken } = await page(operations, run.reconciliationId, { size: PAGE_SIZE, token });
    for (const finding of findings) say(lineOf(finding));
    count += findings.length;
    [token, isLast] = [nextPageToken, nextPageToken === ''];
  }
  if (run.failure !== '') say(`failed: ${run.failure}`);
  say(`rows ${run.billRows}  matched ${run.matched}  findings ${run.findingCount}  fees ${run.feeTotal} (minor units)`);
  return count;
}

function page(operations: Operations, reconciliationId: string, { size, token }: { size: number; token: string }): Promise<GetReconciliationResponse> {
  return operations.getReconciliation(GetReconciliationRequest.fromPartial({ reconciliationId, pageSize: size, pageToken: token }));
}

function lineOf({ kind, merchantOrderNo, paymentId, refundId, recorded, billed, outcome }: ReconciliationFinding): string {
  const sides = [recorded === '' ? 'not here' : `here: ${recorded}`, billed === '' ? 'not in the bill' : `bill: ${billed}`];
  const records = [merchantOrderNo, paymentId, refundId].filter((part) => part !== '').join(' ');
  const applied = outcome === ApplyOutcome.APPLY_OUTCOME_UNSPECIFIED ? '' : ` | ${ApplyOutcome[outcome].replace('APPLY_OUTCOME_', '')}`;
  return `${FindingKind[kind].replace('FINDING_KIND_', '').padEnd(14)} ${records} | ${sides.join(' | ')}${applied}`;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
