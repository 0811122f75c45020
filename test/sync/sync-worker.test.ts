/** The sync worker on a real database, with platforms that answer as a test tells them to: who is asked when, and how often. */
import { WechatNotifications } from '../../bench/wechat-notifications.js';
import { createLogger } from '../../src/logger.js';
import type { Deps } from '../../src/payment/deps.js';
import { uuidv7 } from '../../src/payment/ids.js';
import { joinEvidence } from '../../src/payment/join-evidence.js';
import type { Payment } from '../../src/payment/payment.js';
import { PlatformRegistry } from '../../src/payment/platform-registry.js';
import type { CallOutcome, PaymentReport, PlatformAdapter, RefundReport } from '../../src/payment/platform.js';
import { limited } from '../../src/platform/limits.js';
import { createWechatPayAdapter } from '../../src/platform/wechatpay/adapter.js';
import { wechatPaySettings } from '../../src/platform/wechatpay/settings.js';
import { Refund } from '../../src/refund/refund.js';
import { SyncWorker } from '../../src/sync/sync-worker.js';
import { Random } from '../notification/random.js';
import { paid } from '../support/payments.js';
import { ACTOR, creation, openStore, type Store } from '../support/store.js';
import { until } from '../support/until.js';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const PACE_MS = 5 * MINUTE;

let nowMs = Date.parse('2026-03-10T04:00:00Z');
let store: Store;
beforeEach(async () => {
  store = await openStore({ clock: { now: () => new Date(nowMs) } });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
});

type Answer = CallOutcome<PaymentReport>;
const awaiting = (): Answer => ({ kind: 'ACCEPTED', value: { evidence: { class: 'AWAITING_BUYER', at: new Date(nowMs), word: 'NOTPAY' } } });

/** An account whose queries are answered like this; `asked` has the order number of each. */
function account(merchantAccount: string, answer: () => Answer | Promise<Answer> = awaiting) {
  const asked: string[] = [];
  const real = createWechatPayAdapter(wechatPaySettings.parse(new WechatNotifications().account), 'http://127.0.0.1:9');
  const adapter: PlatformAdapter = {
    ...real,
    merchantAccount,
    paces: { open: [PACE_MS], unknown: [PACE_MS], refund: [PACE_MS] },
    query: async ({ merchantOrderNo }) => {
      asked.push(merchantOrderNo);
      return await answer();
    },
  };
  return { adapter, asked };
}

function workerOf(...accounts: { adapter: PlatformAdapter }[]): SyncWorker {
  const deps: Deps = { ...store.deps, platforms: new PlatformRegistry(accounts.map(({ adapter }) => ({ adapter, apps: [] }))) };
  return new SyncWorker(() => deps, createLogger('silent'));
}

/** Payments that are due at once. */
async function register(merchantAccount: string, count: number): Promise<void> {
  const one = creation({ merchantAccount });
  const due: typeof one = {
    decide(view) {
      const payment = one.decide(view);
      view.syncDue(payment, view.at);
      return payment;
    },
  };
  await Promise.all(Array.from({ length: count }, () => store.work.run(due)));
}
const schedule = () => store.deps.orm.em.fork().execute<{ due_at: string; lease_until: string | null; attempts: number }[]>('select due_at::text, lease_until::text, attempts from payment_sync order by payment_id');
const countsOf = (asked: readonly string[]): number[] => [...Map.groupBy(asked, (no) => no).values()].map(({ length }) => length);

test('the backlog of an account whose platform never answers keeps no other one waiting', async () => {
  const { promise: end, resolve: letGo } = Promise.withResolvers<void>();
  const hanging = account('hanging', () => end.then(awaiting));
  const well = account('well');
  await register('hanging', 300);
  await register('well', 3);
  const worker = workerOf(hanging, well);
  worker.start();
  await until(() => well.asked.length >= 3);
  expect(hanging.asked.length).toBeLessThan(300);
  letGo();
  await worker[Symbol.asyncDispose]();
});

test('replicas share what is due: each payment is asked about by one of them', async () => {
  const one = account('shared');
  await register('shared', 400);
  const workers = [workerOf(one), workerOf(one), workerOf(one)];
  while ((await Promise.all(workers.map((worker) => worker.runOnce()))).some((count) => count > 0));
  expect(countsOf(one.asked)).toEqual(Array.from({ length: 400 }, () => 1));
  expect((await schedule()).every(({ lease_until, attempts }) => lease_until === null && attempts === 1)).toBe(true);
});

