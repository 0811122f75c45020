/** The chaos run in small, and that it can see: with each planted bug it reports what that bug does, and without one nothing. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Violation } from './books.js';
import type { ChaosOptions, ChaosReport } from './chaos.js';
import { BRIEF } from './pace.js';
import type { PlantedBug } from './planted-bugs.js';

const SEEN: Record<PlantedBug, Violation> = {
  'refund-number-renewed': 'double refund',
  'timer-ends-refund': 'refund not as recorded',
  'negative-overwrites-paid': 'unpaid after it was paid',
};
const BUGS = Object.keys(SEEN) as PlantedBug[];

/** What these bugs do harm on. */
const OFTEN = [{ kind: 'commit-then-drop', operation: 'refund', times: 2 }, { kind: 'stale-answer', operation: 'query', times: 20 }] as const;

const PAYMENTS = 16;
/** Compiled, whether this file is or not. */
const CHILD = new URL(import.meta.url.replace(/(\/dist)?\/test\/chaos\/.*$/, '/dist/test/chaos/run-child.js')).pathname;

/** What strikes in so small a run is chance: a bug that did no harm in one gets more runs of its own. */
const RUNS_MAX = 5;
const RUN_MAX_MS = 180_000;

async function run(seed: number, applications: ChaosOptions['applications'], payments = PAYMENTS): Promise<ChaosReport> {
  const child = fork(CHILD, { serialization: 'advanced' });
  const options = { payments, seed, applications, often: OFTEN, pace: BRIEF, parent: process.env['PAYSTATE_TEST_FOLDER']! };
  child.send(options satisfies ChaosOptions);
  const answered = once(child, 'message').then(([found]: unknown[]) => found as ChaosReport);
  const ended = once(child, 'exit').then(([code]: unknown[]): never => {
    throw new Error(`the run ended with ${String(code)}`);
  });
  return await Promise.race([answered, ended]);
}

let report: ChaosReport;
beforeAll(async () => {
  report = await run(7, ['sound', ...BUGS]);
}, RUN_MAX_MS);

test('without a bug nothing is violated, whatever was killed', () => {
  const { violations, internal, gaveUp, payments } = report.verdicts.sound;
  expect({ violations, internal, gaveUp, payments }).toEqual({ violations: [], internal: [], gaveUp: [], payments: PAYMENTS });
  expect(report).toMatchObject({ kills: 1, databaseCrashes: 1 });
});

test.each(BUGS)('%s is reported', async (bug) => {
  let { violations } = report.verdicts[bug];
  for (let seed = 8; seed < 8 + RUNS_MAX && !violations.some(({ kind }) => kind === SEEN[bug]); seed += 1) {
    ({ violations } = (await run(seed, [bug], 2 * PAYMENTS)).verdicts[bug]);
  }
  expect(violations.map(({ kind }) => kind)).toContain(SEEN[bug]);
}, RUN_MAX_MS);
