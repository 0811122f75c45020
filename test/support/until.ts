import { setImmediate as turn } from 'node:timers/promises';

/** Waits for a condition, at the pace of the event loop and of the condition itself. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const started = performance.now();
  while (!(await condition())) {
    if (performance.now() - started > timeoutMs) throw new Error(`not true within ${timeoutMs} ms: ${condition.toString()}`);
    await turn();
  }
}
