/** One bill after another, made by hand, against registered payments in the real service: what is found, what is applied, and who goes on after a crash. */
import { randomUUID } from 'node:crypto';
import iconv from 'iconv-lite';
import { WechatNotifications } from '../../bench/wechat-notifications.js';
import { FindingKind, GetReconciliationRequest, ReconciliationStatus, type GetReconciliationResponse, type ReconciliationFinding, type RunReconciliationRequest } from '../../src/gen/payment/v1/operations_service.js';
import { PaymentStatus, Platform, RefundStatus, type Payment, type Refund as RefundMessage } from '../../src/gen/payment/v1/payment.js';
import * as rpc from '../../src/gen/payment/v1/payment_service.js';
import { createLogger } from '../../src/logger.js';
import { BillError, type BillRow, type CallOutcome, type Bill } from '../../src/payment/platform.js';
import { PlatformRegistry } from '../../src/payment/platform-registry.js';
import { readRows } from '../../src/platform/wechatpay/bill.js';
import { beijingDay } from '../../src/reconciliation/bill-day.js';
import { ReconciliationWorker } from '../../src/reconciliation/reconciliation-worker.js';
import { Refund } from '../../src/refund/refund.js';
import { billText } from '../../src/simulator/wechatpay/bill-text.js';
import { accountsOf, startTestApp, type TestApp } from '../support/app.js';
import { allRecords } from '../support/records.js';
import { logOf, refundOf, registered, reported, yuan } from '../support/requests.js';
import { until } from '../support/until.js';

let aheadMs = 0;
const clock = { now: () => new Date(Date.now() + aheadMs) };
const config = { platforms: accountsOf({ wechatpay: [new WechatNotifications().account] }) };
let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ config, clock, manualSync: true });
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
});

/** Each test has a Beijing day of its own, far enough from the others. */
let day = '2024-01-01';
beforeEach(() => {
  day = beijingDay(hour(96));
});
/** An hour of that day, or with 24 and more of the days after it. */
const hour = (count: number): Date => new Date(Date.parse(`${day}T00:00:00+08:00`) + count * 3_600_000);
const stamp = (at: Date) => ({ seconds: BigInt(at.getTime() / 1_000), nanos: 0 });
const K = FindingKind;
const S = PaymentStatus;
const STATUS = ReconciliationStatus;

let count = 0;
async function register(orderNo = `ORDER${String((count += 1)).padStart(9, '0')}`): Promise<Payment> {
  const kind = { $case: 'registered', value: { merchantOrderNo: orderNo, platformOrderTime: '', platformTransactionId: '' } };
  return (await service.payments.createPayment(registered({ merchantAccount: 'wechatpay', kind }))).payment!;
}
async function paid(at = hour(12)): Promise<Payment> {
  const payment = await register();
  await service.payments.updatePaymentStatus(reported(payment.paymentId, { platformTransactionId: `TX${payment.merchantOrderNo}`, occurredTime: stamp(at) }));
  return payment;
}
/** A refund row as if the platform had led it there. */
async function refunded(payment: Payment, amount: bigint, changes: Partial<Pick<Refund, 'status' | 'succeededAt' | 'platformRefundId'>> = {}): Promise<RefundMessage> {
  const { refund } = await service.payments.createRefund(refundOf(payment.paymentId, amount));
  await service.app.deps.orm.em.fork().nativeUpdate(Refund, { id: refund!.refundId }, { status: 'SUCCEEDED', attempts: 1, succeededAt: hour(13), sendingUntil: null, ...changes });
  return refund!;
}
const read = (paymentId: string): Promise<rpc.GetPaymentResponse> =>
  service.payments.getPayment(rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } }, view: rpc.PaymentView.PAYMENT_VIEW_FULL }));

