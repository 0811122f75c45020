/**
 * An audit export: where the log of every payment of a range ended at a time, in a file that is kept where nobody who can change the
 * database can change it. Entries are chained, so that one hash stands for all entries before it: whoever rewrites one later, with
 * everything behind it and the payment itself, cannot give it back the hash that was exported.
 *
 * The file is UTF-8, one JSON object a line, every line ended by one line feed, none longer than 4096 bytes:
 *
 *   1. the header: `format` "paystate-audit/1", `about`, `from` and `to` (payments created from inclusive to exclusive), `created_at`,
 *      `database` (`feed_id` is drawn once for a database and survives dump and restore; `system_identifier` is the cluster's),
 *      `key_id` (the first 32 hex digits of the SHA-256 of the public key's DER; null without a signature).
 *   2. one line for each payment, by `created_at`, then by `payment_id`: `log_seq` and `log_hash` are seq and hash of its last log
 *      entry (payment-log.ts says how hashes are made); `version`, `status`, `amount`, `currency`, `paid_amount` and
 *      `refunded_amount` are the payment as that entry left it. Amounts are minor units as decimal text.
 *   3. the trailer: `payments` (the number of lines of 2.), `sha256` (lower-case hex, of all bytes before the trailer's line),
 *      `signature` (base64, or null): Ed25519 over the text "paystate-audit/1\npayments <payments>\nsha256 <sha256>\n".
 *
 * Times are ISO 8601 in UTC with milliseconds.
 */
import { z } from 'zod';
import { PAYMENT_STATUSES } from '../payment/payment-status.js';
import type { CreationRange, RecordedPayment } from '../payment/read-chains.js';

export const FORMAT = 'paystate-audit/1';
export const LINE_BYTES_MAX = 4_096;
/** Payments in memory at a time. */
export const PAGE = 500;

export interface ExportHeader extends CreationRange {
  readonly createdAt: Date;
  readonly database: DatabaseIdentity;
  readonly keyId: string | null;
}

export interface DatabaseIdentity {
  readonly feedId: number;
  readonly systemIdentifier: string;
}

export interface ExportTrailer {
  readonly payments: number;
  readonly sha256: string;
  readonly signature: Buffer | null;
}

const ABOUT =
  'Each line but the last is a payment with seq and hash of its last log entry; the last line has the SHA-256 of all lines before it and an Ed25519 signature. Checked by: paystate audit verify';

export const headerLine = ({ from, to, createdAt, database, keyId }: ExportHeader): string =>
  line({
    format: FORMAT,
    about: ABOUT,
    from,
    to,
    created_at: createdAt,
    database: { feed_id: database.feedId, system_identifier: database.systemIdentifier },
    key_id: keyId,
  });

export const paymentLine = (payment: RecordedPayment): string =>
  line({
    payment_id: payment.id,
    created_at: payment.createdAt,
    log_seq: payment.logSeq,
    log_hash: payment.logHash,
    version: payment.version,
    status: payment.status,
    amount: `${payment.amount}`,
    currency: payment.currency,
    paid_amount: `${payment.paidAmount}`,
    refunded_amount: `${payment.refundedAmount}`,
  });

export const trailerLine = ({ payments, sha256, signature }: ExportTrailer): string =>
  line({ payments, sha256, signature: signature?.toString('base64') ?? null });

export const signedText = ({ payments, sha256 }: Pick<ExportTrailer, 'payments' | 'sha256'>): Buffer =>
  Buffer.from(`${FORMAT}\npayments ${payments}\nsha256 ${sha256}\n`);

const line = (value: object): string => `${JSON.stringify(value)}\n`;

const time = z.iso.datetime({ precision: 3 }).transform((text) => new Date(text));
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const amount = z.string().regex(/^\d{1,19}$/).transform(BigInt);
const count = z.int().min(0);

export const headerSchema = z
  .strictObject({
    format: z.literal(FORMAT),
    about: z.string(),
    from: time,
    to: time,
    created_at: time,
    database: z.strictObject({ feed_id: z.int(), system_identifier: z.string() }),
    key_id: z.string().nullable(),
  })
  .transform(
    ({ from, to, created_at: createdAt, database: { feed_id: feedId, system_identifier: systemIdentifier }, key_id: keyId }): ExportHeader => ({
      from,
      to,
      createdAt,
      database: { feedId, systemIdentifier },
      keyId,
    }),
  );

export const paymentSchema = z
  .strictObject({
    payment_id: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
    created_at: time,
    log_seq: count,
    log_hash: z.string().nullable(),
    version: count,
    status: z.enum(PAYMENT_STATUSES),
    amount,
    currency: z.string(),
    paid_amount: amount,
    refunded_amount: amount,
  })
  .transform(
    ({ payment_id: id, created_at: createdAt, log_seq: logSeq, log_hash: logHash, paid_amount: paidAmount, refunded_amount: refundedAmount, ...rest }): RecordedPayment => ({
      ...rest,
      id,
      createdAt,
      logSeq,
      logHash,
      paidAmount,
      refundedAmount,
    }),
  );

export const trailerSchema = z
  .strictObject({ payments: count, sha256, signature: z.base64().nullable() })
  .transform(({ signature, ...rest }): ExportTrailer => ({ ...rest, signature: signature === null ? null : Buffer.from(signature, 'base64') }));
