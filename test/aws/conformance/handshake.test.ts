import { describe, expect, test } from "vitest";
import { frameOf, RawClient } from "../../local/rig.ts";
import {
  at,
  callsOf,
  connect,
  connected,
  echo,
  handshake,
  headerOf,
  http,
  idOf,
  manage,
  openBackend,
  openGateway,
  release,
  route,
  sendMessage,
  testLocally,
} from "./gateway-under-test.ts";

describe("1.1 address and upgrade", () => {
  test("1.1 a plain GET of the socket's URL is 426", async () => {
    const gateway = await openGateway();
    expect((await http(gateway.endpoint, "GET", `/${gateway.stage}`)).status).toBe(426);
  });

  test("1.1 the upgrade is pending until $connect is answered", async () => {
    const arrived = connect(await openGateway(), { hold: 1 });
    let isAnswered = false;
    arrived.client.socket.once("upgrade", () => {
      isAnswered = true;
    });
    expect((await arrived.called("connect")).isAnswered).toBe(false);
    expect(isAnswered).toBe(false);
    await arrived.release();
    await arrived.client.opened;
    expect((await arrived.answered("connect")).isAnswered).toBe(true);
  });

  testLocally("1.1 no connection exists before that", "a view of the gateway's connections", async () => {
    const gateway = await openGateway();
    const arrived = connect(gateway, { hold: 1 });
    await arrived.called("connect");
    expect(gateway.local.connectionCount).toBe(0);
    await arrived.release();
    await arrived.client.opened;
    expect(gateway.local.connectionIds).toEqual([await idOf(arrived)]);
  });

  test("1.1 a rejected $connect creates no connection", async () => {
    const gateway = await openGateway();
    const rejected = connect(gateway, { status: 403 });
    await expect(rejected.client.opened).rejects.toThrow();
    expect((await manage(gateway, "GET", at(await idOf(rejected)))).status).toBe(410);
  });

  testLocally("1.1 without a $connect route every upgrade succeeds", "an API without $connect", async () => {
    const backend = await openBackend();
    const routes = { $default: route(backend, "default", { routeResponse: true }) };
    const gateway = await openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    const arrived = await connected(gateway, { status: 403 });
    expect(await echo(arrived, "here")).toBe("here");
    expect(await arrived.calls()).toEqual([]);
  });

  testLocally(
    "1.1 without a $disconnect route no backend is notified of a disconnect",
    "an API without $disconnect",
    async () => {
      const backend = await openBackend();
      const routes = { $connect: route(backend, "connect") };
      const gateway = await openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
      const leaver = await connected(gateway);
      leaver.client.socket.close();
      await leaver.client.closed;
      await expect.poll(() => gateway.local.connectionCount).toBe(0);
      expect(await leaver.kinds()).toEqual(["connect"]);
    },
  );

  test("1.1 the first message is routed after $connect was answered", async () => {
    const arrived = await connected(await openGateway());
    sendMessage(arrived, {});
    await arrived.called("default");
    const calls = await arrived.calls();
    expect(calls.map(({ kind, isAnswered }) => [kind, kind === "default" || isAnswered])).toEqual([
      ["connect", true],
      ["default", true],
    ]);
  });

  testLocally(
    "1.1 bytes that a client sends before its 101 wait for it",
    "bytes before the end of the handshake",
    async () => {
      const gateway = await openGateway();
      const raw = new RawClient(gateway.local.port);
      raw.upgrade("/dev?case=early&hold=1");
      raw.socket.write(frameOf("too soon"));
      expect((await callsOf(gateway.backend, "early", "?kind=connect")).map(({ kind }) => kind)).toEqual([
        "connect",
      ]);
      await release(gateway.backend, "early");
      expect(await raw.head()).toMatch(/^HTTP\/1\.1 101 /);
      const calls = await callsOf(gateway.backend, "early", "?kind=default");
      expect(calls.map(({ kind, body }) => [kind, body])).toEqual([
        ["connect", ""],
        ["default", "too soon"],
      ]);
    },
  );

  test("1.1 there is no path below the stage", async () => {
    const { url, backend } = await openGateway();
    for (const below of ["/below", "/"]) {
      expect((await handshake({ url: url + below, backend })).status, below).toBe(403);
    }
  });
});