const paymentRow = ({ merchantOrderNo }: Pick<Payment, 'merchantOrderNo'>, changes: Partial<BillRow> = {}): BillRow => ({
  kind: 'PAYMENT',
  merchantOrderNo,
  platformTransactionId: `TX${merchantOrderNo}`,
  platformRefundNo: '',
  platformRefundId: '',
  amount: { currency: 'CNY', minorUnits: 10_000n },
  fee: 60n,
  at: hour(12),
  state: 'DONE',
  word: 'SUCCESS',
  ...changes,
});
const refundRow = (payment: Pick<Payment, 'merchantOrderNo'>, platformRefundNo: string, minorUnits: bigint, changes: Partial<BillRow> = {}): BillRow =>
  paymentRow(payment, { kind: 'REFUND', platformRefundNo, platformRefundId: `ID${platformRefundNo}`, amount: { currency: 'CNY', minorUnits }, fee: -1n, at: hour(13), word: 'REFUND', ...changes });

type Source = readonly BillRow[] | AsyncIterable<BillRow> | null | CallOutcome<Bill | null>;

async function* each(rows: readonly BillRow[] | AsyncIterable<BillRow>): AsyncGenerator<BillRow> {
  yield* rows;
}
function outcomeOf(source: Source): CallOutcome<Bill | null> {
  if (source !== null && 'kind' in source) return source;
  return { kind: 'ACCEPTED', value: source === null ? null : { rows: each(source), [Symbol.asyncDispose]: () => Promise.resolve() } };
}
/** A worker of the service that is given this bill, three rows at a time. */
function worker(source: Source, { app } = service): ReconciliationWorker {
  const adapter = { ...app.deps.platforms.all()[0]!, downloadBill: () => Promise.resolve(outcomeOf(source)) };
  return new ReconciliationWorker(() => ({ ...app.deps, platforms: new PlatformRegistry([{ adapter, apps: [] }]) }), createLogger('silent'), 3);
}

const request = (changes: Partial<RunReconciliationRequest> = {}): RunReconciliationRequest => ({
  requestId: randomUUID(),
  platform: Platform.PLATFORM_WECHATPAY,
  merchantAccount: '',
  day,
  apply: false,
  ...changes,
});
const start = async (changes: Partial<RunReconciliationRequest> = {}): Promise<string> => (await service.operations.runReconciliation(request(changes))).reconciliation!.reconciliationId;
const result = (reconciliationId: string, { operations } = service): Promise<GetReconciliationResponse> => operations.getReconciliation(GetReconciliationRequest.fromPartial({ reconciliationId, pageSize: 500 }));
async function reconcile(source: Source, changes: Partial<RunReconciliationRequest> = {}): Promise<GetReconciliationResponse> {
  const id = await start(changes);
  expect(await worker(source).runOnce()).toBe(true);
  return await result(id);
}
const told = (findings: readonly ReconciliationFinding[]) => findings.map(({ kind, merchantOrderNo, platformRefundNo }) => [K[kind].replace('FINDING_KIND_', ''), merchantOrderNo, platformRefundNo].filter((part) => part !== ''));

