/** One sleeper and many who may wake it. A ring before the sleep is not lost; rings do not add up. */
export class Bell {
  private rung = false;
  private wake: (() => void) | null = null;

  ring(): void {
    this.rung = true;
    this.wake?.();
  }

  /** Sleeps until the bell rings, or for so long. */
  async sleep(ms: number): Promise<void> {
    if (!this.rung && ms > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(ms, TIMER_MAX_MS));
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.wake = null;
    this.rung = false;
  }
}

/** setTimeout fires at once beyond 31 bits. */
const TIMER_MAX_MS = 2 ** 31 - 1;
