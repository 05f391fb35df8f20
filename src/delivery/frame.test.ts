import { describe, expect, test } from "vitest";
import { DeliveryError, RequestError } from "../errors.ts";
import { encodeFrame, encodeMessage } from "./frame.ts";

class Money {
  readonly #cents = 100;
  get cents() {
    return this.#cents;
  }
}

class Shape {
  readonly points = new Set([1]);
}

class Point {
  readonly x = 1;
  move() {
    return this.x;
  }
}

const circle: Record<string, unknown> = { a: 1 };
circle.self = circle;

describe("B41 a value that JSON cannot represent", () => {
  test.each<[string, unknown, RegExp]>([
    [
      "a Buffer",
      { file: Buffer.from("a") },
      /^message\.file is an object of class Buffer, binary data.*base64/,
    ],
    ["a typed array", [new Float32Array(2)], /^message\[0\] is an object of class Float32Array/],
    ["an ArrayBuffer", { a: { b: new ArrayBuffer(1) } }, /^message\.a\.b is an object of class ArrayBuffer/],
    ["a Map", { services: new Map([["a", 1]]) }, /^message\.services is a Map.*Object\.fromEntries/],
    ["a Set", { list: [1, { ids: new Set([1]) }] }, /^message\.list\[1\]\.ids is a Set.*\[\.\.\.set\]/],
    ["a bigint", { total: 1n }, /^message\.total is a bigint.*String\(value\)/],
    ["a function", { "my key": () => 1 }, /^message\["my key"\] is a function/],
    ["a symbol", [1, Symbol("a")], /^message\[1\] is a symbol/],
    ["NaN", { mean: 0 / 0 }, /^message\.mean is NaN, which JSON writes as null/],
    ["a boxed Infinity", { mean: Object(-1 / 0) }, /^message\.mean is -Infinity/],
    ["an invalid Date", { at: new Date(Number.NaN) }, /^message\.at is an invalid Date/],
    ["undefined in an array", { a: [1, undefined] }, /^message\.a\[1\] is undefined/],
    ["a hole in an array", new Array(2), /^message\[0\] is undefined/],
    ["a Promise", { user: Promise.resolve() }, /^message\.user is a Promise.*Await it/],
    [
      "an Error",
      { error: new TypeError("a") },
      /^message\.error is an object of class TypeError.*error\.message/,
    ],
    [
      "an object with private fields only",
      { price: new Money() },
      /^message\.price is an object of class Money/,
    ],
    ["a RegExp", { form: /a/ }, /^message\.form is an object of class RegExp/],
    [
      "URL parameters",
      { query: new URLSearchParams("a=1") },
      /^message\.query is an object of class URLSearchParams/,
    ],
    ["a Map that toJSON returns", { toJSON: () => ({ map: new Map() }) }, /^message\.map is a Map/],
    [
      "a Buffer that toJSON returns",
      { a: { toJSON: () => Buffer.from("a") } },
      /^message\.a is an object of class Buffer/,
    ],
    [
      "a Map that toJSON returns with a toJSON method beside it, which JSON does not call",
      { a: { toJSON: () => ({ map: new Map(), toJSON: () => 1 }) } },
      /^message\.a\.map is a Map/,
    ],
    ["a Set in an object of a class", { shape: new Shape() }, /^message\.shape\.points is a Set/],
    [
      "a Map that the toJSON of a Date returns",
      { at: Object.assign(new Date(0), { toJSON: () => new Map() }) },
      /^message\.at is a Map/,
    ],
    [
      "a Set that the toJSON of a function returns",
      { a: Object.assign(() => 1, { toJSON: () => [new Set()] }) },
      /^message\.a\[0\] is a Set/,
    ],
    ["a bigint beside a cycle", { circle, total: 1n }, /^message\.total is a bigint/],
    ["an object that contains itself", { circle }, /^message cannot be written as JSON: .*circular/i],
    ["undefined", undefined, /^message is undefined/],
    ["a value whose toJSON returns undefined", { toJSON: () => undefined }, /^message has a toJSON method/],
    [
      "a value whose getter throws",
      {
        get a() {
          throw new Error("no luck");
        },
      },
      /^message cannot be written as JSON: no luck/,
    ],
  ])("%s is rejected with its path and a solution", (_, value, words) => {
    const encode = () => encodeFrame(value);
    expect(encode).toThrow(DeliveryError);
    expect(encode).toThrow(words);
  });

  test("is located in the error by the name that was passed", () => {
    expect(() => encodeFrame({ id: 1, result: [new Set()] }, "")).toThrow(/^result\[0\] is a Set/);
    expect(() => encodeFrame(new Set(), "result")).toThrow(/^result is a Set/);
  });

  test("is located in the error by a path of limited length", () => {
    const deep = Array.from({ length: 60 }).reduce<unknown>((inner) => ({ ["k".repeat(50)]: inner }), 1n);
    expect(() => encodeFrame(deep)).toThrow(/^message\.k{50}.{1,200}… is a bigint/);
  });

  test("is rejected if it is nested too deeply", () => {
    const deep = Array.from({ length: 200_000 }).reduce<unknown>((inner) => [inner], 1);
    expect(() => encodeFrame(deep)).toThrow(DeliveryError);
  });

  test("does not include values that JSON represents", () => {
    const none = Object.assign(Object.create(null) as object, { a: 1 });
    const shared = { a: 1 };
    const value = {
      at: new Date(0),
      point: new Point(),
      url: new URL("https://example.com"),
      none,
      list: [shared, shared],
      left: undefined,
      text: Object("a") as string,
      yes: Object(true) as boolean,
      three: Object(3) as number,
      own: { toJSON: (key: string) => `json of ${key}` },
      run: Object.assign(() => 1, { toJSON: () => "run" }),
      noJson: { toJSON: () => null },
      empty: {},
      zero: -0,
      nothing: null,
    };
    expect(JSON.parse(encodeFrame(value))).toEqual({
      at: "1970-01-01T00:00:00.000Z",
      point: { x: 1 },
      url: "https://example.com/",
      none: { a: 1 },
      list: [{ a: 1 }, { a: 1 }],
      text: "a",
      yes: true,
      three: 3,
      own: "json of own",
      run: "run",
      noJson: null,
      empty: {},
      zero: 0,
      nothing: null,
    });
  });

  test("does not include an object that toJSON returns unchanged", () => {
    class Self {
      readonly a = 1;
      toJSON() {
        return this;
      }
    }
    expect(encodeFrame([new Self()])).toBe('[{"a":1}]');
  });

  test("does not include a bigint that the app gave a toJSON method", () => {
    const prototype = BigInt.prototype as { toJSON?: () => string };
    prototype.toJSON = function () {
      return String(this);
    };
    try {
      expect(encodeFrame({ total: 10n })).toBe('{"total":"10"}');
    } finally {
      delete prototype.toJSON;
    }
  });
});

