/**
 * A bill held against the records as it streams by: a chunk of rows is looked up by a few statements, judged, and written down in one
 * transaction with how far the run has got. Nothing is kept in memory but sums; what the bill has mentioned is in the database, so that
 * at the end the records which it lacks can be told, and rows that it has twice on the way.
 */
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { BillError, type BillRow } from '../payment/platform.js';
import { beijingDay, isWithin, type Period } from './bill-day.js';
import { billedText, differenceOf, isOther, recordedText } from './difference.js';
import type { Lease } from './lease.js';
import { ReconciliationFinding, type FindingKind, type Reconciliation } from './reconciliation.js';
import { matchRows, paymentsBy, recordedIn, refundsBy, type Match, type RecordedPayment, type RecordedRefund } from './records.js';
import { markSeen, unseenOf, type Mark } from './seen.js';

/** Of one run, so far. */
interface Totals {
  readonly rows: bigint;
  readonly matched: bigint;
  readonly findings: bigint;
  readonly fees: bigint;
  readonly wrongDays: bigint;
}

interface Judged extends Match {
  readonly kind: FindingKind | null;
  /** The bill has it for the first time. */
  readonly isFirst: boolean;
}

export class Comparison {
  private totals: Totals = { rows: 0n, matched: 0n, findings: 0n, fees: 0n, wrongDays: 0n };
  private missing = 0n;
  private firstWrongDay: string | null = null;

  constructor(
    private readonly orm: MikroORM,
    private readonly lease: Lease,
    private readonly period: Period,
  ) {}

  private get run(): Reconciliation {
    return this.lease.run;
  }

  /** The next rows of the bill. */
  async take(rows: readonly BillRow[]): Promise<void> {
    const matches = await matchRows(this.orm.em.fork(), this.run, rows);
    this.totals = await this.lease.write(async (em) => {
      const judged = await this.judge(em, matches);
      const findings = judged.flatMap((one, at) => (one.kind === null ? [] : [this.rowFinding(one, one.kind, this.totals.rows + BigInt(at) + 1n)]));
      return await this.record(em, findings, added(this.totals, judged));
    });
    this.firstWrongDay ??= rows.map(({ at }) => at).filter((at) => !isWithin(at, this.period)).map(beijingDay)[0] ?? null;
  }

  /** A bill that is mostly of another day is no bill of this one, whatever it has in common with it. */
  requireDay(): void {
    const { rows, wrongDays } = this.totals;
    if (wrongDays * 2n <= rows) return;
    throw new BillError(`this is no bill of ${this.run.day}: ${wrongDays} of its ${rows} rows are of other days, the first of ${this.firstWrongDay}`);
  }

  /** What was recorded for the day and is not in the bill; `hasBill` false: there is none, so that it cannot be held against one. */
  async takeMissing({ hasBill, pageSize }: { hasBill: boolean; pageSize: number }, signal: AbortSignal): Promise<void> {
    for (const about of ['PAYMENT', 'REFUND'] as const) {
      for await (const ids of recordedIn(this.orm.em.fork(), this.run, { about, period: this.period, pageSize })) {
        signal.throwIfAborted();
        const missing = await unseenOf(this.orm.em.fork(), this.run, ids);
        if (missing.length === 0) continue;
        if (!hasBill) throw new BillError(`the platform has no bill of ${this.run.day}, not yet or not at all, and payments or refunds of that day are recorded here`);
        await this.recordMissing(about, missing);
      }
    }
  }

  private async judge(em: EntityManager, matches: readonly Match[]): Promise<Judged[]> {
    const marks = matches.map((match) => this.markOf(match));
    const fresh = await markSeen(em, this.run, marks);
    // Deleted when it is found: of rows in one chunk that are about the same, the first alone is.
    const first = matches.map((_match, at) => fresh.delete(marks[at]!.record));
    const explained = await this.explainRefunds(em, matches.filter((_match, at) => first[at]));
    return matches.map((found, at) => {
      const match = explained.get(found) ?? found;
      return { ...match, isFirst: first[at]!, kind: this.kindOf(match, first[at]!) };
    });
  }

  private kindOf(match: Match, isFirst: boolean): FindingKind | null {
    if (!isFirst) return 'BILLED_TWICE';
    return isWithin(match.row.at, this.period) ? differenceOf(match, this.period) : 'WRONG_DAY';
  }

  private markOf({ row, payment, refund }: Match): Mark {
    if (refund !== null) return { record: refund.id, kept: this.isOfAnotherDay(refund.succeededAt) };
    if (row.kind === 'PAYMENT' && payment !== null && !isOther(row, payment)) return { record: payment.id, kept: this.isOfAnotherDay(payment.paidAt) };
    const { kind, merchantOrderNo, platformTransactionId, platformRefundNo, platformRefundId } = row;
    return { record: JSON.stringify([kind, merchantOrderNo, platformTransactionId, platformRefundNo || platformRefundId]), kept: false };
  }

  private isOfAnotherDay(at: Date | null): boolean {
    return at === null || !isWithin(at, this.period);
  }

