/**
 * UnionPay's settlement file: base64 of a deflated zip inside a signed answer, GBK lines of fixed width. The answer may be far larger
 * than memory should hold, so it goes to disk first and its signature is verified from there.
 */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { Transform, type TransformCallback } from 'node:stream';
import { createInflate } from 'node:zlib';
import { BillError, type Bill, type BillRow, type Call, type CallOutcome } from '../../payment/platform.js';
import { compactBeijingTime, nearestYear, parseCompactBeijingTime } from '../beijing-time.js';
import { BillFolder, linesOf, readFileBytes } from '../bill-file.js';
import { formBody, type Parameters } from '../form.js';
import { openDownload } from '../http.js';
import { verifyBytes } from '../rsa.js';
import type { UnionPayClient } from './client.js';
import { parseAnswer, whyUnproven } from './signature.js';
import { queryOutcome } from './statuses.js';

export async function downloadBill(client: UnionPayClient, fileUrl: string, day: string, call: Call): Promise<CallOutcome<Bill | null>> {
  const headers = { 'content-type': 'application/x-www-form-urlencoded;charset=utf-8' };
  const body = formBody(client.signed(requestFields(day, call.at)));
  const answer = await openDownload({ method: 'POST', url: fileUrl, headers, body }, call);
  if (answer.kind !== 'ANSWER') return answer;
  if (answer.status !== 200) return { kind: 'UNKNOWN', code: `HTTP_${answer.status}`, message: 'the file could not be fetched' };

  const folder = await BillFolder.make();
  const dispose = (): Promise<void> => folder[Symbol.asyncDispose]();
  try {
    const read = await readAnswer(client, await folder.store('answer', answer.body), call.at);
    requireOurs(client, read.fields, day);
    if (read.content === null) {
      await dispose();
      if (read.fields['respCode'] === '98') return { kind: 'ACCEPTED', value: null };
      return queryOutcome({ kind: 'OK', fields: read.fields });
    }
    const content = createReadStream(read.path, { start: read.content.start, end: read.content.end - 1 });
    const zip = await folder.store('bill.zip', content, new FromBase64(), createInflate());
    const lines = await folder.unpack('lines', zip, (name) => /^INN\d+ZM_/.test(name.toString('latin1')));
    return { kind: 'ACCEPTED', value: { rows: readRows(readFileBytes(lines), day), [Symbol.asyncDispose]: dispose } };
  } catch (error) {
    await dispose();
    return { kind: 'UNKNOWN', code: 'BAD_BILL', message: error instanceof Error ? error.message : 'the file cannot be read' };
  }
}

/** What is signed may have been signed for another request. */
function requireOurs(client: UnionPayClient, fields: Parameters, day: string): void {
  if (!client.isOurs(fields)) throw new BillError('the file is for another merchant');
  const { settleDate = settleDateOf(day) } = fields;
  if (settleDate !== settleDateOf(day)) throw new BillError(`the file is of ${settleDate}`);
}

const settleDateOf = (day: string): string => day.slice(5).replace('-', '');

const requestFields = (day: string, at: Date): Parameters => ({
  txnType: '76',
  txnSubType: '01',
  bizType: '000000',
  txnTime: compactBeijingTime(at),
  settleDate: settleDateOf(day),
  fileType: '00',
});

interface StoredAnswer {
  readonly path: string;
  /** Every field but the content. */
  readonly fields: Parameters;
  /** Where the content stands in the file; null where the answer brings none. */
  readonly content: { readonly start: number; readonly end: number } | null;
}

const CONTENT = Buffer.from('fileContent=');
const WINDOW_BYTES = 256 * 1024;
/** Everything beside the content: names, codes, a certificate and a signature. */
const FIELDS_MAX_BYTES = 64 * 1024;

/** Takes the fields apart and verifies them; the content takes part in the digest from disk. Throws a BillError for what is not proven. */
async function readAnswer(client: UnionPayClient, path: string, at: Date): Promise<StoredAnswer> {
  const content = await findContent(path);
  const size = (await stat(path)).size;
  const around = content === null ? [{ start: 0, end: size }] : [{ start: 0, end: content.start }, { start: content.end, end: size }];
  const [before = '', after = ''] = await Promise.all(around.map((range) => readRange(path, range)));
  const fields = parseAnswer(content === null ? before : `${before}${MARK}${after}`);
  if (fields === null) throw new BillError('the answer is not what the platform sends');
  if (content === null) {
    const unproven = whyUnproven(fields, client.trust, at);
    if (unproven !== null) throw new BillError(`the answer is not proven to be the platform's: ${unproven}`);
    return { path, fields, content };
  }

  const digest = await digestWithContent(path, fields, content);
  // The chain, the name and the method are held to the same rules; only the digest is made otherwise.
  const unproven = whyUnproven(fields, client.trust, at, (signature, key) => verifyBytes(digest, signature, key));
  if (unproven !== null) throw new BillError(`the answer is not proven to be the platform's: ${unproven}`);
  const { fileContent: _content, ...rest } = fields;
  return { path, fields: rest, content };
}

/** Stands for the content where the other fields are taken apart; base64 has no such character. */
const MARK = '*';

async function digestWithContent(path: string, fields: Parameters, content: { start: number; end: number }): Promise<string> {
  const hash = createHash('sha256');
  const names = Object.keys(fields).filter((name) => name !== 'signature' && fields[name] !== '').sort();
  for (const [at, name] of names.entries()) {
    hash.update(`${at === 0 ? '' : '&'}${name}=`, 'utf8');
    if (name !== 'fileContent') hash.update(fields[name]!, 'utf8');
    else for await (const chunk of readFileBytes(path, content)) hash.update(chunk);
  }
  return hash.digest('hex');
}

