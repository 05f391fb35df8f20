import { setTimeout as sleep } from "node:timers/promises";

/** Waits for work, but no longer than a time. Keeps the process alive meanwhile, so that its caller always continues. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const time = sleep(ms, undefined, { signal: over.signal }).catch(() => undefined);
  await Promise.race([work, time]).finally(() => over.abort());
}
