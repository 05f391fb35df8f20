import { beforeEach, describe, expect, test } from "vitest";
import { noRejections, Rate, type Rejections, Throttling } from "./rate-limiter.ts";

let rate: Rate;
let throttling: Throttling;
/** The clock of the tests, in milliseconds. */
let now: number;

beforeEach(() => {
  now = 0;
  rate = new Rate(1000, { now });
  throttling = new Throttling(rate);
});

/**
 * Makes one call to each connection. Those in `rejected` are answered 429.
 * Returns how many of these counted as evidence that the endpoint throttles.
 */
function round(rejected: readonly Rejections[], accepted: readonly (Rejections | undefined)[]): number {
  let evidence = 0;
  for (const rejections of rejected) {
    const isEvidence = throttling.rejected(rejections, now);
    if (isEvidence) evidence++;
    rate.answered(isEvidence, now);
  }
  for (const rejections of accepted) {
    throttling.accepted(rejections, now);
    rate.answered(false, now);
  }
  now += 200;
  return evidence;
}

const connections = (count: number) => Array.from({ length: count }, noRejections);

describe("connections that are throttled while others are served", () => {
  test("are no evidence against the endpoint after the first 429, and are set aside", () => {
    const [silent, others] = [connections(40), Array(40).fill(undefined)];
    expect(round(silent, others)).toBe(40);
    // The pace recovers while others are served.
    for (let call = 0; call < 20; call++) expect(round(silent, others)).toBe(0);
    expect(rate.share).toBe(1);
    expect(silent.every((rejections) => throttling.isSetAside(rejections, now))).toBe(true);
  });

  test("are too slow after three seconds, and not before", () => {
    const [silent = noRejections()] = connections(1);
    for (let call = 0; call < 10; call++) {
      expect(throttling.isTooSlow(silent, now)).toBe(false);
      round([silent], [undefined]);
    }
    now += 3000;
    expect(throttling.isTooSlow(silent, now)).toBe(true);
  });

  test("are too slow although other connections recovered once", () => {
    const [silent = noRejections(), ...others] = connections(4);
    round([silent, ...others], [undefined]);
    round([silent], others);
    // Three recoveries at once may mean that the endpoint throttles.
    expect(throttling.isSetAside(silent, now)).toBe(false);
    for (let call = 0; call < 20; call++) round([silent], [undefined]);
    expect(throttling.isSetAside(silent, now)).toBe(true);
    expect(throttling.isTooSlow(silent, now)).toBe(true);
  });

  test("are not too slow while other connections repeatedly recover", () => {
    const [silent = noRejections(), ...others] = connections(4);
    for (let call = 0; call < 20; call++) {
      round([silent, ...others], Array(100).fill(undefined));
      round([silent], [...others, ...Array(100).fill(undefined)]);
    }
    expect(rate.isSlowed).toBe(false);
    expect(throttling.isTooSlow(silent, now)).toBe(false);
  });

  test("are no longer set aside once a call was accepted", () => {
    const [slow = noRejections()] = connections(1);
    for (let call = 0; call < 5; call++) round([slow], [undefined]);
    expect(throttling.isSetAside(slow, now)).toBe(true);
    round([], [slow]);
    expect([throttling.isSetAside(slow, now), throttling.isTooSlow(slow, now + 10_000)]).toEqual([
      false,
      false,
    ]);
    expect(slow.consecutiveFailures).toBe(0);
  });
});

describe("an endpoint that throttles", () => {
  test("slows the rate and sets no connection aside if it throttles every call", () => {
    const all = connections(50);
    for (let call = 0; call < 30; call++) expect(round(all, [])).toBe(50);
    expect(rate.share).toBeLessThan(0.1);
    expect(all.some((one) => throttling.isSetAside(one, now) || throttling.isTooSlow(one, now))).toBe(false);
  });

  test("is recognized by connections that are accepted on a retry", () => {
    const all = connections(50);
    for (let call = 0; call < 30; call++) {
      round(all.slice(0, 25), all.slice(25));
      all.sort(() => Math.random() - 0.5);
    }
    expect(rate.isSlowed).toBe(true);
    expect(all.some((one) => throttling.isTooSlow(one, now))).toBe(false);
  });

  test("is not recognized by the 429 answers of a single connection", () => {
    const [one = noRejections()] = connections(1);
    let evidence = 0;
    for (let call = 0; call < 200; call++) {
      if (throttling.rejected(one, now)) evidence++;
      now += 1;
    }
    expect(evidence).toBe(2);
  });
});

test("a connection with other failures is not set aside, but is alone while others are served", () => {
  const [one = noRejections()] = connections(1);
  for (let call = 0; call < 5; call++) throttling.failed(one);
  expect(throttling.isAlone(one)).toBe(false);
  round([], [undefined]);
  expect([throttling.isAlone(one), throttling.isSetAside(one)]).toEqual([true, false]);
  expect([throttling.isAlone(undefined), throttling.isSetAside(undefined)]).toEqual([false, false]);
});
