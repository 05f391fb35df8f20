import { describe, expect, test } from "vitest";
import { eventOf } from "../../test/local/events.ts";
import {
  type Call,
  deadTarget,
  openClient,
  RawClient,
  startBackend,
  startGateway,
} from "../../test/local/rig.ts";
import { CONTEXT_HEADERS, SECRET_HEADER } from "../protocol/gateway-call.ts";
import { FaultSwitches } from "./faults.ts";
import { Integrations } from "./integration.ts";

const ID = /^[A-Za-z0-9_-]{15}=$/;

/** Makes one call of each kind for a client that sends its own headers. */
async function eventsOf(headers: Record<string, string>, options = {}, query = "") {
  const backend = await startBackend();
  const gateway = await startGateway(backend, options);
  const client = await openClient(gateway.url + query, [], { headers });
  client.socket.send('{"text":"hello"}');
  await client.text();
  client.socket.close(4001, "done");
  const disconnect = await backend.call("disconnect");
  const calls = {
    connect: await backend.call("connect"),
    message: await backend.call("default"),
    disconnect,
  };
  return { gateway, ...calls };
}

function names(call: Call): string[] {
  return Object.keys(call.headers).sort();
}

const MAPPED = Object.keys(CONTEXT_HEADERS)
  .map((name) => name.toLowerCase())
  .filter((name) => !name.includes("disconnect"));

test("posts each event to its own path below the target", async () => {
  const { connect, message, disconnect } = await eventsOf({}, {}, "?ws_token=abc&channel=a%2Fb");
  expect([connect.method, message.method, disconnect.method]).toEqual(["POST", "POST", "POST"]);
  expect(connect.url).toBe("/ws/chat/connect?ws_token=abc&channel=a%2Fb");
  expect(message.url).toBe("/ws/chat/default");
  expect(disconnect.url).toBe("/ws/chat/disconnect");
  expect([connect.body, message.body, disconnect.body]).toEqual(["", '{"text":"hello"}', ""]);
  expect(connect.headers["content-length"]).toBe("0");
});

test("uses several targets in turn and skips a target that does not listen", async () => {
  const backends = [await startBackend(), await startBackend()];
  const targets = [backends[0]?.target as string, await deadTarget(), backends[1]?.target as string];
  const errors: unknown[] = [];
  const gateway = await startGateway("", { target: targets, onError: (error) => errors.push(error) });
  const client = await openClient(gateway.url);
  for (let count = 0; count < 12; count++) {
    client.socket.send("{}");
    await client.text();
  }
  for (let count = 0; count < 12; count++) client.socket.send("{}");
  for (let count = 0; count < 12; count++) await client.text();
  const taken = backends.map((backend) => backend.to("default").length);
  expect(taken.reduce((sum, count) => sum + count, 0)).toBe(24);
  for (const count of taken) expect(count).toBeGreaterThanOrEqual(8);
  expect(errors).toEqual([]);
});

test("rejects a connect with 500 if none of its targets listens", async () => {
  const target = [await deadTarget(), await deadTarget()];
  const errors: unknown[] = [];
  const gateway = await startGateway("", { target, onError: (error) => errors.push(error) });
  await expect(openClient(gateway.url)).rejects.toThrow(/500/);
  expect(errors).toHaveLength(1);
});

test("keeps the bytes of a message", async () => {
  const backend = await startBackend();
  const client = await openClient((await startGateway(backend)).url);
  const text = ' { "a" : 1.0,\n "ü": "\u{1f600}" } ';
  client.socket.send(text);
  expect((await backend.call("default")).body).toBe(text);
});

