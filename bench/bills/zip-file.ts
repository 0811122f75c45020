/** A zip file that is written as it comes, the way Java does it: sizes and checksum stand behind the entry and in the directory. */
import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32, createDeflateRaw } from 'node:zlib';

const VERSION = 20;
const SIZES_FOLLOW = 0x0008;
const DEFLATE = 8;
const DATE = 0x0021;

/** One entry; its content below 4 GB. */
export async function writeZipFile(path: string, name: Buffer, content: Iterable<Buffer>): Promise<void> {
  const entry = { checksum: 0, size: 0, packed: 0 };
  const counted = function* (): Generator<Buffer> {
    for (const piece of content) {
      entry.checksum = crc32(piece, entry.checksum);
      entry.size += piece.length;
      yield piece;
    }
  };
  const framed = async function* (packed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    yield Buffer.concat([words(0x04034b50), halves(VERSION, SIZES_FOLLOW, DEFLATE, 0, DATE), words(0, 0, 0), halves(name.length, 0), name]);
    for await (const piece of packed) {
      entry.packed += piece.length;
      yield piece;
    }
    const sizes = words(entry.checksum, entry.packed, entry.size);
    yield Buffer.concat([words(0x08074b50), sizes]);

    const directory = Buffer.concat([
      words(0x02014b50),
      halves(VERSION, VERSION, SIZES_FOLLOW, DEFLATE, 0, DATE),
      sizes,
      halves(name.length, 0, 0, 0, 0),
      words(0, 0),
      name,
    ]);
    const directoryAt = 30 + name.length + entry.packed + 16;
    yield Buffer.concat([directory, words(0x06054b50), halves(0, 0, 1, 1), words(directory.length, directoryAt), halves(0)]);
  };
  await pipeline(Readable.from(counted()), createDeflateRaw(), framed, createWriteStream(path));
}

function halves(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  values.forEach((value, at) => bytes.writeUInt16LE(value, at * 2));
  return bytes;
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, at) => bytes.writeUInt32LE(value, at * 4));
  return bytes;
}
