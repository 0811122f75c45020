/** Exports of chain heads: an honest database is what was exported, however it grows; a rewritten one is not, whatever else agrees. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkingKeyOf, keyIdOf, newKeyPair, signingKeyOf } from '../../src/audit/audit-key.js';
import { compareExport, type Evidence } from '../../src/audit/compare-export.js';
import { NotGenuine, readExport, type Trust } from '../../src/audit/read-export.js';
import { writeExport } from '../../src/audit/write-export.js';
import { uuidv7 } from '../../src/payment/ids.js';
import { joinEvidence } from '../../src/payment/join-evidence.js';
import type { Payment } from '../../src/payment/payment.js';
import type { PaymentEvidence } from '../../src/payment/platform.js';
import { verifyPaymentLog } from '../../src/payment/verify-payment-log.js';
import { Forger } from '../support/forger.js';
import { heard, minutes, paid, T0 } from '../support/payments.js';
import { ACTOR, creation, openStore, type Store } from '../support/store.js';

let at = T0;
let folder: string;
let store: Store;
let forger: Forger;
beforeAll(async () => {
  store = await openStore({ clock: { now: () => at } });
  forger = await Forger.of(store.url);
});
beforeEach(async () => {
  at = T0;
  folder = mkdtempSync(join(tmpdir(), 'paystate-audit-'));
  await forger.run('truncate payment cascade');
});
afterEach(() => rmSync(folder, { recursive: true }));
afterAll(async () => {
  await forger[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

const pair = newKeyPair();
const key = signingKeyOf(pair.privatePem);
const trust: Trust = { key: checkingKeyOf(pair.publicPem), sha256: null };
const DAY = { from: T0, to: minutes(24 * 60) };

const create = (): Promise<Payment> => store.work.run(creation({ id: uuidv7(at), merchantAccount: 'alipay' }));
async function hear(payment: Payment, evidence: PaymentEvidence): Promise<void> {
  await store.work.run({
    payments: [payment.id],
    decide: (view) => joinEvidence(view, view.payment(payment.id), { evidence, source: 'NOTIFICATION' }, view.act(ACTOR)),
  });
}
/** A payment with three entries: created, processing, paid. */
async function bought(): Promise<Payment> {
  at = new Date(at.getTime() + 1_000);
  const payment = await create();
  await hear(payment, heard('IN_PROGRESS'));
  await hear(payment, paid(minutes(5), { transactionId: `tx-${payment.id}` }));
  return payment;
}

let files = 0;
async function exported(changes: Partial<Parameters<typeof writeExport>[1]> = {}): Promise<string> {
  at = new Date(Math.max(at.getTime(), DAY.to.getTime()));
  const path = join(folder, `export-${(files += 1)}.jsonl`);
  await writeExport({ ...store.deps, clock: store.deps.clock }, { range: DAY, path, key, ...changes });
  return path;
}
async function compared(path: string) {
  const evidence: Evidence[] = [];
  const header = await readExport(path, trust);
  const result = await compareExport(store.deps, { path, trust, header }, (one) => evidence.push(one));
  expect(result.evidence).toBe(evidence.length);
  return { ...result, evidence };
}
const holds = async ({ id }: Payment): Promise<boolean> => (await verifyPaymentLog(store.deps, id)).faults.length === 0;

test('an honest database is what was exported, and still is when it has grown', async () => {
  const [first, second] = [await bought(), await bought()];
  const path = await exported();
  expect(await compared(path)).toEqual({ payments: 2, entries: 6, evidence: [] });

  await hear(first, paid(minutes(5), { transactionId: `tx-${first.id}`, refundedTotal: 1_000n }));
  await hear(second, heard('MONEY_UNCLEAR', minutes(9)));
  await bought();
  expect(await compared(path)).toEqual({ payments: 2, entries: 6, evidence: [] });
});

test('an export of nothing is whole, too', async () => {
  expect(await compared(await exported())).toEqual({ payments: 0, entries: 0, evidence: [] });
});

