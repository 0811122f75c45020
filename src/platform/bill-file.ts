/** Settlement files on disk: a bill of a million lines is never held in memory, and nothing of it is believed before it is whole. */
import { createWriteStream } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import yauzl from 'yauzl';
import { BillError } from '../payment/platform.js';

const FILE_MAX_BYTES = 4 * 1024 ** 3;
const LINE_MAX_BYTES = 64 * 1024;
const PIECE_BYTES = 64 * 1024;

/** A folder of its own that goes when the bill goes. */
export class BillFolder implements AsyncDisposable {
  private constructor(private readonly folder: string) {}

  static async make(): Promise<BillFolder> {
    return new BillFolder(await mkdtemp(join(tmpdir(), 'paystate-bill-')));
  }

  /** Writes a stream to a file of the folder, by way of any transforms, and answers its path. */
  async store(name: string, source: AsyncIterable<Uint8Array>, ...through: NodeJS.ReadWriteStream[]): Promise<string> {
    const path = join(this.folder, name);
    await pipeline([Readable.from(source), new Bounded(), ...through, new Bounded(), createWriteStream(path)]);
    return path;
  }

  /** Unpacks the one entry of a zip file that is wanted, whole by its checksum, and answers its path. */
  async unpack(name: string, zip: string, isWanted: (name: Buffer) => boolean): Promise<string> {
    return await this.store(name, await openZipEntry(zip, isWanted));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** What passes is held against the limit, as much for a download as for what it unpacks to. */
class Bounded extends Transform {
  private size = 0;

  override _transform(piece: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.size += piece.length;
    if (this.size > FILE_MAX_BYTES) return done(new BillError(`the file exceeds ${FILE_MAX_BYTES} bytes`));
    fillHeap(piece);
    done(null, piece);
  }
}

/**
 * The pieces of streams lie outside of the heap and are given back by its collections, which come when the heap is full. Streams alone
 * hardly fill it: V8 then lets some 40 MB of dead pieces pile up. So the heap is given as much to collect as has passed, in short texts.
 */
function fillHeap(piece: Buffer): void {
  for (let at = 0; at < piece.length; at += 4_096) piece.toString('latin1', at, at + 4_096);
}

/** Opens the one entry of a zip file that is wanted; its bytes are held against their checksum when they end. */
async function openZipEntry(path: string, isWanted: (name: Buffer) => boolean): Promise<AsyncIterable<Buffer>> {
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

/** The bytes of a file, or of a part of it. Each piece is overwritten by the next, so that a whole file takes the memory of one. */
export async function* readFileBytes(path: string, { start = 0, end = Infinity } = {}): AsyncGenerator<Buffer> {
  await using file = await open(path);
  const memory = Buffer.allocUnsafe(PIECE_BYTES);
  for (let position = start; position < end; ) {
    const { bytesRead } = await file.read(memory, 0, Math.min(PIECE_BYTES, end - position), position);
    if (bytesRead === 0) return;
    yield memory.subarray(0, bytesRead);
    position += bytesRead;
  }
}

/** Lines as bytes, without their ends. Each is overwritten once the next is asked for. */
export async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let memory = Buffer.allocUnsafe(PIECE_BYTES + LINE_MAX_BYTES);
  let rest = 0;
  for await (const piece of source) {
    if (rest + piece.length > memory.length) memory = Buffer.concat([memory.subarray(0, rest)], rest + piece.length);
    memory.set(piece, rest);
    const chunk = memory.subarray(0, rest + piece.length);
    let start = 0;
    for (let end = chunk.indexOf(0x0a, rest); end !== -1; end = chunk.indexOf(0x0a, start)) {
      yield withoutReturn(chunk.subarray(start, end));
      start = end + 1;
    }
    memory.copyWithin(0, start, chunk.length);
    rest = chunk.length - start;
    if (rest > LINE_MAX_BYTES) throw new BillError('a line is too long');
  }
  if (rest > 0) yield withoutReturn(memory.subarray(0, rest));
}

const withoutReturn = (line: Buffer): Buffer => (line.at(-1) === 0x0d ? line.subarray(0, -1) : line);

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
