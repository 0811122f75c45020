/** Alipay's trade bill (alipay.md section 11), in the layout of the simulator. */
import { join } from 'node:path';
import iconv from 'iconv-lite';
import { answer, nodeName, success } from '../../src/simulator/alipay/answers.js';
import { billFiles, type BillRow } from '../../src/simulator/alipay/bill-text.js';
import { yuan } from '../../src/simulator/alipay/format.js';
import { keysFrom } from '../../src/simulator/alipay/keys.js';
import { add, batches, DAY, noTotals, type Movement } from './movements.js';
import { serve, type ServedBill } from './served-bill.js';
import { writeZipFile } from './zip-file.js';

const METHOD = 'alipay.data.dataservice.bill.downloadurl.query';
const HEAD = { sellerId: '2088000000000001', day: DAY, exportedAt: Date.parse(`${DAY}T09:00:00+08:00`) };

export async function serveAlipayBill(folder: string, rows: number): Promise<ServedBill> {
  const file = join(folder, 'alipay.zip');
  const totals = noTotals();
  await writeZipFile(file, detailOf([]).name, content(rows, (movement) => add(totals, movement)));

  const keys = keysFrom({ newCertificates: null });
  const answering = { privateKeyPem: keys.alipayPrivateKeyPem, alipayCertSn: null, signFirst: false, traceId: 'bench' };
  const server = await serve((path, origin) => {
    if (path === '/bill.zip') return { body: { file } };
    const reply = answer(answering, nodeName(METHOD), success({ bill_download_url: `${origin}/bill.zip` }), null);
    if (reply.kind !== 'answer') throw new Error('the simulator answers nothing');
    return { body: reply.body };
  });
  const account = {
    account: 'alipay',
    app_id: '2021000000000001',
    seller_id: HEAD.sellerId,
    gateway_url: `${server.origin}/gateway.do`,
    app_private_key: keys.appPrivateKeyPem,
    alipay_public_key: keys.alipayPublicKeyPem,
  };
  return { account, totals, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const detailOf = (rows: readonly BillRow[]) => billFiles(rows, HEAD)[0]!;

/** The simulator writes whole bills; of each batch's the lines of the table are taken, and what frames them once. */
function* content(rows: number, onMovement: (movement: Movement) => void): Generator<Buffer> {
  const [start, end] = [/^支付宝交易号,.*\r\n/m, /^#-+业务明细列表结束/m];
  const framed = iconv.decode(detailOf([]).content, 'gbk');
  const [from, to] = [start, end].map((mark) => mark.exec(framed)!);
  const tableAt = from!.index + from![0].length;
  yield iconv.encode(framed.slice(0, tableAt), 'gbk');
  for (const batch of batches(rows, onMovement)) {
    const bill = iconv.decode(detailOf(batch.map(rowOf)).content, 'gbk');
    const lines = bill.slice(tableAt, end.exec(bill)!.index).trimEnd().split('\r\n');
    yield iconv.encode(lines.map((line, at) => `${withFee(line, batch[at]!)}\r\n`).join(''), 'gbk');
  }
  yield iconv.encode(framed.slice(to!.index), 'gbk');
}

/** The simulator takes no fees; the platform writes what it deducts as a negative figure. */
function withFee(line: string, { fee, refund }: Movement): string {
  const cells = line.split(',');
  cells[22] = yuan(refund === null ? -fee : fee);
  return cells.join(',');
}

const rowOf = ({ at, orderNo, transactionId, amount, refund }: Movement): BillRow => ({
  at,
  createdAt: at - 60_000,
  tradeNo: transactionId,
  outTradeNo: orderNo,
  subject: '龙井茶 250 克',
  remark: '',
  amount,
  requestNo: refund?.no ?? null,
});
