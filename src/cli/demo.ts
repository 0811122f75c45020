/**
 * A payment at each platform through the service over real wire formats: created over gRPC, placed at the simulated platform, paid by
 * the simulated buyer, reported by a signed notification, seen on the status stream, refunded in two parts, explained by its log.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { startApp } from '../app.js';
import type { Config } from '../config.js';
import { OperationsServiceClient, VerifyPaymentLogRequest } from '../gen/payment/v1/operations_service.js';
import {
  PaymentOrigin,
  PaymentStatus,
  Platform,
  CheckoutKind,
  RefundStatus,
  LogKind,
  type Payment,
  type Refund,
} from '../gen/payment/v1/payment.js';
import * as rpc from '../gen/payment/v1/payment_service.js';
import { createLogger } from '../logger.js';
import { formatDecimal } from '../payment/money.js';
import { PLATFORMS, type PlatformName } from '../payment/platform.js';
import { explain } from './call.js';
import { promised, type Promised } from './promised.js';

interface Stage extends AsyncDisposable {
  readonly payments: Promised<rpc.PaymentServiceClient>;
  readonly operations: Promised<OperationsServiceClient>;
  /** The generated client itself, for the stream. */
  readonly client: rpc.PaymentServiceClient;
  readonly controlUrl: string;
}

const STEP_MAX_MS = 15_000;

/** Runs the story and answers whether every step held. Uses a service that runs already, or starts one in a folder of its own. */
export async function runDemo(config: Config): Promise<boolean> {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  let step = 'start the service';
  try {
    await using stage = await openStage(config, say);
    const played = play(stage, say, (name) => {
      step = name;
      say(`\n• ${name}`);
    });
    await Promise.race([played, interrupted()]);
    say('\nEvery step held.');
    return true;
  } catch (error) {
    const sentence = error instanceof Error && 'details' in error ? explain(error as grpc.ServiceError) : error instanceof Error ? error.message : String(error);
    say(`\n✗ failed at: ${step}\n  ${sentence}`);
    return false;
  }
}

/** A service that was started for the demo must not outlive it. */
function interrupted(): Promise<never> {
  return new Promise((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => reject(new Error(`interrupted by ${signal}`)));
  });
}

type Say = (line: string) => void;

async function play(stage: Stage, say: Say, begin: (step: string) => void): Promise<void> {
  for (const name of PLATFORMS) {
    const at = (step: string): void => begin(`${name}: ${step}`);
    const payment = await buy(stage, name, say, at);
    await refundPartly(stage, payment, say, at);
    await refuse(stage, payment, say, at);
    await refundTheRest(stage, payment, say, at);
    await readLog(stage, payment, say, at);
  }
}

/** A payment and the stream of its changes. */
interface Bought extends AsyncDisposable {
  readonly payment: Payment;
  readonly events: ReturnType<typeof watch>;
}

async function buy({ payments, client, controlUrl }: Stage, platform: PlatformName, say: Say, begin: Say): Promise<Bought> {
  begin('create a payment of 88.88 CNY');
  const run = randomUUID();
  const created = await payments.createPayment(rpc.CreatePaymentRequest.fromPartial({
    requestId: `create-${run}`,
    appId: 'demo-shop',
    orderId: `order-${run}`,
    userId: 'user-1',
    platform: Platform[`PLATFORM_${platform}`],
    amount: { currencyCode: 'CNY', minorUnits: 8888n },
    subject: 'A pot of tea',
    kind: { $case: 'initiated', value: { checkoutKind: CheckoutKind.CHECKOUT_KIND_QR_CODE } },
  }));
  const payment = created.payment!;
  expect(payment.origin === PaymentOrigin.PAYMENT_ORIGIN_INITIATED, 'the payment is initiated');
  expectStatus(payment, PaymentStatus.PAYMENT_STATUS_PENDING);
  expect(payment.checkout?.form?.$case === 'qrText', 'the checkout is the text of a QR code');
  const qrCode = String(payment.checkout?.form?.value);
  say(`  ${payment.paymentId} is PENDING, the QR code says ${qrCode}`);

  begin('watch its status');
  const events = watch(client, payment.paymentId);
  const first = await events.next();
  expect(first.status === PaymentStatus.PAYMENT_STATUS_PENDING && first.version === 1, 'the stream starts with version 1');
  say(`  revision ${first.revision}: ${describe(first)}`);

  begin('the buyer scans and pays; the platform notifies');
  await buyer(controlUrl, `${platform.toLowerCase()}/buyer-pays`, { qr_code: qrCode });
  const paid = await events.until(PaymentStatus.PAYMENT_STATUS_SUCCEEDED);
  say(`  revision ${paid.revision}: ${describe(paid)}`);
  const waited = await payments.waitForPayment(rpc.WaitForPaymentRequest.fromPartial({ paymentId: payment.paymentId }));
  expect(waited.reached && waited.payment?.paidAmount?.minorUnits === 8888n, 'all of it is paid');
  return { payment, events, [Symbol.asyncDispose]: () => events[Symbol.asyncDispose]() };
}

