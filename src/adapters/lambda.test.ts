import { describe, expect, test } from "vitest";
import { INTERNAL } from "../internal.ts";
import { decodeGatewayCall } from "../protocol/gateway-call.ts";
import type { HttpRequest } from "../protocol/http.ts";
import { type LambdaApp, lambdaEvent, lambdaHandler, type WebSocketEvent } from "./lambda.ts";

/** An app that answers each call with 200 and records its calls. */
function recordingApp(viewPaths: readonly string[] = ["/ws/chat"]) {
  const calls: HttpRequest[] = [];
  const settled: number[] = [];
  const dueOnly: boolean[] = [];
  const app: LambdaApp = {
    viewPaths,
    [INTERNAL]: {
      answer: async (http) => {
        calls.push(http);
        return { status: 200, headers: { "content-type": "application/json" }, body: "{}" };
      },
    },
    flush: async ({ withinMs, onlyDue }) => {
      settled.push(withinMs);
      dueOnly.push(onlyDue);
    },
  };
  return { app, calls, settled, dueOnly };
}

const CONTEXT = {
  connectionId: "L0SM9cOFvHcCIhw=",
  apiId: "a1b2c3d4e5",
  stage: "dev",
  requestId: "Qyi07eCbtjMCJKw=",
  domainName: "ws.example.com",
  identity: { sourceIp: "203.0.113.7", userAgent: "node" },
};
const CONNECT = {
  headers: { Host: "ws.example.com", Cookie: "sid=2", Origin: "https://app.example.com" },
  multiValueHeaders: {
    Host: ["ws.example.com"],
    Cookie: ["sid=1", "theme=dark"],
    Origin: ["https://app.example.com"],
  },
  queryStringParameters: { ws_token: "abc", channel: "rooms/two" },
  multiValueQueryStringParameters: { ws_token: ["abc"], channel: ["rooms/one", "rooms/two"] },
  requestContext: { ...CONTEXT, routeKey: "$connect", eventType: "CONNECT" },
  isBase64Encoded: false,
} satisfies WebSocketEvent;
const MESSAGE = {
  requestContext: { ...CONTEXT, routeKey: "$default", eventType: "MESSAGE" },
  body: '{"handler":"say","text":"grüß dich"}',
  isBase64Encoded: false,
} satisfies WebSocketEvent;

async function calledWith(
  event: WebSocketEvent,
  options = {},
  views?: readonly string[],
): Promise<HttpRequest> {
  const { app, calls } = recordingApp(views);
  await lambdaHandler(app, options)(event);
  return calls[0] as HttpRequest;
}

