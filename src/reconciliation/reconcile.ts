/** One run from the bill to the end: fetched, compared, and where that was asked for, applied. Safe to begin again at any point. */
import type { Deps } from '../payment/deps.js';
import { BillError, type Bill } from '../payment/platform.js';
import { applyFindings } from './apply-findings.js';
import { periodOf } from './bill-day.js';
import { Comparison } from './comparison.js';
import type { Lease } from './lease.js';
import { forgetSeen } from './seen.js';

/** A bill of a million rows is some hundred megabytes. */
const DOWNLOAD_MAX_MS = 10 * 60_000;
/** A run that ended as often as this without a result will not have one. */
const ATTEMPTS_MAX = 5;
const FAILURE_MAX = 500;

export interface Pace {
  readonly signal: AbortSignal;
  /** Rows of the bill, or records of the day, that are looked at together. */
  readonly chunkRows: number;
}

/** Rejects where it could not go on, to be begun again by whoever claims the run next. */
export async function reconcile(deps: Deps, lease: Lease, pace: Pace): Promise<void> {
  const { run } = lease;
  if (run.attempts > ATTEMPTS_MAX) return await fail(deps, lease, `given up after ${ATTEMPTS_MAX} attempts; the service's own log has their causes`);

  if (run.comparedAt === null) {
    try {
      await compare(deps, lease, pace);
    } catch (error) {
      if (error instanceof BillError) return await fail(deps, lease, error.message);
      throw error;
    }
  }
  if (run.apply) await applyFindings(deps, lease, pace.signal);
  await lease.write(async (em) => {
    await em.execute(`update reconciliation set status = 'COMPLETED', ended_at = ? where id = ?`, [deps.clock.now().toISOString(), run.id]);
  });
}

async function compare(deps: Deps, lease: Lease, pace: Pace): Promise<void> {
  const { run } = lease;
  const adapter = deps.platforms.adapter(run.platform, run.merchantAccount);
  await startOver(lease);
  await using bill = await download(deps, lease, pace.signal);

  const comparison = new Comparison(deps.orm, lease, periodOf(adapter, run.day));
  if (bill !== null) {
    for await (const rows of chunksOf(bill.rows, pace.chunkRows)) {
      pace.signal.throwIfAborted();
      await comparison.take(rows);
    }
    comparison.requireDay();
  }
  await comparison.takeMissing({ hasBill: bill !== null, pageSize: pace.chunkRows }, pace.signal);

  await lease.write(async (em) => {
    await forgetSeen(em, run, 'BUT_KEPT');
    await em.execute('update reconciliation set compared_at = ? where id = ?', [deps.clock.now().toISOString(), run.id]);
  });
}

/** Null where the platform has none. What it answers otherwise is why the run fails: asking again is the operator's choice. */
async function download(deps: Deps, { run }: Lease, signal: AbortSignal): Promise<Bill | null> {
  const adapter = deps.platforms.adapter(run.platform, run.merchantAccount);
  const call = { at: deps.clock.now(), signal: AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_MAX_MS)]) };
  const outcome = await adapter.downloadBill(run.day, call);
  signal.throwIfAborted();
  if (outcome.kind === 'ACCEPTED') return outcome.value;
  throw new BillError(`the bill could not be had: ${outcome.message} (${outcome.kind} ${outcome.code})`);
}

/** What an attempt before this one has left is of a bill that may have been another. */
async function startOver(lease: Lease): Promise<void> {
  const { run } = lease;
  await lease.write(async (em) => {
    await em.execute('delete from reconciliation_finding where reconciliation_id = ?', [run.id]);
    await forgetSeen(em, run, 'ALL');
    await em.execute('update reconciliation set bill_rows = 0, matched = 0, finding_count = 0, fee_total = 0 where id = ?', [run.id]);
  });
}

/** A bill that is not whole says nothing: findings from the part of it that could be read go. */
async function fail({ clock }: Deps, lease: Lease, sentence: string): Promise<void> {
  const { run } = lease;
  if (run.comparedAt === null) await startOver(lease);
  await lease.write(async (em) => {
    await em.execute(`update reconciliation set status = 'FAILED', failure = ?, ended_at = ? where id = ?`, [sentence.slice(0, FAILURE_MAX), clock.now().toISOString(), run.id]);
  });
}

async function* chunksOf<T>(rows: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let chunk: T[] = [];
  for await (const row of rows) {
    chunk.push(row);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}
