/** Watches of the client: nothing is lost and nothing comes twice, whatever happens to servers, connections and consumers. */
import { jest } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { createClient, type PaystateClient } from '../../src/client/client.js';
import { PaystateError } from '../../src/client/errors.js';
import { paymentRef } from '../../src/client/payment-ref.js';
import type { WatchItem } from '../../src/client/watch-item.js';
import type { WatchRequest } from '../../src/client/watch-request.js';
import type { Reconnect, WatchOptions } from '../../src/client/watch.js';
import { PaymentStatus } from '../../src/gen/payment/v1/payment.js';
import { startTestApp, type TestApp } from '../support/app.js';
import { freshDatabase, type FreshDatabase } from '../support/database.js';
import { registered, reported } from '../support/requests.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';
import { bare, bookmark, created, events, goodbye, refusal, script, startScriptedServer, type UnaryScript, type WatchScript } from './scripted-server.js';

let database: FreshDatabase;
let near: TestApp;
let far: TestApp;
let proxy: TcpProxy;
let client: PaystateClient;
beforeAll(async () => {
  database = await freshDatabase();
  [near, far] = await Promise.all([startTestApp({ databaseUrl: database.url, manualSync: true }), startTestApp({ databaseUrl: database.url, manualSync: true })]);
  proxy = await startTcpProxy({ target: { host: '127.0.0.1', port: near.app.grpcPort } });
  client = createClient({ address: `127.0.0.1:${proxy.port}`, caller: 'shop' });
});
beforeEach(() => proxy.redirect({ host: '127.0.0.1', port: near.app.grpcPort }));
afterEach(() => proxy.resume());
afterAll(async () => {
  client.close();
  await proxy.close();
  await Promise.all([near, far].map((app) => app[Symbol.asyncDispose]()));
  await database[Symbol.asyncDispose]();
});

/** Payments of one user, and a consumer that follows them. */
function follow(wish: WatchRequest = {}, options: WatchOptions = {}, by = client) {
  const userId = randomUUID();
  const leaving = new AbortController();
  const [ids, items, reconnects]: [string[], WatchItem[], Reconnect[]] = [[], [], []];
  const onReconnect = (reconnect: Reconnect): void => void reconnects.push(reconnect);
  const made: string[] = [];
  const done = (async () => {
    const watching = by.watch({ from: 'EARLIEST', filter: { userIds: [userId] }, ...wish }, { signal: leaving.signal, onReconnect, backoff: { firstMs: 5, maxMs: 20 }, ...options });
    for await (const item of watching) {
      items.push(item);
      if (item.kind === 'events') ids.push(...item.events.map(({ eventId }) => eventId));
    }
  })();
  // Whoever waits for it hears of its failure; until then it is nobody's.
  done.catch(() => undefined);
  return {
    ids,
    items,
    reconnects,
    done,
    connected: (times = 1) => until(() => items.filter(({ kind }) => kind === 'connected').length >= times),
    /** Makes so many payments and pays them, at either server; resolves when all of it was heard of. */
    async changes(count: number): Promise<void> {
      for (let index = 0; index < count; index++) {
        const { payments } = index % 2 === 0 ? near : far;
        const { payment } = await payments.createPayment(registered({ userId }));
        made.push(`${payment!.paymentId}:1`);
        await payments.updatePaymentStatus(reported(payment!.paymentId));
        made.push(`${payment!.paymentId}:2`);
      }
      await until(() => ids.length >= made.length);
      expect(ids).toEqual(made);
    },
    async leave(): Promise<void> {
      leaving.abort();
      await done;
    },
  };
}

test('connections are cut again and again: every change comes once, in order', async () => {
  const following = follow();
  await following.connected();
  for (let round = 1; round <= 4; round++) {
    const changing = following.changes(2);
    proxy.cutAll();
    await changing;
    await following.connected(round + 1);
  }
  expect(following.reconnects.every(({ error }) => error?.code === status.UNAVAILABLE)).toBe(true);
  await following.leave();
});

