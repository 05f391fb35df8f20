import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { run } from "./main.ts";

const { isTTY } = process.stdout;
beforeEach(() => {
  process.stdout.isTTY = true;
  for (const name of ["NO_COLOR", "FORCE_COLOR", "NODE_DISABLE_COLORS"]) vi.stubEnv(name, undefined);
});
afterEach(() => {
  process.stdout.isTTY = isTTY;
  vi.unstubAllEnvs();
});

/** Returns the printed lines, with `<esc>` for the character that begins a color. */
async function lines(...args: readonly string[]): Promise<readonly string[]> {
  const printed: string[] = [];
  expect(await run(["--app", "no-such-app.js", "doctor", ...args], (line) => printed.push(line))).toBe(1);
  return printed.map((line) => line.replaceAll("\u001b", "<esc>"));
}

test("colors the mark of each line on a terminal, and nothing else", async () => {
  const printed = await lines();
  expect(printed[0]).toMatch(/^<esc>\[32m✔<esc>\[39m node {9}Node\.js /);
  expect(printed[1]).toMatch(/^<esc>\[31m✘<esc>\[39m app {10}The app could not be loaded: /);
  const rest = printed.slice(2).map((line) => line.replace(/^<esc>\[90m-<esc>\[39m /, ""));
  expect(rest.join("\n")).not.toContain("<esc>");
});

test("prints no color with NO_COLOR or --json", async () => {
  expect((await lines("--json")).join("\n")).not.toContain("<esc>");
  vi.stubEnv("NO_COLOR", "1");
  expect((await lines()).join("\n")).not.toContain("<esc>");
});