describe("the size of a frame", () => {
  test.each([
    ["letters", "x"],
    ["characters of several bytes", "€"],
  ])("is at most 128 KB in UTF-8 for %s", (_, character) => {
    const bytes = Buffer.byteLength(character);
    const text = character.repeat(Math.floor((128 * 1024 - 2) / bytes));
    const rest = "x".repeat(128 * 1024 - 2 - Buffer.byteLength(text));
    expect(Buffer.byteLength(encodeFrame(text + rest))).toBe(128 * 1024);
    const rejection = { name: "DeliveryError", code: "SALLYPORT_TOO_LARGE", status: 500 };
    expect(() => encodeFrame(`${text}${rest}x`)).toThrow(expect.objectContaining(rejection));
    expect(() => encodeMessage({ text })).toThrow(expect.objectContaining(rejection));
  });
});

/** Returns an object with a `type` that changes on each read. */
function changing(...values: unknown[]) {
  return {
    get type() {
      return values.length > 1 ? values.shift() : values[0];
    },
  };
}

const raw = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON;

test("checks what the toJSON method of an array returns, and not the array", () => {
  const listWith = (toJSON: () => unknown) => Object.assign([undefined, 1n], { toJSON });
  expect(encodeFrame({ list: listWith(() => "two items") })).toBe('{"list":"two items"}');
  expect(encodeFrame({ list: listWith(() => [1, 2]) })).toBe('{"list":[1,2]}');
  expect(() => encodeFrame({ list: listWith(() => ({ a: new Map() })) })).toThrow(
    /^message\.list\.a is a Map/,
  );
  expect(() => encodeFrame({ list: listWith(() => [undefined]) })).toThrow(
    /^message\.list\[0\] is undefined/,
  );
  const same: unknown[] = [];
  Object.assign(same, { toJSON: () => same });
  expect(encodeFrame(same)).toBe("[]");
});

