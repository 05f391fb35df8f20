/** How long to wait before trying again. */
export interface BackoffOptions {
  /** Upper bound of the first wait, in milliseconds; it doubles with each failure. Default 500. */
  readonly baseMs?: number;
  /** Upper bound of every wait, in milliseconds. Default 15 000. */
  readonly maxMs?: number;
}

/**
 * Waits that grow, each drawn anew between nothing and its bound, so that a thousand pages whose server went
 * away do not come back in the same moment.
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

  /** The next wait in milliseconds. Counts one more failure. */
  next(): number {
    const bound = Math.min(this.#maxMs, this.#baseMs * 2 ** Math.min(this.#failures++, 30));
    return this.#random() * bound;
  }

  /** All is well again: the next wait is a short one. */
  reset(): void {
    this.#failures = 0;
  }
}
