import type { Rate } from "./rate-limiter.ts";

/**
 * Consecutive rejections after which a connection is set aside, if other connections are served.
 */
const SET_ASIDE_REFUSALS = 2;
/** Minimum number of consecutive rejections after which a connection is too slow. */
const TOO_SLOW_REFUSALS = 4;
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
  inRow: number;
  /** Number of calls with status 429 since {@link since}. */
  streak: number;
  /** Start of the streak, by `performance.now()`. */
  since: number;
  /** When a rejection last showed throttling, by `performance.now()`. */
  evidenceAt: number;
  /** Accepted calls of the endpoint at the last rejection. */
  acceptedAtLast: number;
  /** Accepted calls of the endpoint at the start of the streak. */
  acceptedAtStart: number;
}

/** Returns the counters of a connection without rejections. */
export function noRejections(): Rejections {
  return {
    inRow: 0,
    streak: 0,
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
   * @param refusals rejections of the connection, or `undefined` if there are none
   */
  accepted(refusals: Rejections | undefined, now = performance.now()): void {
    this.#accepted++;
    if (!refusals || refusals.inRow === 0) return;
    if (refusals.streak > 0 && this.#recoveredAt.push(now) > RECOVERED) this.#recoveredAt.shift();
    refusals.inRow = 0;
    refusals.streak = 0;
  }

  /** Counts a call that failed with another status than 429. */
  failed(refusals: Rejections): void {
    if (refusals.inRow++ === 0) this.#startStreak(refusals, performance.now());
  }

  /**
   * Counts a call with status 429.
   *
   * @returns whether it shows that the endpoint throttles
   */
  refused(refusals: Rejections, now = performance.now()): boolean {
    const isRepeated = refusals.streak > 0;
    // A repeated rejection while other connections are served does not show throttling.
    const isEvidence =
      now - refusals.evidenceAt >= EVIDENCE_EVERY_MS &&
      (!isRepeated || this.#accepted === refusals.acceptedAtLast);
    if (isEvidence) refusals.evidenceAt = now;
    if (!isRepeated || this.#rate.isSlowed) this.#startStreak(refusals, now);
    refusals.acceptedAtLast = this.#accepted;
    refusals.inRow++;
    refusals.streak++;
    return isEvidence;
  }

  /**
   * Returns whether a connection is set aside: it is rejected while other connections are served.
   */
  isSetAside(refusals: Rejections | undefined, now = performance.now()): boolean {
    return refusals !== undefined && refusals.streak >= SET_ASIDE_REFUSALS && this.#isAlone(refusals, now);
  }

  /**
   * Returns whether a connection must be closed: it was rejected for too long while others were
   * served.
   */
  isTooSlow(refusals: Rejections | undefined, now = performance.now()): boolean {
    return (
      refusals !== undefined &&
      refusals.streak >= TOO_SLOW_REFUSALS &&
      now - refusals.since >= TOO_SLOW_MS &&
      this.#isAlone(refusals, now)
    );
  }

  /**
   * Returns the time until {@link isTooSlow} can be true without another rejection, in
   * milliseconds.
   */
  tooSlowInMs(refusals: Rejections | undefined, now = performance.now()): number {
    if (!refusals || refusals.streak < TOO_SLOW_REFUSALS) return Number.POSITIVE_INFINITY;
    return Math.max(0, refusals.since + TOO_SLOW_MS - now);
  }

  /**
   * Returns whether a connection is rejected while other connections of the endpoint are served.
   */
  isAlone(refusals: Rejections | undefined, now = performance.now()): boolean {
    return refusals !== undefined && refusals.inRow > 0 && this.#isAlone(refusals, now);
  }

  #isAlone({ acceptedAtStart }: Rejections, now: number): boolean {
    return !this.#rate.isSlowed && this.#accepted > acceptedAtStart && !this.#othersRecover(now);
  }

  #othersRecover(now: number): boolean {
    const [first = 0] = this.#recoveredAt;
    return this.#recoveredAt.length >= RECOVERED && now - first < RECOVERED_MS;
  }

  #startStreak(refusals: Rejections, now: number): void {
    refusals.streak = 0;
    refusals.since = now;
    refusals.acceptedAtStart = this.#accepted;
  }
}
