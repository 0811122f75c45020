import type { NewOrder, NewRefund, PlatformAdapter } from '../../src/payment/platform.js';
import { limited } from '../../src/platform/limits.js';
import { until } from '../support/until.js';

const T0 = new Date('2026-01-01T00:00:00Z');
const at = (ms: number) => ({ at: new Date(T0.getTime() + ms), signal: AbortSignal.timeout(5_000) });
const ORDER = {} as NewOrder;
const REFUND = {} as NewRefund;
const IDENTITY = { merchantOrderNo: 'P1', platformOrderTime: '', platformTransactionId: null };
const OK = { kind: 'ACCEPTED', value: { form: 'QR_TEXT', value: 'x' } } as const;
type Outcome = Awaited<ReturnType<PlatformAdapter['create']>>;

/** An adapter that does as it is told, and the number of calls that reached it. */
function told(answer: () => Promise<unknown> | object) {
  const calls = { count: 0 };
  const call = async () => {
    calls.count += 1;
    return (await answer()) as never;
  };
  const adapter = { platform: 'ALIPAY', merchantAccount: 'a', create: call, query: call, close: call, refund: call, queryRefund: call, downloadBill: call } as unknown as PlatformAdapter;
  return { adapter, calls };
}

test('no more calls a second than are configured; the others were not sent and say so', async () => {
  const { adapter, calls } = told(() => OK);
  const guarded = limited(adapter, { concurrency: 100, perSecond: 3 });
  const outcomes = await Promise.all(Array.from({ length: 5 }, () => guarded.create(ORDER, at(0))));
  expect(outcomes.map(({ kind }) => kind)).toEqual(['ACCEPTED', 'ACCEPTED', 'ACCEPTED', 'RATE_LIMITED', 'RATE_LIMITED']);
  expect(await guarded.refund(REFUND, at(0))).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true, word: 'RATE' });
  expect(calls.count).toBe(3);
  expect(await guarded.query(IDENTITY, at(334))).toMatchObject({ kind: 'ACCEPTED' });
});

test('no more calls at a time; the others wait', async () => {
  const waiting: (() => void)[] = [];
  const { adapter, calls } = told(() => new Promise((resolve) => waiting.push(() => resolve(OK))));
  const guarded = limited(adapter, { concurrency: 2, perSecond: 1_000 });
  const all = Array.from({ length: 3 }, () => guarded.create(ORDER, at(0)));
  expect(calls.count).toBe(2);
  waiting.shift()!();
  await Promise.race(all);
  await new Promise((resolve) => setImmediate(resolve));
  expect(calls.count).toBe(3);
  for (const end of waiting) end();
  expect((await Promise.all(all)).map(({ kind }) => kind)).toEqual(['ACCEPTED', 'ACCEPTED', 'ACCEPTED']);
});

test('"too many" pauses its operation, never longer than a second at first, and no other one', async () => {
  let answer: Outcome = { kind: 'RATE_LIMITED', code: 'isv.app-call-limited', message: '' };
  const { adapter, calls } = told(() => answer);
  const guarded = limited(adapter, { concurrency: 10, perSecond: 1_000 });
  await guarded.create(ORDER, at(0));
  answer = OK;
  expect(await guarded.query(IDENTITY, at(0))).toMatchObject({ kind: 'ACCEPTED' });
  expect(await guarded.create(ORDER, at(1_001))).toMatchObject({ kind: 'ACCEPTED' });
  expect(calls.count).toBe(3);
});

test('a clock that goes back by an hour makes no pause of an hour', async () => {
  const { adapter, calls } = told(() => ({ kind: 'RATE_LIMITED', code: 'x', message: '' }));
  const guarded = limited(adapter, { concurrency: 10, perSecond: 1_000 });
  await guarded.create(ORDER, at(3_600_000));
  await guarded.create(ORDER, at(0));
  expect(calls.count).toBe(2);
});

test('what waits for its turn while a platform turns out not to answer is not sent', async () => {
  const { adapter, calls } = told(() => ({ kind: 'UNKNOWN', code: 'NO_ANSWER', message: '' }));
  const guarded = limited(adapter, { concurrency: 4, perSecond: 1_000 });
  const outcomes = await Promise.all(Array.from({ length: 60 }, () => guarded.query(IDENTITY, at(0))));
  expect(calls.count).toBeLessThan(10 + 4);
  expect(outcomes.filter((outcome) => 'heldBack' in outcome)).toHaveLength(60 - calls.count);
});

test('the pause grows with every refusal in a row, and is spread', async () => {
  const { adapter } = told(() => ({ kind: 'RATE_LIMITED', code: 'x', message: '' }));
  const guarded = limited(adapter, { concurrency: 10, perSecond: 1_000 });
  const paused: number[] = [];
  let now = 0;
  for (let refusals = 0; refusals < 12; refusals += 1) {
    await guarded.create(ORDER, at(now));
    let pause = 0;
    while ('code' in (await guarded.create(ORDER, at(now + pause))) && pause < 60_000 && (await isPaused(guarded, now + pause))) pause += 500;
    paused.push(pause);
    now += 60_001;
  }
  expect(Math.max(...paused)).toBeGreaterThan(1_000);
  expect(Math.max(...paused)).toBeLessThanOrEqual(60_500);
});

async function isPaused(guarded: PlatformAdapter, now: number): Promise<boolean> {
  const outcome = await guarded.create(ORDER, at(now));
  return outcome.kind === 'RATE_LIMITED' && outcome.code === 'PAUSED';
}

