/**
 * What the notification entrance bears: `npm run bench:notifications -- [--quick] [--json FILE]`.
 *
 * 1. Signing and verifying one notification of each platform, in one process.
 * 2. Genuine notifications of WeChat Pay, each for another payment, as fast as they are taken: stored and applied when answered.
 * 3. A flood of forged ones, refused, while genuine ones go on coming: what those wait.
 *
 * Load, service and database share the machine, so that figures of the second and third are lower bounds.
 */
import { generateKeyPairSync, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import * as grpc from '@grpc/grpc-js';
import pg from 'pg';
import { promised } from '../src/cli/promised.js';
import { Platform } from '../src/gen/payment/v1/payment.js';
import { CreatePaymentRequest, PaymentServiceClient } from '../src/gen/payment/v1/payment_service.js';
import type { Delivery, NewOrder, PlatformAdapter } from '../src/payment/platform.js';
import { readAccounts } from '../src/platform/accounts.js';
import type { Delivery as Recorded } from '../src/simulator/notifier.js';
import { startSimulators } from '../src/simulator/simulators.js';
import { burst, paced, percentile, type Answer } from './http-load.js';
import { startService } from './service.js';
import { WechatNotifications, type Told } from './wechat-notifications.js';

const quick = process.argv.includes('--quick');
const json = process.argv[process.argv.indexOf('--json') + 1];
/** Payments are registered right before their notifications come, as an unpaid one is soon asked about, which is not measured here. */
const ROUND = 2_000;
const ROUNDS = quick ? 2 : 10;
const FLOOD = { perSecond: 5_000, genuinePerSecond: 200, roundSeconds: 4, rounds: quick ? 1 : 4 };

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const results: Record<string, number> = {};

await measureSignatures();
const wechat = new WechatNotifications();
await using service = await startService({ wechatpay: [wechat.account] });
const entrance = `${service.entrance}/notifications/wechatpay/wechatpay`;

await measureThroughput();
await measureFlood();
if (process.argv.includes('--json') && json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`);

/** One genuine notification of each platform, over and over: what the platform pays to sign it, and the service to read it. */
async function measureSignatures(): Promise<void> {
  await using simulators = await startSimulators();
  const { accounts } = readAccounts(simulators.platforms, () => '');
  for (const { platform, account, connect } of accounts) {
    const adapter = connect(`http://127.0.0.1:9/notifications/${account}`);
    const delivery = await paidDelivery(simulators[account as 'alipay' | 'wechatpay' | 'unionpay'], adapter);
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const signMs = perTurn(() => sign('RSA-SHA256', delivery.body, privateKey));
    const readMs = perTurn(() => {
      if (!adapter.readNotification(delivery).verified) throw new Error(`${platform}: a genuine notification does not verify`);
    });
    results[`${account}_sign_and_verify_ms`] = signMs + readMs;
    say(`${platform.padEnd(9)} sign ${signMs.toFixed(3)} ms, verify and read ${readMs.toFixed(3)} ms`);
  }
}

interface Played {
  readonly control: {
    notificationPlan(plan: { mode: 'never' }): void;
    buyerPaysQr(text: string): unknown;
    idle(): Promise<void>;
    notifications(): readonly Recorded[];
  };
}

async function paidDelivery({ control }: Played, adapter: PlatformAdapter): Promise<Delivery> {
  const at = new Date();
  const order: NewOrder = {
    merchantOrderNo: 'BENCH000000000001',
    platformOrderTime: adapter.orderTime(at),
    subject: 'tea',
    amount: { currency: 'CNY', minorUnits: 8_888n },
    checkout: 'QR_CODE',
    expireAt: new Date(at.getTime() + 3_600_000),
    returnUrl: null,
    buyerId: null,
    buyerIp: null,
  };
  const placed = await adapter.create(order, { at, signal: AbortSignal.timeout(10_000) });
  if (placed.kind !== 'ACCEPTED') throw new Error(`the order was not placed: ${placed.code}`);
  control.notificationPlan({ mode: 'never' });
  control.buyerPaysQr(placed.value.value);
  await control.idle();
  const { notification } = control.notifications().at(-1)!;
  const signed = Object.entries(notification.headers?.(at) ?? {}).map(([name, value]) => [name.toLowerCase(), value]);
  return { headers: { 'content-type': notification.contentType, ...Object.fromEntries(signed) as Record<string, string> }, body: Buffer.from(notification.body), receivedAt: at };
}

function perTurn(turn: () => void): number {
  const turns = 2_000;
  for (let at = 0; at < turns / 10; at += 1) turn();
  const began = performance.now();
  for (let at = 0; at < turns; at += 1) turn();
  return (performance.now() - began) / turns;
}