test('what a limit holds back is no look: it comes again soon, and its schedule stays where it was', async () => {
  const one = account('limited');
  await register('limited', 100);
  await workerOf({ adapter: limited(one.adapter, { concurrency: 8, perSecond: 10 }) }).runOnce();
  expect(one.asked.length).toBeGreaterThan(0);
  expect(one.asked.length).toBeLessThan(50);
  const { 1: looked, 0: heldBack = [] } = Object.groupBy(await schedule(), ({ attempts }) => attempts);
  expect(looked).toHaveLength(one.asked.length);
  expect(heldBack).toHaveLength(100 - one.asked.length);
  for (const { due_at, lease_until } of heldBack) {
    expect(lease_until).toBeNull();
    expect(Date.parse(due_at) - nowMs).toBeLessThanOrEqual(1.5 * SECOND);
  }
});

/** Paid payments with a refund each, due at once: one that was never sent, or one that was taken in and is asked about. */
async function refundsOf(merchantAccount: string, count: number, isTakenIn: boolean): Promise<Payment[]> {
  const one = creation({ merchantAccount });
  const refunding: typeof one = {
    decide(view) {
      const payment = one.decide(view);
      const act = view.act(ACTOR);
      joinEvidence(view, payment, { evidence: paid(view.at, { merchantAccount }), source: 'QUERY' }, act);
      const refund = Refund.create(payment, { id: uuidv7(view.at), amount: 1n, reason: 'returned' }, view.at);
      view.refunds(payment).add(refund);
      if (isTakenIn) {
        refund.markSending({ at: view.at, until: view.at });
        refund.apply(said('SUBMITTED', null), 'SYNC_REPLY', view.at);
      }
      view.syncDue(payment, view.at);
      return payment;
    },
  };
  return await Promise.all(Array.from({ length: count }, () => store.work.run(refunding)));
}
const said = (status: RefundReport['status'], code: string | null): RefundReport => ({
  status, retry: code === null ? null : 'SAME_NUMBER', amount: null, platformRefundId: null, at: new Date(nowMs), word: status,
  failure: code === null ? null : { code, message: '' }, notExecuted: false,
});

test.each([['sent', false, 0], ['asked about', true, 1]] as const)('a refund that an open circuit keeps from being %s was not: it comes again soon', async (_, isTakenIn, sentBefore) => {
  const called: string[] = [];
  const silent: PlatformAdapter['queryRefund'] = async ({ platformRefundNo }) => {
    called.push(platformRefundNo);
    return await Promise.resolve(said('UNKNOWN', 'NO_ANSWER'));
  };
  const { adapter } = account('silent');
  // Nothing that was taken in is sent again before it is asked about.
  const mustNot = (): never => {
    throw new Error('sent again');
  };
  const worker = workerOf({ adapter: limited({ ...adapter, refund: isTakenIn ? mustNot : silent, queryRefund: silent }, { concurrency: 4, perSecond: 1_000 }) });
  await refundsOf('silent', 60, isTakenIn);
  await worker.runOnce();

  expect(called.length).toBeGreaterThanOrEqual(10);
  expect(called.length).toBeLessThan(30);
  const rows = await store.deps.orm.em.fork().find(Refund, {});
  const heldBack = rows.filter(({ platformRefundNo }) => !called.includes(platformRefundNo));
  expect(heldBack).toHaveLength(60 - called.length);
  for (const { attempts, status, failureCode, sendingUntil, sentAt } of heldBack) {
    expect({ attempts, status, failureCode, sendingUntil }).toEqual({ attempts: sentBefore, status: isTakenIn ? 'SUBMITTED' : 'CREATED', failureCode: isTakenIn ? null : 'CIRCUIT_OPEN', sendingUntil: null });
    expect(sentAt === null).toBe(!isTakenIn);
  }
  const notAsked = (await schedule()).filter(({ attempts }) => attempts === 0);
  expect(notAsked).toHaveLength(heldBack.length);
  for (const { due_at } of notAsked) expect(Date.parse(due_at) - nowMs).toBeLessThanOrEqual((isTakenIn ? 1.5 : 30) * SECOND);
});

