/**
 * A process that is killed at any step leaves what another one finishes: the same numbers, no second order, no second refund. Each story
 * is told once without a crash; then a process is killed while one payment stands at each of the crossings that this one went over.
 */
import type pg from 'pg';
import { startSimulators, type Simulators } from '../../src/simulator/simulators.js';
import type { TestApp } from '../support/app.js';
import { Crossings } from '../support/crossings.js';
import { isRequest, ManualClock, MINUTE, Scene, SECOND, Telling, type Act, type PlatformKey, type Request } from './scene.js';

interface Story {
  readonly acts: readonly Act[];
  /** How many of the acts are told before anybody is killed: other stories are killed in these. */
  readonly undisturbed: number;
}

const STORIES: Readonly<Record<string, Story>> = {
  'paid, notified, partly refunded, notified': { acts: ['create', 'buyer pays', 'platform notifies', 'refund', 'platform notifies'], undisturbed: 0 },
  'paid and partly refunded, and nobody tells': { acts: ['create', 'buyer pays', 'ten minutes', 'refund', 'ten minutes'], undisturbed: 1 },
  'never paid': { acts: ['create'], undisturbed: 0 },
  'never paid, and closed by its caller': { acts: ['create', 'close'], undisturbed: 1 },
  'never paid, and closed at its expiry': { acts: ['create', 'until it expires', 'until it is forgotten'], undisturbed: 1 },
};

/** The caller asks again, or is never heard of again; or the buyer pays while nobody is there, and then the caller asks again. */
const AFTERMATHS = ['asked again', 'silence', 'paid meanwhile'] as const;

interface Killed {
  readonly aftermath: (typeof AFTERMATHS)[number];
  readonly telling: Telling;
}

/** What a payment comes to without a crash, and without a request that nobody has heard. */
interface Ends {
  readonly reference: Telling;
  readonly end: object | null;
  readonly unasked: ReadonlyMap<Request, object | null>;
}

/** Longer than any first pause of a schedule. */
const RECOVERY_MS = 8 * MINUTE;
const EVER_MS = 30 * 24 * 60 * MINUTE;

const clock = new ManualClock();
let simulators: Simulators;
beforeAll(async () => {
  simulators = await startSimulators({ now: clock.now });
});
afterAll(async () => {
  await simulators[Symbol.asyncDispose]();
});

describe.each<[string, PlatformKey]>([
  ['Alipay', 'alipay'],
  ['WeChat Pay', 'wechatpay'],
  ['UnionPay', 'unionpay'],
])('%s, killed at every step', (_name, key) => {
  test.each(Object.entries(STORIES))('%s', async (_story, story) => {
    expect(await killedAtEveryStep(key, story)).toEqual([]);
  });
});

