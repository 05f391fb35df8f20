import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");

/** The defects of the Python package, and the entries about troubleshooting without a test of that page. */
const NUMBERS: readonly string[] = [
  ...Array.from({ length: 73 }, (_, index) => `B${index + 1}`),
  "T15",
  "T19",
  "T22",
];

/** Returns the numbers at the start of a title, such as `B14 P5` or `B46, B47`. */
function numbersOf(title: string): readonly string[] {
  const [start = ""] = /^(?:[A-Z]\d+(?:–[A-Z]\d+)?,? )+/.exec(title) ?? [];
  return start.match(/[BT]\d+/g) ?? [];
}

/** Returns the titles of the tests and suites in a file, those of `test.each()` included. */
function titlesOf(file: string): readonly string[] {
  const source = ts.createSourceFile(file, readFileSync(join(root, file), "utf8"), ts.ScriptTarget.Latest);
  const titles: string[] = [];
  const visit = (node: ts.Node) => {
    if (ts.isCallExpression(node) && isTestFunction(node.expression)) {
      const [title] = node.arguments;
      if (title && ts.isStringLiteralLike(title)) titles.push(title.text);
      else if (title && ts.isTemplateExpression(title)) titles.push(title.head.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return titles;
}

/** Returns whether an expression is `test`, `it` or `describe`, or is made from one of them, such as `test.each([…])`. */
function isTestFunction(expression: ts.Expression): boolean {
  if (ts.isIdentifier(expression)) return ["test", "it", "describe"].includes(expression.text);
  if (ts.isPropertyAccessExpression(expression) || ts.isCallExpression(expression))
    return isTestFunction(expression.expression);
  return false;
}

const files = ["src", "test"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts") && !file.includes("node_modules"))
    .map((file) => join(folder, file)),
);
const tested = new Set(files.flatMap(titlesOf).flatMap(numbersOf));
const page = readFileSync(join(root, "docs/decisions/0030-known-defects.md"), "utf8");
const explained = new Set([...page.matchAll(/^- \*\*([BT]\d+)\*\*: /gm)].map(([, number]) => number ?? ""));

describe("the known defects", () => {
  test("each have a test with their number, or a line in docs/decisions/0030-known-defects.md", () => {
    expect(NUMBERS.filter((number) => !tested.has(number) && !explained.has(number))).toEqual([]);
  });

  test("have no line in that page if they have a test", () => {
    expect([...explained].filter((number) => tested.has(number))).toEqual([]);
  });

  test("have no other numbers", () => {
    const others = [...tested, ...explained].filter(
      (number) => /^B/.test(number) && !NUMBERS.includes(number),
    );
    expect(others).toEqual([]);
  });
});

test.each([
  ["B7 expire after a time", ["B7"]],
  ["B46, B47 a plan is what apply does", ["B46", "B47"]],
  ["F46, B48 a route is created once", ["B48"]],
  ["B17 P23–P26 are callable", ["B17"]],
  ["a message like B7 is no defect", []],
  ["B7: with a colon", []],
])("the numbers of the title %j are %j", (title, numbers) => {
  expect(numbersOf(title)).toEqual(numbers);
});
