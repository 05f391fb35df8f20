import { describe, expect, onTestFinished } from "vitest";
import type { LambdaFunction, LocalGatewayOptions } from "../../../src/local/emulator.ts";
import { Client } from "../../local/rig.ts";
import { handshake, onDesk, openDesk } from "./desk.ts";

/** An API whose every route is a function. */
function served(handler: LambdaFunction, timeoutMs = 29_000): Partial<LocalGatewayOptions> {
  const integration = { type: "AWS_PROXY", handler, timeoutMs } as const;
  return {
    apis: [
      {
        routes: {
          $connect: { integration },
          $disconnect: { integration },
          $default: { integration, routeResponse: true },
        },
        stages: { dev: { variables: { color: "red" } } },
      },
    ],
  };
}

async function open(url: string, protocols: string[] = [], headers = {}): Promise<Client> {
  const client = new Client(url, protocols, { headers });
  onTestFinished(() => client.socket.terminate());
  await client.opened;
  return client;
}

const keys = (value: object) => Object.keys(value).sort();

describe("1.6 functions", () => {
  onDesk("1.6 are invoked with AWS's own events, key for key", async () => {
    const events: Record<string, Record<string, object>> = {};
    let left: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => {
      left = resolve;
    });
    const desk = await openDesk(
      served((event) => {
        events[event.requestContext.eventType] = event;
        if (event.requestContext.eventType === "DISCONNECT") left();
        return { statusCode: 200, body: "hello" };
      }),
    );
    const client = await open(`${desk.url}?a=1&a=2`, [], { cookie: "b=1", "user-agent": "node" });
    client.socket.send('{"x":1}');
    expect(await client.text()).toBe("hello");
    client.socket.close();
    await gone;
    const { CONNECT = {}, MESSAGE = {}, DISCONNECT = {} } = events;
    const common = [
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
    expect(keys(CONNECT)).toEqual([
      "headers",
      "isBase64Encoded",
      "multiValueHeaders",
      "multiValueQueryStringParameters",
      "queryStringParameters",
      "requestContext",
      "stageVariables",
    ]);
    expect(keys(MESSAGE)).toEqual(["body", "isBase64Encoded", "requestContext", "stageVariables"]);
    expect(keys(DISCONNECT)).toEqual([
      "headers",
      "isBase64Encoded",
      "multiValueHeaders",
      "requestContext",
      "stageVariables",
    ]);
    expect(keys(CONNECT.requestContext as object)).toEqual(common);
    expect(keys(MESSAGE.requestContext as object)).toEqual([...common, "messageId"].sort());
    expect(keys(DISCONNECT.requestContext as object)).toEqual(
      [...common, "disconnectReason", "disconnectStatusCode"].sort(),
    );
    expect(CONNECT).toMatchObject({
      queryStringParameters: { a: "2" },
      multiValueQueryStringParameters: { a: ["1", "2"] },
      headers: { cookie: "b=1" },
      stageVariables: { color: "red" },
      isBase64Encoded: false,
      requestContext: {
        routeKey: "$connect",
        apiId: desk.apiId,
        stage: "dev",
        messageDirection: "IN",
        identity: { userAgent: "node", sourceIp: "127.0.0.1" },
        requestTime: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/),
        connectionId: expect.stringMatching(/^[A-Za-z0-9_-]{15}=$/),
      },
    });
    expect(JSON.stringify(CONNECT.headers)).not.toMatch(/"(connection|upgrade)"/i);
    expect(MESSAGE).toMatchObject({ body: '{"x":1}', requestContext: { routeKey: "$default" } });
    expect(DISCONNECT.requestContext).toMatchObject({
      disconnectStatusCode: 1005,
      disconnectReason: "Client-side close frame status not set",
    });
    const { requestId, extendedRequestId } = CONNECT.requestContext as Record<string, string>;
    expect(requestId).toBe(extendedRequestId);
  });

  onDesk("1.6 whatever a client calls its parameters, they are the function's to read", async () => {
    let seen: { multiValueQueryStringParameters?: object } = {};
    const desk = await openDesk(
      served((event) => {
        seen = event;
        return { statusCode: 200 };
      }),
    );
    await open(`${desk.url}?__proto__=1&constructor=2&__proto__=3`);
    expect(JSON.stringify(seen.multiValueQueryStringParameters)).toBe(
      '{"__proto__":["1","3"],"constructor":["2"]}',
    );
  });

  onDesk("1.6 no query, no keys for it", async () => {
    let seen: object = {};
    const desk = await openDesk(
      served((event) => {
        seen = event;
        return { statusCode: 200 };
      }),
    );
    await open(desk.url);
    expect(keys(seen)).toEqual([
      "headers",
      "isBase64Encoded",
      "multiValueHeaders",
      "requestContext",
      "stageVariables",
    ]);
  });

  onDesk.each([301, 400, 401, 501])(
    "1.2 one that answers $connect with %d refuses with the same",
    async (statusCode) => {
      expect(await handshake(await openDesk(served(() => ({ statusCode }))))).toBe(statusCode);
    },
  );

  onDesk("1.2 one that throws on $connect, or gives back what is no result, is 502", async () => {
    const results: LambdaFunction[] = [
      () => {
        throw new Error("a bug");
      },
      async () => {
        throw new Error("a bug");
      },
      () => undefined,
      () => "text",
      () => ({ body: "no status" }),
      () => ({ statusCode: 200, unknownKey: 1 }),
      () => ({ statusCode: 200, body: { not: "text" } }),
    ];
    for (const result of results) expect(await handshake(await openDesk(served(result)))).toBe(502);
  });

  onDesk(
    "3.2 one that throws on a message gives the error frame, one that is slow another, and the socket stays",
    async () => {
      const desk = await openDesk(
        served(async ({ requestContext, body }) => {
          if (requestContext.eventType !== "MESSAGE") return { statusCode: 200 };
          if (body === "throw") throw new Error("a bug");
          if (body === "malformed") return { statusCode: 200, extra: 1 };
          if (body === "slow") await new Promise((resolve) => setTimeout(resolve, 200));
          return { statusCode: 200, body: "well" };
        }, 100),
      );
      const client = await open(desk.url);
      const ids = '"connectionId":"[A-Za-z0-9_-]{15}=", "requestId":"[A-Za-z0-9_-]{15}="}$';
      for (const text of ["throw", "malformed"]) {
        client.socket.send(text);
        expect(await client.text()).toMatch(new RegExp(`^\\{"message": "Internal server error", ${ids}`));
      }
      client.socket.send("slow");
      expect(await client.text()).toMatch(new RegExp(`^\\{"message": "Endpoint request timed out", ${ids}`));
      client.socket.send("well");
      expect(await client.text()).toBe("well");
    },
  );

  onDesk(
    "3.1, §9.26 with a route response the body of any status is delivered; base64 is decoded; none is an empty message",
    async () => {
      const desk = await openDesk(
        served(({ body }) => {
          if (body === "500") return { statusCode: 500, body: "it failed" };
          if (body === "base64")
            return { statusCode: 200, body: Buffer.from("ü").toString("base64"), isBase64Encoded: true };
          return { statusCode: 200 };
        }),
      );
      const client = await open(desk.url);
      for (const [text, answer] of [
        ["500", "it failed"],
        ["base64", "ü"],
        ["none", ""],
      ] as const) {
        client.socket.send(text);
        expect(await client.text()).toBe(answer);
      }
    },
  );

  onDesk("3.3 one accepts a subprotocol by its answer's header", async () => {
    const desk = await openDesk(
      served(() => ({ statusCode: 200, headers: { "Sec-WebSocket-Protocol": "chat" } })),
    );
    expect((await open(desk.url, ["chat"])).socket.protocol).toBe("chat");
  });
});
