import { setTimeout as sleep } from "node:timers/promises";

/** Waits for work, but at most `ms` milliseconds. The timer keeps the process alive until then. */
export async function waitAtMost(ms: number, work: Promise<unknown>): Promise<void> {
  const finished = new AbortController();
  const timeout = sleep(ms, undefined, { signal: finished.signal }).catch(() => undefined);
  await Promise.race([work, timeout]).finally(() => finished.abort());
}

/**
 * Returns the result of work. A later rejection of the work is ignored.
 *
 * @throws Error with the message if the work does not settle within `ms` milliseconds
 */
export async function withTimeout<Result>(
  ms: number,
  work: Promise<Result>,
  message: string,
): Promise<Result> {
  let settled = false;
  const settling = work.finally(() => {
    settled = true;
  });
  await waitAtMost(
    ms,
    settling.catch(() => undefined),
  );
  if (!settled) throw new Error(message);
  return settling;
}

/**
 * Yields to timers and sockets. A database inside the process would otherwise answer before them.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