describe("a message with a reserved form", () => {
  test.each<[string, unknown]>([
    ["a notice", { type: "sallyport.revoked", scope: "view", reference: "x" }],
    ["a notice whose type does not come first", { scope: "view", type: "sallyport.revoked" }],
    ["a notice of a later version", { type: "sallyport." }],
    ["a notice that toJSON returns", { type: "chat", toJSON: () => ({ type: "sallyport.revoked" }) }],
    ["a notice whose type toJSON returns", { type: { toJSON: () => "sallyport.revoked" } }],
    [
      "a notice by a getter",
      {
        get type() {
          return "sallyport.revoked";
        },
      },
    ],
    ["a notice by a getter that returned another type first", changing("sallyport.a", "chat", "chat")],
    [
      "a notice by a proxy",
      new Proxy(
        {},
        {
          ownKeys: () => ["type"],
          getOwnPropertyDescriptor: () => ({ value: "sallyport.x", enumerable: true, configurable: true }),
          get: (_, name) => (name === "type" ? "sallyport.x" : undefined),
        },
      ),
    ],
    [
      "a notice in a class",
      new (class Notice {
        readonly type = "sallyport.revoked";
      })(),
    ],
    ["a notice without a prototype", Object.assign(Object.create(null) as object, { type: "sallyport.x" })],
    ["a notice whose type is a String object", { type: Object("sallyport.x") as string }],
    ["the answer to a call", { id: 1, ok: true, status: 200, result: "x" }],
    ["a failed call", { id: "a", ok: false, status: 403, error: "x", reference: "x" }],
    ["a rejection", { ok: false, error: "x", reference: "x" }],
    ["an answer whose type is undefined", { type: undefined, id: 1, ok: true }],
    ["an answer whose type is null", { type: null, id: 1, ok: true }],
    [
      "an answer whose type is inherited",
      Object.assign(Object.create({ type: "chat" }) as object, { ok: true }),
    ],
    ["an error of API Gateway", { message: "Forbidden", connectionId: "a=", requestId: "b=" }],
  ])("%s is rejected", (_, message) => {
    const rejection = {
      name: "BadRequestError",
      code: "SALLYPORT_BAD_REQUEST",
      status: 400,
      reason: "reserved",
    };
    expect(() => encodeMessage(message)).toThrow(expect.objectContaining(rejection));
  });

  // Node 20 has no JSON.rawJSON.
  test.runIf(raw)("is rejected if its JSON escapes letters of the type", () => {
    for (const text of [
      '"\\u0073allyport.revoked"',
      '"s\\u0061llyport.revoked"',
      '"sallyport\\u002erevoked"',
    ]) {
      expect(() => encodeMessage({ type: raw?.(text) }), text).toThrow(RequestError);
      expect(() => encodeMessage({ a: 1, type: raw?.(text) }), text).toThrow(RequestError);
    }
  });

  test.each<[string, unknown]>([
    ["a type with the word in it", { type: "my.sallyport.revoked" }],
    ["a type with the word alone", { type: "sallyport" }],
    ["a type in capitals, which no client acts on", { type: "Sallyport.revoked" }],
    ["a type in fullwidth letters, which no client acts on", { type: "ｓallyport.revoked" }],
    ["a notice inside a message", { type: "chat", body: { type: "sallyport.revoked" } }],
    ["a notice inside a message without a type", { body: { type: "sallyport.revoked", ok: true } }],
    ["a typed message with ok", { type: "saved", ok: true }],
    ["a typed message whose type comes after ok", { ok: true, type: "saved" }],
    ["a message whose type is a number", { ok: true, type: 0 }],
    [
      "a typed message with the ids of a connection and a request",
      { type: "log", connectionId: "a", requestId: "b" },
    ],
    ["an untyped message with one of these ids", { requestId: "b" }],
    ["a text that is JSON", '{"type":"sallyport.revoked"}'],
    ["a list of notices", [{ type: "sallyport.revoked" }]],
    ["a key that is spelled like a prototype", { ["__proto__"]: { ok: true } }],
    ["null", null],
  ])("does not include %s", (_, message) => {
    expect(encodeMessage(message)).toBe(JSON.stringify(message));
  });
});
