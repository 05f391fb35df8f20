import { describe, expect, test } from "vitest";
import { endsWithOwnPath, isNormalForm, isPath, isUnambiguous, ownPath } from "./path.ts";

/** Targets that servers split into different segments. */
const AMBIGUOUS = [
  "ws/chat",
  "*",
  "http://example.com/ws/chat",
  "/ws/../chat",
  "/ws/./chat",
  "/ws/..",
  "/ws/.",
  "/..",
  "/ws/%2e%2E/chat",
  "/ws/.%2e/chat",
  "/ws/%2e",
  "/ws%2f../chat",
  "/ws%2F..%2Fchat",
  "/ws%5c..%5cchat",
  "/ws\\chat",
  "/ws#chat",
  "/ws/..;a/chat",
  "/ws/..%3bchat",
];

describe("a path", () => {
  test.each(["/a", "/ws/chat", "/a.b/~c_d-9", "/...", "/.well-known", "/..a", "/a..", "/.a/b"])(
    "accepts %j",
    (text) => {
      expect(isPath(text)).toBe(true);
      expect(ownPath(text)).toBe(text);
    },
  );

  test.each(
    [
      ["", "a", "//", "/a/", "/a//b", "//a", "/a b", "/ä", "/a%20b", "/a;b", "/a?b", "x/a"],
      ["/.", "/..", "/./a", "/../a", "/a/..", "/a/.", "/a/../b", "/a/./b", "/a\n", "/a\\b", "/a#b"],
    ].flat(),
  )("rejects %j", (text) => {
    expect(isPath(text)).toBe(false);
  });
});

describe("the path of a request without the prefix", () => {
  test.each<[target: string, prefix: string, path: string | undefined]>([
    ["/ws/chat?a=/../b", "", "/ws/chat"],
    ["/ws/chat?", "", "/ws/chat"],
    ["/?a", "", "/"],
    ["/", "", "/"],
    ["/api/ws/chat?a?b", "/api", "/ws/chat"],
    ["/api/", "/api", "/"],
    ["/api", "/api", undefined],
    ["/apiws/chat", "/api", undefined],
    ["/ws/chat", "/api", undefined],
    ["/app/ws/chat", "/api", undefined],
    ["/x?/api/ws", "/api", undefined],
    ["/x/api/ws", "/api", undefined],
    ["/api/../ws", "/api", undefined],
    ["/api//ws", "/api", undefined],
    ["?/ws", "", undefined],
    ["", "", undefined],
  ])("of %j below %j is %j", (target, prefix, path) => {
    expect(ownPath(target, prefix)).toBe(path);
  });

  test.each(AMBIGUOUS)("is undefined for %j", (target) => {
    expect(ownPath(target)).toBeUndefined();
  });
});

describe("a request target", () => {
  test.each(AMBIGUOUS)("is ambiguous: %j", (target) => {
    expect(isUnambiguous(target)).toBe(false);
    expect(isNormalForm(target)).toBe(false);
    expect(endsWithOwnPath(`${target}/ws`, "/ws")).toBe(false);
  });

  test.each(["/", "/ws", "/ws/", "/a%2fb", "/a%20b?c=/../d", "/...", "/.a/..b", "/a%23b"])(
    "is unambiguous and in normal form: %j",
    (target) => {
      expect(isUnambiguous(target)).toBe(true);
      expect(isNormalForm(target)).toBe(true);
    },
  );

  test.each(
    [
      ["//ws", "/ws//chat", "/ws/;a", "/ws/%3Ba", "/ws/%3ba"],
      [
        "/%2D",
        "/%2d",
        "/%30",
        "/%39",
        "/%41",
        "/%4f",
        "/%50",
        "/%5A",
        "/%5f",
        "/%61",
        "/%6F",
        "/%70",
        "/%7a",
      ],
      ["/%7e"],
    ].flat(),
  )("is unambiguous, but not in normal form: %j", (target) => {
    expect(isUnambiguous(target)).toBe(true);
    expect(isNormalForm(target)).toBe(false);
    expect(endsWithOwnPath(`${target}/ws`, "/ws")).toBe(false);
  });

  test.each(["/%20", "/%40", "/%5B", "/%5e", "/%60", "/%7b", "/%7F", "/%2f", "/%2c"])(
    "is in normal form with a character that must be encoded: %j",
    (target) => {
      expect(isNormalForm(target)).toBe(true);
    },
  );

  test("ends with a path of Sallyport", () => {
    expect(endsWithOwnPath("/ws/chat", "/ws/chat")).toBe(true);
    expect(endsWithOwnPath("/api/v1/ws/chat?a=b", "/ws/chat")).toBe(true);
    expect(endsWithOwnPath("/a%20b/ws/chat", "/ws/chat")).toBe(true);
  });

  test.each<[target: string, own: string]>([
    ["/api?/ws/chat", "/ws/chat"],
    ["/ws/chat/x", "/ws/chat"],
    ["/api/ws/chat/", "/ws/chat"],
    ["/ws/chat", "chat"],
    ["/ws/chat", ""],
    ["/api/", "/"],
    ["/a/ws//chat", "//chat"],
  ])("%j does not end with the path %j", (target, own) => {
    expect(endsWithOwnPath(target, own)).toBe(false);
  });
});
