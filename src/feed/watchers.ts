import { DomainError } from '../payment/errors.js';
import type { Watcher } from './watcher.js';

export interface WatchersLimits {
  readonly watchesMax: number;
  readonly watchesPerCallerMax: number;
}

/** The open watches of this process: how many there may be, and everybody to wake when the feed moves. */
export class Watchers {
  private readonly open = new Map<Watcher, string>();
  private readonly restless = new Set<Watcher>();
  private readonly ofCaller = new Map<string, number>();
  private reserved = 0;
  private drained: PromiseWithResolvers<void> | null = null;

  constructor(private readonly limits: WatchersLimits) {}

  get count(): number {
    return this.reserved;
  }

  get isDraining(): boolean {
    return this.drained !== null;
  }

  /** Takes a place before the start is looked for. OVERLOADED when there is none, SERVER_DRAINING during the drain. */
  reserve(caller: string): void {
    if (this.isDraining) throw new DomainError('SERVER_DRAINING', 'this server takes no new watches', { retryAfterMs: 100 });
    const own = this.ofCaller.get(caller) ?? 0;
    const { watchesMax, watchesPerCallerMax } = this.limits;
    if (own >= watchesPerCallerMax) throw tooMany(`this caller has ${own} watches open`, watchesPerCallerMax);
    if (this.reserved >= watchesMax) throw tooMany(`${this.reserved} watches are open`, watchesMax);
    this.ofCaller.set(caller, own + 1);
    this.reserved += 1;
  }

  release(caller: string): void {
    const left = this.ofCaller.get(caller)! - 1;
    if (left === 0) this.ofCaller.delete(caller);
    else this.ofCaller.set(caller, left);
    this.reserved -= 1;
    if (this.reserved === 0) this.drained?.resolve();
  }

  add(watcher: Watcher, caller: string): void {
    this.open.set(watcher, caller);
    if (watcher.isRestless) this.restless.add(watcher);
  }

  remove(watcher: Watcher): void {
    this.restless.delete(watcher);
    const caller = this.open.get(watcher);
    if (this.open.delete(watcher)) this.release(caller!);
  }

  /** Nothing is as it was: everybody looks. */
  wake(): void {
    for (const watcher of this.open.keys()) watcher.ring();
  }

  /** The feed has moved: those look that must get somewhere, whatever matches. */
  wakeRestless(): void {
    for (const watcher of this.restless) {
      if (watcher.isRestless) watcher.ring();
      else this.restless.delete(watcher);
    }
  }

  /** Has every watch say where it stands. */
  remind(): void {
    for (const watcher of this.open.keys()) watcher.remind();
  }

  tick(): void {
    const now = performance.now();
    for (const watcher of this.open.keys()) watcher.tick(now);
  }

  /** Lets nobody in, has every watch say goodbye, and resolves when the last one is closed. */
  async drain(): Promise<void> {
    this.drained ??= Promise.withResolvers<void>();
    if (this.reserved === 0) this.drained.resolve();
    this.wake();
    await this.drained.promise;
  }

  async close(): Promise<void> {
    this.drained ??= Promise.withResolvers<void>();
    for (const watcher of this.open.keys()) await watcher.return();
  }
}

function tooMany(what: string, max: number): DomainError {
  return new DomainError('OVERLOADED', `${what}; at most ${max}`, { metadata: { watches_max: `${max}` }, retryAfterMs: 1_000 });
}
