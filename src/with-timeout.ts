import { setTimeout as sleep } from "node:timers/promises";

/** Waits for work, but at most `ms` milliseconds. The timer keeps the process alive until then. */
export async function waitAtMost(ms: number, work: Promise<unknown>): Promise<void> {
  const finished = new AbortController();
  const timeout = sleep(ms, undefined, { signal: finished.signal }).catch(() => undefined);
  await Promise.race([work, timeout]).finally(() => finished.abort());
}