describe('a mistake is seen', () => {
  test('a refund that goes out again under a new number', async () => {
    const renewed = (database: pg.Pool): Promise<unknown> => database.query('update refund set platform_refund_no = reverse(platform_refund_no)');
    const findings = await killedAtEveryStep('wechatpay', { acts: ['create', 'buyer pays', 'platform notifies', 'refund'], undisturbed: 3 }, renewed);
    expect(findings).toContainEqual(expect.stringContaining('["4000 DONE","4000 DONE"]'));
  });

  test('an order that is placed before its payment is committed', async () => {
    const uncommitted = (database: pg.Pool): Promise<unknown> =>
      database.query(`set local session_replication_role = replica;
        delete from request where payment_id in (select id from payment where checkout is null);
        delete from payment_sync where payment_id in (select id from payment where checkout is null);
        delete from payment_log where payment_id in (select id from payment where checkout is null);
        delete from payment where checkout is null`);
    expect(await killedAtEveryStep('wechatpay', { acts: ['create'], undisturbed: 0 }, uncommitted)).toContainEqual(expect.stringMatching(/^order \w+ is nobody's$/));
  });
});

/** Answers what did not end as it does without a crash. `mistake` is made between the crash and what follows. */
async function killedAtEveryStep(key: PlatformKey, story: Story, mistake: (database: pg.Pool) => Promise<unknown> = () => Promise.resolve()): Promise<string[]> {
  await using scene = await Scene.open(simulators, clock, key);
  const crossings = new Crossings();
  const victim = await scene.start(crossings.watched(scene.accounts));
  crossings.watch(victim.app);

  const ends = await tellUndisturbed(scene, victim, crossings, story);
  const killed = standingEverywhere(story, ends.reference);
  for (const { telling } of killed) crossings.follow(telling);
  await scene.tell(victim, killed.map(({ telling }) => telling), ends.reference);
  crossings.kill();
  await victim[Symbol.asyncDispose]();

  await mistake(scene.database);
  await using survivor = await scene.start(scene.accounts);
  return [...(await goOn(scene, survivor, story, killed)), ...(await compare(scene, survivor, killed, ends))];
}

async function tellUndisturbed(scene: Scene, service: TestApp, crossings: Crossings, { acts }: Story): Promise<Ends> {
  const reference = new Telling(acts, clock.now());
  crossings.follow(reference);
  await scene.tell(service, [reference]);
  const unheard = acts.slice(1).filter(isRequest).map((request) => ({ request, telling: new Telling(acts.filter((act) => act !== request), clock.now()) }));
  for (const { telling } of unheard) await scene.tell(service, [telling]);

  await scene.follow(service, EVER_MS, 15 * MINUTE);
  const unasked = new Map<Request, object | null>([['create', null]]);
  for (const { request, telling } of unheard) unasked.set(request, await scene.endOf(service, telling));
  return { reference, end: await scene.endOf(service, reference), unasked };
}

/** One payment for each crossing and aftermath. */
function standingEverywhere({ acts, undisturbed }: Story, { told }: Telling): Killed[] {
  const first = (told[undisturbed - 1] ?? 0) + 1;
  return AFTERMATHS.flatMap((aftermath) => {
    const last = aftermath !== 'paid meanwhile' ? told.at(-1)! : acts[1] === 'buyer pays' ? told[0]! : 0;
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => ({ aftermath, telling: new Telling(acts, clock.now(), first + at) }));
  });
}

/** Every story goes on in the act in which it was killed. Answers what was refused in it. */
async function goOn(scene: Scene, service: TestApp, { acts }: Story, killed: readonly Killed[]): Promise<string[]> {
  const refused: string[] = [];
  for (const { aftermath, telling } of killed) {
    if (aftermath === 'paid meanwhile') await scene.perform(service, telling, 'buyer pays');
  }
  for (const [at, act] of acts.entries()) {
    clock.pass(SECOND);
    const going = killed.filter(({ aftermath, telling: { told } }) => told.length < at || (told.length === at && aftermath !== 'silence'));
    const acting = going.map(async (one) => {
      await scene.perform(service, one.telling, act).catch((error: unknown) => refused.push(`${nameOf(one)}: ${act} fails with ${String(error)}`));
    });
    await Promise.all(acting);
    await scene.follow(service, RECOVERY_MS, 4 * MINUTE);
  }
  await scene.follow(service, EVER_MS, 15 * MINUTE);
  return refused;
}

async function compare(scene: Scene, service: TestApp, killed: readonly Killed[], { end, unasked }: Ends): Promise<string[]> {
  const differences: string[] = [];
  for (const one of killed) {
    const { aftermath, telling } = one;
    const act = telling.stoppedIn;
    const isUnheard = aftermath === 'silence' && isRequest(act) && !(await scene.hasHeard(telling, act));
    const wanted = JSON.stringify(isUnheard ? unasked.get(act) : end);
    const found = JSON.stringify(await scene.endOf(service, telling));
    if (!telling.isStopped) differences.push(`${nameOf(one)}: never came there`);
    if (found !== wanted) differences.push(`${nameOf(one)}: ${found} instead of ${wanted}`);
  }
  return [...differences, ...(await scene.strays()).map((no) => `order ${no} is nobody's`)];
}

const nameOf = ({ aftermath, telling: { stoppedIn, stopsAt, crossed } }: Killed): string =>
  `killed in ${stoppedIn} at crossing ${stopsAt} (${crossed.at(-1)}), ${aftermath}`;
