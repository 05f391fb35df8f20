import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";

const read = (page: string) => readFileSync(resolve(import.meta.dirname, "../../docs", page), "utf8");

/** Statements about Django's permissions that do not apply here, or that have an addition. */
const DIFFERENT = [
  1, 6, 8, 9, 11, 13, 15, 18, 19, 20, 21, 24, 28, 29, 32, 33, 34, 36, 37, 38, 39, 40, 41, 42, 44, 45, 46, 47,
  49, 50, 51, 58, 59,
];

const section = (page: string, title: string) => {
  const [, text = ""] = read(page).split(`\n## ${title}\n`);
  return text.split("\n## ")[0] ?? "";
};

describe("the pages about permissions", () => {
  test("lists every difference from Django with a reason, in order", () => {
    const lines = [...section("from-django.md", "What is different").matchAll(/^- D(\d+) (.+)$/gm)];
    expect(lines.map(([, number]) => Number(number))).toEqual(DIFFERENT);
    for (const [line, , words = ""] of lines) expect(words.length, line).toBeGreaterThan(20);
  });

  test("refers only to numbers of existing tests", () => {
    const tests = readFileSync(resolve(import.meta.dirname, "permissions.test.ts"), "utf8");
    for (const number of DIFFERENT) expect(tests).toMatch(new RegExp(`test\\(\\s*"D${number} `));
  });

  test("names the method for every question", () => {
    const questions = [
      "hasPermission",
      "hasAnyPermission",
      "hasAllPermissions",
      "hasAppPermissions",
      "permissions(",
      "withPermission(",
    ];
    for (const question of questions)
      expect(section("reference/access.md", "Check permissions")).toContain(question);
    for (const word of ["permissions list", "permissions sync", "permissions prune"])
      expect(read("reference/access.md")).toContain(word);
  });
});
