/** One contract for every platform, through the whole service at its simulator: real HTTP, real signatures, real database. */
import { createHash } from 'node:crypto';
import { EvidenceSource, PaymentStatus, Platform, RefundRetry, RefundStatus, ReviewReason, type Payment } from '../src/gen/payment/v1/payment.js';
import * as rpc from '../src/gen/payment/v1/payment_service.js';
import { Notification } from '../src/notification/notification.js';
import type { Bill, BillRow } from '../src/payment/platform.js';
import { alipayAccount, unionPayAccount, wechatPayAccount } from '../src/simulator/accounts.js';
import { startAlipaySimulator } from '../src/simulator/alipay/server.js';
import type { Fault } from '../src/simulator/faults.js';
import type { Delivery } from '../src/simulator/notifier.js';
import { startUnionPaySimulator } from '../src/simulator/unionpay/server.js';
import { startWechatPaySimulator } from '../src/simulator/wechatpay/server.js';
import type { Logger } from '../src/logger.js';
import { SyncWorker } from '../src/sync/sync-worker.js';
import { accountsOf, startTestApp, type SeenError, type TestApp } from './support/app.js';
import { initiated, logOf, refundOf, yuan } from './support/requests.js';
import { until } from './support/until.js';

/** What the stories need of a simulator, by names that all three share. */
interface Hand {
  buyerPays(orderNo: string, options?: { amountOverride?: bigint }): unknown;
  readonly faults: { add(fault: Fault): void; clear(): void };
  notificationPlan(plan: { mode: never; times?: number }): void;
  notifications(): readonly Delivery[];
  redeliver(id: string): Promise<unknown>;
  idle(): Promise<void>;
}

interface Stage extends AsyncDisposable {
  readonly platform: Platform;
  readonly name: 'alipay' | 'wechatpay' | 'unionpay';
  readonly accounts: object;
  readonly hand: Hand;
  /** The simulator's names of the operations. */
  readonly operations: { readonly create: string; readonly query: string; readonly refund: string };
  /** Has queries about a payment answer with a word of their own. */
  force(orderNo: string, word: string | null): void;
  /** Refuses one call with a code of its own, without executing it. */
  refuse(operation: 'create' | 'refund', code: string): void;
  /** Codes that refuse an order for good, that know its number otherwise, and that end the refunds of a payment; null where there is none. */
  readonly codes: { readonly final: string; readonly conflict: string | null; readonly irrefundable: string | null };
  /** Its own book: what was paid and given back under an order number. */
  book(orderNo: string): { readonly orders: number; readonly refunds: readonly bigint[] };
  /** Refused deliveries are answered with this. */
  readonly refused: number;
  /** Notifications that prove nothing. */
  readonly unproven: readonly string[];
  /** What is amiss with an answer. */
  readonly doubts: readonly Fault['kind'][];
}

let aheadMs = 0;
const now = (): Date => new Date(Date.now() + aheadMs);
const DOUBTS = ['commit-then-drop', 'http-500', 'html-body', 'truncated', 'bad-signature', 'no-signature'] as const;

async function alipayStage(): Promise<Stage> {
  const simulator = await startAlipaySimulator({ now, refundSpacingMs: 0 });
  const { control } = simulator;
  return {
    platform: Platform.PLATFORM_ALIPAY,
    name: 'alipay',
    accounts: { alipay: [alipayAccount(simulator)] },
    hand: control,
    operations: { create: 'precreate', query: 'query', refund: 'refund' },
    force: (orderNo, word) => {
      control.buyerScans(orderNo);
      control.forceTradeStatus(orderNo, word);
    },
    refuse: (operation, subCode) => control.faults.add({ operation: operation === 'create' ? 'precreate' : operation, kind: 'system-error', subCode }),
    codes: { final: 'ACQ.TOTAL_FEE_EXCEED', conflict: 'ACQ.CONTEXT_INCONSISTENT', irrefundable: 'ACQ.TRADE_NOT_ALLOW_REFUND' },
    book: (orderNo) => {
      const trades = control.listTrades().filter(({ outTradeNo }) => outTradeNo === orderNo);
      return { orders: trades.length, refunds: trades.flatMap(({ refunds }) => refunds.map(({ amount }) => amount)) };
    },
    refused: 400,
    unproven: ['forged', 'altered-amount', 'truncated', 'other-app'],
    doubts: [...DOUBTS, 'unsigned-error-response'],
    [Symbol.asyncDispose]: () => simulator.stop(),
  };
}

