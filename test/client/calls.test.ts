/** Single calls of the client, against the real server, through a network that fails, and against a server that says odd things. */
import { randomUUID } from 'node:crypto';
import { status, type ServerUnaryCall } from '@grpc/grpc-js';
import { createClient, type PaystateClient } from '../../src/client/client.js';
import { isReason, PaystateError } from '../../src/client/errors.js';
import { toDate, toTimestamp, type Input } from '../../src/client/input.js';
import { paymentRef } from '../../src/client/payment-ref.js';
import { Platform } from '../../src/gen/payment/v1/payment.js';
import { CreatePaymentResponse, GetPaymentResponse, type CreatePaymentRequest, type CreateRefundRequest } from '../../src/gen/payment/v1/payment_service.js';
import { startTestApp, type TestApp } from '../support/app.js';
import { yuan } from '../support/requests.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { bare, refusal, startScriptedServer, type UnaryScript } from './scripted-server.js';

let app: TestApp;
let proxy: TcpProxy;
/** Straight to the server, and through the proxy. */
let direct: PaystateClient;
let client: PaystateClient;
beforeAll(async () => {
  app = await startTestApp({ manualSync: true });
  proxy = await startTcpProxy({ target: { host: '127.0.0.1', port: app.app.grpcPort } });
  direct = createClient({ address: app.address, caller: 'direct' });
  client = createClient({ address: `127.0.0.1:${proxy.port}`, caller: 'shop' });
});
afterEach(() => {
  proxy.onClientData(() => 'pass');
  proxy.resume();
});
afterAll(async () => {
  direct.close();
  client.close();
  await proxy.close();
  await app[Symbol.asyncDispose]();
});

const payment = (changes: Input<CreatePaymentRequest> = {}): Input<CreatePaymentRequest> => ({
  appId: 'shop',
  orderId: `order-${randomUUID()}`,
  platform: Platform.PLATFORM_WECHATPAY,
  merchantAccount: 'shop-account',
  amount: yuan(8_888n),
  kind: { $case: 'registered', value: { merchantOrderNo: randomUUID() } },
  ...changes,
});

const caught = async (promise: Promise<unknown>): Promise<PaystateError> => {
  const error = await promise.then(() => new Error('it was not refused'), (reason: unknown) => reason);
  if (error instanceof PaystateError) return error;
  throw error;
};

test('a creation whose answer is lost is repeated under its request_id: one payment, however the client made the id', async () => {
  for (const requestId of ['', randomUUID()]) {
    const orderId = `order-${randomUUID()}`;
    const made = async () => (await direct.payments.listPayments({ filter: { orderId } })).payments;
    proxy.onClientData((chunk) => {
      if (chunk.includes(orderId)) proxy.freeze();
      return 'pass';
    });

    const answer = client.payments.createPayment(payment({ orderId, requestId }));
    await until(async () => (await made()).length === 1);
    proxy.onClientData(() => 'pass');
    proxy.cutAll();
    proxy.resume();

    const { payment: created, replayed } = await answer;
    expect([replayed, (await made()).map(({ paymentId }) => paymentId)]).toEqual([true, [created!.paymentId]]);
  }
});

test('a call that is sent while no server is there waits for one', async () => {
  proxy.onClientData(() => 'drop-and-cut');
  proxy.cutAll();
  const answer = client.payments.listPayments({});
  const error = await caught(client.payments.listPayments({}, { deadlineMs: 50 }));
  expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED, reason: 'DEADLINE_EXCEEDED', isOutcomeUnknown: false });

  proxy.onClientData(() => 'pass');
  expect((await answer).payments).not.toHaveLength(0);
});

test('an act without an answer by its deadline has an unknown outcome and the id to repeat it with', async () => {
  await client.payments.listPayments({});
  proxy.freeze();
  const error = await caught(client.payments.createPayment(payment(), { deadlineMs: 30 }));
  expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED, method: 'payment.v1.PaymentService/CreatePayment', isOutcomeUnknown: true });
  expect(error.requestId).toMatch(/^[0-9a-f-]{36}$/);
  expect(await caught(client.payments.listPayments({}, { deadlineMs: 30 }))).toMatchObject({ isOutcomeUnknown: false });
});

test('a call ends with its signal, and rejects with what the signal says', async () => {
  await client.payments.listPayments({});
  proxy.freeze();
  const leaving = new AbortController();
  const answer = client.payments.listPayments({}, { signal: leaving.signal });
  leaving.abort(new Error('the user left'));
  await expect(answer).rejects.toThrow('the user left');
  await expect(direct.payments.listPayments({}, { signal: AbortSignal.abort(new Error('gone before')) })).rejects.toThrow('gone before');
});

test('a refusal has its reason, sentence, fields and metadata', async () => {
  const { createPayment, closePayment } = direct.payments;
  const wrong = await caught(createPayment(payment({ appId: '', amount: yuan(-1n), requestId: 'a request id' })));
  expect(wrong).toMatchObject({
    name: 'PaystateError',
    code: status.INVALID_ARGUMENT,
    reason: 'FIELD_INVALID',
    requestId: 'a request id',
    fieldViolations: [
      { field: 'request_id', description: expect.any(String) },
      { field: 'app_id', description: expect.any(String) },
      { field: 'amount.minor_units', description: 'must be positive' },
    ],
  });
  expect(wrong.message).toBe(`FIELD_INVALID: ${wrong.details}`);

  const { payment: made } = await createPayment(payment());
  const stale = await caught(closePayment({ paymentId: made!.paymentId, reason: 'no', expectedVersion: 9 }));
  expect(stale.metadata).toEqual({ payment_id: made!.paymentId, current: '1', expected: '9' });
  expect([isReason(stale, 'VERSION_MISMATCH', 'ORDER_EXISTS'), isReason(stale, 'ORDER_EXISTS'), isReason(new Error(), 'ORDER_EXISTS')]).toEqual([true, false, false]);
  expect(await caught(direct.operations.explainPayment({}))).toMatchObject({ code: status.INVALID_ARGUMENT });
});

