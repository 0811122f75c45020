/** Trade bills: ready on the next day, fetched by a token that does not live long (wechatpay.md section 10). */
import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { Book } from './book.js';
import { billText, type BillRow, type BillType } from './bill-text.js';
import { beijingDay, DAY_MS, startOfDay } from './format.js';
import { TRADE_TYPE, type JsonObject } from './objects.js';
import { reportedTotal, type Order, type Refund } from './order.js';
import { invalidParameter, invalidRequest, Refusal } from './refusal.js';

export interface BillOptions {
  /** Of the next day, Beijing. */
  readonly readyHour: number;
  /** How long a download address holds. */
  readonly linkLifeMs: number;
}

/** Makes the bill of a day differ from the orders. `no` is the out_trade_no or out_refund_no of a row. */
export type BillChange = { readonly day: string } & (
  | { readonly kind: 'drop'; readonly no: string }
  | { readonly kind: 'alter'; readonly no: string; readonly amount: bigint }
  /** With an `outRefundNo` a refund, without one a payment. */
  | { readonly kind: 'add'; readonly outTradeNo: string; readonly amount: bigint; readonly outRefundNo?: string }
);

type File = { readonly bytes: Buffer; readonly isPacked: boolean; readonly until: number };

const HOUR_MS = 3_600_000;
const OLDEST_MS = 92 * DAY_MS;
const FILES_MAX = 100;
const TYPES: readonly BillType[] = ['ALL', 'SUCCESS', 'REFUND'];

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

  /** The answer to the application for a bill; `origin` is where its file will be. */
  apply(query: URLSearchParams, origin: string): JsonObject {
    const day = query.get('bill_date') ?? '';
    const type = TYPES.find((one) => one === (query.get('bill_type') ?? 'ALL'));
    const packing = query.get('tar_type');
    if (type === undefined) throw invalidParameter('bill_type', '取值不正确', 'query');
    if (packing !== null && packing !== 'GZIP') throw invalidParameter('tar_type', '取值不正确', 'query');
    this.checkDay(day);

    const rows = this.rowsOf(day).filter(({ refund }) => type === 'ALL' || (type === 'REFUND') === (refund !== null));
    if (rows.length === 0) throw new Refusal('NO_STATEMENT_EXIST', '账单文件不存在');
    const bytes = billText(rows, type);
    const token = this.keep({ bytes, isPacked: packing === 'GZIP', until: this.book.now() + this.options.linkLifeMs });
    // Of the file before packing.
    const hash = createHash('sha1').update(bytes).digest('hex');
    const suffix = packing === null ? '' : '&tartype=gzip';
    return { hash_type: 'SHA1', hash_value: hash, download_url: `${origin}/v3/billdownload/file?token=${token}${suffix}` };
  }

  fetch(query: URLSearchParams): { readonly bytes: Buffer; readonly isPacked: boolean } {
    const file = this.files.get(query.get('token') ?? '');
    if (file === undefined || this.book.now() > file.until) throw invalidRequest('下载地址不存在或已失效');
    return { bytes: file.isPacked ? gzipSync(file.bytes) : file.bytes, isPacked: file.isPacked };
  }

  /** As the bill will tell them, by time. */
  rowsOf(day: string): readonly BillRow[] {
    const orders = this.book.orders();
    const rows = orders.flatMap((order) => [...(order.paidAt === null ? [] : [this.payment(order)]), ...order.refunds.map((refund) => this.refund(order, refund))]);
    const changed = this.changes.filter((change) => change.day === day).reduce((now, change) => this.changed(now, change), rows.filter(({ at }) => beijingDay(at) === day));
    return changed.sort((a, b) => a.at - b.at);
  }

  change(change: BillChange): void {
    this.changes.push(change);
    this.book.changed();
  }

  private checkDay(day: string): void {
    const start = startOfDay(day);
    if (start === null) throw invalidParameter('bill_date', '格式不正确', 'query');
    const now = this.book.now();
    if (now < start + DAY_MS) throw invalidRequest('账单日期不能晚于昨天');
    if (now > start + OLDEST_MS) throw invalidRequest('只能下载三个月内的账单');
    if (now < start + DAY_MS + this.options.readyHour * HOUR_MS) throw new Refusal('STATEMENT_CREATING', '账单生成中，请稍后再试');
  }

  private keep(file: File): string {
    const oldest = this.files.keys().next();
    if (this.files.size >= FILES_MAX && oldest.done === false) this.files.delete(oldest.value);
    const token = randomBytes(24).toString('base64url');
    this.files.set(token, file);
    return token;
  }

  private changed(rows: BillRow[], change: BillChange): BillRow[] {
    if (change.kind === 'add') return [...rows, this.added(change)];
    const isMeant = (row: BillRow): boolean => (row.refund?.outRefundNo ?? row.outTradeNo) === change.no;
    if (change.kind === 'drop') return rows.filter((row) => !isMeant(row));
    return rows.map((row) => (isMeant(row) ? { ...row, amount: change.amount } : row));
  }

  private added({ day, outTradeNo, amount, outRefundNo }: Extract<BillChange, { kind: 'add' }>): BillRow {
    const noon = (startOfDay(day) ?? 0) + 12 * HOUR_MS;
    const { mchid, appid } = this.book.options.merchant;
    const order = this.book.orders().find((one) => one.outTradeNo === outTradeNo);
    return {
      at: noon,
      appid,
      mchid,
      transactionId: order?.transactionId ?? `42${'0'.repeat(25)}1`,
      outTradeNo,
      openid: order?.openid ?? 'unknown',
      tradeType: TRADE_TYPE[order?.channel ?? 'native'],
      description: order?.description ?? '',
      attach: order?.attach ?? '',
      amount,
      refund: outRefundNo === undefined ? null : { refundId: `50${'0'.repeat(26)}1`, outRefundNo, status: 'SUCCESS' },
    };
  }

  private payment(order: Order): BillRow {
    const { outTradeNo, transactionId, appid, openid, channel, description, attach, paidAt } = order;
    const { mchid } = this.book.options.merchant;
    const numbers = { appid, mchid, transactionId: transactionId ?? '', outTradeNo, openid };
    return { at: paidAt ?? 0, ...numbers, tradeType: TRADE_TYPE[channel], description, attach: attach ?? '', amount: reportedTotal(order), refund: null };
  }

  private refund(order: Order, { createdAt, amount, refundId, outRefundNo, status }: Refund): BillRow {
    const told = status === 'SUCCESS' || status === 'PROCESSING' ? status : 'FAIL';
    return { ...this.payment(order), at: createdAt, amount, refund: { refundId, outRefundNo, status: told } };
  }
}
