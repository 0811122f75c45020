/** Alipay's trade bill: a zip file of two GBK tables, of which the one of the single trades counts. */
import type { Bill, BillRow, Call, CallOutcome } from '../../payment/platform.js';
import { BillError } from '../../payment/platform.js';
import { parseBeijingTime } from '../beijing-time.js';
import { BillFolder, billFee, billYuan, Columns, linesOf, readFileBytes, strictDecoder } from '../bill-file.js';
import { openDownload } from '../http.js';
import { callGateway, textOf, type ClientConfig } from './client.js';
import { queryOutcome } from './statuses.js';

const METHOD = 'alipay.data.dataservice.bill.downloadurl.query';
const DETAIL_NAME = '业务明细.csv';
/** Between dashes, whose number differs from file to file. */
const END = '业务明细列表结束';
const REQUIRED = ['支付宝交易号', '商户订单号', '业务类型', '完成时间', '订单金额（元）', '退款批次号/请求号', '服务费（元）'];

export async function downloadBill(client: ClientConfig, day: string, call: Call): Promise<CallOutcome<Bill | null>> {
  const answer = await callGateway(client, METHOD, { bill_type: 'trade', bill_date: day }, call);
  // The same code for a day without trades and for a bill that is not made yet.
  if (answer.kind === 'REFUSED' && answer.code === 'BILL_NOT_EXIST') return { kind: 'ACCEPTED', value: null };
  if (answer.kind === 'REFUSED' && answer.code === 'INVAILID_ARGUMENTS') return { ...answer, kind: 'MISCONFIGURED' };
  if (answer.kind !== 'OK') return queryOutcome(answer);

  // The address dies within half a minute; nothing but it has to be fetched.
  const file = await openDownload({ method: 'GET', url: textOf(answer.node, 'bill_download_url'), headers: {} }, call);
  if (file.kind !== 'ANSWER') return file;
  if (file.status !== 200) return { kind: 'UNKNOWN', code: `HTTP_${file.status}`, message: 'the bill could not be fetched' };

  const folder = await BillFolder.make();
  try {
    const zip = await folder.store('bill.zip', file.body);
    const decode = strictDecoder('gbk');
    const detail = await folder.unpack('detail.csv', zip, (name) => decode(name).endsWith(DETAIL_NAME));
    return { kind: 'ACCEPTED', value: { rows: readRows(readFileBytes(detail), day), [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() } };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    return { kind: 'UNKNOWN', code: 'BAD_BILL', message: error instanceof Error ? error.message : 'the bill cannot be read' };
  }
}

/** Comment lines, of which one tells the day, the header, the rows, and a comment line that ends them; only comments follow. */
export async function* readRows(source: AsyncIterable<Uint8Array>, day: string): AsyncGenerator<BillRow> {
  const decode = strictDecoder('gbk');
  let columns: Columns | null = null;
  let ended = false;
  for await (const line of linesOf(source)) {
    const text = decode(line);
    if (text.startsWith('#')) {
      requireDay(text, day);
      ended ||= text.includes(END);
      continue;
    }
    if (text.trim() === '') continue;
    if (ended) throw new BillError('the bill goes on after its end');
    const cells = text.split(',');
    if (columns === null) columns = new Columns(cells, REQUIRED);
    else yield rowOf(columns, cells);
  }
  if (!ended) throw new BillError('the bill ends in the middle');
}

/** Nothing else in the file tells the day: an order's own times may be of another one. */
function requireDay(comment: string, day: string): void {
  const match = /^#起始日期：\[(\d{4})年(\d\d)月(\d\d)日/.exec(comment);
  if (match === null) return;
  const said = match.slice(1).join('-');
  if (said !== day) throw new BillError(`the bill is of ${said}`);
}

function rowOf(columns: Columns, cells: readonly string[]): BillRow {
  const cell = (name: string): string => columns.cell(cells, name);
  const kind = KINDS[cell('业务类型')];
  if (kind === undefined) throw new BillError(`${JSON.stringify(cell('业务类型').slice(0, 40))} is no kind of trade`);
  const at = parseBeijingTime(cell('完成时间'));
  if (at === null) throw new BillError(`${JSON.stringify(cell('完成时间').slice(0, 40))} is no time`);

  const amount = billYuan(cell('订单金额（元）'));
  return {
    kind,
    merchantOrderNo: cell('商户订单号'),
    platformTransactionId: cell('支付宝交易号'),
    platformRefundNo: kind === 'REFUND' ? cell('退款批次号/请求号') : '',
    platformRefundId: '',
    amount: { currency: 'CNY', minorUnits: amount < 0n ? -amount : amount },
    // Written as what is deducted: a negative figure is a fee that was kept.
    fee: -billFee(cell('服务费（元）')),
    at,
    state: 'DONE',
    word: cell('业务类型'),
  };
}

const KINDS: Readonly<Record<string, BillRow['kind']>> = { 交易: 'PAYMENT', 退款: 'REFUND' };
