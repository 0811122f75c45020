/** What a simulated platform knows, in a file, so that a development simulator is the same platform after a restart. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

export interface StateFormat {
  /** Names platform and version, such as `paystate alipay simulator 1`. */
  readonly format: string;
  /** The members, at any depth, that are bigint; JSON has them as texts. */
  readonly amounts: readonly string[];
}

/** Null without a file. A file of another format is renamed, not overwritten. */
export function readStateFile<T extends object>(file: string, { format, amounts }: StateFormat, log: (message: string) => void): T | null {
  if (!existsSync(file)) return null;
  const revive = (name: string, value: unknown): unknown => (amounts.includes(name) && typeof value === 'string' ? BigInt(value) : value);
  const read = JSON.parse(readFileSync(file, 'utf8'), revive) as T & { readonly format?: unknown };
  if (read.format === format) return read;

  const aside = `${file}.set-aside`;
  renameSync(file, aside);
  log(`${file} is of another format and was renamed to ${aside}`);
  return null;
}

/** Writes once per turn of the event loop, however much changes in it. */
export class StateFile<T extends object> {
  private pending: NodeJS.Immediate | null = null;

  constructor(
    private readonly file: string,
    private readonly format: StateFormat,
    private readonly current: () => T,
  ) {}

  changed(): void {
    this.pending ??= setImmediate(() => this.flush());
  }

  /** Renamed into place, so that a kill never leaves half a file. */
  flush(): void {
    if (this.pending !== null) clearImmediate(this.pending);
    this.pending = null;
    const { format } = this.format;
    const text = JSON.stringify({ format, ...this.current() }, (_name, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
    mkdirSync(dirname(this.file), { recursive: true });
    writeFileSync(`${this.file}.draft`, text, { mode: 0o600 });
    renameSync(`${this.file}.draft`, this.file);
  }
}
