import { startEmbeddedPostgres, type EmbeddedPostgres } from '../../src/store/embedded-postgres.js';
import { migrateUp } from '../../src/store/migrate.js';
import { startTcpProxy } from '../support/tcp-proxy.js';

/** PostgreSQL behind one address, whichever port it came up on last. */
export class Database implements AsyncDisposable {
  private constructor(
    private postgres: EmbeddedPostgres,
    private readonly dataDir: string,
    private readonly target: { host: string; port: number },
    private readonly proxy: Awaited<ReturnType<typeof startTcpProxy>>,
  ) {}

  static async start(dataDir: string): Promise<Database> {
    const postgres = await startEmbeddedPostgres({ dataDir });
    await migrateUp(postgres.url('paystate'), { createDatabase: true });
    const target = { host: '127.0.0.1', port: postgres.port };
    return new Database(postgres, dataDir, target, await startTcpProxy({ target }));
  }

  get url(): string {
    const url = new URL(this.postgres.url('paystate'));
    url.port = `${this.proxy.port}`;
    return url.href;
  }

  /** As when the power goes: no shutdown, then recovery from what was written ahead. */
  async crash(): Promise<void> {
    await this.postgres.stop('immediate');
    this.postgres = await startEmbeddedPostgres({ dataDir: this.dataDir });
    this.target.port = this.postgres.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy.close();
    await this.postgres.stop('immediate');
  }
}
