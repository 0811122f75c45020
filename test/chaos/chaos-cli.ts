/** `npm run chaos -- --payments N [--seed S] [--bug NAME]`: exit 0 when nothing is violated, 1 when something is, 64 for wrong usage. */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { VIOLATIONS } from './books.js';
import { runChaos } from './chaos.js';
import { PLANTED_BUGS } from './planted-bugs.js';

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const { values } = parseArgs({ options: { payments: { type: 'string', default: '1000' }, seed: { type: 'string' }, bug: { type: 'string' } } });
const payments = Number(values.payments);
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
const bug = PLANTED_BUGS.find((name) => name === values.bug);
if (!Number.isInteger(payments) || payments < 1 || !Number.isInteger(seed) || (values.bug !== undefined && bug === undefined)) {
  process.stderr.write(`usage: npm run chaos -- --payments N [--seed S] [--bug ${PLANTED_BUGS.join('|')}]\n`);
  process.exit(64);
}

say(`${payments} payments, seed ${seed}${bug === undefined ? '' : `, with the bug ${bug}`}`);
const report = await runChaos({ payments, seed, say, ...(bug === undefined ? {} : { bug }) });
say(`${report.payments} payments and ${report.refunds} refunds in ${report.seconds} s; ${report.kills} kills of the service, ${report.databaseCrashes} crashes of the database, ${report.faultsPlanned} faults`);
say(`payments   ${Object.entries(report.byStatus).map(([status, count]) => `${status} ${count}`).join(', ')}`);
if (Object.keys(report.byReviewReason).length > 0) say(`in review  ${Object.entries(report.byReviewReason).map(([reason, count]) => `${reason} ${count}`).join(', ')}`);
for (const kind of VIOLATIONS) say(`${kind.padEnd(26)} ${report.violations.filter((violation) => violation.kind === kind).length}`);
say(`${'internal errors heard'.padEnd(26)} ${report.told.internal.length}`);
say(`${'callers that gave up'.padEnd(26)} ${report.told.gaveUp.length}`);
for (const { kind, what } of report.violations.slice(0, 20)) say(`  ${kind}: ${what}`);
for (const heard of report.told.internal.slice(0, 5)) say(`  internal: ${heard}`);
process.exit(report.violations.length === 0 && report.told.internal.length === 0 && report.told.gaveUp.length === 0 ? 0 : 1);
