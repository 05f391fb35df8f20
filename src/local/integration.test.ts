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

/** One call of each kind from a client that sends headers of its own. */
async function lifeOf(headers: Record<string, string>, options = {}, query = "") {
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
  const { connect, message, disconnect } = await lifeOf({}, {}, "?ws_token=abc&channel=a%2Fb");
  expect([connect.method, message.method, disconnect.method]).toEqual(["POST", "POST", "POST"]);
  expect(connect.url).toBe("/ws/chat/connect?ws_token=abc&channel=a%2Fb");
  expect(message.url).toBe("/ws/chat/default");
  expect(disconnect.url).toBe("/ws/chat/disconnect");
  expect([connect.body, message.body, disconnect.body]).toEqual(["", '{"text":"hello"}', ""]);
  expect(connect.headers["content-length"]).toBe("0");
});

test("goes to one of several targets after the other, and past one that nobody listens at", async () => {
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

test("is unreachable when nobody listens at any of its targets", async () => {
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
  test("come with every event", async () => {
    const before = Date.now();
    const { gateway, connect, message, disconnect } = await lifeOf({}, { stage: "test_1", secret: "s3cret" });
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

  test("are cased as mapped", async () => {
    const { message } = await lifeOf({});
    expect(message.rawHeaders).toContain("connectionId");
  });

  test("overwrite what the client sends under their names", async () => {
    const forged = Object.fromEntries(
      [...Object.keys(CONTEXT_HEADERS), SECRET_HEADER, "X-Amzn-Trace-Id", "X-Amzn-Apigateway-Api-Id"].map(
        (name) => [name.toUpperCase(), "forged"],
      ),
    );
    const { connect } = await lifeOf(forged, { secret: "s3cret" });
    expect(JSON.stringify(connect.rawHeaders)).not.toContain("forged");
    expect(connect.headers[SECRET_HEADER]).toBe("s3cret");
    expect(connect.headers.connectionid).toMatch(ID);
  });

  test("overwrite every copy of a repeated one", async () => {
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

  test("without a value are left out, the client's own too", async () => {
    const { connect } = await lifeOf({
      "x-sallyport-disconnect-code": "1000",
      "X-Sallyport-Disconnect-Reason": "x",
    });
    expect(names(connect).filter((name) => name.includes("disconnect"))).toEqual([]);
  });

  test("do not hold a secret that is not configured, so a client's passes on $connect alone", async () => {
    const { connect, message, disconnect } = await lifeOf({ "x-sallyport-secret": "guess" });
    expect(connect.headers[SECRET_HEADER]).toBe("guess");
    expect(message.headers).not.toHaveProperty(SECRET_HEADER);
    expect(disconnect.headers).not.toHaveProperty(SECRET_HEADER);
  });

  test("cannot be broken out of by a close reason", async () => {
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

  test("pass on $connect", async () => {
    const { connect } = await lifeOf(own);
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

  test("do not pass on messages and $disconnect", async () => {
    const { gateway, message, disconnect } = await lifeOf(own);
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

  test("lose what belongs to the hop", async () => {
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

  test("are given a User-Agent when they have none", async () => {
    const backend = await startBackend();
    const gateway = await startGateway(backend);
    const raw = new RawClient(gateway.port);
    raw.upgrade("/dev");
    await raw.head();
    expect((await backend.call("connect")).headers["user-agent"]).toBe(`AmazonAPIGateway_${gateway.apiId}`);
  });
});

describe("X-Forwarded-*", () => {
  test("tell the peer on $connect and nothing later", async () => {
    const { gateway, connect, message, disconnect } = await lifeOf({});
    expect(connect.headers).toMatchObject({
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-port": String(gateway.port),
      "x-forwarded-proto": "http",
    });
    expect(
      [...names(message), ...names(disconnect)].filter((name) => name.startsWith("x-forwarded")),
    ).toEqual([]);
  });

  test("append the peer to what the client claims, and overwrite port and protocol", async () => {
    const { gateway, connect } = await lifeOf({
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

describe("what is held up when the gateway closes", () => {
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
  ] as const)("is not called, and nothing waits for it: what %s", async (_what, wrong, kind) => {
    const faults = new FaultSwitches();
    faults.set(wrong);
    const { integration, calls } = place();
    const integrations = new Integrations(faults);
    const running = integrations.run(eventOf("message"), integration);
    await integrations.close(10);
    expect(await running).toMatchObject({ kind });
    expect(calls()).toBe(0);
  });

  test("nor is what comes later", async () => {
    const { integration, calls } = place();
    const integrations = new Integrations(new FaultSwitches());
    await integrations.close(0);
    expect(await integrations.run(eventOf("message"), integration)).toMatchObject({ kind: "unreachable" });
    expect(calls()).toBe(0);
  });
});