  /**
   * Money refunded elsewhere may be recorded under a number of our own, as the platform had only named its sum: a refund of the same
   * payment and amount that the bill has not explained yet is taken for it.
   */
  private async explainRefunds(em: EntityManager, matches: readonly Match[]): Promise<Map<Match, Match>> {
    const open = matches.filter(({ row, payment, refund }) => row.kind === 'REFUND' && row.state === 'DONE' && payment !== null && refund === null);
    const recorded = (await refundsBy(em, 'payment_id', open.map(({ payment }) => payment!.id))).filter(({ isUnnumbered }) => isUnnumbered);
    const left = new Set(recorded.length === 0 ? [] : await unseenOf(em, this.run, recorded.map(({ id }) => id)));

    const explained = new Map<Match, Match>();
    for (const match of open) {
      const refund = recorded.find(({ id, paymentId, amount }) => left.has(id) && paymentId === match.payment?.id && amount === match.row.amount.minorUnits);
      if (refund === undefined) continue;
      left.delete(refund.id);
      explained.set(match, { ...match, refund });
    }
    await markSeen(em, this.run, [...explained.values()].map((match) => this.markOf(match)));
    return explained;
  }

  private async recordMissing(about: BillRow['kind'], ids: readonly string[]): Promise<void> {
    const em = this.orm.em.fork();
    const refunds = about === 'REFUND' ? await refundsBy(em, 'id', ids) : [];
    const payments = await paymentsBy(em, this.run, 'id', about === 'REFUND' ? refunds.map(({ paymentId }) => paymentId) : ids);
    const paymentOf = new Map(payments.map((payment) => [payment.id, payment]));
    const missing: { payment: RecordedPayment; refund: RecordedRefund | null }[] =
      about === 'REFUND' ? refunds.map((refund) => ({ payment: paymentOf.get(refund.paymentId)!, refund })) : payments.map((payment) => ({ payment, refund: null }));

    this.totals = await this.lease.write(async (writer) => {
      const { rows, findings } = this.totals;
      const places = missing.map((one, at) => this.missingFinding(about, one, rows + this.missing + BigInt(at) + 1n));
      return await this.record(writer, places, { ...this.totals, findings: findings + BigInt(missing.length) });
    });
    this.missing += BigInt(missing.length);
  }

  private async record(em: EntityManager, findings: readonly ReconciliationFinding[], totals: Totals): Promise<Totals> {
    if (findings.length > 0) await em.insertMany(ReconciliationFinding, [...findings]);
    await em.execute('update reconciliation set bill_rows = ?, matched = ?, finding_count = ?, fee_total = ? where id = ?', [
      ...[totals.rows, totals.matched, totals.findings, totals.fees].map(String),
      this.run.id,
    ]);
    return totals;
  }

  private rowFinding({ row, payment, refund }: Match, kind: FindingKind, place: bigint): ReconciliationFinding {
    const { kind: about, merchantOrderNo, platformTransactionId, platformRefundNo, platformRefundId, state, word } = row;
    const numbers = { merchantOrderNo, platformTransactionId, platformRefundNo };
    return Object.assign(new ReconciliationFinding(), {
      ...numbers,
      reconciliationId: this.run.id,
      place,
      kind,
      about,
      paymentId: payment?.id ?? null,
      refundId: refund?.id ?? null,
      recorded: recordedText({ row, payment, refund }),
      billed: billedText(row),
      billRow: {
        ...numbers,
        kind: about,
        platformRefundId,
        state,
        word,
        minorUnits: row.amount.minorUnits.toString(),
        currency: row.amount.currency,
        at: row.at.toISOString(),
      },
      outcome: null,
      appliedAt: null,
    } satisfies ReconciliationFinding);
  }

  private missingFinding(about: BillRow['kind'], { payment, refund }: { payment: RecordedPayment; refund: RecordedRefund | null }, place: bigint): ReconciliationFinding {
    return Object.assign(new ReconciliationFinding(), {
      reconciliationId: this.run.id,
      place,
      kind: 'MISSING_THERE',
      about,
      paymentId: payment.id,
      refundId: refund?.id ?? null,
      merchantOrderNo: payment.merchantOrderNo,
      platformTransactionId: payment.transactionId ?? '',
      platformRefundNo: refund?.platformRefundNo ?? '',
      recorded: recordedText({ row: { kind: about }, payment, refund }),
      billed: '',
      billRow: null,
      outcome: null,
      appliedAt: null,
    } satisfies ReconciliationFinding);
  }
}

function added(totals: Totals, judged: readonly Judged[]): Totals {
  const count = (isMeant: (one: Judged) => boolean): bigint => BigInt(judged.filter(isMeant).length);
  return {
    rows: totals.rows + BigInt(judged.length),
    matched: totals.matched + count(({ kind }) => kind === null),
    findings: totals.findings + count(({ kind }) => kind !== null),
    wrongDays: totals.wrongDays + count(({ kind }) => kind === 'WRONG_DAY'),
    // What a bill has twice it has charged once.
    fees: judged.reduce((sum, { row, isFirst }) => sum + (isFirst ? row.fee : 0n), totals.fees),
  };
}
