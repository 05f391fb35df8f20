import { expect, test } from "vitest";
import { formatValue, isPlainObject } from "./format-value.ts";

test.each<[unknown, string]>([
  ["text", '"text"'],
  ["a\n\u0000", '"a\\n\\u0000"'],
  ["x".repeat(101), `"${"x".repeat(100)}… (101 characters)"`],
  [7, "7"],
  [Number.NaN, "NaN"],
  [7n, "7n"],
  [true, "true"],
  [null, "null"],
  [undefined, "undefined"],
  [Symbol("secret"), "a symbol"],
  [() => 1, "a function"],
  [function named() {}, "the function named"],
  [["secret"], "an array of 1"],
  [{}, "an empty object"],
  [{ accessKeyId: "secret" }, 'an object with the keys "accessKeyId"'],
  [{ a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 }, 'an object with the keys "a", "b", "c", "d", "e", …'],
  [new Map([["secret", 1]]), "an object of class Map"],
  [Promise.resolve("secret"), "an object of class Promise"],
  [new (class {})(), "an object of class without a name"],
  [Object.create(Object.create(Object.create(null))), "an object of class without a name"],
])("formats %o", (value, text) => {
  expect(formatValue(value)).toBe(text);
});

test("formats an object that refers to itself", () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  expect(formatValue(circle)).toBe('an object with the keys "self"');
});

test("distinguishes plain objects from other values", () => {
  for (const value of [{}, Object.create(null), { a: 1 }]) expect(isPlainObject(value)).toBe(true);
  for (const value of [[], new Map(), new Date(), Promise.resolve(), null, undefined, "x", () => 1]) {
    expect(isPlainObject(value)).toBe(false);
  }
});
