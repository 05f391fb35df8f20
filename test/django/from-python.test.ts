import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { commandsOf } from "../../src/cli/examples.ts";
import { commandLine } from "../../src/cli/main.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/from-python.md"), "utf8");
const ROWS = [...PAGE.matchAll(/^\| F(\d+) \| (.+) \| (\w+) \| (.+) \|$/gm)];

test("docs/from-python.md maps each feature F1 to F133 once, in order", () => {
  expect(ROWS.map(([, number]) => Number(number))).toEqual(
    Array.from({ length: 133 }, (_, index) => index + 1),
  );
  expect(ROWS.filter(([, , , outcome]) => !["kept", "replaced", "dropped"].includes(outcome ?? ""))).toEqual(
    [],
  );
});

test("docs/from-python.md names commands that exist", () => {
  const silent = { print: () => undefined, complain: () => undefined, end: () => undefined };
  const paths = commandsOf(commandLine(silent)).map(([path]) => path);
  const named = ROWS.flatMap(([, , , , cell]) => [
    ...(cell ?? "").matchAll(/`((?:gateway|connections|limits|permissions) [a-z-]+)`/g),
  ]).map(([, path]) => path ?? "");
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((path) => !paths.includes(path))).toEqual([]);
});