test('more than fit into a page, and chains longer than one, are read to their end', async () => {
  const payments = await Promise.all(Array.from({ length: 1_203 }, () => create()));
  const long = payments[700]!;
  for (let count = 0; count < 1_200; count += 100) {
    await Promise.all(Array.from({ length: 100 }, () => store.work.run({ payments: [long.id], decide: (view) => view.payment(long.id).note(view.act(ACTOR), { kind: 'EVIDENCE' }) })));
  }
  const path = await exported();
  expect(await compared(path)).toEqual({ payments: 1_203, entries: 2_403, evidence: [] });

  await forger.rewrite(long.id, 1, 'actor_id', 'nobody');
  expect((await compared(path)).evidence).toMatchObject([{ paymentId: long.id }]);
}, 60_000);

test('an entry that was rewritten with its whole later chain and the payment is seen by nothing but the export', async () => {
  const [payment] = [await bought(), await bought()];
  const path = await exported();
  await forger.rewrite(payment.id, 3, 'evidence', { amount: '1 CNY' });
  expect(await holds(payment)).toBe(true);
  expect((await compared(path)).evidence).toEqual([{ paymentId: payment.id, what: expect.stringContaining('the log up to entry 3 is not what was exported') as string }]);
});

test('growing further does not hide it', async () => {
  const payment = await bought();
  const path = await exported();
  await forger.rewrite(payment.id, 2, 'actor_id', 'somebody else');
  await hear(payment, heard('MONEY_UNCLEAR', minutes(9)));
  await hear(payment, paid(minutes(5), { transactionId: `tx-${payment.id}`, refundedTotal: 1_000n }));
  expect((await compared(path)).evidence).toMatchObject([{ paymentId: payment.id, what: expect.stringContaining('entry 3') }]);
});

test.each<[string, (payment: Payment) => Promise<void>, string, boolean]>([
  ['an entry changed alone', ({ id }) => forger.setEntry(id, 2, 'reason', 'because'), 'entry 2: the content does not give the recorded hash', false],
  ['an entry removed', ({ id }) => forger.run('delete from payment_log where payment_id = $1 and seq = 2', [id]), 'entry 2: entry 2 is missing', false],
  ['the newest entries cut off, and the payment made to agree', ({ id }) => forger.truncate(id, 1), 'the log ends with entry 1; 3 were exported', true],
  ['the newest entries cut off alone', ({ id }) => forger.run('delete from payment_log where payment_id = $1 and seq > 1', [id]), 'the log ends with entry 1; 3 were exported', false],
  ['the payment\'s word about its chain', ({ id }) => forger.run('update payment set log_seq = 2 where id = $1', [id]), 'the payment says that its log ends with entry 2; 3 were exported', false],
  ['the payment\'s hash of its last entry', ({ id }) => forger.run('update payment set log_hash = null where id = $1', [id]), expect.stringContaining('entry 3 has the hash null, was ') as string, false],
  ['the paid amount', ({ id }) => forger.run('update payment set paid_amount = 20000 where id = $1', [id]), 'the payment\'s paid amount is 20000, was 10000', true],
  ['the amount', ({ id }) => forger.run('update payment set amount = 1 where id = $1', [id]), 'the payment\'s amount is 1, was 10000', true],
  ['the status', ({ id }) => forger.run(`update payment set status = 'CLOSED' where id = $1`, [id]), 'the payment\'s status is CLOSED, was SUCCEEDED', false],
  ['evidence that is a list', ({ id }) => forger.setEntry(id, 2, 'evidence', '[1]'), 'entry 2: the evidence is not text by name', false],
  ['evidence that is null', ({ id }) => forger.setEntry(id, 2, 'evidence', 'null'), 'entry 2: the evidence is not text by name', false],
  ['evidence in depth', ({ id }) => forger.setEntry(id, 2, 'evidence', '{"a": {"b": "c"}}'), 'entry 2: the evidence is not text by name', false],
  ['a time beyond all calendars', ({ id }) => forger.setEntry(id, 2, 'occurred_at', '200000-01-01'), 'entry 2: the content does not give the recorded hash', false],
  ['no time at all', ({ id }) => forger.setEntry(id, 2, 'occurred_at', 'infinity'), 'entry 2: the content does not give the recorded hash', false],
])('evident: %s', async (_what, tamper, what, chainHolds) => {
  const [, payment] = [await bought(), await bought(), await bought()];
  const path = await exported();
  await tamper(payment);
  expect((await compared(path)).evidence).toEqual([{ paymentId: payment.id, what }]);
  expect(await holds(payment)).toBe(chainHolds);
});

