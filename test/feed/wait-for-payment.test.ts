import { waitForPayment, type WaitForPayment } from '../../src/feed/wait-for-payment.js';
import { until } from '../support/until.js';
import { create, openBench, refusal, report } from './bench.js';

const waitFor = (paymentId: string, fields: Partial<WaitForPayment> = {}): WaitForPayment => ({
  caller: 'test', paymentId, statuses: [], afterVersion: null, timeoutMs: 15_000, ...fields,
});

test('waiting ends when the payment is settled, and not before', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  let answered = false;
  const waiting = waitForPayment(bench.feed, waitFor(payment.id)).finally(() => (answered = true));
  await until(() => bench.feed.health().openWatches === 1);

  await report(bench.deps, payment, 'PROCESSING');
  expect(answered).toBe(false);
  await report(bench.deps, payment, 'SUCCEEDED');
  expect(await waiting).toMatchObject({ reached: true, payment: { id: payment.id, status: 'SUCCEEDED', version: 3 } });
  expect(bench.feed.health().openWatches).toBe(0);
});

test('waiting for a status, or for any change beyond a version', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  const waits = [
    waitForPayment(bench.feed, waitFor(payment.id, { statuses: ['PROCESSING', 'REVIEW'] })),
    waitForPayment(bench.feed, waitFor(payment.id, { statuses: ['REVIEW'], afterVersion: 1 })),
  ];
  await until(() => bench.feed.health().openWatches === 2);
  await report(bench.deps, payment, 'PROCESSING');
  for (const { reached, payment: seen } of await Promise.all(waits)) expect([reached, seen.version]).toEqual([true, 2]);
});

test('what is already so is answered at once', async () => {
  await using bench = await openBench();
  const payment = await report(bench.deps, await create(bench.deps), 'SUCCEEDED');
  expect(await waitForPayment(bench.feed, waitFor(payment.id))).toMatchObject({ reached: true });
  expect(await waitForPayment(bench.feed, waitFor(payment.id, { statuses: ['REVIEW'], afterVersion: 1 }))).toMatchObject({ reached: true });
});

test('a time that passes is no error', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  for (const timeoutMs of [0, 20]) {
    const answer = await waitForPayment(bench.feed, waitFor(payment.id, { timeoutMs }));
    expect(answer).toMatchObject({ reached: false, payment: { id: payment.id, status: 'PENDING' } });
  }
});

test('waiting for a payment that does not exist, under a drain, and for a caller who left', async () => {
  await using bench = await openBench();
  const payment = await create(bench.deps);
  expect(await refusal(waitForPayment(bench.feed, waitFor('00000000-0000-7000-8000-000000000001')))).toMatchObject({ reason: 'PAYMENT_NOT_FOUND' });

  const leaving = new AbortController();
  const left = waitForPayment(bench.feed, waitFor(payment.id), leaving.signal);
  await until(() => bench.feed.health().openWatches === 1);
  leaving.abort(new Error('the caller left'));
  await expect(left).rejects.toThrow('the caller left');

  const drained = refusal(waitForPayment(bench.feed, waitFor(payment.id)));
  await until(() => bench.feed.health().openWatches === 1);
  await bench.feed.drain();
  expect(await drained).toMatchObject({ reason: 'SERVER_DRAINING' });
});
