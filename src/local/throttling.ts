import { ConfigurationError } from "../errors.ts";
import type { Throttling } from "./apis.ts";
import type { Clock } from "./clock.ts";
import { checkShape, type Shape } from "./shape.ts";

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

/** What is left to an account, all its APIs together. Undefined is an account, or a part of it, that takes everything. */
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

/** @throws ConfigurationError for what is none */
export function checkAccount(throttling: AccountThrottling): void {
  checkShape("accountThrottling", throttling, ACCOUNT);
  for (const name of ["connections", "requests"] as const)
    checkedThrottling(`accountThrottling: ${name}`, throttling[name]);
}

/** @throws ConfigurationError for what is no rate or burst */
export function checkedThrottling<Checked extends Throttling | undefined>(
  name: string,
  throttling: Checked,
): Checked {
  if (throttling === undefined) return throttling;
  checkShape(name, throttling, THROTTLING);
  if (throttling.ratePerSecond >= 0 && throttling.burst >= 0) return throttling;
  throw new ConfigurationError(
    `${name} is no throttling. Write: { ratePerSecond: 10, burst: 5 }, numbers from 0.`,
  );
}

/** A token bucket, full at first. Source: AWS developer guide, "Protect your WebSocket APIs". */
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

  get hasToken(): boolean {
    return this.#limit.ratePerSecond > 0 && this.#filled() >= 1;
  }

  take(): void {
    this.#tokens = this.#filled() - 1;
    this.#at = this.#clock.now();
  }

  /** What is not taken leaves the bucket as it was: parts of a token, added up one by one, would never be a whole. */
  #filled(): number {
    const { ratePerSecond, burst } = this.#limit;
    const now = this.#clock.now();
    // The clock was set back. The bucket keeps what it has, and is filled from now on.
    this.#at = Math.min(this.#at, now);
    return Math.min(burst, this.#tokens + ((now - this.#at) / 1000) * ratePerSecond);
  }
}

/** Takes a token of each bucket, or of none of them where one is empty. */
export function takeEach(buckets: readonly (TokenBucket | undefined)[]): boolean {
  if (!buckets.every((bucket) => bucket?.hasToken ?? true)) return false;
  for (const bucket of buckets) bucket?.take();
  return true;
}