async function wechatPayStage(): Promise<Stage> {
  const simulator = await startWechatPaySimulator({ now, refundSpacingMs: 0 });
  const { control } = simulator;
  return {
    platform: Platform.PLATFORM_WECHATPAY,
    name: 'wechatpay',
    accounts: { wechatpay: [wechatPayAccount(simulator)] },
    hand: control,
    operations: { create: 'create', query: 'query', refund: 'refund' },
    force: (orderNo, word) => void control.forceTradeState(orderNo, word),
    refuse: (operation, code) => control.faults.add({ operation, kind: 'error-response', code }),
    codes: { final: 'RULE_LIMIT', conflict: 'OUT_TRADE_NO_USED', irrefundable: null },
    book: (orderNo) => {
      const orders = control.listOrders().filter(({ outTradeNo }) => outTradeNo === orderNo);
      return { orders: orders.length, refunds: orders.flatMap(({ refunds }) => refunds.map(({ amount }) => amount)) };
    },
    refused: 401,
    unproven: ['forged', 'no-signature', 'stale-timestamp', 'wrong-serial', 'truncated', 'tampered-ciphertext', 'tampered-tag', 'wrong-key', 'other-merchant'],
    doubts: [...DOUBTS, 'wrong-serial', 'stale-timestamp', 'duplicate-header', 'signature-probe', 'unsigned-error-response'],
    [Symbol.asyncDispose]: () => simulator.stop(),
  };
}

async function unionPayStage(): Promise<Stage> {
  const simulator = await startUnionPaySimulator({ now });
  const { control } = simulator;
  return {
    platform: Platform.PLATFORM_UNIONPAY,
    name: 'unionpay',
    accounts: { unionpay: [unionPayAccount(simulator)] },
    hand: control,
    operations: { create: 'pay', query: 'query', refund: 'refund' },
    force: (orderNo, word) => void control.forceCode(orderNo, word),
    refuse: (operation, code) => control.faults.add({ operation: operation === 'create' ? 'pay' : operation, kind: 'error-response', code }),
    codes: { final: '38', conflict: null, irrefundable: null },
    book: (orderNo) => {
      const all = control.listOrders();
      const orders = all.filter(({ orderId }) => orderId === orderNo);
      const refunds = all.filter(({ origQryId }) => origQryId !== null && orders.some(({ queryId }) => queryId === origQryId));
      return { orders: orders.length, refunds: refunds.map(({ amount }) => amount) };
    },
    refused: 400,
    unproven: ['forged', 'truncated', 'foreign-chain', 'wrong-common-name', 'short-common-name', 'expired-certificate', 'swapped-certificate', 'sign-method-11', 'no-certificate', 'bad-signature', 'no-signature', 'other-merchant'],
    doubts: [...DOUBTS, 'smuggled-node', 'unsigned-error-response'],
    [Symbol.asyncDispose]: () => simulator.stop(),
  };
}

const S = PaymentStatus;
const R = RefundStatus;

