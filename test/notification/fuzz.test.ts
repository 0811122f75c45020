/** The same fuzz as `npm run fuzz:notifications`, small, with a quarantine that has time for everything; and what it would see. */
import type { PlatformAdapter } from '../../src/payment/platform.js';
import type { Account } from '../../src/platform/accounts.js';
import { startSimulators, type Simulators } from '../../src/simulator/simulators.js';
import { accountsOf, startTestApp } from '../support/app.js';
import { fuzz, isClean, type FuzzOptions, type Stage } from './fuzz.js';
import { Random } from './random.js';
import { TARGETS, type TargetName } from './targets.js';

const SEED = 20_261_126;
/** In which the quarantine is ready to write one more down. */
const QUARANTINE_MS = 50;

let aheadMs = 0;
const now = (): Date => new Date(Date.now() + aheadMs);
let simulators: Simulators;
beforeAll(async () => void (simulators = await startSimulators({ now })));
afterAll(async () => await simulators[Symbol.asyncDispose]());

type OpenStage = Stage & AsyncDisposable;

async function openStage(altered: (adapter: PlatformAdapter) => PlatformAdapter = (adapter) => adapter): Promise<OpenStage> {
  const accounts = accountsOf(simulators.platforms).map((account): Account => ({ ...account, connect: (url) => altered(account.connect(url)) }));
  const notifications = { host: '127.0.0.1', port: 0, baseUrl: 'http://127.0.0.1:9' };
  const app = await startTestApp({ config: { platforms: accounts, notifications }, clock: { now }, manualSync: true });
  return { app, simulators, now, [Symbol.asyncDispose]: () => app[Symbol.asyncDispose]() };
}

const fuzzed = (stage: OpenStage, name: TargetName, options: Partial<FuzzOptions> = {}) =>
  fuzz(stage, name, { count: 300, seed: SEED, perControl: 50, onInput: () => void (aheadMs += QUARANTINE_MS), ...options });

describe('the service', () => {
  let stage: OpenStage;
  beforeAll(async () => void (stage = await openStage()));
  afterAll(async () => await stage[Symbol.asyncDispose]());

  test.each(TARGETS)('%s: nothing but the word of the platform is taken, all else is answered, quarantined and changes nothing', async (name) => {
    const report = await fuzzed(stage, name, { count: 300 });
    expect(report).toMatchObject({ tried: 300, accepted: 0, crashes: 0, controls: 6, controlsApplied: 6, findings: [], faults: [] });
    expect(report.refused + BigInt(report.turnedAway)).toBe(300n);
    expect(report.quarantined).toBe(report.refused);
    expect(isClean(report)).toBe(true);
  });
});

/** Faults that an adapter could have, each with what the fuzz makes of it. */
const FAULTS: readonly [string, TargetName, (adapter: PlatformAdapter) => PlatformAdapter['readNotification'], object][] = [
  ['does not look at the time', 'wechatpay', timeless, { crashes: 0, mutators: 'old or future time by the right key' }],
  ['forgives base64 that is not canonical', 'alipay', lenient('sign'), { crashes: 0, mutators: 'signature spoiled' }],
  ['forgives base64 that is not canonical', 'unionpay', lenient('signature'), { crashes: 0, mutators: 'signature spoiled' }],
  ['takes a message for any content-type', 'unionpay', untyped, { crashes: 0, mutators: 'content-type' }],
];

test.each(FAULTS)('an adapter that %s is found out (%s)', async (_what, name, broken, { mutators, crashes }: { mutators?: string; crashes?: number }) => {
  await using stage = await openStage((adapter) => ({ ...adapter, readNotification: broken(adapter) }));
  const report = await fuzzed(stage, name, { count: 600 });
  expect(report.accepted).toBeGreaterThan(0);
  expect(report.crashes).toBe(crashes);
  expect(report.findings).toContainEqual(expect.objectContaining({ kind: 'accepted', mutators: expect.arrayContaining([mutators]) }));
  expect(isClean(report)).toBe(false);
});