test('where one refund is held back and another one is asked about, the platform is asked no more often than by its pace', async () => {
  let asked = 0;
  const worker = workerOf({
    adapter: {
      ...account('partly').adapter,
      refund: async () => await Promise.resolve({ ...said('UNCHANGED', 'CIRCUIT_OPEN'), failure: { code: 'CIRCUIT_OPEN', message: '', heldBack: true } }),
      queryRefund: async () => {
        asked += 1;
        return await Promise.resolve(said('SUBMITTED', null));
      },
    },
  });
  const [payment] = await refundsOf('partly', 1, true);
  await store.work.run({
    payments: [payment!.id],
    decide: (view) => view.refunds(view.payment(payment!.id)).add(Refund.create(payment!, { id: uuidv7(view.at), amount: 1n, reason: 'returned' }, view.at)),
  });
  for (let second = 0; second < 60; second += 1, nowMs += SECOND) await worker.runOnce();
  // Twice for the send that was held back, which comes again after half a minute.
  expect(asked).toBeLessThanOrEqual(3);
});

test('what a process had in hand when it died is taken up by another one when its lease is over, and not before', async () => {
  const [dying, other] = [account('left', () => new Promise<Answer>(() => undefined)), account('left')];
  await register('left', 20);
  void workerOf(dying).runOnce();
  await until(() => dying.asked.length === 20);

  const worker = workerOf(other);
  nowMs += 59 * SECOND;
  expect(await worker.runOnce()).toBe(0);
  nowMs += 2 * SECOND;
  expect(await worker.runOnce()).toBe(20);
  expect(countsOf(other.asked)).toEqual(Array.from({ length: 20 }, () => 1));
});

test.each([1, 2])('a clock that jumps by an hour, forth and back, neither loses a payment nor asks about it again and again (walk %i)', async (seed) => {
  const random = new Random(seed, 77);
  const PAYMENTS = 20;
  const STEP_MS = MINUTE;
  const lookedAt = new Map<string, number[]>();
  let elapsedMs = 0;
  let jumps = 0;
  const one = account('jumping', () => awaiting());
  const noted: PlatformAdapter = {
    ...one.adapter,
    query: async (order, call) => {
      lookedAt.set(order.merchantOrderNo, [...(lookedAt.get(order.merchantOrderNo) ?? []), elapsedMs]);
      return await one.adapter.query(order, call);
    },
  };
  await register('jumping', PAYMENTS);
  const worker = workerOf({ adapter: noted });
  for (; elapsedMs < 2 * HOUR; elapsedMs += STEP_MS) {
    nowMs += STEP_MS;
    if (random.chance(0.08)) {
      nowMs += random.chance(0.5) ? HOUR : -HOUR;
      jumps += 1;
    }
    while ((await worker.runOnce()) > 0);
  }

  expect(jumps).toBeGreaterThan(3);
  expect(lookedAt.size).toBe(PAYMENTS);
  for (const times of lookedAt.values()) {
    const gaps = times.slice(1).map((at, index) => at - times[index]!);
    // Half to one and a half of the pace, whatever the clock said meanwhile, seen once in a step; a jump may bring a look forward.
    expect(Math.max(...gaps, elapsedMs - times.at(-1)!)).toBeLessThanOrEqual(1.5 * PACE_MS + 3 * STEP_MS);
    expect(gaps.filter((gap) => gap < 0.5 * PACE_MS - STEP_MS).length).toBeLessThanOrEqual(jumps);
  }
});

test('a worker that runs through a jump sleeps between its looks', async () => {
  const one = account('awake');
  await register('awake', 5);
  const worker = workerOf(one);
  worker.start();
  await until(() => one.asked.length === 5);
  for (const jump of [HOUR, -HOUR, -HOUR, HOUR]) {
    nowMs += jump;
    worker.wake();
    await until(async () => (await schedule()).every(({ due_at, lease_until }) => lease_until === null && Date.parse(due_at) > nowMs && Date.parse(due_at) <= nowMs + 1.5 * PACE_MS));
  }
  await worker[Symbol.asyncDispose]();
  // At most once for each jump, beside the first look.
  expect(Math.max(...countsOf(one.asked))).toBeLessThanOrEqual(5);
});