test('a deleted payment is evident, and one that was put into the past', async () => {
  const [first, second] = [await bought(), await bought()];
  const path = await exported();
  await forger.deletePayment(first.id);
  expect((await compared(path)).evidence).toEqual([{ paymentId: first.id, what: 'the payment is missing; its log had 3 entries' }]);

  at = minutes(10);
  const forged = await create();
  expect((await compared(path)).evidence).toEqual([
    { paymentId: first.id, what: 'the payment is missing; its log had 3 entries' },
    { paymentId: forged.id, what: 'the payment is not in the export, but has the time of creation 2026-01-01T00:10:00.000Z' },
  ]);
  // One whose transaction was under way when the export was made is no evidence.
  await forger.run('delete from payment_log where payment_id <> $1', [second.id]);
  await forger.run('delete from payment_sync where payment_id <> $1', [second.id]);
  await forger.run('delete from payment where id <> $1', [second.id]);
  at = new Date(DAY.to.getTime() - 60_000);
  await create();
  expect((await compared(path)).evidence).toEqual([{ paymentId: first.id, what: 'the payment is missing; its log had 3 entries' }]);
});

test('a payment that was moved out of the range is evident', async () => {
  const payment = await bought();
  const path = await exported();
  await forger.run(`update payment set created_at = '2020-01-01' where id = $1`, [payment.id]);
  expect((await compared(path)).evidence).toEqual([
    { paymentId: payment.id, what: 'the payment\'s time of creation is 2020-01-01T00:00:00.000Z, was 2026-01-01T00:00:01.000Z' },
  ]);
});

test('faults that were there before are no secret of the export: it is still written, and verifying names them', async () => {
  const payment = await bought();
  await forger.run('update payment set log_hash = null where id = $1', [payment.id]);
  expect((await compared(await exported())).evidence).toMatchObject([{ what: expect.stringContaining('the log up to entry 3 is not what was exported') }]);
});

