/** The fields of requests: their bounds, and how they become values of the domain. Violations name fields as the contract does. */
import { z } from 'zod';
import {
  CheckoutKind as CheckoutKindCode,
  PaymentStatus as PaymentStatusCode,
  Platform as PlatformCode,
  RefundStatus as RefundStatusCode,
} from '../gen/payment/v1/payment.js';
import type { Timestamp } from '../gen/google/protobuf/timestamp.js';
import { fieldInvalid, type FieldViolation } from '../payment/errors.js';
import { AMOUNT_MAX, isCurrency, type Money } from '../payment/money.js';
import { PAYMENT_STATUSES } from '../payment/payment-status.js';
import { PLATFORMS, type CheckoutKind } from '../payment/platform.js';
import { REFUND_STATUSES } from '../refund/refund-status.js';

const VIOLATIONS_MAX = 20;
const CHECKOUT_KINDS: readonly CheckoutKind[] = ['QR_CODE', 'PAGE', 'WAP', 'APP', 'JSAPI'];

/** Validates a whole request at once; a FIELD_INVALID names every wrong field in the contract's words. */
export function decode<Schema extends z.ZodType>(schema: Schema, request: unknown): z.infer<Schema> {
  const parsed = schema.safeParse(withoutOneofs(request));
  if (parsed.success) return parsed.data;
  throw fieldInvalid(...parsed.error.issues.slice(0, VIOLATIONS_MAX).map(violationOf));
}

/** Text of a person: any script, but well-formed and without control characters. The decoder turns broken UTF-8 into U+FFFD. */
export const text = (max: number): z.ZodString =>
  z
    .string('must be text')
    .max(max, `must have at most ${max} characters`)
     
    .regex(/^[^\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]*$/, 'must not contain control characters')
    .refine((value) => value.isWellFormed() && !value.includes('\ufffd'), 'must be well-formed text');

export const requiredText = (max: number): z.ZodString => text(max).min(1, 'is required');

/** Ids and numbers of callers and platforms: printable ASCII without spaces. */
export const id = z.string('must be text').max(64, 'must have at most 64 characters').regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces');
export const requiredId = id.min(1, 'is required');
export const orNull = (schema: z.ZodString) => schema.transform((value) => (value === '' ? null : value));

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
export const uuid = z.string('must be text').regex(UUID, 'must be a UUID').toLowerCase();
export const optionalUuid = z.string('must be text').regex(new RegExp(`${UUID.source}|^$`, 'i'), 'must be a UUID or empty').toLowerCase();

export const money = z
  .object(
    {
      currencyCode: z.string().refine(isCurrency, 'must be an active ISO 4217 code'),
      minorUnits: z.bigint().min(1n, 'must be positive').max(AMOUNT_MAX, `must be at most ${AMOUNT_MAX}`),
    },
    'is required',
  )
  .transform(({ currencyCode, minorUnits }): Money => ({ currency: currencyCode, minorUnits }));

export const optionalMoney = money.optional().transform((value) => value ?? null);

/** Zero is a legal expectation. */
export const expectedMoney = z
  .object({
    currencyCode: z.string().refine(isCurrency, 'must be an active ISO 4217 code'),
    minorUnits: z.bigint().min(0n, 'must not be negative').max(AMOUNT_MAX, `must be at most ${AMOUNT_MAX}`),
  })
  .optional()
  .transform((value): Money | null => (value === undefined ? null : { currency: value.currencyCode, minorUnits: value.minorUnits }));

const SECONDS_MIN = 0n;
const SECONDS_MAX = 253_402_300_799n;
export const time = z
  .custom<Timestamp>((value) => isTimestamp(value), 'must be a time between 1970 and 9999 with nanos of 0 to 999999999')
  .transform((value) => new Date(Number(value.seconds) * 1_000 + Math.floor(value.nanos / 1e6)));
