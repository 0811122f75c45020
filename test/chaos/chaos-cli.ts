/** `npm run chaos -- --payments N [--seed S] [--bug NAME]`: exit 0 when nothing is violated, 1 when something is, 64 for wrong usage. */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { FAULT_KINDS } from '../../src/simulator/faults.js';
import { VIOLATIONS } from './books.js';
import { runChaos } from './chaos.js';
import { PLANTED_BUGS } from './planted-bugs.js';

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const counted = (counts: Readonly<Record<string, number>>): string => Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(', ');
const { values } = parseArgs({
  options: { payments: { type: 'string', default: '1000' }, seed: { type: 'string' }, bug: { type: 'string' } },
});
const payments = Number(values.payments);
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
const bug = values.bug === undefined ? null : PLANTED_BUGS.find((name) => name === values.bug);
if (!Number.isInteger(payments) || payments < 1 || !Number.isInteger(seed) || bug === undefined) {
  process.stderr.write(`usage: npm run chaos -- --payments N [--seed S] [--bug ${PLANTED_BUGS.join('|')}]\n`);
  process.exit(64);
}

say(`${payments} payments, seed ${seed}${bug === null ? '' : `, with the bug ${bug}`}`);
const application = bug ?? 'sound';
const { verdicts, ...run } = await runChaos({ payments, seed, applications: [application], say });
const { internal, gaveUp, violations, ...found } = verdicts[application];
say(`${found.payments} payments and ${found.refunds} refunds in ${run.seconds} s; ${run.kills} kills of the service, ${run.databaseCrashes} crashes of the database, ${run.faultsPlanned} faults`);
const [rarest] = FAULT_KINDS.map((kind) => ({ kind, count: run.struck[kind] ?? 0 })).sort((a, b) => a.count - b.count);
say(`struck     ${Object.keys(run.struck).length} of ${FAULT_KINDS.length} kinds of fault, most seldom ${rarest!.kind}: ${rarest!.count} calls`);
say(`payments   ${counted(found.byStatus)}`);
if (Object.keys(found.byReviewReason).length > 0) say(`in review  ${counted(found.byReviewReason)}`);
for (const kind of VIOLATIONS) say(`${kind.padEnd(26)} ${violations.filter((violation) => violation.kind === kind).length}`);
say(`${'internal errors heard'.padEnd(26)} ${internal.length}`);
say(`${'callers that gave up'.padEnd(26)} ${gaveUp.length}`);
for (const { kind, payment, what } of violations.slice(0, 20)) say(`  ${kind}: ${payment}, ${what}`);
for (const line of found.stories) say(`    ${line}`);
for (const heard of internal.slice(0, 5)) say(`  internal: ${heard}`);
process.exit(violations.length === 0 && internal.length === 0 && gaveUp.length === 0 ? 0 : 1);
