import type { Rate } from "./rate-limiter.ts";

/** The refusals in a row after which a connection is set aside, while other connections are served. */
const SET_ASIDE_REFUSALS = 2;
/** The fewest refusals in a row after which a connection is too slow. */
const TOO_SLOW_REFUSALS = 4;
/** The time of refusals after which a connection is too slow, in milliseconds. */
const TOO_SLOW_MS = 3000;
/** So many recoveries of connections within the time below show that requests in general are throttled, and not one client. */
const RECOVERED = 3;
/** How long a recovery counts, in milliseconds. While an endpoint throttles, recoveries follow each other closely. */
const RECOVERED_MS = 1000;
/** The refusals of one connection count at most once in this time as evidence that an endpoint throttles, in milliseconds. */
const EVIDENCE_EVERY_MS = 100;

/** The refusals in a row of one connection. */
export interface Refusals {
  /** Calls that were not accepted since the last one that was, for whatever reason. */
  inRow: number;
  /** Those with 429 since {@link since}. */
  streak: number;
  /** By `performance.now()`. */
  since: number;
  evidenceAt: number;
  /** The endpoint's counters at the last refusal, and when the streak began. */
  acceptedAtLast: number;
  acceptedAtStart: number;
}

export function noRefusals(): Refusals {
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
 * Distinguishes two causes of a 429, which look alike: the account sends too many requests, or the buffer of one client is full.
 *
 * An account that is throttled refuses calls to any connection, and the same connection is accepted on a later try. A client that does
 * not read is refused each time, while the calls to other connections are accepted.
 *
 * Source: AWS, API Gateway Management API, `LimitExceededException`.
 */
export class Throttling {
  readonly #rate: Rate;
  /** Calls that were accepted. */
  #accepted = 0;
  /** When connections were accepted after a refusal: the last {@link RECOVERED} times, by `performance.now()`. */
  readonly #recoveredAt: number[] = [];

  /** @param rate the pace of the endpoint */
  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** Counts a call that was accepted. @param refusals of its connection; undefined if there were none */
  accepted(refusals: Refusals | undefined, now = performance.now()): void {
    this.#accepted++;
    if (!refusals || refusals.inRow === 0) return;
    if (refusals.streak > 0 && this.#recoveredAt.push(now) > RECOVERED) this.#recoveredAt.shift();
    refusals.inRow = 0;
    refusals.streak = 0;
  }

  /** Counts a call that failed for another reason than throttling. */
  failed(refusals: Refusals): void {
    if (refusals.inRow++ === 0) this.#begin(refusals, performance.now());
  }

  /**
   * Counts a 429.
   *
   * @returns whether it is evidence that the endpoint throttles
   */
  refused(refusals: Refusals, now = performance.now()): boolean {
    const isRepeated = refusals.streak > 0;
    // A connection that is refused again while others are served says nothing about the endpoint.
    const isEvidence =
      now - refusals.evidenceAt >= EVIDENCE_EVERY_MS &&
      (!isRepeated || this.#accepted === refusals.acceptedAtLast);
    if (isEvidence) refusals.evidenceAt = now;
    if (!isRepeated || this.#rate.isSlowed) this.#begin(refusals, now);
    refusals.acceptedAtLast = this.#accepted;
    refusals.inRow++;
    refusals.streak++;
    return isEvidence;
  }

  /** Whether the retries of a connection are kept apart, because it is refused while others are served. */
  isSetAside(refusals: Refusals | undefined, now = performance.now()): boolean {
    return refusals !== undefined && refusals.streak >= SET_ASIDE_REFUSALS && this.#isAlone(refusals, now);
  }

  /** Whether a connection was refused for so long, while others were served, that it is to be closed. */
  isTooSlow(refusals: Refusals | undefined, now = performance.now()): boolean {
    return (
      refusals !== undefined &&
      refusals.streak >= TOO_SLOW_REFUSALS &&
      now - refusals.since >= TOO_SLOW_MS &&
      this.#isAlone(refusals, now)
    );
  }

  /** The time until {@link isTooSlow} may be true without another refusal, in milliseconds. */
  tooSlowInMs(refusals: Refusals | undefined, now = performance.now()): number {
    if (!refusals || refusals.streak < TOO_SLOW_REFUSALS) return Number.POSITIVE_INFINITY;
    return Math.max(0, refusals.since + TOO_SLOW_MS - now);
  }

  /** Whether a connection is not accepted, while other connections of the endpoint are. */
  isAlone(refusals: Refusals | undefined, now = performance.now()): boolean {
    return refusals !== undefined && refusals.inRow > 0 && this.#isAlone(refusals, now);
  }

  #isAlone({ acceptedAtStart }: Refusals, now: number): boolean {
    return !this.#rate.isSlowed && this.#accepted > acceptedAtStart && !this.#othersRecover(now);
  }

  #othersRecover(now: number): boolean {
    const [first = 0] = this.#recoveredAt;
    return this.#recoveredAt.length >= RECOVERED && now - first < RECOVERED_MS;
  }

  #begin(refusals: Refusals, now: number): void {
    refusals.streak = 0;
    refusals.since = now;
    refusals.acceptedAtStart = this.#accepted;
  }
}
