/** How long calls that were not made are saved up, in milliseconds. */
const BURST_MS = 50;
/** How far ahead urgent calls are taken, in milliseconds. */
const ADVANCE_MS = 1000;
/** How long answers are counted before the pace is judged, in milliseconds. */
const WINDOW_MS = 100;
/** A share of refusals that one slow client alone does not make. */
const THROTTLED_SHARE = 0.05;
const THROTTLED_CALLS = 5;
const SLOWER = 0.7;
/** What is gained back in a window, as a share of the whole. */
const GAIN = 0.05;
const LEAST = 0.02;

/**
 * How many calls a second a process makes, whatever endpoints they go to: the quota is the account's. A token bucket, whose rate
 * grows by addition and shrinks by multiplication (AIMD).
 *
 * Slower by three tenths for as long as the gateway says that there are too many, and then by and by as before.
 */
export class Rate {
  readonly #most: number;
  #share = 1;
  #saved: number;
  #at: number;
  #window = { from: 0, calls: 0, throttled: 0 };

  /** @param perSecond `Infinity` for as many as there are */
  constructor(perSecond: number, now = performance.now()) {
    this.#most = perSecond;
    this.#saved = this.#burst;
    this.#at = now;
    this.#window.from = now;
  }

  /** Whether the gateway has lately had too many calls. */
  get isSlowed(): boolean {
    return this.#share < 1 || this.#isTooFast;
  }

  get #isTooFast(): boolean {
    const { calls, throttled } = this.#window;
    return throttled >= THROTTLED_CALLS && throttled >= calls * THROTTLED_SHARE;
  }

  /** What is left of the whole pace after refusals: from 1 down to a fiftieth. */
  get share(): number {
    return this.#share;
  }

  /**
   * Takes one call's turn.
   *
   * @param isUrgent may be taken up to a second in advance, for which others wait then
   * @returns 0, or after how many milliseconds to ask again: nothing was taken
   */
  take(isUrgent: boolean, now = performance.now()): number {
    if (this.#most === Infinity && this.#share === 1) return 0;
    const perMs = this.#perMs();
    this.#saved = Math.min(this.#burst, this.#saved + (now - this.#at) * perMs);
    // What was taken in advance at a faster pace is not to be made good at a slower one.
    this.#saved = Math.max(this.#saved, -perMs * ADVANCE_MS);
    this.#at = now;
    const needed = isUrgent ? 1 - perMs * ADVANCE_MS : 1;
    if (this.#saved < needed) return (needed - this.#saved) / perMs;
    this.#saved--;
    return 0;
  }

  /** Notes an answer. */
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

/** What a pace without bounds is slowed down from. */
const UNBOUNDED_PER_SECOND = 10_000;