async function refundPartly({ payments }: Stage, { payment, events }: Bought, say: Say, begin: Say): Promise<void> {
  begin('refund 8.88 CNY');
  const request = refundRequest(payment, 'some', 888n);
  const { refund } = await payments.createRefund(request);
  const part = await events.until(PaymentStatus.PAYMENT_STATUS_PARTIALLY_REFUNDED);
  say(`  ${refund!.refundId} was ${RefundStatus[refund!.status]?.replace('REFUND_STATUS_', '')} when the call ended`);
  say(`  revision ${part.revision}: ${describe(part)}`);

  begin('the same request again is the same refund');
  const again = await payments.createRefund(request);
  expect(again.replayed && again.refund?.refundId === refund!.refundId, 'the repetition answers with the first refund');
  expect(again.payment?.refundedAmount?.minorUnits === 888n, 'money moved once');
  say(`  replayed, still ${amountOf(again.refund!)} refunded`);
}

async function refuse({ payments }: Stage, { payment }: Bought, say: Say, begin: Say): Promise<void> {
  begin('more than what is left is refused');
  const refused = await payments.createRefund(refundRequest(payment, 'too-much', 8001n)).then(
    () => null,
    (error: unknown) => error as grpc.ServiceError,
  );
  expect(refused?.code === grpc.status.FAILED_PRECONDITION, 'the refund is refused');
  say(`  ${refused!.details}`);
}

async function refundTheRest({ payments }: Stage, { payment, events }: Bought, say: Say, begin: Say): Promise<void> {
  begin('refund the rest');
  await payments.createRefund(refundRequest(payment, 'the-rest', 8000n));
  const all = await events.until(PaymentStatus.PAYMENT_STATUS_REFUNDED);
  say(`  revision ${all.revision}: ${describe(all)}`);
}

async function readLog({ payments, operations }: Stage, { payment, events }: Bought, say: Say, begin: Say): Promise<void> {
  begin('its log tells the story, and nobody rewrote it');
  await events[Symbol.asyncDispose]();
  const log = await payments.listPaymentLogs(rpc.ListPaymentLogsRequest.fromPartial({ paymentId: payment.paymentId }));
  for (const entry of log.entries) {
    const version = entry.version === undefined ? '   ' : `v${entry.version}`.padEnd(3);
    say(`  ${String(entry.seq).padStart(2)} ${version} ${LogKind[entry.kind].replace('LOG_KIND_', '').padEnd(16)} ${statusName(entry.status).padEnd(18)} ${entry.reason}`);
  }
  const verified = await operations.verifyPaymentLog(VerifyPaymentLogRequest.fromPartial({ paymentId: payment.paymentId }));
  expect(verified.valid && verified.entries >= log.entries.length, `the hash chain holds (${verified.fault})`);
  say(`  ${verified.entries} entries, the hash chain holds`);
}

const refundRequest = (payment: Payment, what: string, minorUnits: bigint): rpc.CreateRefundRequest =>
  rpc.CreateRefundRequest.fromPartial({
    requestId: `refund-${what}-${payment.paymentId}`,
    paymentId: payment.paymentId,
    amount: { currencyCode: 'CNY', minorUnits },
    reason: 'the lid was missing',
  });

