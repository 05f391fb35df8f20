import { describe, expect, onTestFinished, vi } from "vitest";
import { type LambdaFunction, ManualClock } from "../../../src/local/emulator.ts";
import { openClient } from "../../local/rig.ts";
import {
  expectErrorFrame,
  type GatewayUnderTest,
  handshake,
  ID,
  openGateway,
  testLocally,
} from "./gateway-under-test.ts";

const FUNCTION = "a function as integration";

interface Served {
  readonly routeResponse?: boolean;
  readonly timeoutMs?: number;
  readonly variables?: Readonly<Record<string, string>>;
  readonly clock?: ManualClock;
}

/** Opens a gateway whose routes all invoke functions. */
function serving(handler: LambdaFunction, served: Served = {}): Promise<GatewayUnderTest> {
  const { routeResponse = true, timeoutMs = 29_000, variables = {}, clock } = served;
  const integration = { type: "AWS_PROXY", handler, timeoutMs } as const;
  const routes = {
    $connect: { integration },
    $disconnect: { integration },
    $default: { integration, routeResponse },
  };
  return openGateway({ apis: [{ routes, stages: { dev: { variables } } }], ...(clock ? { clock } : {}) });
}

/** Answers messages as their bodies specify, and accepts all connects. */
function answering(answer: LambdaFunction): LambdaFunction {
  return (event, ...more) =>
    event.requestContext.eventType === "MESSAGE" ? answer(event, ...more) : { statusCode: 200 };
}

interface EventContext {
  readonly [name: string]: unknown;
  readonly requestId: string;
  readonly connectedAt: number;
  readonly requestTimeEpoch: number;
  readonly identity: object;
}

/** The optional parts of an event. */
interface Event {
  readonly [name: string]: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly multiValueHeaders: Readonly<Record<string, readonly string[]>>;
  readonly requestContext: EventContext;
}

interface Life {
  readonly gateway: GatewayUnderTest;
  readonly hello: Event;
  readonly message: Event;
  readonly gone: Event;
}

/** Returns the three events of a client. One minute of the clock is between them. */
async function lifeOf(
  { query = "", headers = {} }: { query?: string; headers?: Record<string, string | string[]> } = {},
  served: Served = {},
): Promise<Life> {
  const events: Record<string, Event> = {};
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const gateway = await serving((event) => {
    const { eventType } = event.requestContext;
    events[eventType] = event;
    if (eventType === "DISCONNECT") end();
    return { statusCode: 200, body: "received" };
  }, served);
  const client = await openClient(gateway.url + query, [], { headers: headers as Record<string, string> });
  served.clock?.advance(60_000);
  client.socket.send('{"x":1}');
  expect(await client.text()).toBe("received");
  served.clock?.advance(60_000);
  client.socket.close();
  await ended;
  const { CONNECT: hello, MESSAGE: message, DISCONNECT: gone } = events;
  if (hello && message && gone) return { gateway, hello, message, gone };
  throw new Error("an event is missing");
}

const keys = (value: object) => Object.keys(value).sort();

const CONTEXT = [
  "apiId",
  "connectedAt",
  "connectionId",
  "domainName",
  "eventType",
  "extendedRequestId",
  "identity",
  "messageDirection",
  "requestId",
  "requestTime",
  "requestTimeEpoch",
  "routeKey",
  "stage",
];

