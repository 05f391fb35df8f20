import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Backoff } from "./backoff.ts";

describe("B68 Backoff", () => {
  it("doubles the upper bound up to maxMs", () => {
    const backoff = new Backoff({ baseMs: 500, maxMs: 3_000 }, () => 1);
    expect(Array.from({ length: 5 }, () => backoff.next())).toEqual([500, 1_000, 2_000, 3_000, 3_000]);
  });

  it("has default bounds of 500 ms and 15 s", () => {
    const backoff = new Backoff({}, () => 1);
    const waits = Array.from({ length: 8 }, () => backoff.next());
    expect(waits[0]).toBe(500);
    expect(waits[7]).toBe(15_000);
  });

  it("can return a wait of 0 ms", () => {
    const backoff = new Backoff({ baseMs: 400 }, () => 0);
    expect(backoff.next()).toBe(0);
  });

  it("starts from the base again after a reset", () => {
    const backoff = new Backoff({ baseMs: 100 }, () => 1);
    backoff.next();
    backoff.next();
    backoff.reset();
    expect(backoff.next()).toBe(100);
  });

  it("stays within its bounds after any number of failures", () => {
    fc.assert(
      fc.property(
        fc.nat(60_000),
        fc.nat(60_000),
        fc.integer({ min: 1, max: 2_000 }),
        (baseMs, maxMs, times) => {
          const backoff = new Backoff({ baseMs, maxMs });
          let wait = 0;
          for (let i = 0; i < times; i++) wait = backoff.next();
          return wait >= 0 && wait <= maxMs;
        },
      ),
      { numRuns: 50 },
    );
  });
});
