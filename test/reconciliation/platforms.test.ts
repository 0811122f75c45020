/** A day's bill of every platform against the records, through the whole service at its simulator. */
import { randomUUID } from 'node:crypto';
import { FindingKind, GetReconciliationRequest, ReconciliationStatus, type Reconciliation, type ReconciliationFinding } from '../../src/gen/payment/v1/operations_service.js';
import { EvidenceSource, PaymentStatus, Platform, RefundStatus, ReviewReason, type Payment, type Refund } from '../../src/gen/payment/v1/payment.js';
import * as rpc from '../../src/gen/payment/v1/payment_service.js';
import { beijingDay } from '../../src/reconciliation/bill-day.js';
import { alipayAccount, unionPayAccount, wechatPayAccount } from '../../src/simulator/accounts.js';
import { startAlipaySimulator } from '../../src/simulator/alipay/server.js';
import type { Fault } from '../../src/simulator/faults.js';
import { startUnionPaySimulator } from '../../src/simulator/unionpay/server.js';
import { startWechatPaySimulator } from '../../src/simulator/wechatpay/server.js';
import { accountsOf, startTestApp, type TestApp } from '../support/app.js';
import { allRecords, versions } from '../support/records.js';
import { initiated, logOf, refundOf } from '../support/requests.js';

interface Stage extends AsyncDisposable {
  readonly platform: Platform;
  readonly accounts: object;
  readonly hand: {
    buyerPays(orderNo: string): unknown;
    readonly faults: { add(fault: Fault): void };
    notificationPlan(plan: { mode: never }): void;
    idle(): Promise<void>;
  };
  /** Makes the bill of a day differ from what happened. */
  plant(day: string): {
    drop(no: string): void;
    alter(no: string, amount: bigint): void;
    addPayment(orderNo: string, amount: bigint): void;
    addRefund(orderNo: string, refundNo: string, amount: bigint): void;
  };
  /** The simulator's name of what brings the file. */
  readonly download: string;
  /** Per 10,000 of what is paid, given back with what is refunded. */
  readonly feeRate: bigint;
}

/** Eleven in the morning in Beijing, when the bill of the day before is there. */
let morning = Date.parse('2026-03-10T03:00:00Z');
const started = performance.now();
let dawn = 0;
const now = (): Date => new Date(morning + Math.round(performance.now() - started - dawn));
function ahead(hours: number): void {
  morning += hours * 3_600_000;
  dawn = performance.now() - started;
}
const nextMorning = (): void => ahead(24);

async function alipayStage(): Promise<Stage> {
  const simulator = await startAlipaySimulator({ now, refundSpacingMs: 0 });
  const { control } = simulator;
  return {
    platform: Platform.PLATFORM_ALIPAY,
    accounts: { alipay: [alipayAccount(simulator)] },
    hand: control,
    plant: (day) => ({
      drop: (no) => control.changeBill({ day, kind: 'drop', no }),
      alter: (no, amount) => control.changeBill({ day, kind: 'alter', no, amount }),
      addPayment: (outTradeNo, amount) => control.changeBill({ day, kind: 'add', outTradeNo, amount }),
      addRefund: (outTradeNo, outRequestNo, amount) => control.changeBill({ day, kind: 'add', outTradeNo, outRequestNo, amount }),
    }),
    download: 'bill-file',
    feeRate: 0n,
    [Symbol.asyncDispose]: () => simulator.stop(),
  };
}

async function wechatPayStage(): Promise<Stage> {
  const simulator = await startWechatPaySimulator({ now, refundSpacingMs: 0 });
  const { control } = simulator;
  return {
    platform: Platform.PLATFORM_WECHATPAY,
    accounts: { wechatpay: [wechatPayAccount(simulator)] },
    hand: control,
    plant: (day) => ({
      drop: (no) => control.changeBill({ day, kind: 'drop', no }),
      alter: (no, amount) => control.changeBill({ day, kind: 'alter', no, amount }),
      addPayment: (outTradeNo, amount) => control.changeBill({ day, kind: 'add', outTradeNo, amount }),
      addRefund: (outTradeNo, outRefundNo, amount) => control.changeBill({ day, kind: 'add', outTradeNo, outRefundNo, amount }),
    }),
    download: 'bill-file',
    feeRate: 60n,
    [Symbol.asyncDispose]: () => simulator.stop(),
  };
}

