import type { Feed } from '../../src/feed/feed.js';
import type { WatchMessage } from '../../src/feed/watch.js';
import { after, create, only, openBench, read, report, wish, type Bench } from './bench.js';

/** What a client knows: for each payment the newest version. */
class Ledger {
  readonly payments = new Map<string, { version: number; status: string }>();

  apply(message: WatchMessage): void {
    if (message.kind === 'snapshot') for (const { id, version, status } of message.payments) this.learn(id, { version, status });
    if (message.kind === 'events') for (const { paymentId, version, status } of message.events) this.learn(paymentId, { version, status });
  }

  private learn(id: string, item: { version: number; status: string }): void {
    if (item.version > (this.payments.get(id)?.version ?? 0)) this.payments.set(id, item);
  }
}

async function table(bench: Bench): Promise<Map<string, { version: number; status: string }>> {
  const rows = await bench.sql<{ id: string; version: number; status: string }>('select id, version, status from payment');
  return new Map(rows.map(({ id, version, status }) => [id, { version, status }]));
}

const SNAPSHOT = { start: { kind: 'SNAPSHOT' }, eventsPerMessageMax: 10 } as const;

test('a snapshot with writers running ends in the state of the table', async () => {
  await using bench = await openBench();
  const payments = await Promise.all(Array.from({ length: 100 }, () => create(bench.deps)));
  let writing = true;
  const writers = [bench.deps, await bench.anotherWriter()].map(async (deps, half) => {
    for (let index = half; index < payments.length; index += 2) {
      await report(deps, payments[index]!, 'PROCESSING');
      await create(deps);
      await report(deps, payments[index]!, 'SUCCEEDED');
    }
  });
  const done = Promise.all(writers).finally(() => (writing = false));

  const ledger = new Ledger();
  const pagesDuringWriting: boolean[] = [];
  let complete: WatchMessage | null = null;
  for await (const message of await bench.feed.watch(wish(SNAPSHOT))) {
    ledger.apply(message);
    if (message.kind === 'snapshot') pagesDuringWriting.push(writing);
    if (message.kind === 'bookmark' && message.snapshotComplete) complete = message;
    if (complete !== null) break;
  }
  expect(pagesDuringWriting[0]).toBe(true);
  await done;
  for (const message of await read(bench.feed, { start: after(complete!) })) ledger.apply(message);
  expect(ledger.payments).toEqual(await table(bench));
});

test('a snapshot that breaks after any message resumes there, on another replica too', async () => {
  await using bench = await openBench();
  const payments = await Promise.all(Array.from({ length: 45 }, () => create(bench.deps)));
  const feeds: Feed[] = [bench.feed, await bench.anotherFeed()];

  const ledger = new Ledger();
  const messages: WatchMessage[] = [];
  let resume: WatchMessage | null = null;
  for (let round = 0; messages.at(-1)?.kind !== 'bookmark'; round++) {
    const watch: AsyncIterator<WatchMessage> = await feeds[round % 2]!.watch(wish(resume === null ? SNAPSHOT : { ...SNAPSHOT, start: after(resume) }));
    await watch.next();
    const { value } = (await watch.next()) as { value: WatchMessage };
    await watch.return!();
    ledger.apply(value);
    messages.push(value);
    resume = value;
    // Something happens to a payment that was sent and to one that was not.
    if (round < 5) await report(bench.deps, payments[round]!, 'SUCCEEDED');
    if (round < 5) await report(bench.deps, payments[44 - round]!, 'CLOSED');
  }

  expect(only(messages, 'snapshot').map((message) => message.payments.length)).toEqual([10, 10, 10, 10, 5]);
  expect(messages.at(-1)).toMatchObject({ kind: 'bookmark', snapshotComplete: true });
  expect(ledger.payments).toEqual(await table(bench));
});

test('a filtered snapshot has what matches now and then the changes that match', async () => {
  await using bench = await openBench();
  const [tea, coffee] = [await create(bench.deps, { appId: 'tea' }), await create(bench.deps, { appId: 'coffee' })];
  await report(bench.deps, coffee, 'SUCCEEDED');
  const messages = await read(bench.feed, { start: { kind: 'SNAPSHOT' }, filter: { appIds: ['tea'], statuses: ['PENDING'] } });
  expect(messages.map(({ kind }) => kind)).toEqual(['created', 'snapshot', 'bookmark', 'bookmark']);
  expect(only(messages, 'snapshot').flatMap(({ payments }) => payments.map(({ id }) => id))).toEqual([tea.id]);
});

test('an empty table has an empty snapshot', async () => {
  await using bench = await openBench();
  const messages = await read(bench.feed, SNAPSHOT);
  expect(messages.map(({ kind }) => kind)).toEqual(['created', 'bookmark', 'bookmark']);
});
