import { expect, test } from "vitest";
import { waitAtMost, withTimeout } from "./timing.ts";

const never = new Promise<never>(() => undefined);

test("work that settles in time gives its result or its error", async () => {
  expect(await withTimeout(60_000, Promise.resolve(1), "too late")).toBe(1);
  await expect(withTimeout(60_000, Promise.reject(new Error("failed")), "too late")).rejects.toThrow(
    "failed",
  );
  await expect(waitAtMost(60_000, Promise.reject(new Error("failed")))).rejects.toThrow("failed");
});

test("work that does not settle in time is left, and its later rejection is not reported", async () => {
  await expect(withTimeout(1, never, "too late")).rejects.toThrow("too late");
  await waitAtMost(1, never);
  let fail: (error: Error) => void = () => undefined;
  const late = new Promise<never>((_, reject) => {
    fail = reject;
  });
  await expect(withTimeout(1, late, "too late")).rejects.toThrow("too late");
  fail(new Error("later"));
  await new Promise((resolve) => setImmediate(resolve));
});
