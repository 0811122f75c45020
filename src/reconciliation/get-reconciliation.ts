import type { Deps } from '../payment/deps.js';
import { DomainError } from '../payment/errors.js';
import { Reconciliation, ReconciliationFinding } from './reconciliation.js';

/** A reconciliation with a page of its findings, as far as it got; `after` is the last place of the page before. RECONCILIATION_NOT_FOUND. */
export async function getReconciliation(
  deps: Pick<Deps, 'orm'>,
  id: string,
  page: { size: number; after: string | null },
): Promise<{ run: Reconciliation; findings: ReconciliationFinding[]; next: string | null }> {
  const em = deps.orm.em.fork();
  const run = await em.findOne(Reconciliation, { id });
  if (run === null) {
    throw new DomainError('RECONCILIATION_NOT_FOUND', `there is no reconciliation ${id}`, { metadata: { reconciliation_id: id } });
  }

  const where = { reconciliationId: id, place: { $gt: BigInt(page.after ?? 0) } };
  const found = await em.find(ReconciliationFinding, where, { orderBy: { place: 'asc' }, limit: page.size + 1 });
  const findings = found.slice(0, page.size);
  return { run, findings, next: found.length > page.size ? findings.at(-1)!.place.toString() : null };
}
