import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { msSince, readClocks } from "./elapsed.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date", "performance", "setTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("the time since a reading is the time that passed on both clocks", () => {
  const reading = readClocks();
  expect(msSince(reading)).toBe(0);
  vi.advanceTimersByTime(1_500);
  expect(msSince(reading)).toBe(1_500);
});

test.each([
  ["back by an hour", -3_600_000, 3_598_500],
  ["forward by an hour", 3_600_000, 3_601_500],
  ["back by a second", -1_000, 1_500],
])("the time since a reading is not too short when the clock is set %s", (_what, stepMs, expected) => {
  const reading = readClocks();
  vi.advanceTimersByTime(1_500);
  vi.setSystemTime(Date.now() + stepMs);
  expect(msSince(reading)).toBe(expected);
});
