import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RequestError } from "../errors.ts";
import { numberSource, readJson, readJsonText } from "./body.ts";
import { webCall } from "./http.ts";

const MAX_BYTES = 2000;

const callWith = (body: BodyInit | null) =>
  webCall(new Request("http://localhost/ws/chat/default", { method: "POST", body }));
const read = (body: BodyInit | null) => readJson(callWith(body), MAX_BYTES);

const nested = (depth: number, open = "[", close = "]") =>
  `{"a":${open.repeat(depth - 1)}${close.repeat(depth - 1)}}`;

async function expectRejection(body: BodyInit, status: number, message: RegExp): Promise<void> {
  const error = await read(body).catch((cause: unknown) => cause);
  expect(error).toBeInstanceOf(RequestError);
  expect(error).toMatchObject({ status, message: expect.stringMatching(message) });
}

describe("a body that is a JSON object", () => {
  test("is returned with its text", async () => {
    const text = '{ "é": 1e2, "b": [null, {"c": "\\"]"}] }';
    expect(await readJsonText(callWith(text), MAX_BYTES)).toEqual({
      text,
      value: { é: 100, b: [null, { c: '"]' }] },
    });
    expect(await read(text)).toEqual({ é: 100, b: [null, { c: '"]' }] });
  });

  test("is undefined when the body is empty", async () => {
    expect(await read("")).toBeUndefined();
    expect(await readJsonText(callWith(null), MAX_BYTES)).toBeUndefined();
  });

  test("is accepted up to the maximum size", async () => {
    const text = `{"a":"${"x".repeat(MAX_BYTES - 8)}"}`;
    expect(text).toHaveLength(MAX_BYTES);
    expect(await read(text)).toBeDefined();
    await expectRejection(`${text} `, 413, /larger than 2000 bytes/);
  });
});

test.each<[what: string, body: BodyInit, message: RegExp]>([
  ["a byte sequence that is not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), /not UTF-8/],
  ["a surrogate in UTF-8", Uint8Array.of(0x7b, 0xed, 0xa0, 0x80, 0x7d), /not UTF-8/],
  ["a byte order mark", "\ufeff{}", /not valid JSON\. Send a JSON object\.$/],
  ["text after the object", "{}{}", /not valid JSON\. Send a JSON object\.$/],
  ["a part of an object", '{"a":', /not valid JSON\. Send a JSON object\.$/],
  ["white space", " ", /not valid JSON\. Send a JSON object\.$/],
  ["null", "null", /null, not a JSON object/],
  ["a list", "[{}]", /an array, not a JSON object/],
  ["a string", '"text"', /a string, not a JSON object/],
  ["a number", "1", /a number, not a JSON object/],
  ["a boolean", "true", /a boolean, not a JSON object/],
])("rejects %s with 400", (_, body, message) => expectRejection(body, 400, message));

describe("B16 the depth of a body", () => {
  test.each([
    ["lists", "[", "]"],
    ["objects", '{"a":', "}"],
  ])("is at most 64 for %s", async (_, open, close) => {
    const inner = close === "}" ? "1" : "";
    const text = (depth: number) =>
      nested(depth, open, close).replace(`${open}${close}`, `${open}${inner}${close}`);
    expect(await read(text(64))).toBeDefined();
    await expectRejection(text(65), 400, /deeper than 64/);
  });

  test("is checked before the body is parsed", () =>
    expectRejection(`{"a":${"[".repeat(65)}`, 400, /deeper than 64/));

  test("does not count siblings", async () => {
    expect(await read(`{"a":[${"[],{},".repeat(100)}1]}`)).toBeDefined();
  });

  test.each([
    ["brackets in a string", "[".repeat(70)],
    ["brackets after an escaped quote", `\\"${"{".repeat(70)}`],
    ["brackets after an escaped backslash and quote", `\\\\\\"${"[".repeat(70)}`],
  ])("does not count %s", async (_, string) => {
    expect(await read(`{"a":"${string}"}`)).toBeDefined();
  });

  test.each([
    ["a string that contains closing brackets", '"]]}}]]}}"'],
    ["a string that ends with an escaped quote", '"\\""'],
    ["a string that ends with a backslash", '"\\\\"'],
    ["an empty string", '""'],
  ])("counts brackets after %s", (_, string) =>
    expectRejection(`{"a":[${string},${"[".repeat(63)}${"]".repeat(63)}]}`, 400, /deeper than 64/),
  );
});

describe("a NUL character", () => {
  test.each([
    ["a string", '{"a":"x\\u0000y"}'],
    ["a name", '{"a\\u0000":1}'],
    ["a list", '{"a":[null,1,"\\u0000"]}'],
    ["a nested object", '{"a":null,"b":[{"c":true},{"c":"\\u0000"}]}'],
    ["the name of a nested object", '{"b":{"\\u0000":null}}'],
  ])("is rejected in %s", (_, body) => expectRejection(body, 400, /NUL character/));

  test("is not found in an escaped backslash before u0000", async () => {
    expect(await read('{"a":"\\\\u0000","b":[null,1]}')).toEqual({ a: "\\u0000", b: [null, 1] });
  });
});

test.each<[string, string | undefined]>([
  ['{"id":1}', "1"],
  ['{"id": 1.0 }', "1.0"],
  ['{"id"\n:\t-0,"a":1}', "-0"],
  ['{"a":{"id":2},"id":1e2}', "1e2"],
  ['{"a":[{"id":2}],"b":"\\"id\\":3","id":1E+2}', "1E+2"],
  ['{"id":12345678901234567890}', "12345678901234567890"],
  ['{"\\u0069d":9007199254740993}', "9007199254740993"],
  ['{"id":1,"id":2.0}', "2.0"],
  ['{"id":1,"id":"a"}', undefined],
  ['{"id":2,"a":{"id":1.0}}', "2"],
  ['{"a":"id","b":1}', undefined],
  ['{"id":1,"a":"id"}', "1"],
  ['{"id":1,"a":["x","id"]}', "1"],
  ['{"id":1,"a":[{"b":1,"id":2}]}', "1"],
  ['{"a":"\\\\","id":7}', "7"],
  ['{"id":null}', undefined],
  ["{}", undefined],
])("finds the number in %s", (text, source) => {
  expect(numberSource(text, "id")).toBe(source);
});

test("finds the number that JSON.parse returns, in any object", () => {
  const object = fc.dictionary(
    fc.oneof(fc.constantFrom("id", "ID", 'i"d', "\\id"), fc.string()),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(object, fc.integer(), fc.constantFrom(0, 1, 2), (fields, id, spaces) => {
      const text = JSON.stringify({ ...fields, id }, undefined, spaces);
      expect(numberSource(text, "id")).toBe(String(id));
      delete fields.id;
      expect(numberSource(JSON.stringify(fields, undefined, spaces), "id")).toBeUndefined();
    }),
  );
});
