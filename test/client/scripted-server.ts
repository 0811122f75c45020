/** A gRPC server that says what a test tells it to: for failures that the real one does not produce when asked. */
import * as grpc from '@grpc/grpc-js';
import { PaymentServiceService, WatchPaymentsResponse, type GetPaymentResponse, type WatchPaymentsRequest } from '../../src/gen/payment/v1/payment_service.js';
import { DomainError, type DomainErrorDetails, type ErrorReason } from '../../src/payment/errors.js';
import { rpcError } from '../../src/rpc/status.js';

type WatchStream = grpc.ServerWritableStream<WatchPaymentsRequest, WatchPaymentsResponse>;
/** One watch at the server; the position in the list is the number of the attempt, the last one repeats. */
export type WatchScript = (stream: WatchStream) => void;
export type UnaryScript = (call: grpc.ServerUnaryCall<unknown, unknown>) => object | grpc.ServiceError | null;

export interface ScriptedServer extends AsyncDisposable {
  readonly address: string;
  /** Every watch that was asked for. */
  readonly watches: readonly WatchPaymentsRequest[];
}

export async function startScriptedServer(scripts: { watches?: readonly WatchScript[]; unary?: readonly UnaryScript[] }): Promise<ScriptedServer> {
  const watches: WatchPaymentsRequest[] = [];
  let calls = 0;
  const server = new grpc.Server();
  const methods = Object.entries(PaymentServiceService).map(([name, { responseStream }]) => [
    name,
    responseStream
      ? (stream: WatchStream) => {
          watches.push(stream.request);
          stream.on('error', () => undefined);
          scripts.watches!.at(Math.min(watches.length, scripts.watches!.length) - 1)!(stream);
        }
      : (call: grpc.ServerUnaryCall<unknown, unknown>, callback: grpc.sendUnaryData<GetPaymentResponse>) => {
          calls++;
          const answer = scripts.unary!.at(Math.min(calls, scripts.unary!.length) - 1)!(call);
          if (answer === null) return;
          if ('code' in answer) callback(answer);
          else callback(null, answer as GetPaymentResponse);
        },
  ]);
  server.addService(PaymentServiceService, Object.fromEntries(methods) as grpc.UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  return {
    address: `127.0.0.1:${port}`,
    watches,
    [Symbol.asyncDispose]() {
      server.forceShutdown();
      return Promise.resolve();
    },
  };
}

/** What the service would answer with a reason. */
export const refusal = (reason: ErrorReason, details: DomainErrorDetails = {}): grpc.ServiceError =>
  rpcError(new DomainError(reason, 'said so', details), 'scripted') as grpc.ServiceError;

/** What a proxy or a library answers: a code without details. */
export const bare = (code: grpc.status, details = ''): grpc.ServiceError => ({ code, details, metadata: new grpc.Metadata() }) as grpc.ServiceError;

const saying = (cursor: string, kind: NonNullable<WatchPaymentsResponse['kind']>): WatchPaymentsResponse => ({ cursor: Buffer.from(cursor, 'base64url'), kind });
export const created = (cursor: string): WatchPaymentsResponse =>
  saying(cursor, { $case: 'created', value: { startRevision: 0n, epoch: 1, bookmarkInterval: undefined } });
export const bookmark = (cursor: string): WatchPaymentsResponse =>
  saying(cursor, { $case: 'bookmark', value: { asOfTime: undefined, headRevision: 0n, behind: 0n, snapshotComplete: false } });
export const goodbye = (cursor: string, ms: number): WatchPaymentsResponse =>
  saying(cursor, { $case: 'goodbye', value: { reason: 1, reconnectAfter: { seconds: 0n, nanos: ms * 1e6 } } });

/** Events by their ids, such as `tea:3`. */
export const events = (cursor: string, ...ids: string[]): WatchPaymentsResponse =>
  WatchPaymentsResponse.fromPartial({
    cursor: Buffer.from(cursor, 'base64url'),
    kind: { $case: 'events', value: { events: ids.map((eventId) => ({ eventId, paymentId: eventId.split(':')[0]!, version: Number(eventId.split(':')[1]) })) } },
  });

/** Says these messages and then ends: with an error, in peace, or not at all. */
export const script =
  (messages: readonly WatchPaymentsResponse[], end: grpc.ServiceError | 'OK' | 'SILENCE'): WatchScript =>
  (stream) => {
    for (const message of messages) stream.write(message);
    if (end === 'OK') stream.end();
    else if (end !== 'SILENCE') stream.emit('error', end);
  };
