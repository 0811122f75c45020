/** Reads an export and says whether it is genuine: whole, unaltered, and by whom it should be. */
import { createHash, verify, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { z } from 'zod';
import type { Place, RecordedPayment } from '../payment/read-chains.js';
import { keyIdOf } from './audit-key.js';
import {
  headerSchema,
  LINE_BYTES_MAX,
  PAGE,
  paymentSchema,
  signedText,
  trailerSchema,
  type ExportHeader,
  type ExportTrailer,
} from './export-format.js';

/** By what an export is known as the one that was written: the public key, or the digest that was kept elsewhere, or both. */
export type Trust = { readonly key: KeyObject; readonly sha256: string | null } | { readonly key: null; readonly sha256: string };

/** The file is not an export, not whole, altered, or by somebody else. */
export class NotGenuine extends Error {}

/**
 * Gives the payments of an export a page at a time and answers when all of it was read. Whether the file is genuine is known at its end
 * only, so read it once before believing anything; it is checked again each time.
 */
export async function readExport(
  path: string,
  trust: Trust,
  onPage: (page: readonly RecordedPayment[]) => Promise<void> = () => Promise.resolve(),
): Promise<ExportHeader> {
  const digest = createHash('sha256');
  let header: ExportHeader | null = null;
  let trailer: ExportTrailer | null = null;
  let [payments, last] = [0, null as Place | null];
  let page: RecordedPayment[] = [];

  for await (const line of linesOf(path)) {
    if (trailer !== null) throw new NotGenuine('the file goes on behind its trailer');
    const json = jsonOf(line);
    if (header !== null && !('payment_id' in json)) {
      trailer = parse(trailerSchema, json, 'trailer');
      continue;
    }

    digest.update(line);
    if (header === null) {
      header = parse(headerSchema, json, 'header');
      continue;
    }
    const payment = parse(paymentSchema, json, `line of payment ${payments + 1}`);
    requirePlace(payment, header, last);
    [payments, last] = [payments + 1, payment];
    page.push(payment);
    if (page.length < PAGE) continue;
    await onPage(page);
    page = [];
  }
  if (page.length > 0) await onPage(page);

  if (header === null || trailer === null) throw new NotGenuine('the file has no trailer: it is not whole');
  requireSealed(trailer, { payments, sha256: digest.digest('hex') });
  requireTrusted(header, trailer, trust);
  return header;
}

export const isBefore = (a: Place, b: Place): boolean =>
  a.createdAt.getTime() === b.createdAt.getTime() ? a.id < b.id : a.createdAt < b.createdAt;

function requirePlace(payment: RecordedPayment, { from, to }: ExportHeader, last: Place | null): void {
  const inRange = payment.createdAt >= from && payment.createdAt < to;
  if (!inRange || (last !== null && !isBefore(last, payment))) throw new NotGenuine(`payment ${payment.id} is out of its place`);
}

function requireSealed(trailer: ExportTrailer, found: { readonly payments: number; readonly sha256: string }): void {
  if (trailer.payments !== found.payments) throw new NotGenuine(`the trailer counts ${trailer.payments} payments, the file has ${found.payments}`);
  if (trailer.sha256 !== found.sha256) throw new NotGenuine(`the file was altered: its SHA-256 is ${found.sha256}, the trailer has ${trailer.sha256}`);
}

function requireTrusted({ keyId }: ExportHeader, trailer: ExportTrailer, { key, sha256 }: Trust): void {
  if (sha256 !== null && trailer.sha256 !== sha256) throw new NotGenuine(`the file is another export: its SHA-256 is ${trailer.sha256}`);
  if (key === null) return;
  if (keyId === null || trailer.signature === null) throw new NotGenuine('the file is not signed');
  if (keyId !== keyIdOf(key)) throw new NotGenuine(`the file names the key ${keyId}, not ${keyIdOf(key)}`);
  if (!verify(null, signedText(trailer), key, trailer.signature)) throw new NotGenuine('the signature is not of this key and file');
}

function jsonOf(line: Buffer): object {
  try {
    const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
    if (typeof json === 'object' && json !== null) return json;
  } catch {
    // Said below.
  }
  throw new NotGenuine('the file has a line that is no JSON object');
}

function parse<Schema extends z.ZodType>(schema: Schema, json: object, what: string): z.infer<Schema> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new NotGenuine(`the ${what} is none of this format (${faults.join('; ')})`);
}

/** With their line feeds. */
async function* linesOf(path: string): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, start)) {
      requireLength(end + 1 - start);
      yield bytes.subarray(start, end + 1);
      start = end + 1;
    }
    rest = bytes.subarray(start);
    requireLength(rest.length);
  }
  if (rest.length > 0) throw new NotGenuine('the file is cut off in the middle of a line');
}

function requireLength(bytes: number): void {
  if (bytes > LINE_BYTES_MAX) throw new NotGenuine(`the file has a line of more than ${LINE_BYTES_MAX} bytes`);
}
