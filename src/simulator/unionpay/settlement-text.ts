/**
 * The two files of a settlement (unionpay.md section 9): fixed widths in bytes of GBK, a space between fields. ZM tells transactions,
 * ZME adjustments. Of ZME only the widths are known; its first fields are those of ZM by their widths, the others are chosen here.
 */
import iconv from 'iconv-lite';
import { shortStamp } from './format.js';
import type { Transaction } from './transaction.js';

/** A payment, or a refund or void with `original`. Amounts are fen. */
export interface SettlementRow extends Pick<Transaction, 'kind' | 'orderId' | 'queryId' | 'traceNo' | 'txnType' | 'txnSubType' | 'bizType' | 'amount'> {
  readonly at: number;
  readonly original: { readonly orderId: string; readonly queryId: string; readonly traceNo: string; readonly at: number } | null;
}

type Column = readonly [width: number, cell?: (row: SettlementRow, merId: string) => string];

/** Of payments, given back with refunds: 0.60 %. */
const FEE_PER_10000 = 60n;

/** The first two were seen in one implementation, the third is chosen here. */
const TRADE_CODE: Readonly<Record<Transaction['kind'], string>> = { payment: 'S22', refund: 'S30', void: 'S31' };
const ADJUSTMENT_CODE = 'E22';

const digits = (amount: bigint): string => amount.toString().padStart(12, '0');
const fee = ({ amount }: SettlementRow): bigint => (amount * FEE_PER_10000) / 10_000n;
/** As the merchant sees it: C comes in, D goes out. */
const incoming = ({ kind }: SettlementRow): string => (kind === 'payment' ? 'C' : 'D');
const outgoing = ({ kind }: SettlementRow): string => (kind === 'payment' ? 'D' : 'C');
const net = (row: SettlementRow): string => `${incoming(row)}${digits(row.amount - fee(row))}`;

const transfer = (code: (row: SettlementRow) => string): readonly Column[] => [
  [3, code],
  [11, () => '00010000'],
  [11, () => '00010000'],
  [6, ({ traceNo }) => traceNo],
  [10, ({ at }) => shortStamp(at)],
  [19, () => '6216***********0018'],
  [12, ({ amount }) => digits(amount)],
  [4, () => '5411'],
  [2, () => '07'],
];

const ZM: readonly Column[] = [
  ...transfer(({ kind }) => TRADE_CODE[kind]),
  [21, ({ queryId }) => queryId],
  [2],
  [32, ({ orderId }) => orderId],
  [2, () => '01'],
  [6, ({ original }) => original?.traceNo ?? ''],
  [10, ({ original }) => (original === null ? '' : shortStamp(original.at))],
  [13, (row) => `${outgoing(row)}${digits(fee(row))}`],
  [13, net],
  [4, () => '0001'],
  [15],
  [2, ({ txnType }) => txnType],
  [2, ({ txnSubType }) => txnSubType],
  [6, ({ bizType }) => bizType],
  [2, () => '01'],
  [4],
  [32],
  [1],
  [21, ({ original }) => original?.queryId ?? ''],
  [15, (_row, merId) => merId],
  [1],
  [15],
  // Two bytes for each character: whoever cuts characters loses the fields that follow.
  [32, () => '模拟商户'],
  [13],
  [13, net],
  [8, () => '00000001'],
  [32],
  [13],
  [13],
  [12],
  [2],
  [1],
  [32, ({ original }) => original?.orderId ?? ''],
  [98],
];

const ZME: readonly Column[] = [
  ...transfer(() => ADJUSTMENT_CODE),
  [2, () => '01'],
  [6, ({ traceNo }) => traceNo],
  [10, ({ at }) => shortStamp(at)],
  [4],
  [12],
  [13, (row) => `${outgoing(row)}${digits(0n)}`],
  [13, (row) => `${incoming(row)}${digits(row.amount)}`],
  [15, (_row, merId) => merId],
  [15],
  [1],
  [12],
  [2],
  [135],
];

export const transactionsText = (rows: readonly SettlementRow[], merId: string): Buffer => lines(ZM, rows, merId);

export const adjustmentsText = (rows: readonly SettlementRow[], merId: string): Buffer => lines(ZME, rows, merId);

function lines(columns: readonly Column[], rows: readonly SettlementRow[], merId: string): Buffer {
  const line = (row: SettlementRow): Buffer =>
    Buffer.concat(columns.flatMap(([width, cell], at) => [...(at === 0 ? [] : [Buffer.from(' ')]), fitted(cell?.(row, merId) ?? '', width)]));
  return Buffer.concat(rows.flatMap((row) => [line(row), Buffer.from('\r\n')]));
}

/** An `orderId` of more than 32 is cut: the file has no room for it. */
function fitted(value: string, width: number): Buffer {
  const bytes = iconv.encode(value, 'gbk').subarray(0, width);
  return Buffer.concat([bytes, Buffer.alloc(width - bytes.length, ' ')]);
}
