import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cliCommandsPage, cliPage } from "./cli-reference.ts";
import { ROOT } from "./pages.ts";

const read = (name: string) => readFileSync(join(ROOT, "docs/reference", name), "utf8");

// After a change of a command, run: npm run docs:cli
test("B58 docs/reference/cli.md lists each command", () => {
  expect(read("cli.md")).toBe(cliPage(read("cli.md")));
});

test("B58 docs/reference/cli-commands.md has the arguments, options and examples of each command", () => {
  expect(read("cli-commands.md")).toBe(cliCommandsPage());
});
