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

/**
 * Consecutive rejections after which a connection is set aside, if other connections are served.
 */
const SET_ASIDE_REJECTIONS = 2;
/** Minimum number of consecutive rejections after which a connection is too slow. */
const TOO_SLOW_REJECTIONS = 4;
/** Time of consecutive rejections after which a connection is too slow, in milliseconds. */
const TOO_SLOW_MS = 3000;
/** Number of recoveries within {@link RECOVERED_MS} that shows that the account is throttled. */
const RECOVERED = 3;
/**
 * How long a recovery counts, in milliseconds. While an endpoint throttles, recoveries are
 * frequent.
 */
const RECOVERED_MS = 1000;
/** Minimum time between two rejections of one connection that show throttling, in milliseconds. */
const EVIDENCE_EVERY_MS = 100;

/** The consecutive rejections of one connection. */
export interface Rejections {
  /** Number of rejected calls since the last accepted call, for any reason. */
  consecutiveFailures: number;
  /** Number of calls with status 429 since {@link since}. */
  consecutiveThrottles: number;
  /** Start of the consecutiveThrottles, by `performance.now()`. */
  since: number;
  /** When a rejection last showed throttling, by `performance.now()`. */
  evidenceAt: number;
  /** Accepted calls of the endpoint at the last rejection. */
  acceptedAtLast: number;
  /** Accepted calls of the endpoint at the start of the consecutiveThrottles. */
  acceptedAtStart: number;
}

/** Returns the counters of a connection without rejections. */
export function noRejections(): Rejections {
  return {
    consecutiveFailures: 0,
    consecutiveThrottles: 0,
    since: 0,
    evidenceAt: Number.NEGATIVE_INFINITY,
    acceptedAtLast: 0,
    acceptedAtStart: 0,
  };
}

/**
 * Distinguishes two causes of status 429: the account sends too many requests, or the buffer of one
 * client is full.
 *
 * If the account is throttled, calls to any connection are rejected, and a later call to the same
 * connection is accepted. If a client does not read, each call to it is rejected, while calls to
 * other connections are accepted.
 *
 * Source: AWS, API Gateway Management API, `LimitExceededException`.
 */
export class Throttling {
  readonly #rate: Rate;
  /** Number of accepted calls. */
  #accepted = 0;
  /**
   * When a connection was accepted after a rejection, by `performance.now()`. Contains the last
   * {@link RECOVERED} times.
   */
  readonly #recoveredAt: number[] = [];

  /** @param rate the rate limiter of the endpoint */
  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /**
   * Counts an accepted call.
   *
   * @param rejections rejections of the connection, or `undefined` if there are none
   */
  accepted(rejections: Rejections | undefined, now = performance.now()): void {
    this.#accepted++;
    if (!rejections || rejections.consecutiveFailures === 0) return;
    if (rejections.consecutiveThrottles > 0 && this.#recoveredAt.push(now) > RECOVERED)
      this.#recoveredAt.shift();
    rejections.consecutiveFailures = 0;
    rejections.consecutiveThrottles = 0;
  }

  /** Counts a call that failed with another status than 429. */
  failed(rejections: Rejections): void {
    if (rejections.consecutiveFailures++ === 0) this.#startStreak(rejections, performance.now());
  }

  /**
   * Counts a call with status 429.
   *
   * @returns whether it shows that the endpoint throttles
   */
  rejected(rejections: Rejections, now = performance.now()): boolean {
    const isRepeated = rejections.consecutiveThrottles > 0;
    // A repeated rejection while other connections are served does not show throttling.
    const isEvidence =
      now - rejections.evidenceAt >= EVIDENCE_EVERY_MS &&
      (!isRepeated || this.#accepted === rejections.acceptedAtLast);
    if (isEvidence) rejections.evidenceAt = now;
    if (!isRepeated || this.#rate.isSlowed) this.#startStreak(rejections, now);
    rejections.acceptedAtLast = this.#accepted;
    rejections.consecutiveFailures++;
    rejections.consecutiveThrottles++;
    return isEvidence;
  }

  /**
   * Returns whether a connection is set aside: it is rejected while other connections are served.
   */
  isSetAside(rejections: Rejections | undefined, now = performance.now()): boolean {
    return (
      rejections !== undefined &&
      rejections.consecutiveThrottles >= SET_ASIDE_REJECTIONS &&
      this.#isAlone(rejections, now)
    );
  }

  /**
   * Returns whether a connection must be closed: it was rejected for too long while others were
   * served.
   */
  isTooSlow(rejections: Rejections | undefined, now = performance.now()): boolean {
    return (
      rejections !== undefined &&
      rejections.consecutiveThrottles >= TOO_SLOW_REJECTIONS &&
      now - rejections.since >= TOO_SLOW_MS &&
      this.#isAlone(rejections, now)
    );
  }

  /**
   * Returns the time until {@link isTooSlow} can be true without another rejection, in
   * milliseconds.
   */
  tooSlowInMs(rejections: Rejections | undefined, now = performance.now()): number {
    if (!rejections || rejections.consecutiveThrottles < TOO_SLOW_REJECTIONS) return Number.POSITIVE_INFINITY;
    return Math.max(0, rejections.since + TOO_SLOW_MS - now);
  }

  /**
   * Returns whether a connection is rejected while other connections of the endpoint are served.
   */
  isAlone(rejections: Rejections | undefined, now = performance.now()): boolean {
    return rejections !== undefined && rejections.consecutiveFailures > 0 && this.#isAlone(rejections, now);
  }

  #isAlone({ acceptedAtStart }: Rejections, now: number): boolean {
    return !this.#rate.isSlowed && this.#accepted > acceptedAtStart && !this.#othersRecover(now);
  }

  #othersRecover(now: number): boolean {
    const [first = 0] = this.#recoveredAt;
    return this.#recoveredAt.length >= RECOVERED && now - first < RECOVERED_MS;
  }

  #startStreak(rejections: Rejections, now: number): void {
    rejections.consecutiveThrottles = 0;
    rejections.since = now;
    rejections.acceptedAtStart = this.#accepted;
  }
}
