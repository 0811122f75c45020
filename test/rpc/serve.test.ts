/** What goes wrong in a handler reaches its caller as a status, and the process stays up. */
import * as grpc from '@grpc/grpc-js';
import { createLogger } from '../../src/logger.js';
import { DomainError, ERROR_REASONS } from '../../src/payment/errors.js';
import { ErrorReason } from '../../src/gen/payment/v1/error_reason.js';
import { OperationsServiceService } from '../../src/gen/payment/v1/operations_service.js';
import { PaymentServiceService } from '../../src/gen/payment/v1/payment_service.js';
import { serverStream, unary, type UnaryHandler } from '../../src/rpc/serve.js';
import { rpcError, STATUS_OF_REASON } from '../../src/rpc/status.js';
import { seen, startTestApp } from '../support/app.js';

const log = createLogger('silent');
const bytes = (value: Buffer): Buffer => value;
const method = (name: string, responseStream: boolean) => ({
  path: `/test.Test/${name}`,
  requestStream: false as const,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});

let server: grpc.Server;
let client: grpc.Client;
let answer: UnaryHandler<Buffer, Buffer>;
beforeAll(async () => {
  server = new grpc.Server();
  server.addService(
    { call: method('call', false), stream: method('stream', true) },
    {
      call: unary<Buffer, Buffer>(log, 'call', (request, call) => answer(request, call)),
      stream: serverStream<Buffer, Buffer>(log, 'stream', async (request, call) => {
        const messages = [await answer(request, call), () => answer(request, call), null];
        const next = async (): Promise<Buffer | null> => {
          const message = messages.shift()!;
          return typeof message === 'function' ? await message() : message;
        };
        return { next, return: () => undefined, ended: new AbortController().signal };
      }),
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
});
afterAll(() => {
  client.close();
  server.forceShutdown();
});

const call = (metadata = new grpc.Metadata(), options: grpc.CallOptions = {}): Promise<grpc.ServiceError | Buffer> =>
  new Promise((resolve) => {
    client.makeUnaryRequest('/test.Test/call', bytes, bytes, Buffer.from('x'), metadata, options, (error, value) => resolve(error ?? value!));
  });
const stream = (): Promise<grpc.ServiceError | null> =>
  new Promise((resolve) => {
    const reading = client.makeServerStreamRequest('/test.Test/stream', bytes, bytes, Buffer.from('x'));
    reading.on('data', () => undefined).on('error', (error) => resolve(error as grpc.ServiceError)).on('end', () => resolve(null));
  });

/** What some libraries reject with. */
const rejection = (value: unknown): Promise<never> => new Promise((_resolve, reject) => reject(value));
const SQL = `insert into "payment" ("card") values ('4111111111111111') - violates constraint`;
test.each<[string, () => Promise<Buffer>]>([
  ['rejects with the text of a statement', () => Promise.reject(Object.assign(new Error(SQL), { code: '23505' }))],
  ['throws at once', () => { throw new Error(SQL); }],
  ['rejects with no error at all', () => rejection(SQL)],
  ['rejects with a status of its own making', () => Promise.reject(Object.assign(new Error(SQL), { code: 0, details: SQL }))],
])('a handler that %s is INTERNAL with a request id and nothing else', async (_what, handler) => {
  answer = handler;
  for (const error of [await call(), await stream()]) {
    const { code, reason, message, metadata } = seen(error as grpc.ServiceError);
    expect({ code, reason }).toEqual({ code: 'INTERNAL', reason: 'INTERNAL' });
    expect(message).toBe(`internal error; request id ${metadata['request_id']}`);
    expect(JSON.stringify((error as grpc.ServiceError).metadata.getMap())).not.toContain('payment');
  }
});

test('a refusal that echoes a lone surrogate or a line break kills nobody', async () => {
  answer = () => Promise.reject(new DomainError('FIELD_INVALID', 'bad \ud83d\r\nvalue', { metadata: { given: '\ud83d' }, violations: [{ field: 'x\ud800', description: '\udfff\u0000' }] }));
  expect(seen((await call()) as grpc.ServiceError)).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'FIELD_INVALID' });
  answer = (request) => Promise.resolve(request);
  expect(await call()).toEqual(Buffer.from('x'));
});

