import { describe, expect, test } from "vitest";
import { isSecretName, jsonParts, urlParts } from "./secrets.ts";

test.each(["x-sallyport-secret", "Authorization", "Cookie", "set-cookie", "X-Csrf-Token"])(
  "the header %s is secret",
  (name) => {
    expect(isSecretName(name)).toBe(true);
  },
);

test("other headers are not secret", () => {
  expect(["Host", "User-Agent", "connectionId"].some(isSecretName)).toBe(false);
});

describe("a URL", () => {
  test("hides each token of its query", () => {
    expect(urlParts("http://a/connect?x=1&ws_token=abc&ws_token=def&y=2")).toEqual([
      { text: "http://a/connect?x=1&ws_token=" },
      { text: "abc", secretName: "ws_token" },
      { text: "&ws_token=" },
      { text: "def", secretName: "ws_token" },
      { text: "&y=2" },
    ]);
  });

  test("hides a parameter whose name is escaped or resembles that of a token", () => {
    const secrets = (url: string) => urlParts(url).filter(({ secretName }) => secretName !== undefined);
    expect(secrets("/?ws%5Ftoken=abc")).toEqual([{ text: "abc", secretName: "ws_token" }]);
    expect(secrets("/?access_token=abc&x=1")).toEqual([{ text: "abc", secretName: "access_token" }]);
    expect(secrets("/?%E0%A4%A=abc")).toEqual([]);
  });

  test("without a token is one part", () => {
    expect(urlParts("http://a/?room=1")).toEqual([{ text: "http://a/?room=1" }]);
  });
});

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

  test("cannot imitate the mark of a secret", () => {
    const parts = jsonParts(JSON.stringify({ ...event, body: "\uE0000\uE000" }), true);
    expect(parts.filter(({ secretName }) => secretName !== undefined)).toHaveLength(3);
  });
});
