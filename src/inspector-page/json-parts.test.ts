import { describe, expect, test } from "vitest";
import { jsonMembers, jsonParts } from "./json-parts.ts";

describe("JSON", () => {
  const event = {
    headers: { Cookie: "sid=1", Host: "a" },
    multiValueHeaders: { Cookie: ["sid=1"] },
    queryStringParameters: { ws_token: "abc", page: "2" },
    body: '{"token":"visible"}',
  };

  test("is formatted with an indent", () => {
    expect(jsonParts('{"a":[1]}', false)).toEqual([{ text: '{\n  "a": [\n    1\n  ]\n}' }]);
    expect(jsonParts("plain text", false)).toEqual([{ text: "plain text" }]);
  });

  test("of a function hides secret headers and tokens", () => {
    const parts = jsonParts(JSON.stringify(event), true);
    const shown = parts.filter(({ secretName }) => secretName === undefined).map(({ text }) => text);
    expect(shown.join("")).not.toMatch(/sid=1|abc/);
    expect(shown.join("")).toContain('"page": "2"');
    expect(shown.join("")).toContain("visible");
    expect(parts.map(({ text }) => text).join("")).toBe(
      JSON.stringify(event, undefined, 2).replace('[\n      "sid=1"\n    ]', '["sid=1"]'),
    );
  });

  test("of a function is hidden completely if it was cut", () => {
    expect(jsonParts('{"headers":{"Cookie":"si', true)).toEqual([
      { text: '{"headers":{"Cookie":"si', secretName: "the event" },
    ]);
  });

  test("of a function hides a repeated header, and one with an escaped name", () => {
    const text = '{"headers":{"Cookie":"one","Cookie":"two","\\u0063ookie":{"a":["three"]}}}';
    const parts = jsonParts(text, true);
    expect(parts.flatMap(({ text, secretName }) => (secretName === undefined ? [] : [text]))).toEqual([
      '"one"',
      '"two"',
      '{"a":["three"]}',
    ]);
  });

  test.each([
    '{"n":12345678901234567890}',
    '{"n":1.0,"e":1E5,"z":-0}',
    '{"a":1,"a":2}',
    '{"2":0,"1":0}',
    '{"s":"\\u00e9\\/ \\n { [ , : ]"}',
    '{"__proto__":{"a":1}}',
    '[[],{},[{}],"",null,true]',
    "12345678901234567890",
  ])("is not changed, except for its white space: %s", (text) => {
    for (const hasSecrets of [false, true]) {
      const shown = jsonParts(text, hasSecrets).map((part) => part.text);
      expect(shown.join("").replace(/"(?:[^"\\]|\\.)*"|\s+/g, (match) => match.trim() && match)).toBe(text);
    }
  });

  test("is not formatted if it is nested too deeply", () => {
    const text = `${"[".repeat(5_000)}${"]".repeat(5_000)}`;
    expect(jsonParts(text, false)).toEqual([{ text }]);
    expect(jsonParts(text, true)).toEqual([{ text, secretName: "the event" }]);
  });
});

describe("the members of an object", () => {
  test("are listed with the text of their values", () => {
    expect(jsonMembers(' { "a" : 1.0, "b":{"c": [1, "x y"]} } ')).toEqual({
      members: [
        { name: "a", value: "1.0" },
        { name: "b", value: '{"c":[1,"x y"]}' },
      ],
      isCut: false,
    });
    expect(jsonMembers("{}")).toEqual({ members: [], isCut: false });
  });

  test("are listed as far as a text reaches that was cut", () => {
    expect(jsonMembers('{"a":1,"b":{"c":"x')).toEqual({
      members: [
        { name: "a", value: "1" },
        { name: "b", value: '{"c":"x' },
      ],
      isCut: true,
    });
    expect(jsonMembers('{"a":1,"b')).toEqual({ members: [{ name: "a", value: "1" }], isCut: true });
  });

  test.each(["", "text", "[1]", '"a"', "{", "{text}", "{1:2}"])("are undefined for %j", (text) => {
    expect(jsonMembers(text)?.members ?? []).toEqual([]);
  });
});
