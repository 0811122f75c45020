/** UnionPay's settlement file (unionpay.md section 9), in the layout of the simulator. */
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { createDeflate } from 'node:zlib';
import { newKeys } from '../../src/simulator/unionpay/keys.js';
import { transactionsText, type SettlementRow } from '../../src/simulator/unionpay/settlement-text.js';
import { Signer } from '../../src/simulator/unionpay/signer.js';
import { plainText } from '../../src/simulator/unionpay/wire.js';
import { add, batches, DAY, noTotals, type Movement } from './movements.js';
import { serve, type ServedBill } from './served-bill.js';
import { writeZipFile } from './zip-file.js';

const MER_ID = '000000000000001';

export async function serveUnionPayBill(folder: string, rows: number): Promise<ServedBill> {
  const [zip, file] = [join(folder, 'unionpay.zip'), join(folder, 'unionpay.answer')];
  const totals = noTotals();
  const content = function* (): Generator<Buffer> {
    for (const batch of batches(rows, (movement) => add(totals, movement))) yield transactionsText(batch.map(rowOf), MER_ID);
  };
  await writeZipFile(zip, Buffer.from(`INN${DAY.replaceAll('-', '').slice(2)}88ZM_${MER_ID}`), content());

  const keys = newKeys(Date.now(), MER_ID);
  // Packed, the content fits into one text, so that the simulator can sign it as it signs everything.
  const packed = await buffer(createReadStream(zip).pipe(createDeflate()));
  const signer = new Signer(keys, { lineEnd: '\r\n', now: () => Date.now() });
  await writeFile(file, plainText(signer.signed(fieldsAround(packed.toString('base64')))));
  const server = await serve(() => ({ body: { file } }));
  const account = {
    account: 'unionpay',
    mer_id: MER_ID,
    gateway_url: `${server.origin}/gateway/api/`,
    file_url: `${server.origin}/`,
    signing_key: keys.merchant.privateKeyPem,
    signing_certificate: keys.merchant.certificatePem,
    root_certificates: keys.root.certificatePem,
    middle_certificates: keys.middle.certificatePem,
  };
  return { account, totals, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const fieldsAround = (fileContent: string): ReadonlyMap<string, string> =>
  new Map([
    ['version', '5.1.0'],
    ['encoding', 'UTF-8'],
    ['accessType', '0'],
    ['bizType', '000000'],
    ['txnType', '76'],
    ['txnSubType', '01'],
    ['merId', MER_ID],
    ['settleDate', DAY.slice(5).replace('-', '')],
    ['fileType', '00'],
    ['fileName', `${MER_ID}_${DAY.replaceAll('-', '')}.zip`],
    ['fileContent', fileContent],
    ['respCode', '00'],
    ['respMsg', '成功[0000000]'],
  ]);

function rowOf({ at, orderNo, transactionId, amount, refund }: Movement): SettlementRow {
  // The clearing day begins an hour before its date.
  const common = { at: at - 3_600_000, traceNo: orderNo.slice(-6), bizType: '000000', amount };
  const queryId = transactionId.slice(-21);
  if (refund === null) return { ...common, kind: 'payment', orderId: orderNo, queryId, txnType: '01', txnSubType: '07', original: null };
  const original = { orderId: orderNo, queryId, traceNo: common.traceNo, at: common.at };
  return { ...common, kind: 'refund', orderId: refund.no, queryId: refund.id.slice(-21), txnType: '04', txnSubType: '00', original };
}
