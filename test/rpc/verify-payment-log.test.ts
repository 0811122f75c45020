/** The hash chains of a range, recomputed through the real server: exactly what was planted is found, page by page. */
import * as grpc from '@grpc/grpc-js';
import { promised } from '../../src/cli/promised.js';
import { OperationsServiceClient, VerifyPaymentLogRequest, type LogFault, type VerifyPaymentLogResponse } from '../../src/gen/payment/v1/operations_service.js';
import { callOptions, startTestApp, type TestApp } from '../support/app.js';
import { Forger } from '../support/forger.js';
import { logOf, registered, reported } from '../support/requests.js';

const T0 = Date.parse('2026-03-01T00:00:00Z');
let at = T0;
let service: TestApp;
let forger: Forger;
beforeEach(async () => {
  at = T0;
  service = await startTestApp({ clock: { now: () => new Date(at) }, manualSync: true });
  forger = await Forger.of(service.app.databaseUrl);
});
afterEach(async () => {
  await forger[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

const seconds = (ms: number) => ({ seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1e6 });
/** As many paid payments, three to a millisecond, with two entries each. */
async function pay(count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let first = 0; first < count; first += 3) {
    at += 1;
    const created = await Promise.all(Array.from({ length: Math.min(3, count - first) }, () => service.payments.createPayment(registered())));
    ids.push(...created.map(({ payment }) => payment!.paymentId));
  }
  await Promise.all(ids.map((id) => service.payments.updatePaymentStatus(reported(id))));
  return ids;
}
const range = (changes: Partial<VerifyPaymentLogRequest> = {}) =>
  VerifyPaymentLogRequest.fromPartial({ startTime: seconds(T0), endTime: seconds(T0 + 86_400_000), ...changes });
async function allPages(pageSize: number): Promise<VerifyPaymentLogResponse[]> {
  const pages: VerifyPaymentLogResponse[] = [];
  for (let pageToken = ''; pages.length === 0 || pageToken !== ''; pageToken = pages.at(-1)!.nextPageToken) {
    pages.push(await service.operations.verifyPaymentLog(range({ pageSize, pageToken })));
  }
  return pages;
}
const sum = (pages: readonly VerifyPaymentLogResponse[], of: 'payments' | 'entries') => pages.reduce((total, page) => total + page[of], 0);
const byId = (a: LogFault, b: LogFault): number => (a.paymentId < b.paymentId ? -1 : 1);

test('an honest range is valid, and every payment of it is looked at once', async () => {
  await pay(31);
  expect(await service.operations.verifyPaymentLog(range())).toEqual({ valid: true, entries: 62, faultSeq: 0, fault: '', payments: 31, faults: [], nextPageToken: '' });
  const pages = await allPages(7);
  expect(pages.map(({ payments }) => payments)).toEqual([7, 7, 7, 7, 3]);
  expect([sum(pages, 'payments'), sum(pages, 'entries')]).toEqual([31, 62]);
});

test('a range has its start and not its end', async () => {
  await pay(6);
  const between = async (from: number, to: number) => (await service.operations.verifyPaymentLog(range({ startTime: seconds(from), endTime: seconds(to) }))).payments;
  expect([await between(T0, T0 + 1), await between(T0 + 1, T0 + 2), await between(T0 + 1, T0 + 3), await between(T0 + 3, T0 + 9)]).toEqual([0, 3, 6, 0]);
});

test.each([1, 4, 50])('exactly the faults that were planted are found, by pages of %i', async (pageSize) => {
  const ids = await pay(50);
  const planted: LogFault[] = [
    { paymentId: ids[3]!, seq: 2, what: 'the content does not give the recorded hash' },
    { paymentId: ids[4]!, seq: 1, what: 'entry 1 is missing' },
    { paymentId: ids[17]!, seq: 2, what: `entry 2 is missing; the payment's chain head is entry 2` },
    { paymentId: ids[30]!, seq: 2, what: `the payment's chain head is entry 2 with another hash` },
    { paymentId: ids[31]!, seq: 2, what: 'prev_hash is not the hash of the entry before' },
    { paymentId: ids[32]!, seq: 2, what: `entry 2 is beyond the payment's chain head` },
    { paymentId: ids[33]!, seq: 0, what: 'the payment is CLOSED, by its log SUCCEEDED' },
    { paymentId: ids[34]!, seq: 0, what: 'the payment is at version 7, its log at version 2' },
    { paymentId: ids[48]!, seq: 1, what: 'the evidence is not text by name' },
    { paymentId: ids[49]!, seq: 1, what: `entry 1 is missing; the payment's chain head is entry 2` },
  ];
  await forger.setEntry(ids[3]!, 2, 'actor_id', 'somebody else');
  await forger.run('delete from payment_log where payment_id = $1 and seq = 1', [ids[4]]);
  await forger.run('delete from payment_log where payment_id = $1 and seq = 2', [ids[17]]);
  await forger.run('update payment set log_hash = repeat(\'0\', 64) where id = $1', [ids[30]]);
  await forger.setEntry(ids[31]!, 2, 'prev_hash', 'f'.repeat(64));
  await forger.run('update payment set log_seq = 1 where id = $1', [ids[32]]);
  await forger.run(`update payment set status = 'CLOSED' where id = $1`, [ids[33]]);
  await forger.run('update payment set version = 7 where id = $1', [ids[34]]);
  await forger.setEntry(ids[48]!, 1, 'evidence', '[{"not": "text"}]');
  await forger.run('delete from payment_log where payment_id = $1', [ids[49]]);
  // What was rewritten with everything behind it is not found here; an export shows it.
  await forger.rewrite(ids[40]!, 1, 'actor_id', 'somebody else');

  const pages = await allPages(pageSize);
  expect(sum(pages, 'payments')).toBe(50);
  expect(pages.flatMap(({ faults }) => faults).sort(byId)).toEqual([...planted].sort(byId));
  for (const page of pages) {
    expect(page.valid).toBe(page.faults.length === 0);
    expect([page.faultSeq, page.fault]).toEqual(page.faults.length === 0 ? [0, ''] : [page.faults[0]!.seq, page.faults[0]!.what]);
  }
  expect(await service.operations.verifyPaymentLog(logOf(ids[3]!))).toMatchObject({ valid: false, payments: 1, entries: 2, faultSeq: 2, faults: [planted[0]] });
});

test('a page ends with its hundredth fault and the next one goes on behind it', async () => {
  await pay(250);
  await forger.run(`update payment_log set reason = 'x' where seq = 2`);
  const pages = await allPages(0);
  expect(pages.map(({ payments, faults }) => [payments, faults.length])).toEqual([[100, 100], [100, 100], [50, 50]]);
  expect(new Set(pages.flatMap(({ faults }) => faults.map(({ paymentId }) => paymentId))).size).toBe(250);
});

test('a caller with little time gets what could be checked, and where to go on', async () => {
  await pay(203);
  const client = new OperationsServiceClient(service.address, grpc.credentials.createInsecure());
  // Less than what is kept back for answering: one look is all there is time for.
  const hurried = promised(client, { ...callOptions, deadlineMs: 1_450 });
  const first = await hurried.verifyPaymentLog(range());
  expect(first).toMatchObject({ payments: 200, entries: 400, valid: true, nextPageToken: expect.stringMatching(/./) });
  const rest = await service.operations.verifyPaymentLog(range({ pageToken: first.nextPageToken }));
  expect(rest).toMatchObject({ payments: 3, entries: 6, valid: true, nextPageToken: '' });
  client.close();
});

test('a page token is good for its own range only', async () => {
  await pay(5);
  const { nextPageToken: pageToken } = await service.operations.verifyPaymentLog(range({ pageSize: 2 }));
  await expect(service.operations.verifyPaymentLog(range({ pageToken, startTime: seconds(T0 + 1) }))).rejects.toMatchObject({ reason: 'FIELD_INVALID', fields: ['page_token'] });
});

test('a payment that does not exist has no log', async () => {
  await expect(service.operations.verifyPaymentLog(logOf('00000000-0000-7000-8000-000000000000'))).rejects.toMatchObject({ reason: 'PAYMENT_NOT_FOUND' });
});
