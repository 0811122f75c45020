/** Clients that know nothing of the contract but what the server tells them. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { startTestApp, type TestApp } from '../support/app.js';

const BUF = new URL('../../node_modules/.bin/buf', import.meta.url).pathname;
const PROTO = new URL('../../proto', import.meta.url).pathname;

let service: TestApp;
let empty: string;
beforeAll(async () => {
  service = await startTestApp({ manualSync: true });
  // Far from the proto files, so that only reflection can tell.
  empty = await mkdtemp(join(tmpdir(), 'paystate-reflection-'));
});
afterAll(async () => {
  await rm(empty, { recursive: true });
  await service[Symbol.asyncDispose]();
});

async function bufCurl(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const flags = ['curl', '--protocol', 'grpc', '--http2-prior-knowledge', ...args];
  return await promisify(execFile)(BUF, flags, { cwd: empty }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

test.each(['grpc-v1', 'grpc-v1alpha'])('buf curl lists, describes and calls through %s', async (protocol) => {
  const reflect = ['--reflect-protocol', protocol];
  const base = `http://${service.address}`;

  const methods = await bufCurl(...reflect, '--list-methods', base);
  expect(methods.stdout).toContain('payment.v1.PaymentService/WatchPayments');
  expect(methods.stdout).toContain('payment.v1.OperationsService/ExplainPayment');
  expect(methods.stdout).toContain('grpc.health.v1.Health/Check');

  const create = JSON.stringify({
    requestId: `by-${protocol}`,
    appId: 'shop',
    orderId: `order-${protocol}`,
    platform: 'PLATFORM_UNIONPAY',
    merchantAccount: 'union',
    amount: { currencyCode: 'CNY', minorUnits: '900719925474099' },
    registered: { merchantOrderNo: `no-${protocol.replace('-', '')}`, platformOrderTime: '20260101120000' },
  });
  const created = await bufCurl(...reflect, '-d', create, `${base}/payment.v1.PaymentService/CreatePayment`);
  expect(created.stderr).toBe('');
  expect(JSON.parse(created.stdout)).toMatchObject({
    payment: { status: 'PAYMENT_STATUS_PENDING', version: 1, amount: { currencyCode: 'CNY', minorUnits: '900719925474099' } },
  });

  const watched = await bufCurl(...reflect, '-d', '{"startAt":"WATCH_START_EARLIEST","stopAtHead":true}', `${base}/payment.v1.PaymentService/WatchPayments`);
  expect(watched.stdout).toContain('"events"');

  const refused = await bufCurl(...reflect, '-d', '{}', `${base}/payment.v1.PaymentService/CreatePayment`);
  expect(refused.code).toBe(8 * grpc.status.INVALID_ARGUMENT);
  expect(refused.stderr).toContain('request_id: is required');
});

test('health answers for each service', async () => {
  const answer = await bufCurl('-d', '{"service":"payment.v1.PaymentService"}', `http://${service.address}/grpc.health.v1.Health/Check`);
  expect(JSON.parse(answer.stdout)).toEqual({ status: 'SERVING' });
});

test('reflection answers what a client may ask, and names what it cannot find', async () => {
  const loaded = loadSync('grpc/reflection/v1/reflection.proto', { includeDirs: [PROTO], keepCase: true, oneofs: true });
  const { ServerReflection } = (grpc.loadPackageDefinition(loaded) as never as { grpc: { reflection: { v1: Record<string, grpc.ServiceClientConstructor> } } }).grpc.reflection.v1;
  const client = new ServerReflection!(service.address, grpc.credentials.createInsecure());
  const stream = (client as never as { serverReflectionInfo(): grpc.ClientDuplexStream<object, Record<string, unknown>> }).serverReflectionInfo();
  const questions = [
    { file_containing_symbol: 'payment.v1.Payment.payment_id' },
    { file_containing_symbol: 'payment.v1.PaymentService.WatchPayments' },
    { file_by_filename: 'google/rpc/error_details.proto' },
    { file_by_filename: 'no/such.proto' },
    { file_containing_symbol: 'no.such.Symbol' },
    { all_extension_numbers_of_type: 'payment.v1.Payment' },
    { file_containing_extension: { containing_type: 'payment.v1.Payment', extension_number: 1 } },
    { host: 'x' },
  ];
  for (const question of questions) stream.write(question);
  stream.end();
  const kinds: string[] = [];
  for await (const answer of stream as AsyncIterable<{ message_response: string; error_response?: { error_code: number } }>) {
    kinds.push(answer.error_response == null ? answer.message_response : `${answer.message_response} ${answer.error_response.error_code}`);
  }
  client.close();
  expect(kinds).toEqual([
    'file_descriptor_response',
    'file_descriptor_response',
    'file_descriptor_response',
    'error_response 5',
    'error_response 5',
    'all_extension_numbers_response',
    'error_response 5',
    'error_response 3',
  ]);
});
