/** Watches that cost the machine little: messages stay bytes, so that the load does not outweigh what it measures. */
import * as grpc from '@grpc/grpc-js';
import { PaymentServiceService } from '../../src/gen/payment/v1/payment_service.js';
import { WatchPaymentsRequest, WatchPaymentsResponse } from '../../src/gen/payment/v1/payment_service.js';

const { path } = PaymentServiceService.watchPayments;
/** The service takes so many streams on one connection, and so many watches of one caller. */
const PER_CONNECTION = 1_000;
let callers = 0;

export interface Watches {
  /** Resolves once every watch has had its first message. */
  readonly open: Promise<void>;
  /** Watch by watch, for pausing and the like. */
  readonly calls: readonly grpc.ClientReadableStream<Buffer>[];
  close(): void;
}

/** `onMessage` sees every message of every watch, with the number of changes in it. */
export function openWatches(
  address: string,
  count: number,
  requestOf: (at: number) => WatchPaymentsRequest,
  onMessage: (at: number, bytes: Buffer) => void = () => undefined,
): Watches {
  const clients: grpc.Client[] = [];
  const calls: grpc.ClientReadableStream<Buffer>[] = [];
  let silent = count;
  let closing = false;
  const open = Promise.withResolvers<void>();
  for (let at = 0; at < count; at += 1) {
    if (at % PER_CONNECTION === 0) {
      callers += 1;
      clients.push(new grpc.Client(address, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1 }));
    }
    const metadata = new grpc.Metadata();
    metadata.set('x-actor', `bench-${callers}`);
    const call = clients.at(-1)!.makeServerStreamRequest(path, encode, (bytes: Buffer) => bytes, requestOf(at), metadata);
    let heard = false;
    call.on('data', (bytes: Buffer) => {
      if (!heard) {
        heard = true;
        silent -= 1;
        if (silent === 0) open.resolve();
      }
      onMessage(at, bytes);
    });
    call.on('error', (error) => {
      if (!closing) open.reject(error);
    });
    calls.push(call);
  }
  return {
    open: open.promise,
    calls,
    close() {
      closing = true;
      for (const call of calls) call.cancel();
      for (const client of clients) client.close();
    },
  };
}

const encode = (request: WatchPaymentsRequest): Buffer => Buffer.from(WatchPaymentsRequest.encode(request).finish());

export const decoded = (bytes: Buffer): WatchPaymentsResponse => WatchPaymentsResponse.decode(bytes);

/** How many changes a message has, without decoding them: the fields of `events`, counted. */
export function changesIn(bytes: Buffer): number {
  const events = fieldOf(bytes, 3);
  if (events === null) return 0;
  let count = 0;
  for (let at = events.start; at < events.end; count += 1) at = skip(bytes, at);
  return count;
}

/** Where a length-delimited field of the message begins and ends. */
function fieldOf(bytes: Buffer, wanted: number): { start: number; end: number } | null {
  for (let at = 0; at < bytes.length; ) {
    const field = bytes[at]! >> 3;
    const { value: length, next } = varint(bytes, at + 1);
    if (field === wanted) return { start: next, end: next + length };
    at = next + length;
  }
  return null;
}

function skip(bytes: Buffer, at: number): number {
  const { value: length, next } = varint(bytes, at + 1);
  return next + length;
}

function varint(bytes: Buffer, from: number): { value: number; next: number } {
  let value = 0;
  let at = from;
  for (let place = 0; ; place += 7, at += 1) {
    value += (bytes[at]! & 0x7f) * 2 ** place;
    if (bytes[at]! < 0x80) return { value, next: at + 1 };
  }
}