describe.each([
  ['Alipay', alipayStage],
  ['WeChat Pay', wechatPayStage],
  ['UnionPay', unionPayStage],
])('%s', (_name, open) => {
  let stage: Stage;
  let service: TestApp;
  beforeAll(async () => {
    stage = await open();
    service = await startTestApp({ config: { platforms: accountsOf(stage.accounts) }, clock: { now }, manualSync: true });
  });
  afterAll(async () => {
    await service[Symbol.asyncDispose]();
    await stage[Symbol.asyncDispose]();
  });
  afterEach(() => {
    stage.hand.faults.clear();
    plan('normal');
  });

  const plan = (mode: string): void => stage.hand.notificationPlan({ mode: mode as never });
  const fail = (operation: keyof Stage['operations'], kind: Fault['kind'], times = 1): void =>
    stage.hand.faults.add({ operation: stage.operations[operation], kind, times });
  const create = async (): Promise<Payment> => (await service.payments.createPayment(initiated({ platform: stage.platform }))).payment!;
  const read = (paymentId: string): Promise<rpc.GetPaymentResponse> =>
    service.payments.getPayment(rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } }, view: rpc.PaymentView.PAYMENT_VIEW_FULL }));
  const statusOf = async (paymentId: string): Promise<PaymentStatus> => (await read(paymentId)).payment!.status;
  const pay = async (payment: Payment, options: { amountOverride?: bigint } = {}): Promise<void> => {
    stage.hand.buyerPays(payment.merchantOrderNo, options);
    await stage.hand.idle();
  };
  const paid = async (): Promise<Payment> => {
    const payment = await create();
    await pay(payment);
    return (await read(payment.paymentId)).payment!;
  };
  const refund = (paymentId: string, amount: bigint) => service.payments.createRefund(refundOf(paymentId, amount));
  const later = async (ms: number): Promise<void> => {
    aheadMs += ms;
    while ((await service.app.worker.runOnce()) > 0);
    await stage.hand.idle();
  };
  const holds = async (paymentId: string): Promise<void> =>
    expect(await service.operations.verifyPaymentLog(logOf(paymentId))).toMatchObject({ valid: true });

  test('created, paid, notified, partly refunded, notified, and refunded in full', async () => {
    const payment = await create();
    expect(payment).toMatchObject({ status: S.PAYMENT_STATUS_PENDING, checkout: { form: { $case: 'qrText' } } });
    await pay(payment);
    expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_SUCCEEDED, paidAmount: yuan(10_000n) } });

    await refund(payment.paymentId, 3_000n);
    await stage.hand.idle();
    expect(await read(payment.paymentId)).toMatchObject({
      payment: { status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(3_000n), refundableAmount: yuan(7_000n) },
      refunds: [{ status: R.REFUND_STATUS_SUCCEEDED, attempts: 1 }],
    });
    await refund(payment.paymentId, 7_000n);
    await stage.hand.idle();
    expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REFUNDED, refundableAmount: yuan(0n) } });
    expect(stage.book(payment.merchantOrderNo)).toEqual({ orders: 1, refunds: [3_000n, 7_000n] });
    await holds(payment.paymentId);
  });

  test('the whole payment given back at once', async () => {
    const payment = await paid();
    await refund(payment.paymentId, 10_000n);
    await stage.hand.idle();
    expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REFUNDED }, refunds: [{ status: R.REFUND_STATUS_SUCCEEDED }] });
    expect(stage.book(payment.merchantOrderNo).refunds).toEqual([10_000n]);
  });

  test('nobody pays: closed after its expiry, and not by a timer', async () => {
    const payment = await create();
    await later(2 * 3_600_000 + 2_000);
    await later(10 * 60_000 + 2_000);
    expect(await statusOf(payment.paymentId)).toBe(S.PAYMENT_STATUS_CLOSED);
    await holds(payment.paymentId);
  });

  test('placing it was taken in and the answer lost: UNKNOWN, and SUCCEEDED once paid, by one order', async () => {
    fail('create', 'commit-then-drop');
    const payment = await create();
    expect(payment).toMatchObject({ status: S.PAYMENT_STATUS_UNKNOWN, checkout: undefined });
    plan('never');
    await pay(payment);
    await later(10_000);
    expect(await statusOf(payment.paymentId)).toBe(S.PAYMENT_STATUS_SUCCEEDED);
    expect(stage.book(payment.merchantOrderNo).orders).toBe(1);
    await holds(payment.paymentId);
  });

  test('placing it never arrived: placed again under the same number', async () => {
    fail('create', 'drop-before-commit');
    const payment = await create();
    expect(payment.status).toBe(S.PAYMENT_STATUS_UNKNOWN);
    await later(10_000);
    expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_PENDING, checkout: { form: { $case: 'qrText' } } } });
  });

  test.each<Fault['kind']>(['commit-then-drop', 'drop-before-commit', 'http-500', 'bad-signature'])(
    'a refund with %s keeps its reservation and converges under its number, money moved once',
    async (kind) => {
      const payment = await paid();
      plan('never');
      fail('refund', kind);
      const { refund: sent, payment: held } = await refund(payment.paymentId, 4_000n);
      expect(sent).toMatchObject({ status: R.REFUND_STATUS_UNKNOWN });
      expect(held).toMatchObject({ reservedAmount: yuan(4_000n), refundableAmount: yuan(6_000n) });

      for (let minutes = 0; minutes < 4; minutes += 1) await later(65_000);
      const { payment: after, refunds } = await read(payment.paymentId);
      expect(refunds).toMatchObject([{ platformRefundNo: sent!.platformRefundNo, status: R.REFUND_STATUS_SUCCEEDED }]);
      expect(after).toMatchObject({ status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(4_000n), reservedAmount: yuan(0n) });
      expect(stage.book(payment.merchantOrderNo).refunds).toEqual([4_000n]);
      await holds(payment.paymentId);
    },
  );

  test('a refund that is not taken at the door is sent again later, under its number', async () => {
    const payment = await paid();
    fail('refund', 'rate-limit');
    const { refund: sent } = await refund(payment.paymentId, 4_000n);
    expect(sent).toMatchObject({ status: R.REFUND_STATUS_CREATED, retry: RefundRetry.REFUND_RETRY_SAME_NUMBER });
    for (let minutes = 0; minutes < 2; minutes += 1) await later(65_000);
    expect((await read(payment.paymentId)).refunds).toMatchObject([{ refundId: sent!.refundId, status: R.REFUND_STATUS_SUCCEEDED, attempts: 2 }]);
  });

  test('the same request about a refund in doubt asks before it sends', async () => {
    const payment = await paid();
    plan('never');
    fail('refund', 'commit-then-drop');
    const request = refundOf(payment.paymentId, 4_000n);
    expect((await service.payments.createRefund(request)).refund).toMatchObject({ status: R.REFUND_STATUS_UNKNOWN });
    expect(await service.payments.createRefund(request)).toMatchObject({ replayed: true, refund: { status: R.REFUND_STATUS_SUCCEEDED, attempts: 1 } });
  });

  /** Another service with the same account gives money back under a number of its own. */
  const refundElsewhere = async (payment: Payment, amount: bigint): Promise<void> => {
    const adapter = service.app.deps.platforms.all()[0]!;
    const money = (minorUnits: bigint) => ({ currency: 'CNY', minorUnits });
    const order = { merchantOrderNo: payment.merchantOrderNo, platformOrderTime: payment.platformOrderTime, platformTransactionId: payment.platformTransactionId };
    const report = await adapter.refund(
      { order, platformRefundNo: `ELSEWHERE${(elsewhere += 1)}`, createdAt: now(), sentAt: null, amount: money(amount), paid: money(10_000n), paidAt: now(), reason: 'by another service', attempt: 1 },
      { at: now(), signal: AbortSignal.timeout(5_000) },
    );
    expect(report.failure).toBeNull();
    await stage.hand.idle();
  };
  let elsewhere = 0;

  test('money that another service gave back is a refund of its own, once', async () => {
    const payment = await paid();
    plan('duplicate');
    await refundElsewhere(payment, 2_500n);
    const { payment: after, refunds } = await read(payment.paymentId);
    expect(after).toMatchObject({ status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(2_500n), refundableAmount: yuan(7_500n) });
    expect(refunds).toMatchObject([{ external: true, amount: yuan(2_500n), status: R.REFUND_STATUS_SUCCEEDED }]);
    await later(1_000);
    expect((await read(payment.paymentId)).refunds).toHaveLength(1);
    await holds(payment.paymentId);
  });

  test('a refund that was lost, and is refused for good when it is sent again, ends and gives its reservation back', async () => {
    const payment = await paid();
    fail('refund', 'drop-before-commit');
    const { refund: lost } = await refund(payment.paymentId, 8_000n);
    expect(lost).toMatchObject({ status: R.REFUND_STATUS_UNKNOWN });
    await refundElsewhere(payment, 5_000n);
    for (let minutes = 0; minutes < 6; minutes += 1) await later(65_000);
    const { payment: after, refunds } = await read(payment.paymentId);
    expect(refunds.find(({ refundId }) => refundId === lost!.refundId)).toMatchObject({ status: R.REFUND_STATUS_FAILED, retry: RefundRetry.REFUND_RETRY_NEW_NUMBER });
    expect(after).toMatchObject({ status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(5_000n), reservedAmount: yuan(0n), refundableAmount: yuan(5_000n) });
    expect(stage.book(payment.merchantOrderNo).refunds).toEqual([5_000n]);
    await holds(payment.paymentId);
  });

  test('an order that is refused for good is FAILED, and no error', async () => {
    stage.refuse('create', stage.codes.final);
    expect(await create()).toMatchObject({ status: S.PAYMENT_STATUS_FAILED, checkout: undefined });
  });

  test('an order number that the platform knows otherwise is said to exist', async () => {
    const { conflict } = stage.codes;
    if (conflict === null) return;
    stage.refuse('create', conflict);
    await expect(create()).rejects.toMatchObject({ code: 'ALREADY_EXISTS', reason: 'ORDER_EXISTS', metadata: { platform_code: conflict } });
  });

  test('a payment whose refunds the platform has ended can no longer be refunded', async () => {
    const { irrefundable } = stage.codes;
    if (irrefundable === null) return;
    const payment = await paid();
    stage.refuse('refund', irrefundable);
    expect(await refund(payment.paymentId, 1n)).toMatchObject({ refund: { status: R.REFUND_STATUS_FAILED }, payment: { refundableAmount: yuan(0n) } });
    await expect(refund(payment.paymentId, 1n)).rejects.toMatchObject({ reason: 'PAYMENT_NOT_REFUNDABLE' });
  });

  test('a refusal that nobody has mapped is counted and shown', async () => {
    const word = stage.name === 'unionpay' ? 'ZC' : 'ZCREATE';
    stage.refuse('create', word);
    const payment = await create();
    const explained = await service.operations.explainPayment({ ref: { ref: { $case: 'paymentId', value: payment.paymentId } } });
    expect(explained).toMatchObject({ payment: { status: S.PAYMENT_STATUS_UNKNOWN }, unmappedWords: [word] });

    const refunded = await paid();
    stage.refuse('refund', word);
    expect((await refund(refunded.paymentId, 1n)).refund).toMatchObject({ status: R.REFUND_STATUS_UNKNOWN });
    expect((await service.operations.getSystemHealth({})).unmappedWords.find((one) => one.word === word)).toMatchObject({ platform: stage.platform, count: 2n });
  });

  test('an answer that proves nothing is no evidence', async () => {
    const payment = await create();
    plan('never');
    await pay(payment);
    for (const kind of stage.doubts) {
      fail('query', kind);
      const ref = { ref: { $case: 'paymentId' as const, value: payment.paymentId } };
      const { items } = await service.payments.syncPayments({ target: { $case: 'payments', value: { refs: [ref] } } });
      expect([kind, items[0]]).toMatchObject([kind, { outcome: rpc.ApplyOutcome.APPLY_OUTCOME_ERROR, payment: { status: S.PAYMENT_STATUS_PENDING, version: 1 } }]);
    }
  });

  test('a word that nobody has mapped is UNKNOWN, counted and shown, and the next proper word ends it', async () => {
    const payment = await create();
    const ref = { ref: { $case: 'paymentId' as const, value: payment.paymentId } };
    const sync = () => service.payments.syncPayments({ target: { $case: 'payments', value: { refs: [ref] } } });
    const word = `Z${stage.name}`;
    stage.force(payment.merchantOrderNo, word);
    await sync();
    const explained = await service.operations.explainPayment({ ref });
    expect(explained).toMatchObject({ payment: { status: S.PAYMENT_STATUS_UNKNOWN }, unmappedWords: [word], blockedBy: expect.stringContaining(word), facts: [{ name: 'open' }] });
    expect(explained.suggestedAct).toContain('mapped');
    expect((await service.operations.getSystemHealth({})).unmappedWords.find((one) => one.word === word)).toMatchObject({ platform: stage.platform, count: 1n });

    stage.force(payment.merchantOrderNo, null);
    await pay(payment);
    await sync();
    expect(await service.operations.explainPayment({ ref })).toMatchObject({
      payment: { status: S.PAYMENT_STATUS_SUCCEEDED }, blockedBy: '', suggestedAct: '', lastQueryTime: expect.anything(), lastNotificationTime: expect.anything(),
      evidence: [{ source: EvidenceSource.EVIDENCE_SOURCE_QUERY, rank: 2 }, { source: EvidenceSource.EVIDENCE_SOURCE_NOTIFICATION, rank: 3 }, { source: EvidenceSource.EVIDENCE_SOURCE_SYNC_REPLY, rank: 4, recordTime: expect.anything() }],
    });
  });

  test('a notification that proves nothing changes nothing, is refused and quarantined', async () => {
    for (const mode of stage.unproven) {
      const payment = await create();
      plan(mode);
      await pay(payment);
      expect([mode, await read(payment.paymentId)]).toMatchObject([mode, { payment: { status: S.PAYMENT_STATUS_PENDING, version: 1 } }]);
      const { notification, attempts } = stage.hand.notifications().at(-1)!;
      expect([mode, attempts.at(-1)]).toMatchObject([mode, { status: stage.refused, acknowledged: false }]);
      const contentHash = createHash('sha256').update(notification.body).digest('hex');
      expect([mode, await service.app.deps.orm.em.fork().findOne(Notification, { contentHash })]).toMatchObject([mode, { status: 'QUARANTINED', notificationId: null }]);
    }
  });

  test('a notification twice, and once more later, is one change', async () => {
    const payment = await create();
    plan('duplicate');
    await pay(payment);
    const { version } = (await read(payment.paymentId)).payment!;
    const { id } = stage.hand.notifications().at(-1)!.notification;
    await stage.hand.redeliver(id);
    expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_SUCCEEDED, version } });
    expect(await service.app.deps.orm.em.fork().find(Notification, { merchantOrderNo: payment.merchantOrderNo })).toMatchObject([{ status: 'APPLIED', deliveries: 3 }]);
  });

  test('another amount than asked for goes to review with both values kept', async () => {
    const payment = await create();
    await pay(payment, { amountOverride: 9_999n });
    const { payment: after, recentLog } = await read(payment.paymentId);
    expect(after).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW, reviewReason: 1, paidAmount: yuan(0n) });
    expect(recentLog[0]?.evidence).toMatchObject({ amount: '9999 CNY' });
  });

  test('a platform that takes no calls leaves nothing placed and says so', async () => {
    const request = initiated({ platform: stage.platform });
    fail('create', 'rate-limit');
    await expect(service.payments.createPayment(request)).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'PLATFORM_UNREACHABLE' });
    aheadMs += 1_001;
    await expect(service.payments.createPayment(request)).resolves.toMatchObject({ replayed: true, payment: { status: S.PAYMENT_STATUS_PENDING } });
  });

  test('an order that the platform took no call for, and that nobody asks for again, is placed at the next look', async () => {
    fail('create', 'rate-limit');
    const refused = await service.payments.createPayment(initiated({ platform: stage.platform })).catch((error: SeenError) => error);
    const { metadata } = refused as SeenError;
    await later(10 * 60_000);
    expect(await read(metadata['payment_id']!)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_PENDING, checkout: { form: { $case: 'qrText' } } } });
  });

  test("the day's bill has what was paid and given back", async () => {
    const payment = await paid();
    await refund(payment.paymentId, 4_000n);
    await stage.hand.idle();
    const day = new Date(now().getTime() + 8 * 3_600_000).toISOString().slice(0, 10);
    aheadMs += 36 * 3_600_000;

    const { refunds } = await read(payment.paymentId);
    const { rows, dispose } = await billOf(day);
    expect(rows.filter(({ merchantOrderNo }) => merchantOrderNo === payment.merchantOrderNo)).toMatchObject([
      { kind: 'PAYMENT', amount: { currency: 'CNY', minorUnits: 10_000n }, state: 'DONE', platformRefundNo: '' },
      { kind: 'REFUND', amount: { currency: 'CNY', minorUnits: 4_000n }, state: 'DONE', platformRefundNo: refunds[0]!.platformRefundNo },
    ]);
    expect(rows[0]!.platformTransactionId).not.toBe('');
    await dispose();
  });

  // The last ones, for they leave circuits open behind them.

  test('an hour of nonsense leaves every payment explainable, and the first proper answer is believed', async () => {
    const [waiting, buying, returning] = [await create(), await create(), await paid()];
    const all = [waiting, buying, returning];
    plan('never');
    stage.hand.buyerPays(buying.merchantOrderNo);
    fail('refund', 'commit-then-drop');
    const { refund: open } = await service.payments.createRefund(refundOf(returning.paymentId, 1_000n));
    const nonsense = [...stage.doubts, 'system-error', 'rate-limit'] as const;
    for (let minutes = 0; minutes < 60; minutes += 4) {
      const kind = nonsense[(minutes / 4) % nonsense.length]!;
      stage.hand.faults.clear();
      stage.hand.faults.add({ operation: '*', kind, times: 1_000, delayMs: 1 });
      stage.force(waiting.merchantOrderNo, minutes % 8 === 0 ? `Z${minutes}` : null);
      await later(4 * 60_000);
      for (const { paymentId } of all) {
        const { payment, rule, blockedBy, nextSyncTime, lastQueryTime } = await service.operations.explainPayment({ ref: { ref: { $case: 'paymentId', value: paymentId } } });
        expect(rule).not.toBe('');
        if (payment!.paidAmount!.minorUnits > 0n) continue;
        expect([S.PAYMENT_STATUS_PENDING, S.PAYMENT_STATUS_UNKNOWN]).toContain(payment!.status);
        expect(nextSyncTime).toBeDefined();
        expect(blockedBy).toMatch(lastQueryTime === undefined ? /the buyer has not paid yet/ : /told nothing|held back|nobody has mapped/);
      }
    }

    stage.hand.faults.clear();
    stage.force(waiting.merchantOrderNo, null);
    // The circuits have opened meanwhile and try again by themselves.
    await until(async () => {
      await later(30 * 60_000);
      const { refund } = await service.payments.getRefund({ refundId: open!.refundId });
      return (await statusOf(buying.paymentId)) === S.PAYMENT_STATUS_SUCCEEDED && refund!.status === R.REFUND_STATUS_SUCCEEDED;
    });
    for (const { paymentId } of all) await holds(paymentId);
    expect(stage.book(returning.merchantOrderNo).refunds).toEqual([1_000n]);
  });

  test('an outage that outlasts every schedule ends in review, and leaves nothing for a person once the platform answers', async () => {
    const [unpaid, buying, returning] = [await create(), await create(), await paid()];
    plan('never');
    stage.hand.buyerPays(buying.merchantOrderNo);
    fail('refund', 'commit-then-drop');
    const { refund: open } = await service.payments.createRefund(refundOf(returning.paymentId, 1_000n));
    stage.hand.faults.add({ operation: '*', kind: 'http-500', times: 10_000 });
    for (let hours = 0; hours < 64; hours += 4) await later(4 * 3_600_000);
    for (const { paymentId } of [unpaid, buying]) {
      const explained = await service.operations.explainPayment({ ref: { ref: { $case: 'paymentId', value: paymentId } } });
      expect(explained).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REVIEW, reviewReason: ReviewReason.REVIEW_REASON_SYNC_EXHAUSTED }, suggestedAct: expect.stringContaining('SyncPayments') });
      expect(explained.facts.map(({ name }) => name)).toContain('exhausted');
    }
    expect((await read(returning.paymentId)).payment).toMatchObject({ reservedAmount: yuan(1_000n) });

    stage.hand.faults.clear();
    // The circuits have opened meanwhile and try again by themselves; nobody calls anything.
    await until(async () => {
      await later(6 * 3_600_000);
      const { refund } = await service.payments.getRefund({ refundId: open!.refundId });
      return refund!.status === R.REFUND_STATUS_SUCCEEDED && (await statusOf(buying.paymentId)) === S.PAYMENT_STATUS_SUCCEEDED && (await statusOf(unpaid.paymentId)) === S.PAYMENT_STATUS_CLOSED;
    });
    for (const { paymentId } of [unpaid, buying, returning]) await holds(paymentId);
  });

  async function billOf(day: string): Promise<{ rows: BillRow[]; dispose: () => Promise<void> }> {
    const adapter = service.app.deps.platforms.all()[0]!;
    const outcome = await adapter.downloadBill(day, { at: now(), signal: AbortSignal.timeout(15_000) });
    expect(outcome).toMatchObject({ kind: 'ACCEPTED' });
    const bill = (outcome as { value: Bill }).value;
    const rows: BillRow[] = [];
    for await (const row of bill.rows) rows.push(row);
    return { rows, dispose: async () => await bill[Symbol.asyncDispose]() };
  }
});

