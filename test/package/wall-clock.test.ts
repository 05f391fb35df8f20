import { readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");

/** What a test file does not contain, because its result would depend on how busy the machine is. */
const FORBIDDEN: readonly { readonly pattern: RegExp; readonly instead: string }[] = [
  {
    pattern:
      /performance\.now\(|hrtime|Date\.now\(\) - (?:at|beg[aiu]n|from|since|start)|Math\.abs\(.*Date\.now\(\)/,
    instead:
      "It measures elapsed time. Wait for an event, count calls, advance a manual clock, or add a benchmark to bench/.",
  },
  {
    pattern:
      /\bset(?:Timeout|Interval)\(|import .*\bsetTimeout\b.* from "node:timers\/promises"|AbortSignal\.timeout\(/,
    instead: "It starts a fixed timer. Wait for an event with expect.poll(), or use vi.useFakeTimers().",
  },
  {
    pattern: /vi\.waitFor\(/,
    instead: "vi.waitFor() gives up after one second. Use expect.poll(), whose limit is in test/limits.ts.",
  },
  {
    pattern: /(?:\btimeout: |^\s*\}, )(?:\d{1,5}|\d{1,2}_\d{3}|1[0-7]\d_?\d{3})\b(?! *[*_])/,
    instead: "Its limit is below the one in test/limits.ts, which allows for a busy machine. Leave it out.",
  },
];

/** Lines that may match, by file: how many, and why the result does not depend on the machine's speed. */
const ALLOWED: Readonly<Record<string, { readonly lines: number; readonly because: string }>> = {
  "src/delivery/management-api.test.ts": {
    lines: 1,
    because: "a server sends one byte at intervals",
  },
  "test/aws-account/timing.ts": { lines: 3, because: "a run against AWS waits in real time" },
  "test/aws-account/checks/duration.ts": { lines: 1, because: "a run against AWS waits in real time" },
  "test/aws-account/function/probe.ts": { lines: 1, because: "a function exceeds its time limit" },
  "test/aws/conformance/backend.ts": { lines: 1, because: "a limit for a call that never arrives" },
  "test/postgres/secret-rotation.test.ts": {
    lines: 1,
    because: "a rotation waits for other processes in real time; a longer wait is as good",
  },
  "test/property/world.ts": { lines: 1, because: "a timer that never fires" },
  "test/integration/sending.test.ts": { lines: 3, because: "performance.now() is a fake there" },
  "test/integration/world.ts": { lines: 1, because: "a limit for a frame that never arrives" },
};

const files = [
  ...readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" }).map((file) => `test/${file}`),
  ...readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => `src/${file}`),
].filter(
  (file) =>
    file.endsWith(".ts") &&
    file !== "test/limits.ts" &&
    !/node_modules|\.next/.test(file) &&
    file !== relative(root, import.meta.filename).replaceAll("\\", "/"),
);

/** The lines of a text that match, each with what to do instead. */
function found(text: string): string[] {
  return text.split("\n").flatMap((line, index) => {
    const rule = FORBIDDEN.find(({ pattern }) => pattern.test(line));
    return rule ? [`line ${index + 1}: ${line.trim()}\n  ${rule.instead}`] : [];
  });
}

test("no test measures elapsed time or waits for a fixed time", () => {
  const wrong = files.flatMap((file) => {
    const lines = found(readFileSync(join(root, file), "utf8"));
    return lines.length > (ALLOWED[file]?.lines ?? 0) ? lines.map((line) => `${file}, ${line}`) : [];
  });
  expect(wrong.join("\n")).toBe("");
});

test("the exceptions are files that need one", () => {
  const needed = files.filter((file) => found(readFileSync(join(root, file), "utf8")).length > 0);
  expect(Object.keys(ALLOWED).filter((file) => files.includes(file) && !needed.includes(file))).toEqual([]);
});

test.each([
  "expect(performance.now() - begun).toBeLessThan(2000);",
  "expect(Date.now() - startedAt).toBeLessThan(5000);",
  "expect(Math.abs(at - Date.now())).toBeLessThan(60_000);",
  "await new Promise((resolve) => setTimeout(resolve, 50));",
  'import { setTimeout as sleep } from "node:timers/promises";',
  "await vi.waitFor(() => expect(left).toEqual([]));",
  "await expect.poll(rows, { timeout: 5000 }).toEqual([]);",
  "}, 20_000);",
])("finds %s", (line) => {
  expect(found(line)).toHaveLength(1);
});

test.each([
  "const until = Date.now() + 3_600_000;",
  "expect(before <= at && at <= Date.now()).toBe(true);",
  'vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });',
  "expect(world.aws.clock.now - from).toBeLessThan(15_000);",
])("accepts %s", (line) => {
  expect(found(line)).toEqual([]);
});
