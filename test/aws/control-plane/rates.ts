import { type AwsError, tooMany } from "./operations.ts";

/**
 * The clock of a control plane. Tests advance it. It also advances by itself for callers that wait
 * in real time.
 */
export class Clock {
  #now = Date.UTC(2026, 10, 26);
  readonly #startedAt: number | undefined;

  constructor({ runs }: { readonly runs: boolean }) {
    this.#startedAt = runs ? Date.now() : undefined;
  }

  get now(): number {
    return this.#now + (this.#startedAt === undefined ? 0 : Date.now() - this.#startedAt);
  }

  advance(ms: number): void {
    this.#now += Math.ceil(ms);
  }
}

class Bucket {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #at: number;

  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = clock.now;
  }

  take(): boolean {
    const gained = ((this.#clock.now - this.#at) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#at = this.#clock.now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** Rate limits of the control plane. Source: AWS developer guide, "Amazon API Gateway quotas". */
export class Rates {
  readonly #all: Bucket;
  readonly #slow: ReadonlyMap<string, Bucket>;

  constructor(clock: Clock) {
    this.#all = new Bucket(clock, 10, 40);
    this.#slow = new Map([
      ["CreateDeployment", new Bucket(clock, 1 / 5, 1)],
      ["CreateDomainName", new Bucket(clock, 1 / 30, 1)],
      ["UpdateDomainName", new Bucket(clock, 1 / 30, 1)],
      ["DeleteDomainName", new Bucket(clock, 1 / 30, 1)],
    ]);
  }

  /** Counts a call, and returns the error if it exceeds a limit. */
  rejection(operation: string): AwsError | undefined {
    const isTaken = this.#all.take() && (this.#slow.get(operation)?.take() ?? true);
    return isTaken ? undefined : tooMany();
  }
}
