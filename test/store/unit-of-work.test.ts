import pg from 'pg';
import { createPayment, type CreatePayment } from '../../src/payment/create-payment.js';
import { DomainError } from '../../src/payment/errors.js';
import { joinEvidence } from '../../src/payment/join-evidence.js';
import { findChainFault, PaymentLogEntry } from '../../src/payment/payment-log.js';
import { Payment } from '../../src/payment/payment.js';
import { openOrm } from '../../src/store/orm.js';
import { UnitOfWork } from '../../src/store/unit-of-work.js';
import { systemClock } from '../../src/clock.js';
import { connected } from '../support/pg-client.js';
import { until } from '../support/until.js';
import { ACTOR, creation, openStore, type Store } from '../support/store.js';
import { CNY, heard, minutes, paid } from '../support/payments.js';
import { isCommit, startTcpProxy } from '../support/tcp-proxy.js';

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
});

const countPayments = (): Promise<number> => store.deps.orm.em.fork().count(Payment);
const logOf = (paymentId: string): Promise<PaymentLogEntry[]> =>
  store.deps.orm.em.fork().find(PaymentLogEntry, { paymentId }, { orderBy: { seq: 'asc' } });

test('one refused and one poisoned operation among thirty good ones cost their neighbours nothing', async () => {
  const before = await countPayments();
  const refused = { decide: () => { throw new DomainError('PAYMENT_NOT_FOUND', 'no'); } };
  const poisoned = creation({}, (payment) => { payment.amount = -1n; });
  const operations = [...Array.from({ length: 15 }, () => creation()), refused, poisoned, ...Array.from({ length: 15 }, () => creation())];

  const outcomes = await Promise.allSettled(operations.map((operation) => store.work.run(operation as never)));

  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(30);
  expect(outcomes[15]).toMatchObject({ status: 'rejected', reason: { reason: 'PAYMENT_NOT_FOUND' } });
  expect(outcomes[16]).toMatchObject({ status: 'rejected', reason: { message: expect.stringContaining('payment_amount_check') } });
  expect(await countPayments()).toBe(before + 30);
});

test('an operation that breaks in its own code fails alone', async () => {
  const broken = { decide: () => { throw new TypeError('a bug'); } };
  const outcomes = await Promise.allSettled([creation(), broken, creation()].map((operation) => store.work.run(operation as never)));
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(outcomes[1]).toMatchObject({ reason: { message: 'a bug' } });
});

test('two calls with one request id in one batch make one payment', async () => {
  const before = await countPayments();
  const input = registered('twice', 'body');
  const [first, second] = await Promise.all([createPayment(store.deps, input), createPayment(store.deps, input)]);
  expect(second.payment.id).toBe(first.payment.id);
  expect([first.replayed, second.replayed]).toEqual([false, true]);
  expect(await countPayments()).toBe(before + 1);
});

test('the same request id with another body is refused, in the same batch and later', async () => {
  const refused = { reason: 'REQUEST_ID_REUSED' };
  const [first, second] = await Promise.allSettled([
    createPayment(store.deps, registered('reused', 'one')),
    createPayment(store.deps, registered('reused', 'two')),
  ]);
  expect(first.status).toBe('fulfilled');
  expect(second).toMatchObject({ status: 'rejected', reason: refused });
  await expect(createPayment(store.deps, registered('reused', 'three'))).rejects.toMatchObject(refused);
});

test('two changes of one payment in one batch make two versions and two log entries in order', async () => {
  const payment = await store.work.run(creation());
  const change = (evidence: Parameters<typeof joinEvidence>[2]['evidence']) =>
    store.work.run({
      payments: [payment.id],
      decide: (view) => joinEvidence(view, view.payment(payment.id), { evidence, source: 'QUERY' }, view.act(ACTOR)),
    });
  await expect(Promise.all([change(heard('IN_PROGRESS')), change(paid(minutes(5), { merchantAccount: null }))])).resolves.toEqual(['APPLIED', 'APPLIED']);

  const log = await logOf(payment.id);
  expect(log.map(({ seq, version, status }) => [seq, version, status])).toEqual([
    [1, 1, 'PENDING'],
    [2, 2, 'PROCESSING'],
    [3, 3, 'SUCCEEDED'],
  ]);
  const stored = await store.deps.orm.em.fork().findOneOrFail(Payment, { id: payment.id });
  expect(findChainFault(log, { seq: stored.logSeq, hash: stored.logHash })).toBeNull();
});

