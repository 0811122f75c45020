/** Reads the configuration, starts the application and turns signals into its end. */
import { enableCompileCache } from 'node:module';
import { requireNode } from './require-node.js';

// Before anything of the application is imported: an older Node would fail in obscure ways, or worse, not fail.
requireNode();
// Half of a warm start would otherwise go into compiling the packages anew.
enableCompileCache();
const { ConfigError, readConfig } = await import('./config.js');
const { createLogger } = await import('./logger.js');
const { startPostgresOf } = await import('./store/embedded-postgres.js');

/** EX_CONFIG of sysexits.h. */
const EXIT_CONFIG = 78;
/** One Ctrl-C comes twice: from the terminal, and passed on by npm. Only somebody who repeats it does not want to wait any longer. */
const IMPATIENT_AFTER_MS = 1_000;

try {
  const config = readConfig();
  const log = createLogger(config.logLevel);
  process.on('unhandledRejection', (error) => log.fatal({ err: error }, 'unhandled rejection: a bug'));

  // Heard from the first moment: what has been started by then, a database above all, must not be left behind.
  const told = new Promise<NodeJS.Signals>((resolve) => {
    let toldAt: number | null = null;
    const hear = (signal: NodeJS.Signals): void => {
      if (toldAt !== null && performance.now() - toldAt > IMPATIENT_AFTER_MS) process.exit(1);
      toldAt ??= performance.now();
      resolve(signal);
    };
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, hear);
  });

  // The database comes up while the rest of the application is loaded; either takes as long as the other.
  const postgres = startPostgresOf(config, log);
  // Whether it failed is asked below, not in the meantime.
  postgres?.catch(() => undefined);
  const [{ startApp }, { welcome }] = await Promise.all([import('./app.js'), import('./welcome.js')]);
  const app = await startApp(config, { log, ...(postgres === null ? {} : { postgres }) });
  process.stdout.write(welcome(app, config));
  const signal = await told;
  log.info({ signal }, 'stopping');
  await app.stop();
  process.exit(0);
} catch (error) {
  process.stderr.write(`${error instanceof ConfigError ? error.message : String(error instanceof Error ? error.stack : error)}\n`);
  process.exit(error instanceof ConfigError ? EXIT_CONFIG : 1);
}
