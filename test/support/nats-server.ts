/** A throw-away nats-server with JetStream, on a port and in a folder of its own; it can be killed and started again with what it had stored. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface NatsServer extends AsyncDisposable {
  readonly url: string;
  /** As by kill -9; resolves when it is gone. */
  kill(): Promise<void>;
  /** It lives and does nothing, until it is thawed. */
  freeze(): void;
  thaw(): void;
  /** Resolves when it takes connections, at the address that it had. */
  start(): Promise<void>;
}

export async function startNatsServer(): Promise<NatsServer> {
  const folder = mkdtempSync(join(tmpdir(), 'paystate-nats-'));
  let running: ChildProcess | null = null;
  // It chooses one itself.
  let port = '-1';

  const start = async (): Promise<void> => {
    running = spawn('nats-server', ['-js', '-sd', folder, '-a', '127.0.0.1', '-p', port], { stdio: ['ignore', 'ignore', 'pipe'] });
    port = await portWhenReady(running);
  };
  const kill = async (): Promise<void> => {
    if (running === null) return;
    const gone = once(running, 'exit');
    running.kill('SIGKILL');
    running = null;
    await gone;
  };
  await start();
  return {
    url: `nats://127.0.0.1:${port}`,
    start,
    kill,
    freeze: () => void running!.kill('SIGSTOP'),
    thaw: () => void running!.kill('SIGCONT'),
    async [Symbol.asyncDispose]() {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function portWhenReady(server: ChildProcess): Promise<string> {
  let said = '';
  await new Promise<void>((resolve, reject) => {
    server.stderr!.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('Server is ready')) resolve();
    });
    server.once('error', reject);
    server.once('exit', (code) => reject(new Error(`nats-server ended with ${code}: ${said}`)));
  });
  return /client connections on 127\.0\.0\.1:(\d+)/.exec(said)![1]!;
}