describe('a bill that is not what it should be', () => {
  test('cut in the middle: the part that could be read says nothing, and nothing of it is applied', async () => {
    const unheard = await register();
    async function* cut(): AsyncGenerator<BillRow> {
      yield* [paymentRow(unheard), paymentRow(unheard), paymentRow({ merchantOrderNo: 'GHOST' }), paymentRow({ merchantOrderNo: 'GHOST2' })];
      await Promise.resolve();
      throw new BillError('the bill ends in the middle');
    }
    const before = await allRecords(service);
    const { reconciliation, findings } = await reconcile(cut(), { apply: true });
    expect(reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_FAILED, failure: 'the bill ends in the middle', findingCount: 0n, matched: 0n, feeTotal: 0n });
    expect(findings).toEqual([]);
    expect(await allRecords(service)).toEqual(before);
    expect(await service.app.deps.orm.em.fork().execute('select 1 from reconciliation_seen where reconciliation_id = ?', [reconciliation!.reconciliationId])).toEqual([]);
  });

  test('in another encoding', async () => {
    const text = billText([{ at: hour(12).getTime(), appid: 'a', mchid: 'm', transactionId: 'T', outTradeNo: 'O', openid: 'o', tradeType: 'NATIVE', description: '茶', attach: '', amount: 1n, refund: null }], 'ALL');
    async function* bytes(): AsyncGenerator<Uint8Array> {
      yield await Promise.resolve(iconv.encode(text.toString('utf8'), 'gbk'));
    }
    const { reconciliation } = await reconcile(readRows(bytes()), { apply: true });
    expect(reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_FAILED, failure: 'the bill is not in utf-8', findingCount: 0n });
  });

  test('of another day', async () => {
    const payments = [await register(), await paid()];
    const before = await allRecords(service);
    const { reconciliation, findings } = await reconcile(payments.map((payment) => paymentRow(payment, { at: hour(36) })), { apply: true });
    expect(reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_FAILED, failure: `this is no bill of ${day}: 2 of its 2 rows are of other days, the first of ${beijingDay(hour(36))}` });
    expect(findings).toEqual([]);
    expect(await allRecords(service)).toEqual(before);
  });

  test('a row of another day is a finding and is not applied', async () => {
    const [stray, ...others] = [await register(), await paid(), await paid()];
    const { reconciliation, findings } = await reconcile([paymentRow(stray, { at: hour(-1) }), ...others.map((payment) => paymentRow(payment))], { apply: true });
    expect(reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_COMPLETED, matched: 2n });
    expect(told(findings)).toEqual([['WRONG_DAY', stray.merchantOrderNo]]);
    expect((await read(stray.paymentId)).payment!.status).toBe(S.PAYMENT_STATUS_PENDING);
  });

  test('in another order: nothing differs, and a refund before its payment is applied after it', async () => {
    const known = await paid();
    const refund = await refunded(known, 4_000n);
    const unheard = await register();
    const rows = [refundRow(unheard, 'CONSOLE1', 2_000n), refundRow(known, refund.platformRefundNo, 4_000n), paymentRow(unheard), paymentRow(known)];
    const { findings } = await reconcile(rows, { apply: true });
    expect(told(findings)).toEqual([['MISSING_HERE', unheard.merchantOrderNo, 'CONSOLE1'], ['STATUS_DIFFERS', unheard.merchantOrderNo]]);
    expect(findings.every(({ outcome }) => outcome === rpc.ApplyOutcome.APPLY_OUTCOME_APPLIED)).toBe(true);
    expect(await read(unheard.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, refundedAmount: yuan(2_000n) }, refunds: [{ external: true, platformRefundNo: 'CONSOLE1' }] });
  });

  test('everything in it twice: each second row is a finding, near the first one or far from it, and charged once', async () => {
    const payments = [await paid(), await paid(), await paid(), await paid()];
    const rows = payments.map((payment) => paymentRow(payment));
    const ghost = paymentRow({ merchantOrderNo: 'GHOST' });
    const { reconciliation, findings } = await reconcile([rows[0]!, ghost, ...rows, ghost, ...rows.slice(1)], { apply: true });
    expect(told(findings).map(([kind]) => kind)).toEqual(['MISSING_HERE', 'BILLED_TWICE', 'BILLED_TWICE', 'BILLED_TWICE', 'BILLED_TWICE', 'BILLED_TWICE']);
    expect(reconciliation).toMatchObject({ billRows: 10n, matched: 4n, findingCount: 6n, feeTotal: 300n });
  });

  test('there is none: a day without records agrees, one with records cannot be judged', async () => {
    expect((await reconcile(null)).reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_COMPLETED, billRows: 0n, findingCount: 0n });
    await paid();
    expect((await reconcile(null)).reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_FAILED, failure: expect.stringContaining(`the platform has no bill of ${day}`), findingCount: 0n });
  });

  test('it is refused: why, by the platform', async () => {
    const { reconciliation } = await reconcile({ kind: 'MISCONFIGURED', code: 'NO_AUTH', message: 'no permission for bills' });
    expect(reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_FAILED, failure: 'the bill could not be had: no permission for bills (MISCONFIGURED NO_AUTH)' });
  });
});

