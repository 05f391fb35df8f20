import { setTimeout as sleep } from "node:timers/promises";

/** Waits for a number of milliseconds. @throws AbortError if the run is interrupted */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, undefined, signal && { signal });
}

/** Returns a function that returns the milliseconds since this call. */
export function stopwatch(): () => number {
  const startedAt = performance.now();
  return () => Math.round(performance.now() - startedAt);
}

/** Rejects if a promise is not settled in time. The promise itself continues. */
export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  const limit = new AbortController();
  const late = sleep(ms, undefined, { signal: limit.signal }).then(() => {
    throw new Error(`${what}: nothing happened within ${ms} ms.`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    late.catch(() => undefined);
    limit.abort();
  }
}

/**
 * Calls a function until it returns a value.
 *
 * @throws Error if it still returns undefined after the time limit
 */
export async function poll<T>(
  what: string,
  limitMs: number,
  read: () => Promise<T | undefined>,
  { signal, everyMs = 500 }: { readonly signal?: AbortSignal; readonly everyMs?: number } = {},
): Promise<T> {
  const elapsed = stopwatch();
  for (;;) {
    const value = await read();
    if (value !== undefined) return value;
    if (elapsed() > limitMs) throw new Error(`${what}: not the case within ${limitMs} ms.`);
    await pause(everyMs, signal);
  }
}
