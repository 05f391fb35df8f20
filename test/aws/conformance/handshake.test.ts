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
  onDesk,
  openBackend,
  openDesk,
  release,
  route,
  say,
} from "./desk.ts";

describe("1.1 address and upgrade", () => {
  test("1.1 a plain GET of the socket's URL is 426", async () => {
    const desk = await openDesk();
    expect((await http(desk.endpoint, "GET", `/${desk.stage}`)).status).toBe(426);
  });

  test("1.1 the upgrade is pending until $connect has been answered", async () => {
    const arrived = connect(await openDesk(), { hold: 1 });
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

  onDesk("1.1 until then no connection exists", "a view of the gateway's connections", async () => {
    const desk = await openDesk();
    const arrived = connect(desk, { hold: 1 });
    await arrived.called("connect");
    expect(desk.local.connectionCount).toBe(0);
    await arrived.release();
    await arrived.client.opened;
    expect(desk.local.connectionIds).toEqual([await idOf(arrived)]);
  });

  test("1.1 a $connect that fails makes no connection", async () => {
    const desk = await openDesk();
    const refused = connect(desk, { status: 403 });
    await expect(refused.client.opened).rejects.toThrow();
    expect((await manage(desk, "GET", at(await idOf(refused)))).status).toBe(410);
  });

  onDesk("1.1 without a $connect route every upgrade succeeds", "an API without one", async () => {
    const backend = await openBackend();
    const routes = { $default: route(backend, "default", { routeResponse: true }) };
    const desk = await openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    const arrived = await connected(desk, { status: 403 });
    expect(await echo(arrived, "here")).toBe("here");
    expect(await arrived.calls()).toEqual([]);
  });

  onDesk("1.1 without a $disconnect route nobody hears of who leaves", "an API without one", async () => {
    const backend = await openBackend();
    const routes = { $connect: route(backend, "connect") };
    const desk = await openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    const leaver = await connected(desk);
    leaver.client.socket.close();
    await leaver.client.closed;
    await expect.poll(() => desk.local.connectionCount).toBe(0);
    expect(await leaver.kinds()).toEqual(["connect"]);
  });

  test("1.1 the first message is routed after $connect has been answered", async () => {
    const arrived = await connected(await openDesk());
    say(arrived, {});
    await arrived.called("default");
    const calls = await arrived.calls();
    expect(calls.map(({ kind, isAnswered }) => [kind, kind === "default" || isAnswered])).toEqual([
      ["connect", true],
      ["default", true],
    ]);
  });

  onDesk(
    "1.1 what a client sends before its 101 waits for it",
    "bytes before the handshake's end",
    async () => {
      const desk = await openDesk();
      const raw = new RawClient(desk.local.port);
      raw.upgrade("/dev?case=early&hold=1");
      raw.socket.write(frameOf("too soon"));
      expect((await callsOf(desk.backend, "early", "?kind=connect")).map(({ kind }) => kind)).toEqual([
        "connect",
      ]);
      await release(desk.backend, "early");
      expect(await raw.head()).toMatch(/^HTTP\/1\.1 101 /);
      const calls = await callsOf(desk.backend, "early", "?kind=default");
      expect(calls.map(({ kind, body }) => [kind, body])).toEqual([
        ["connect", ""],
        ["default", "too soon"],
      ]);
    },
  );

  test("1.1 there is no path below the stage", async () => {
    const { url, backend } = await openDesk();
    for (const below of ["/below", "/"]) {
      expect((await handshake({ url: url + below, backend })).status, below).toBe(403);
    }
  });
});

describe("1.2 what stands in place of 101", () => {
  test.each([200, 201, 204])("1.2 a $connect that answers %d opens the socket", async (status) => {
    expect((await handshake(await openDesk(), { status })).status).toBe(101);
  });

  test.each([301, 302, 400, 401, 403, 404, 410, 429, 500, 501, 502, 503])(
    "1.2 a $connect that answers %d refuses the handshake with %d",
    async (status) => {
      expect((await handshake(await openDesk(), { status })).status).toBe(status);
    },
  );

  test("1.2 a stage that does not exist is 403", async () => {
    const { url, backend } = await openDesk();
    expect((await handshake({ url: new URL("/nowhere", url).href, backend })).status).toBe(403);
  });

  test("1.2 a URL that leaves the stage out is 403", async () => {
    const { url, backend } = await openDesk();
    expect((await handshake({ url: new URL("/", url).href, backend })).status).toBe(403);
  });

  onDesk("1.2 an API that does not exist is 403", "a host of one's choice", async () => {
    const desk = await openDesk();
    const headers = { host: "nobodys000.execute-api.eu-west-1.amazonaws.com" };
    expect((await handshake(desk, {}, { headers })).status).toBe(403);
  });

  onDesk("1.2 an integration whose URL lacks a variable is 500", "a misconfigured API", async () => {
    const backend = await openBackend();
    // biome-ignore lint/suspicious/noTemplateCurlyInString: AWS's own syntax
    const routes = { $connect: route(backend, "${stageVariables.missing}") };
    const desk = await openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    expect((await handshake(desk)).status).toBe(500);
  });

  test("1.2 the body and the headers of a refused $connect do not reach the client", async () => {
    const answer = await handshake(await openDesk(), { status: 403, body: "a-secret", own: "a-secret" });
    expect(answer.status).toBe(403);
    expect(JSON.stringify(answer)).not.toContain("a-secret");
  });

  test("1.2 a client in Node reads the status in its error", async () => {
    const { client } = connect(await openDesk(), { status: 403 });
    await expect(client.opened).rejects.toThrow("Unexpected server response: 403");
  });

  test("1.2 no $disconnect follows a refused $connect", async () => {
    const desk = await openDesk();
    const refused = connect(desk, { status: 403 });
    await expect(refused.client.opened).rejects.toThrow();
    const another = await connected(desk);
    another.client.socket.close();
    await another.called("disconnect");
    expect(await refused.kinds()).toEqual(["connect"]);
  });
});

describe("§9 handshakes, where AWS is not known", () => {
  test.each([
    [400, "BadRequestException", "Bad Request"],
    [401, "UnauthorizedException", "Unauthorized"],
    [403, "ForbiddenException", "Forbidden"],
    [429, "LimitExceededException", "Too Many Requests"],
    [500, "InternalServerErrorException", "Internal server error"],
  ])(
    "§9.3 a refusal with %d has the error's kind and a JSON message, and ends the connection",
    async (status, kind, message) => {
      const answer = await handshake(await openDesk(), { status });
      expect(answer.status).toBe(status);
      expect(answer.headers).toMatchObject({ "x-amzn-errortype": kind, connection: "close" });
      expect(JSON.parse(answer.body)).toEqual({ message });
    },
  );

  onDesk("§9.4 a $connect that takes too long is 504", "a time-out of 50 ms", async () => {
    const desk = await openDesk({ integrationTimeoutMs: 50 });
    expect((await handshake(desk, { hold: 1 })).status).toBe(504);
  });

  onDesk("§9.4 a backend that is not there is 500", "a backend that is not there", async () => {
    const desk = await openDesk({ target: "http://127.0.0.1:9/ws", routes: {} });
    expect((await handshake(desk)).status).toBe(500);
  });

  test("§9.12 compression is agreed upon, with a client that offers it", async () => {
    const arrived = await connected(await openDesk());
    expect(headerOf(await arrived.called("connect"), "sec-websocket-extensions")).toMatch(
      /permessage-deflate/,
    );
    expect(arrived.client.socket.extensions).toBe("permessage-deflate");
  });

  test("§9.13 the 101 has no headers but those it must have", async () => {
    const { status, headers } = await handshake(await openDesk(), { body: "unheard", own: "unheard" });
    expect(status).toBe(101);
    expect(Object.keys(headers).sort()).toEqual([
      "connection",
      "sec-websocket-accept",
      "sec-websocket-extensions",
      "upgrade",
    ]);
  });

  test("§9.13 the 101 has the subprotocol that was returned, and nothing else besides", async () => {
    const offered = { protocols: ["chat"] };
    const { headers } = await handshake(await openDesk(), { protocol: "chat", own: "unheard" }, offered);
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

  test("3.3 the integration sees the client's list, with commas between", async () => {
    const arrived = await connected(await openDesk(), { protocol: "chat.v1" }, offered);
    const list = headerOf(await arrived.called("connect"), "sec-websocket-protocol");
    expect(list?.split(/, ?/)).toEqual(["chat.v2", "chat.v1"]);
  });

  test("3.3 the one that the integration returns is accepted", async () => {
    const { client } = await connected(await openDesk(), { protocol: "chat.v1" }, offered);
    expect(client.socket.protocol).toBe("chat.v1");
  });

  test("3.3 none is accepted where the integration returns none", async () => {
    const { status, headers } = await handshake(await openDesk(), {}, offered);
    expect([status, headers["sec-websocket-protocol"]]).toEqual([101, undefined]);
  });

  test("3.3 a client that offered some and got none gives up", async () => {
    const { client } = connect(await openDesk(), {}, offered);
    await expect(client.opened).rejects.toThrow(/subprotocol/);
  });

  test("3.3 an integration that takes none of them refuses with 400, which the client sees", async () => {
    expect((await handshake(await openDesk(), { status: 400 }, offered)).status).toBe(400);
  });

  onDesk("3.3 without a $connect integration none is accepted", "an API without one", async () => {
    const backend = await openBackend();
    const routes = { $default: route(backend, "default") };
    const desk = await openDesk({ apis: [{ routes, stages: { dev: {} } }] }, backend);
    const { status, headers } = await handshake(desk, { protocol: "chat.v1" }, offered);
    expect([status, headers["sec-websocket-protocol"]]).toEqual([101, undefined]);
  });
});
