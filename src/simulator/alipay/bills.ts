/** Trade bills: ready on the next morning, fetched from an address that is soon dead (alipay.md section 11). */
import { randomBytes } from 'node:crypto';
import { zip } from '../zip.js';
import { billFiles, type BillRow } from './bill-text.js';
import type { Content } from './content.js';
import { beijingDay, DAY_MS, startOfDay } from './format.js';
import { businessRefusal, notPermitted, type Refusal } from './refusal.js';
import { reportedTotal, type Refund, type Trade } from './trade.js';
import type { Book } from './trades.js';

export interface BillOptions {
  readonly sellerId: string;
  /** Of the next day, Beijing. */
  readonly readyHour: number;
}

/** Makes the bill of a day differ from the trades. `no` is the out_trade_no of a payment's row or the out_request_no of a refund's. */
export type BillChange = { readonly day: string } & (
  | { readonly kind: 'drop'; readonly no: string }
  | { readonly kind: 'alter'; readonly no: string; readonly amount: bigint }
  /** With an `outRequestNo` a refund, without one a payment. */
  | { readonly kind: 'add'; readonly outTradeNo: string; readonly amount: bigint; readonly outRequestNo?: string }
);

type File = { readonly bytes: Buffer; readonly until: number };

export const BILL_PATH = '/downloadBillFile.resource';
const HOUR_MS = 3_600_000;
const LINK_LIFE_MS = 30_000;
const FILES_MAX = 100;
const OLDEST_DAY = '2016-01-01';

export class Bills {
  readonly changes: BillChange[];
  private readonly files = new Map<string, File>();

  constructor(
    private readonly book: Book,
    private readonly options: BillOptions,
    saved: readonly BillChange[] = [],
  ) {
    this.changes = [...saved];
  }

  /** Answers the address of a bill's file below `origin`. */
  apply(content: Content, origin: string): string {
    const type = content.required('bill_type');
    const day = content.required('bill_date');
    if (type === 'signcustomer') throw notPermitted('未开通账务账单');
    if (type !== 'trade') throw invalidArguments('bill_type');
    const ready = this.startOf(day) + DAY_MS + this.options.readyHour * HOUR_MS;

    const rows = this.book.now() < ready ? [] : this.rowsOf(day);
    if (rows.length === 0) throw businessRefusal('BILL_NOT_EXIST', '账单不存在');
    const { sellerId } = this.options;
    const bytes = zip(billFiles(rows, { sellerId, day, exportedAt: ready }));
    const token = this.keep({ bytes, until: this.book.now() + LINK_LIFE_MS });
    const query = { bizType: type, userId: sellerId, fileType: 'csv.zip', bizDates: day.replaceAll('-', ''), token };
    return `${origin}${BILL_PATH}?${new URLSearchParams(query).toString()}`;
  }

  /** Null once the address is dead. */
  fetch(query: URLSearchParams): Buffer | null {
    const file = this.files.get(query.get('token') ?? '');
    return file === undefined || this.book.now() > file.until ? null : file.bytes;
  }

  change(change: BillChange): void {
    this.changes.push(change);
    this.book.changed();
  }

  /** The latest day that may be asked for is yesterday; months are not served. */
  private startOf(day: string): number {
    const start = startOfDay(day);
    if (start === null || day < OLDEST_DAY || this.book.now() < start + DAY_MS) throw invalidArguments('bill_date');
    return start;
  }

  private rowsOf(day: string): readonly BillRow[] {
    const rows = this.book
      .trades()
      .flatMap((trade) => [...(trade.paidAt === null ? [] : [payment(trade, trade.paidAt)]), ...trade.refunds.map((refund) => refundRow(trade, refund))])
      .filter(({ at }) => beijingDay(at) === day);
    const changes = this.changes.filter((change) => change.day === day);
    return changes.reduce((now, change) => this.changed(now, change), rows).sort((a, b) => a.at - b.at);
  }

  private changed(rows: BillRow[], change: BillChange): BillRow[] {
    if (change.kind === 'add') return [...rows, this.added(change)];
    const isMeant = (row: BillRow): boolean => (row.requestNo ?? row.outTradeNo) === change.no;
    if (change.kind === 'drop') return rows.filter((row) => !isMeant(row));
    return rows.map((row) => (isMeant(row) ? { ...row, amount: change.amount } : row));
  }

  private added({ day, outTradeNo, amount, outRequestNo }: Extract<BillChange, { kind: 'add' }>): BillRow {
    const at = (startOfDay(day) ?? 0) + 12 * HOUR_MS;
    const trade = this.book.trades().find((one) => one.outTradeNo === outTradeNo);
    const tradeNo = trade?.tradeNo ?? `${day.replaceAll('-', '')}22${'1'.padStart(18, '0')}`;
    return { at, createdAt: trade?.createdAt ?? at, tradeNo, outTradeNo, subject: trade?.subject ?? '', remark: '', amount, requestNo: outRequestNo ?? null };
  }

  private keep(file: File): string {
    const oldest = this.files.keys().next();
    if (this.files.size >= FILES_MAX && oldest.done === false) this.files.delete(oldest.value);
    const token = randomBytes(16).toString('hex');
    this.files.set(token, file);
    return token;
  }
}

function payment(trade: Trade, at: number): BillRow {
  const { tradeNo, outTradeNo, subject, body, createdAt, placedAt } = trade;
  const numbers = { tradeNo: tradeNo ?? '', outTradeNo, requestNo: null };
  return { at, createdAt: createdAt ?? placedAt, ...numbers, subject, remark: body ?? '', amount: reportedTotal(trade) };
}

const refundRow = (trade: Trade, { at, amount, requestNo, reason }: Refund): BillRow => ({ ...payment(trade, at), remark: reason ?? '', amount, requestNo });

/** The platform's own spelling. */
const invalidArguments = (what: string): Refusal => businessRefusal('INVAILID_ARGUMENTS', `入参不合法：${what}`);
