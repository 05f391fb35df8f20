import { describe, expect, test } from "vitest";
import { type Check, CheckRun, type DoctorContext } from "./check.ts";
import { failed, ok } from "./finding.ts";

const context = {} as DoctorContext;
const good: Check = { name: "good", readsTables: true, run: async () => [ok("It works.")] };

describe("CheckRun", () => {
  test("turns an error into a failed line without a stack, and runs the next check", async () => {
    const run = new CheckRun();
    const bad: Check = {
      name: "bad",
      run: () => {
        throw new TypeError("first\nsecond \u001b[31m");
      },
    };
    await run.run([bad, good], context);
    expect(run.results).toMatchObject([
      { check: "bad", status: "failed", message: "first second \\u001b[31m" },
      { check: "good", status: "ok" },
    ]);
    expect(run.hasTimedOut).toBe(false);
  });

  test("ends a check that does not finish, and aborts its signal", async () => {
    const run = new CheckRun();
    let signal: AbortSignal | undefined;
    const slow: Check = {
      name: "slow",
      timeoutMs: 5,
      run: (_, given) => {
        signal = given;
        return new Promise(() => undefined);
      },
    };
    await run.run([slow, good], context);
    expect(run.results).toMatchObject([
      { check: "slow", status: "failed", message: "The check did not finish within 0.005 s." },
      { check: "good", status: "ok" },
    ]);
    expect(signal?.aborted).toBe(true);
    expect(run.hasTimedOut).toBe(true);
  });

  test("skips checks that read tables after the check of the database or its tables failed", async () => {
    for (const name of ["database", "migrations"]) {
      const run = new CheckRun();
      await run.run([{ name, run: async () => [failed("It fails.", "Repair it.")] }, good], context);
      expect(run.results[1]).toEqual({
        check: "good",
        status: "skipped",
        message: `The check "${name}" failed, and this one needs the tables.`,
      });
    }
  });
});