describe("the mapped headers", () => {
  test("are sent with each event", async () => {
    const before = Date.now();
    const { gateway, connect, message, disconnect } = await eventsOf(
      {},
      { stage: "test_1", secret: "s3cret" },
    );
    const shared = (call: Call) => ({
      connectionid: call.headers.connectionid,
      connectedAt: call.headers["x-sallyport-connected-at"],
    });
    expect(shared(message)).toEqual(shared(connect));
    expect(shared(disconnect)).toEqual(shared(connect));
    expect(connect.headers.connectionid).toMatch(ID);
    const connectedAt = Number(connect.headers["x-sallyport-connected-at"]);
    expect(before <= connectedAt && connectedAt <= Date.now()).toBe(true);
    const kinds = [
      [connect, "CONNECT", "$connect"],
      [message, "MESSAGE", "$default"],
      [disconnect, "DISCONNECT", "$disconnect"],
    ] as const;
    for (const [call, eventType, routeKey] of kinds) {
      expect(call.headers).toMatchObject({
        "x-sallyport-secret": "s3cret",
        "x-sallyport-source-ip": "127.0.0.1",
        "x-sallyport-route-key": routeKey,
        "x-sallyport-event-type": eventType,
        "x-sallyport-domain-name": `127.0.0.1:${gateway.port}`,
        "x-sallyport-stage": "test_1",
        "x-amzn-apigateway-api-id": gateway.apiId,
      });
      expect(call.headers["x-sallyport-request-id"]).toMatch(ID);
      expect(call.headers["x-amzn-trace-id"]).toMatch(/^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$/);
    }
    expect(new Set(kinds.map(([call]) => call.headers["x-sallyport-request-id"])).size).toBe(3);
    expect(disconnect.headers).toMatchObject({
      "x-sallyport-disconnect-code": "4001",
      "x-sallyport-disconnect-reason": "done",
    });
  });

  test("keep the letter case of the mapping", async () => {
    const { message } = await eventsOf({});
    expect(message.rawHeaders).toContain("connectionId");
  });

  test("overwrite headers of the client with the same names", async () => {
    const forged = Object.fromEntries(
      [...Object.keys(CONTEXT_HEADERS), SECRET_HEADER, "X-Amzn-Trace-Id", "X-Amzn-Apigateway-Api-Id"].map(
        (name) => [name.toUpperCase(), "forged"],
      ),
    );
    const { connect } = await eventsOf(forged, { secret: "s3cret" });
    expect(JSON.stringify(connect.rawHeaders)).not.toContain("forged");
    expect(connect.headers[SECRET_HEADER]).toBe("s3cret");
    expect(connect.headers.connectionid).toMatch(ID);
  });

  test("overwrite each copy of a repeated header", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend, { secret: "s3cret" });
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev", [
      "connectionid: AAAAAAAAAAAAAAA=",
      "ConnectionId: B",
      "x-Sallyport-secret: a",
      "X-SALLYPORT-SECRET: b",
    ]);
    await raw.head();
    const { headers } = await backend.call("connect");
    expect(headers.connectionid).toMatch(ID);
    expect(headers.connectionid).not.toBe("AAAAAAAAAAAAAAA=");
    expect(headers[SECRET_HEADER]).toBe("s3cret");
  });

  test("without a value are omitted, also if the client sends them", async () => {
    const { connect } = await eventsOf({
      "x-sallyport-disconnect-code": "1000",
      "X-Sallyport-Disconnect-Reason": "x",
    });
    expect(names(connect).filter((name) => name.includes("disconnect"))).toEqual([]);
  });

  test("do not contain an unconfigured secret, so a client's header passes on $connect only", async () => {
    const { connect, message, disconnect } = await eventsOf({ "x-sallyport-secret": "guess" });
    expect(connect.headers[SECRET_HEADER]).toBe("guess");
    expect(message.headers).not.toHaveProperty(SECRET_HEADER);
    expect(disconnect.headers).not.toHaveProperty(SECRET_HEADER);
  });

  test("cannot be forged by line breaks in a close reason", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend, { secret: "s3cret" });
    const client = await openClient(gateway.url);
    client.socket.close(4000, "a\r\nx-sallyport-secret: forged\r\n\r\né");
    const { headers } = await backend.call("disconnect");
    expect(headers[SECRET_HEADER]).toBe("s3cret");
    const reason = Buffer.from(String(headers["x-sallyport-disconnect-reason"]), "latin1").toString("utf8");
    expect(reason).toBe("a  x-sallyport-secret: forged    é");
  });
});

