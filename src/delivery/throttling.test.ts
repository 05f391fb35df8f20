import { beforeEach, describe, expect, test } from "vitest";
import { Rate } from "./rate.ts";
import { noRefusals, type Refusals, Throttling } from "./throttling.ts";

let rate: Rate;
let throttling: Throttling;
/** The clock of the tests, in milliseconds. */
let now: number;

beforeEach(() => {
  now = 0;
  rate = new Rate(1000, { now });
  throttling = new Throttling(rate);
});

/** One call to each of some connections, of which those with refusals are answered 429. @returns how many were evidence */
function round(refused: readonly Refusals[], accepted: readonly (Refusals | undefined)[]): number {
  let evidence = 0;
  for (const refusals of refused) {
    const isEvidence = throttling.refused(refusals, now);
    if (isEvidence) evidence++;
    rate.answered(isEvidence, now);
  }
  for (const refusals of accepted) {
    throttling.accepted(refusals, now);
    rate.answered(false, now);
  }
  now += 200;
  return evidence;
}

const connections = (count: number) => Array.from({ length: count }, noRefusals);

describe("connections that are refused while others are served", () => {
  test("say nothing about the endpoint after the first refusal, and are set aside", () => {
    const [silent, others] = [connections(40), Array(40).fill(undefined)];
    expect(round(silent, others)).toBe(40);
    // The pace recovers while others are served.
    for (let call = 0; call < 20; call++) expect(round(silent, others)).toBe(0);
    expect(rate.share).toBe(1);
    expect(silent.every((refusals) => throttling.isSetAside(refusals, now))).toBe(true);
  });

  test("are too slow after three seconds, and not before", () => {
    const [silent = noRefusals()] = connections(1);
    for (let call = 0; call < 10; call++) {
      expect(throttling.isTooSlow(silent, now)).toBe(false);
      round([silent], [undefined]);
    }
    now += 3000;
    expect(throttling.isTooSlow(silent, now)).toBe(true);
  });

  test("are too slow, although other connections recovered once meanwhile", () => {
    const [silent = noRefusals(), ...others] = connections(4);
    round([silent, ...others], [undefined]);
    round([silent], others);
    // Three recoveries at once may mean that the endpoint throttles.
    expect(throttling.isSetAside(silent, now)).toBe(false);
    for (let call = 0; call < 20; call++) round([silent], [undefined]);
    expect(throttling.isSetAside(silent, now)).toBe(true);
    expect(throttling.isTooSlow(silent, now)).toBe(true);
  });

  test("are not too slow while other connections recover all the time", () => {
    const [silent = noRefusals(), ...others] = connections(4);
    for (let call = 0; call < 20; call++) {
      round([silent, ...others], Array(100).fill(undefined));
      round([silent], [...others, ...Array(100).fill(undefined)]);
    }
    expect(rate.isSlowed).toBe(false);
    expect(throttling.isTooSlow(silent, now)).toBe(false);
  });

  test("are served as before once they were accepted", () => {
    const [slow = noRefusals()] = connections(1);
    for (let call = 0; call < 5; call++) round([slow], [undefined]);
    expect(throttling.isSetAside(slow, now)).toBe(true);
    round([], [slow]);
    expect([throttling.isSetAside(slow, now), throttling.isTooSlow(slow, now + 10_000)]).toEqual([
      false,
      false,
    ]);
    expect(slow.inRow).toBe(0);
  });
});

describe("an endpoint that throttles", () => {
  test("slows down, and no connection is set aside or too slow, when it refuses every call", () => {
    const all = connections(50);
    for (let call = 0; call < 30; call++) expect(round(all, [])).toBe(50);
    expect(rate.share).toBeLessThan(0.1);
    expect(all.some((one) => throttling.isSetAside(one, now) || throttling.isTooSlow(one, now))).toBe(false);
  });

  test("is recognized by connections that are accepted on a later try", () => {
    const all = connections(50);
    for (let call = 0; call < 30; call++) {
      round(all.slice(0, 25), all.slice(25));
      all.sort(() => Math.random() - 0.5);
    }
    expect(rate.isSlowed).toBe(true);
    expect(all.some((one) => throttling.isTooSlow(one, now))).toBe(false);
  });

  test("is not recognized by one connection, however often it is refused", () => {
    const [one = noRefusals()] = connections(1);
    let evidence = 0;
    for (let call = 0; call < 200; call++) {
      if (throttling.refused(one, now)) evidence++;
      now += 1;
    }
    expect(evidence).toBe(2);
  });
});

test("a connection whose calls fail for another reason is not set aside, and stands out while others are served", () => {
  const [one = noRefusals()] = connections(1);
  for (let call = 0; call < 5; call++) throttling.failed(one);
  expect(throttling.isAlone(one)).toBe(false);
  round([], [undefined]);
  expect([throttling.isAlone(one), throttling.isSetAside(one)]).toEqual([true, false]);
  expect([throttling.isAlone(undefined), throttling.isSetAside(undefined)]).toEqual([false, false]);
});
