/** The soak in small, and that it can see: what a service loses or tells twice is counted. */
import { PLANTED_FAULTS } from './planted-faults.js';
import { runSoak } from './soak.js';

test('what is lost and what is told twice is seen', async () => {
  const { missed, duplicated, outOfOrder } = await runSoak({ changes: 600, watchers: 10, seed: 7, faults: PLANTED_FAULTS, parent: process.env['PAYSTATE_TEST_FOLDER']! });
  expect(missed).toBeGreaterThan(0);
  expect(duplicated).toBeGreaterThan(0);
  expect(outOfOrder).toBe(0);
}, 120_000);
