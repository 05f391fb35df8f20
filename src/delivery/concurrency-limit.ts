/** The limit at the start. */
const START = 128;
/** The lowest limit. */
export const LOWEST_CONCURRENCY = 32;
/** What the limit is multiplied by when calls wait at the endpoint, and divided by when they do not. */
const STEP = 0.75;
/** With so few calls in flight, none waits behind another one. */
const ALONE = 8;
/** How much more than the base latency is no sign that calls wait: a factor, and milliseconds. */
const TOLERANCE = 2;
const TOLERANCE_MS = 5;
/** After this time, a base latency that was not measured again counts no more, in milliseconds. */
const BASE_MS = 60_000;

/**
 * Lowers the number of calls in flight while calls wait at an endpoint.
 *
 * An endpoint that is busy accepts no more calls per second when more are in flight. They wait there, and a message to a small audience
 * waits behind the calls of a large send. Then even the fastest of many calls takes longer than a call does alone. At an endpoint with
 * capacity, some calls are slow and others are as fast as ever, so the fastest one is compared.
 */
export class ConcurrencyLimit {
  readonly #most: number;
  #limit: number;
  /** The latency of a call that does not wait. */
  #baseMs = Number.POSITIVE_INFINITY;
  #baseAt = Number.NEGATIVE_INFINITY;
  /** The fastest call since the last step. */
  #fastestMs = Number.POSITIVE_INFINITY;
  #answers = 0;

  /** @param most the highest limit */
  constructor(most: number) {
    this.#most = most;
    this.#limit = Math.min(START, most);
  }

  get limit(): number {
    return this.#limit;
  }

  /**
   * Counts a call that was accepted.
   *
   * @param ms from the call to its answer
   * @param inFlight calls in flight, this one included
   */
  answered(ms: number, inFlight: number, now = performance.now()): void {
    if (ms < this.#baseMs || now - this.#baseAt > BASE_MS) {
      this.#baseMs = ms;
      this.#baseAt = now;
    } else if (inFlight <= ALONE && !this.#isWaiting(ms)) this.#baseAt = now;
    // Fewer calls than allowed say nothing about the limit.
    if (inFlight < this.#limit) return;
    this.#fastestMs = Math.min(this.#fastestMs, ms);
    if (++this.#answers < this.#limit) return;
    this.#limit = this.#isWaiting(this.#fastestMs)
      ? Math.max(Math.min(LOWEST_CONCURRENCY, this.#most), Math.floor(this.#limit * STEP))
      : Math.min(this.#most, Math.ceil(this.#limit / STEP));
    this.#answers = 0;
    this.#fastestMs = Number.POSITIVE_INFINITY;
  }

  #isWaiting(ms: number): boolean {
    return ms > TOLERANCE * this.#baseMs + TOLERANCE_MS;
  }
}
