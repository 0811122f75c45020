/** The chaos run in small, and that it can see: with each planted bug it reports what that bug does, and without one nothing. */
import type { Violation } from './books.js';
import { runChaos, type ChaosReport } from './chaos.js';
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

let report: ChaosReport;
beforeAll(async () => {
  const parent = process.env['PAYSTATE_TEST_FOLDER']!;
  report = await runChaos({ payments: PAYMENTS, seed: 7, applications: ['sound', ...BUGS], often: OFTEN, pace: BRIEF, parent });
}, 180_000);

test('without a bug nothing is violated, whatever was killed', () => {
  const { violations, internal, gaveUp, payments } = report.verdicts.sound;
  expect({ violations, internal, gaveUp, payments }).toEqual({ violations: [], internal: [], gaveUp: [], payments: PAYMENTS });
  expect(report).toMatchObject({ kills: 1, databaseCrashes: 1 });
});

test.each(BUGS)('%s is reported', (bug) => {
  expect(report.verdicts[bug].violations.map(({ kind }) => kind)).toContain(SEEN[bug]);
});
