/**
 * The two files of a trade bill (alipay.md section 11): GBK, comment lines around the table, cells padded with tabs or spaces, yuan.
 * Columns of the summary, the wording of the totals and the `0156` after the account are as third parties show real bills.
 */
import iconv from 'iconv-lite';
import type { ZipEntry } from '../zip.js';
import { beijing, beijingWords, DAY_MS, startOfDay, yuan } from './format.js';
import { BUYER } from './trade.js';

/** A payment, or a refund with its number. Amounts are fen and positive. */
export interface BillRow {
  /** When it was completed. */
  readonly at: number;
  /** When the trade was created. */
  readonly createdAt: number;
  readonly tradeNo: string;
  readonly outTradeNo: string;
  readonly subject: string;
  readonly remark: string;
  readonly amount: bigint;
  readonly requestNo: string | null;
}

export interface BillHead {
  readonly sellerId: string;
  readonly day: string;
  readonly exportedAt: number;
}

export function billFiles(rows: readonly BillRow[], head: BillHead): readonly ZipEntry[] {
  const account = `${head.sellerId}0156`;
  const name = `${account}_${head.day.replaceAll('-', '')}_业务明细`;
  return [file(`${name}.csv`, detail(rows, account, head)), file(`${name}(汇总).csv`, summary(rows, account, head))];
}

type Column = readonly [name: string, cell: (row: BillRow) => string];

const signed = ({ requestNo, amount }: BillRow): bigint => (requestNo === null ? amount : -amount);

const COLUMNS: readonly Column[] = [
  ['支付宝交易号', ({ tradeNo }) => `${tradeNo}\t`],
  ['商户订单号', ({ outTradeNo }) => `${plain(outTradeNo)}\t`],
  ['业务类型', ({ requestNo }) => `${requestNo === null ? '交易' : '退款'}\t`],
  ['商品名称', ({ subject }) => plain(subject).padEnd(24)],
  ['创建时间', ({ createdAt }) => beijing(createdAt)],
  ['完成时间', ({ at }) => beijing(at)],
  ['门店编号', () => '\t'],
  ['门店名称', () => '\t'],
  ['操作员', () => '\t'],
  ['终端号', () => '\t'],
  ['对方账户', () => `${BUYER.buyer_logon_id}\t`],
  ['订单金额（元）', (row) => yuan(signed(row))],
  ['商家实收（元）', (row) => yuan(signed(row))],
  ['支付宝红包（元）', () => '0.00'],
  ['集分宝（元）', () => '0.00'],
  ['支付宝优惠（元）', () => '0.00'],
  ['商家优惠（元）', () => '0.00'],
  ['券核销金额（元）', () => '0.00'],
  ['券名称', () => ''],
  ['商家红包消费金额（元）', () => '0.00\t'],
  ['卡消费金额（元）', () => '0.00'],
  ['退款批次号/请求号', ({ requestNo }) => `${plain(requestNo ?? '')}\t`],
  ['服务费（元）', () => '0.00'],
  ['分润（元）', () => '0.00'],
  ['备注', ({ remark }) => plain(remark)],
];

function detail(rows: readonly BillRow[], account: string, head: BillHead): readonly string[] {
  const { payments, refunds } = sums(rows);
  return [
    '#支付宝业务明细查询',
    ...preface(account, head),
    `#${'-'.repeat(41)}业务明细列表${'-'.repeat(40)}`,
    COLUMNS.map(([name]) => name).join(),
    ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row)).join()),
    `#${'-'.repeat(41)}业务明细列表结束${'-'.repeat(36)}`,
    `#交易合计：${payments.count}笔，商家实收共${yuan(payments.amount)}元，商家优惠共0.00元`,
    `#退款合计：${refunds.count}笔，商家实收退款共${yuan(refunds.amount)}元，商家优惠退款共0.00元`,
    `#导出时间：[${beijingWords(head.exportedAt)}]`,
  ];
}

const SUMMARY =
  '门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）';

function summary(rows: readonly BillRow[], account: string, head: BillHead): readonly string[] {
  const { payments, refunds } = sums(rows);
  const net = yuan(payments.amount + refunds.amount);
  return [
    '#支付宝业务汇总查询',
    ...preface(account, head),
    `#${'-'.repeat(41)}业务汇总列表${'-'.repeat(40)}`,
    SUMMARY,
    ['合计\t', '\t', payments.count, refunds.count, net, net, '0.00', '0.00', '0.00', '0.00', '0.00', net].join(),
    `#${'-'.repeat(40)}业务汇总列表结束${'-'.repeat(37)}`,
    `#导出时间：[${beijingWords(head.exportedAt)}]`,
  ];
}

function preface(account: string, { day }: BillHead): readonly string[] {
  const start = startOfDay(day) ?? 0;
  return [`#账号：[${account}]`, `#起始日期：[${beijingWords(start)}]   终止日期：[${beijingWords(start + DAY_MS)}]`];
}

function sums(rows: readonly BillRow[]) {
  const sum = (some: readonly BillRow[]) => ({ count: some.length, amount: some.reduce((total, row) => total + signed(row), 0n) });
  return { payments: sum(rows.filter(({ requestNo }) => requestNo === null)), refunds: sum(rows.filter(({ requestNo }) => requestNo !== null)) };
}

/** Without what would end a cell; the platform's way is not known. */
const plain = (text: string): string => text.replaceAll(/[,"\t\r\n]/g, '');

const file = (name: string, lines: readonly string[]): ZipEntry => ({ name: iconv.encode(name, 'gbk'), content: iconv.encode(`${lines.join('\r\n')}\r\n`, 'gbk') });
