/**
 * What the status feed bears: `npm run bench:feed -- [--quick] [--json FILE]`.
 *
 * The service runs in a process of its own on a durable database; this process writes and watches. Both share the machine, so that the
 * figures are those of a small machine that does everything. Fails where a bound is missed; with --quick all is smaller and none is held.
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import * as grpc from '@grpc/grpc-js';
import { promised } from '../src/cli/promised.js';
import { PaymentServiceClient, WatchPaymentsRequest, WatchStart, WatchView } from '../src/gen/payment/v1/payment_service.js';
import { connected } from '../test/support/pg-client.js';
import { registered } from '../test/support/requests.js';
import { recordChanges } from './feed/history.js';
import type { WatcherTask } from './feed/latency-watcher.js';
import { measureSequencerCost } from './feed/sequencer-cost.js';
import { changesIn, openWatches } from './feed/watches.js';
import { startService, type Service } from './service.js';

const { values: given } = parseArgs({ options: { quick: { type: 'boolean', default: false }, json: { type: 'string' }, only: { type: 'string' } } });
const isQuick = given.quick;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const results: Record<string, number> = {};
const missed: string[] = [];

/** At most, or at least, so much. */
function hold(name: string, value: number, bound: { max?: number; min?: number }): void {
  results[name] = value;
  if (bound.max !== undefined && value > bound.max) missed.push(`${name} is ${value}, at most ${bound.max}`);
  if (bound.min !== undefined && value < bound.min) missed.push(`${name} is ${value}, at least ${bound.min}`);
}