test('a payment that is open again is asked about, and one that is settled no more', async () => {
  const payment = await store.work.run(creation());
  const due = async (): Promise<unknown[]> => (await store.deps.orm.em.fork().execute<{ due_at: string }[]>('select due_at from payment_sync where payment_id = ?', [payment.id])).map(({ due_at }) => new Date(due_at));
  const join = (evidence: Parameters<typeof joinEvidence>[2]['evidence']) =>
    store.work.run({
      payments: [payment.id],
      decide: (view) => {
        joinEvidence(view, view.payment(payment.id), { evidence, source: 'QUERY' }, view.act(ACTOR));
        return view.payment(payment.id);
      },
    });
  await store.work.run({ payments: [payment.id], decide: (view) => view.payment(payment.id).exhaust(view.refunds(view.payment(payment.id)), view.act(ACTOR)) });
  expect(await due()).toEqual([]);
  const { nextSyncAt } = await join(heard('AWAITING_BUYER', new Date(Date.now() + 1_000)));
  expect(nextSyncAt).toBeInstanceOf(Date);
  expect(await due()).toEqual([nextSyncAt]);
  expect(await join(paid(new Date(Date.now() + 2_000), { merchantAccount: null }))).toMatchObject({ nextSyncAt: null });
  expect(await due()).toEqual([]);
});

const UGLY = ['', 'NULL', '{}', '{"a",b}', 'a,"b"', '\\x41 \\', "o'hara; --", '\n\t\r', '茶 \u{1f375} \u2028', '$1 ?', ' '];

test('what is written is what is read, whatever it looks like, for every row of a batch', async () => {
  const written = await Promise.all(
    UGLY.map((text, at) =>
      store.work.run(
        creation({ subject: text, userId: text, metadata: { [`k${text}`]: text } }, (payment) => {
          payment.flags = at % 3 === 0 ? [] : at % 3 === 1 ? ['DUPLICATE_PAYMENT'] : ['DUPLICATE_PAYMENT', 'DEFECTIVE_SUCCESS'];
          payment.checkout = at % 2 === 0 ? null : { form: 'QR_TEXT', value: text };
          payment.amount = BigInt(at + 1) * 1_000_000_000n;
          payment.buyerId = at % 2 === 0 ? null : text;
        }),
      ),
    ),
  );
  for (const one of written) {
    const read = await store.deps.orm.em.fork().findOneOrFail(Payment, { id: one.id });
    expect({ ...read }).toEqual({ ...one });
  }
});

test('rows of one batch that differ in different columns keep each their own, and untouched ones stay', async () => {
  const payments = await Promise.all(Array.from({ length: 3 }, () => store.work.run(creation())));
  const [first, second, third] = payments.map(({ id }) => id) as [string, string, string];
  const change = (id: string, act: (payment: Payment) => void) => store.work.run({ payments: [id], decide: (view) => act(view.payment(id)) });
  await Promise.all([
    change(first, (payment) => { payment.subject = 'changed'; }),
    change(second, (payment) => { payment.flags = ['DUPLICATE_PAYMENT']; payment.buyerIp = '192.0.2.1'; }),
    change(third, () => undefined),
  ]);
  const read = async (id: string): Promise<Payment> => await store.deps.orm.em.fork().findOneOrFail(Payment, { id });
  expect(await read(first)).toMatchObject({ subject: 'changed', flags: [], buyerIp: null });
  expect(await read(second)).toMatchObject({ subject: 'tea', flags: ['DUPLICATE_PAYMENT'], buyerIp: '192.0.2.1' });
  expect({ ...(await read(third)) }).toEqual({ ...payments[2] });
});

test('a text that no database can hold costs its neighbours nothing', async () => {
  const outcomes = await Promise.allSettled([creation(), creation({ subject: 'a\u0000b' }), creation({ metadata: { a: '\u0000' } }), creation()].map((operation) => store.work.run(operation)));
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
});

