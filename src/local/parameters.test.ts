import { describe, expect, test } from "vitest";
import { eventOf } from "../../test/local/events.ts";
import { ConfigurationError } from "../errors.ts";
import { printable } from "../format-value.ts";
import { ManualClock } from "./clock.ts";
import type { GatewayEvent } from "./events.ts";
import { compileParameters } from "./parameters.ts";
import { Stages } from "./stages.ts";

const HEADER = "integration.request.header.x-it";

/** Returns the value of a header that is mapped to a source. */
function mapped(source: string, event: GatewayEvent): string | undefined {
  const [header] = compileParameters("here", { [HEADER]: source }).headers;
  return header?.source(event);
}

describe("a parameter's key", () => {
  test("sets the location and the name of its value", () => {
    const { headers, query, path } = compileParameters("here", {
      "integration.request.header.x.Y-$_1": "'1'",
      "integration.request.querystring.q": "'2'",
      "integration.request.path.p": "'3'",
    });
    const event = eventOf("connect");
    const locations = [headers, query, path].map((list) =>
      list.map(({ name, source }) => [name, source(event)]),
    );
    expect(locations).toEqual([[["x.Y-$_1", "1"]], [["q", "2"]], [["p", "3"]]]);
  });

  test.each([
    "",
    "x-it",
    "header.x-it",
    "integration.request.header",
    "integration.request.header.",
    "integration.request.body.x-it",
    "integration.request.multivalueheader.x-it",
    "integration.request.header.x it",
    "integration.request.header.x:it",
    "integration.request.header.x\nit",
    " integration.request.header.x-it",
    "method.request.header.x-it",
  ])("is rejected as %j", (key) => {
    const compiling = () => compileParameters("here", { [key]: "context.stage" });
    expect(compiling).toThrow(ConfigurationError);
    expect(compiling).toThrow(`here: "${printable(key)}" cannot be mapped to "context.stage". Write`);
  });

  test.each(["Content-Length", "transfer-encoding", "X-AMZN-TRACE-ID", "x-amzn-apigateway-api-id"])(
    "is rejected for the header %s, which API Gateway reserves",
    (name) => {
      const compiling = () => compileParameters("here", { [`integration.request.header.${name}`]: "'1'" });
      expect(compiling).toThrow(`here: the header ${name} is set by API Gateway`);
    },
  );

  test("can be a query parameter with the name of a reserved header", () => {
    const { query } = compileParameters("here", { "integration.request.querystring.content-length": "'1'" });
    expect(query.map(({ name }) => name)).toEqual(["content-length"]);
  });
});

describe("a parameter's value", () => {
  test.each([
    "",
    "context",
    "context.",
    "context.nothing",
    "context.constructor",
    "context.authorizer",
    "context.authorizer.",
    "context.authorizer.a b",
    "connectionId",
    "stageVariables",
    "stageVariables.",
    "stageVariables.a-b",
    `stageVariables.${"a".repeat(65)}`,
    "'",
    "'one' + 'two'",
    "text",
    '"text"',
    "route.request",
    "route.request.header",
    "route.request.header.",
    "route.request.header.a b",
    "route.request.querystring",
    "route.request.multivalueheader",
    "route.request.cookie.a",
    "route.request.path.a",
    "route.request.body.",
    "route.request.body.a..b",
    "route.request.body.a[b]",
    "method.request.header.a",
    "$context.stage",
  ])("is rejected as %j", (source) => {
    const compiling = () => compileParameters("here", { [HEADER]: source });
    expect(compiling).toThrow(`"${HEADER}" cannot be mapped to ${JSON.stringify(source)}`);
  });

  test("has at most 512 characters", () => {
    const most = `'${"x".repeat(510)}'`;
    expect(mapped(most, eventOf("connect"))).toHaveLength(510);
    expect(() => compileParameters("here", { [HEADER]: `'x${most.slice(1)}` })).toThrow(/cannot be mapped/);
  });

  test.each([
    ["''", ""],
    ["'context.stage'", "context.stage"],
    ["' a, \"b\" '", ' a, "b" '],
  ])("is literal text in single quotes: %s", (source, value) => {
    expect(mapped(source, eventOf("message"))).toBe(value);
  });

  test.each([
    ["connect", "context.eventType", "CONNECT"],
    ["message", "context.messageId", "L0SNwdyOvHcCIhw="],
    ["connect", "context.messageId", undefined],
    ["disconnect", "context.disconnectStatusCode", "1001"],
    ["disconnect", "context.disconnectReason", undefined],
    ["connect", "context.identity.userAgent", undefined],
    ["connect", "context.identity.caller", undefined],
    ["connect", "context.requestTime", "09/Sep/2001:01:46:40 +0000"],
    ["connect", "context.requestTimeEpoch", "1000000000000"],
  ] as const)("for a %s from %s is %s", (kind, source, value) => {
    expect(mapped(source, eventOf(kind))).toBe(value);
  });

  test("is a stage variable, and not an inherited property", () => {
    const stages = new Stages(
      [
        {
          id: "a1b2c3d4e5",
          routes: { $default: { integration: { type: "AWS_PROXY", handler: () => ({ statusCode: 200 }) } } },
          stages: { dev: { variables: { color: "red" } } },
        },
      ],
      { domains: {}, clock: new ManualClock(0), credentials: undefined },
    );
    const [stage] = stages;
    const event = eventOf("message", { place: { stageVariables: stage?.variables ?? {} } });
    const values = ["color", "colour", "constructor", "__proto__"].map((name) =>
      mapped(`stageVariables.${name}`, event),
    );
    expect(values).toEqual(["red", undefined, undefined, undefined]);
  });
});

