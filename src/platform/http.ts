/** One HTTP exchange with a platform: never repeated by itself, bounded in time and size, and never an exception. */
import type { Call, Delivery, Failure } from '../payment/platform.js';

export interface HttpCall {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpAnswer {
  readonly kind: 'ANSWER';
  readonly status: number;
  readonly headers: Headers;
  /** Raw, for every platform signs bytes. */
  readonly body: Buffer;
}

/** UNKNOWN: it may have been executed. UNREACHABLE: nothing was there to take it. */
export type HttpFailure = Failure & { readonly kind: 'UNKNOWN' | 'UNREACHABLE' };

const CALL_MAX_MS = 15_000;
const ANSWER_MAX_BYTES = 1024 * 1024;
/** Nothing left this machine, or nothing was there to take it. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);
/** What a connection may say of itself after it has taken a call. */
const ON_THE_WAY = new Set(['read', 'write']);

export async function exchange(request: HttpCall, call: Call): Promise<HttpAnswer | HttpFailure> {
  try {
    const response = await open(request, call);
    return { kind: 'ANSWER', status: response.status, headers: response.headers, body: await readBody(response) };
  } catch (error) {
    return transportFailure(error);
  }
}

/** The same for what is too large to hold: the body as it comes. A failure on the way is thrown by the iteration. */
export async function openDownload(
  request: HttpCall,
  call: Call,
): Promise<{ readonly kind: 'ANSWER'; readonly status: number; readonly headers: Headers; readonly body: AsyncIterable<Uint8Array> } | HttpFailure> {
  try {
    const response = await open(request, call, null);
    const body = (response.body ?? []) as AsyncIterable<Uint8Array>;
    return { kind: 'ANSWER', status: response.status, headers: response.headers, body };
  } catch (error) {
    return transportFailure(error);
  }
}

/** Whether a delivery is what it says the platform sends: anything else would be read by other rules than it was written by. */
export function hasMediaType({ headers }: Delivery, mediaType: string): boolean {
  return (headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase() === mediaType;
}

function open(request: HttpCall, call: Call, maxMs: number | null = CALL_MAX_MS): Promise<Response> {
  const { url, ...rest } = request;
  const signal = maxMs === null ? call.signal : AbortSignal.any([call.signal, AbortSignal.timeout(maxMs)]);
  // A redirect would carry a signed request to wherever the answer says.
  return fetch(url, { ...rest, redirect: 'error', signal });
}

async function readBody(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > ANSWER_MAX_BYTES) throw new Error(`the answer exceeds ${ANSWER_MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export function transportFailure(error: unknown): HttpFailure {
  const { code, syscall } = transportCause(error);
  if (NOT_SENT.has(code) && !ON_THE_WAY.has(syscall)) return { kind: 'UNREACHABLE', code, message: 'the platform cannot be reached' };
  return { kind: 'UNKNOWN', code, message: 'the call ended without an answer' };
}

function transportCause(error: unknown): { readonly code: string; readonly syscall: string } {
  const seen: unknown[] = [];
  for (let cause = error; typeof cause === 'object' && cause !== null && seen.length < 8; ) {
    seen.push(cause);
    if ('code' in cause && typeof cause.code === 'string') return { code: cause.code, syscall: 'syscall' in cause ? String(cause.syscall) : '' };
    if ('name' in cause && (cause.name === 'TimeoutError' || cause.name === 'AbortError')) return { code: 'TIMEOUT', syscall: '' };
    cause = 'cause' in cause ? cause.cause : null;
  }
  return { code: 'NO_ANSWER', syscall: '' };
}
