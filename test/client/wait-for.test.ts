/** Waiting for a payment over servers that go, answer too early, or say nothing. */
import { status } from '@grpc/grpc-js';
import { createClient } from '../../src/client/client.js';
import { createFakeClient } from '../../src/client/fake/fake-client.js';
import { WaitTimeout, type WaitOptions } from '../../src/client/wait-for.js';
import { WaitForPaymentResponse } from '../../src/gen/payment/v1/payment_service.js';
import { bare, refusal, startScriptedServer, type UnaryScript } from './scripted-server.js';

/** What a wait comes to at a server that gives these answers, and how often that was asked. */
async function waited(answers: readonly object[], options: WaitOptions = {}) {
  let asked = 0;
  const scripts = answers.map((answer): UnaryScript => () => (asked++, answer));
  await using server = await startScriptedServer({ unary: scripts });
  using client = createClient({ address: server.address, caller: 'shop' });
  const end = await client.waitFor('tea', options).catch((error: unknown) => error);
  return { end, asked };
}
const answer = (version: number, reached: boolean) => WaitForPaymentResponse.fromPartial({ payment: { paymentId: 'tea', version }, reached });

test.each([
  ['an answer before its time', answer(1, false)],
  ['an answer that does not come', bare(status.DEADLINE_EXCEEDED)],
  ['a server that goes', refusal('SERVER_DRAINING', { retryAfterMs: 1 })],
  ['a server with too many watches', refusal('OVERLOADED', { retryAfterMs: 1 })],
])('%s is followed by another call', async (_, first) => {
  expect(await waited([first, answer(2, true)])).toMatchObject({ asked: 2, end: { version: 2 } });
});

test('a refusal ends it', async () => {
  expect(await waited([refusal('PAYMENT_NOT_FOUND')])).toMatchObject({ asked: 1, end: { reason: 'PAYMENT_NOT_FOUND' } });
});

test('when the time is over it says how the payment was, or why nobody knows', async () => {
  const { end } = await waited([answer(3, false)], { timeoutMs: 20 });
  expect(end).toBeInstanceOf(WaitTimeout);
  expect(end).toMatchObject({ paymentId: 'tea', timeoutMs: 20, payment: { version: 3 } });
  const silent = await waited([bare(status.DEADLINE_EXCEEDED)], { timeoutMs: 20 });
  expect(silent.end).toMatchObject({ name: 'WaitTimeout', payment: undefined, cause: { code: status.DEADLINE_EXCEEDED } });
});

test('closing the client ends it', async () => {
  const fake = createFakeClient();
  const { payment } = await fake.payments.createPayment({
    appId: 'shop', orderId: 'order-1', platform: 1, amount: { currencyCode: 'CNY', minorUnits: 1n }, kind: { $case: 'registered', value: { merchantOrderNo: 'no-1' } },
  });
  const waiting = fake.waitFor(payment!.paymentId);
  fake.close();
  await expect(waiting).rejects.toThrow('the client was closed');
});