describe('a file', () => {
  let path: string;
  let text: string;
  beforeEach(async () => {
    await bought();
    await bought();
    path = await exported();
    text = readFileSync(path, 'utf8');
  });
  const refused = async (content: string | Buffer, by: Trust = trust): Promise<string> => {
    const altered = join(folder, 'altered.jsonl');
    writeFileSync(altered, content);
    const error = await readExport(altered, by).then(() => null, (thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NotGenuine);
    return (error as Error).message;
  };
  /** Alters lines and makes count and digest agree, as anybody can; the signature stays. */
  const resealed = (alter: (lines: string[]) => string[]): string => {
    const lines = text.split('\n').slice(0, -2);
    const body = alter(lines).map((line) => `${line}\n`).join('');
    const trailer = { ...(JSON.parse(text.split('\n').at(-2)!) as object), payments: alter(lines).length - 1, sha256: createHash('sha256').update(body).digest('hex') };
    return `${body}${JSON.stringify(trailer)}\n`;
  };

  test('is what its format says, and openssl agrees with its signature', () => {
    const [header, first, , trailer] = text.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(header).toEqual({
      format: 'paystate-audit/1', about: expect.any(String) as string, from: '2026-01-01T00:00:00.000Z', to: '2026-01-02T00:00:00.000Z', created_at: '2026-01-02T00:00:00.000Z',
      database: { feed_id: expect.any(Number) as number, system_identifier: expect.stringMatching(/^\d+$/) as string }, key_id: pair.keyId,
    });
    expect(Object.keys(first!)).toEqual(['payment_id', 'created_at', 'log_seq', 'log_hash', 'version', 'status', 'amount', 'currency', 'paid_amount', 'refunded_amount']);
    expect(first).toMatchObject({ log_seq: 3, version: 3, status: 'SUCCEEDED', amount: '10000', currency: 'CNY', paid_amount: '10000', refunded_amount: '0' });
    const body = text.slice(0, text.lastIndexOf('{'));
    expect(trailer).toMatchObject({ payments: 2, sha256: createHash('sha256').update(body).digest('hex') });
    expect(statSync(path).mode & 0o777).toBe(0o600);

    const [message, signature, publicKey] = ['message', 'signature', 'public.pem'].map((name) => join(folder, name)) as [string, string, string];
    writeFileSync(message, `paystate-audit/1\npayments 2\nsha256 ${trailer!['sha256'] as string}\n`);
    writeFileSync(signature, Buffer.from(trailer!['signature'] as string, 'base64'));
    writeFileSync(publicKey, pair.publicPem);
    expect(execFileSync('openssl', ['pkeyutl', '-verify', '-pubin', '-inkey', publicKey, '-rawin', '-in', message, '-sigfile', signature]).toString()).toContain('Verified Successfully');
  });

  test('that was altered anywhere is not genuine', async () => {
    const bytes = Buffer.from(text);
    for (let place = 0; place < bytes.length; place += 7) {
      const altered = Buffer.from(bytes);
      altered[place]! ^= 1;
      await refused(altered);
    }
  });

  test.each<[string, (lines: string[]) => string[]]>([
    ['with another hash', (lines) => [...lines.slice(0, -1), lines.at(-1)!.replace(/"log_hash":"../, '"log_hash":"00')]],
    ['without a payment', (lines) => lines.slice(0, -1)],
    ['of another range', ([header, ...rest]) => [header!.replace('2026-01-02', '2026-01-03'), ...rest]],
  ])('%s is not genuine, even if its digest agrees', async (_what, alter) => {
    expect(await refused(resealed(alter))).toBe('the signature is not of this key and file');
  });

  test('with its lines exchanged, doubled or cut off is not genuine', async () => {
    expect(await refused(resealed(([header, first, second]) => [header!, second!, first!]))).toContain('out of its place');
    expect(await refused(resealed(([header, first]) => [header!, first!, first!]))).toContain('out of its place');
    expect(await refused(text.slice(0, -1))).toContain('cut off');
    expect(await refused(text.split('\n').slice(0, -2).map((line) => `${line}\n`).join(''))).toContain('no trailer');
    expect(await refused(`${text}${text}`)).toContain('goes on behind its trailer');
    expect(await refused('')).toContain('no trailer');
  });

  test.each<[string, string | Buffer, string]>([
    ['of another format', '{"format":"paystate-audit/2"}\n', 'header'],
    ['that is no JSON', 'payment_id,log_seq\n', 'no JSON object'],
    ['that is not UTF-8', Buffer.from([0x7b, 0xff, 0x7d, 0x0a]), 'no JSON object'],
    ['of one endless line', 'x'.repeat(1_000_000), 'more than 4096 bytes'],
    ['of zeros', Buffer.alloc(10_000), 'more than 4096 bytes'],
  ])('%s is not genuine', async (_what, content, why) => {
    expect(await refused(content)).toContain(why);
  });

  test('by another key, or by none, is not genuine', async () => {
    const other = newKeyPair();
    expect(await refused(text, { key: checkingKeyOf(other.publicPem), sha256: null })).toContain(`names the key ${pair.keyId}, not ${other.keyId}`);
    expect(await refused(readFileSync(await exported({ key: signingKeyOf(other.privatePem) })))).toContain(`names the key ${other.keyId}`);
    expect(await refused(readFileSync(await exported({ key: null })))).toBe('the file is not signed');
  });

  test('that is not signed is known by the digest that was kept elsewhere', async () => {
    const unsigned = join(folder, 'unsigned.jsonl');
    const { sha256 } = await writeExport({ ...store.deps, clock: store.deps.clock }, { range: DAY, path: unsigned, key: null });
    expect(await readExport(unsigned, { key: null, sha256 })).toMatchObject({ keyId: null });
    expect(await refused(readFileSync(unsigned), { key: null, sha256: '0'.repeat(64) })).toContain('another export');
  });

  test('that exists is not written over, and one that cannot be finished is removed', async () => {
    await expect(exported({ path })).rejects.toMatchObject({ code: 'EEXIST' });
    expect(readFileSync(path, 'utf8')).toBe(text);
    await forger.run('alter table payment rename column currency to coin');
    const unfinished = join(folder, 'unfinished.jsonl');
    await expect(writeExport({ ...store.deps, clock: store.deps.clock }, { range: DAY, path: unfinished, key })).rejects.toThrow();
    expect(existsSync(unfinished)).toBe(false);
  });
});

test('only keys of Ed25519 are taken', () => {
  expect(keyIdOf(key)).toBe(pair.keyId);
  expect(() => signingKeyOf(pair.publicPem)).toThrow('is not a private key');
  expect(() => checkingKeyOf('nonsense')).toThrow('is not a public key');
});