async function findContent(path: string): Promise<{ start: number; end: number } | null> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    let start: number | null = null;
    const window = Buffer.alloc(WINDOW_BYTES);
    for (let position = 0; position < size; ) {
      const { bytesRead } = await file.read(window, 0, WINDOW_BYTES, position);
      if (bytesRead === 0) break;
      const seen = window.subarray(0, bytesRead);
      if (start === null) {
        const found = seen.indexOf(CONTENT);
        if (found !== -1) start = position + found + CONTENT.length;
        else if (position + bytesRead > FIELDS_MAX_BYTES + WINDOW_BYTES) return null;
        // The name may lie across two windows.
        position = start ?? (position + bytesRead >= size ? size : position + bytesRead - CONTENT.length);
        continue;
      }
      const end = seen.indexOf('&');
      if (end !== -1) return { start, end: position + end };
      position += bytesRead;
    }
    return start === null ? null : { start, end: size };
  } finally {
    await file.close();
  }
}

async function readRange(path: string, { start, end }: { start: number; end: number }): Promise<string> {
  if (end - start > FIELDS_MAX_BYTES) throw new BillError('the answer is not what the platform sends');
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
    return buffer.toString('utf8');
  } finally {
    await file.close();
  }
}

/** Base64 in whole quads, however it is cut into pieces. */
class FromBase64 extends Transform {
  private rest = '';

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const text = this.rest + chunk.toString('latin1').replace(/[\r\n]/g, '');
    const whole = text.length - (text.length % 4);
    this.rest = text.slice(whole);
    done(null, Buffer.from(text.slice(0, whole), 'base64'));
  }

  override _flush(done: TransformCallback): void {
    if (this.rest === '') done();
    else done(new BillError('the file content is cut'));
  }
}

/** Widths in bytes with one space between; numbered from 1 as the platform's table is. */
const WIDTHS = [3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21, 15, 1, 15, 32, 13, 13, 8, 32, 13, 13, 12, 2, 1, 32, 98];
const FIELD = { time: 5, amount: 7, queryId: 10, orderId: 12, fee: 16, txnType: 20, origQryId: 27, origOrderId: 41 } as const;
const OFFSETS = WIDTHS.map((_width, at) => WIDTHS.slice(0, at).reduce((sum, width) => sum + width + 1, 0));
const ROW_MIN_BYTES = OFFSETS[FIELD.origOrderId]! - 1;
const GAPS = OFFSETS.slice(1).map((offset) => offset - 1);

export async function* readRows(source: AsyncIterable<Uint8Array>, day: string): AsyncGenerator<BillRow> {
  const near = parseCompactBeijingTime(`${day.replaceAll('-', '')}120000`) ?? new Date(NaN);
  for await (const line of linesOf(source)) {
    if (line.every((byte) => byte === 0x20)) continue;
    if (line.length < ROW_MIN_BYTES) throw new BillError('a line of the bill is cut');
    // In another encoding the names have other widths, and what follows them stands elsewhere.
    if (GAPS.some((at) => at < line.length && line[at] !== 0x20)) throw new BillError('the fields of a line are not where they belong');
    yield rowOf(fieldsOf(line), near);
  }
}

/** By byte widths. Names alone are in GBK, and of those none is read. */
function fieldsOf(line: Buffer): (number: number) => string {
  const bytes = line.toString('latin1');
  return (number) => {
    const start = OFFSETS[number - 1]!;
    const text = bytes.slice(start, start + WIDTHS[number - 1]!).trim();
    if (!/^[\x20-\x7e]*$/.test(text)) throw new BillError(`field ${number} of a line is not in ASCII`);
    return text;
  };
}

function rowOf(field: (number: number) => string, near: Date): BillRow {
  const txnType = field(FIELD.txnType);
  const kind = txnType === '01' ? 'PAYMENT' : txnType === '04' || txnType === '31' ? 'REFUND' : null;
  if (kind === null) throw new BillError(`${JSON.stringify(txnType)} is no type of transaction`);
  const at = nearestYear(field(FIELD.time), near);
  if (at === null) throw new BillError(`${JSON.stringify(field(FIELD.time))} is no time`);
  const amount = field(FIELD.amount);
  if (!/^\d{1,12}$/.test(amount)) throw new BillError(`${JSON.stringify(amount)} is no amount`);

  const refund = kind === 'REFUND';
  return {
    kind,
    merchantOrderNo: field(refund ? FIELD.origOrderId : FIELD.orderId),
    platformTransactionId: field(refund ? FIELD.origQryId : FIELD.queryId),
    platformRefundNo: refund ? field(FIELD.orderId) : '',
    platformRefundId: refund ? field(FIELD.queryId) : '',
    amount: { currency: 'CNY', minorUnits: BigInt(amount) },
    fee: feeOf(field(FIELD.fee)),
    at,
    state: 'DONE',
    word: txnType,
  };
}

/** `D` is debited from us, `C` credited to us. */
function feeOf(text: string): bigint {
  const match = /^([CD])(\d{1,12})$/.exec(text);
  if (match === null) throw new BillError(`${JSON.stringify(text)} is no fee`);
  return match[1] === 'D' ? BigInt(match[2]!) : -BigInt(match[2]!);
}
