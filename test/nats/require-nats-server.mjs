/** Says at once what is missing, instead of in each test. */
import { spawnSync } from 'node:child_process';
import startTestPostgres from '../pg-global-setup.mjs';

export default async function startTestServers(config) {
  const { status } = spawnSync('nats-server', ['--version']);
  if (status !== 0) throw new Error('There is no nats-server on the PATH: install it, by "apt-get install nats-server" (it is in /usr/sbin then) or from https://nats.io/download');
  await startTestPostgres(config);
}
