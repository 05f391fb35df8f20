/** How often a process checks that its timers run, in milliseconds. */
const EVERY_MS = 250;
/** A delay that is recorded, in milliseconds. */
const LEAST_MS = 1000;

/**
 * Records when the timers of this process were late by a second or more, because the process or the machine was busy. Calls can
 * fail for that reason, so the times are printed beside the failures.
 */
export class Stalls {
  readonly #stalls: { readonly at: number; readonly ms: number }[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor() {
    let last = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      const ms = now - last - EVERY_MS;
      if (ms >= LEAST_MS) this.#stalls.push({ at: Date.now(), ms });
      last = now;
    }, EVERY_MS).unref();
  }

  /** Returns a line for each stall so far. @param what names the process */
  report(what: string): readonly string[] {
    return this.#stalls.map(
      ({ at, ms }) =>
        `${new Date(at).toISOString()} ${what} had been stalled for ${(ms / 1000).toFixed(1)} s`,
    );
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
