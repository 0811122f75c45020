/** The service as the chaos run starts and kills it: the whole application, on a clock that the run moves, with a bug planted if asked. */
import { startApp } from '../../src/app.js';
import { readConfig } from '../../src/config.js';
import { createLogger } from '../../src/logger.js';
import { plant } from './planted-bugs.js';

export interface ToChild {
  readonly aheadMs: number;
}

export interface FromChild {
  readonly ready: true;
}

let aheadMs = Number(process.env['CHAOS_AHEAD_MS'] ?? 0);
plant(process.env['CHAOS_BUGS']?.split(',') ?? []);
const app = await startApp(readConfig(), { clock: { now: () => new Date(Date.now() + aheadMs) }, log: createLogger('fatal') });

process.on('message', (told: ToChild) => {
  aheadMs = told.aheadMs;
  app.worker.wake();
});
process.on('SIGTERM', () => void app.stop().then(() => process.exit(0)));
// A run that is gone leaves no service behind.
process.on('disconnect', () => process.exit(1));
process.send?.({ ready: true } satisfies FromChild);
