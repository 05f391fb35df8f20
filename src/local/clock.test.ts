import { afterEach, describe, expect, test, vi } from "vitest";
import { ManualClock, systemClock } from "./clock.ts";

afterEach(() => void vi.useRealTimers());

describe("a manual clock", () => {
  test("does not change until advance() is called", () => {
    const clock = new ManualClock(1000);
    expect([clock.now(), clock.now()]).toEqual([1000, 1000]);
    clock.advance(250);
    expect(clock.now()).toBe(1250);
  });

  test("starts at the current time", () => {
    vi.useFakeTimers({ toFake: ["Date"], now: 1_700_000_000_000 });
    expect(new ManualClock().now()).toBe(1_700_000_000_000);
  });

  test("runs a callback once, at its time", () => {
    const clock = new ManualClock(0);
    const callback = vi.fn();
    clock.after(100, callback);
    clock.advance(99);
    expect(callback).not.toHaveBeenCalled();
    clock.advance(1);
    clock.advance(1000);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  test("runs due callbacks in order, each at its own time", () => {
    const clock = new ManualClock(0);
    const calls: (readonly [string, number])[] = [];
    for (const [name, ms] of [
      ["third", 30],
      ["first", 10],
      ["second", 20],
      ["later", 41],
    ] as const)
      clock.after(ms, () => calls.push([name, clock.now()]));
    clock.advance(40);
    expect(calls).toEqual([
      ["first", 10],
      ["second", 20],
      ["third", 30],
    ]);
    expect(clock.now()).toBe(40);
  });

  test("runs callbacks of the same time in the order in which they were added", () => {
    const clock = new ManualClock(0);
    const calls: string[] = [];
    for (const name of ["one", "two", "three"]) clock.after(10, () => calls.push(name));
    clock.advance(10);
    expect(calls).toEqual(["one", "two", "three"]);
  });

  test("runs callbacks that another callback adds, if they are due", () => {
    const clock = new ManualClock(0);
    const calls: number[] = [];
    const again = () => {
      calls.push(clock.now());
      clock.after(10, again);
    };
    clock.after(10, again);
    clock.advance(35);
    expect(calls).toEqual([10, 20, 30]);
    clock.advance(5);
    expect(calls).toEqual([10, 20, 30, 40]);
  });

  test("does not run a canceled callback, also if another callback canceled it", () => {
    const clock = new ManualClock(0);
    const callback = vi.fn();
    const first = clock.after(10, callback);
    const second = clock.after(20, callback);
    first.cancel();
    clock.after(15, () => second.cancel());
    clock.advance(100);
    expect(callback).not.toHaveBeenCalled();
  });

  test("restarts the wait when it is refreshed", () => {
    const clock = new ManualClock(0);
    const callback = vi.fn();
    const alarm = clock.after(100, callback);
    clock.advance(90);
    alarm.refresh();
    clock.advance(99);
    expect(callback).not.toHaveBeenCalled();
    clock.advance(1);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  test("does not restart a wait that has passed or was canceled", () => {
    const clock = new ManualClock(0);
    const callback = vi.fn();
    const [passed, cancelled] = [clock.after(10, callback), clock.after(20, callback)];
    cancelled.cancel();
    clock.advance(10);
    passed.refresh();
    cancelled.refresh();
    clock.advance(100);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  test("runs a callback of 0 ms on advance(0), and not before", () => {
    const clock = new ManualClock(0);
    const callback = vi.fn();
    clock.after(0, callback);
    expect(callback).not.toHaveBeenCalled();
    clock.advance(0);
    expect(callback).toHaveBeenCalledTimes(1);
  });
});

describe("the system clock", () => {
  test("runs a callback once, unless it is canceled", () => {
    vi.useFakeTimers();
    const [kept, cancelled] = [vi.fn(), vi.fn()];
    systemClock.after(100, kept);
    systemClock.after(100, cancelled).cancel();
    vi.advanceTimersByTime(99);
    expect(kept).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1000);
    expect(kept).toHaveBeenCalledTimes(1);
    expect(cancelled).not.toHaveBeenCalled();
  });

  test("restarts the wait when it is refreshed", () => {
    vi.useFakeTimers();
    const callback = vi.fn();
    const alarm = systemClock.after(100, callback);
    vi.advanceTimersByTime(90);
    alarm.refresh();
    vi.advanceTimersByTime(99);
    expect(callback).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  test("returns the current time", () => {
    const before = Date.now();
    const now = systemClock.now();
    expect(before <= now && now <= Date.now()).toBe(true);
  });
});