test('an error in the middle of a stream ends it with its status', async () => {
  let count = 0;
  answer = (request) => ((count += 1) === 1 ? Promise.resolve(request) : Promise.reject(new DomainError('SLOW_CONSUMER', 'too slow')));
  expect(seen((await stream())!)).toMatchObject({ code: 'RESOURCE_EXHAUSTED', reason: 'SLOW_CONSUMER' });
});

test('the request id comes back, and one that is no text is replaced', async () => {
  answer = () => Promise.reject(new Error('x'));
  const given = new grpc.Metadata();
  given.set('x-request-id', 'mine-1');
  expect(((await call(given)) as grpc.ServiceError).metadata.get('x-request-id')).toEqual(['mine-1']);
  given.set('x-request-id', 'has spaces');
  expect(((await call(given)) as grpc.ServiceError).metadata.get('x-request-id')[0]).toMatch(/^[0-9a-f-]{36}$/);
});

test('oversized metadata is refused by name', async () => {
  answer = (request) => Promise.resolve(request);
  const heavy = new grpc.Metadata();
  heavy.set('x-heavy', 'x'.repeat(9 * 1024));
  expect(seen((await call(heavy)) as grpc.ServiceError)).toMatchObject({ code: 'INVALID_ARGUMENT', reason: 'FIELD_INVALID' });
});

test("a caller that goes away is told to the handler, whose answer then goes nowhere", async () => {
  const aborted = new Promise<void>((resolve) => {
    answer = (request, { signal }) => new Promise((settle) => signal.addEventListener('abort', () => { resolve(); settle(request); }));
  });
  expect(seen((await call(new grpc.Metadata(), { deadline: Date.now() + 50 })) as grpc.ServiceError).code).toBe('DEADLINE_EXCEEDED');
  await aborted;
});

test('trailers stay below 4 KiB, whatever is refused', () => {
  const violations = Array.from({ length: 500 }, (_, index) => ({ field: `metadata.${'k'.repeat(200)}${index}`, description: 'd'.repeat(500) }));
  const { metadata } = rpcError(new DomainError('FIELD_INVALID', 's'.repeat(5_000), { violations, metadata: { long: 'v'.repeat(5_000) } }), 'id');
  expect((metadata.get('grpc-status-details-bin')[0] as Buffer).length).toBeLessThanOrEqual(4_096);
});

test('the contract lists exactly the reasons of the domain', () => {
  const listed = Object.keys(ErrorReason).filter((name) => name.startsWith('ERROR_REASON_') && !name.endsWith('UNSPECIFIED')).map((name) => name.slice('ERROR_REASON_'.length));
  expect(listed.sort()).toEqual([...ERROR_REASONS].sort());
  expect(Object.keys(STATUS_OF_REASON).sort()).toEqual([...ERROR_REASONS].sort());
  for (const reason of ERROR_REASONS) expect(reason).toMatch(/^[A-Z][A-Z0-9_]+[A-Z0-9]$/);
});

test('every method of both services answers, and none is left to a later version', async () => {
  await using service = await startTestApp({ manualSync: true });
  const raw = new grpc.Client(service.address, grpc.credentials.createInsecure());
  for (const { path, responseStream } of [...Object.values(PaymentServiceService), ...Object.values(OperationsServiceService)]) {
    if (responseStream) continue;
    const error = await new Promise<grpc.ServiceError | null>((resolve) => {
      raw.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), (thrown) => resolve(thrown));
    });
    if (error !== null) expect([path, seen(error).code]).toEqual([path, 'INVALID_ARGUMENT']);
  }
  raw.close();
});
