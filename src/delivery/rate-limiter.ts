/** The time for which unused requests are saved up, in milliseconds. */
const BURST_MS = 50;
/** How far ahead urgent requests are allowed, in milliseconds. */
const ADVANCE_MS = 1000;
/** The length of the window in which answers are counted before the pace is judged, in milliseconds. */
const WINDOW_MS = 100;
/** The fewest throttled requests, and their least share in a window, that lower the pace. */
const THROTTLED_SHARE = 0.05;
const THROTTLED_CALLS = 5;
/** What the pace is multiplied by for each window with too many throttled requests. */
const SLOWER = 0.7;
/** What is added to the share of the pace in each other window. */
const GAIN = 0.05;
const LEAST = 0.02;
/** The pace from which an endpoint without a limit is slowed down, in requests per second. */
const UNBOUNDED_PER_SECOND = 10_000;

/**
 * A limit of requests per second: a token bucket whose rate grows by addition and shrinks by multiplication (AIMD).
 *
 * The process has one for `maxRequestsPerSecond`. Each endpoint has one `within` it, which is slower while that endpoint throttles. So an
 * endpoint that throttles slows down no other endpoint.
 */
export class Rate {
  readonly #most: number;
  readonly #within: Rate | undefined;
  #share = 1;
  #saved: number;
  #at: number;
  #window = { from: 0, calls: 0, throttled: 0 };

  /**
   * @param perSecond `Infinity`: no limit
   * @param within a limit that the requests count against as well
   */
  constructor(perSecond: number, { within, now = performance.now() }: RateOptions = {}) {
    this.#most = perSecond;
    this.#within = within;
    this.#saved = this.#burst;
    this.#at = now;
    this.#window.from = now;
  }

  /** Whether too many requests were throttled lately. */
  get isSlowed(): boolean {
    return this.#share < 1 || this.#isTooFast;
  }

  get #isTooFast(): boolean {
    const { calls, throttled } = this.#window;
    return throttled >= THROTTLED_CALLS && throttled >= calls * THROTTLED_SHARE;
  }

  /** The share of the full pace that is left: from 1 down to 0.02. */
  get share(): number {
    return this.#share;
  }

  /**
   * Takes one token.
   *
   * @param isUrgent may be taken up to a second in advance, at the expense of later requests
   * @returns 0, or the number of milliseconds after which to try again, when no token was taken
   */
  take(isUrgent: boolean, now = performance.now()): number {
    // At the full pace, the limit that this one is within is at least as strict.
    if (this.#share === 1 && this.#within) return this.#within.take(isUrgent, now);
    if (this.#most === Infinity && this.#share === 1) return 0;
    const perMs = this.#perMs();
    this.#saved = Math.min(this.#burst, this.#saved + (now - this.#at) * perMs);
    // Tokens that were taken in advance at a faster pace are not paid back at a slower one.
    this.#saved = Math.max(this.#saved, -perMs * ADVANCE_MS);
    this.#at = now;
    const needed = isUrgent ? 1 - perMs * ADVANCE_MS : 1;
    if (this.#saved < needed) return (needed - this.#saved) / perMs;
    const wait = this.#within?.take(isUrgent, now) ?? 0;
    if (wait === 0) this.#saved--;
    return wait;
  }

  /** Counts an answer. @param isThrottled whether it is evidence that there were too many requests */
  answered(isThrottled: boolean, now = performance.now()): void {
    const window = this.#window;
    window.calls++;
    if (isThrottled) window.throttled++;
    if (now - window.from < WINDOW_MS) return;
    const windows = (now - window.from) / WINDOW_MS;
    this.#share = this.#isTooFast
      ? Math.max(LEAST, this.#share * SLOWER)
      : Math.min(1, this.#share + GAIN * Math.min(windows, 1 / GAIN));
    this.#window = { from: now, calls: 0, throttled: 0 };
  }

  get #burst(): number {
    return Math.max(1, (this.#most === Infinity ? UNBOUNDED_PER_SECOND : this.#most) * (BURST_MS / 1000));
  }

  #perMs(): number {
    return ((this.#most === Infinity ? UNBOUNDED_PER_SECOND : this.#most) * this.#share) / 1000;
  }
}

interface RateOptions {
  readonly within?: Rate;
  /** By `performance.now()`. */
  readonly now?: number;
}
