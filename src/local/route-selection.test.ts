// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is the syntax of these expressions
import { describe, expect, test } from "vitest";
import { ConfigurationError } from "../errors.ts";
import { RouteSelection } from "./route-selection.ts";

function select(expression: string, body: unknown, keys: string[]): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return new RouteSelection(expression, keys).select(Buffer.from(text));
}

describe("route selection", () => {
  test.each([
    ["$request.body.action", { action: "send" }, "send"],
    ["$request.body.a.b", { a: { b: "send" } }, "send"],
    ["$request.body.a[1].b", { a: [0, { b: "send" }] }, "send"],
    ["${request.body.action}", { action: "send" }, "send"],
    ["${request.body.s}/${request.body.v}", { s: "chat", v: "send" }, "chat/send"],
    ["${request.body.action}-${request.body.nope}", { action: "join" }, "join-"],
    ["${request.body.action}", { action: 7 }, "7"],
    ["${request.body.action}", { action: true }, "true"],
    ["${request.body.action}", { action: ["a", 1] }, "[a, 1]"],
    ["fixed", { action: "send" }, "fixed"],
    ["\\$fixed", {}, "$fixed"],
  ])("by %s from %j returns %s", (expression, body, key) => {
    expect(select(expression, body, [key])).toBe(key);
  });

  test.each([
    ["text that is not JSON", "send"],
    ["a number", "5"],
    ["null", "null"],
    ["another value", { action: "SEND" }],
    ["a missing field", {}],
    ["$connect", { action: "$connect" }],
    ["an inherited field", { action: { send: 1 } }],
  ])("returns $default for %s", (_what, body) => {
    expect(select("$request.body.action", body, ["send"])).toBe("$default");
  });

  test("does not read inherited properties", () => {
    expect(select("$request.body.constructor.name", {}, ["Object"])).toBe("$default");
    expect(select("$request.body.toString", {}, ["constructor", "__proto__"])).toBe("$default");
  });

  test.each([
    "",
    "$request.header.x",
    "$request.body",
    "${request.body.}",
    "${oops}",
    "$request.body.a..b",
    "a$b",
  ])("rejects the expression %j", (expression) => {
    expect(() => new RouteSelection(expression, ["a"])).toThrow(ConfigurationError);
  });
});