describe('what differs', () => {
  test('the last moment of a day belongs to it, the first of the next one does not', async () => {
    const last = await paid(new Date(hour(24).getTime() - 1_000));
    await paid(hour(24));
    await paid(new Date(hour(0).getTime() - 1_000));
    expect(told((await reconcile([])).findings)).toEqual([['MISSING_THERE', last.merchantOrderNo]]);
  });

  test('records of another account and platform are not asked for', async () => {
    const kind = { $case: 'registered', value: { merchantOrderNo: 'ELSEWHERE', platformOrderTime: '', platformTransactionId: '' } };
    const { payment } = await service.payments.createPayment(registered({ merchantAccount: 'another', kind }));
    await service.payments.updatePaymentStatus(reported(payment!.paymentId, { occurredTime: stamp(hour(12)) }));
    const { findings } = await reconcile([paymentRow(payment!)]);
    expect(told(findings)).toEqual([['MISSING_HERE', 'ELSEWHERE']]);
    expect(findings[0]).toMatchObject({ paymentId: '', recorded: '', billed: expect.stringContaining('100.00 CNY') });
  });

  test('a second payment of one order is in the bill and not here, and applied it is a question for a person', async () => {
    const payment = await paid();
    const second = { platformTransactionId: 'SECOND', at: hour(14) };
    const rows = [paymentRow(payment), paymentRow(payment, second), refundRow(payment, 'CONSOLE2', 10_000n, second)];
    const { findings } = await reconcile(rows, { apply: true });
    expect(told(findings)).toEqual([['MISSING_HERE', payment.merchantOrderNo], ['MISSING_HERE', payment.merchantOrderNo, 'CONSOLE2']]);
    expect(findings).toMatchObject([
      { paymentId: payment.paymentId, platformTransactionId: 'SECOND', outcome: rpc.ApplyOutcome.APPLY_OUTCOME_CONFLICT },
      { paymentId: payment.paymentId, outcome: rpc.ApplyOutcome.APPLY_OUTCOME_UNSPECIFIED },
    ]);
    // The refund was of the other one.
    expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REVIEW, refundedAmount: yuan(0n) }, refunds: [] });
  });

  test("a bill that does not name the order, or cuts its number, is matched by the platform's own number", async () => {
    const [unnamed, cut] = [await paid(), await paid()];
    const refund = await refunded(unnamed, 1_000n);
    const rows = [
      paymentRow(unnamed, { merchantOrderNo: '' }),
      refundRow(unnamed, refund.platformRefundNo, 1_000n, { merchantOrderNo: '' }),
      paymentRow(cut, { merchantOrderNo: cut.merchantOrderNo.slice(0, 10) }),
    ];
    expect((await reconcile(rows)).reconciliation).toMatchObject({ matched: 3n, findingCount: 0n });
  });

  test("orders under one number are told apart by the platform's number, and by who has none yet", async () => {
    const at = (platformOrderTime: string) => registered({ merchantAccount: 'wechatpay', kind: { $case: 'registered', value: { merchantOrderNo: 'SHARED', platformOrderTime, platformTransactionId: '' } } });
    const { payment: first } = await service.payments.createPayment(at('20260310120000'));
    await service.payments.updatePaymentStatus(reported(first!.paymentId, { platformTransactionId: 'TX1', occurredTime: stamp(hour(12)) }));
    const { payment: second } = await service.payments.createPayment(at('20260310130000'));
    const shared = { merchantOrderNo: 'SHARED' };
    const { findings } = await reconcile([paymentRow(shared, { platformTransactionId: 'TX2' }), paymentRow(shared, { platformTransactionId: 'TX1' })]);
    expect(findings).toMatchObject([{ kind: K.FINDING_KIND_STATUS_DIFFERS, paymentId: second!.paymentId }]);
  });

  test('money that came late and waits for a decision is known, whatever its status', async () => {
    const payment = await register();
    await service.payments.updatePaymentStatus(reported(payment.paymentId, { status: S.PAYMENT_STATUS_CLOSED, amount: undefined, platformTransactionId: '', occurredTime: stamp(hour(11)) }));
    const { findings } = await reconcile([paymentRow(payment)], { apply: true });
    expect(findings).toMatchObject([{ kind: K.FINDING_KIND_STATUS_DIFFERS, outcome: rpc.ApplyOutcome.APPLY_OUTCOME_CONFLICT }]);
    expect((await read(payment.paymentId)).payment).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW });
    expect((await reconcile([paymentRow(payment)])).findings).toEqual([]);
  });

  test.each<[BillRow['state'], Refund['status'], number | null, boolean]>([
    ['DONE', 'SUCCEEDED', 13, true],
    ['DONE', 'REVERSED', 13, true],
    ['DONE', 'SUBMITTED', null, false],
    ['DONE', 'FAILED', null, false],
    ['OPEN', 'SUBMITTED', null, true],
    ['OPEN', 'UNKNOWN', null, true],
    ['OPEN', 'CREATED', null, false],
    ['OPEN', 'SUCCEEDED', 30, true],
    ['OPEN', 'SUCCEEDED', 13, false],
    ['OPEN', 'CANCELED', null, false],
    ['FAILED', 'FAILED', null, true],
    ['FAILED', 'ABNORMAL', null, true],
    ['FAILED', 'SUCCEEDED', 13, false],
    ['FAILED', 'SUBMITTED', null, false],
  ])('a refund that is %s in the bill and %s here, since hour %s, agrees: %s', async (state, status, succeededHour, agrees) => {
    const succeededAt = succeededHour === null ? null : hour(succeededHour);
    const payment = await paid();
    const refund = await refunded(payment, 1_000n, { status: status === 'CANCELED' ? 'SUBMITTED' : status, succeededAt });
    // One that was never sent has no attempts.
    if (status === 'CANCELED') await service.app.deps.orm.em.fork().nativeUpdate(Refund, { id: refund.refundId }, { status, attempts: 0 });
    const { findings } = await reconcile([paymentRow(payment), refundRow(payment, refund.platformRefundNo, 1_000n, { state })]);
    expect(told(findings)).toEqual(agrees ? [] : [['STATUS_DIFFERS', payment.merchantOrderNo, refund.platformRefundNo]]);
  });

  test("a refund that took until the next day is in the bill of the first one, and missing in neither", async () => {
    const payment = await paid();
    const refund = await refunded(payment, 1_000n, { succeededAt: hour(30) });
    const first = await reconcile([paymentRow(payment), refundRow(payment, refund.platformRefundNo, 1_000n, { state: 'OPEN' })]);
    expect(first.findings).toEqual([]);
    expect((await reconcile([], { day: beijingDay(hour(36)) })).findings).toEqual([]);
    // That it was seen on the first day is no excuse for a bill of that day which has lost it.
    await service.app.deps.orm.em.fork().nativeUpdate(Refund, { id: refund.refundId }, { succeededAt: hour(13) });
    expect(told((await reconcile([paymentRow(payment)])).findings)).toEqual([['MISSING_THERE', payment.merchantOrderNo, refund.platformRefundNo]]);
  });

  test('money refunded elsewhere that is recorded under a number of our own is not missed, and not booked again', async () => {
    const payment = await paid();
    const book = (minorUnits: bigint) => service.operations.recordExternalRefund({ requestId: randomUUID(), paymentId: payment.paymentId, amount: yuan(minorUnits), platformRefundNo: '', reason: 'console', evidence: 'export' });
    await book(1_000n);
    await book(1_000n);
    await book(3_000n);
    const rows = [paymentRow(payment), refundRow(payment, 'C1', 1_000n), refundRow(payment, 'C2', 1_000n), refundRow(payment, 'C3', 1_000n), refundRow(payment, 'C1', 1_000n)];
    const { findings } = await reconcile(rows, { apply: true });
    expect(told(findings)).toEqual([['MISSING_HERE', payment.merchantOrderNo, 'C3'], ['BILLED_TWICE', payment.merchantOrderNo, 'C1']]);
    expect(findings[0]!.outcome).toBe(rpc.ApplyOutcome.APPLY_OUTCOME_UNSPECIFIED);
    expect((await read(payment.paymentId)).payment).toMatchObject({ refundedAmount: yuan(5_000n) });
  });
});