describe("an event", () => {
  test("for $connect becomes the client's request with the fields of its request context", async () => {
    const call = await calledWith(CONNECT);
    expect(call.url.pathname).toBe("/ws/chat/connect");
    expect(call.invokedBy).toEqual({ apiId: "a1b2c3d4e5", stage: "dev" });
    expect(decodeGatewayCall("connect", call)).toEqual({
      kind: "connect",
      connectionId: "L0SM9cOFvHcCIhw=",
      isInvocation: true,
      secret: undefined,
      apiId: "a1b2c3d4e5",
      stage: "dev",
      sourceIp: "203.0.113.7",
      requestId: "Qyi07eCbtjMCJKw=",
      origin: "https://app.example.com",
      token: "abc",
      channel: "rooms/one",
    });
    expect(call.request.headers.get("cookie")).toBe("sid=1; theme=dark");
    expect(call.request.headers.get("host")).toBe("ws.example.com");
    expect(call.request.url).toBe(
      "https://ws.example.com/ws/chat/connect?ws_token=abc&channel=rooms%2Fone&channel=rooms%2Ftwo",
    );
  });

  test("without multi-value fields is read from its single-value headers and parameters", async () => {
    const { multiValueHeaders: _, multiValueQueryStringParameters: __, ...old } = CONNECT;
    const call = await calledWith(old);
    expect(call.header("cookie")).toBe("sid=2");
    expect(call.url.searchParams.get("channel")).toBe("rooms/two");
  });

  test("merges headers of both forms, and lambdaEvent() returns it only for its own request", async () => {
    const call = await calledWith({ ...CONNECT, multiValueHeaders: { "X-More": ["a", "b"] } });
    expect([call.header("cookie"), call.header("x-more")]).toEqual(["sid=2", "a, b"]);
    expect(lambdaEvent(call.request)?.requestContext.apiId).toBe(CONTEXT.apiId);
    expect(lambdaEvent(new Request("http://x"))).toBeUndefined();
  });

  test("for a message has a body from plain or base64 text, limited in size", async () => {
    const text = new TextDecoder();
    expect(text.decode(await (await calledWith(MESSAGE)).body(1000))).toBe(MESSAGE.body);
    const encoded = { ...MESSAGE, body: Buffer.from(MESSAGE.body).toString("base64"), isBase64Encoded: true };
    expect(text.decode(await (await calledWith(encoded)).body(1000))).toBe(MESSAGE.body);
    await expect((await calledWith(MESSAGE)).body(10)).rejects.toMatchObject({ status: 413 });
    expect(await (await calledWith({ ...MESSAGE, body: null })).body(10)).toHaveLength(0);
  });

  test("with null instead of missing fields is decoded as if they were missing", async () => {
    const call = await calledWith({
      ...MESSAGE,
      headers: null,
      multiValueHeaders: null,
      queryStringParameters: null,
      isBase64Encoded: null,
      requestContext: {
        ...MESSAGE.requestContext,
        requestId: null,
        disconnectStatusCode: null,
        disconnectReason: null,
        identity: null,
      },
    });
    expect(decodeGatewayCall("disconnect", call)).toMatchObject({
      connectionId: CONTEXT.connectionId,
      code: undefined,
      reason: undefined,
      sourceIp: undefined,
      requestId: undefined,
    });
  });

  test("for $disconnect contains the close code and the reason, non-ASCII characters included", async () => {
    const requestContext = {
      ...CONTEXT,
      routeKey: "$disconnect",
      eventType: "DISCONNECT",
      disconnectStatusCode: 1005,
      disconnectReason: "Tschüß 👋",
    };
    const headers = { Host: "ws.example.com", "x-api-key": "", "X-Forwarded-For": "", "x-restapi": "" };
    const call = await calledWith({ requestContext, headers, isBase64Encoded: false });
    expect(call.url.pathname).toBe("/ws/chat/disconnect");
    expect(decodeGatewayCall("disconnect", call)).toMatchObject({ code: 1005, reason: "Tschüß 👋" });
  });

  test("takes connection, API, stage and address from its context, never from client headers", async () => {
    const forged = {
      connectionId: ["AAAAAAAAAAAAAAA="],
      "X-Sallyport-Secret": ["s".repeat(64)],
      "x-sallyport-source-ip": ["198.51.100.1"],
      "x-amzn-apigateway-api-id": ["evil"],
      "x-sallyport-stage": ["prod"],
      "bad name": ["x"],
      "x-split": ["a\r\nconnectionId: b"],
    };
    const call = await calledWith({
      ...CONNECT,
      multiValueHeaders: { ...CONNECT.multiValueHeaders, ...forged },
    });
    expect(decodeGatewayCall("connect", call)).toMatchObject({
      connectionId: CONTEXT.connectionId,
      secret: undefined,
      apiId: CONTEXT.apiId,
      stage: "dev",
      sourceIp: "203.0.113.7",
    });
    for (const name of Object.keys(forged)) {
      if (name !== "bad name") expect([name, call.request.headers.get(name)]).toEqual([name, null]);
    }
    // A custom route named connect carries messages, as any other route does.
    const message = { ...MESSAGE, requestContext: { ...MESSAGE.requestContext, routeKey: "connect" } };
    expect((await calledWith(message)).url.pathname).toBe("/ws/chat/default");
  });

  test.each([
    ["of an HTTP API", { version: "2.0", requestContext: { http: { method: "GET" } } }],
    ["of nothing", {}],
    ["of a schedule", { source: "aws.events", requestContext: undefined }],
  ])("%s is rejected as not from a WebSocket API", async (_what, event) => {
    const { app, calls } = recordingApp();
    await expect(lambdaHandler(app)(event as never)).rejects.toThrow(/is not an event of a WebSocket API/);
    expect(calls).toEqual([]);
  });
});

const SCHEDULED = {
  version: "0",
  id: "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
  "detail-type": "Scheduled Event",
  source: "aws.events",
  account: "123456789012",
  time: "2026-11-29T12:00:00Z",
  region: "eu-west-1",
  resources: ["arn:aws:events:eu-west-1:123456789012:rule/each-minute"],
  detail: {},
};

