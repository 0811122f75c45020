/** Settlement files: one for each clearing day, ready on the next morning (unionpay.md section 9). */
import { deflateSync } from 'node:zlib';
import { zip } from '../zip.js';
import type { Book } from './book.js';
import { clearingDay, DAY_MS, HOUR_MS, startOfDay } from './format.js';
import { noFile } from './refusal.js';
import { adjustmentsText, transactionsText, type SettlementRow } from './settlement-text.js';
import { hasSucceeded, reportedAmount, type Transaction } from './transaction.js';

export interface SettlementOptions {
  readonly merId: string;
  /** Of the next day, Beijing. */
  readonly readyHour: number;
}

/** Makes the file of a clearing day differ from the transactions. */
export type BillChange = { readonly day: string; readonly orderId: string } & (
  | { readonly kind: 'drop' }
  | { readonly kind: 'alter'; readonly amount: bigint }
  /** With an `origOrderId` a refund of it, without one a payment. */
  | { readonly kind: 'add'; readonly amount: bigint; readonly origOrderId?: string }
  /** A line among the adjustments. */
  | { readonly kind: 'adjust'; readonly amount: bigint }
);

export class Settlement {
  readonly changes: BillChange[];

  constructor(
    private readonly book: Book,
    private readonly options: SettlementOptions,
    saved: readonly BillChange[] = [],
  ) {
    this.changes = [...saved];
  }

  /** `settleDate` is MMDD. The content is base64 of a deflated ZIP, as `fileContent` has it. */
  file(settleDate: string): { readonly name: string; readonly content: string } {
    const day = this.dayOf(settleDate);
    const [rows, adjustments] = [this.rowsOf(day), this.adjustmentsOf(day)];
    if (rows.length + adjustments.length === 0) throw noFile();

    const { merId } = this.options;
    const date = day.replaceAll('-', '');
    const entry = (kind: string, content: Buffer) => ({ name: Buffer.from(`INN${date.slice(2)}88${kind}_${merId}`), content });
    const packed = zip([entry('ZM', transactionsText(rows, merId)), entry('ZME', adjustmentsText(adjustments, merId))]);
    return { name: `${merId}_${date}.zip`, content: deflateSync(packed).toString('base64') };
  }

  change(change: BillChange): void {
    this.changes.push(change);
    this.book.changed();
  }

  /** The latest clearing day of that name that has begun: `settleDate` has no year. */
  private dayOf(settleDate: string): string {
    const today = clearingDay(this.book.now());
    const year = Number(today.slice(0, 4));
    const named = [year, year - 1].map((one) => `${one}-${settleDate.slice(0, 2)}-${settleDate.slice(2)}`);
    const day = named.find((one) => startOfDay(one) !== null && one <= today);
    if (day === undefined || this.book.now() < (startOfDay(day) ?? 0) + DAY_MS + this.options.readyHour * HOUR_MS) throw noFile();
    return day;
  }

  /** By time. */
  private rowsOf(day: string): readonly SettlementRow[] {
    const rows = this.book.transactions().filter(hasSucceeded).map((transaction) => this.rowOf(transaction));
    const changes = this.changes.filter((change) => change.day === day);
    return changes.reduce((now, change) => this.changed(now, change), rows.filter(({ at }) => clearingDay(at) === day)).sort((a, b) => a.at - b.at);
  }

  private adjustmentsOf(day: string): readonly SettlementRow[] {
    return this.changes.flatMap((change) => (change.kind === 'adjust' && change.day === day ? [this.added(change, null)] : []));
  }

  private changed(rows: SettlementRow[], change: BillChange): SettlementRow[] {
    switch (change.kind) {
      case 'drop':
        return rows.filter(({ orderId }) => orderId !== change.orderId);
      case 'alter':
        return rows.map((row) => (row.orderId === change.orderId ? { ...row, amount: change.amount } : row));
      case 'add':
        return [...rows, this.added(change, this.book.transactions().find(({ orderId }) => orderId === change.origOrderId) ?? null)];
      case 'adjust':
        return rows;
    }
  }

  private added({ day, orderId, amount }: { readonly day: string; readonly orderId: string; readonly amount: bigint }, payment: Transaction | null): SettlementRow {
    const numbers = { traceNo: '999999', queryId: `51${day.replaceAll('-', '').slice(2)}1200009999998` };
    const kinds = payment === null ? { kind: 'payment', txnType: '01', txnSubType: '07' } as const : { kind: 'refund', txnType: '04', txnSubType: '00' } as const;
    return { at: (startOfDay(day) ?? 0) + 12 * HOUR_MS, orderId, amount, ...numbers, ...kinds, bizType: '000000', original: payment === null ? null : originOf(payment) };
  }

  private rowOf(transaction: Transaction): SettlementRow {
    const { kind, orderId, queryId, traceNo, txnType, txnSubType, bizType, origQryId } = transaction;
    const payment = this.book.findByQueryId(origQryId ?? '');
    const common = { kind, orderId, queryId, traceNo, txnType, txnSubType, bizType };
    return { ...common, at: timeOf(transaction), amount: reportedAmount(transaction), original: payment === null ? null : originOf(payment) };
  }
}

const timeOf = ({ completedAt, createdAt }: Transaction): number => completedAt ?? createdAt;

const originOf = (payment: Transaction) => ({ orderId: payment.orderId, queryId: payment.queryId, traceNo: payment.traceNo, at: timeOf(payment) });
