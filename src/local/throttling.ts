import type { Throttling } from "./apis.ts";
import type { Clock } from "./clock.ts";

/** Token buckets, one for each key. Source: AWS developer guide, "Protect your WebSocket APIs". */
export class TokenBuckets {
  readonly #limit: Throttling;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, { tokens: number; at: number }>();

  constructor(limit: Throttling, clock: Clock) {
    this.#limit = limit;
    this.#clock = clock;
  }

  /** Takes a token where there is one. */
  take(key: string): boolean {
    const { ratePerSecond, burst } = this.#limit;
    if (ratePerSecond === 0) return false;
    const now = this.#clock.now();
    const bucket = this.#buckets.get(key) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * ratePerSecond);
    // What is not taken leaves the bucket as it was: parts of a token, added up one by one, would never be a whole.
    if (tokens < 1) return false;
    this.#buckets.set(key, { tokens: tokens - 1, at: now });
    return true;
  }
}
