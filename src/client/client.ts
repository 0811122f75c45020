/** The client: both services as promises, and on top of them what one call cannot do. */
import { credentials as grpcCredentials, type ChannelCredentials } from '@grpc/grpc-js';
import type { Payment } from '../gen/payment/v1/payment.js';
import * as operationsMessages from '../gen/payment/v1/operations_service.js';
import * as paymentMessages from '../gen/payment/v1/payment_service.js';
import { DEADLINE_MS } from './deadlines.js';
import { GrpcTransport } from './grpc-transport.js';
import { CHANNEL_OPTIONS, targetOf } from './service-config.js';
import type { Transport } from './transport.js';
import { unaryApi, type UnaryApi } from './unary.js';
import { waitFor, type WaitOptions } from './wait-for.js';
import type { WatchItem } from './watch-item.js';
import type { WatchRequest } from './watch-request.js';
import { watch, type WatchOptions } from './watch.js';

export interface ClientOptions {
  /** host:port, a list of IPv4 addresses with ports, or any target of gRPC such as dns:///paystate.internal:50051. */
  readonly address: string | readonly string[];
  /** Who calls, as it appears in logs and limits: 1 to 64 characters of ASCII without spaces. */
  readonly caller: string;
  /** Default: plaintext. */
  readonly credentials?: ChannelCredentials | undefined;
  /** Of calls that neither ask a platform nor read much; default 5 s. */
  readonly deadlineMs?: number | undefined;
  /** Over those of CHANNEL_OPTIONS. */
  readonly channelOptions?: Readonly<Record<string, string | number>> | undefined;
}

export interface PaystateClient extends Disposable {
  readonly payments: UnaryApi<paymentMessages.PaymentServiceService>;
  readonly operations: UnaryApi<operationsMessages.OperationsServiceService>;
  /** Every change of the payments that match, in order, at least once and hardly ever twice; see WatchItem and its cursor. */
  watch(request?: WatchRequest, options?: WatchOptions): AsyncGenerator<WatchItem, void, void>;
  /** The payment once it is settled, or in one of the given statuses; rejects with a WaitTimeout when that takes too long. */
  waitFor(paymentId: string, options?: WaitOptions): Promise<Payment>;
  /** Ends watches and waits; calls under way finish, and no new ones are taken. */
  close(): void;
}

const CALLER = /^[\x21-\x7e]{1,64}$/;

export function createClient({ address, caller, credentials, deadlineMs, channelOptions }: ClientOptions): PaystateClient {
  if (!CALLER.test(caller)) throw new TypeError('caller must be 1 to 64 characters of ASCII without spaces');
  const transport = new GrpcTransport({
    target: targetOf(address),
    credentials: credentials ?? grpcCredentials.createInsecure(),
    channelOptions: { ...CHANNEL_OPTIONS, ...channelOptions },
    caller,
  });
  return clientOver(transport, { deadlineMs });
}

export function clientOver(transport: Transport, options: { deadlineMs?: number | undefined } = {}): PaystateClient {
  const via = { transport, deadlineMs: options.deadlineMs ?? DEADLINE_MS };
  const payments = unaryApi(paymentMessages.PaymentServiceService, paymentMessages, via);
  const operations = unaryApi(operationsMessages.OperationsServiceService, operationsMessages, via);
  const closing = new AbortController();
  const close = (): void => {
    closing.abort(new Error('the client was closed'));
    transport.close();
  };
  const orClosing = (signal: AbortSignal | undefined): AbortSignal => (signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]));
  return {
    payments,
    operations,
    watch: (request = {}, wish = {}) => watch(transport, request, { ...wish, signal: orClosing(wish.signal) }),
    waitFor: (paymentId, wish = {}) => waitFor({ transport, payments }, paymentId, { ...wish, signal: orClosing(wish.signal) }),
    close,
    [Symbol.dispose]: close,
  };
}
