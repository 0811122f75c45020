/** Settlement files on disk: a bill of a million lines is never held in memory, and nothing of it is believed before it is whole. */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import yauzl from 'yauzl';
import { BillError } from '../payment/platform.js';

const FILE_MAX_BYTES = 4 * 1024 ** 3;
const LINE_MAX_BYTES = 64 * 1024;

/** A folder of its own that goes when the bill goes. */
export class BillFolder implements AsyncDisposable {
  private constructor(private readonly folder: string) {}

  static async make(): Promise<BillFolder> {
    return new BillFolder(await mkdtemp(join(tmpdir(), 'paystate-bill-')));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Writes a stream to a file of the folder, by way of any transforms, and answers its path. */
  async store(name: string, source: AsyncIterable<Uint8Array>, ...through: NodeJS.ReadWriteStream[]): Promise<string> {
    const path = this.path(name);
    // What counts is what comes out: a small file may unpack into a very large one.
    await pipeline([Readable.from(source), ...through, Duplex.from(bounded), createWriteStream(path)]);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function* bounded(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of source) {
    size += chunk.length;
    if (size > FILE_MAX_BYTES) throw new BillError(`the file exceeds ${FILE_MAX_BYTES} bytes`);
    yield chunk;
  }
}

/** Opens the one entry of a zip file that is wanted; its bytes are held against their checksum when they end. */
export async function openZipEntry(path: string, isWanted: (name: Buffer) => boolean): Promise<AsyncIterable<Buffer>> {
  const zip = await new Promise<yauzl.ZipFile>((resolve, reject) => {
    // Names come in GBK without saying so; they are looked at as bytes.
    yauzl.open(path, { lazyEntries: true, decodeStrings: false, autoClose: false }, (error, opened) => {
      if (error === null) resolve(opened);
      else reject(new BillError(`not a zip file: ${error.message}`));
    });
  });
  try {
    const entry = await findEntry(zip, isWanted);
    if (entry === null) throw new BillError('the zip file has no such entry');
    return checked(zip, entry);
  } catch (error) {
    zip.close();
    throw error;
  }
}

function findEntry(zip: yauzl.ZipFile, isWanted: (name: Buffer) => boolean): Promise<yauzl.Entry | null> {
  return new Promise((resolve, reject) => {
    zip.on('error', (error: Error) => reject(new BillError(`a damaged zip file: ${error.message}`)));
    zip.on('end', () => resolve(null));
    zip.on('entry', (entry: yauzl.Entry) => {
      if (isWanted(entry.fileName as unknown as Buffer)) resolve(entry);
      else zip.readEntry();
    });
    zip.readEntry();
  });
}

async function* checked(zip: yauzl.ZipFile, entry: yauzl.Entry): AsyncGenerator<Buffer> {
  try {
    const stream = await new Promise<Readable>((resolve, reject) => {
      zip.openReadStream(entry, (error, opened) => (error === null ? resolve(opened) : reject(error)));
    });
    let checksum = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      checksum = crc32(chunk, checksum);
      yield chunk;
    }
    if (checksum !== entry.crc32) throw new BillError('the entry of the zip file is not what was packed');
  } catch (error) {
    throw error instanceof BillError ? error : new BillError('a damaged zip file', { cause: error });
  } finally {
    zip.close();
  }
}

/** The bytes of a file, as often as they are asked for. */
export const readFileBytes = (path: string): AsyncIterable<Buffer> => createReadStream(path, { highWaterMark: 256 * 1024 });

/** Lines as bytes, without their ends. */
export async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const piece of source) {
    const chunk = rest.length === 0 ? Buffer.from(piece) : Buffer.concat([rest, piece]);
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      yield chunk.subarray(start, end > start && chunk[end - 1] === 0x0d ? end - 1 : end);
      start = end + 1;
    }
    rest = chunk.subarray(start);
    if (rest.length > LINE_MAX_BYTES) throw new BillError('a line is too long');
  }
  if (rest.length > 0) yield rest;
}

/** Text that is exactly in the encoding that is expected; a re-encoded file is a fault and not a guess. */
export function strictDecoder(encoding: 'utf-8' | 'gbk'): (bytes: Uint8Array) => string {
  const decoder = new TextDecoder(encoding, { fatal: true });
  return (bytes) => {
    try {
      return decoder.decode(bytes);
    } catch (cause) {
      throw new BillError(`the bill is not in ${encoding}`, { cause });
    }
  };
}

/** Yuan as fen, signed: bills alone have negative amounts. Nothing below a fen. */
export function billYuan(text: string): bigint {
  const match = /^([+-]?)(\d{1,13})(?:\.(\d{1,2})0*)?$/.exec(text);
  if (match === null) throw new BillError(`${JSON.stringify(text.slice(0, 40))} is no amount`);
  const fen = BigInt(match[2]! + (match[3] ?? '').padEnd(2, '0'));
  return match[1] === '-' ? -fen : fen;
}

/** Fees are reckoned to a thousandth of a fen; they are rounded to the nearest fen, halves away from zero. */
export function billFee(text: string): bigint {
  const match = /^([+-]?)(\d{1,13})(?:\.(\d{1,5}))?$/.exec(text);
  if (match === null) throw new BillError(`${JSON.stringify(text.slice(0, 40))} is no fee`);
  const fen = (BigInt(match[2]! + (match[3] ?? '').padEnd(5, '0')) + 500n) / 1_000n;
  return match[1] === '-' ? -fen : fen;
}

/** Cells by the text of the header above them, so that added and moved columns do no harm. */
export class Columns {
  private readonly index: ReadonlyMap<string, number>;

  constructor(header: readonly string[], required: readonly string[]) {
    this.index = new Map(header.map((name, at) => [name.trim(), at]));
    const missing = required.filter((name) => !this.index.has(name));
    if (missing.length > 0) throw new BillError(`the bill lacks the columns ${missing.join(', ')}`);
  }

  /** Empty where the bill has no such column. */
  cell(row: readonly string[], name: string): string {
    const at = this.index.get(name);
    return at === undefined ? '' : (row[at] ?? '').trim();
  }
}
