/** The trade bill as a file (wechatpay.md section 10): BOM, CRLF, a back-tick before each cell, yuan. */
import { beijing, yuan } from './format.js';

/** A payment, or a refund with `refund`. Amounts are fen. */
export interface BillRow {
  readonly at: number;
  readonly appid: string;
  readonly mchid: string;
  readonly transactionId: string;
  readonly outTradeNo: string;
  readonly openid: string;
  readonly tradeType: string;
  readonly description: string;
  readonly attach: string;
  readonly amount: bigint;
  readonly refund: { readonly refundId: string; readonly outRefundNo: string; readonly status: 'SUCCESS' | 'FAIL' | 'PROCESSING' } | null;
}

export type BillType = 'ALL' | 'SUCCESS' | 'REFUND';

/** Of payments, given back with refunds: 0.60 %. */
const FEE_PER_10000 = 60n;

type Column = readonly [name: string, cell: (row: BillRow) => string, aboutRefunds?: 'refund'];

const paid = ({ refund, amount }: BillRow): bigint => (refund === null ? amount : 0n);
const given = ({ refund, amount }: BillRow): bigint => (refund === null ? 0n : amount);
const fee = (row: BillRow): bigint => ((paid(row) - given(row)) * FEE_PER_10000) / 10_000n;

const COLUMNS: readonly Column[] = [
  ['交易时间', ({ at }) => beijing(at)],
  ['公众账号ID', ({ appid }) => appid],
  ['商户号', ({ mchid }) => mchid],
  ['特约商户号', () => '0'],
  ['设备号', () => ''],
  ['微信订单号', ({ transactionId }) => transactionId],
  ['商户订单号', ({ outTradeNo }) => outTradeNo],
  ['用户标识', ({ openid }) => openid],
  ['交易类型', ({ tradeType }) => tradeType],
  ['交易状态', ({ refund }) => (refund === null ? 'SUCCESS' : 'REFUND')],
  ['付款银行', () => 'OTHERS'],
  ['货币种类', () => 'CNY'],
  ['应结订单金额', (row) => yuan(paid(row))],
  ['代金券金额', () => '0.00'],
  ['微信退款单号', ({ refund }) => refund?.refundId ?? '0', 'refund'],
  ['商户退款单号', ({ refund }) => refund?.outRefundNo ?? '0', 'refund'],
  ['退款金额', (row) => yuan(given(row)), 'refund'],
  ['充值券退款金额', () => '0.00', 'refund'],
  ['退款类型', ({ refund }) => (refund === null ? '' : 'ORIGINAL'), 'refund'],
  ['退款状态', ({ refund }) => refund?.status ?? '', 'refund'],
  ['商品名称', ({ description }) => description],
  ['商户数据包', ({ attach }) => attach],
  ['手续费', (row) => `${yuan(fee(row))}000`],
  ['费率', () => '0.60%'],
  ['订单金额', (row) => yuan(paid(row))],
  ['申请退款金额', (row) => yuan(given(row)), 'refund'],
  ['费率备注', () => ''],
];

const SUMMARY = ['总交易单数', '应结订单总金额', '退款总金额', '充值券退款总金额', '手续费总金额', '订单总金额', '申请退款总金额'];

export function billText(rows: readonly BillRow[], type: BillType): Buffer {
  const columns = COLUMNS.filter(([, , aboutRefunds]) => type !== 'SUCCESS' || aboutRefunds === undefined);
  const sum = (part: (row: BillRow) => bigint): bigint => rows.reduce((total, row) => total + part(row), 0n);
  const totals = [String(rows.length), yuan(sum(paid)), yuan(sum(given)), '0.00', `${yuan(sum(fee))}000`, yuan(sum(paid)), yuan(sum(given))];
  const lines = [
    columns.map(([name]) => name).join(','),
    ...rows.map((row) => cells(columns.map(([, cell]) => cell(row)))),
    SUMMARY.join(','),
    cells(totals),
  ];
  return Buffer.from(`\ufeff${lines.join('\r\n')}\r\n`, 'utf8');
}

/** Commas stay: a cell starts with a comma and a back-tick. What would break that is left out of texts; the platform's way is not known. */
const cells = (values: readonly string[]): string => values.map((value) => `\`${value.replaceAll(/[`\r\n]/g, '')}`).join(',');