test('a server is drained, nobody is there for a while, and the watch goes on at the next one', async () => {
  const going = await startTestApp({ databaseUrl: database.url, manualSync: true });
  proxy.redirect({ host: '127.0.0.1', port: going.app.grpcPort });
  using own = createClient({ address: `127.0.0.1:${proxy.port}`, caller: 'drained' });
  const following = follow({}, {}, own);
  await following.changes(1);

  await going[Symbol.asyncDispose]();
  await until(() => following.reconnects.length > 0);
  expect(following.reconnects[0]).toMatchObject({ error: undefined, cursor: expect.any(String) });
  const changing = following.changes(2);
  proxy.redirect({ host: '127.0.0.1', port: near.app.grpcPort });
  await changing;
  await following.leave();
});

test('a connection that swallows everything is given up after the silence, and calls leave it, too', async () => {
  const following = follow({ bookmarkIntervalMs: 1_000 }, { silenceMaxMs: 400 });
  await following.changes(1);
  proxy.freeze();
  const [before, known] = [[...proxy.connections], following.reconnects.length];
  const { payment } = await near.payments.createPayment(registered());
  await until(() => following.reconnects.length > known);

  // The old connections stay dead; only new ones get through.
  proxy.resume();
  for (const connection of before) connection.freeze();
  await following.changes(1);
  expect(following.reconnects[known]).toMatchObject({ error: { code: status.UNAVAILABLE, details: expect.stringContaining('400 ms') } });
  expect((await client.payments.getPayment({ ref: paymentRef(payment!.paymentId) })).payment!.paymentId).toBe(payment!.paymentId);
  await following.leave();
});

test('waiting for a payment survives a cut and ends with the status', async () => {
  const { payment } = await near.payments.createPayment(registered());
  const waiting = client.waitFor(payment!.paymentId);
  await until(() => proxy.connections.size > 0);
  proxy.cutAll();
  await far.payments.updatePaymentStatus(reported(payment!.paymentId));
  expect((await waiting).status).toBe(PaymentStatus.PAYMENT_STATUS_SUCCEEDED);

  const leaving = new AbortController();
  const { payment: other } = await near.payments.createPayment(registered());
  const left = client.waitFor(other!.paymentId, { signal: leaving.signal });
  leaving.abort(new Error('the user left'));
  await expect(left).rejects.toThrow('the user left');
});

test('a consumer that stops in the middle finds everything after what it finished, at another server', async () => {
  const following = follow();
  await following.changes(5);
  await following.leave();

  // It fails at the fourth item; only the first three are behind the stored cursor.
  let stored: string | null = null;
  const finished: string[] = [];
  let handled = 0;
  const consume = async (by: PaystateClient, failAt: number): Promise<void> => {
    const userIds = [(await near.payments.getPayment({ ref: paymentRef(following.ids[0]!.split(':')[0]!), view: 0 })).payment!.userId];
    for await (const item of by.watch({ after: stored, from: 'EARLIEST', filter: { userIds }, maxEventsPerMessage: 1, stopAtHead: true })) {
      if (item.kind !== 'events') continue;
      if (++handled === failAt) throw new Error('the effect failed');
      finished.push(item.events[0]!.eventId);
      stored = item.cursor;
    }
  };
  await expect(consume(client, 4)).rejects.toThrow('the effect failed');
  expect(finished).toEqual(following.ids.slice(0, 3));
  using other = createClient({ address: far.address, caller: 'elsewhere' });
  await consume(other, Infinity);
  expect(finished).toEqual(following.ids);
});

test('leaving the loop, the signal and closing the client end the watch at the server', async () => {
  const openWatches = async () => Number((await near.operations.getSystemHealth({})).feed!.openWatches);
  await until(async () => (await openWatches()) === 0);
  using own = createClient({ address: near.address, caller: 'leaving' });
  const signalled = follow({}, {}, own);
  await signalled.connected();
  for await (const item of own.watch()) {
    expect(item.kind).toBe('connected');
    await until(async () => (await openWatches()) === 2);
    break;
  }
  await until(async () => (await openWatches()) === 1);
  await signalled.leave();
  await until(async () => (await openWatches()) === 0);

  const closed = follow({}, {}, own);
  await closed.connected();
  own.close();
  await closed.done;
  await until(async () => (await openWatches()) === 0);
});

