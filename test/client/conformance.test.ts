/** One table of stories, told by the fake and by the real server with its simulators: what holds at one holds at the other. */
import { randomUUID } from 'node:crypto';
import { createClient, type PaystateClient } from '../../src/client/client.js';
import { PaystateError } from '../../src/client/errors.js';
import { createFakeClient } from '../../src/client/fake/fake-client.js';
import type { Input } from '../../src/client/input.js';
import { paymentRef } from '../../src/client/payment-ref.js';
import { statusName } from '../../src/client/status.js';
import { WaitTimeout } from '../../src/client/wait-for.js';
import { CheckoutKind, PaymentStatus, Platform, RefundStatus, type Payment } from '../../src/gen/payment/v1/payment.js';
import {
  CloseOutcome,
  PaymentView,
  ReportOutcome,
  type CreatePaymentRequest,
  type CreateRefundRequest,
  type UpdatePaymentStatusRequest,
} from '../../src/gen/payment/v1/payment_service.js';
import { alipayAccount, wechatPayAccount } from '../../src/simulator/accounts.js';
import { startAlipaySimulator, type AlipaySimulator } from '../../src/simulator/alipay/server.js';
import { startWechatPaySimulator, type WechatPaySimulator } from '../../src/simulator/wechatpay/server.js';
import { accountsOf, startTestApp, type TestApp } from '../support/app.js';
import { yuan } from '../support/requests.js';

interface World {
  readonly client: PaystateClient;
  pays(payment: Payment): unknown;
}

let alipay: AlipaySimulator;
let wechatpay: WechatPaySimulator;
let app: TestApp;
const worlds = {} as Record<'fake' | 'server', World>;

beforeAll(async () => {
  const fake = createFakeClient();
  worlds.fake = { client: fake, pays: ({ paymentId }) => fake.world.pays(paymentId) };
  [alipay, wechatpay] = await Promise.all([startAlipaySimulator({ refundSpacingMs: 0 }), startWechatPaySimulator({ refundSpacingMs: 0 })]);
  const platforms = accountsOf({ alipay: [alipayAccount(alipay)], wechatpay: [wechatPayAccount(wechatpay)] });
  app = await startTestApp({ config: { platforms } });
  worlds.server = { client: createClient({ address: app.address, caller: 'conformance' }), pays: ({ merchantOrderNo }) => alipay.control.buyerPays(merchantOrderNo) };
});
afterAll(async () => {
  worlds.fake.client.close();
  worlds.server.client.close();
  await app[Symbol.asyncDispose]();
  await Promise.all([alipay.stop(), wechatpay.stop()]);
});

const order = (changes: Input<CreatePaymentRequest> = {}): Input<CreatePaymentRequest> => ({
  appId: 'shop',
  orderId: `order-${randomUUID()}`,
  platform: Platform.PLATFORM_ALIPAY,
  subject: 'a pot of tea',
  amount: yuan(8_888n),
  kind: { $case: 'initiated', value: { checkoutKind: CheckoutKind.CHECKOUT_KIND_QR_CODE } },
  ...changes,
});
const registered = (changes: Input<CreatePaymentRequest> = {}): Input<CreatePaymentRequest> =>
  order({ kind: { $case: 'registered', value: { merchantOrderNo: `no-${randomUUID()}`.slice(0, 32) } }, ...changes });
const report = (paymentId: string, changes: Input<UpdatePaymentStatusRequest> = {}): Input<UpdatePaymentStatusRequest> => ({
  paymentId,
  status: PaymentStatus.PAYMENT_STATUS_SUCCEEDED,
  reporter: 'old-service',
  reason: 'its callback said so',
  amount: yuan(8_888n),
  platformTransactionId: `tx-${paymentId}`,
  ...changes,
});
const refund = (paymentId: string, minorUnits: bigint, changes: Input<CreateRefundRequest> = {}): Input<CreateRefundRequest> => ({
  paymentId,
  amount: yuan(minorUnits),
  reason: 'the lid was missing',
  ...changes,
});

async function created({ client }: World, request = order()): Promise<Payment> {
  return (await client.payments.createPayment(request)).payment!;
}
async function paid(world: World): Promise<Payment> {
  const payment = await created(world);
  await world.pays(payment);
  return await world.client.waitFor(payment.paymentId);
}

const money = ({ status, paidAmount, refundedAmount, reservedAmount, refundableAmount }: Payment) =>
  [statusName(status), paidAmount, refundedAmount, reservedAmount, refundableAmount].map((value) => (typeof value === 'string' ? value : (value?.minorUnits ?? 0n))).join(' ');