test.each(['EAI_AGAIN', 'CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'ECONNREFUSED', 'UND_ERR_SOCKET'])('%s is no answer', async (code) => {
  const { adapter } = told(() => ({ kind: 'UNREACHABLE', code, message: '' }));
  const guarded = limited(adapter, { concurrency: 10, perSecond: 1_000 });
  for (let call = 0; call < 10; call += 1) await guarded.query(IDENTITY, at(0));
  expect(guarded.openCircuits).toEqual(['query']);
});

test('a platform that does not answer is left alone, operation by operation; refusals are answers', async () => {
  let answer: object = { kind: 'UNKNOWN', code: 'TIMEOUT', message: '' };
  const { adapter, calls } = told(() => answer);
  const guarded = limited(adapter, { concurrency: 10, perSecond: 1_000 });
  for (let call = 0; call < 12; call += 1) await guarded.create(ORDER, at(0));
  expect(calls.count).toBe(10);
  expect(await guarded.create(ORDER, at(0))).toEqual({ kind: 'UNREACHABLE', code: 'CIRCUIT_OPEN', message: expect.any(String) as unknown, heldBack: true });
  expect(guarded.openCircuits).toEqual(['create']);

  answer = { kind: 'REJECTED', meaning: 'FINAL', code: 'ACQ.TOTAL_FEE_EXCEED', message: '' };
  for (let call = 0; call < 12; call += 1) expect(await guarded.close(IDENTITY, at(0))).toMatchObject({ kind: 'REJECTED' });
  expect(guarded.openCircuits).toEqual(['create']);
});

test('one call at a time finds out whether a platform answers again; nobody waits for it, least of all another operation', async () => {
  let answer: () => Promise<object> | object = () => ({ kind: 'UNKNOWN', code: 'NO_ANSWER', message: '' });
  const { adapter, calls } = told(() => answer());
  const guarded = limited({ ...adapter, create: () => Promise.resolve(OK as never) }, { concurrency: 4, perSecond: 1_000 });
  for (let call = 0; call < 10; call += 1) await guarded.query(IDENTITY, at(0));
  expect(guarded.openCircuits).toEqual(['query']);

  const { promise: trial, resolve: end } = Promise.withResolvers<object>();
  answer = () => trial;
  const tried: Promise<unknown>[] = [];
  await until(() => {
    tried.push(guarded.query(IDENTITY, at(0)));
    return calls.count === 11;
  });
  const others = await Promise.all(Array.from({ length: 80 }, () => guarded.query(IDENTITY, at(0))));
  expect(new Set(others.map((outcome) => (outcome as { code?: string }).code))).toEqual(new Set(['CIRCUIT_OPEN']));
  expect(await guarded.create(ORDER, at(0))).toBe(OK);
  expect(calls.count).toBe(11);

  end(OK);
  await Promise.all(tried);
  expect(guarded.openCircuits).toEqual([]);
});

test('a call whose time is over before its turn comes was not sent, and says so', async () => {
  const waiting: (() => void)[] = [];
  const { adapter, calls } = told(() => new Promise((resolve) => waiting.push(() => resolve(OK))));
  const guarded = limited(adapter, { concurrency: 1, perSecond: 1_000 });
  const first = guarded.create(ORDER, at(0));
  const impatient = new AbortController();
  const late = guarded.query(IDENTITY, { ...at(0), signal: impatient.signal });
  const lateRefund = guarded.refund(REFUND, { ...at(0), signal: impatient.signal });
  impatient.abort();
  expect(await late).toMatchObject({ kind: 'UNREACHABLE', code: 'WAITED', heldBack: true });
  expect(await lateRefund).toMatchObject({ status: 'UNCHANGED', retry: 'SAME_NUMBER', notExecuted: true });
  waiting.shift()!();
  expect(await first).toMatchObject({ kind: 'ACCEPTED' });
  expect(await guarded.close(IDENTITY, { ...at(0), signal: AbortSignal.abort() })).toMatchObject({ kind: 'UNREACHABLE', code: 'WAITED' });
  expect(calls.count).toBe(1);
});

test('callers who do not wait open no circuit for those who do', async () => {
  const { adapter, calls } = told(() => ({ kind: 'UNKNOWN', code: 'TIMEOUT', message: '' }));
  const guarded = limited(adapter, { concurrency: 10, perSecond: 1_000 });
  const hurried = async (): Promise<void> => {
    const impatient = new AbortController();
    const asked = guarded.query(IDENTITY, { ...at(0), signal: impatient.signal });
    impatient.abort();
    await asked;
  };
  for (let call = 0; call < 12; call += 1) await hurried();
  expect(guarded.openCircuits).toEqual([]);
  expect(calls.count).toBe(12);
});

test('calls that are refused together are one refusal', async () => {
  for (let run = 0; run < 20; run += 1) {
    const waiting: (() => void)[] = [];
    const { adapter } = told(() => new Promise((resolve) => waiting.push(() => resolve({ kind: 'RATE_LIMITED', code: 'x', message: '' }))));
    const guarded = limited(adapter, { concurrency: 100, perSecond: 1_000 });
    const all = Array.from({ length: 50 }, () => guarded.close(IDENTITY, at(0)));
    for (const end of waiting.splice(0)) end();
    await Promise.all(all);
    const after = guarded.close(IDENTITY, at(1_001));
    for (const end of waiting.splice(0)) end();
    expect(await after).toMatchObject({ code: 'x' });
  }
});
