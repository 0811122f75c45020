/** Every mutating call carries a request id: the same id with the same body is the same act, done once. */
import { createHash } from 'node:crypto';
import type { RequestKey, View } from '../store/unit-of-work.js';
import { DomainError } from './errors.js';
import { RequestRecord } from './request-record.js';

export interface RequestOf {
  readonly method: string;
  readonly requestId: string;
  readonly bodyHash: string;
}

/** The hash of a request's canonical form: keys sorted, bigint and instants as text, the request id itself left out. */
export function bodyHash(body: object): string {
  return createHash('sha256').update(canonical({ ...body, request: undefined })).digest('hex');
}

export const requestKey = (request: RequestOf, appId: string | null): RequestKey => ({
  appId,
  method: request.method,
  requestId: request.requestId,
});

/** The record of an earlier call with this id, if there was one; REQUEST_ID_REUSED when that call had another body. */
export function earlierRequest(view: View, request: RequestOf, appId: string): RequestRecord | undefined {
  const record = view.request({ appId, method: request.method, requestId: request.requestId });
  if (record === undefined || record.bodyHash === request.bodyHash) return record;
  throw new DomainError(
    'REQUEST_ID_REUSED',
    `request_id ${request.requestId} was used at ${record.createdAt.toISOString()} for another ${request.method}`,
    {
      metadata: {
        request_id: request.requestId,
        method: request.method,
        first_request_time: record.createdAt.toISOString(),
        payment_id: record.paymentId,
      },
    },
  );
}

export function rememberRequest(
  view: View,
  request: RequestOf,
  result: { appId: string; paymentId: string; refundId?: string; answer?: Readonly<Record<string, string>> },
): void {
  view.add(
    Object.assign(new RequestRecord(), {
      appId: result.appId,
      method: request.method,
      requestId: request.requestId,
      bodyHash: request.bodyHash,
      paymentId: result.paymentId,
      refundId: result.refundId ?? null,
      answer: result.answer ?? {},
      createdAt: view.at,
    } satisfies RequestRecord),
  );
}

function canonical(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Date) return JSON.stringify(value.toISOString());
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const fields = Object.entries(value).filter(([, inner]) => inner !== undefined);
    fields.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${fields.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(',')}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
