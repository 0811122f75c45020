/** The platform's own time: the given clock plus what a test has advanced it by. */
export class VirtualClock {
  private aheadMs = 0;
  private readonly listeners: (() => void)[] = [];

  constructor(private readonly base: () => Date = () => new Date()) {}

  /** Milliseconds since the epoch. */
  now(): number {
    return this.base().getTime() + this.aheadMs;
  }

  /** Time only goes forward: a platform that takes back an expiry does not exist. */
  advance(ms: number): void {
    if (!Number.isSafeInteger(ms) || ms < 0) throw new Error(`the clock advances by whole milliseconds, not by ${ms}`);
    this.aheadMs += ms;
    for (const listener of this.listeners) listener();
  }

  onAdvance(listener: () => void): void {
    this.listeners.push(listener);
  }
}