describe("1.6 the events of functions", () => {
  testLocally("1.6 a CONNECT has exactly these keys", FUNCTION, async () => {
    const { hello } = await lifeOf({ query: "?a=1" });
    expect(keys(hello)).toEqual([
      "headers",
      "isBase64Encoded",
      "multiValueHeaders",
      "multiValueQueryStringParameters",
      "queryStringParameters",
      "requestContext",
    ]);
    expect(hello.isBase64Encoded).toBe(false);
  });

  testLocally("1.6 a CONNECT without a query has no keys for one", FUNCTION, async () => {
    const { hello } = await lifeOf();
    expect(keys(hello)).toEqual(["headers", "isBase64Encoded", "multiValueHeaders", "requestContext"]);
  });

  testLocally("1.6 a MESSAGE has exactly these keys, without headers and query", FUNCTION, async () => {
    const { message } = await lifeOf({ query: "?a=1", headers: { cookie: "b=1" } });
    expect(keys(message)).toEqual(["body", "isBase64Encoded", "requestContext"]);
    expect([message.body, message.isBase64Encoded]).toEqual(['{"x":1}', false]);
  });

  testLocally("1.6 a DISCONNECT has exactly these keys", FUNCTION, async () => {
    const { gone } = await lifeOf({ query: "?a=1" });
    expect(keys(gone)).toEqual(["headers", "isBase64Encoded", "multiValueHeaders", "requestContext"]);
    expect(gone.isBase64Encoded).toBe(false);
  });

  testLocally("1.6 every event has the variables of the stage if there are any", FUNCTION, async () => {
    const variables = { color: "red", version: "v2" };
    const { hello, message, gone } = await lifeOf({}, { variables });
    for (const event of [hello, message, gone]) expect(event.stageVariables).toEqual(variables);
  });

  testLocally("1.6 the context of each kind has exactly these keys", FUNCTION, async () => {
    const { hello, message, gone } = await lifeOf();
    expect(keys(hello.requestContext)).toEqual(CONTEXT);
    expect(keys(message.requestContext)).toEqual([...CONTEXT, "messageId"].sort());
    expect(keys(gone.requestContext)).toEqual(
      [...CONTEXT, "disconnectReason", "disconnectStatusCode"].sort(),
    );
  });

  testLocally("1.6 the context contains the API, the event and the client", FUNCTION, async () => {
    const { gateway, hello, message, gone } = await lifeOf();
    const [connectionId] = [hello.requestContext.connectionId];
    expect(connectionId).toMatch(ID);
    for (const [event, eventType, routeKey] of [
      [hello, "CONNECT", "$connect"],
      [message, "MESSAGE", "$default"],
      [gone, "DISCONNECT", "$disconnect"],
    ] as const) {
      expect(event.requestContext, eventType).toMatchObject({
        eventType,
        routeKey,
        connectionId,
        apiId: gateway.apiId,
        stage: "dev",
        domainName: new URL(gateway.url).host,
        messageDirection: "IN",
      });
    }
  });

  testLocally(
    "1.6 requestId and extendedRequestId are equal, and differ for each event",
    FUNCTION,
    async () => {
      const { hello, message, gone } = await lifeOf();
      const ids = [hello, message, gone].map(({ requestContext }) => requestContext.requestId);
      for (const id of ids) expect(id).toMatch(ID);
      expect(new Set(ids).size).toBe(3);
      for (const { requestContext } of [hello, message, gone])
        expect(requestContext.extendedRequestId).toBe(requestContext.requestId);
      expect(message.requestContext.messageId).toMatch(ID);
      expect(ids).not.toContain(message.requestContext.messageId);
    },
  );

  testLocally(
    "1.6 connectedAt is the same in all events, and each event has its own time",
    FUNCTION,
    async () => {
      const start = Date.UTC(2026, 10, 23, 21, 0, 0, 123);
      const { hello, message, gone } = await lifeOf({}, { clock: new ManualClock(start) });
      const times = [hello, message, gone].map(({ requestContext: context }) => [
        context.connectedAt,
        context.requestTimeEpoch,
        context.requestTime,
      ]);
      expect(times).toEqual([
        [start, start, "23/Nov/2026:21:00:00 +0000"],
        [start, start + 60_000, "23/Nov/2026:21:01:00 +0000"],
        [start, start + 120_000, "23/Nov/2026:21:02:00 +0000"],
      ]);
    },
  );

  testLocally(
    "1.6 the identity has the address and the User-Agent of the client in all events",
    FUNCTION,
    async () => {
      const { hello, message, gone } = await lifeOf({ headers: { "user-agent": "node" } });
      for (const { requestContext } of [hello, message, gone])
        expect(requestContext.identity).toEqual({ sourceIp: "127.0.0.1", userAgent: "node" });
    },
  );

  testLocally("1.6 there is no userAgent if the client sent none", FUNCTION, async () => {
    const { hello, message, gone } = await lifeOf();
    for (const { requestContext } of [hello, message, gone])
      expect(requestContext.identity).toEqual({ sourceIp: "127.0.0.1" });
  });

  testLocally(
    "1.6 a CONNECT has the headers of the client, with all values of a repeated one",
    FUNCTION,
    async () => {
      const { hello } = await lifeOf({ headers: { cookie: "b=1", "X-Own": ["1", "2"] } });
      expect(hello.headers).toMatchObject({ cookie: "b=1", "X-Own": "2", "Sec-WebSocket-Version": "13" });
      expect(hello.multiValueHeaders).toMatchObject({ cookie: ["b=1"], "X-Own": ["1", "2"] });
      expect(keys(hello.multiValueHeaders)).toEqual(keys(hello.headers));
    },
  );

  testLocally("1.3 a CONNECT has neither Connection nor Upgrade", FUNCTION, async () => {
    const { hello } = await lifeOf();
    expect(keys(hello.headers).filter((name) => /^(connection|upgrade)$/i.test(name))).toEqual([]);
  });

  testLocally("1.6 a CONNECT has the host, a trace id and the forwarded headers", FUNCTION, async () => {
    const { gateway, hello } = await lifeOf();
    const { host, port } = new URL(gateway.url);
    expect(hello.headers).toMatchObject({
      Host: host,
      "X-Amzn-Trace-Id": expect.stringMatching(/^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/),
      "X-Forwarded-For": "127.0.0.1",
      "X-Forwarded-Port": port,
      "X-Forwarded-Proto": "http",
    });
    expect(hello.multiValueHeaders["X-Forwarded-For"]).toEqual(["127.0.0.1"]);
  });

  testLocally("7 a client cannot forge the trace id or the forwarded headers", FUNCTION, async () => {
    const names = ["x-amzn-trace-id", "x-forwarded-port", "x-forwarded-proto"];
    const forged = Object.fromEntries(names.map((name) => [name, "forged"]));
    const { hello } = await lifeOf({ headers: { ...forged, "x-forwarded-for": "203.0.113.7" } });
    expect(JSON.stringify(hello)).not.toContain("forged");
    expect(hello.headers["X-Forwarded-For"]).toBe("203.0.113.7, 127.0.0.1");
    expect(hello.headers).not.toHaveProperty("x-forwarded-for");
  });

  testLocally(
    "1.6 the last value of a query parameter counts, and all values are included",
    FUNCTION,
    async () => {
      const { hello } = await lifeOf({ query: "?a=1&a=2&b=c%2Fd&e" });
      expect(hello.queryStringParameters).toEqual({ a: "2", b: "c/d", e: "" });
      expect(hello.multiValueQueryStringParameters).toEqual({ a: ["1", "2"], b: ["c/d"], e: [""] });
    },
  );

  testLocally("1.6 a function can read parameters with any name", FUNCTION, async () => {
    const { hello } = await lifeOf({ query: "?__proto__=1&constructor=2&__proto__=3" });
    expect(JSON.stringify(hello.multiValueQueryStringParameters)).toBe(
      '{"__proto__":["1","3"],"constructor":["2"]}',
    );
  });

  testLocally("1.6 a DISCONNECT has placeholder headers, most of them empty", FUNCTION, async () => {
    const { gateway, gone } = await lifeOf({ headers: { cookie: "b=1" } });
    const { host } = new URL(gateway.url);
    const stub = { Host: host, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": "" };
    expect(gone.headers).toEqual(stub);
    expect(gone.multiValueHeaders).toEqual(
      Object.fromEntries(Object.entries(stub).map(([name, value]) => [name, [value]])),
    );
  });

  testLocally("1.6 a DISCONNECT contains the code and the reason of the close", FUNCTION, async () => {
    const { gone } = await lifeOf();
    expect(gone.requestContext).toMatchObject({
      disconnectStatusCode: 1005,
      disconnectReason: "Client-side close frame status not set",
    });
  });
});

/** Malformed results, by what is wrong with them. */
const MALFORMED: Readonly<Record<string, unknown>> = {
  "is nothing": undefined,
  "is null": null,
  "is a string": "text",
  "is a list": [200],
  "has no status": { body: "text" },
  "has a status that is not a number": { statusCode: "many" },
  "has a status that is not valid in HTTP": { statusCode: 1000 },
  "has a body that is not a string": { statusCode: 200, body: { not: "text" } },
  "has an unknown key": { statusCode: 200, headersOut: {} },
  "has cookies, which only HTTP APIs support": { statusCode: 200, cookies: [] },
  "throws when it is read": {
    get statusCode() {
      throw new Error("a bug");
    },
  },
  "has no JSON form": { statusCode: 200, body: 1n },
  "has a status of 100": { statusCode: 100 },
  "has a status of 101": { statusCode: 101 },
  "has a status of 600": { statusCode: 600 },
  "has a list as status": { statusCode: [200] },
  "has a subprotocol that is not a token": { statusCode: 200, headers: { "Sec-WebSocket-Protocol": "a b" } },
  "has a subprotocol that would add a header": {
    statusCode: 200,
    headers: { "Sec-WebSocket-Protocol": "chat\r\nx-evil: 1" },
  },
};

describe("1.2 functions at $connect", () => {
  for (const statusCode of [200, 201]) {
    testLocally(`1.2 one that answers ${statusCode} opens the socket`, FUNCTION, async () => {
      expect((await handshake(await serving(() => ({ statusCode })))).status).toBe(101);
    });
  }

  for (const statusCode of [301, 400, 401, 403, 501]) {
    testLocally(
      `1.2 one that answers ${statusCode} rejects the connect with the same status`,
      FUNCTION,
      async () => {
        expect((await handshake(await serving(() => ({ statusCode })))).status).toBe(statusCode);
      },
    );
  }

  testLocally("1.2 one that throws rejects the connect with 502", FUNCTION, async () => {
    const throwing = await serving(() => {
      throw new Error("a bug");
    });
    expect((await handshake(throwing)).status).toBe(502);
    const rejecting = await serving(() => Promise.reject(new Error("a bug")));
    expect((await handshake(rejecting)).status).toBe(502);
  });

  for (const [what, result] of Object.entries(MALFORMED)) {
    testLocally(`1.2 one whose result ${what} rejects the connect with 502`, FUNCTION, async () => {
      expect((await handshake(await serving(() => result))).status).toBe(502);
    });
  }

  testLocally("1.2 one that is too slow rejects the connect with 504", FUNCTION, async () => {
    const gateway = await serving(() => new Promise(() => {}), { timeoutMs: 50 });
    expect((await handshake(gateway)).status).toBe(504);
  });

  testLocally(
    "3.3 one accepts a subprotocol with a header of its result, in any letter case",
    FUNCTION,
    async () => {
      for (const name of ["Sec-WebSocket-Protocol", "sec-websocket-protocol"]) {
        const gateway = await serving(() => ({ statusCode: 200, headers: { [name]: "chat" } }));
        expect((await openClient(gateway.url, ["other", "chat"])).socket.protocol).toBe("chat");
      }
    },
  );
});

describe("3.2 functions at messages", () => {
  /**
   * Returns what a client receives for a message, or the answer to the next one if it receives
   * nothing.
   */
  async function receivedMessage(answer: LambdaFunction, served: Served = {}): Promise<string> {
    const gateway = await serving(answering(answer), served);
    const client = await openClient(gateway.url);
    client.socket.send("now");
    const frame = await client.text();
    expect(client.socket.readyState, "the socket stays").toBe(client.socket.OPEN);
    const [id = ""] = gateway.local.connectionIds;
    if (frame.startsWith('{"message"')) {
      const { message } = JSON.parse(frame) as { message: string };
      expectErrorFrame(frame, message, id);
      return message;
    }
    return frame;
  }

  for (const routeResponse of [true, false]) {
    const where = routeResponse ? "with a route response" : "without a route response";

    testLocally(`3.2 one that throws causes Internal server error, ${where}`, FUNCTION, async () => {
      const received = await receivedMessage(
        () => {
          throw new Error("a bug");
        },
        { routeResponse },
      );
      expect(received).toBe("Internal server error");
    });

    testLocally(
      `3.2 one that is too slow causes Endpoint request timed out, ${where}`,
      FUNCTION,
      async () => {
        const received = await receivedMessage(() => new Promise(() => {}), { routeResponse, timeoutMs: 50 });
        expect(received).toBe("Endpoint request timed out");
      },
    );
  }

  for (const [what, result] of Object.entries(MALFORMED)) {
    testLocally(`3.2 one whose result ${what} causes Internal server error`, FUNCTION, async () => {
      expect(await receivedMessage(() => result, { routeResponse: false })).toBe("Internal server error");
    });
  }

  for (const statusCode of [200, 201, 301, 401, 501]) {
    testLocally(
      `3.2 one that answers ${statusCode} sends nothing without a route response`,
      FUNCTION,
      async () => {
        const answer = answering(({ body }) =>
          body === "throw" ? undefined : { statusCode, body: "unheard" },
        );
        const client = await openClient((await serving(answer, { routeResponse: false })).url);
        client.socket.send("answer");
        client.socket.send("throw");
        expect(await client.text()).toContain("Internal server error");
        expect(client.unread).toBe(0);
      },
    );
  }

  testLocally("3.1 with a route response its body is one message", FUNCTION, async () => {
    expect(await receivedMessage(({ body }) => ({ statusCode: 200, body: `received ${body}` }))).toBe(
      "received now",
    );
  });

  for (const [what, result] of [
    ["no body", { statusCode: 200 }],
    ["null as body", { statusCode: 200, body: null }],
    ["an empty body", { statusCode: 200, body: "" }],
  ] as const) {
    testLocally(`3.1 with a route response ${what} is an empty message`, FUNCTION, async () => {
      expect(await receivedMessage(() => result)).toBe("");
    });
  }

  testLocally(
    "§9.26 with a route response the body of a status that is not 2xx is delivered",
    FUNCTION,
    async () => {
      expect(await receivedMessage(() => ({ statusCode: 500, body: "it failed" }))).toBe("it failed");
    },
  );

  testLocally("1.6 its result is read as JSON, like the result of Lambda", FUNCTION, async () => {
    const result = { statusCode: 200, body: { toJSON: () => "as JSON" }, cookies: undefined };
    expect(await receivedMessage(() => result)).toBe("as JSON");
  });

  testLocally(
    "1.6 changes that a function makes to its event are not visible to others",
    FUNCTION,
    async () => {
      const gateway = await serving(
        (event) => {
          const { requestContext, stageVariables } = event;
          const received = JSON.stringify([requestContext.identity.mark, stageVariables.color]);
          requestContext.identity.mark = "changed";
          stageVariables.color = "changed";
          return { statusCode: 200, body: received };
        },
        { variables: { color: "red" } },
      );
      const client = await openClient(gateway.url);
      for (const _ of [1, 2]) {
        client.socket.send("now");
        expect(await client.text()).toBe('[null,"red"]');
      }
    },
  );

  testLocally("1.6 one that calls back behaves like one that returns", FUNCTION, async () => {
    const calling: LambdaFunction = ({ body }, _context, callback) => {
      setImmediate(() => callback(null, { statusCode: 200, body: `received ${body}` }));
    };
    const gateway = await serving((event, context, callback) => answering(calling)(event, context, callback));
    const client = await openClient(gateway.url);
    client.socket.send("now");
    expect(await client.text()).toBe("received now");
  });

  testLocally("3.4 one has a timeout of 29 seconds by default", FUNCTION, async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const integration = {
      type: "AWS_PROXY",
      handler: (_event: unknown, context: { getRemainingTimeInMillis(): number }) => ({
        statusCode: 200,
        body: `${context.getRemainingTimeInMillis()}`,
      }),
    } as const;
    const routes = { $default: { integration, routeResponse: true } };
    const client = await openClient((await openGateway({ apis: [{ routes, stages: { dev: {} } }] })).url);
    client.socket.send("how long?");
    expect(await client.text()).toBe("29000");
  });

  testLocally("1.6 a body with isBase64Encoded is decoded", FUNCTION, async () => {
    const body = Buffer.from("ü").toString("base64");
    expect(await receivedMessage(() => ({ statusCode: 200, body, isBase64Encoded: true }))).toBe("ü");
  });

  testLocally("1.6 a body that only looks like base64 is not decoded", FUNCTION, async () => {
    expect(await receivedMessage(() => ({ statusCode: 200, body: "w7w=", isBase64Encoded: false }))).toBe(
      "w7w=",
    );
  });

  testLocally("4 an answer of more than 128 KB causes Internal server error", FUNCTION, async () => {
    const body = "x".repeat(128 * 1024 + 1);
    expect(await receivedMessage(() => ({ statusCode: 200, body }))).toBe("Internal server error");
  });
});
