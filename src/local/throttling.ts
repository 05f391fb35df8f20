import { ConfigurationError } from "../errors.ts";
import type { Throttling } from "./apis.ts";
import type { Clock } from "./clock.ts";

/** What all APIs of an account may take together. */
export interface AccountThrottling {
  /** New connections. Default 500 a second and 500 at once. */
  readonly connections?: Throttling;
  /** Requests: each connect, each message, and each call of the Management API. Default 10 000 a second and 5 000 at once. */
  readonly requests?: Throttling;
}

/** Source: AWS developer guide, quotas. A burst of connections is not named there: what a second brings. */
const ACCOUNT_CONNECTIONS: Throttling = { ratePerSecond: 500, burst: 500 };
const ACCOUNT_REQUESTS: Throttling = { ratePerSecond: 10_000, burst: 5_000 };

/** What is left to an account, all its APIs together. */
export class Account {
  readonly #connections: TokenBuckets | undefined;
  readonly #requests: TokenBuckets | undefined;

  /** @param throttling undefined for an account that takes everything */
  constructor(throttling: AccountThrottling | undefined, clock: Clock) {
    if (!throttling) return;
    this.#connections = new TokenBuckets(throttling.connections ?? ACCOUNT_CONNECTIONS, clock);
    this.#requests = new TokenBuckets(throttling.requests ?? ACCOUNT_REQUESTS, clock);
  }

  /** Whether it takes one more connection now, which is a request as well. */
  takesConnection(): boolean {
    return (this.#connections?.take("") ?? true) && this.takesRequest();
  }

  /** Whether it takes one more request now. */
  takesRequest(): boolean {
    return this.#requests?.take("") ?? true;
  }
}

/** @throws ConfigurationError for what is no rate or burst */
export function checkedThrottling<Checked extends Throttling | undefined>(
  name: string,
  throttling: Checked,
): Checked {
  if (throttling === undefined || (throttling.ratePerSecond >= 0 && throttling.burst >= 0)) return throttling;
  throw new ConfigurationError(
    `${name} is no throttling. Write: { ratePerSecond: 10, burst: 5 }, numbers from 0.`,
  );
}

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
