import { describe, expect, test } from "vitest";
import { eventOf } from "../../test/local/events.ts";
import { ManualClock } from "./clock.ts";
import { requestTime } from "./events.ts";
import { lambdaAnswer, lambdaEvent } from "./function-proxy.ts";

interface HttpPart {
  readonly headers: Readonly<Record<string, string>>;
  readonly multiValueHeaders: Readonly<Record<string, readonly string[]>>;
}

describe("a function's result", () => {
  test.each([
    [
      "all that it may have",
      { statusCode: 200, headers: {}, multiValueHeaders: {}, body: "", isBase64Encoded: false },
    ],
    ["a status alone", { statusCode: 200 }],
    ["a status in text", { statusCode: "200" }],
    ["null for a body", { statusCode: 200, body: null }],
    ["headers that are none", { statusCode: 200, headers: null }],
    ["a subprotocol that is no text", { statusCode: 200, headers: { "Sec-WebSocket-Protocol": ["chat"] } }],
  ])("is taken with %s", (_what, result) => {
    expect(lambdaAnswer(result)).toEqual({ status: 200, body: Buffer.from(""), subprotocol: undefined });
  });

  test.each([
    ["nothing", undefined],
    ["null", null],
    ["a text", "200"],
    ["a number", 200],
    ["a list", [{ statusCode: 200 }]],
    ["no status", {}],
    ["null for a status", { statusCode: null }],
    ["a status of words", { statusCode: "OK" }],
    ["a status with a fraction", { statusCode: 200.5 }],
    ["a status below 100", { statusCode: 99 }],
    ["a status above 599", { statusCode: 600 }],
    ["a body that is a number", { statusCode: 200, body: 1 }],
    ["a body that is an object", { statusCode: 200, body: {} }],
    ["a key of another kind of API", { statusCode: 200, cookies: ["a=1"] }],
    ["a key in another case", { statusCode: 200, Body: "" }],
  ])("is malformed as %s", (_what, result) => {
    expect(lambdaAnswer(result)).toBeUndefined();
  });

  test("has the bytes of its body", () => {
    expect(lambdaAnswer({ statusCode: 200, body: "ü" })?.body).toEqual(Buffer.from([0xc3, 0xbc]));
    const base64 = { statusCode: 200, body: "/w==", isBase64Encoded: true };
    expect(lambdaAnswer(base64)?.body).toEqual(Buffer.from([0xff]));
    expect(lambdaAnswer({ ...base64, isBase64Encoded: "true" })?.body.toString()).toBe("/w==");
  });

  test("has a subprotocol, by its header in any case", () => {
    const headers = { "X-Other": "1", "SEC-WEBSOCKET-PROTOCOL": "chat" };
    expect(lambdaAnswer({ statusCode: 200, headers })?.subprotocol).toBe("chat");
  });
});

describe("a function's event", () => {
  test("of a $connect has one X-Forwarded-For, however many the client claims", () => {
    const rawHeaders = ["x-forwarded-for", "203.0.113.1", "X-Own", "1", "X-Forwarded-For", "203.0.113.2"];
    const { headers, multiValueHeaders } = lambdaEvent(
      eventOf("connect", { rawHeaders }),
    ) as unknown as HttpPart;
    const names = Object.keys(headers).filter((name) => name.toLowerCase() === "x-forwarded-for");
    expect(names).toEqual(["X-Forwarded-For"]);
    expect(headers["X-Forwarded-For"]).toBe("203.0.113.1,203.0.113.2, 203.0.113.7");
    expect(multiValueHeaders["X-Forwarded-For"]).toEqual(["203.0.113.1,203.0.113.2, 203.0.113.7"]);
  });

  test("of a $connect has the host by which the gateway is known, and none of the connection's own", () => {
    const rawHeaders = [
      "host",
      "elsewhere",
      "CONNECTION",
      "Upgrade",
      "upgrade",
      "websocket",
      "Cookie",
      "a=1",
    ];
    const { headers } = lambdaEvent(eventOf("connect", { rawHeaders })) as unknown as HttpPart;
    expect(headers).toEqual({
      Host: "ws.example.test",
      Cookie: "a=1",
      "X-Amzn-Trace-Id": expect.stringMatching(/^Root=1-/),
      "X-Forwarded-For": "203.0.113.7",
      "X-Forwarded-Port": "3001",
      "X-Forwarded-Proto": "http",
    });
  });

  test("of a message has its text, whatever it is", () => {
    const { body, isBase64Encoded } = lambdaEvent(eventOf("message", { body: "no JSON: ü" }));
    expect([body, isBase64Encoded]).toEqual(["no JSON: ü", false]);
  });

  test("of a $disconnect has a reason, though it is empty", () => {
    expect(lambdaEvent(eventOf("disconnect")).requestContext).toMatchObject({
      disconnectStatusCode: 1001,
      disconnectReason: "",
    });
  });

  test("tells the time of the gateway's clock", () => {
    const clock = new ManualClock(Date.UTC(2026, 0, 2, 3, 4, 5));
    const { requestContext } = lambdaEvent(eventOf("connect", { clock }));
    const epoch = clock.now();
    expect(requestContext).toMatchObject({ connectedAt: epoch, requestTimeEpoch: epoch });
    expect(requestContext).toMatchObject({ requestTime: "02/Jan/2026:03:04:05 +0000" });
  });
});

test("a request's time is AWS's, in its own months and with two digits", () => {
  expect(requestTime(new Date(Date.UTC(2026, 1, 9, 18, 11, 43)))).toBe("09/Feb/2026:18:11:43 +0000");
  expect(requestTime(new Date(Date.UTC(2026, 11, 31, 23, 59, 59, 999)))).toBe("31/Dec/2026:23:59:59 +0000");
});
