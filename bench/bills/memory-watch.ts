/** What memory this process takes at the most, while something is done. */
import { readFileSync } from 'node:fs';

/** In bytes. */
export interface MemoryUse {
  readonly rssBefore: number;
  /** The highest that was sampled, every 5 ms and every 1,000 rows. */
  readonly rssSampled: number;
  /** The highest by the kernel's own mark. */
  readonly rssPeak: number;
  /** What getrusage says: it begins with the memory of the process that this one was forked from, so that it may say too much. */
  readonly maxRss: number;
}

export class MemoryWatch {
  private readonly before = process.memoryUsage.rss();
  private highest = this.before;
  private readonly timer = setInterval(() => this.sample(), 5);

  sample(): void {
    this.highest = Math.max(this.highest, process.memoryUsage.rss());
  }

  stop(): MemoryUse {
    clearInterval(this.timer);
    this.sample();
    const maxRss = process.resourceUsage().maxRSS * 1_024;
    return { rssBefore: this.before, rssSampled: this.highest, rssPeak: markOfKernel() ?? maxRss, maxRss };
  }
}

/** Null where there is no /proc. */
function markOfKernel(): number | null {
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    return match === null ? null : Number(match[1]) * 1_024;
  } catch {
    return null;
  }
}
