/**
 * Convergence under everything at once: callers and buyers at three platforms whose calls and notifications fail in every planned way,
 * a service that is killed every few seconds, a database that crashes twice, clocks that run on to the expiry of every order. Then the
 * trouble ends, the clocks run on to the end of every schedule, and the service's records are held against the platforms' own books.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { startSimulators } from '../../src/simulator/simulators.js';
import { Random } from '../notification/random.js';
import { compareBooks, platformBooks, type Verdict } from './books.js';
import { Database } from './database.js';
import { FULL, type Pace } from './pace.js';
import { Passing } from './passing.js';
import type { Application } from './planted-bugs.js';
import { Service } from './service.js';
import { makeTrouble, type Often } from './trouble.js';
import { runWorkload, type Told } from './workload.js';

export interface ChaosOptions {
  /** Of each application. */
  readonly payments: number;
  readonly seed: number;
  /** A bug strikes the payments of the application that bears its name. */
  readonly applications: readonly Application[];
  /** Faults to be planned as often as all the others together. */
  readonly often?: readonly Often[];
  readonly pace?: Pace;
  /** Where a folder for the database may be made. */
  readonly parent?: string;
  readonly say?: (line: string) => void;
}

export interface ChaosReport {
  readonly verdicts: Readonly<Record<Application, Verdict & Told>>;
  readonly kills: number;
  readonly databaseCrashes: number;
  readonly faultsPlanned: number;
  readonly struck: Readonly<Record<string, number>>;
  readonly seconds: number;
}

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { payments, seed, applications, often = [], pace = FULL, parent = tmpdir(), say = () => undefined } = options;
  const began = performance.now();
  const seconds = (): string => ((performance.now() - began) / 1_000).toFixed(1);
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(parent, 'paystate-chaos-'));
  await chmod(folder, 0o755);
  stack.defer(() => rm(folder, { recursive: true, force: true }));

  const [database, simulators] = await Promise.all([Database.start(join(folder, 'postgres')), startSimulators()]);
  stack.use(database);
  stack.use(simulators);
  const platformsFile = join(folder, 'platforms.json');
  await writeFile(platformsFile, JSON.stringify(simulators.platforms), { mode: 0o600 });
  const service = stack.use(await Service.start({ databaseUrl: database.url, platformsFile, bugs: applications }));

  const trouble = makeTrouble(simulators, { seed, often, everyMs: pace.faultEveryMs, actsPerFault: pace.actsPerFault });
  const stopping = new AbortController();
  const killing = killAgainAndAgain({ service, database, seed, pace, say }, stopping.signal);
  const { told, latecomers } = await runWorkload({ address: service.address, simulators, payments, applications, seed, ...pace, onAct: () => trouble.act() });
  say(`every story is told after ${seconds()} s`);

  const passing = new Passing({ service, simulators, say, onLook: () => trouble.act() });
  await passing.letPassInTrouble(pace.beforeExpiryMs);
  for (const pay of latecomers) pay();
  await passing.letPassInTrouble(pace.pastExpiryMs);
  say(`every order has expired after ${seconds()} s`);

  stopping.abort();
  const counts = await killing;
  const struck = trouble.struck();
  trouble.stop();
  // Circuits know no other time than the real one, which does not run on; a new process has none that is open.
  await service.kill();
  await passing.letPassInPeace(pace.inPeaceMs);

  const books = platformBooks(simulators);
  const verdictOf = async (application: Application) => [application, { ...(await compareBooks(database.url, application, books)), ...told[application] }] as const;
  return {
    verdicts: Object.fromEntries(await Promise.all(applications.map(verdictOf))) as ChaosReport['verdicts'],
    ...counts,
    faultsPlanned: trouble.planned(),
    struck,
    seconds: Number(seconds()),
  };
}

interface Killing {
  readonly service: Service;
  readonly database: Database;
  readonly seed: number;
  readonly pace: Pace;
  readonly say: (line: string) => void;
}

async function killAgainAndAgain({ service, database, seed, pace, say }: Killing, signal: AbortSignal): Promise<{ kills: number; databaseCrashes: number }> {
  const random = new Random(seed, 2_000_003);
  let [kills, databaseCrashes] = [0, 0];
  const kill = async (): Promise<void> => {
    await service.kill();
    kills += 1;
  };
  const crash = async (): Promise<void> => {
    await database.crash();
    databaseCrashes += 1;
  };

  while (!signal.aborted && (kills < pace.killsMax || databaseCrashes < pace.crashes.length)) {
    await wait(random.between(...pace.killEveryMs), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) break;
    await (pace.crashes.includes(kills + databaseCrashes) ? crash() : kill());
    if ((kills + databaseCrashes) % 10 === 0) say(`${kills} kills, ${databaseCrashes} crashes of the database`);
  }
  // A short run must have seen it all, too.
  while (databaseCrashes < pace.crashes.length) await crash();
  if (kills === 0) await kill();
  return { kills, databaseCrashes };
}