/** A refusal as a program sees it. */
async function refusal(promise: Promise<unknown>): Promise<unknown> {
  const error = await promise.then(() => 'it was not refused', (reason: unknown) => reason);
  if (!(error instanceof PaystateError)) return error;
  const { code, reason, fieldViolations, metadata, isOutcomeUnknown } = error;
  return { code, reason, fields: fieldViolations.map(({ field }) => field), metadata: Object.keys(metadata).sort(), isOutcomeUnknown };
}
const refused = (code: number, reason: string, metadata: string[] = [], fields: string[] = []) => ({ code, reason, fields, metadata, isOutcomeUnknown: false });

interface Story {
  readonly fact: string;
  tell(world: World): Promise<unknown>;
  readonly end: unknown;
}

const STORIES: readonly Story[] = [
  {
    fact: 'an initiated payment has a checkout and waits for its buyer',
    async tell(world) {
      const { status, version, checkout, amount, paidAmount, expireTime, merchantOrderNo } = await created(world);
      return [statusName(status), version, checkout?.form?.$case, amount, paidAmount, expireTime !== undefined, merchantOrderNo.length];
    },
    end: ['PENDING', 1, 'qrText', yuan(8_888n), yuan(0n), true, 32],
  },
  {
    fact: 'a paid payment is settled, and known by its platform order, too',
    async tell(world) {
      const { paymentId, merchantOrderNo } = await paid(world);
      const ref = { ref: { $case: 'platformOrder' as const, value: { platform: Platform.PLATFORM_ALIPAY, merchantOrderNo } } };
      const { payment } = await world.client.payments.getPayment({ ref });
      return [payment!.paymentId === paymentId, money(payment!), payment!.version, payment!.platformTransactionId !== ''];
    },
    end: [true, 'SUCCEEDED 8888 0 0 8888', 2, true],
  },
  {
    fact: 'a repeated creation is the same payment',
    async tell({ client }) {
      const request = registered({ requestId: randomUUID() });
      const [first, second] = [await client.payments.createPayment(request), await client.payments.createPayment(request)];
      return [first.replayed, second.replayed, first.payment!.paymentId === second.payment!.paymentId];
    },
    end: [false, true, true],
  },
  {
    fact: 'a request_id is good for one body',
    async tell({ client }) {
      const request = registered({ requestId: randomUUID() });
      await client.payments.createPayment(request);
      return await refusal(client.payments.createPayment({ ...request, subject: 'coffee' }));
    },
    end: refused(6, 'REQUEST_ID_REUSED', ['first_request_time', 'method', 'payment_id', 'request_id']),
  },
  {
    fact: 'a platform order belongs to one payment',
    async tell({ client }) {
      const request = registered();
      await client.payments.createPayment(request);
      return await refusal(client.payments.createPayment(request));
    },
    end: refused(6, 'ORDER_EXISTS', ['merchant_order_no', 'payment_id', 'platform']),
  },
  {
    fact: 'a field that is wrong is named',
    tell: ({ client }) =>
      Promise.all([
        refusal(client.payments.createPayment(order({ amount: undefined }))),
        refusal(client.payments.createPayment(order({ amount: yuan(0n) }))),
        refusal(client.payments.createPayment(order({ appId: '' }))),
        refusal(client.payments.createPayment(order({ kind: undefined }))),
      ]),
    end: ['amount', 'amount.minor_units', 'app_id', 'kind'].map((field) => refused(3, 'FIELD_INVALID', [], [field])),
  },
  {
    fact: 'what does not exist is not found',
    async tell({ client }) {
      const id = '00000000-0000-7000-8000-000000000001';
      const { getPayment, createRefund, closePayment, getRefund } = client.payments;
      return await Promise.all([
        refusal(getPayment({ ref: paymentRef(id) })),
        refusal(createRefund(refund(id, 1n))),
        refusal(closePayment({ paymentId: id, reason: 'no' })),
        refusal(client.waitFor(id)),
        refusal(getRefund({ refundId: id })),
      ]);
    },
    end: [...Array.from({ length: 4 }, () => refused(5, 'PAYMENT_NOT_FOUND', ['payment_id'])), refused(5, 'REFUND_NOT_FOUND', ['refund_id'])],
  },
  {
    fact: 'refunds add up to what was paid and not beyond',
    async tell(world) {
      const { paymentId } = await paid(world);
      const { createRefund } = world.client.payments;
      const first = await createRefund(refund(paymentId, 888n));
      const beyond = await refusal(createRefund(refund(paymentId, 8_001n)));
      const otherwise = await refusal(createRefund(refund(paymentId, 1n, { expectedRefundable: yuan(1n) })));
      const rest = await createRefund(refund(paymentId, 8_000n, { expectedRefundable: yuan(8_000n) }));
      return [RefundStatus[first.refund!.status], money(first.payment!), beyond, otherwise, money(rest.payment!), rest.payment!.version];
    },
    end: [
      'REFUND_STATUS_SUCCEEDED',
      'PARTIALLY_REFUNDED 8888 888 0 8000',
      refused(9, 'REFUND_EXCEEDS_REFUNDABLE', ['currency', 'payment_id', 'refundable']),
      refused(10, 'REFUNDABLE_MISMATCH', ['currency', 'payment_id', 'refundable']),
      'REFUNDED 8888 8888 0 0',
      6,
    ],
  },
  {
    fact: 'a repeated refund is the same refund, and both are listed once',
    async tell(world) {
      const { paymentId } = await paid(world);
      const { createRefund, listRefunds, getPayment } = world.client.payments;
      const request = refund(paymentId, 100n, { requestId: randomUUID() });
      const [first, second] = [await createRefund(request), await createRefund(request)];
      const { refunds } = await listRefunds({ paymentId });
      const full = await getPayment({ ref: paymentRef(paymentId), view: PaymentView.PAYMENT_VIEW_FULL });
      return [second.replayed, first.refund!.refundId === second.refund!.refundId, refunds.length, full.refunds.length];
    },
    end: [true, true, 1, 1],
  },
  {
    fact: 'nothing is refunded of what was not paid',
    tell: async (world) => await refusal(world.client.payments.createRefund(refund((await created(world)).paymentId, 1n))),
    end: refused(9, 'PAYMENT_NOT_REFUNDABLE', ['payment_id', 'status']),
  },
  {
    fact: 'a refund that was sent cannot be canceled',
    async tell(world) {
      const { paymentId } = await paid(world);
      const { refund: sent } = await world.client.payments.createRefund(refund(paymentId, 1n));
      return await refusal(world.client.payments.cancelRefund({ refundId: sent!.refundId, reason: 'no' }));
    },
    end: refused(9, 'REFUND_NOT_CANCELABLE', ['attempts', 'refund_id', 'status']),
  },
  {
    fact: 'an unpaid payment is closed, and once more, and is not refunded then',
    async tell(world) {
      const { paymentId } = await created(world, order({ platform: Platform.PLATFORM_WECHATPAY }));
      const close = () => world.client.payments.closePayment({ paymentId, reason: 'the buyer left' });
      const answers = [await close(), await close()];
      const refunding = await refusal(world.client.payments.createRefund(refund(paymentId, 1n)));
      return [...answers.map(({ payment, outcome }) => `${statusName(payment!.status)} ${CloseOutcome[outcome]}`), refunding];
    },
    end: ['CLOSED CLOSE_OUTCOME_CLOSED', 'CLOSED CLOSE_OUTCOME_CLOSED', refused(9, 'PAYMENT_NOT_REFUNDABLE', ['payment_id', 'status'])],
  },
  {
    fact: 'closing what is paid says that it is paid',
    async tell(world) {
      const { outcome } = await world.client.payments.closePayment({ paymentId: (await paid(world)).paymentId, reason: 'late' });
      return CloseOutcome[outcome];
    },
    end: 'CLOSE_OUTCOME_PAID',
  },
  {
    fact: 'a version that is not there is refused',
    async tell(world) {
      const { paymentId } = await created(world);
      return await refusal(world.client.payments.closePayment({ paymentId, reason: 'no', expectedVersion: 7 }));
    },
    end: refused(10, 'VERSION_MISMATCH', ['current', 'expected', 'payment_id']),
  },
  {
    fact: 'a report moves a registered payment along legal edges, and of an initiated one it is a claim',
    async tell(world) {
      const { updatePaymentStatus } = world.client.payments;
      const { paymentId } = await created(world, registered());
      const { paymentId: initiated } = await created(world);
      const first = await updatePaymentStatus(report(paymentId));
      const again = await updatePaymentStatus(report(paymentId));
      const back = await refusal(updatePaymentStatus(report(paymentId, { status: PaymentStatus.PAYMENT_STATUS_CLOSED })));
      const claim = await updatePaymentStatus(report(initiated));
      return [...[first, again, claim].map(({ payment, outcome }) => `${statusName(payment!.status)} ${ReportOutcome[outcome]}`), back];
    },
    end: [
      'SUCCEEDED REPORT_OUTCOME_APPLIED',
      'SUCCEEDED REPORT_OUTCOME_DUPLICATE',
      'PENDING REPORT_OUTCOME_CLAIM_RECORDED',
      refused(9, 'ILLEGAL_TRANSITION', ['allowed', 'from', 'to']),
    ],
  },
  {
    fact: 'payments are listed newest first, in pages',
    async tell(world) {
      const userId = randomUUID();
      const made: string[] = [];
      for (const _ of [1, 2, 3]) made.unshift((await created(world, registered({ userId }))).paymentId);
      const { listPayments } = world.client.payments;
      const first = await listPayments({ filter: { userId }, pageSize: 2 });
      const second = await listPayments({ filter: { userId }, pageSize: 2, pageToken: first.nextPageToken });
      const none = await listPayments({ filter: { userId, statuses: [PaymentStatus.PAYMENT_STATUS_CLOSED] } });
      return [first, second, none].map(({ payments, nextPageToken }) => [payments.map(({ paymentId }) => made.indexOf(paymentId)), nextPageToken !== '']);
    },
    end: [
      [[0, 1], true],
      [[2], false],
      [[], false],
    ],
  },
  {
    fact: 'a wait that is too long says how the payment is',
    async tell(world) {
      const { paymentId } = await created(world);
      const error = await world.client.waitFor(paymentId, { timeoutMs: 20 }).catch((reason: unknown) => reason);
      return error instanceof WaitTimeout ? [error.paymentId === paymentId, error.payment && statusName(error.payment.status)] : error;
    },
    end: [true, 'PENDING'],
  },
  {
    fact: 'a wait ends with the status that was asked for',
    async tell(world) {
      const { paymentId } = await created(world, registered());
      const waiting = world.client.waitFor(paymentId, { until: [PaymentStatus.PAYMENT_STATUS_PROCESSING] });
      await world.client.payments.updatePaymentStatus(report(paymentId, { status: PaymentStatus.PAYMENT_STATUS_PROCESSING }));
      return statusName((await waiting).status);
    },
    end: 'PROCESSING',
  },
  {
    fact: 'a watch tells each change once and ends when its payments are settled; a cursor leads to the rest',
    async tell(world) {
      const { paymentId } = await paid(world);
      await world.client.payments.createRefund(refund(paymentId, 888n));

      const filter = { paymentIds: [paymentId] };
      const told = async (after: string | null): Promise<[string, string][]> => {
        const changes: [string, string][] = [];
        for await (const item of world.client.watch({ after, from: 'EARLIEST', filter, stopWhenSettled: true, maxEventsPerMessage: 1 })) {
          if (item.kind !== 'events') continue;
          for (const { previousStatus, status, version } of item.events) changes.push([`${version} ${statusName(previousStatus)} ${statusName(status)}`, item.cursor]);
        }
        return changes;
      };
      const all = await told(null);
      const rest = await told(all[1]![1]);
      return [all.map(([change]) => change), rest.length];
    },
    end: [['1 UNSPECIFIED PENDING', '2 PENDING SUCCEEDED', '3 SUCCEEDED SUCCEEDED', '4 SUCCEEDED PARTIALLY_REFUNDED'], 2],
  },
  {
    fact: 'a snapshot tells payments as they are and says when it is complete',
    async tell(world) {
      const userId = randomUUID();
      await created(world, registered({ userId }));
      const kinds: string[] = [];
      for await (const item of world.client.watch({ from: 'SNAPSHOT', filter: { userIds: [userId] }, stopAtHead: true })) {
        kinds.push(item.kind === 'bookmark' ? `bookmark ${item.snapshotComplete}` : item.kind === 'snapshot' ? `snapshot of ${item.payments.length}` : item.kind);
      }
      return kinds.slice(0, 3);
    },
    end: ['connected', 'snapshot of 1', 'bookmark true'],
  },
  {
    fact: 'a cursor of somebody else is refused',
    tell: async ({ client }) => await refusal(client.watch({ after: 'AAAA' }).next()),
    end: refused(3, 'FIELD_INVALID', [], ['after_cursor']),
  },
  {
    fact: 'a watch for what does not exist is refused',
    tell: async ({ client }) => await refusal(client.watch({ filter: { paymentIds: ['00000000-0000-7000-8000-000000000001'] }, stopWhenSettled: true }).next()),
    end: refused(5, 'PAYMENT_NOT_FOUND', ['payment_id']),
  },
];

describe.each(['fake', 'server'] as const)('told by the %s', (name) => {
  test.each(STORIES)('$fact', async (story) => {
    expect(await story.tell(worlds[name])).toEqual(story.end);
  });
});
