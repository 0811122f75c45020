/**
 * The one wrapper through which every handler is registered. An async handler that rejects would otherwise kill the process and
 * leave its caller waiting; here every call is answered exactly once, with a status from the catalogue, and leaves one log line.
 */
import { randomUUID } from 'node:crypto';
import * as grpc from '@grpc/grpc-js';
import type { Logger } from '../logger.js';
import { DomainError, fieldInvalid } from '../payment/errors.js';
import type { Actor } from '../payment/payment-log.js';
import { domainErrorOf, rpcError } from './status.js';

export interface Call {
  /** Fires when the caller is gone or its time is over. */
  readonly signal: AbortSignal;
  readonly actor: Actor;
  readonly requestId: string;
  /** How long the caller will still wait, at most. */
  timeLeftMs(): number;
}

export type UnaryHandler<Request, Response> = (request: Request, call: Call) => Promise<Response>;
export type StreamHandler<Request, Response> = (request: Request, call: Call) => Promise<Source<Response>>;

export interface Source<Response> {
  readonly messages: AsyncIterable<Response>;
  /** Fires when the source has something to say to a reader that is still: its end. */
  readonly ended: AbortSignal;
}

/** A caller without a deadline gets this one; nobody gets more. */
const UNARY_MAX_MS = 30_000;
const METADATA_MAX_BYTES = 8 * 1024;
const HEADER_TEXT = /^[\x21-\x7e]{1,64}$/;

/** What a request becomes that cannot be decoded; see `tolerant`. */
class Undecodable {
  constructor(readonly cause: unknown) {}
}

/** A service definition whose undecodable requests reach the wrapper, instead of ending as INTERNAL inside the library. */
export function tolerant<Service extends grpc.ServiceDefinition>(service: Service): Service {
  const methods = Object.entries(service).map(([name, method]) => [
    name,
    {
      ...method,
      requestDeserialize: (bytes: Buffer): unknown => {
        try {
          return method.requestDeserialize(bytes);
        } catch (error) {
          return new Undecodable(error);
        }
      },
    },
  ]);
  return Object.fromEntries(methods) as Service;
}

export function unary<Request, Response>(
  log: Logger,
  method: string,
  handler: UnaryHandler<Request, Response>,
  options: { longPoll?: boolean } = {},
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const scope = openScope(log, method, call, options.longPoll === true ? Infinity : UNARY_MAX_MS);
    let answered = false;
    const answer = (error: unknown, response: Response | null): void => {
      if (answered) return;
      answered = true;
      scope.close(error);
      if (error === null) callback(null, response, scope.trailer());
      else callback(withTrailer(rpcError(error, scope.call.requestId), scope.trailer()));
    };

    scope.call.signal.addEventListener('abort', () => answer(scope.call.signal.reason, null), { once: true });
    Promise.resolve()
      .then(() => handler(accepted(call.request, call.metadata), scope.call))
      .then((response) => answer(null, response))
      .catch((error: unknown) => answer(error, null));
  };
}

export function serverStream<Request, Response>(
  log: Logger,
  method: string,
  handler: StreamHandler<Request, Response>,
): grpc.handleServerStreamingCall<Request, Response> {
  return (call) => {
    const scope = openScope(log, method, call, Infinity);
    pump(call, scope, handler)
      .then(() => {
        scope.close(null);
        call.end(scope.trailer());
      })
      .catch((error: unknown) => {
        scope.close(error);
        if (!call.cancelled) call.emit('error', withTrailer(rpcError(error, scope.call.requestId), scope.trailer()));
      });
  };
}

/** Writes at the pace of the reader: the next message is not even asked for while the last one waits. */
async function pump<Request, Response>(
  call: grpc.ServerWritableStream<Request, Response>,
  scope: Scope,
  handler: StreamHandler<Request, Response>,
): Promise<void> {
  const { signal } = scope.call;
  const { messages, ended } = await handler(accepted(call.request, call.metadata), scope.call);
  const wake = AbortSignal.any([signal, ended]);
  for await (const response of messages) {
    if (signal.aborted) return;
    if (!call.write(response)) await drained(call, wake);
  }
}

/** Resolves when the reader has caught up, or when waiting for it is over: the next message asked for is then the end. */
function drained(call: grpc.ServerWritableStream<unknown, unknown>, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done);
      over.removeEventListener('abort', done);
      resolve();
    };
    if (over.aborted) return resolve();
    call.once('drain', done);
    over.addEventListener('abort', done, { once: true });
  });
}

function accepted<Request>(request: Request, metadata: grpc.Metadata): Request {
  if (request instanceof Undecodable) {
    throw fieldInvalid({ field: '', description: 'the request is not a well-formed message of this method' });
  }
  const size = Object.entries(metadata.getMap()).reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  if (size > METADATA_MAX_BYTES) {
    throw fieldInvalid({ field: 'metadata', description: `the call's own metadata exceeds ${METADATA_MAX_BYTES} bytes` });
  }
  return request;
}

interface Scope {
  readonly call: Call;
  close(error: unknown): void;
  trailer(): grpc.Metadata;
}

function openScope(
  log: Logger,
  method: string,
  call: grpc.ServerUnaryCall<unknown, unknown> | grpc.ServerWritableStream<unknown, unknown>,
  timeMaxMs: number,
): Scope {
  const started = performance.now();
  const endsAt = started + Math.min(timeMaxMs, timeLeftOf(call.getDeadline()));
  const requestId = header(call.metadata, 'x-request-id') ?? randomUUID();
  const actor: Actor = { type: 'CALLER', id: header(call.metadata, 'x-actor') ?? 'unnamed' };
  const abort = new AbortController();
  const timer =
    timeMaxMs === Infinity
      ? undefined
      : setTimeout(() => {
          const sentence = `no answer within ${timeMaxMs} ms; repeat the request with its request_id, or read`;
          abort.abort(new DomainError('DEADLINE_EXCEEDED', sentence, { metadata: { limit_ms: `${timeMaxMs}` } }));
        }, timeMaxMs);
  call.on('cancelled', () => abort.abort(new DomainError('DEADLINE_EXCEEDED', 'the caller went away')));

  return {
    call: { signal: abort.signal, actor, requestId, timeLeftMs: () => endsAt - performance.now() },
    close(error) {
      clearTimeout(timer);
      logCall(log, { method, requestId, actor, error, durationMs: performance.now() - started });
    },
    trailer() {
      const trailer = new grpc.Metadata();
      trailer.set('x-request-id', requestId);
      return trailer;
    },
  };
}

/** A deadline is a date, or a number of milliseconds since the epoch that may be infinite. */
const timeLeftOf = (deadline: Date | number): number => (deadline instanceof Date ? deadline.getTime() : deadline) - Date.now();

function logCall(
  log: Logger,
  entry: { method: string; requestId: string; actor: Actor; error: unknown; durationMs: number },
): void {
  const reason = entry.error === null ? 'OK' : domainErrorOf(entry.error, entry.requestId).reason;
  const fields = {
    method: entry.method,
    request_id: entry.requestId,
    caller: entry.actor.id,
    reason,
    duration_ms: Math.round(entry.durationMs * 10) / 10,
  };
  if (reason === 'INTERNAL') log.error({ ...fields, err: entry.error }, 'call failed');
  else log.debug(fields, 'call');
}

function withTrailer(error: ReturnType<typeof rpcError>, trailer: grpc.Metadata): ReturnType<typeof rpcError> {
  error.metadata.merge(trailer);
  return error;
}

function header(metadata: grpc.Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === 'string' && HEADER_TEXT.test(value) ? value : undefined;
}
