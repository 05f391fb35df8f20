import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DeliveryError } from "../errors.ts";
import { type PageTurn, SendCapacity } from "./send-capacity.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const MIB = 1024 * 1024;

/** Returns true if a turn is granted, or a promise is fulfilled, at this time. */
async function isGranted(promise: Promise<unknown> | undefined): Promise<boolean> {
  let isDone = promise === undefined;
  promise?.then(
    () => {
      isDone = true;
    },
    () => undefined,
  );
  await vi.advanceTimersByTimeAsync(0);
  return isDone;
}

describe("pages of recipients", () => {
  test("are limited to four for a user or an audience, without effect on others", async () => {
    const capacity = new SendCapacity(MIB);
    const turns = Array.from({ length: 6 }, () => capacity.enter("user ann"));
    expect(turns.map(({ granted }) => granted === undefined)).toEqual([true, true, true, true, false, false]);
    expect(capacity.enter("user bob").granted).toBeUndefined();
    turns[0]?.leave();
    expect(await isGranted(turns[4]?.granted)).toBe(true);
    expect(await isGranted(turns[5]?.granted)).toBe(false);
  });

  test("are limited to 128 in total, granted in turn", async () => {
    const capacity = new SendCapacity(MIB);
    const turns = Array.from({ length: 128 }, (_, flow) => capacity.enter(`${flow}`));
    expect(turns.every(({ granted }) => granted === undefined)).toBe(true);
    const waiting = ["a", "a", "b"].map((flow) => capacity.enter(flow));
    turns[0]?.leave();
    turns[1]?.leave();
    const granted = await Promise.all(waiting.map((turn) => isGranted(turn.granted)));
    expect(granted).toEqual([true, false, true]);
  });

  test("are not granted to a send that was ended while it waited", async () => {
    const capacity = new SendCapacity(MIB);
    const turns = Array.from({ length: 6 }, () => capacity.enter("a"));
    const [held, , , , ended, next] = turns as [PageTurn, PageTurn, PageTurn, PageTurn, PageTurn, PageTurn];
    ended.leave();
    held.leave();
    held.leave();
    expect(await isGranted(next.granted)).toBe(true);
    expect(await isGranted(ended.granted)).toBe(false);
  });

  test("are yielded one second after the hand-over began, if others wait", async () => {
    const capacity = new SendCapacity(MIB);
    const turns = Array.from({ length: 4 }, () => capacity.enter("a"));
    const yielded: number[] = [];
    turns[0]?.beginHandover(() => yielded.push(0));
    await vi.advanceTimersByTimeAsync(5000);
    expect(yielded).toEqual([]);
    const waiting = capacity.enter("a");
    await vi.advanceTimersByTimeAsync(500);
    expect(yielded).toEqual([0]);
    expect(turns.map(({ mustYield }) => mustYield)).toEqual([true, false, false, false]);
    turns[1]?.beginHandover(() => yielded.push(1));
    await vi.advanceTimersByTimeAsync(500);
    expect(yielded).toEqual([0]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(yielded).toEqual([0, 1]);
    turns[0]?.leave();
    expect(await isGranted(waiting.granted)).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("are granted to all sends when the process shuts down", async () => {
    const capacity = new SendCapacity(MIB);
    const turns = Array.from({ length: 6 }, () => capacity.enter("a"));
    capacity.removeLimits();
    expect(await isGranted(turns[5]?.granted)).toBe(true);
    expect(capacity.enter("a").granted).toBeUndefined();
  });
});

describe("the space for messages", () => {
  test("is reserved in turn and released only once", async () => {
    const capacity = new SendCapacity(MIB);
    const release = await capacity.reserve(MIB - 10_000, "a");
    const small = await capacity.reserve(100, "a");
    const waiting = [
      capacity.reserve(100_000, "a"),
      capacity.reserve(100_000, "a"),
      capacity.reserve(100, "b"),
    ];
    expect(await Promise.all(waiting.map(isGranted))).toEqual([false, false, false]);
    small();
    small();
    expect(await Promise.all(waiting.map(isGranted))).toEqual([false, false, false]);
    release();
    expect(await Promise.all(waiting.map(isGranted))).toEqual([true, true, true]);
  });

  test("is waited for at most ten seconds before the send is rejected", async () => {
    const capacity = new SendCapacity(MIB);
    const release = await capacity.reserve(MIB - 10_000, "a");
    const waiting = capacity.reserve(100_000, "b").catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(9999);
    expect(await isGranted(waiting)).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    const error = await waiting;
    expect(error).toBeInstanceOf(DeliveryError);
    expect(error).toMatchObject({ code: "SALLYPORT_QUEUE_FULL", status: 503 });
    expect(String(error)).toContain("apiGateway.maxQueuedBytes");
    // A rejected send does not block another one.
    expect(await isGranted(capacity.reserve(100, "c"))).toBe(true);
    release();
  });

  test("is not waited for when the signal of the send aborts", async () => {
    const capacity = new SendCapacity(MIB);
    const release = await capacity.reserve(MIB - 10_000, "a");
    const ending = new AbortController();
    const ended = capacity.reserve(100_000, "b", ending.signal);
    const next = capacity.reserve(100, "c");
    expect(await Promise.all([ended, next].map(isGranted))).toEqual([false, false]);
    ending.abort();
    // The send that was ended no longer blocks the next one.
    expect(await Promise.all([ended, next].map(isGranted))).toEqual([true, true]);
    expect(await isGranted(capacity.reserve(100_000, "b", ending.signal))).toBe(true);
    // It reserved nothing, so it releases nothing.
    (await ended)();
    const later = capacity.reserve(100_000, "b");
    expect(await isGranted(later)).toBe(false);
    release();
    expect(await isGranted(later)).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is not waited for when the process shuts down", async () => {
    const capacity = new SendCapacity(MIB);
    await capacity.reserve(MIB - 10_000, "a");
    const waiting = capacity.reserve(100_000, "b");
    capacity.removeLimits();
    expect(await isGranted(waiting)).toBe(true);
  });
});
