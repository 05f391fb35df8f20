/** The waits between attempts to connect. Each wait is a random time between 0 and its maximum. */
export interface BackoffOptions {
  /**
   * The maximum of the first wait, in milliseconds. The maximum doubles with each failure. Default
   * 500.
   */
  readonly baseMs?: number;
  /** The maximum of every wait, in milliseconds. Default 15 000. */
  readonly maxMs?: number;
}

/**
 * Computes waits that grow with each failure. Each wait is random, so that thousands of pages do
 * not reconnect at the same time.
 *
 * Source: AWS Architecture Blog, "Exponential Backoff And Jitter", full jitter.
 */
export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor({ baseMs = 500, maxMs = 15_000 }: BackoffOptions = {}, random: () => number = Math.random) {
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** Counts a failure, and returns the next wait in milliseconds. */
  next(): number {
    const bound = Math.min(this.#maxMs, this.#baseMs * 2 ** Math.min(this.#failures++, 30));
    return this.#random() * bound;
  }

  /** Resets the number of failures, so that the next wait is short. */
  reset(): void {
    this.#failures = 0;
  }
}
