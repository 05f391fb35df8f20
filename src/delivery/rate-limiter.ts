/** Maximum time for which unused requests are saved, in milliseconds. */
const BURST_MS = 50;
/** How far in advance urgent requests may take tokens, in milliseconds. */
const ADVANCE_MS = 1000;
/** Length of the window of responses after which the rate is adjusted, in milliseconds. */
const WINDOW_MS = 100;
/** Minimum share of throttled requests in a window that lowers the rate. */
const THROTTLED_SHARE = 0.05;
/** Minimum number of throttled requests in a window that lowers the rate. */
const THROTTLED_CALLS = 5;
/** Factor of the rate after a window with too many throttled requests. */
const DECREASE_FACTOR = 0.7;
/** Increase of the share of the rate after each other window. */
const INCREASE = 0.05;
/** Minimum share of the rate. */
const MIN_SHARE = 0.02;
/** Initial rate of an endpoint without a limit when it throttles, in requests per second. */
const UNBOUNDED_PER_SECOND = 10_000;

/**
 * A limit of requests per second: a token bucket with an adaptive rate. The rate increases
 * additively and decreases multiplicatively (AIMD).
 *
 * The process has one limiter for `maxRequestsPerSecond`. Each endpoint has a limiter `within` it,
 * which is slower while that endpoint throttles. Other endpoints are not slowed down.
 */
export class Rate {
  readonly #max: number;
  readonly #within: Rate | undefined;
  #share = 1;
  #saved: number;
  #at: number;
  #window = { from: 0, calls: 0, throttled: 0 };

  /**
   * @param perSecond maximum number of requests per second. `Infinity` for no limit
   * @param within another limiter that also counts the requests
   */
  constructor(perSecond: number, { within, now = performance.now() }: RateOptions = {}) {
    this.#max = perSecond;
    this.#within = within;
    this.#saved = this.#burst;
    this.#at = now;
    this.#window.from = now;
  }

  /** Whether too many recent requests were throttled. */
  get isSlowed(): boolean {
    return this.#share < 1 || this.#isTooFast;
  }

  get #isTooFast(): boolean {
    const { calls, throttled } = this.#window;
    return throttled >= THROTTLED_CALLS && throttled >= calls * THROTTLED_SHARE;
  }

  /** The current share of the full rate, from 0.02 to 1. */
  get share(): number {
    return this.#share;
  }

  /**
   * Takes one token.
   *
   * @param isUrgent whether the token can be taken up to a second in advance. Later requests then
   *   wait longer
   * @returns 0 if a token was taken. Otherwise, the time until the next attempt in milliseconds
   */
  take(isUrgent: boolean, now = performance.now()): number {
    // At the full rate, the outer limiter is at least as strict.
    if (this.#share === 1 && this.#within) return this.#within.take(isUrgent, now);
    if (this.#max === Infinity && this.#share === 1) return 0;
    const perMs = this.#perMs();
    this.#saved = Math.min(this.#burst, this.#saved + (now - this.#at) * perMs);
    // Limits the debt of tokens that were taken in advance at a faster rate.
    this.#saved = Math.max(this.#saved, -perMs * ADVANCE_MS);
    this.#at = now;
    const needed = isUrgent ? 1 - perMs * ADVANCE_MS : 1;
    if (this.#saved < needed) return (needed - this.#saved) / perMs;
    const wait = this.#within?.take(isUrgent, now) ?? 0;
    if (wait === 0) this.#saved--;
    return wait;
  }

  /**
   * Counts a response.
   *
   * @param isThrottled whether the response shows that the endpoint throttles
   */
  answered(isThrottled: boolean, now = performance.now()): void {
    const window = this.#window;
    window.calls++;
    if (isThrottled) window.throttled++;
    if (now - window.from < WINDOW_MS) return;
    const windows = (now - window.from) / WINDOW_MS;
    this.#share = this.#isTooFast
      ? Math.max(MIN_SHARE, this.#share * DECREASE_FACTOR)
      : Math.min(1, this.#share + INCREASE * Math.min(windows, 1 / INCREASE));
    this.#window = { from: now, calls: 0, throttled: 0 };
  }

  get #burst(): number {
    return Math.max(1, (this.#max === Infinity ? UNBOUNDED_PER_SECOND : this.#max) * (BURST_MS / 1000));
  }

  #perMs(): number {
    return ((this.#max === Infinity ? UNBOUNDED_PER_SECOND : this.#max) * this.#share) / 1000;
  }
}

interface RateOptions {
  readonly within?: Rate;
  /** The current time of `performance.now()`, for tests. */
  readonly now?: number;
}
