/**
 * `npm run soak:feed -- --changes N [--watchers W] [--seed S] [--fault F]...`: exit 0 when nothing is missed, 1 when something is, 64 for
 * wrong usage.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { PLANTED_FAULTS } from './planted-faults.js';
import { runSoak } from './soak.js';

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const { values } = parseArgs({ options: { changes: { type: 'string', default: '100000' }, watchers: { type: 'string', default: '100' }, seed: { type: 'string' }, fault: { type: 'string', multiple: true, default: [] } } });
const [changes, watchers] = [Number(values.changes), Number(values.watchers)];
const faults = PLANTED_FAULTS.filter((fault) => values.fault.includes(fault));
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
if (![changes, watchers, seed].every((number) => Number.isInteger(number) && number >= 0) || changes < 1 || watchers < 1 || faults.length < values.fault.length) {
  process.stderr.write(`usage: npm run soak:feed -- --changes N [--watchers W] [--seed S] [--fault ${PLANTED_FAULTS.join('|')}]...\n`);
  process.exit(64);
}

say(`${changes} changes for ${watchers} watchers, seed ${seed}`);
const report = await runSoak({ changes, watchers, seed, faults, say });
say(`${report.changes} changes, ${report.deliveries} deliveries in ${report.seconds} s; ${report.kills} kills and ${report.drains} drains of the services, ${report.databaseCrashes} crashes of the database`);
say(`watches that ended: ${Object.entries(report.ends).map(([end, count]) => `${end} ${count}`).join(', ')}`);
say(`missed                     ${report.missed}`);
say(`duplicated per cursor      ${report.duplicated}`);
say(`out of order per payment   ${report.outOfOrder}`);
process.exit(report.missed + report.duplicated + report.outOfOrder === 0 ? 0 : 1);