test('an adapter that verifies nothing is found out by its answers and by what became of the payments', async () => {
  await using stage = await openStage((adapter) => ({ ...adapter, readNotification: credulous(adapter) }));
  const report = await fuzzed(stage, 'alipay');
  expect(report.accepted).toBeGreaterThan(100);
  expect(report.faults).toContainEqual(expect.stringMatching(/ was PENDING .* and is SUCCEEDED /));
  expect(report.faults).toContainEqual(expect.stringMatching(/^deliveries of verified notifications: /));
});

test('an adapter that throws is found out', async () => {
  await using stage = await openStage((adapter) => ({ ...adapter, readNotification: failing(adapter) }));
  const report = await fuzzed(stage, 'alipay');
  expect(report).toMatchObject({ accepted: 0, controls: 6, controlsApplied: 6 });
  expect(report.crashes).toBeGreaterThan(0);
  expect(isClean(report)).toBe(false);
});

test('an adapter that refuses everything proves nothing', async () => {
  await using stage = await openStage((adapter) => ({ ...adapter, readNotification: () => ({ verified: false, why: 'no', claimedOrderNo: () => null }) }));
  const report = await fuzzed(stage, 'wechatpay');
  expect(report).toMatchObject({ accepted: 0, crashes: 0, controls: 6, controlsApplied: 0 });
  expect(report.findings).toContainEqual(expect.objectContaining({ kind: 'refused though genuine' }));
  expect(isClean(report)).toBe(false);
});

test('the same seed makes the same choices, and each input its own', () => {
  const choices = (seed: number, index: number): number[] => {
    const random = new Random(seed, index);
    return Array.from({ length: 8 }, () => random.below(1_000_000));
  };
  expect(choices(SEED, 3)).toEqual(choices(SEED, 3));
  expect(choices(SEED, 3)).not.toEqual(choices(SEED, 4));
  expect(choices(SEED, 3)).not.toEqual(choices(SEED + 1, 3));
});

function timeless(adapter: PlatformAdapter): PlatformAdapter['readNotification'] {
  return (delivery) => {
    const signedAt = new Date(Number(delivery.headers['wechatpay-timestamp']) * 1_000);
    return adapter.readNotification(Number.isNaN(signedAt.getTime()) ? delivery : { ...delivery, receivedAt: signedAt });
  };
}

function lenient(signatureField: string) {
  return (adapter: PlatformAdapter): PlatformAdapter['readNotification'] =>
    (delivery) => {
      const fields = new URLSearchParams(delivery.body.toString('latin1'));
      const signature = fields.getAll(signatureField);
      if (signature.length === 1) fields.set(signatureField, Buffer.from(signature[0]!, 'base64').toString('base64'));
      return adapter.readNotification({ ...delivery, body: Buffer.from(fields.toString()) });
    };
}

function untyped(adapter: PlatformAdapter): PlatformAdapter['readNotification'] {
  return (delivery) => adapter.readNotification({ ...delivery, headers: { ...delivery.headers, 'content-type': 'application/x-www-form-urlencoded' } });
}

/** Believes whatever names an order, and reads it as the platform's. */
function credulous(adapter: PlatformAdapter): PlatformAdapter['readNotification'] {
  return (delivery) => {
    const fields = new URLSearchParams(delivery.body.toString('latin1'));
    const [notificationId, merchantOrderNo] = [fields.get('notify_id'), fields.get('out_trade_no')];
    if (notificationId === null || merchantOrderNo === null) return adapter.readNotification(delivery);
    const evidence = { class: 'PAID', at: delivery.receivedAt, word: 'TRADE_SUCCESS', amount: { currency: 'CNY', minorUnits: 10_000n }, transactionId: fields.get('trade_no') ?? 'T', merchantAccount: adapter.merchantAccount, refundedTotal: null, refundable: true } as const;
    return { verified: true, notificationId, order: { merchantOrderNo, platformOrderTime: '', platformTransactionId: null }, evidence, refund: null };
  };
}

function failing(adapter: PlatformAdapter): PlatformAdapter['readNotification'] {
  return (delivery) => {
    if (delivery.body[0] === 0xef) throw new Error('a byte order mark');
    return adapter.readNotification(delivery);
  };
}
