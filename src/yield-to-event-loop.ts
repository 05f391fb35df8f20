/**
 * Yields to timers and sockets. A database inside the process would otherwise answer before them.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
