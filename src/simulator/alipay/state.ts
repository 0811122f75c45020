/** Keys and trades in a file, so that a development simulator is the same platform after a restart. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { AlipayKeys } from './keys.js';
import type { Trade } from './trade.js';

export interface AlipayState {
  readonly keys: AlipayKeys;
  readonly trades: readonly Trade[];
}

const FORMAT = 'paystate alipay simulator 1';
const AMOUNTS: readonly string[] = ['total', 'paid', 'amount'];

/** Null without a file. A file of another format is renamed, not overwritten. */
export function readState(file: string, log: (message: string) => void): AlipayState | null {
  if (!existsSync(file)) return null;
  const revive = (name: string, value: unknown): unknown => (AMOUNTS.includes(name) && typeof value === 'string' ? BigInt(value) : value);
  const read = JSON.parse(readFileSync(file, 'utf8'), revive) as AlipayState & { readonly format?: unknown };
  if (read.format === FORMAT) return read;

  const aside = `${file}.set-aside`;
  renameSync(file, aside);
  log(`${file} is of another format and was renamed to ${aside}`);
  return null;
}

/** Writes once per turn of the event loop, however much changes in it. */
export class StateFile {
  private pending: NodeJS.Immediate | null = null;

  constructor(
    private readonly file: string,
    private readonly current: () => AlipayState,
  ) {}

  changed(): void {
    this.pending ??= setImmediate(() => this.flush());
  }

  /** Renamed into place, so that a kill never leaves half a file. */
  flush(): void {
    if (this.pending !== null) clearImmediate(this.pending);
    this.pending = null;
    const text = JSON.stringify({ format: FORMAT, ...this.current() }, (_name, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
    mkdirSync(dirname(this.file), { recursive: true });
    writeFileSync(`${this.file}.draft`, text, { mode: 0o600 });
    renameSync(`${this.file}.draft`, this.file);
  }
}
