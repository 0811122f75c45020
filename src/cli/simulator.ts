/** The simulated platforms alone, for a service that is configured with them as with any platform. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, type Config } from '../config.js';
import { startSimulators } from '../simulator/simulators.js';

/** Runs until it is told to stop. */
export async function runSimulators(config: Config): Promise<void> {
  if (config.simulator === null) throw new ConfigError('the configuration has no simulators: PAYSTATE_PLATFORMS is set, or PAYSTATE_SIMULATOR is off');
  await using simulators = await startSimulators({ port: config.simulator.port, stateFolder: config.dataDir });

  mkdirSync(config.dataDir, { recursive: true });
  const file = join(config.dataDir, 'platforms.json');
  // It has private keys, if only simulated ones.
  writeFileSync(file, JSON.stringify(simulators.platforms, null, 2), { mode: 0o600 });
  process.stdout.write(
    [
      '',
      ...Object.entries(simulators.addresses).map(([name, address]) => `  ${name.padEnd(10)} ${address}`),
      `  buyer      ${simulators.controlUrl}`,
      '',
      '  A service that takes them for the platforms:',
      '',
      `  PAYSTATE_PLATFORMS_FILE=${file} PAYSTATE_NOTIFICATION_BASE_URL=http://127.0.0.1:50052 npm start`,
      '',
      '',
    ].join('\n'),
  );

  await new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}
