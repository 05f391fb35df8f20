import { describe, expect, test } from "vitest";
import { ConfigurationError, RefusedError } from "../errors.ts";
import { Origins } from "./origins.ts";

const PAGE = "https://www.example.com";

describe("Origins", () => {
  test("lets in exactly what is on the list", () => {
    const origins = new Origins([PAGE, "http://localhost:3000"]);
    for (const origin of [PAGE, "http://localhost:3000"]) {
      expect(() => origins.check(origin)).not.toThrow();
      expect(origins.has(origin)).toBe(true);
    }
    for (const other of [
      "https://example.com",
      "http://www.example.com",
      `${PAGE}:8443`,
      "null",
      "none",
      "",
    ]) {
      expect(() => origins.check(other), other).toThrow(RefusedError);
      expect(origins.has(other), other).toBe(false);
    }
  });

  test("a request without Origin needs the word none, which lets in nothing else", () => {
    expect(() => new Origins([PAGE]).check(undefined)).toThrow(/has no Origin.*"none"/);
    const open = new Origins([PAGE, "none"]);
    expect(() => open.check(undefined)).not.toThrow();
    expect(() => open.check("https://evil.example.com")).toThrow(
      'Origin "https://evil.example.com" is not in origins.',
    );
    expect(() => new Origins(["none"]).check(PAGE)).toThrow(RefusedError);
  });

  test.each([
    ["an empty list", []],
    ["no list", PAGE],
    ["no URL", ["https://[", "https://"]],
    ["a path behind", [`${PAGE}/chat`]],
    ["a slash behind", [`${PAGE}/`]],
    ["no scheme", ["www.example.com"]],
    ["another scheme", ["ftp://www.example.com"]],
    ["a scheme further on", ["x-https://www.example.com"]],
    ["what is no URL", ["https://"]],
    ["a star", ["https://*"]],
    ["a pattern", ["https://*.example.com"]],
    ["what is no text", [7]],
    ["a default port that no browser sends", [`${PAGE}:443`]],
  ])("refuses at start: %s", (_name, list) => {
    expect(() => new Origins(list as string[])).toThrow(ConfigurationError);
  });
});
