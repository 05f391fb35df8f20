import { describe, expect, test } from "vitest";
import { functionAnswer } from "./function-result.ts";

describe("the result of a Lambda function", () => {
  test.each([
    [
      "all supported fields",
      { statusCode: 200, headers: {}, multiValueHeaders: {}, body: "", isBase64Encoded: false },
    ],
    ["only a status", { statusCode: 200 }],
    ["a status as a string", { statusCode: "200" }],
    ["a null body", { statusCode: 200, body: null }],
    ["null headers", { statusCode: 200, headers: null }],
    [
      "a subprotocol that is not a string",
      { statusCode: 200, headers: { "Sec-WebSocket-Protocol": ["chat"] } },
    ],
  ])("is accepted with %s", (_what, result) => {
    expect(functionAnswer(result)).toEqual({ status: 200, body: Buffer.from(""), subprotocol: undefined });
  });

  test.each([
    ["nothing", undefined],
    ["null", null],
    ["a text", "200"],
    ["a number", 200],
    ["a list", [{ statusCode: 200 }]],
    ["no status", {}],
    ["a null status", { statusCode: null }],
    ["a status as a list", { statusCode: [200] }],
    ["a subprotocol of two words", { statusCode: 200, headers: { "Sec-WebSocket-Protocol": "a b" } }],
    ["a status that is not numeric", { statusCode: "OK" }],
    ["a status with a fraction", { statusCode: 200.5 }],
    ["a status below 200", { statusCode: 199 }],
    ["a status above 599", { statusCode: 600 }],
    ["a body that is a number", { statusCode: 200, body: 1 }],
    ["a body that is an object", { statusCode: 200, body: {} }],
    ["a key of another kind of API", { statusCode: 200, cookies: ["a=1"] }],
    ["a key in another case", { statusCode: 200, Body: "" }],
  ])("is malformed as %s", (_what, result) => {
    expect(functionAnswer(result)).toBeUndefined();
  });

  test("has its body as bytes, decoded from base64 if isBase64Encoded is true", () => {
    expect(functionAnswer({ statusCode: 200, body: "ü" })?.body).toEqual(Buffer.from([0xc3, 0xbc]));
    const base64 = { statusCode: 200, body: "/w==", isBase64Encoded: true };
    expect(functionAnswer(base64)?.body).toEqual(Buffer.from([0xff]));
    expect(functionAnswer({ ...base64, isBase64Encoded: "true" })?.body.toString()).toBe("/w==");
  });

  test("has a subprotocol from its header, in any letter case", () => {
    const headers = { "X-Other": "1", "SEC-WEBSOCKET-PROTOCOL": "chat" };
    expect(functionAnswer({ statusCode: 200, headers })?.subprotocol).toBe("chat");
  });
});
