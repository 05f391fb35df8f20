import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { CHECKS } from "../../aws-account/checks/all-checks.ts";

const page = readFileSync(resolve(import.meta.dirname, "../../../docs/operations/aws-smoke-test.md"), "utf8");
const [, section = ""] = page.split("## AWS facts that no test of this repository has verified\n");

/** The rows of the tables of facts: id and whether `npm run test:aws` verifies the fact. */
const facts = [...section.matchAll(/^\| `([a-z0-9-]+)` \|.*\| (yes|`--long`|no) \|$/gm)].map(
  ([, id = "", verified = ""]) => ({ id, verified }),
);

test("the facts that the page calls verified are those of the checks", () => {
  const idsOf = (verified: string) => facts.filter((fact) => fact.verified === verified).map(({ id }) => id);
  const checked = (isLong: boolean) =>
    CHECKS.filter((check) => (check.isLong ?? false) === isLong).map(({ fact }) => fact);
  expect(idsOf("yes").sort()).toEqual(checked(false).sort());
  expect(idsOf("`--long`").sort()).toEqual(checked(true).sort());
});

test("each fact has one row", () => {
  expect(facts.length).toBeGreaterThan(CHECKS.length);
  expect(new Set(facts.map(({ id }) => id)).size).toBe(facts.length);
  const rows = section.split("\n").filter((line) => line.startsWith("| `"));
  expect(rows.length).toBe(facts.length);
});