describe("an event that does not come from API Gateway", () => {
  test.each([
    ["a rule of EventBridge", SCHEDULED],
    ["a schedule of EventBridge Scheduler", { ...SCHEDULED, source: "aws.scheduler", detail: "{}" }],
    ["serverless-plugin-warmup", { source: "serverless-plugin-warmup" }],
  ])("from %s calls no view and finishes the pending work of a frozen runtime", async (_from, event) => {
    const { app, calls, settled, dueOnly } = recordingApp();
    const handler = lambdaHandler(app);
    expect(await handler(event)).toEqual({ statusCode: 200, headers: {} });
    expect(await handler(event, { getRemainingTimeInMillis: () => 30_000 })).toEqual({
      statusCode: 200,
      headers: {},
    });
    expect(calls).toEqual([]);
    // No client waits for the response, so the handler can use all of the remaining time.
    expect(settled).toEqual([5000, 29_500]);
    expect(dueOnly).toEqual([false, false]);
  });

  test("cannot be forged by a client with the body or fields of a message", async () => {
    for (const looking of [SCHEDULED, { source: "serverless-plugin-warmup" }]) {
      const { app, calls } = recordingApp();
      const handler = lambdaHandler(app);
      await handler({ ...MESSAGE, body: JSON.stringify(looking) });
      await handler({ ...MESSAGE, body: JSON.stringify({ ...looking, requestContext: undefined }) });
      await handler({ ...looking, ...CONNECT, queryStringParameters: looking as never });
      await handler({ ...looking, ...MESSAGE } as never);
      expect(calls.map(({ url }) => url.pathname.split("/").at(-1))).toEqual([
        "default",
        "default",
        "connect",
        "default",
      ]);
    }
  });

  test.each([
    ["undefined", undefined],
    ["null", null],
    ['"text"', "text"],
    ["5", 5],
    ["an array of 1", [SCHEDULED]],
    ["an empty object", {}],
    [
      'an object with the keys "version", "routeKey", "requestContext"',
      { version: "2.0", routeKey: "$default", requestContext: { http: {} } },
    ],
    ['an object with the keys "source"', { source: "aws.s3" }],
    ['an object with the keys "source"', { source: "aws.events" }],
    [
      'an object with the keys "requestContext", "source"',
      { requestContext: undefined, source: "serverless-plugin-warmup" },
    ],
    ['an object with the keys "body", "source"', { body: "", source: "serverless-plugin-warmup" }],
  ])("is described in the error if it is %s", async (named, event) => {
    const { app, calls } = recordingApp();
    await expect(lambdaHandler(app)(event as never)).rejects.toThrow(
      `lambdaHandler() received ${named}, which is not an event of a WebSocket API.`,
    );
    expect(calls).toEqual([]);
  });
});

describe("a Lambda function", () => {
  test("needs the view option unless the app has one view, and can map routes to other views", async () => {
    const views = ["/ws/chat", "/ws/moderation"];
    expect(() => lambdaHandler(recordingApp(views).app)).toThrow(
      /Set the option view to one of these, and routes for the others: \/ws\/chat, \/ws\/moderation\./,
    );
    expect(() => lambdaHandler(recordingApp([]).app)).toThrow(/the app has 0 views/);
    expect(() => lambdaHandler(recordingApp().app, { view: "/ws/cat" })).toThrow(
      /no view is mounted at "\/ws\/cat"/,
    );
    expect(() => lambdaHandler(recordingApp().app, { routes: { a: "/ws/cat" } })).toThrow(
      /no view is mounted/,
    );
    const options = { view: "/ws/chat", routes: { moderate: "/ws/moderation" } };
    const moderate = { ...MESSAGE, requestContext: { ...MESSAGE.requestContext, routeKey: "moderate" } };
    expect((await calledWith(moderate, options, views)).url.pathname).toBe("/ws/moderation/default");
    expect((await calledWith(MESSAGE, options, views)).url.pathname).toBe("/ws/chat/default");
  });

  test("returns only the keys of a Lambda proxy response", async () => {
    const { app } = recordingApp();
    expect(await lambdaHandler(app)(MESSAGE)).toEqual({
      statusCode: 200,
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    const bare: LambdaApp = {
      ...app,
      [INTERNAL]: { answer: async () => ({ status: 403, headers: {}, body: null }) },
    };
    expect(Object.keys(await lambdaHandler(bare)(CONNECT))).toEqual(["statusCode", "headers"]);
  });

  test("finishes pending work before it returns, within its remaining time", async () => {
    const { app, settled, dueOnly } = recordingApp();
    const handler = lambdaHandler(app);
    await handler(MESSAGE);
    await handler(MESSAGE, { getRemainingTimeInMillis: () => 2000 });
    await handler(MESSAGE, { getRemainingTimeInMillis: () => 100 });
    expect(settled).toEqual([5000, 1500, 0]);
    expect(dueOnly).toEqual([true, true, true]);
  });
});

test("rejects routes that are not a plain object, instead of sending their messages to another view", () => {
  const app = { viewPaths: ["/ws/chat"], answer: async () => undefined, flush: async () => undefined };
  for (const routes of [new Map([["moderate", "/ws/chat"]]), [], Promise.resolve({}), "x"]) {
    expect(() => lambdaHandler(app as never, { routes: routes as never })).toThrow(
      /lambdaHandler\(\): routes must be an object of route keys and paths of views/,
    );
  }
  const routes = JSON.parse('{ "constructor": "/ws/chat", "__proto__": "/ws/none" }') as Record<
    string,
    string
  >;
  expect(() => lambdaHandler(app as never, { routes })).toThrow(/\/ws\/none/);
});