describe("the client's headers", () => {
  const own = {
    Cookie: "sid=1",
    Origin: "https://example.com",
    Authorization: "Bearer x",
    "X-Own": "1",
    "User-Agent": "me",
  };

  test("are forwarded on $connect", async () => {
    const { connect } = await eventsOf(own);
    expect(connect.headers).toMatchObject({
      cookie: "sid=1",
      origin: "https://example.com",
      authorization: "Bearer x",
      "x-own": "1",
      "user-agent": "me",
      "sec-websocket-version": "13",
    });
    expect(connect.headers["sec-websocket-key"]).toBeDefined();
  });

  test("are not forwarded on messages and $disconnect", async () => {
    const { gateway, message, disconnect } = await eventsOf(own);
    const ours = [
      "connection",
      "content-length",
      "host",
      "user-agent",
      "x-amzn-apigateway-api-id",
      "x-amzn-trace-id",
      ...MAPPED,
    ];
    expect(names(message)).toEqual([...ours, "content-type"].sort());
    expect(names(disconnect)).toEqual(
      [...ours, "x-sallyport-disconnect-code", "x-sallyport-disconnect-reason"].sort(),
    );
    expect(message.headers["user-agent"]).toBe(`AmazonAPIGateway_${gateway.apiId}`);
    expect(disconnect.headers["user-agent"]).toBe(`AmazonAPIGateway_${gateway.apiId}`);
  });

  test("are forwarded without hop-by-hop headers", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev", [
      "Keep-Alive: timeout=5",
      "TE: trailers",
      "Via: 1.1 x",
      "Expect: 100-continue",
      "Max-Forwards: 1",
    ]);
    await raw.head();
    const { headers } = await backend.call("connect");
    for (const name of ["upgrade", "keep-alive", "te", "via", "expect", "max-forwards"]) {
      expect(headers).not.toHaveProperty(name);
    }
    expect(headers.host).toBe(new URL(backend.target).host);
  });

  test("are joined with a comma when repeated", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev", ["X-Own: 1", "x-own: 2", "X-OWN: 3"]);
    await raw.head();
    expect((await backend.call("connect")).headers["x-own"]).toBe("1,2,3");
  });

  test("get a User-Agent if they have none", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev");
    await raw.head();
    expect((await backend.call("connect")).headers["user-agent"]).toBe(`AmazonAPIGateway_${gateway.apiId}`);
  });
});

describe("X-Forwarded-*", () => {
  test("contain the client's address on $connect, and are not sent later", async () => {
    const { gateway, connect, message, disconnect } = await eventsOf({});
    expect(connect.headers).toMatchObject({
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-port": String(gateway.port),
      "x-forwarded-proto": "http",
    });
    expect(
      [...names(message), ...names(disconnect)].filter((name) => name.startsWith("x-forwarded")),
    ).toEqual([]);
  });

  test("append the client's address to its own header, and overwrite port and protocol", async () => {
    const { gateway, connect } = await eventsOf({
      "X-Forwarded-For": "203.0.113.7",
      "X-Forwarded-Port": "1",
      "X-Forwarded-Proto": "gopher",
    });
    expect(connect.headers["x-forwarded-for"]).toBe("203.0.113.7, 127.0.0.1");
    expect(connect.headers["x-forwarded-port"]).toBe(String(gateway.port));
    expect(connect.headers["x-forwarded-proto"]).toBe("http");
    expect(connect.headers["x-sallyport-source-ip"]).toBe("127.0.0.1");
  });
});

describe("an integration of a closing gateway", () => {
  const place = () => {
    let calls = 0;
    const handler = () => {
      calls++;
      return { statusCode: 200 };
    };
    return { integration: { type: "AWS_PROXY", handler, timeoutMs: 29_000 } as const, calls: () => calls };
  };

  test.each([
    ["is late", { delayMs: 60_000 }, "unreachable"],
    ["is lost", { drop: 1 }, "timed out"],
  ] as const)(
    "is not called for an event that %s, and close() does not wait for it",
    async (_what, wrong, kind) => {
      const faults = new FaultSwitches();
      faults.set(wrong);
      const { integration, calls } = place();
      const integrations = new Integrations(faults);
      const running = integrations.run(eventOf("message"), integration);
      await integrations.close(10);
      expect(await running).toMatchObject({ kind });
      expect(calls()).toBe(0);
    },
  );

  test("is not called for a later event", async () => {
    const { integration, calls } = place();
    const integrations = new Integrations(new FaultSwitches());
    await integrations.close(0);
    expect(await integrations.run(eventOf("message"), integration)).toMatchObject({ kind: "unreachable" });
    expect(calls()).toBe(0);
  });
});
