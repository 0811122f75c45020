/** The service in a process of its own, to be killed and started again at the same address. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { ToChild } from './service-child.js';

/** Compiled, whether this file is or not. */
const CHILD = new URL(import.meta.url.replace(/(\/dist)?\/test\/chaos\/.*$/, '/dist/test/chaos/service-child.js')).pathname;

interface ServiceOptions {
  readonly databaseUrl: string;
  readonly platformsFile: string;
  readonly bugs: readonly string[];
}

export class Service implements AsyncDisposable {
  aheadMs = 0;
  /** By its own clock. */
  startedAt = 0;
  private child: ChildProcess | null = null;

  private constructor(
    private readonly options: ServiceOptions,
    private readonly ports: { readonly grpc: number; readonly notification: number },
  ) {}

  static async start(options: ServiceOptions): Promise<Service> {
    const service = new Service(options, { grpc: await freePort(), notification: await freePort() });
    await service.open();
    return service;
  }

  get databaseUrl(): string {
    return this.options.databaseUrl;
  }

  get address(): string {
    return `127.0.0.1:${this.ports.grpc}`;
  }

  now(): number {
    return Date.now() + this.aheadMs;
  }

  /** One that is being started hears the time from its start. */
  advance(ms: number): void {
    this.aheadMs += ms;
    if (this.child?.connected === true) this.child.send({ aheadMs: this.aheadMs } satisfies ToChild, () => undefined);
  }

  async kill(): Promise<void> {
    await this.end('SIGKILL');
    await this.open();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }

  private async open(): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      this.startedAt = this.now();
      this.child = fork(CHILD, { env: this.env(), stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
      const [event] = await Promise.race([once(this.child, 'message').then(() => ['ready']), once(this.child, 'exit').then(() => ['exit'])]);
      if (event === 'ready') return this.advance(0);
      // The database may be coming up again, too.
      if (attempt > 20) throw new Error('the service does not start');
      await wait(300);
    }
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }

  private env(): Record<string, string> {
    const { databaseUrl, platformsFile, bugs } = this.options;
    return {
      PATH: process.env['PATH'] ?? '',
      DATABASE_URL: databaseUrl,
      PAYSTATE_GRPC_PORT: `${this.ports.grpc}`,
      PAYSTATE_NOTIFICATION_PORT: `${this.ports.notification}`,
      PAYSTATE_ADMIN_PORT: '0',
      PAYSTATE_NOTIFICATION_BASE_URL: `http://127.0.0.1:${this.ports.notification}`,
      PAYSTATE_PLATFORMS_FILE: platformsFile,
      CHAOS_AHEAD_MS: `${this.aheadMs}`,
      CHAOS_BUGS: bugs.join(),
    };
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