describe("1.2 rejected handshakes", () => {
  test.each([200, 201, 204])("1.2 a $connect that answers %d opens the socket", async (status) => {
    expect((await handshake(await openGateway(), { status })).status).toBe(101);
  });

  test.each([301, 302, 400, 401, 403, 404, 410, 429, 500, 501, 502, 503])(
    "1.2 a $connect that answers %d rejects the handshake with %d",
    async (status) => {
      expect((await handshake(await openGateway(), { status })).status).toBe(status);
    },
  );

  test("1.2 an unknown stage is 403", async () => {
    const { url, backend } = await openGateway();
    expect((await handshake({ url: new URL("/nowhere", url).href, backend })).status).toBe(403);
  });

  test("1.2 a URL without a stage is 403", async () => {
    const { url, backend } = await openGateway();
    expect((await handshake({ url: new URL("/", url).href, backend })).status).toBe(403);
  });

  testLocally("1.2 an unknown API is 403", "a chosen Host header", async () => {
    const gateway = await openGateway();
    const headers = { host: "nobodys000.execute-api.eu-west-1.amazonaws.com" };
    expect((await handshake(gateway, {}, { headers })).status).toBe(403);
  });

  testLocally("1.2 an integration URL with an undefined variable is 500", "a misconfigured API", async () => {
    const backend = await openBackend();
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of AWS
    const routes = { $connect: route(backend, "${stageVariables.missing}") };
    const gateway = await openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    expect((await handshake(gateway)).status).toBe(500);
  });

  test("1.2 the body and the headers of a rejected $connect are not sent to the client", async () => {
    const answer = await handshake(await openGateway(), { status: 403, body: "a-secret", own: "a-secret" });
    expect(answer.status).toBe(403);
    expect(JSON.stringify(answer)).not.toContain("a-secret");
  });

  test("1.2 a client in Node.js has the status in its error", async () => {
    const { client } = connect(await openGateway(), { status: 403 });
    await expect(client.opened).rejects.toThrow("Unexpected server response: 403");
  });

  test("1.2 no $disconnect follows a rejected $connect", async () => {
    const gateway = await openGateway();
    const rejected = connect(gateway, { status: 403 });
    await expect(rejected.client.opened).rejects.toThrow();
    const another = await connected(gateway);
    another.client.socket.close();
    await another.called("disconnect");
    expect(await rejected.kinds()).toEqual(["connect"]);
  });
});

describe("§9 handshakes, where the behavior of AWS is unknown", () => {
  test.each([
    [400, "BadRequestException", "Bad Request"],
    [401, "UnauthorizedException", "Unauthorized"],
    [403, "ForbiddenException", "Forbidden"],
    [429, "LimitExceededException", "Too Many Requests"],
    [500, "InternalServerErrorException", "Internal server error"],
  ])(
    "§9.3 a rejection with %d has the type of the error and a JSON message, and ends the connection",
    async (status, kind, message) => {
      const answer = await handshake(await openGateway(), { status });
      expect(answer.status).toBe(status);
      expect(answer.headers).toMatchObject({ "x-amzn-errortype": kind, connection: "close" });
      expect(JSON.parse(answer.body)).toEqual({ message });
    },
  );

  testLocally("§9.4 a $connect that takes too long is 504", "a time-out of 50 ms", async () => {
    const gateway = await openGateway({ integrationTimeoutMs: 50 });
    expect((await handshake(gateway, { hold: 1 })).status).toBe(504);
  });

  testLocally("§9.4 an unreachable backend is 500", "an unreachable backend", async () => {
    const gateway = await openGateway({ target: "http://127.0.0.1:9/ws", routes: {} });
    expect((await handshake(gateway)).status).toBe(500);
  });

  test("§9.12 compression is negotiated with a client that offers it", async () => {
    const arrived = await connected(await openGateway());
    expect(headerOf(await arrived.called("connect"), "sec-websocket-extensions")).toMatch(
      /permessage-deflate/,
    );
    expect(arrived.client.socket.extensions).toBe("permessage-deflate");
  });

  test("§9.13 the 101 has only the required headers", async () => {
    const { status, headers } = await handshake(await openGateway(), { body: "unheard", own: "unheard" });
    expect(status).toBe(101);
    expect(Object.keys(headers).sort()).toEqual([
      "connection",
      "sec-websocket-accept",
      "sec-websocket-extensions",
      "upgrade",
    ]);
  });

  test("§9.13 the 101 has the subprotocol that was returned, and no other header", async () => {
    const offered = { protocols: ["chat"] };
    const { headers } = await handshake(await openGateway(), { protocol: "chat", own: "unheard" }, offered);
    expect(Object.keys(headers).sort()).toEqual([
      "connection",
      "sec-websocket-accept",
      "sec-websocket-extensions",
      "sec-websocket-protocol",
      "upgrade",
    ]);
  });
});

describe("3.3 subprotocols", () => {
  const offered = { protocols: ["chat.v2", "chat.v1"] };

  test("3.3 the integration receives the list of the client, separated by commas", async () => {
    const arrived = await connected(await openGateway(), { protocol: "chat.v1" }, offered);
    const list = headerOf(await arrived.called("connect"), "sec-websocket-protocol");
    expect(list?.split(/, ?/)).toEqual(["chat.v2", "chat.v1"]);
  });

  test("3.3 the subprotocol that the integration returns is accepted", async () => {
    const { client } = await connected(await openGateway(), { protocol: "chat.v1" }, offered);
    expect(client.socket.protocol).toBe("chat.v1");
  });

  test("3.3 none is accepted if the integration returns none", async () => {
    const { status, headers } = await handshake(await openGateway(), {}, offered);
    expect([status, headers["sec-websocket-protocol"]]).toEqual([101, undefined]);
  });

  test("3.3 a client that offered some and received none fails", async () => {
    const { client } = connect(await openGateway(), {}, offered);
    await expect(client.opened).rejects.toThrow(/subprotocol/);
  });

  test("3.3 an integration can reject with 400, which the client receives", async () => {
    expect((await handshake(await openGateway(), { status: 400 }, offered)).status).toBe(400);
  });

  testLocally("3.3 without a $connect integration none is accepted", "an API without $connect", async () => {
    const backend = await openBackend();
    const routes = { $default: route(backend, "default") };
    const gateway = await openGateway({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    const { status, headers } = await handshake(gateway, { protocol: "chat.v1" }, offered);
    expect([status, headers["sec-websocket-protocol"]]).toEqual([101, undefined]);
  });
});