describe("a value from a message body", () => {
  test.each([
    ["route.request.body", '{"a":1, "b":2}', '{"a":1, "b":2}'],
    ["route.request.body", "no JSON", "no JSON"],
    ["route.request.body.a", '{"a":"text"}', "text"],
    ["route.request.body.a", '{"a":7}', "7"],
    ["route.request.body.a", '{"a":false}', "false"],
    ["route.request.body.a", '{"a":{"b":[1]}}', '{"b":[1]}'],
    ["route.request.body.a", '{"a":""}', ""],
    ["route.request.body.a", '{"a":null}', undefined],
    ["route.request.body.a", "{}", undefined],
    ["route.request.body.a", "no JSON", undefined],
    ["route.request.body.a", "null", undefined],
    ["route.request.body.a.b[1].c", '{"a":{"b":[0,{"c":"deep"}]}}', "deep"],
    ["route.request.body.constructor", "{}", undefined],
  ])("by %s from %s is %j", (source, body, value) => {
    expect(mapped(source, eventOf("message", { body }))).toBe(value);
  });

  test.each(["connect", "disconnect"] as const)("is undefined for a %s", (kind) => {
    expect(mapped("route.request.body", eventOf(kind))).toBeUndefined();
    expect(mapped("route.request.body.a", eventOf(kind))).toBeUndefined();
  });
});

describe("a value from the connect request", () => {
  const rawHeaders = ["X-Own", "1", "cookie", "a=1", "x-own", "2"];
  const connectRequest = { rawHeaders, query: "tag=a%20b&tag=c&__proto__=d" };

  test.each([
    ["route.request.header.x-OWN", "2"],
    ["route.request.header.cookie", "a=1"],
    ["route.request.header.1", undefined],
    ["route.request.multivalueheader.x-own", "1,2"],
    ["route.request.multivalueheader.none", undefined],
    ["route.request.querystring.tag", "c"],
    ["route.request.querystring.Tag", undefined],
    ["route.request.querystring.__proto__", "d"],
    ["route.request.multivaluequerystring.tag", "a b,c"],
    ["route.request.multivaluequerystring.none", undefined],
  ])("by %s is %j", (source, value) => {
    expect(mapped(source, eventOf("connect", connectRequest))).toBe(value);
  });

  test.each([
    "route.request.header.cookie",
    "route.request.multivalueheader.cookie",
    "route.request.querystring.tag",
    "route.request.multivaluequerystring.tag",
  ])("by %s is undefined after $connect", (source) => {
    expect(mapped(source, eventOf("message", connectRequest))).toBeUndefined();
    expect(mapped(source, eventOf("disconnect", connectRequest))).toBeUndefined();
  });
});
