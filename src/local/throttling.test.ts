import { describe, expect, test } from "vitest";
import { ManualClock } from "./clock.ts";
import { Account, TokenBucket, takeEach } from "./throttling.ts";

function setUp(ratePerSecond: number, burst: number) {
  const clock = new ManualClock(0);
  const bucket = new TokenBucket({ ratePerSecond, burst }, clock);
  /** Returns how many of a number of tries succeed. */
  const taken = (tries: number) => {
    return Array.from({ length: tries }, () => takeEach([bucket])).filter(Boolean).length;
  };
  return { clock, taken };
}

describe("a token bucket", () => {
  test("is full at first", () => {
    expect(setUp(1, 3).taken(10)).toBe(3);
  });

  test("is refilled at its rate, in whole tokens", () => {
    const { clock, taken } = setUp(4, 3);
    taken(3);
    clock.advance(249);
    expect(taken(1)).toBe(0);
    clock.advance(1);
    expect(taken(2)).toBe(1);
    clock.advance(500);
    expect(taken(3)).toBe(2);
  });

  test("keeps its tokens when the clock is set back, and is refilled from then on", () => {
    let now = 3_600_000;
    const clock = { now: () => now, after: () => ({ refresh: () => undefined, cancel: () => undefined }) };
    const bucket = new TokenBucket({ ratePerSecond: 4, burst: 3 }, clock);
    bucket.take();
    now = 0;
    expect(bucket.hasToken).toBe(true);
    bucket.take();
    bucket.take();
    expect(bucket.hasToken).toBe(false);
    now = 250;
    expect(bucket.hasToken).toBe(true);
  });

  test("loses no partial refill through failed attempts", () => {
    const { clock, taken } = setUp(1, 1);
    taken(1);
    for (let count = 0; count < 10; count++) {
      expect(taken(1)).toBe(0);
      clock.advance(100);
    }
    expect(taken(2)).toBe(1);
  });

  test("holds no more than its burst", () => {
    const { clock, taken } = setUp(1000, 2);
    clock.advance(3_600_000);
    expect(taken(10)).toBe(2);
    clock.advance(3_600_000);
    expect(taken(10)).toBe(2);
  });

  test("loses no token if another bucket of the same call is empty", () => {
    const clock = new ManualClock(0);
    const [one, empty] = [
      new TokenBucket({ ratePerSecond: 1, burst: 1 }, clock),
      new TokenBucket({ ratePerSecond: 1, burst: 0 }, clock),
    ];
    expect([takeEach([one, empty]), takeEach([empty, one])]).toEqual([false, false]);
    expect([takeEach([one, undefined]), takeEach([one])]).toEqual([true, false]);
  });

  test.each([
    [0, 0],
    [0, 5],
    [5, 0],
  ])("never gives a token with a rate of %d and a burst of %d", (rate, burst) => {
    const { clock, taken } = setUp(rate, burst);
    expect(taken(3)).toBe(0);
    clock.advance(3_600_000);
    expect(taken(3)).toBe(0);
  });

  test("gives one token per ten seconds at a rate of 0.1", () => {
    const { clock, taken } = setUp(0.1, 1);
    taken(1);
    clock.advance(9_999);
    expect(taken(1)).toBe(0);
    clock.advance(1);
    expect(taken(1)).toBe(1);
  });
});

describe("an account", () => {
  /** Returns how many of a number of tries succeed. */
  const count = (tries: number, take: () => boolean) =>
    Array.from({ length: tries }, take).filter(Boolean).length;

  test("allows 5 000 requests at once and 10 000 per second by default", () => {
    const clock = new ManualClock(0);
    const account = new Account({}, clock);
    expect(count(6_000, () => takeEach([account.requests]))).toBe(5_000);
    clock.advance(100);
    expect(count(6_000, () => takeEach([account.requests]))).toBe(1_000);
  });

  test("allows 500 new connections per second by default, and counts each one as a request", () => {
    const clock = new ManualClock(0);
    const account = new Account({}, clock);
    expect(count(600, () => takeEach([account.connections, account.requests]))).toBe(500);
    expect(count(6_000, () => takeEach([account.requests]))).toBe(4_500);
    clock.advance(100);
    expect(count(600, () => takeEach([account.connections, account.requests]))).toBe(50);
  });

  test("allows everything without throttling", () => {
    const account = new Account(undefined, new ManualClock(0));
    expect(count(20_000, () => takeEach([account.connections, account.requests]))).toBe(20_000);
  });
});
