import { describe, expect, test } from "vitest";
import { eventOf } from "../../test/local/events.ts";
import { ManualClock } from "./clock.ts";
import { requestTime } from "./events.ts";
import { lambdaEvent } from "./function-event.ts";

interface HttpPart {
  readonly headers: Readonly<Record<string, string>>;
  readonly multiValueHeaders: Readonly<Record<string, readonly string[]>>;
}

describe("the event of a Lambda function", () => {
  test("for $connect has one X-Forwarded-For header, although the client sends several", () => {
    const rawHeaders = ["x-forwarded-for", "203.0.113.1", "X-Own", "1", "X-Forwarded-For", "203.0.113.2"];
    const { headers, multiValueHeaders } = lambdaEvent(
      eventOf("connect", { rawHeaders }),
    ) as unknown as HttpPart;
    const names = Object.keys(headers).filter((name) => name.toLowerCase() === "x-forwarded-for");
    expect(names).toEqual(["X-Forwarded-For"]);
    expect(headers["X-Forwarded-For"]).toBe("203.0.113.1,203.0.113.2, 203.0.113.7");
    expect(multiValueHeaders["X-Forwarded-For"]).toEqual(["203.0.113.1,203.0.113.2, 203.0.113.7"]);
  });

  test("for $connect has the host of the gateway and no hop-by-hop headers", () => {
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

  test("for a message has its text, also if it is not JSON", () => {
    const { body, isBase64Encoded } = lambdaEvent(eventOf("message", { body: "no JSON: ü" }));
    expect([body, isBase64Encoded]).toEqual(["no JSON: ü", false]);
  });

  test("for $disconnect has a reason, also if it is empty", () => {
    expect(lambdaEvent(eventOf("disconnect")).requestContext).toMatchObject({
      disconnectStatusCode: 1001,
      disconnectReason: "",
    });
  });

  test("contains the time of the gateway's clock", () => {
    const clock = new ManualClock(Date.UTC(2026, 0, 2, 3, 4, 5));
    const { requestContext } = lambdaEvent(eventOf("connect", { clock }));
    const epoch = clock.now();
    expect(requestContext).toMatchObject({ connectedAt: epoch, requestTimeEpoch: epoch });
    expect(requestContext).toMatchObject({ requestTime: "02/Jan/2026:03:04:05 +0000" });
  });
});

test("requestTime() formats a date as API Gateway does", () => {
  expect(requestTime(new Date(Date.UTC(2026, 1, 9, 18, 11, 43)))).toBe("09/Feb/2026:18:11:43 +0000");
  expect(requestTime(new Date(Date.UTC(2026, 11, 31, 23, 59, 59, 999)))).toBe("31/Dec/2026:23:59:59 +0000");
});