async function measureThroughput(): Promise<void> {
  const answers: Answer[] = [];
  let seconds = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const numbers = numbersOf(`T${round}x`, ROUND);
    const told = numbers.map((number) => wechat.paid(number));
    await register(numbers);
    const began = performance.now();
    answers.push(...(await burst(entrance, told, 256)));
    seconds += (performance.now() - began) / 1_000;
  }

  requireStatus(answers, 200);
  await requirePaid('T', ROUNDS * ROUND);
  results['notifications_per_second'] = answers.length / seconds;
  say(`genuine   ${answers.length} taken and applied in ${seconds.toFixed(2)} s: ${Math.round(answers.length / seconds)} a second, p99 ${percentile(answers, 0.99).toFixed(1)} ms`);
}

async function measureFlood(): Promise<void> {
  // A few hundred different ones, by turns: each of them costs the entrance the same as if it came for the first time.
  const forged = Array.from({ length: 300 }, (_one, at) => wechat.paid(`forged${at}`, 'forged'));
  const flood = (): Promise<Answer[]> =>
    paced(entrance, repeated(forged, FLOOD.perSecond * FLOOD.roundSeconds), { perSecond: FLOOD.perSecond, connections: 64 });
  const genuine = async (prefix: string): Promise<Answer[]> => {
    const numbers = numbersOf(prefix, FLOOD.genuinePerSecond * FLOOD.roundSeconds);
    const told = numbers.map((number) => wechat.paid(number));
    await register(numbers);
    return await paced(entrance, told, { perSecond: FLOOD.genuinePerSecond, connections: 32 });
  };

  const [refused, taken, alone]: [Answer[], Answer[], Answer[]] = [[], [], []];
  for (let round = 0; round < FLOOD.rounds; round += 1) {
    alone.push(...(await genuine(`Fa${round}x`)));
    const [flooded, meanwhile] = await Promise.all([flood(), genuine(`Fb${round}x`)]);
    refused.push(...flooded);
    taken.push(...meanwhile);
  }

  requireStatus(refused, 401);
  requireStatus([...alone, ...taken], 200);
  await requirePaid('F', alone.length + taken.length);
  results['flood_refused'] = refused.length;
  results['flood_genuine_p99_ms'] = percentile(taken, 0.99);
  results['calm_genuine_p99_ms'] = percentile(alone, 0.99);
  say(`flood     ${refused.length} forged refused at ${FLOOD.perSecond} a second (p99 ${percentile(refused, 0.99).toFixed(1)} ms)`);
  say(`          ${taken.length} genuine meanwhile: p50 ${percentile(taken, 0.5).toFixed(1)} ms, p99 ${percentile(taken, 0.99).toFixed(1)} ms; without the flood p99 ${percentile(alone, 0.99).toFixed(1)} ms`);
}

function* repeated(told: readonly Told[], count: number): Generator<Told> {
  for (let at = 0; at < count; at += 1) yield told[at % told.length]!;
}

function numbersOf(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_one, at) => `${prefix}${String(at).padStart(9, '0')}`);
}

async function register(numbers: readonly string[]): Promise<void> {
  const client = new PaymentServiceClient(service.address, grpc.credentials.createInsecure());
  const payments = promised(client, { deadlineMs: 30_000 });
  const left = [...numbers];
  await Promise.all(
    Array.from({ length: 128 }, async () => {
      for (let number = left.pop(); number !== undefined; number = left.pop()) await payments.createPayment(registered(number));
    }),
  );
  client.close();
}

function registered(merchantOrderNo: string): CreatePaymentRequest {
  return CreatePaymentRequest.fromPartial({
    requestId: merchantOrderNo,
    appId: 'shop',
    orderId: merchantOrderNo,
    platform: Platform.PLATFORM_WECHATPAY,
    amount: { currencyCode: 'CNY', minorUnits: 8_888n },
    kind: { $case: 'registered', value: { merchantOrderNo } },
  });
}

function requireStatus(answers: readonly Answer[], status: number): void {
  const other = answers.find((answer) => answer.status !== status);
  if (other !== undefined) throw new Error(`answered with ${other.status} instead of ${status}`);
}

async function requirePaid(prefix: string, count: number): Promise<void> {
  const client = new pg.Client(service.databaseUrl);
  await client.connect();
  const { rows } = await client.query<{ paid: string }>(`select count(*)::text as paid from payment where status = 'SUCCEEDED' and merchant_order_no like $1`, [`${prefix}%`]);
  await client.end();
  if (rows[0]?.paid !== `${count}`) throw new Error(`${rows[0]?.paid} of ${count} payments are paid`);
}
