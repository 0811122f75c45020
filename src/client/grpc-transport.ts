/**
 * Calls over one gRPC channel. A channel notices a connection that swallows everything only after its keepalive, 40 seconds in the
 * worst case. Whoever noticed it earlier, as a watch does by its bookmarks, has the channel replaced; calls under way keep the old
 * one until they end.
 */
import { Client, Metadata, type ChannelCredentials, type ServiceError } from '@grpc/grpc-js';
import { PaymentServiceService, type WatchPaymentsRequest, type WatchPaymentsResponse } from '../gen/payment/v1/payment_service.js';
import { Backoff, pause } from './backoff.js';
import type { PaystateError } from './errors.js';
import { errorOf } from './grpc-error.js';
import { isAnswerLost } from './lost-answer.js';
import type { CallTerms, Transport, UnaryMethod, WatchCall } from './transport.js';

export interface GrpcTransportOptions {
  readonly target: string;
  readonly credentials: ChannelCredentials;
  readonly channelOptions: object;
  readonly caller: string;
}

/** How often a call is sent again whose answer was lost in a way that the service config leaves alone. */
const LOST_MAX = 3;
const LOST_BACKOFF = { firstMs: 100, maxMs: 1_000 };

type Outcome<Response> = { readonly response: Response } | { readonly error: PaystateError; readonly isLost: boolean };

export class GrpcTransport implements Transport {
  generation = 0;
  private line: Line;

  constructor(private readonly options: GrpcTransportOptions) {
    this.line = this.openLine();
  }

  async unary<Request, Response>(method: UnaryMethod<Request, Response>, request: Request, terms: CallTerms): Promise<Response> {
    const endsAt = performance.now() + terms.deadlineMs;
    const backoff = new Backoff(LOST_BACKOFF);
    for (let attempt = 1; ; attempt++) {
      terms.signal?.throwIfAborted();
      const deadlineMs = Math.max(0, endsAt - performance.now());
      const outcome = await this.attempt(method, request, { ...terms, deadlineMs });
      if ('response' in outcome) return outcome.response;
      if (!outcome.isLost || attempt === LOST_MAX || performance.now() >= endsAt) throw outcome.error;
      await pause(Math.min(backoff.next(), endsAt - performance.now()), terms.signal);
    }
  }

  watch(request: WatchPaymentsRequest): WatchCall {
    const { path, requestSerialize, responseDeserialize } = PaymentServiceService.watchPayments;
    const requestId = crypto.randomUUID();
    const { line } = this;
    const stream = line.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, this.metadata(requestId));
    const release = line.take();
    // An error behind the last pull has nobody else to hear it.
    stream.on('error', () => undefined).once('status', release);
    const messages = stream[Symbol.asyncIterator]() as AsyncIterator<WatchPaymentsResponse>;
    const call = { method: path.slice(1), requestId, isMutation: false };
    return {
      next: () => messages.next().catch((error: unknown) => Promise.reject(errorOf(error as ServiceError, call))),
      cancel: () => cancelCall(stream),
    };
  }

  renew(generation: number): void {
    if (generation !== this.generation) return;
    this.generation++;
    this.line.retire();
    this.line = this.openLine();
  }

  close(): void {
    this.line.client.close();
  }

  private attempt<Request, Response>(method: UnaryMethod<Request, Response>, request: Request, terms: CallTerms): Promise<Outcome<Response>> {
    const { signal, requestId, isMutation } = terms;
    const { line } = this;
    const release = line.take();
    return new Promise((resolve, reject) => {
      let isAnswering = false;
      const call = line.client.makeUnaryRequest(
        method.path,
        (value: Request) => method.requestSerialize(value),
        (bytes) => method.responseDeserialize(bytes),
        request,
        this.metadata(requestId),
        { deadline: Date.now() + terms.deadlineMs },
        (failure, response) => {
          release();
          signal?.removeEventListener('abort', cancel);
          if (failure === null) return resolve({ response: response! });
          if (signal?.aborted === true) return reject(signal.reason as Error);
          const error = errorOf(failure, { method: method.path.slice(1), requestId, isMutation });
          resolve({ error, isLost: isAnswerLost(error, { isAnswering }) });
        },
      );
      const cancel = (): void => cancelCall(call);
      call.once('metadata', () => (isAnswering = true));
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** Calls wait for a connection as long as their deadline allows, instead of failing while a server restarts. */
  private metadata(requestId: string): Metadata {
    const metadata = new Metadata({ waitForReady: true });
    metadata.set('x-actor', this.options.caller);
    if (HEADER_TEXT.test(requestId)) metadata.set('x-request-id', requestId);
    return metadata;
  }

  private openLine(): Line {
    const { target, credentials, channelOptions } = this.options;
    return new Line(new Client(target, credentials, channelOptions));
  }
}

/**
 * A call that is cancelled in the turn in which it was made is told so, and is sent nevertheless: the library begins to send a moment
 * later without looking again. Cancelled once more, it is taken back at the server, too; a watch would stay open there for good.
 */
function cancelCall(call: { cancel(): void }): void {
  call.cancel();
  setImmediate(() => call.cancel());
}

const HEADER_TEXT = /^[\x21-\x7e]{1,64}$/;

/** A channel and the count of calls on it; a retired one is closed when the last of them is over. */
class Line {
  private calls = 0;
  private isRetired = false;

  constructor(readonly client: Client) {}

  take(): () => void {
    this.calls++;
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.calls--;
      this.closeIfIdle();
    };
  }

  retire(): void {
    this.isRetired = true;
    this.closeIfIdle();
  }

  private closeIfIdle(): void {
    if (this.isRetired && this.calls === 0) this.client.close();
  }
}