test('nobody waits behind a transaction that hangs', async () => {
  const held = await store.work.run(creation());
  await using client = await connected(store.url);
  await client.query('begin');
  await client.query('select 1 from payment where id = $1 for update', [held.id]);
  const waiting = store.work.run({ payments: [held.id], decide: (view) => view.payment(held.id).id });
  await until(async () => (await client.query(`select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)).rowCount === 1);

  await store.work.run(creation());
  await client.query('commit');
  expect(await waiting).toBe(held.id);
});

test('a full queue refuses at once and names the reason', async () => {
  const small = new UnitOfWork(store.deps.orm, systemClock, { queueMax: 2 });
  const outcomes = await Promise.allSettled([creation(), creation(), creation()].map((operation) => small.run(operation)));
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  expect(outcomes[2]).toMatchObject({ reason: { reason: 'OVERLOADED', retryAfterMs: 200 } });
});

test('a caller that goes away drops its operation while it waits, and not afterwards', async () => {
  const gone = new AbortController();
  const before = await countPayments();
  const waiting = store.work.run(creation(), gone.signal);
  gone.abort(new Error('gone'));
  await expect(waiting).rejects.toThrow('gone');
  expect(await countPayments()).toBe(before);
});

test('a deadlock provoked from outside is retried', async () => {
  const [a, b] = (await Promise.all([store.work.run(creation()), store.work.run(creation())])).sort((x, y) => (x.id < y.id ? -1 : 1));
  const outside = new pg.Client(store.url);
  await outside.connect();
  try {
    // The outsider waits longer before it looks for deadlocks, so that the batch is the victim.
    await outside.query("set deadlock_timeout = '30s'");
    await outside.query('begin');
    await outside.query('select 1 from payment where id = $1 for update', [b.id]);
    let runs = 0;
    const change = store.work.run({
      payments: [a.id, b.id],
      decide: (view) => {
        runs += 1;
        return joinEvidence(view, view.payment(b.id), { evidence: heard('IN_PROGRESS'), source: 'QUERY' }, view.act(ACTOR));
      },
    });
    await until(async () => {
      const { rows } = await outside.query("select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()");
      return rows.length > 0;
    });
    await outside.query('select 1 from payment where id = $1 for update', [a.id]);
    await outside.query('commit');
    await expect(change).resolves.toBe('APPLIED');
    expect(runs).toBe(1);
  } finally {
    await outside.end();
  }
});

test.each([
  { when: 'before the database saw it', cut: 'drop-and-cut' },
  { when: 'after the database saw it', cut: 'pass-then-cut' },
] as const)('a connection cut during COMMIT, $when, is answered truthfully', async ({ cut }) => {
  const target = new URL(store.url);
  await using proxy = await startTcpProxy({ target: { host: '127.0.0.1', port: Number(target.port) } });
  target.port = String(proxy.port);
  const orm = await openOrm(target.href);
  try {
    const work = new UnitOfWork(orm, systemClock);
    await work.run(creation());

    let cuts = 0;
    proxy.onClientData((chunk) => {
      if (cuts > 0 || !isCommit(chunk)) return 'pass';
      cuts += 1;
      return cut;
    });
    let decided = 0;
    const operation = creation();
    const payment = await work.run({ ...operation, decide: (view) => { decided += 1; return operation.decide(view); } });

    expect(cuts).toBe(1);
    // Lost before: the batch ran again. Seen by the database: the first run counted and nothing ran twice.
    expect(decided).toBe(cut === 'drop-and-cut' ? 2 : 1);
    const stored = await store.deps.orm.em.fork().findOneOrFail(Payment, { id: payment.id });
    expect(stored.version).toBe(1);
  } finally {
    await orm.close(true);
  }
});

test('the log refuses UPDATE, DELETE and TRUNCATE', async () => {
  const payment = await store.work.run(creation());
  const client = new pg.Client(store.url);
  await client.connect();
  try {
    for (const statement of [
      `update payment_log set reason = 'rewritten' where payment_id = '${payment.id}'`,
      `delete from payment_log where payment_id = '${payment.id}'`,
      'truncate payment_log',
    ]) {
      await expect(client.query(statement)).rejects.toThrow('payment_log is append-only');
    }
  } finally {
    await client.end();
  }
});

test.each([
  ['more reserved than paid', "update payment set reserved_amount = 1 where id = $1", 'payment_never_over_refunded'],
  ['a negative refund sum', 'update payment set refunded_amount = -1 where id = $1', 'refunded_amount'],
  ['a review without a reason', "update payment set status = 'REVIEW' where id = $1", 'payment_review_has_reason'],
  ['an unknown status', "update payment set status = 'DONE' where id = $1", 'status_check'],
])('the database itself refuses %s', async (_what, statement, constraint) => {
  const payment = await store.work.run(creation());
  const client = new pg.Client(store.url);
  await client.connect();
  try {
    await expect(client.query(statement, [payment.id])).rejects.toThrow(constraint);
  } finally {
    await client.end();
  }
});

function registered(requestId: string, bodyHash: string): CreatePayment {
  return {
    request: { method: 'CreatePayment', requestId, bodyHash },
    actor: ACTOR,
    appId: 'shop',
    orderId: requestId,
    userId: '',
    platform: 'WECHATPAY',
    merchantAccount: 'shop-account',
    amount: CNY(10_000n),
    subject: 'tea',
    metadata: {},
    expireAt: null,
    kind: { origin: 'REGISTERED', merchantOrderNo: `no-${requestId}`, platformOrderTime: '', platformTransactionId: null },
  };
}
