import { describe, expect, test } from "vitest";
import { isSecretName, urlParts } from "./secrets.ts";

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
