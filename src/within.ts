import { setTimeout as sleep } from "node:timers/promises";

/** Waits for work, but no longer than a time. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const time = sleep(ms, undefined, { ref: false, signal: over.signal }).catch(() => undefined);
  await Promise.race([work, time]).finally(() => over.abort());
}
