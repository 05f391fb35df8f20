import { ConfigurationError } from "../errors.ts";
import type { Throttling } from "./apis.ts";
import type { Clock } from "./clock.ts";
import { checkShape, type Shape } from "./shape.ts";

/** The limits of all APIs of an account together. */
export interface AccountThrottling {
  /** The limit of new connections. Default 500 per second, with a burst of 500. */
  readonly connections?: Throttling;
  /**
   * The limit of requests: each connect, each message, and each call of the Management API. Default
   * 10 000 per second, with a burst of 5 000.
   */
  readonly requests?: Throttling;
}

/**
 * The default limits. Source: AWS developer guide, quotas. The burst of connections is not
 * documented, so it is the number per second.
 */
const ACCOUNT_CONNECTIONS: Throttling = { ratePerSecond: 500, burst: 500 };
const ACCOUNT_REQUESTS: Throttling = { ratePerSecond: 10_000, burst: 5_000 };

/** The token buckets of an account. An undefined bucket has no limit. */
export class Account {
  readonly connections: TokenBucket | undefined;
  readonly requests: TokenBucket | undefined;

  constructor(throttling: AccountThrottling | undefined, clock: Clock) {
    if (!throttling) return;
    this.connections = new TokenBucket(throttling.connections ?? ACCOUNT_CONNECTIONS, clock);
    this.requests = new TokenBucket(throttling.requests ?? ACCOUNT_REQUESTS, clock);
  }
}

const THROTTLING = { ratePerSecond: "number", burst: "number" } as const satisfies Shape<Throttling>;

const ACCOUNT = { connections: "object", requests: "object" } as const satisfies Shape<AccountThrottling>;

/** @throws ConfigurationError for an invalid limit of the account */
export function checkAccount(throttling: AccountThrottling): void {
  checkShape("accountThrottling", throttling, ACCOUNT);
  for (const name of ["connections", "requests"] as const)
    checkedThrottling(`accountThrottling: ${name}`, throttling[name]);
}

/** Returns a limit unchanged. @throws ConfigurationError for an invalid rate or burst */
export function checkedThrottling<Checked extends Throttling | undefined>(
  name: string,
  throttling: Checked,
): Checked {
  if (throttling === undefined) return throttling;
  checkShape(name, throttling, THROTTLING);
  if (throttling.ratePerSecond >= 0 && throttling.burst >= 0) return throttling;
  throw new ConfigurationError(
    `${name} must have a rate and a burst of at least 0. Write: { ratePerSecond: 10, burst: 5 }.`,
  );
}

/**
 * A token bucket, which is full at the start. Source: AWS developer guide, "Protect your WebSocket
 * APIs".
 */
export class TokenBucket {
  readonly #limit: Throttling;
  readonly #clock: Clock;
  #tokens: number;
  #at: number;

  constructor(limit: Throttling, clock: Clock) {
    this.#limit = limit;
    this.#clock = clock;
    this.#tokens = limit.burst;
    this.#at = clock.now();
  }

  /** Whether the bucket contains a token. */
  get hasToken(): boolean {
    return this.#limit.ratePerSecond > 0 && this.#currentTokens() >= 1;
  }

  /** Takes a token. Call it only if the bucket has one. */
  take(): void {
    this.#tokens = this.#currentTokens() - 1;
    this.#at = this.#clock.now();
  }

  /**
   * Returns the current number of tokens without storing it. Adding many small parts would
   * accumulate rounding errors.
   */
  #currentTokens(): number {
    const { ratePerSecond, burst } = this.#limit;
    const now = this.#clock.now();
    // If the clock was set back, the bucket keeps its tokens and is filled from now on.
    this.#at = Math.min(this.#at, now);
    return Math.min(burst, this.#tokens + ((now - this.#at) / 1000) * ratePerSecond);
  }
}

/** Takes a token from each bucket, or from none of them if one is empty. */
export function takeEach(buckets: readonly (TokenBucket | undefined)[]): boolean {
  if (!buckets.every((bucket) => bucket?.hasToken ?? true)) return false;
  for (const bucket of buckets) bucket?.take();
  return true;
}