test('a call that is left in the turn in which it began leaves nothing at the server', async () => {
  const ended: string[] = [];
  const never: UnaryScript = (call) => {
    call.on('cancelled', () => ended.push(call.getPath()));
    return null;
  };
  await using server = await startScriptedServer({ unary: [() => ({ payments: [], nextPageToken: '' }), never] });
  using own = createClient({ address: server.address, caller: 'leaving' });
  // From here on there is a connection.
  await own.payments.listPayments({});
  const leaving = new AbortController();
  const left = own.waitFor(randomUUID(), { signal: leaving.signal });
  leaving.abort(new Error('the user left'));
  await expect(left).rejects.toThrow('the user left');
  await until(() => ended.length === 1);
});

describe('at a server that says odd things', () => {
  /** What a watch tells of a server that plays these scripts, one an attempt. */
  async function told(scripts: readonly WatchScript[], options: WatchOptions = {}, wish: WatchRequest = {}) {
    await using server = await startScriptedServer({ watches: scripts });
    using own = createClient({ address: server.address, caller: 'shop' });
    const [ids, reconnects]: [string[], Reconnect[]] = [[], []];
    let failure: PaystateError | undefined;
    try {
      const onReconnect = (reconnect: Reconnect): void => void reconnects.push(reconnect);
      for await (const item of own.watch({ stopAtHead: true, ...wish }, { backoff: { firstMs: 1, maxMs: 2 }, onReconnect, ...options })) {
        if (item.kind === 'events') ids.push(...item.events.map(({ eventId }) => eventId));
      }
    } catch (error) {
      failure = error as PaystateError;
    }
    const starts = server.watches.map(({ start }) => (start?.$case === 'afterCursor' ? Buffer.from(start.value).toString('base64url') : start?.value));
    return { ids, starts, reconnects, failure };
  }
  const rest = script([created('cccc'), events('dddd', 'tea:3')], 'OK');

  test.each([
    ['CANCELLED that nobody here asked for', bare(status.CANCELLED, 'Call cancelled')],
    ['a reset stream', bare(status.INTERNAL, 'Received RST_STREAM with code 2 (Internal server error)')],
    ['a slow consumer', refusal('SLOW_CONSUMER', { metadata: { cursor: 'zzzz', behind: '7' } })],
    ['too many watches', refusal('OVERLOADED', { retryAfterMs: 3 })],
    ['a lost database', refusal('STORE_UNAVAILABLE')],
  ])('%s is no end', async (_, error) => {
    const { ids, starts, failure, reconnects } = await told([script([created('aaaa'), events('bbbb', 'tea:1', 'tea:2')], error), rest]);
    expect({ ids, starts, failure }).toEqual({ ids: ['tea:1', 'tea:2', 'tea:3'], starts: [1, 'bbbb'], failure: undefined });
    expect(reconnects).toMatchObject([{ error: { code: error.code }, cursor: 'bbbb' }]);
  });

  test('a server that says nothing any more is left', async () => {
    const still = script([created('aaaa'), events('bbbb', 'tea:1')], 'SILENCE');
    // A slow machine may take the time of connecting for silence, too.
    const either: WatchScript = (stream) => (stream.request.start?.$case === 'afterCursor' ? rest : still)(stream);
    const { ids, starts, reconnects } = await told([either], { silenceMaxMs: 50 });
    expect([ids, new Set(starts)]).toEqual([['tea:1', 'tea:3'], new Set([1, 'bbbb'])]);
    expect(reconnects.at(-1)!.error?.details).toBe('nothing was heard for 50 ms; the connection is given up');
  });

  test('an end in peace that was not asked for is no end either', async () => {
    const { ids } = await told([script([events('bbbb', 'tea:1')], 'OK'), script([events('cccc', 'tea:2')], refusal('PAYMENT_NOT_FOUND'))], {}, { stopAtHead: false });
    expect(ids).toEqual(['tea:1', 'tea:2']);
  });

  test('a goodbye says how long to stay away', async () => {
    const { ids, reconnects, starts } = await told([script([created('aaaa'), events('bbbb', 'tea:1'), goodbye('cccc', 20)], refusal('SERVER_DRAINING')), rest]);
    expect([ids, starts]).toEqual([['tea:1', 'tea:3'], [1, 'cccc']]);
    expect(reconnects).toMatchObject([{ error: undefined, cursor: 'cccc' }]);
    expect(reconnects[0]!.delayMs).toBeGreaterThanOrEqual(20);
  });

  test('what comes again is dropped, as far as the memory goes, and its position still counts', async () => {
    const again = [
      script([events('bbbb', 'tea:1', 'tea:2')], bare(status.UNAVAILABLE)),
      script([events('cccc', 'tea:1'), events('dddd', 'tea:2', 'tea:3')], bare(status.UNAVAILABLE)),
      script([], 'OK'),
    ];
    expect(await told(again)).toMatchObject({ ids: ['tea:1', 'tea:2', 'tea:3'], starts: [1, 'bbbb', 'dddd'] });
    const small = [script([events('bbbb', 'tea:1', 'cup:1')], bare(status.UNAVAILABLE)), script([events('cccc', 'tea:1', 'tea:1')], 'OK')];
    expect((await told(small, { rememberedPaymentsMax: 1 })).ids).toEqual(['tea:1', 'cup:1', 'tea:1']);
  });

  test('pauses grow while nothing comes, and start over with progress', async () => {
    const dead = script([created('aaaa')], bare(status.UNAVAILABLE));
    const alive = script([bookmark('bbbb')], bare(status.UNAVAILABLE));
    const random = jest.spyOn(Math, 'random').mockReturnValue(0.5);
    const { reconnects } = await told([dead, dead, dead, alive, dead, script([], 'OK')], { backoff: { firstMs: 2, maxMs: 6 } });
    random.mockRestore();
    expect(reconnects.map(({ delayMs }) => delayMs)).toEqual([1, 2, 3, 1, 2]);
  });

  test.each([
    ['a bug of the server', refusal('INTERNAL')],
    ['a refused caller', refusal('CALLER_NOT_ALLOWED')],
    ['a message that is too large', bare(status.RESOURCE_EXHAUSTED, 'Received message larger than max (5 vs. 4)')],
    ['an expired cursor', refusal('CURSOR_EXPIRED', { metadata: { earliest_cursor: 'eeee' } })],
    ['a lost history', refusal('FEED_HISTORY_DIVERGED', { metadata: { safe_cursor: 'ssss', epoch: '2' } })],
  ])('%s is for the consumer', async (_, error) => {
    const { failure, ids } = await told([script([events('bbbb', 'tea:1')], error), rest]);
    expect(failure).toBeInstanceOf(PaystateError);
    expect([failure?.code, ids]).toEqual([error.code, ['tea:1']]);
  });

  test('a consumer may choose a snapshot after an expired cursor', async () => {
    const { starts, failure } = await told([script([], refusal('CURSOR_EXPIRED')), rest], { onExpired: 'snapshot' }, { after: 'aaaa' });
    expect([starts, failure]).toEqual([['aaaa', 3], undefined]);
  });

  test('a consumer may choose to go on where both histories agree; versions that are given again are news', async () => {
    const lost = refusal('FEED_HISTORY_DIVERGED', { metadata: { safe_cursor: 'ssss', epoch: '2' } });
    const { ids, starts, reconnects } = await told([script([events('bbbb', 'tea:1', 'tea:2')], lost), script([events('cccc', 'tea:2')], 'OK')], { onDiverged: 'resume' });
    expect([ids, starts]).toEqual([['tea:1', 'tea:2', 'tea:2'], [1, 'ssss']]);
    expect(reconnects[0]!.error).toMatchObject({ reason: 'FEED_HISTORY_DIVERGED' });
  });

  test('a slow consumer holds the server back, and nothing is piled up for it', async () => {
    const [total, sent] = [2_000, { count: 0, blocked: false }];
    const flood: WatchScript = (stream) => {
      const more = (): void => {
        while (sent.count < total) {
          sent.blocked = !stream.write(events('bbbb', `tea-${'x'.repeat(1_000)}:${++sent.count}`));
          if (sent.blocked) return void stream.once('drain', more);
        }
        stream.end();
      };
      more();
    };
    await using server = await startScriptedServer({ watches: [flood] });
    using own = createClient({ address: server.address, caller: 'slow' });
    let seen = 0;
    for await (const item of own.watch({ stopAtHead: true })) {
      if (item.kind === 'events' && ++seen === 1) {
        let before = -1;
        // Held back for good: nothing moves any more while a call to the same server comes and goes.
        await until(async () => {
          const still = sent.blocked && sent.count === before;
          before = sent.count;
          for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
          return still;
        });
        expect(sent.count).toBeLessThan(total / 4);
      }
    }
    expect(seen).toBe(total);
  });
});