export const optionalTime = time.optional().transform((value) => value ?? null);

/** A Duration in milliseconds within bounds; null when absent. */
export const duration = (bounds: { minMs: number; maxMs: number }) =>
  z
    .object({ seconds: z.bigint(), nanos: z.number().int() })
    .transform(({ seconds, nanos }) => Number(seconds) * 1_000 + nanos / 1e6)
    .refine((ms) => ms >= bounds.minMs && ms <= bounds.maxMs, `must be between ${bounds.minMs} and ${bounds.maxMs} ms`)
    .optional()
    .transform((value) => value ?? null);

const PAGE_MAX = 500;
const PAGE_DEFAULT = 50;
export const pageSize = z
  .number()
  .int()
  .min(0, 'must not be negative')
  .transform((size) => (size === 0 ? PAGE_DEFAULT : Math.min(size, PAGE_MAX)));
export const pageToken = z.string().max(512, 'is not a page token');

export const expectedVersion = z
  .number()
  .int()
  .min(1, 'must be at least 1')
  .optional()
  .transform((value) => value ?? null);

export const platform = known(PlatformCode, 'PLATFORM_', PLATFORMS);
export const optionalPlatform = optionally(platform);
export const paymentStatus = known(PaymentStatusCode, 'PAYMENT_STATUS_', PAYMENT_STATUSES);
export const refundStatus = known(RefundStatusCode, 'REFUND_STATUS_', REFUND_STATUSES);
export const checkoutKind = known(CheckoutKindCode, 'CHECKOUT_KIND_', CHECKOUT_KINDS);

const METADATA_KEYS_MAX = 32;
export const metadata = z
  .record(z.string(), z.unknown())
  .refine((value) => Object.keys(value).length <= METADATA_KEYS_MAX, { error: `must have at most ${METADATA_KEYS_MAX} keys`, abort: true })
  .pipe(z.record(requiredText(64), text(256)));

/** An enum of the contract as the domain's name of it; zero and numbers that the contract does not have are refused. */
export function known<Name extends string>(codes: Record<number, string>, prefix: string, names: readonly Name[]) {
  return z.number().transform((code, context): Name => {
    const name = names.find((candidate) => codes[code] === prefix + candidate);
    if (name !== undefined) return name;
    context.addIssue({ code: 'custom', message: code === 0 ? 'is required' : `${code} is not a known value` });
    return z.NEVER;
  });
}

/** The same with zero for absent. */
export function optionally<Out>(schema: z.ZodType<Out, number>) {
  return z.number().transform((code, context): Out | null => {
    if (code === 0) return null;
    const parsed = schema.safeParse(code);
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) context.addIssue({ code: 'custom', message: issue.message });
    return z.NEVER;
  });
}

function isTimestamp(value: unknown): boolean {
  if (value === null || typeof value !== 'object' || !('seconds' in value) || !('nanos' in value)) return false;
  const { seconds, nanos } = value as Timestamp;
  return seconds >= SECONDS_MIN && seconds <= SECONDS_MAX && Number.isInteger(nanos) && nanos >= 0 && nanos <= 999_999_999;
}

/** `{ kind: { $case: 'registered', value } }` as `{ registered: value }`, so that paths read as in the contract. */
function withoutOneofs(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutOneofs);
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return value;
  const flat: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    const oneof = inner as { $case?: unknown; value?: unknown } | null | undefined;
    if (typeof oneof === 'object' && oneof !== null && typeof oneof.$case === 'string' && 'value' in oneof) {
      flat[oneof.$case] = withoutOneofs(oneof.value);
    } else {
      Object.defineProperty(flat, key, { value: withoutOneofs(inner), enumerable: true, writable: true, configurable: true });
    }
  }
  return flat;
}

function violationOf(issue: z.core.$ZodIssue): FieldViolation {
  const field = issue.path.map((part) => String(part).replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)).join('.');
  return { field, description: issue.message };
}