async function unionPayStage(): Promise<Stage> {
  const simulator = await startUnionPaySimulator({ now });
  const { control } = simulator;
  return {
    platform: Platform.PLATFORM_UNIONPAY,
    accounts: { unionpay: [unionPayAccount(simulator)] },
    hand: control,
    plant: (day) => ({
      drop: (orderId) => control.changeBill({ day, kind: 'drop', orderId }),
      alter: (orderId, amount) => control.changeBill({ day, kind: 'alter', orderId, amount }),
      addPayment: (orderId, amount) => control.changeBill({ day, kind: 'add', orderId, amount }),
      addRefund: (origOrderId, orderId, amount) => control.changeBill({ day, kind: 'add', orderId, origOrderId, amount }),
    }),
    download: 'bill',
    feeRate: 60n,
    [Symbol.asyncDispose]: () => simulator.stop(),
  };
}

const S = PaymentStatus;
const K = FindingKind;

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

  const plan = (mode: string): void => stage.hand.notificationPlan({ mode: mode as never });
  async function paid(): Promise<Payment> {
    const payment = (await service.payments.createPayment(initiated({ platform: stage.platform }))).payment!;
    stage.hand.buyerPays(payment.merchantOrderNo);
    await stage.hand.idle();
    return payment;
  }
  async function refunded(payment: Payment, amount: bigint): Promise<Refund> {
    const { refund } = await service.payments.createRefund(refundOf(payment.paymentId, amount));
    await stage.hand.idle();
    return refund!;
  }
  const read = (paymentId: string): Promise<rpc.GetPaymentResponse> =>
    service.payments.getPayment(rpc.GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } }, view: rpc.PaymentView.PAYMENT_VIEW_FULL }));

  async function reconcile(day: string, apply = false): Promise<{ run: Reconciliation; findings: ReconciliationFinding[] }> {
    const { reconciliation } = await service.operations.runReconciliation({ requestId: randomUUID(), platform: stage.platform, merchantAccount: '', day, apply });
    expect(reconciliation).toMatchObject({ status: ReconciliationStatus.RECONCILIATION_STATUS_RUNNING, day, apply });
    expect(await service.app.reconciliations.runOnce()).toBe(true);
    const findings: ReconciliationFinding[] = [];
    for (let pageToken = ''; ; ) {
      const page = await service.operations.getReconciliation(GetReconciliationRequest.fromPartial({ reconciliationId: reconciliation!.reconciliationId, pageSize: 7, pageToken }));
      findings.push(...page.findings);
      pageToken = page.nextPageToken;
      if (pageToken === '') return { run: page.reconciliation!, findings };
    }
  }

  test('a day on which everything agrees has no findings, and the sum of the fees', async () => {
    const payments = [await paid(), await paid(), await paid()];
    await refunded(payments[0]!, 4_000n);
    await refunded(payments[1]!, 10_000n);
    const day = beijingDay(now());
    nextMorning();

    const { run, findings } = await reconcile(day);
    expect(findings).toEqual([]);
    expect(run).toMatchObject({
      status: ReconciliationStatus.RECONCILIATION_STATUS_COMPLETED,
      billRows: 5n,
      matched: 5n,
      findingCount: 0n,
      feeTotal: ((30_000n - 14_000n) * stage.feeRate) / 10_000n,
      failure: '',
      endTime: expect.anything(),
    });
  });

  test('the last half hour of a day is in one bill, by whatever hour the platform ends its day', async () => {
    ahead(12.5);
    const payment = await paid();
    await refunded(payment, 1_000n);
    const days = [beijingDay(now()), beijingDay(new Date(now().getTime() + 86_400_000))];
    ahead(35.5);
    const runs = [await reconcile(days[0]!), await reconcile(days[1]!)];
    expect(runs.map(({ run }) => [run.status, run.findingCount])).toEqual([[2, 0n], [2, 0n]]);
    const rows = runs.map(({ run }) => run.billRows);
    expect(rows).toEqual(stage.platform === Platform.PLATFORM_UNIONPAY ? [0n, 2n] : [2n, 0n]);
  });

  test('a bill that comes cut, or not at all, fails the run with a sentence and changes nothing', async () => {
    await paid();
    plan('never');
    await paid();
    plan('normal');
    const day = beijingDay(now());
    const before = await allRecords(service);

    // It is not made before the next morning: what is recorded cannot be held against it.
    ahead(13.5);
    const early = await reconcile(day, true);
    expect(early.run).toMatchObject({ status: ReconciliationStatus.RECONCILIATION_STATUS_FAILED, failure: expect.stringMatching(/no bill of|the bill could not be had/), findingCount: 0n });
    ahead(10.5);
    for (const kind of ['truncated', 'http-500', 'connection-reset'] as const) {
      stage.hand.faults.add({ operation: stage.download, kind });
      const { run, findings } = await reconcile(day, true);
      expect([kind, run]).toMatchObject([kind, { status: ReconciliationStatus.RECONCILIATION_STATUS_FAILED, failure: expect.stringContaining('the bill could not be had: '), endTime: expect.anything() }]);
      expect(findings).toEqual([]);
    }
    expect(await allRecords(service)).toEqual(before);
    expect((await reconcile(day)).run).toMatchObject({ billRows: 2n, findingCount: 1n });
  });

  test('twenty planted differences are the twenty findings; a dry run changes nothing, applying joins what the bill proves', async () => {
    const missing = [await paid(), await paid(), await paid()];
    const altered = [await paid(), await paid(), await paid()];
    const withRefund: { payment: Payment; refund: Refund }[] = [];
    for (let count = 0; count < 6; count += 1) {
      const payment = await paid();
      withRefund.push({ payment, refund: await refunded(payment, 3_000n) });
    }
    plan('never');
    const unheard = [await paid(), await paid(), await paid()];
    plan('normal');
    const doubtful = await paid();
    plan('never');
    stage.hand.faults.add({ operation: 'refund', kind: 'commit-then-drop' });
    const inDoubt = await refunded(doubtful, 2_500n);
    expect(inDoubt.status).toBe(RefundStatus.REFUND_STATUS_UNKNOWN);
    plan('normal');

    const day = beijingDay(now());
    const planted = stage.plant(day);
    const expected: [FindingKind, string, string][] = [];
    for (const no of ['GHOST000000000001', 'GHOST000000000002', 'GHOST000000000003']) {
      planted.addPayment(no, 700n);
      expected.push([K.FINDING_KIND_MISSING_HERE, no, '']);
    }
    for (const [at, { payment }] of withRefund.slice(0, 2).entries()) {
      planted.addRefund(payment.merchantOrderNo, `GHOSTREFUND00000${at}`, 800n);
      expected.push([K.FINDING_KIND_MISSING_HERE, payment.merchantOrderNo, `GHOSTREFUND00000${at}`]);
    }
    for (const { merchantOrderNo } of missing) {
      planted.drop(merchantOrderNo);
      expected.push([K.FINDING_KIND_MISSING_THERE, merchantOrderNo, '']);
    }
    for (const { payment, refund } of withRefund.slice(2, 4)) {
      planted.drop(refund.platformRefundNo);
      expected.push([K.FINDING_KIND_MISSING_THERE, payment.merchantOrderNo, refund.platformRefundNo]);
    }
    for (const { merchantOrderNo } of altered) {
      planted.alter(merchantOrderNo, 12_345n);
      expected.push([K.FINDING_KIND_AMOUNT_DIFFERS, merchantOrderNo, '']);
    }
    for (const { payment, refund } of withRefund.slice(4, 6)) {
      planted.alter(refund.platformRefundNo, 3_001n);
      expected.push([K.FINDING_KIND_AMOUNT_DIFFERS, payment.merchantOrderNo, refund.platformRefundNo]);
    }
    for (const { merchantOrderNo } of unheard) expected.push([K.FINDING_KIND_STATUS_DIFFERS, merchantOrderNo, '']);
    expected.push([K.FINDING_KIND_STATUS_DIFFERS, doubtful.merchantOrderNo, inDoubt.platformRefundNo]);
    const { payment: twice, refund: twiceRefund } = withRefund[0]!;
    planted.addRefund(twice.merchantOrderNo, twiceRefund.platformRefundNo, 3_000n);
    expected.push([K.FINDING_KIND_BILLED_TWICE, twice.merchantOrderNo, twiceRefund.platformRefundNo]);
    expect(expected).toHaveLength(20);
    nextMorning();

    const before = await allRecords(service);
    const { run, findings } = await reconcile(day);
    const seen = findings.map(({ kind, merchantOrderNo, platformRefundNo }) => [kind, merchantOrderNo, platformRefundNo]);
    expect(seen.sort()).toEqual(expected.sort());
    expect(run).toMatchObject({ status: ReconciliationStatus.RECONCILIATION_STATUS_COMPLETED, findingCount: 20n, matched: run.billRows - 15n });
    expect(findings.every(({ outcome }) => outcome === rpc.ApplyOutcome.APPLY_OUTCOME_UNSPECIFIED)).toBe(true);
    expect(await allRecords(service)).toEqual(before);

    const applied = await reconcile(day, true);
    const outcomes = (kind: FindingKind, isRefund: boolean) =>
      applied.findings.filter((one) => one.kind === kind && (one.platformRefundNo !== '') === isRefund).map(({ outcome }) => rpc.ApplyOutcome[outcome].replace('APPLY_OUTCOME_', ''));
    expect(outcomes(K.FINDING_KIND_STATUS_DIFFERS, false)).toEqual(['APPLIED', 'APPLIED', 'APPLIED']);
    expect(outcomes(K.FINDING_KIND_STATUS_DIFFERS, true)).toEqual(['APPLIED']);
    expect(outcomes(K.FINDING_KIND_MISSING_HERE, false)).toEqual(['UNSPECIFIED', 'UNSPECIFIED', 'UNSPECIFIED']);
    expect(outcomes(K.FINDING_KIND_MISSING_HERE, true)).toEqual(['APPLIED', 'APPLIED']);
    expect(outcomes(K.FINDING_KIND_AMOUNT_DIFFERS, false)).toEqual(['CONFLICT', 'CONFLICT', 'CONFLICT']);
    expect(outcomes(K.FINDING_KIND_AMOUNT_DIFFERS, true)).toEqual(['CONFLICT', 'CONFLICT']);
    for (const kind of [K.FINDING_KIND_MISSING_THERE, K.FINDING_KIND_BILLED_TWICE]) {
      expect([...outcomes(kind, false), ...outcomes(kind, true)].every((outcome) => outcome === 'UNSPECIFIED')).toBe(true);
    }

    for (const { paymentId } of unheard) {
      const { payment, recentLog } = await read(paymentId);
      expect(payment).toMatchObject({ status: S.PAYMENT_STATUS_SUCCEEDED, lastEvidenceSource: EvidenceSource.EVIDENCE_SOURCE_SETTLEMENT_BILL, paidAmount: { minorUnits: 10_000n } });
      expect(recentLog.some(({ source, status }) => source === EvidenceSource.EVIDENCE_SOURCE_SETTLEMENT_BILL && status === S.PAYMENT_STATUS_SUCCEEDED)).toBe(true);
      expect(await service.operations.verifyPaymentLog(logOf(paymentId))).toMatchObject({ valid: true });
    }
    expect(await read(doubtful.paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_PARTIALLY_REFUNDED, reservedAmount: { minorUnits: 0n } }, refunds: [{ status: RefundStatus.REFUND_STATUS_SUCCEEDED }] });
    expect(await read(twice.paymentId)).toMatchObject({ payment: { refundedAmount: { minorUnits: 3_800n } }, refunds: [{ external: false }, { external: true, platformRefundNo: 'GHOSTREFUND000000' }] });
    for (const { paymentId } of altered) expect(await read(paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_REVIEW, reviewReason: ReviewReason.REVIEW_REASON_AMOUNT_MISMATCH } });
    for (const { paymentId } of missing) expect(await read(paymentId)).toMatchObject({ payment: { status: S.PAYMENT_STATUS_SUCCEEDED } });

    // What was applied agrees now; applying the rest once more changes nothing further.
    const after = await versions(service);
    const again = await reconcile(day, true);
    expect(again.run.findingCount).toBe(14n);
    expect(again.findings.filter(({ outcome }) => outcome === rpc.ApplyOutcome.APPLY_OUTCOME_APPLIED || outcome === rpc.ApplyOutcome.APPLY_OUTCOME_CONFLICT)).toEqual([]);
    expect(await versions(service)).toEqual(after);
  });
});
