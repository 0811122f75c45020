/** WeChat Pay's trade bill (wechatpay.md section 10), in the layout of the simulator. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { billText, type BillRow } from '../../src/simulator/wechatpay/bill-text.js';
import { yuan } from '../../src/simulator/wechatpay/format.js';
import { newKeys } from '../../src/simulator/wechatpay/keys.js';
import { Signer } from '../../src/simulator/wechatpay/signer.js';
import { add, batches, noTotals, type Movement, type Totals } from './movements.js';
import { serve, type ServedBill } from './served-bill.js';

const MERCHANT = { mchid: '1900000001', appid: 'wx0000000000000001' };

export async function serveWechatBill(folder: string, rows: number): Promise<ServedBill> {
  const file = join(folder, 'wechatpay.csv.gz');
  const totals = noTotals();
  const hash = createHash('sha1');
  const hashed = function* (): Generator<Buffer> {
    for (const piece of content(rows, totals)) {
      hash.update(piece);
      yield piece;
    }
  };
  await pipeline(Readable.from(hashed()), createGzip(), createWriteStream(file));
  const hashValue = hash.digest('hex');

  const keys = newKeys(Date.now(), MERCHANT.mchid);
  const signer = new Signer(keys, 'public-key');
  const server = await serve((path, origin) => {
    if (path.startsWith('/v3/billdownload/')) return { body: { file } };
    const body = JSON.stringify({ hash_type: 'SHA1', hash_value: hashValue, download_url: `${origin}/v3/billdownload/file?token=bench&tartype=gzip` });
    return { headers: { 'content-type': 'application/json', ...signer.headers(body, Date.now()) }, body: Buffer.from(body) };
  });
  const account = {
    account: 'wechatpay',
    ...MERCHANT,
    base_url: server.origin,
    merchant_private_key: keys.merchant.privateKeyPem,
    merchant_certificate_serial: keys.merchant.serial,
    api_v3_key: keys.apiV3Key,
    public_keys: { [keys.publicKey.id]: keys.publicKey.publicKeyPem },
  };
  return { account, totals, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** The simulator writes whole bills; of each batch's the rows are taken, between one header and one summary. */
function* content(rows: number, totals: Totals): Generator<Buffer> {
  const [header, summaryHeader] = linesOf([]);
  yield Buffer.from(`${header}\r\n`);
  for (const batch of batches(rows, (movement) => add(totals, movement))) {
    yield Buffer.from(linesOf(batch.map(rowOf)).slice(1, -3).map((line) => `${line}\r\n`).join(''));
  }
  const { payments, refunds, paid, refunded, fees } = totals;
  const summary = [`${payments + refunds}`, yuan(paid), yuan(refunded), '0.00', `${yuan(fees)}000`, yuan(paid), yuan(refunded)];
  yield Buffer.from(`${summaryHeader}\r\n${summary.map((cell) => `\`${cell}`).join(',')}\r\n`);
}

const linesOf = (rows: readonly BillRow[]): string[] => billText(rows, 'ALL').toString('utf8').split('\r\n');

const rowOf = ({ at, orderNo, transactionId, amount, refund }: Movement): BillRow => ({
  at,
  ...MERCHANT,
  transactionId,
  outTradeNo: orderNo,
  openid: 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o',
  tradeType: 'NATIVE',
  description: '龙井茶, 250 克',
  attach: '',
  amount,
  refund: refund === null ? null : { refundId: refund.id, outRefundNo: refund.no, status: 'SUCCESS' },
});
