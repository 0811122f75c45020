import type { MikroORM } from '@mikro-orm/postgresql';

const EVERY_MS = 2_000;

/** Asks the database whether it is there, again and again, and tells when that changes. It is taken for there at first. */
export class StoreHeartbeat implements AsyncDisposable {
  private isThere = true;
  private timer: NodeJS.Timeout | null = null;
  private asking: Promise<void> = Promise.resolve();

  constructor(
    private readonly orm: MikroORM,
    private readonly onChange: (isThere: boolean) => void,
  ) {
    this.later();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.timer ?? undefined);
    this.timer = null;
    await this.asking;
    clearTimeout(this.timer ?? undefined);
  }

  private later(): void {
    this.timer = setTimeout(() => {
      this.asking = this.ask().finally(() => {
        if (this.timer !== null) this.later();
      });
    }, EVERY_MS).unref();
  }

  private async ask(): Promise<void> {
    const answered = await this.orm.em.fork().execute('select 1').then(() => true, () => false);
    if (this.timer === null || answered === this.isThere) return;
    this.isThere = answered;
    this.onChange(answered);
  }
}
