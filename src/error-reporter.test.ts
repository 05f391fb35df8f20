import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { describeError } from "./error-output.ts";
import { ErrorReporter } from "./error-reporter.ts";
import { StorageError } from "./errors.ts";

interface Call {
  readonly error: unknown;
  readonly where: string;
  readonly repeats: number;
}

let calls: Call[];
let reporter: ErrorReporter;

beforeEach(() => {
  vi.useFakeTimers();
  calls = [];
  reporter = new ErrorReporter(
    (error, where, repeats) => calls.push({ error, where, repeats }),
    (error) => error,
  );
});
afterEach(() => vi.useRealTimers());

const total = () => calls.reduce((sum, { repeats }) => sum + Math.max(1, repeats), 0);

describe("equal errors", () => {
  test("are reported once, and their count is reported after one second", () => {
    for (let n = 0; n < 2000; n++) reporter.report(new Error(`row ${n} is locked`), "handler");
    expect(calls).toMatchObject([{ repeats: 0, error: { message: "row 0 is locked" } }]);
    vi.advanceTimersByTime(1000);
    expect(calls).toMatchObject([
      { repeats: 0 },
      { repeats: 1999, error: { message: "row 1999 is locked" } },
    ]);
    vi.advanceTimersByTime(60_000);
    expect(calls).toHaveLength(2);
  });

  test("that continue are reported at most twice per second, and no error is lost", () => {
    for (let second = 0; second < 10; second++) {
      for (let n = 0; n < 100; n++) reporter.report(new Error("away"), "handler");
      vi.advanceTimersByTime(1000);
    }
    expect(calls.length).toBeLessThanOrEqual(20);
    expect(total()).toBe(1000);
  });

  test("are equal if only the reference or the connection differs", () => {
    reporter.report(new Error("away"), "/ws/chat/default (reference 3f0a9c1b2d4e)");
    reporter.report(new Error("away"), "/ws/chat/default (reference aaaaaaaaaaaa)");
    reporter.report(new Error("away"), "evicting connection Kx3jNdOqoAMCJ-w=");
    reporter.report(new Error("away"), "evicting connection Lx3jNdOqoAMCJ-w=");
    expect(calls).toHaveLength(2);
  });

  test("are equal if only the letters around the digits of an id differ", () => {
    reporter.report(new Error("no row x1ab of y"), "handler");
    reporter.report(new Error("no row y22cd of y"), "handler");
    expect(calls).toHaveLength(1);
    reporter.report(new Error("no row y22cd in y"), "handler");
    expect(calls).toHaveLength(2);
  });

  test("are equal when only the end of a long message differs", () => {
    reporter.report(new Error(`${"x".repeat(200)}a`), "handler");
    reporter.report(new Error(`${"x".repeat(200)}b`), "handler");
    expect(calls).toHaveLength(1);
    reporter.report(new Error(`${"x".repeat(199)}b`), "handler");
    expect(calls).toHaveLength(2);
  });

  test("that occur once per second are each reported", () => {
    for (let n = 0; n < 5; n++) {
      reporter.report(new Error("away"), "handler");
      vi.advanceTimersByTime(1000);
    }
    expect(calls.map(({ repeats }) => repeats)).toEqual([0, 0, 0, 0, 0]);
  });
});

test("reports errors of different kinds immediately", () => {
  reporter.report(new Error("away"), "handler");
  reporter.report(new TypeError("away"), "handler");
  reporter.report(new Error("gone"), "handler");
  reporter.report(new Error("away"), "another handler");
  reporter.report("away", "handler");
  reporter.report(Object.assign(new Error("away"), { code: "ECONNRESET" }), "socket");
  reporter.report(Object.assign(new Error("away"), { code: "EPIPE" }), "socket");
  expect(calls.map(({ repeats }) => repeats)).toEqual([0, 0, 0, 0, 0, 0, 0]);
});

test("counts further kinds together when a client makes each message different", () => {
  const letters = (n: number) => [...String(n)].map((digit) => "abcdefghij"[Number(digit)]).join("");
  for (let n = 0; n < 5000; n++) reporter.report(new Error(`no ${letters(n)}`), "handler");
  expect(calls).toHaveLength(5);
  reporter.report(new Error("payment failed"), "another handler");
  expect(calls.at(-1)).toMatchObject({ where: "another handler", repeats: 0 });
  vi.advanceTimersByTime(1000);
  expect(calls).toHaveLength(7);
  expect(total()).toBe(5001);
  reporter.report(new Error("no later"), "handler");
  vi.advanceTimersByTime(10_000);
  expect(total()).toBe(5002);
});

test("reports failures of the database once per minute, for all operations together", () => {
  for (let second = 0; second < 50; second++) {
    for (const where of ["enforcement loop", "removing old decisions", "/ws/chat/default"]) {
      reporter.report(new StorageError("The database cannot be reached."), where);
    }
    vi.advanceTimersByTime(1000);
  }
  expect(calls).toMatchObject([{ repeats: 0 }]);
  vi.advanceTimersByTime(10_000);
  expect(calls).toMatchObject([{ repeats: 0 }, { repeats: 149 }]);
});

test("reports a missing table and an unreachable database separately", () => {
  reporter.report(new StorageError("Run migrate.", { code: "SALLYPORT_NOT_MIGRATED" }), "loop");
  reporter.report(new StorageError("The database cannot be reached."), "loop");
  expect(calls).toHaveLength(2);
});

test("reports counted errors on flush(), and leaves no timer", () => {
  for (let n = 0; n < 3; n++) reporter.report(new Error("away"), "handler");
  reporter.report(new Error("gone"), "handler");
  reporter.flush();
  expect(calls.map(({ repeats }) => repeats)).toEqual([0, 0, 2]);
  expect(vi.getTimerCount()).toBe(0);
  reporter.flush();
  expect(calls).toHaveLength(3);
});

test("counts errors of more than 50 places together", () => {
  const letters = (n: number) => [...String(n)].map((digit) => "abcdefghij"[Number(digit)]).join("");
  for (let n = 0; n < 200; n++) reporter.report(new Error("away"), `handler ${letters(n)}`);
  expect(calls).toHaveLength(50);
  vi.advanceTimersByTime(1000);
  expect(calls).toHaveLength(51);
  expect(total()).toBe(200);
});

test.each([
  ["a message that is a number", Object.assign(new Error("x"), { message: 5 })],
  ["no name", Object.assign(new Error("x"), { name: undefined })],
  [
    "a code that is an object without a prototype",
    Object.assign(new Error("x"), { code: Object.create(null) }),
  ],
  ["a stack that is a symbol", Object.assign(new Error("x"), { stack: Symbol("s") })],
  ["a toJSON that returns nothing", { toJSON() {} }],
  [
    "getters that throw",
    Object.defineProperties(new Error("x"), {
      message: { get: () => expect.unreachable() },
      name: { get: () => expect.unreachable() },
    }),
  ],
  ["nothing", undefined],
])("reports and describes an error with %s", (_what, error) => {
  reporter.report(error, "handler");
  reporter.report(error, "handler");
  expect(calls).toHaveLength(1);
  expect(calls[0]?.error).toBe(error);
  expect(describeError(error, "handler", 0)).toMatch(/^sallyport: handler: /);
});
