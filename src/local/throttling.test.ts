import { describe, expect, test } from "vitest";
import { ManualClock } from "./clock.ts";
import { Account, TokenBuckets } from "./throttling.ts";

function setUp(ratePerSecond: number, burst: number) {
  const clock = new ManualClock(0);
  const buckets = new TokenBuckets({ ratePerSecond, burst }, clock);
  /** How many of so many are taken at once. */
  const taken = (tries: number, key = "") => {
    return Array.from({ length: tries }, () => buckets.take(key)).filter(Boolean).length;
  };
  return { clock, taken };
}

describe("token buckets", () => {
  test("begin full", () => {
    expect(setUp(1, 3).taken(10)).toBe(3);
  });

  test("fill again at their rate, a token when it is whole", () => {
    const { clock, taken } = setUp(4, 3);
    taken(3);
    clock.advance(249);
    expect(taken(1)).toBe(0);
    clock.advance(1);
    expect(taken(2)).toBe(1);
    clock.advance(500);
    expect(taken(3)).toBe(2);
  });

  test("lose nothing of what has filled by being asked in vain", () => {
    const { clock, taken } = setUp(1, 1);
    taken(1);
    for (let count = 0; count < 10; count++) {
      expect(taken(1)).toBe(0);
      clock.advance(100);
    }
    expect(taken(2)).toBe(1);
  });

  test("hold no more than their burst", () => {
    const { clock, taken } = setUp(1000, 2);
    clock.advance(3_600_000);
    expect(taken(10)).toBe(2);
    clock.advance(3_600_000);
    expect(taken(10)).toBe(2);
  });

  test("are one for each key", () => {
    const { taken } = setUp(1, 1);
    expect([taken(2, "one"), taken(2, "two"), taken(2, "one")]).toEqual([1, 1, 0]);
  });

  test.each([
    [0, 0],
    [0, 5],
    [5, 0],
  ])("take nothing by a rate of %d and a burst of %d, ever", (rate, burst) => {
    const { clock, taken } = setUp(rate, burst);
    expect(taken(3)).toBe(0);
    clock.advance(3_600_000);
    expect(taken(3)).toBe(0);
  });

  test("take one in so many seconds by a rate below 1", () => {
    const { clock, taken } = setUp(0.1, 1);
    taken(1);
    clock.advance(9_999);
    expect(taken(1)).toBe(0);
    clock.advance(1);
    expect(taken(1)).toBe(1);
  });
});

describe("an account", () => {
  /** How many of so many are taken at once. */
  const count = (tries: number, take: () => boolean) =>
    Array.from({ length: tries }, take).filter(Boolean).length;

  test("takes 5 000 requests at once and 10 000 a second, by AWS's quotas", () => {
    const clock = new ManualClock(0);
    const account = new Account({}, clock);
    expect(count(6_000, () => account.takesRequest())).toBe(5_000);
    clock.advance(100);
    expect(count(6_000, () => account.takesRequest())).toBe(1_000);
  });

  test("takes 500 new connections a second, by AWS's quotas, each of them a request", () => {
    const clock = new ManualClock(0);
    const account = new Account({}, clock);
    expect(count(600, () => account.takesConnection())).toBe(500);
    expect(count(6_000, () => account.takesRequest())).toBe(4_500);
    clock.advance(100);
    expect(count(600, () => account.takesConnection())).toBe(50);
  });

  test("takes everything without throttling", () => {
    const account = new Account(undefined, new ManualClock(0));
    expect(count(20_000, () => account.takesConnection())).toBe(20_000);
  });
});
