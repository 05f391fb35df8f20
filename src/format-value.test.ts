import { describe, expect, test } from "vitest";
import { ConfigurationError, malformedRequest, StorageError } from "./errors.ts";
import { formatValue, isPlainObject, printable, printableLines } from "./format-value.ts";

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

const UNPRINTABLE: readonly [string, string, string][] = [
  ["a line feed", "\n", "\\u000a"],
  ["a carriage return", "\r", "\\u000d"],
  ["NUL", "\0", "\\u0000"],
  ["escape", "\u001b", "\\u001b"],
  ["delete", "\u007f", "\\u007f"],
  ["the control sequence introducer of C1", "\u009b", "\\u009b"],
  ["a right-to-left override", "\u202e", "\\u202e"],
  ["a right-to-left isolate", "\u2067", "\\u2067"],
  ["an Arabic letter mark", "\u061c", "\\u061c"],
  ["a line separator", "\u2028", "\\u2028"],
  ["a paragraph separator", "\u2029", "\\u2029"],
  ["a zero-width space", "\u200b", "\\u200b"],
  ["a zero-width joiner", "\u200d", "\\u200d"],
  ["a word joiner", "\u2060", "\\u2060"],
  ["a byte order mark", "\ufeff", "\\ufeff"],
  ["a soft hyphen", "\u00ad", "\\u00ad"],
  ["a Hangul filler", "\u3164", "\\u3164"],
  ["a variation selector", "\ufe0f", "\\ufe0f"],
  ["the first half of a surrogate pair", "\ud83d", "\\ud83d"],
  ["the second half of a surrogate pair", "\ude00", "\\ude00"],
  ["a tag of two code units", "\u{e0041}", "\\udb40\\udc41"],
];

test.each(UNPRINTABLE)("writes %s as its code units", (_, character, written) => {
  expect(printable(`a${character}b`)).toBe(`a${written}b`);
  expect(printableLines(`a\n\t${character === "\n" ? "" : character}b`)).toBe(
    `a\n\t${character === "\n" ? "" : written}b`,
  );
});

test("keeps visible characters, and keeps JSON equivalent", () => {
  const seen = 'Ä é 漢字 עברית العربية 😀 "quoted" \\ \u00a0';
  expect(printable(seen)).toBe(seen);
  const value = { [UNPRINTABLE.map(([, character]) => character).join()]: "\u202e" };
  expect(JSON.parse(printable(JSON.stringify(value)))).toEqual(value);
});

describe("the message of an error", () => {
  const words = UNPRINTABLE.map(([, character]) => character).join(" ");
  const escapes = UNPRINTABLE.map(([, , written]) => written).join(" ");
  test.each([
    ["ConfigurationError", new ConfigurationError(words)],
    ["RequestError", malformedRequest(words)],
    ["StorageError", new StorageError(words)],
  ])("of class %s contains no invisible character, and neither does its stack", (_, error) => {
    expect(error.message).toBe(escapes);
    expect(printableLines(error.stack ?? "")).toBe(error.stack);
  });
});

test("a formatted value contains no invisible character", () => {
  const key = "\u202ekey";
  for (const value of ["\u202e\u009b\ud800", { [key]: 1 }, Object.create({ constructor: { name: key } })]) {
    expect(printable(formatValue(value))).toBe(formatValue(value));
  }
  expect(formatValue("\u202e")).toBe('"\\u202e"');
});