async function openStage(config: Config, say: (line: string) => void): Promise<Stage> {
  const running = clientsOf(`127.0.0.1:${config.grpc.port}`);
  if (config.simulator !== null && (await isReady(running.client))) {
    say(`using the service at 127.0.0.1:${config.grpc.port}`);
    return {
      ...running,
      controlUrl: `http://127.0.0.1:${config.simulator.port}`,
      [Symbol.asyncDispose]: () => Promise.resolve(running.close()),
    };
  }
  running.close();

  const dataDir = await mkdtemp(join(tmpdir(), 'paystate-demo-'));
  say('starting the service, its database and the simulated platforms');
  const any = { host: '127.0.0.1', port: 0 };
  const app = await startApp(
    {
      ...config,
      production: false,
      databaseUrl: null,
      dataDir,
      migrateAtStart: true,
      grpc: { ...any, reflection: true },
      notifications: { ...any, baseUrl: null },
      admin: any,
      simulator: { port: 0 },
      platforms: [],
    },
    { log: createLogger('warn') },
  );
  const clients = clientsOf(`127.0.0.1:${app.grpcPort}`);
  return {
    ...clients,
    controlUrl: app.simulators!.controlUrl,
    async [Symbol.asyncDispose]() {
      clients.close();
      await app.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

function clientsOf(address: string) {
  const credentials = grpc.credentials.createInsecure();
  const client = new rpc.PaymentServiceClient(address, credentials);
  const operator = new OperationsServiceClient(address, credentials);
  return {
    client,
    payments: promised(client, { deadlineMs: STEP_MAX_MS }),
    operations: promised(operator, { deadlineMs: STEP_MAX_MS }),
    close: () => {
      client.close();
      operator.close();
    },
  };
}

function isReady(client: grpc.Client): Promise<boolean> {
  return new Promise((resolve) => client.waitForReady(Date.now() + 300, (error) => resolve(error === undefined)));
}

/** The status stream of one payment, read one event at a time. */
function watch(client: rpc.PaymentServiceClient, paymentId: string) {
  const stream = client.watchPayments(
    rpc.WatchPaymentsRequest.fromPartial({
      start: { $case: 'startAt', value: rpc.WatchStart.WATCH_START_EARLIEST },
      filter: { paymentIds: [paymentId] },
    }),
  );
  const messages = (stream as AsyncIterable<rpc.WatchPaymentsResponse>)[Symbol.asyncIterator]();
  const waiting: rpc.PaymentEvent[] = [];
  const next = async (): Promise<rpc.PaymentEvent> => {
    for (;;) {
      const event = waiting.shift();
      if (event !== undefined) return event;
      const message = await messages.next();
      if (message.done === true) throw new Error('the stream ended');
      if (message.value.kind?.$case === 'events') waiting.push(...message.value.kind.value.events);
    }
  };
  const until = async (status: PaymentStatus): Promise<rpc.PaymentEvent> => {
    for (;;) {
      const event = await next();
      if (event.status === status) return event;
    }
  };
  return {
    // The limit is for the event: bookmarks keep a stream lively on which nothing happens.
    next: () => inTime(next(), 'no event on the stream'),
    until: (status: PaymentStatus) => inTime(until(status), `no change to ${statusName(status)} on the stream`),
    [Symbol.asyncDispose]() {
      stream.on('error', () => undefined);
      stream.cancel();
      return Promise.resolve();
    },
  };
}

async function buyer(controlUrl: string, act: string, body: object): Promise<void> {
  const response = await fetch(`${controlUrl}/${act}`, { method: 'POST', body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`the simulated buyer could not act: ${response.status} ${await response.text()}`);
}

function inTime<T>(work: Promise<T>, sentence: string): Promise<T> {
  return Promise.race([
    work,
    new Promise<never>((_resolve, reject) => {
      setTimeout(() => reject(new Error(`${sentence} within ${STEP_MAX_MS} ms`)), STEP_MAX_MS).unref();
    }),
  ]);
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(`expected that ${what}`);
}

function expectStatus(payment: Payment, status: PaymentStatus): void {
  expect(payment.status === status, `the payment is ${statusName(status)} and not ${statusName(payment.status)}`);
}

const statusName = (status: PaymentStatus): string => (PaymentStatus[status] ?? `${status}`).replace('PAYMENT_STATUS_', '');
const describe = (event: rpc.PaymentEvent): string => `version ${event.version}, ${statusName(event.previousStatus)} → ${statusName(event.status)}`;
const amountOf = (refund: Refund): string =>
  `${formatDecimal({ currency: refund.amount!.currencyCode, minorUnits: refund.amount!.minorUnits })} ${refund.amount!.currencyCode}`;
