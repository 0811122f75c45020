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
  /** The next message, as it is or encoded already; null at the end. */
  next(): Promise<Response | Encoded | null>;
  /** The reader is gone. */
  return(): void;
  /** Fires when the source has something to say to a reader that is still: its end. Asked for while a reader is. */
  readonly ended: AbortSignal;
}

/** A message of the method as bytes, such as one that many readers get and that is encoded once. */
export class Encoded {
  constructor(readonly bytes: Buffer) {}
}

/** A caller without a deadline gets this one; nobody gets more. */
const UNARY_MAX_MS = 30_000;
const METADATA_MAX_BYTES = 8 * 1024;
const HEADER_TEXT = /^[\x21-\x7e]{1,64}$/;

/** What a request becomes that cannot be decoded; see `tolerant`. */
class Undecodable {
  constructor(readonly cause: unknown) {}
}

/**
 * A service definition whose undecodable requests reach the wrapper, instead of ending as INTERNAL inside the library, and that takes
 * answers that are encoded already.
 */
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
      responseSerialize: (response: unknown): Buffer => (response instanceof Encoded ? response.bytes : method.responseSerialize(response)),
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
    const scope = new Scope(log, method, call, options.longPoll === true ? Infinity : UNARY_MAX_MS);
    let answered = false;
    const answer = (error: unknown, response: Response | null): void => {
      if (answered) return;
      answered = true;
      scope.close(error);
      if (error === null) callback(null, response, scope.trailer());
      else callback(withTrailer(rpcError(error, scope.requestId), scope.trailer()));
    };

    scope.signal.addEventListener('abort', () => answer(scope.signal.reason, null), { once: true });
    Promise.resolve()
      .then(() => handler(accepted(call.request, call.metadata), scope))
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
    const scope = new Scope(log, method, call, Infinity);
    const pump = new Pump<Response>(call, scope);
    Promise.resolve()
      .then(() => handler(accepted(call.request, call.metadata), scope))
      .then((source) => {
        forget(call);
        pump.start(source);
      })
      .catch((error: unknown) => pump.fail(error));
  };
}

/** A stream may stand for days, with thousands beside it: what its request brought is not kept so long, by the library neither. */
function forget({ request, metadata }: { readonly request: unknown; readonly metadata: grpc.Metadata }): void {
  for (const field of Object.keys(request as object)) (request as Record<string, unknown>)[field] = undefined;
  for (const key of Object.keys(metadata.getMap())) metadata.remove(key);
}

/**
 * Writes at the pace of the reader: the next message is not even asked for while the last one waits. No function is suspended in it, so
 * that a stream that has nothing to say costs no more than its objects.
 */
class Pump<Response> {
  private source: Source<Response> | null = null;

  constructor(
    private readonly call: grpc.ServerWritableStream<unknown, Response | Encoded>,
    private readonly scope: Scope,
  ) {}

  start(source: Source<Response>): void {
    this.source = source;
    this.call.on('cancelled', () => source.return());
    if (this.call.cancelled) source.return();
    this.advance();
  }

  fail(error: unknown): void {
    this.scope.close(error);
    if (!this.call.cancelled) this.call.emit('error', withTrailer(rpcError(error, this.scope.requestId), this.scope.trailer()));
  }

  private advance(): void {
    this.source!.next().then(this.send, this.failed);
  }

  private readonly send = (message: Response | Encoded | null): void => {
    if (message === null || this.call.cancelled) {
      this.scope.close(null);
      this.call.end(this.scope.trailer());
    } else if (this.call.write(message)) this.advance();
    else void drained(this.call, this.source!.ended).then(() => this.advance());
  };

  private readonly failed = (error: unknown): void => this.fail(error);
}

/** Resolves when the reader has caught up, or when waiting for it is over: the next message asked for is then the end. */
function drained(call: grpc.ServerWritableStream<unknown, unknown>, ended: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done);
      call.off('cancelled', done);
      ended.removeEventListener('abort', done);
      resolve();
    };
    if (ended.aborted || call.cancelled) return resolve();
    call.once('drain', done);
    call.once('cancelled', done);
    ended.addEventListener('abort', done, { once: true });
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

/** What is known of a call, from its begin to the one log line at its end. */
class Scope implements Call {
  readonly actor: Actor;
  private readonly started = performance.now();
  private readonly endsAt: number;
  private readonly timer: NodeJS.Timeout | undefined;
  private id: string | undefined;
  /** Made when it is asked for: ten thousand watches have no use for it. */
  private abort: AbortController | null = null;
  private over: DomainError | null = null;

  constructor(
    private readonly log: Logger,
    private readonly method: string,
    call: grpc.ServerUnaryCall<unknown, unknown> | grpc.ServerWritableStream<unknown, unknown>,
    timeMaxMs: number,
  ) {
    this.endsAt = this.started + Math.min(timeMaxMs, timeLeftOf(call.getDeadline()));
    this.id = header(call.metadata, 'x-request-id');
    this.actor = { type: 'CALLER', id: header(call.metadata, 'x-actor') ?? 'unnamed' };
    if (timeMaxMs !== Infinity) {
      const sentence = `no answer within ${timeMaxMs} ms; repeat the request with its request_id, or read`;
      this.timer = setTimeout(() => this.end(new DomainError('DEADLINE_EXCEEDED', sentence, { metadata: { limit_ms: `${timeMaxMs}` } })), timeMaxMs);
    }
    call.on('cancelled', () => this.end(new DomainError('DEADLINE_EXCEEDED', 'the caller went away')));
  }

  get signal(): AbortSignal {
    this.abort ??= new AbortController();
    if (this.over !== null) this.abort.abort(this.over);
    return this.abort.signal;
  }

  get requestId(): string {
    this.id ??= randomUUID();
    return this.id;
  }

  timeLeftMs(): number {
    return this.endsAt - performance.now();
  }

  close(error: unknown): void {
    clearTimeout(this.timer);
    const { log, method, requestId, actor } = this;
    logCall(log, { method, requestId, actor, error, durationMs: performance.now() - this.started });
  }

  trailer(): grpc.Metadata {
    const trailer = new grpc.Metadata();
    trailer.set('x-request-id', this.requestId);
    return trailer;
  }

  private end(error: DomainError): void {
    this.over ??= error;
    this.abort?.abort(this.over);
  }
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
