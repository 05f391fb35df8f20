import { describe, expect, test } from "vitest";
import { ConcurrencyLimit, LOWEST_CONCURRENCY } from "./concurrency-limit.ts";

/** The latency of an endpoint with a capacity of calls per millisecond, which answers a single call after some time. */
const endpoint =
  (perMs: number, alone: number) =>
  (inFlight: number): number =>
    Math.max(alone, inFlight / perMs);

function run(limit: ConcurrencyLimit, latency: (inFlight: number) => number, answers: number): number[] {
  const limits: number[] = [];
  for (let answer = 0; answer < answers; answer++) {
    limit.answered(latency(limit.limit) * (0.8 + 0.4 * Math.random()));
    limits.push(limit.limit);
  }
  return limits;
}

describe("the number of calls in flight", () => {
  test("rises to the maximum at an endpoint whose latency does not depend on it", () => {
    const limit = new ConcurrencyLimit(256);
    run(limit, endpoint(1000, 20), 2000);
    const limits = run(limit, endpoint(1000, 20), 20_000);
    expect(limits.filter((one) => one === 256).length).toBeGreaterThan(15_000);
    expect(Math.min(...limits)).toBeGreaterThan(100);
  });

  test("falls at an endpoint where calls wait", () => {
    const limit = new ConcurrencyLimit(256);
    run(limit, endpoint(3, 1), 1000);
    const limits = run(limit, endpoint(3, 1), 20_000);
    expect(Math.max(...limits)).toBeLessThanOrEqual(Math.ceil(LOWEST_CONCURRENCY / 0.7));
  });

  test("stays at what an endpoint handles at once", () => {
    const limit = new ConcurrencyLimit(256);
    // 5 calls per millisecond, 20 ms each: 100 in flight are as fast as more.
    const limits = run(limit, endpoint(5, 20), 50_000).slice(5000);
    const mean = limits.reduce((all, one) => all + one, 0) / limits.length;
    expect(mean).toBeGreaterThan(70);
    expect(mean).toBeLessThan(180);
  });

  test("rises again when the endpoint became faster", () => {
    const limit = new ConcurrencyLimit(256);
    run(limit, endpoint(3, 1), 5000);
    run(limit, endpoint(1000, 20), 20_000);
    expect(limit.limit).toBeGreaterThan(150);
  });

  test("never exceeds a maximum below the lowest limit", () => {
    const limit = new ConcurrencyLimit(8);
    expect(new Set(run(limit, endpoint(1, 1), 1000))).toEqual(new Set([8]));
  });
});
