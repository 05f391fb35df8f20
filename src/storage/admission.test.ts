import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Admission } from "./admission.ts";
import { isPoolTimeout } from "./postgres-failures.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("admits a limited number of reads at once, and the others in the order of arrival", async () => {
  const admission = new Admission(2, 1000);
  expect([admission.enter(), admission.enter()]).toEqual([undefined, undefined]);
  const admitted: number[] = [];
  const waiting = [1, 2, 3].map((number) => admission.enter()?.then(() => admitted.push(number)));
  admission.leave();
  await waiting[0];
  expect(admitted).toEqual([1]);
  admission.leave();
  admission.leave();
  await Promise.all(waiting);
  expect(admitted).toEqual([1, 2, 3]);
  admission.leave();
  admission.leave();
  expect([admission.enter(), admission.enter()]).toEqual([undefined, undefined]);
  expect(vi.getTimerCount()).toBe(0);
});

test("rejects only the reads that have waited for too long", async () => {
  const admission = new Admission(1, 1000);
  admission.enter();
  const outcomes: string[] = [];
  const wait = (name: string) =>
    admission.enter()?.then(
      () => outcomes.push(`${name} admitted`),
      (error) => outcomes.push(`${name} ${isPoolTimeout(error) ? "rejected" : error}`),
    );
  const waiting = [wait("early"), wait("too")];
  await vi.advanceTimersByTimeAsync(600);
  waiting.push(wait("late"));
  await vi.advanceTimersByTimeAsync(500);
  expect(outcomes).toEqual(["early rejected", "too rejected"]);
  admission.leave();
  await Promise.all(waiting);
  expect(outcomes).toEqual(["early rejected", "too rejected", "late admitted"]);
  admission.leave();
  expect(admission.enter()).toBeUndefined();
  expect(vi.getTimerCount()).toBe(0);
});

test("admits 3000 reads in order, although the queue is never empty", async () => {
  const admission = new Admission(1, 1000);
  admission.enter();
  const admitted: number[] = [];
  admission.enter()?.then(() => admitted.push(0));
  for (let number = 1; number <= 3000; number++) {
    admission.enter()?.then(() => admitted.push(number));
    admission.leave();
  }
  await vi.advanceTimersByTimeAsync(0);
  expect(admitted).toEqual(Array.from({ length: 3000 }, (_, number) => number));
  admission.leave();
  await vi.advanceTimersByTimeAsync(0);
  expect(admitted.at(-1)).toBe(3000);
  expect(vi.getTimerCount()).toBe(0);
});

test("rejects the reads that wait when it is closed, and later ones", async () => {
  const admission = new Admission(1, 1000);
  admission.enter();
  const waiting = admission.enter();
  admission.close();
  await expect(waiting).rejects.toSatisfy(isPoolTimeout);
  await expect(admission.enter()).rejects.toSatisfy(isPoolTimeout);
  expect(vi.getTimerCount()).toBe(0);
});
