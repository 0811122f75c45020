/** The least of the ZIP format (PKWARE APPNOTE 4.3) that settlement files need: deflated entries, names in whatever bytes the platform uses. */
import { crc32, deflateRawSync } from 'node:zlib';

export interface ZipEntry {
  /** Written as it is; the flag for UTF-8 names stays unset. */
  readonly name: Buffer;
  readonly content: Buffer;
}

const VERSION = 20;
const DEFLATE = 8;
/** The first of January 1980: a file of the same content is the same bytes. */
const DATE = 0x0021;
const BYTES_MAX = 0xffff_ffff;

export function zip(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content } of entries) {
    const packed = deflateRawSync(content);
    if (Math.max(offset, content.length, packed.length) > BYTES_MAX) throw new Error('too large for a ZIP file without the 64 bit extension');
    const common = descriptionOf({ name, content, packed });
    const local = Buffer.concat([words(0x04034b50), common, name, packed]);
    directory.push(Buffer.concat([words(0x02014b50), halves(VERSION), common, halves(0, 0, 0), words(0, offset), name]));
    parts.push(local);
    offset += local.length;
  }

  const central = Buffer.concat(directory);
  const end = Buffer.concat([words(0x06054b50), halves(0, 0, entries.length, entries.length), words(central.length, offset), halves(0)]);
  return Buffer.concat([...parts, central, end]);
}

/** What an entry's local header and its line in the directory have in common. */
function descriptionOf({ name, content, packed }: ZipEntry & { readonly packed: Buffer }): Buffer {
  return Buffer.concat([halves(VERSION, 0, DEFLATE, 0, DATE), words(crc32(content), packed.length, content.length), halves(name.length, 0)]);
}

const halves = (...values: readonly number[]): Buffer => Buffer.from(Uint8Array.from(values.flatMap((value) => [value & 0xff, value >>> 8])));

const words = (...values: readonly number[]): Buffer => Buffer.concat(values.map((value) => halves(value & 0xffff, value >>> 16)));
