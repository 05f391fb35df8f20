import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ReportedPromise } from "./reported-promise.ts";

const failure = new Error("no luck");
const reported: unknown[] = [];
const report = (error: unknown) => void reported.push(error);
/** Rejections that no code handled. Node ends a process at the first one. */
const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);

beforeEach(() => {
  process.on("unhandledRejection", note);
});
afterEach(async () => {
  await nextTurn();
  process.off("unhandledRejection", note);
  reported.length = 0;
  expect(unhandled.splice(0)).toEqual([]);
});

/** Resolves after everything that is due in this turn of the event loop and in the next one. */
async function nextTurn(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const failing = () => ReportedPromise.of(Promise.reject(failure), { report });

describe("a rejection", () => {
  test("is reported once if no caller handles it", async () => {
    failing();
    await nextTurn();
    expect(reported).toEqual([failure]);
  });

  test("reaches a caller that awaits it, and is not reported", async () => {
    await expect(failing()).rejects.toBe(failure);
    const later = failing();
    await Promise.resolve();
    await expect(later).rejects.toBe(failure);
    expect(await failing().catch((error: unknown) => error)).toBe(failure);
    await nextTurn();
    expect(reported).toEqual([]);
  });

  test("of a promise that then() or finally() returned is reported in the same way", async () => {
    failing().then(() => "never");
    await nextTurn();
    expect(reported).toEqual([failure]);
    failing().finally(() => undefined);
    await nextTurn();
    expect(reported).toEqual([failure, failure]);
    await expect(failing().then(() => "never")).rejects.toBe(failure);
    await nextTurn();
    expect(reported).toHaveLength(2);
  });

  test("of a caller's own function in a chain is reported", async () => {
    const own = new Error("in then()");
    ReportedPromise.of(Promise.resolve(1), { report }).then(() => {
      throw own;
    });
    await nextTurn();
    expect(reported).toEqual([own]);
  });

  test("is not reported before `until` has resolved, and a caller can handle it until then", async () => {
    let release: () => void = () => undefined;
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    const handled = ReportedPromise.of(Promise.reject(failure), { report, until });
    ReportedPromise.of(Promise.reject(new Error("unhandled")), { report, until });
    await nextTurn();
    expect(reported).toEqual([]);
    await expect(handled).rejects.toBe(failure);
    release();
    await nextTurn();
    expect(reported).toMatchObject([{ message: "unhandled" }]);
  });

  test("passes a promise to `track` that resolves when it has been reported", async () => {
    const tracked: Promise<void>[] = [];
    ReportedPromise.of(Promise.reject(failure), { report, track: (reporting) => tracked.push(reporting) });
    await expect.poll(() => tracked).toHaveLength(1);
    await tracked[0];
    expect(reported).toEqual([failure]);
  });
});

describe("a result", () => {
  test("reaches every caller, and nothing is reported", async () => {
    const tracked: unknown[] = [];
    const promise = ReportedPromise.of(Promise.resolve(7), { report, track: (one) => tracked.push(one) });
    expect(await promise).toBe(7);
    expect(await promise.then((value) => value + 1)).toBe(8);
    expect(await promise.finally(() => undefined)).toBe(7);
    await nextTurn();
    expect([reported, tracked]).toEqual([[], []]);
  });
});
