import { beforeEach, describe, expect, test } from "vitest";
import { ConcurrencyLimit, LOWEST_CONCURRENCY } from "./in-flight.ts";

let now: number;
beforeEach(() => {
  now = 0;
});

/**
 * The latency of an endpoint that completes `perMs` calls per millisecond.
 * It answers a single call after `alone` to four times `alone` milliseconds.
 */
const endpoint =
  (perMs: number, alone: number) =>
  (inFlight: number): number =>
    Math.max(alone * (1 + 3 * Math.random()), inFlight / perMs);

/** Reports answers while as many calls as allowed are in flight. Returns the limit after each answer. */
function run(limit: ConcurrencyLimit, latency: (inFlight: number) => number, answers: number): number[] {
  return Array.from({ length: answers }, () => {
    now += 1;
    limit.answered(latency(limit.limit), limit.limit, now);
    return limit.limit;
  });
}

const alone = (limit: ConcurrencyLimit, ms: number) => {
  for (let call = 0; call < 20; call++) limit.answered(ms * (1 + Math.random()), 1, now);
};

describe("the number of calls in flight", () => {
  test("rises to the maximum at an endpoint that has capacity, though many calls are slow", () => {
    const limit = new ConcurrencyLimit(256);
    alone(limit, 20);
    run(limit, endpoint(1000, 20), 1000);
    expect(Math.min(...run(limit, endpoint(1000, 20), 20_000))).toBe(256);
  });

  test("falls while calls wait at the endpoint, and rises when they no longer wait", () => {
    const limit = new ConcurrencyLimit(256);
    alone(limit, 1);
    run(limit, endpoint(3, 1), 1000);
    expect(Math.max(...run(limit, endpoint(3, 1), 10_000))).toBeLessThan(2 * LOWEST_CONCURRENCY);
    run(limit, endpoint(1000, 1), 2000);
    expect(limit.limit).toBe(256);
  });

  test("does not change while fewer are in flight than allowed", () => {
    const limit = new ConcurrencyLimit(256);
    alone(limit, 1);
    for (let call = 0; call < 1000; call++) limit.answered(500, limit.limit - 1, now);
    expect(limit.limit).toBe(128);
  });

  test("rises again one minute after each call became slower", () => {
    const limit = new ConcurrencyLimit(256);
    alone(limit, 1);
    run(limit, endpoint(1000, 20), 1000);
    expect(limit.limit).toBe(LOWEST_CONCURRENCY);
    now += 60_000;
    run(limit, endpoint(1000, 20), 2000);
    expect(limit.limit).toBe(256);
  });

  test("never exceeds a maximum below the lowest limit", () => {
    const limit = new ConcurrencyLimit(8);
    expect(new Set(run(limit, endpoint(1, 1), 1000))).toEqual(new Set([8]));
  });
});