const PARTS: Record<string, () => Promise<void>> = { latency, idle, busy, stalled, catchUp, sequencer };
for (const [name, part] of Object.entries(PARTS)) if (given.only === undefined || given.only === name) await part();
if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(results, null, 2)}\n`);
for (const one of missed) say(`${isQuick ? 'beyond   ' : 'FAILED   '} ${one}`);
process.exit(missed.length > 0 && !isQuick ? 1 : 0);

/**
 * From the commit, by the database's clock, to the message in another process, by the same machine's; and to the answer of whoever made the
 * change, which shows how much of it is the machine's.
 */
async function latency(): Promise<void> {
  const [seconds, perSecond] = [isQuick ? 3 : 20, 1_000];
  await using service = await startService({}, { track_commit_timestamp: 'on', min_wal_size: '1GB' });
  await using client = await connected(service.databaseUrl);
  // A database that has run for a while writes its log into files that it has used before; making a new one stops everybody for 30 ms.
  await recordChanges(client, 100_000);
  await client.query('checkpoint');

  const answered = new Map<string, number>();
  const watcher = new Worker(new URL('./feed/latency-watcher.js', import.meta.url), {
    workerData: { address: service.address, appId: 'live', changes: perSecond * seconds } satisfies WatcherTask,
  });
  await once(watcher, 'message');
  // A service that has just been started compiles its code.
  await makeChanges(service, { appId: 'warm', perSecond, seconds: isQuick ? 2 : 15 });
  const listening = once(watcher, 'message') as Promise<[Map<string, number>]>;
  const made = await makeChanges(service, { appId: 'live', perSecond, seconds, onMade: (id) => void answered.set(`${id}:1`, now()) });
  const [heard] = await listening;

  const { rows } = await client.query<{ id: string; at: string }>(
    `select payment_id || ':' || version as id, (extract(epoch from pg_xact_commit_timestamp(xid::xid)) * 1000)::text as at from payment_log where app_id = 'live' and version is not null`,
  );
  const told = (name: string, times: ReadonlyMap<string, number>): { p50: number; p99: number } => {
    const delays = rows.map(({ id, at }) => times.get(id)! - Number(at)).sort((a, b) => a - b);
    const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => delays[Math.floor(delays.length * share)]!);
    say(`latency   ${Math.round(made / seconds)} changes a second, commit to ${name} p50 ${p50!.toFixed(1)} ms, p90 ${p90!.toFixed(1)} ms, p99 ${p99!.toFixed(1)} ms`);
    return { p50: p50!, p99: p99! };
  };
  const [delivery, caller] = [told('watcher', heard), told('caller ', answered)];
  hold('delivered_p50_ms', delivery.p50, { max: 3 });
  hold('delivered_p99_ms', delivery.p99, { max: 15 });
  hold('answered_p50_ms', caller.p50, {});
  hold('answered_p99_ms', caller.p99, {});
  await watcher.terminate();
}

/** Many watches with nothing to say, and then one change for all of them. */
async function idle(): Promise<void> {
  const count = isQuick ? 2_000 : 10_000;
  await using service = await startService({});
  await makeChanges(service, { appId: 'warm', perSecond: 200, seconds: 1 });
  // What the first thousand take is the process's own: compiled code, and room in the heap that is used again.
  const first = openWatches(service.address, 1_000, () => watch({ filter: { appIds: ['warm'] } }));
  await first.open;
  first.close();
  await wait(1_000);
  const before = memoryOf(service);
  const lastAt = new Float64Array(count);
  const watches = openWatches(service.address, count, () => watch({ bookmarkInterval: { seconds: 60n, nanos: 0 } }), (at, bytes) => {
    if (changesIn(bytes) > 0) lastAt[at] = performance.now();
  });
  await watches.open;
  await wait(3_000);
  const each = (memoryOf(service) - before) / count;
  hold('idle_watch_kb', each / 1_024, { max: 12 });
  say(`idle      ${count} watches, ${(each / 1_024).toFixed(1)} kB each on the server`);

  const delays: number[] = [];
  for (let round = 0; round < (isQuick ? 3 : 10); round += 1) {
    lastAt.fill(0);
    const began = performance.now();
    await makeChanges(service, { appId: 'all', perSecond: 1, seconds: 1 });
    await until(() => lastAt.every((at) => at > 0));
    delays.push(Math.max(...lastAt) - began);
    await wait(300);
  }
  delays.sort((a, b) => a - b);
  const median = delays[Math.floor(delays.length / 2)]!;
  hold('reached_all_ms', median, { max: 200 });
  say(`one       change reaches all ${count} of them ${median.toFixed(0)} ms after it was asked for (${delays.map((ms) => ms.toFixed(0)).join(', ')})`);
  watches.close();
}

/** A busy feed: many watches read the same changes, twenty in a message. */
async function busy(): Promise<void> {
  const [count, changes] = [100, isQuick ? 4_000 : 20_000];
  await using service = await startService({});
  await using client = await connected(service.databaseUrl);
  await recordChanges(client, changes);
  const from = watch({ start: { $case: 'startAt', value: WatchStart.WATCH_START_EARLIEST }, maxEventsPerMessage: 20 });
  for (const isMeasured of [false, true]) {
    let delivered = 0;
    const began = performance.now();
    const watches = openWatches(service.address, count, () => from, (_at, bytes) => (delivered += changesIn(bytes)));
    await until(() => delivered >= count * changes);
    const perSecond = delivered / ((performance.now() - began) / 1_000);
    watches.close();
    if (!isMeasured) continue;
    hold('busy_deliveries_per_second', perSecond, { min: 300_000 });
    say(`busy      ${Math.round(perSecond)} changes a second delivered to ${count} watches, 20 in a message`);
  }
}

/** Watches whose clients have stopped reading. */
async function stalled(): Promise<void> {
  const [count, changes] = [100, isQuick ? 20_000 : 100_000];
  await using service = await startService({});
  await using client = await connected(service.databaseUrl);
  await recordChanges(client, changes);
  const earliest = watch({ start: { $case: 'startAt', value: WatchStart.WATCH_START_EARLIEST } });
  let read = 0;
  const reading = openWatches(service.address, 1, () => earliest, (_at, bytes) => (read += changesIn(bytes)));
  await until(() => read >= changes);
  const before = memoryOf(service);
  const watches = openWatches(service.address, count, () => earliest);
  await watches.open;
  for (const call of watches.calls) call.pause();
  await wait(4_000);
  const each = (memoryOf(service) - before) / count;
  hold('stalled_client_kb', each / 1_024, { max: 1_024 });
  say(`stalled   ${count} clients that read no more, ${(each / 1_024).toFixed(0)} kB each on the server`);
  watches.close();
  reading.close();
}

/** One watch that has everything before it. */
async function catchUp(): Promise<void> {
  const changes = isQuick ? 100_000 : 1_000_000;
  await using service = await startService({}, { max_wal_size: '4GB' });
  await using client = await connected(service.databaseUrl);
  await recordChanges(client, changes);
  const before = memoryOf(service);
  // The first quarter fills what is kept, and the heap's own room; flat is what comes after it.
  let [read, filled, peak] = [0, 0, 0];
  const sampling = setInterval(() => {
    const memory = memoryOf(service);
    if (read < changes / 4) filled = Math.max(filled, memory);
    else peak = Math.max(peak, memory);
  }, 50);
  const began = performance.now();
  const watches = openWatches(service.address, 1, () => watch({ start: { $case: 'startAt', value: WatchStart.WATCH_START_EARLIEST }, maxEventsPerMessage: 1_000 }), (_at, bytes) => (read += changesIn(bytes)));
  await until(() => read >= changes);
  const perSecond = changes / ((performance.now() - began) / 1_000);
  clearInterval(sampling);
  watches.close();
  hold('catch_up_per_second', perSecond, { min: 50_000 });
  const [first, rest] = [(filled - before) / 1_024 ** 2, (peak - filled) / 1_024 ** 2];
  hold('catch_up_first_quarter_mb', first, { max: 256 });
  hold('catch_up_growth_mb', rest, { max: 64 });
  say(`catch-up  ${changes} changes at ${Math.round(perSecond)} a second; the service grew by ${first.toFixed(0)} MB in the first quarter and by ${rest.toFixed(0)} MB after it`);
}

async function sequencer(): Promise<void> {
  const { plain, sequenced } = await measureSequencerCost({ rounds: isQuick ? 1 : 4, seconds: isQuick ? 1 : 4 });
  const cost = 1 - sequenced / plain;
  hold('sequencer_cost', cost, { max: 0.25 });
  say(`sequencer ${Math.round(plain)} changes a second without it, ${Math.round(sequenced)} with it: ${(cost * 100).toFixed(0)} % of the peak`);
}

function watch(changes: Partial<WatchPaymentsRequest> | { filter: object }): WatchPaymentsRequest {
  return WatchPaymentsRequest.fromPartial({ view: WatchView.WATCH_VIEW_STATUS, ...changes });
}

/** Creations at an even pace. Returns how many. */
async function makeChanges(
  service: Service,
  { appId, perSecond, seconds, onMade = () => undefined }: { appId: string; perSecond: number; seconds: number; onMade?: (paymentId: string) => void },
): Promise<number> {
  const count = perSecond * seconds;
  const client = new PaymentServiceClient(service.address, grpc.credentials.createInsecure());
  const { createPayment } = promised(client, { deadlineMs: 10_000 });
  const began = performance.now();
  let [sent, failed]: [number, Error | null] = [0, null];
  const underway = new Set<Promise<void>>();
  while (sent < count) {
    const due = Math.min(count, Math.ceil(((performance.now() - began) / 1_000) * perSecond));
    for (; sent < due; sent += 1) {
      // Answers are dropped at once: a pause of this process to collect them would be measured as the service's.
      const call: Promise<void> = createPayment(registered({ appId })).then(({ payment }) => onMade(payment!.paymentId), (error: Error) => void (failed = error)).finally(() => underway.delete(call));
      underway.add(call);
    }
    await wait(1);
  }
  await Promise.all(underway);
  client.close();
  if (failed !== null) throw failed as Error;
  return count;
}

function now(): number {
  return performance.timeOrigin + performance.now();
}

/** Resident, in bytes. */
function memoryOf({ pid }: Service): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024;
}

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await wait(1);
}