describe('what is applied', () => {
  test('a refund that failed here and succeeded in the bill is a contradiction for a person', async () => {
    const payment = await paid();
    const refund = await refunded(payment, 1_000n, { status: 'FAILED', succeededAt: null });
    const { findings } = await reconcile([paymentRow(payment), refundRow(payment, refund.platformRefundNo, 1_000n)], { apply: true });
    expect(findings).toMatchObject([{ kind: K.FINDING_KIND_STATUS_DIFFERS, outcome: rpc.ApplyOutcome.APPLY_OUTCOME_CONFLICT }]);
    expect(await read(payment.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REVIEW }, refunds: [{ status: RefundStatus.REFUND_STATUS_FAILED }] });
  });

  test('a refund that came to nothing in the bill is asked about, not ended', async () => {
    const payment = await paid();
    const refund = await refunded(payment, 1_000n, { status: 'SUBMITTED', succeededAt: null });
    const { findings } = await reconcile([paymentRow(payment), refundRow(payment, refund.platformRefundNo, 1_000n, { state: 'FAILED' })], { apply: true });
    expect(findings).toMatchObject([{ outcome: rpc.ApplyOutcome.APPLY_OUTCOME_UNSPECIFIED }]);
    expect(await read(payment.paymentId)).toMatchObject({ payment: { nextSyncTime: expect.anything() }, refunds: [{ status: RefundStatus.REFUND_STATUS_SUBMITTED }] });
  });

  test('a refund elsewhere that fits is booked under its number, one beside open refunds waits for room, one beyond the payment is a question', async () => {
    const [fitting, crowded, beyond, unpaid] = [await paid(), await paid(), await paid(), await register()];
    const { refund } = await service.payments.createRefund(refundOf(crowded.paymentId, 6_000n));
    expect((await read(crowded.paymentId)).payment).toMatchObject({ reservedAmount: yuan(6_000n) });
    const rows = [fitting, crowded, beyond].map((payment) => paymentRow(payment));
    const { findings } = await reconcile(
      [...rows, refundRow(fitting, 'F', 10_000n), refundRow(crowded, 'C', 6_000n), refundRow(beyond, 'B', 10_001n), refundRow(unpaid, 'U', 1n)],
      { apply: true },
    );
    const O = rpc.ApplyOutcome;
    expect(findings.map(({ outcome }) => outcome)).toEqual([O.APPLY_OUTCOME_APPLIED, O.APPLY_OUTCOME_APPLIED, O.APPLY_OUTCOME_CONFLICT, O.APPLY_OUTCOME_UNSPECIFIED]);
    expect(await read(fitting.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REFUNDED }, refunds: [{ external: true, platformRefundNo: 'F', succeededTime: stamp(hour(13)) }] });
    expect(await read(crowded.paymentId)).toMatchObject({ payment: { refundedAmount: yuan(0n), reservedAmount: yuan(6_000n), nextSyncTime: expect.anything() as unknown }, refunds: [{ refundId: refund!.refundId }] });
    expect((await read(beyond.paymentId)).payment).toMatchObject({ status: S.PAYMENT_STATUS_REVIEW, refundedAmount: yuan(0n) });
    expect(await read(unpaid.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_PENDING }, refunds: [] });
    for (const { paymentId } of [fitting, crowded, beyond, unpaid]) expect(await service.operations.verifyPaymentLog(logOf(paymentId))).toMatchObject({ valid: true });
  });
});

