/** What the client says again of the contract, held against the contract and against the server's own tables. */
import { readFileSync } from 'node:fs';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema, MethodOptions_IdempotencyLevel as Idempotency } from '@bufbuild/protobuf/wkt';
import { createClient } from '../../src/client/client.js';
import { deadlineOf } from '../../src/client/deadlines.js';
import { createFakeClient } from '../../src/client/fake/fake-client.js';
import { CODE_OF_REASON } from '../../src/client/fake/refusal.js';
import { SERVICE_CONFIG, targetOf } from '../../src/client/service-config.js';
import { isPaid, isSettled, statusName } from '../../src/client/status.js';
import { ErrorReason } from '../../src/gen/payment/v1/error_reason.js';
import { PaymentStatus } from '../../src/gen/payment/v1/payment.js';
import { PLATFORM_CALL_MAX_MS } from '../../src/payment/deps.js';
import * as domain from '../../src/payment/payment-status.js';
import { STATUS_OF_REASON } from '../../src/rpc/status.js';

const descriptors = fromBinary(FileDescriptorSetSchema, readFileSync(new URL('../../src/gen/descriptors.binpb', import.meta.url)));
const services = descriptors.file.filter((file) => file.package === 'payment.v1').flatMap((file) => file.service);
const lower = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1);

test('everything that gRPC may send again is free of effects or idempotent', () => {
  const retried = SERVICE_CONFIG.methodConfig.filter(({ retryPolicy }) => retryPolicy !== undefined).flatMap(({ name }) => name);
  expect(retried.map(({ service }) => service).sort()).toEqual(services.map(({ name }) => `payment.v1.${name}`).sort());
  const methods = services.flatMap(({ method }) => method);
  expect(methods.filter(({ options }) => (options?.idempotencyLevel ?? Idempotency.IDEMPOTENCY_UNKNOWN) === Idempotency.IDEMPOTENCY_UNKNOWN)).toEqual([]);
  expect(SERVICE_CONFIG.methodConfig.every(({ retryPolicy }) => retryPolicy === undefined || retryPolicy.retryableStatusCodes.join() === 'UNAVAILABLE')).toBe(true);
});

test('a client has every unary method of both services, and so has the fake', () => {
  using client = createClient({ address: 'localhost:1', caller: 'nobody' });
  using fake = createFakeClient();
  for (const { payments, operations } of [client, fake]) {
    const offered = { PaymentService: Object.keys(payments), OperationsService: Object.keys(operations) };
    for (const { name, method } of services) {
      const unary = method.filter(({ serverStreaming }) => !serverStreaming);
      expect(offered[name as keyof typeof offered].sort()).toEqual(unary.map((each) => lower(each.name)).sort());
    }
  }
});

test('statuses are what the status machine says, and an unknown one is not settled', () => {
  for (const name of domain.PAYMENT_STATUSES) {
    const code = PaymentStatus[`PAYMENT_STATUS_${name}`];
    expect([statusName(code), isPaid(code), isSettled(code)]).toEqual([name, domain.isPaid(name), domain.isSettled(name)]);
  }
  const unknown = 99 as PaymentStatus;
  expect([statusName(unknown), isPaid(unknown), isSettled(unknown)]).toEqual(['99', false, false]);
});

test('the fake answers each reason with the code of the service', () => {
  expect(CODE_OF_REASON).toEqual(STATUS_OF_REASON);
  const names = Object.keys(ErrorReason).filter((name) => name.startsWith('ERROR_REASON_') && !name.endsWith('_UNSPECIFIED'));
  expect(Object.keys(CODE_OF_REASON).sort()).toEqual(names.map((name) => name.replace('ERROR_REASON_', '')).sort());
});

test('whoever asks a platform waits for longer than that may take', () => {
  for (const method of ['createPayment', 'createRefund', 'closePayment', 'verifyPayments', 'syncPayments']) {
    expect(deadlineOf(method, {}, 5_000)).toBeGreaterThan(PLATFORM_CALL_MAX_MS);
  }
  expect([deadlineOf('getPayment', {}, 5_000), deadlineOf('getPayment', {}, 100), deadlineOf('createRefund', {}, 60_000)]).toEqual([5_000, 100, 60_000]);
  expect([deadlineOf('waitForPayment', {}, 5_000), deadlineOf('waitForPayment', { timeout: { seconds: 2n, nanos: 5e8 } }, 5_000)]).toEqual([35_000, 7_500]);
});

test.each([
  ['paystate.internal:50051', 'dns:///paystate.internal:50051'],
  ['localhost:50051', 'dns:///localhost:50051'],
  ['[::1]:50051', 'dns:///[::1]:50051'],
  ['dns:///paystate:1', 'dns:///paystate:1'],
  ['dns:paystate:1', 'dns:paystate:1'],
  ['unix:/run/paystate.sock', 'unix:/run/paystate.sock'],
  ['ipv4:10.0.0.1:1', 'ipv4:10.0.0.1:1'],
  [['10.0.0.1:1', '10.0.0.2:1'], 'ipv4:10.0.0.1:1,10.0.0.2:1'],
])('%s is dialled as %s', (address, target) => {
  expect(targetOf(address)).toBe(target);
});
