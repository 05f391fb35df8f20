/** Interval of the timer, in milliseconds. */
const INTERVAL_MS = 250;
/** Minimum delay that is recorded, in milliseconds. */
const MIN_STALL_MS = 1000;

/**
 * Records each time a timer of this process was late by a second or more, because the process or
 * the machine was busy. Calls can fail for that reason, so the times are printed with the failures.
 */
export class Stalls {
  readonly #stalls: { readonly at: number; readonly ms: number }[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor() {
    let last = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      const ms = now - last - INTERVAL_MS;
      if (ms >= MIN_STALL_MS) this.#stalls.push({ at: Date.now(), ms });
      last = now;
    }, INTERVAL_MS).unref();
  }

  /** Returns a line for each stall since the start. */
  report(processName: string): readonly string[] {
    return this.#stalls.map(
      ({ at, ms }) =>
        `${new Date(at).toISOString()} ${processName} was stalled for ${(ms / 1000).toFixed(1)} s`,
    );
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
