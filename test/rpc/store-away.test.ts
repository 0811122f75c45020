import * as grpc from '@grpc/grpc-js';
import * as rpc from '../../src/gen/payment/v1/payment_service.js';
import { freshDatabase } from '../support/database.js';
import { startTestApp } from '../support/app.js';
import { logOf, refundOf, registered, reported } from '../support/requests.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

test('without the database every call is UNAVAILABLE, the health says so, and both come back with it', async () => {
  await using database = await freshDatabase();
  const url = new URL(database.url);
  await using proxy = await startTcpProxy({ target: { host: url.hostname, port: Number(url.port) } });
  url.port = `${proxy.port}`;
  await using service = await startTestApp({ databaseUrl: url.href, manualSync: true });
  const { payment } = await service.payments.createPayment(registered());
  const paymentId = payment!.paymentId;
  const ref = { ref: { $case: 'paymentId' as const, value: paymentId } };
  const health = new grpc.Client(service.address, grpc.credentials.createInsecure());
  expect(await statusOf(health, 'payment.v1.PaymentService')).toBe('SERVING');

  let away = true;
  proxy.onClientData(() => (away ? 'drop-and-cut' : 'pass'));
  proxy.cutAll();
  const { payments, operations } = service;
  const calls: [string, Promise<unknown>][] = [
    ['GetPayment', payments.getPayment({ ref, view: 0 })],
    ['ListPayments', payments.listPayments(rpc.ListPaymentsRequest.fromPartial({}))],
    ['CreatePayment', payments.createPayment(registered())],
    ['UpdatePaymentStatus', payments.updatePaymentStatus(reported(paymentId))],
    ['CreateRefund', payments.createRefund(refundOf(paymentId, 1n))],
    ['GetRefund', payments.getRefund({ refundId: paymentId })],
    ['ListRefunds', payments.listRefunds(rpc.ListRefundsRequest.fromPartial({ paymentId }))],
    ['ListPaymentLogs', payments.listPaymentLogs(rpc.ListPaymentLogsRequest.fromPartial({ paymentId }))],
    ['GetPaymentStats', payments.getPaymentStats(rpc.GetPaymentStatsRequest.fromPartial({ startTime: { seconds: BigInt(Math.floor(Date.now() / 1_000) - 60) } }))],
    ['VerifyPayments', payments.verifyPayments({ refs: [ref], apply: false })],
    ['WaitForPayment', payments.waitForPayment(rpc.WaitForPaymentRequest.fromPartial({ paymentId }))],
    ['ExplainPayment', operations.explainPayment({ ref })],
    ['VerifyPaymentLog', operations.verifyPaymentLog(logOf(paymentId))],
    ['GetSystemHealth', operations.getSystemHealth({})],
  ];
  const heard = await Promise.all(calls.map(async ([name, call]) => [name, await call.then(() => 'OK', ({ code, reason }: { code: string; reason: string }) => `${code} ${reason}`)]));
  expect(heard).toEqual(calls.map(([name]) => [name, 'UNAVAILABLE STORE_UNAVAILABLE']));
  await until(async () => (await statusOf(health, 'payment.v1.PaymentService')) === 'NOT_SERVING');
  // Whoever restarts processes that are not alive must leave this one alone.
  expect(await statusOf(health, 'liveness')).toBe('SERVING');
  const get = (path: string) => fetch(`http://127.0.0.1:${service.app.adminPort}${path}`);
  expect([(await get('/healthz')).status, (await get('/readyz')).status]).toEqual([200, 503]);
  const metrics = await (await get('/metrics')).text();
  expect(metrics).toMatch(/^store_up 0$/m);
  expect(metrics).not.toMatch(/^payments_unsettled\{/m);

  away = false;
  await until(async () => (await statusOf(health, 'payment.v1.PaymentService')) === 'SERVING');
  await expect(payments.getPayment({ ref, view: 0 })).resolves.toMatchObject({ payment: { paymentId } });
  health.close();
});

/** grpc.health.v1, by hand: one string in, one enum out. */
function statusOf(client: grpc.Client, service: string): Promise<string> {
  const name = Buffer.from(service);
  const request = Buffer.concat([Buffer.from([0x0a, name.length]), name]);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest('/grpc.health.v1.Health/Check', (bytes: Buffer) => bytes, (bytes: Buffer) => bytes, request, (error, answer) => {
      if (error !== null) reject(error);
      else resolve(answer?.at(1) === 1 ? 'SERVING' : 'NOT_SERVING');
    });
  });
}