test('amounts are bigints, and fields are those of the contract', async () => {
  const refund = { paymentId: randomUUID(), reason: 'x' };
  const wrong: [unknown, RegExp][] = [
    [{ ...refund, amount: { currencyCode: 'CNY', minorUnits: 100 } }, /amount\.minorUnits must be a bigint, such as 1250n, not the number 100/],
    [{ ...refund, amount: { currencyCode: 'CNY', minorUnits: 1.5 } }, /are bigints/],
    [{ ...refund, amount: { currencyCode: 'CNY', minorUnits: '100' } }, /not the string "100"/],
    [{ ...refund, ammount: yuan(1n) }, /there is no field ammount/],
  ];
  for (const [request, sentence] of wrong) {
    await expect(direct.payments.createRefund(request as Input<CreateRefundRequest>)).rejects.toThrow(TypeError);
    await expect(direct.payments.createRefund(request as Input<CreateRefundRequest>)).rejects.toThrow(sentence);
  }
  // @ts-expect-error a number is no amount
  await expect(direct.payments.createRefund({ ...refund, amount: { currencyCode: 'CNY', minorUnits: 100 } })).rejects.toThrow(TypeError);
  // @ts-expect-error there is no such field
  await expect(direct.payments.createRefund({ ...refund, sum: yuan(1n) })).rejects.toThrow(TypeError);
  expect(() => createClient({ address: 'x:1', caller: 'two words' })).toThrow(TypeError);
});

test('times are Dates on the way out and back', async () => {
  const expireTime = new Date('2026-03-10T08:00:00.125Z');
  const { payment: made } = await direct.payments.createPayment(payment({ expireTime }));
  expect(toDate(made!.expireTime)).toEqual(expireTime);
  expect([-1, 0, 1_500, 1_999].map((ms) => toDate(toTimestamp(new Date(ms)))!.getTime())).toEqual([-1, 0, 1_500, 1_999]);
});

describe('at a server that loses answers', () => {
  const seen: string[] = [];
  const noted = (answer: object): UnaryScript => (call: ServerUnaryCall<unknown, unknown>) => {
    const { requestId } = call.request as CreatePaymentRequest;
    seen.push(`${requestId} ${String(call.metadata.get('x-request-id')[0])} ${String(call.metadata.get('x-actor')[0])}`);
    return answer;
  };
  beforeEach(() => void seen.splice(0));

  test.each([
    ['CANCELLED, as by a forced shutdown', bare(status.CANCELLED, 'Call cancelled')],
    ['INTERNAL of a reset stream', bare(status.INTERNAL, 'Received RST_STREAM with code 2 (Internal server error)')],
    ['UNAVAILABLE', bare(status.UNAVAILABLE, 'no upstream')],
    ['UNAVAILABLE with a pushback', refusal('SERVER_DRAINING', { retryAfterMs: 1 })],
  ])('%s is repeated with the same ids', async (_, failure) => {
    await using server = await startScriptedServer({ unary: [noted(failure), noted(CreatePaymentResponse.fromPartial({ replayed: true }))] });
    using lossy = createClient({ address: server.address, caller: 'shop' });
    expect(await lossy.payments.createPayment(payment())).toMatchObject({ replayed: true });
    expect(seen).toHaveLength(2);
    expect(seen[1]).toBe(seen[0]);
    const [requestId, header, caller] = seen[0]!.split(' ');
    expect([requestId, caller]).toEqual([header, 'shop']);
  });

  test.each([
    ['a bug of the server', refusal('INTERNAL', { metadata: { request_id: 'scripted' } }), { code: status.INTERNAL, reason: 'INTERNAL', isOutcomeUnknown: true }],
    ['too much load', refusal('OVERLOADED', { retryAfterMs: 2_500 }), { code: status.RESOURCE_EXHAUSTED, reason: 'OVERLOADED', retryAfterMs: 2_500, isOutcomeUnknown: false }],
    ['an answer of somebody else', bare(status.UNKNOWN, 'what?'), { code: status.UNKNOWN, reason: undefined, details: 'what?', isOutcomeUnknown: true }],
  ])('%s is told and not repeated', async (_, failure, error) => {
    await using server = await startScriptedServer({ unary: [noted(failure)] });
    using lossy = createClient({ address: server.address, caller: 'shop' });
    expect(await caught(lossy.payments.createPayment(payment()))).toMatchObject(error);
    expect(seen).toHaveLength(1);
  });
});

test('two servers share the calls, and one of them dying is not seen', async () => {
  const counts = [0, 0];
  const counting = (index: number): UnaryScript => () => {
    counts[index]!++;
    return GetPaymentResponse.fromPartial({});
  };
  const servers = [await startScriptedServer({ unary: [counting(0)] }), await startScriptedServer({ unary: [counting(1)] })];
  using both = createClient({ address: servers.map(({ address }) => address), caller: 'shop' });
  const call = () => both.payments.getPayment({ ref: paymentRef('x') });
  await until(async () => {
    await call();
    return counts.every((count) => count > 0);
  });
  const before = [...counts];
  for (let index = 0; index < 20; index++) await call();
  expect(counts.map((count, index) => count - before[index]!)).toEqual([10, 10]);

  await servers[0]![Symbol.asyncDispose]();
  for (let index = 0; index < 20; index++) await call();
  await servers[1]![Symbol.asyncDispose]();
});
