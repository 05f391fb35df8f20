import { describe, expect, test } from "vitest";
import { ConfigurationError, RequestError } from "../errors.ts";
import { parseOptions } from "../options.ts";
import { Origins, originSchema } from "./origins.ts";

const PAGE = "https://www.example.com";

const check = async (origins: Origins, origin: string | undefined) =>
  origins.require(await origins.decide(origin));

describe("Origins", () => {
  test("allows exactly the origins that are listed", async () => {
    const origins = new Origins([PAGE, "http://localhost:3000"], false);
    for (const origin of [PAGE, "http://localhost:3000"]) {
      await expect(check(origins, origin)).resolves.toBeUndefined();
      expect(await origins.allows(origin)).toBe(true);
    }
    for (const other of [
      "https://example.com",
      "http://www.example.com",
      `${PAGE}:8443`,
      "null",
      "none",
      "",
    ]) {
      await expect(check(origins, other), other).rejects.toThrow(RequestError);
      expect(await origins.allows(other), other).toBe(false);
    }
  });

  test("allows the subdomains of a wildcard and no similar origins", async () => {
    const origins = new Origins(["https://*.example.com", "http://*.local.test:3000"], false);
    for (const origin of [
      "https://a.example.com",
      "https://www.example.com",
      "https://a.b-1.example.com",
      "http://x.local.test:3000",
    ]) {
      expect(await origins.allows(origin), origin).toBe(true);
    }
    for (const other of [
      "https://example.com",
      "https://.example.com",
      "https://evilexample.com",
      "http://a.example.com",
      "https://a.example.com:8443",
      "https://a.example.com.evil.test",
      "https://evil.test/.example.com",
      "https://evil.test#.example.com",
      "https://evil.test?.example.com",
      "https://user@evil.test:1.example.com",
      "https://a..example.com",
      "https://a.example.com\n",
    ]) {
      expect(await origins.allows(other), other).toBe(false);
    }
  });

  test("allows an origin only if the function returns exactly true", async () => {
    const answers: Record<string, unknown> = { [PAGE]: true, "https://a.test": 1, "https://b.test": "yes" };
    const origins = new Origins(async (origin) => answers[origin] as boolean, false);
    expect(await origins.allows(PAGE)).toBe(true);
    for (const other of ["https://a.test", "https://b.test", "https://c.test"]) {
      await expect(check(origins, other), other).rejects.toThrow(RequestError);
    }
    await expect(check(origins, undefined)).rejects.toThrow(/has no Origin header/);
    const failing = new Origins(() => {
      throw new Error("down");
    }, false);
    await expect(check(failing, PAGE)).rejects.toThrow("down");
  });

  test("accepts a request without Origin only with allowMissingOrigin, which allows no other origin", async () => {
    await expect(check(new Origins([PAGE], false), undefined)).rejects.toThrow(
      /Set allowMissingOrigin: true/,
    );
    const open = new Origins([PAGE], true);
    await expect(check(open, undefined)).resolves.toBeUndefined();
    await expect(check(open, "https://evil.example.com")).rejects.toThrow(
      'Origin "https://evil.example.com" is not in origins.',
    );
    await expect(check(new Origins([], true), PAGE)).rejects.toThrow(RequestError);
    expect(() => new Origins([], false)).toThrow(/origins is empty/);
  });

  test.each([
    [["https://www.example.com", "http://localhost:3000"]],
    [["https://*.example.com", "http://*.local.test:3000", "https://*.a.b.example.com:8443"]],
    [[]],
    [() => true],
  ])("accepts %o", (origins) => {
    expect(() => parseOptions("createSallyport()", originSchema, origins)).not.toThrow();
  });

  test.each([
    ["text before a wildcard", ["x-https://*.example.com"]],
    ["text after a wildcard", ["https://*.example.com*"]],
    ["an empty label after the star", ["https://*..example.com"]],
    ["a dot at the end", ["https://*.com."]],
    ["null", null],
    ["a text instead of an array", PAGE],
    ["an incomplete URL", ["https://[", "https://"]],
    ["a path", [`${PAGE}/chat`]],
    ["a slash at the end", [`${PAGE}/`]],
    ["no scheme", ["www.example.com"]],
    ["another scheme", ["ftp://www.example.com"]],
    ["a scheme further on", ["x-https://www.example.com"]],
    ["a star for every host", ["https://*"]],
    ["a star for every host below a top-level domain", ["https://*.com"]],
    ["a star inside a label", ["https://a*.example.com"]],
    ["two stars", ["https://*.*.example.com"]],
    ["a star for the port", [`${PAGE}:*`]],
    ["a number", [7]],
    ["a default port, which browsers do not send", [`${PAGE}:443`]],
    ["the word none", ["none"]],
  ])("rejects at startup: %s", (_name, list) => {
    expect(() => parseOptions("createSallyport()", originSchema, list)).toThrow(ConfigurationError);
  });
});
