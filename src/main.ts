/** Reads the configuration, starts the application and turns signals into its end. */
import { enableCompileCache } from 'node:module';
import { requireNode } from './require-node.js';

// Before anything of the application is imported: an older Node would fail in obscure ways, or worse, not fail.
requireNode();
// Half of a warm start would otherwise go into compiling the packages anew.
enableCompileCache();
const { ConfigError, readConfig } = await import('./config.js');
const { createLogger } = await import('./logger.js');
const { startApp } = await import('./app.js');
const { welcome } = await import('./welcome.js');

/** EX_CONFIG of sysexits.h. */
const EXIT_CONFIG = 78;

try {
  const config = readConfig();
  const log = createLogger(config.logLevel);
  const app = await startApp(config, { log });
  process.stdout.write(welcome(app, config));

  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, 'stopping');
    void app.stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('unhandledRejection', (error) => log.fatal({ err: error }, 'unhandled rejection: a bug'));
} catch (error) {
  process.stderr.write(`${error instanceof ConfigError ? error.message : String(error instanceof Error ? error.stack : error)}\n`);
  process.exit(error instanceof ConfigError ? EXIT_CONFIG : 1);
}