describe('a run', () => {
  test('the same request is the same run, with another body it is refused', async () => {
    const first = request();
    const [one, two] = await Promise.all([service.operations.runReconciliation(first), service.operations.runReconciliation(first)]);
    expect(two.reconciliation!.reconciliationId).toBe(one.reconciliation!.reconciliationId);
    expect(await worker([]).runOnce()).toBe(true);
    expect(await worker([]).runOnce()).toBe(false);
    expect((await service.operations.runReconciliation(first)).reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_COMPLETED });
    await expect(service.operations.runReconciliation({ ...first, apply: true })).rejects.toMatchObject({ code: 'ALREADY_EXISTS', reason: 'REQUEST_ID_REUSED', metadata: { reconciliation_id: one.reconciliation!.reconciliationId } });
  });

  test('the health tells the latest day that was compared, what was found, and what failed since', async () => {
    const ofAccount = async () => (await service.operations.getSystemHealth({})).reconciliations.find(({ merchantAccount }) => merchantAccount === 'wechatpay');
    await reconcile([paymentRow({ merchantOrderNo: 'NOBODY' })]);
    expect(await ofAccount()).toMatchObject({ platform: Platform.PLATFORM_WECHATPAY, lastComparedDay: day, findingCount: 1n, failedCount: 0n, endTime: expect.anything() });
    await reconcile({ kind: 'REJECTED', code: 'NO_AUTH', message: 'no', meaning: 'FINAL' });
    expect(await ofAccount()).toMatchObject({ lastComparedDay: day, findingCount: 1n, failedCount: 1n });
    await reconcile([]);
    expect(await ofAccount()).toMatchObject({ lastComparedDay: day, findingCount: 0n, failedCount: 0n });
  });

  test('its findings come in pages, each once, in the order of the bill', async () => {
    const late = await paid();
    const { reconciliation } = await reconcile(Array.from({ length: 10 }, (_one, at) => paymentRow({ merchantOrderNo: `GHOST${at}` })));
    const seen: string[] = [];
    let pages = 0;
    for (let pageToken = '', isLast = false; !isLast; pages += 1) {
      const page = await service.operations.getReconciliation({ reconciliationId: reconciliation!.reconciliationId, pageSize: 4, pageToken });
      seen.push(...page.findings.map(({ merchantOrderNo }) => merchantOrderNo));
      [pageToken, isLast] = [page.nextPageToken, page.nextPageToken === ''];
    }
    expect(pages).toBe(3);
    expect(seen).toEqual([...Array.from({ length: 10 }, (_one, at) => `GHOST${at}`), late.merchantOrderNo]);
    const other = await start();
    const { nextPageToken } = await service.operations.getReconciliation({ reconciliationId: reconciliation!.reconciliationId, pageSize: 4, pageToken: '' });
    await expect(service.operations.getReconciliation({ reconciliationId: other, pageSize: 4, pageToken: nextPageToken })).rejects.toMatchObject({ fields: ['page_token'] });
    expect(await worker([]).runOnce()).toBe(true);
  });

  /** Five rows, then nothing until it is let go on. */
  function halting(rows: readonly BillRow[]) {
    const reached = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    async function* source(): AsyncGenerator<BillRow> {
      yield* rows.slice(0, 5);
      reached.resolve();
      await gate.promise;
      yield* rows.slice(5);
    }
    return { source: source(), reached: reached.promise, goOn: () => gate.resolve() };
  }

  async function billWithDifferences(): Promise<BillRow[]> {
    const payments = [await paid(), await register(), await paid(), await register(), await paid(), await paid()];
    await paid();
    return [...payments.map((payment) => paymentRow(payment)), paymentRow({ merchantOrderNo: 'GHOST' }), paymentRow(payments[0]!)];
  }
  const KINDS = ['STATUS_DIFFERS', 'STATUS_DIFFERS', 'MISSING_HERE', 'BILLED_TWICE', 'MISSING_THERE'];

  test('whose worker is gone is taken over by another replica once its lease has run out; the dead, come alive, writes nothing', async () => {
    await using other = await startTestApp({ databaseUrl: service.app.databaseUrl, config, clock, manualSync: true });
    const rows = await billWithDifferences();
    const undisturbed = await reconcile(rows);
    expect(told(undisturbed.findings).map(([kind]) => kind)).toEqual(KINDS);

    const id = await start({ apply: true });
    // What it would write after that collides with nothing.
    const { source, reached, goOn } = halting([0, 1, 2, 4, 5, 0].map((at) => rows[at]!));
    const hanging = worker(source).runOnce();
    await reached;
    expect(await result(id)).toMatchObject({ reconciliation: { status: STATUS.RECONCILIATION_STATUS_RUNNING, billRows: 3n, findingCount: 1n } });
    expect(await worker(rows, other).runOnce()).toBe(false);

    aheadMs += 61_000;
    expect(await worker(rows, other).runOnce()).toBe(true);
    const taken = await result(id, other);
    expect(taken.reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_COMPLETED, billRows: 8n, matched: 4n, findingCount: 5n });
    expect(taken.findings.map((finding) => ({ ...finding, outcome: 0 }))).toEqual(undisturbed.findings);
    const after = await allRecords(service);

    goOn();
    expect(await hanging).toBe(true);
    expect(await result(id)).toEqual(taken);
    expect(await allRecords(service)).toEqual(after);
  });

  test('whose worker is stopped in the middle goes on elsewhere at once', async () => {
    const rows = await billWithDifferences();
    const id = await start();
    const { source, reached, goOn } = halting(rows);
    const stopped = worker(source);
    const running = stopped.runOnce();
    await reached;
    const disposing = stopped[Symbol.asyncDispose]();
    goOn();
    await Promise.all([running, disposing]);
    expect(await result(id)).toMatchObject({ reconciliation: { status: STATUS.RECONCILIATION_STATUS_RUNNING } });

    expect(await worker(rows).runOnce()).toBe(true);
    expect(told((await result(id)).findings).map(([kind]) => kind)).toEqual(KINDS);
  });

  test('that dies while it applies goes on applying: the bill is not compared with what it has changed itself', async () => {
    const rows = await billWithDifferences();
    const first = await reconcile(rows, { apply: true });
    const id = first.reconciliation!.reconciliationId;
    const em = service.app.deps.orm.em.fork();
    await em.execute(`update reconciliation set status = 'RUNNING', ended_at = null, lease_until = null where id = ?`, [id]);
    await em.execute('update reconciliation_finding set applied_at = null, outcome = null where reconciliation_id = ?', [id]);

    expect(await worker([]).runOnce()).toBe(true);
    const again = await result(id);
    expect(again.reconciliation).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_COMPLETED, findingCount: 5n });
    expect(told(again.findings)).toEqual(told(first.findings));
    expect(again.findings.map(({ outcome }) => outcome).slice(0, 2)).toEqual([rpc.ApplyOutcome.APPLY_OUTCOME_DUPLICATE, rpc.ApplyOutcome.APPLY_OUTCOME_DUPLICATE]);
  });

  test('that fails again and again for a fault of ours is given up, and says so', async () => {
    async function* broken(): AsyncGenerator<BillRow> {
      yield* [paymentRow({ merchantOrderNo: 'GHOST' })];
      throw await Promise.resolve(new Error('disk full'));
    }
    const id = await start();
    for (let attempt = 0; attempt < 6; attempt += 1) {
      expect(await worker(broken()).runOnce()).toBe(true);
      expect(await worker(broken()).runOnce()).toBe(false);
      aheadMs += 61_000;
    }
    expect(await result(id)).toMatchObject({ reconciliation: { status: STATUS.RECONCILIATION_STATUS_FAILED, failure: expect.stringContaining('given up after 5 attempts'), findingCount: 0n }, findings: [] });
  });

  test('is worked at in the background by the service itself', async () => {
    await using running = await startTestApp({ databaseUrl: service.app.databaseUrl, config, clock });
    const { reconciliation } = await running.operations.runReconciliation(request());
    const now = async () => (await result(reconciliation!.reconciliationId, running)).reconciliation!;
    await until(async () => (await now()).status !== STATUS.RECONCILIATION_STATUS_RUNNING);
    // Nobody is at the account's address.
    expect(await now()).toMatchObject({ status: STATUS.RECONCILIATION_STATUS_FAILED, failure: expect.stringContaining('the bill could not be had') });
  });
});