test('UnionPay: a refund that it calls a duplicate is asked about until it is there or can be sent', async () => {
  await using stage = await unionPayStage();
  await using service = await startTestApp({ config: { platforms: accountsOf(stage.accounts) }, clock: { now }, manualSync: true });
  const { payment } = await service.payments.createPayment(initiated({ platform: stage.platform }));
  stage.hand.buyerPays(payment!.merchantOrderNo);
  await stage.hand.idle();
  stage.refuse('refund', '12');
  const { refund } = await service.payments.createRefund(refundOf(payment!.paymentId, 4_000n));
  expect(refund).toMatchObject({ status: R.REFUND_STATUS_CREATED });
  for (let minutes = 0; minutes < 3; minutes += 1) {
    aheadMs += 65_000;
    while ((await service.app.worker.runOnce()) > 0);
  }
  await stage.hand.idle();
  expect(await service.payments.getRefund({ refundId: refund!.refundId })).toMatchObject({ refund: { status: R.REFUND_STATUS_SUCCEEDED, platformRefundNo: refund!.platformRefundNo } });
  expect(stage.book(payment!.merchantOrderNo).refunds).toEqual([4_000n]);
});

test('WeChat Pay: a refund that stays open for days is told to a person, its reservation held', async () => {
  const simulator = await startWechatPaySimulator({ now, refundSpacingMs: 0 });
  await using _stopped = { [Symbol.asyncDispose]: () => simulator.stop() };
  await using service = await startTestApp({ config: { platforms: accountsOf({ wechatpay: [wechatPayAccount(simulator)] }) }, clock: { now }, manualSync: true });
  const { payment } = await service.payments.createPayment(initiated({ platform: Platform.PLATFORM_WECHATPAY }));
  simulator.control.buyerPays(payment!.merchantOrderNo);
  await simulator.control.idle();
  simulator.control.setRefundSettlesAfter(null);
  const { refund } = await service.payments.createRefund(refundOf(payment!.paymentId, 4_000n));

  const told: object[] = [];
  const worker = new SyncWorker(() => service.app.deps, { warn: (fields: object) => told.push(fields), error: () => undefined } as unknown as Logger);
  for (const days of [3, 2]) {
    aheadMs += days * 24 * 3_600_000;
    while ((await worker.runOnce()) > 0);
    expect(told).toMatchObject(days === 3 ? [] : [{ payment_id: payment!.paymentId, refund_id: refund!.refundId, status: 'SUBMITTED' }]);
  }
  expect((await service.payments.getPayment(rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: payment!.paymentId } } }))).payment).toMatchObject({ reservedAmount: yuan(4_000n) });
});
