/** WeChat Pay's trade bill: UTF-8 lines of cells behind back-ticks, amounts in yuan, and a summary that counts them. */
import { createHash } from 'node:crypto';
import { createGunzip } from 'node:zlib';
import { BillError, type Bill, type BillRow, type Call, type CallOutcome } from '../../payment/platform.js';
import { parseBeijingTime } from '../beijing-time.js';
import { BillFolder, billFee, billYuan, Columns, linesOf, readFileBytes, strictDecoder } from '../bill-file.js';
import { plainCode, textOf, type WechatPayClient } from './client.js';
import { queryOutcome } from './statuses.js';

const REQUIRED = ['交易时间', '微信订单号', '商户订单号', '交易状态', '商户退款单号', '退款金额', '退款状态', '手续费', '订单金额', '申请退款金额'];
const SUMMARY = '总交易单数';

export async function downloadBill(client: WechatPayClient, day: string, call: Call): Promise<CallOutcome<Bill | null>> {
  const answer = await client.get(`/v3/bill/tradebill?bill_date=${day}&bill_type=ALL&tar_type=GZIP`, call);
  if (answer.kind === 'REFUSED') {
    const code = plainCode(answer.code);
    if (code === 'NOSTATEMENTEXIST') return { kind: 'ACCEPTED', value: null };
    if (code === 'STATEMENTCREATING') return { ...answer, kind: 'RATE_LIMITED' };
  }
  if (answer.kind !== 'OK') return queryOutcome(answer);

  const file = await client.download(textOf(answer.node, 'download_url'), call);
  if (file.kind !== 'ANSWER') return file;
  if (file.status !== 200) return { kind: 'UNKNOWN', code: `HTTP_${file.status}`, message: 'the bill could not be fetched' };

  const folder = await BillFolder.make();
  try {
    const path = await folder.store('bill.csv', file.body, createGunzip());
    if ((await sha1Of(path)) !== textOf(answer.node, 'hash_value').toLowerCase()) throw new BillError('the file is not what the platform has hashed');
    return { kind: 'ACCEPTED', value: { rows: readRows(readFileBytes(path)), [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() } };
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    return { kind: 'UNKNOWN', code: 'BAD_BILL', message: error instanceof Error ? error.message : 'the bill cannot be read' };
  }
}

/** The download is not signed; the hash in the signed answer is what proves it, over the file as it is unpacked. */
async function sha1Of(path: string): Promise<string> {
  const hash = createHash('sha1');
  for await (const chunk of readFileBytes(path)) hash.update(chunk);
  return hash.digest('hex');
}

/** A header, the rows, and a summary whose count must be theirs; nothing follows it. */
export async function* readRows(source: AsyncIterable<Uint8Array>): AsyncGenerator<BillRow> {
  const decode = strictDecoder('utf-8');
  let columns: Columns | null = null;
  let summary: Columns | null = null;
  let count = 0;
  let said: string | null = null;
  for await (const line of linesOf(source)) {
    const text = decode(line).replace(/^\uFEFF/, '');
    if (text.trim() === '') continue;
    if (said !== null) throw new BillError('the bill goes on after its summary');
    if (columns === null) columns = new Columns(text.split(','), REQUIRED);
    else if (summary !== null) said = summary.cell(cellsOf(text), SUMMARY);
    else if (text.startsWith(SUMMARY)) summary = new Columns(text.split(','), [SUMMARY]);
    else {
      count += 1;
      yield rowOf(columns, cellsOf(text));
    }
  }
  if (said === null) throw new BillError('the bill ends in the middle');
  requireCount(said, count);
}

/** Every cell begins with a back-tick, so that a comma inside of one divides nothing. */
const cellsOf = (line: string): string[] => line.replace(/^`/, '').split(',`');

function requireCount(said: string, count: number): void {
  if (said !== `${count}`) throw new BillError(`the bill has ${count} rows, its summary says ${said.slice(0, 20)}`);
}

const REFUND_STATES: Readonly<Record<string, BillRow['state']>> = { SUCCESS: 'DONE', PROCESSING: 'OPEN', FAIL: 'FAILED' };

function rowOf(columns: Columns, cells: readonly string[]): BillRow {
  const cell = (name: string): string => columns.cell(cells, name);
  const at = parseBeijingTime(cell('交易时间'));
  if (at === null) throw new BillError(`${JSON.stringify(cell('交易时间').slice(0, 40))} is no time`);
  const common = { merchantOrderNo: cell('商户订单号'), platformTransactionId: cell('微信订单号'), fee: billFee(cell('手续费')), at };

  const word = cell('交易状态');
  if (word === 'SUCCESS') {
    return { ...common, kind: 'PAYMENT', platformRefundNo: '', platformRefundId: '', amount: yuan(cell('订单金额')), state: 'DONE', word };
  }
  if (word !== 'REFUND' && word !== 'REVOKED') throw new BillError(`${JSON.stringify(word.slice(0, 40))} is no state of a trade`);
  const state = REFUND_STATES[cell('退款状态')];
  if (state === undefined) throw new BillError(`${JSON.stringify(cell('退款状态').slice(0, 40))} is no state of a refund`);
  const numbers = { platformRefundNo: cell('商户退款单号'), platformRefundId: cell('微信退款单号') };
  return { ...common, ...numbers, kind: 'REFUND', amount: yuan(cell('申请退款金额')), state, word: `${word} ${cell('退款状态')}` };
}

function yuan(text: string): BillRow['amount'] {
  const fen = billYuan(text);
  return { currency: 'CNY', minorUnits: fen < 0n ? -fen : fen };
}
