import { expect, test } from "vitest";
import { foreignExcerpt } from "./foreign-body.ts";

test.each([
  ["<html>\r\n<b>502</b>", '"<html>\\r\\n<b>502</b>"'],
  ["  Bad Gateway\n", '"Bad Gateway"'],
  ["\u001b[31m\u009b\u202eé\u2028", '"\\u001b[31m\\u009b\\u202e\\u00e9"'],
  ["x".repeat(200), JSON.stringify("x".repeat(200))],
  ["x".repeat(201), `${JSON.stringify("x".repeat(200))} …`],
  ["\ud800", '"\\ud800"'],
])("quotes the beginning of a body that is not JSON: %j", (body, excerpt) => {
  expect(foreignExcerpt(body)).toBe(excerpt);
});

test.each(["", " \n", '{"message":"Forbidden"}', " [1", '"text"'])("returns undefined for %j", (body) => {
  expect(foreignExcerpt(body)).toBeUndefined();
});
