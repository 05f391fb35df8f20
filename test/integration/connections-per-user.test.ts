import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { ManagementApi } from "../../src/delivery/management-api.ts";
import { handler, WebSocketView } from "../../src/index.ts";
import { ChatView, LobbyView, openChat } from "./chat.ts";
import { ORIGIN, statusOf, type World, type WorldOptions } from "./world.ts";

let world: World;
let connections = 0;

async function open(options: Partial<WorldOptions> = {}): Promise<void> {
  world = await openChat(["ann", "bob"], options);
}
afterEach(() => world.close());

/** Returns the connection ids of the open rows of a user, oldest first. */
const openRows = async (user: string) =>
  (
    (await world.sql(
      `select connection_id from sallyport_connections where user_id = '${user}' and closed_at is null order by connected_at`,
    )) as { connection_id: string }[]
  ).map(({ connection_id }) => connection_id);

/** Sends the `$connect` of a connection that the local gateway does not have, so no `$disconnect` follows. */
async function connectLost(user: string, view = "/ws/chat"): Promise<number> {
  const token = await world.token(user);
  const response = await world.event(`${view}/connect?ws_token=${token}`, {
    connectionId: `${String(++connections).padStart(15, "L")}=`,
    "x-sallyport-secret": world.secret,
    "x-sallyport-source-ip": "203.0.113.5",
    origin: ORIGIN,
    cookie: `login=${user}:login-of-${user}`,
  });
  return response.status;
}

/** Makes every connection so old that API Gateway must know it. */
const age = () => world.sql("update sallyport_connections set connected_at = connected_at - 60000");

/** Creates a Management API client with the given lookup of connections, or without a lookup. */
const apiWith = (get?: ManagementApi["get"]): ManagementApi => ({
  post: async () => ({ kind: "ok" }),
  delete: async () => ({ kind: "ok" }),
  close: async () => undefined,
  ...(get ? { get } : {}),
});

describe("a user at the limit of open connections", () => {
  test("is rejected with 429, and is accepted after a connection has closed", async () => {
    await open({ limits: { connectionsPerUser: 3 } });
    const sockets = [await world.connect("ann"), await world.connect("ann"), await world.connect("ann")];
    expect(await statusOf(world.connect("ann"))).toBe(429);
    expect(world.decisions.at(-1)).toMatchObject({
      event: "connect",
      reason: "connection-limit",
      userId: "ann",
      message:
        "User ann has reached connectionsPerUser, which allows 3 open connections at the same time. Close one of them, or raise the limit.",
    });
    expect(await statusOf(world.connect("bob"))).toBe(101);
    sockets[0]?.close();
    await expect.poll(() => openRows("ann")).toHaveLength(2);
    expect(await statusOf(world.connect("ann"))).toBe(101);
    expect(await openRows("ann")).toHaveLength(3);
  });

  test("receives no token if the request names the view", async () => {
    await open({ limits: { connectionsPerUser: 1 } });
    await world.connect("ann");
    expect((await world.requestToken("ann")).status).toBe(200);
    const response = await world.requestToken("ann", { view: "/ws/chat" });
    expect(response.status).toBe(429);
    expect(await response.json()).toMatchObject({ error: "Too many connections." });
    expect(world.decisions.at(-1)).toMatchObject({ event: "token", reason: "connection-limit" });
  });

  test("receives a token below the limit or without a limit, and none if it is 0", async () => {
    const tokenStatus = async () => (await world.requestToken("ann", { view: "/ws/chat" })).status;
    await open({ limits: { connectionsPerUser: 2 } });
    await world.connect("ann");
    expect(await tokenStatus()).toBe(200);
    await world.close();
    await open({ limits: { connectionsPerUser: false } });
    await world.connect("ann");
    expect(await tokenStatus()).toBe(200);
    await world.close();
    await open({ limits: { connectionsPerUser: 0 } });
    expect(await tokenStatus()).toBe(429);
  });

  test("receives a token only if a probe closes enough of the connections", async () => {
    const gone = new Set<string>();
    const client = apiWith(async (_endpoint, connectionId) => ({
      kind: gone.has(connectionId) ? "gone" : "ok",
    }));
    await open({ limits: { connectionsPerUser: 2 }, apiGateway: { client } });
    for (const user of ["ann", "ann", "bob"]) expect(await connectLost(user)).toBe(200);
    await world.sql("update sallyport_connections set user_id = 'ann'");
    await age();
    const tokenStatus = async () => (await world.requestToken("ann", { view: "/ws/chat" })).status;
    const [first, second] = await openRows("ann");
    expect(await tokenStatus()).toBe(429);
    expect(await openRows("ann")).toHaveLength(3);
    gone.add(first as string);
    expect(await tokenStatus()).toBe(429);
    expect(await openRows("ann")).toHaveLength(2);
    gone.add(second as string);
    expect(await tokenStatus()).toBe(200);
    expect(await openRows("ann")).toHaveLength(1);
  });

  test("opens exactly the allowed number of connections when connects race in two processes", async () => {
    await open({
      limits: { connectionsPerUser: 5, connectsPerUser: false, tokensPerUser: false },
      instances: 2,
    });
    for (let round = 0; round < 3; round++) {
      const tokens = await Promise.all(Array.from({ length: 30 }, () => world.token("ann")));
      const statuses = await Promise.all(tokens.map((token) => statusOf(world.connect("ann", { token }))));
      expect(statuses.filter((status) => status === 101)).toHaveLength(5);
      expect(statuses.filter((status) => status === 429)).toHaveLength(25);
      expect(await openRows("ann")).toHaveLength(5);
      await world.sallyport.to({ user: "ann" }).close();
      expect(await openRows("ann")).toHaveLength(0);
    }
  });

  test("does not affect the limit of another user when connects race", async () => {
    await open({
      limits: { connectionsPerUser: 2, connectsPerUser: false, tokensPerUser: false },
      instances: 2,
    });
    const connect = async (user: string) => statusOf(world.connect(user));
    const users = Array.from({ length: 24 }, (_, index) => (index % 4 === 0 ? "bob" : "ann"));
    await Promise.all(users.map(connect));
    expect(await openRows("ann")).toHaveLength(2);
    expect(await openRows("bob")).toHaveLength(2);
  });

  test.each([
    [0, [429, 429]],
    [false as const, [101, 101]],
  ])("with %s as the limit receives the statuses %j", async (connectionsPerUser, statuses) => {
    await open({ limits: { connectionsPerUser } });
    expect([await statusOf(world.connect("ann")), await statusOf(world.connect("ann"))]).toEqual(statuses);
  });

  test("is never anonymous, because anonymous connections are not counted", async () => {
    await open({ views: { "/ws/lobby": LobbyView }, limits: { connectionsPerUser: 1 } });
    for (let index = 0; index < 3; index++) expect(await statusOf(world.connect(null))).toBe(101);
  });
});

describe("connections that closed without a $disconnect", () => {
  test("are closed by a probe, and existing connections stay open", async () => {
    await open({ limits: { connectionsPerUser: 4 } });
    const lost = [await connectLost("ann"), await connectLost("ann"), await connectLost("ann")];
    expect(lost).toEqual([200, 200, 200]);
    const socket = await world.connect("ann");
    const [existing] = (await openRows("ann")).slice(-1);
    await age();
    expect(await statusOf(world.connect("ann"))).toBe(101);
    expect(await openRows("ann")).toHaveLength(2);
    expect(await openRows("ann")).toContain(existing);
    expect(await socket.result("whoami")).toMatchObject({ user: "ann" });
    expect(
      await world.sql("select close_reason from sallyport_connections where closed_at is not null"),
    ).toEqual(Array(3).fill({ close_reason: "gone" }));
  });

  test("do not count after the maximum duration of a connection", async () => {
    await open({ limits: { connectionsPerUser: 1 }, apiGateway: { client: apiWith() } });
    expect(await connectLost("ann")).toBe(200);
    expect(await connectLost("ann")).toBe(429);
    await world.sql("update sallyport_connections set connected_at = connected_at - 7500000");
    expect(await connectLost("ann")).toBe(200);
  });

  test("count as open while they are too new for a probe", async () => {
    await open({ limits: { connectionsPerUser: 1 } });
    expect(await connectLost("ann")).toBe(200);
    expect(await statusOf(world.connect("ann"))).toBe(429);
  });

  test("make room for the same number of new connections when connects race", async () => {
    await open({
      limits: { connectionsPerUser: 4, connectsPerUser: false, tokensPerUser: false },
      instances: 2,
    });
    for (let index = 0; index < 4; index++) expect(await connectLost("ann")).toBe(200);
    await age();
    const tokens = await Promise.all(Array.from({ length: 20 }, () => world.token("ann")));
    const statuses = await Promise.all(tokens.map((token) => statusOf(world.connect("ann", { token }))));
    expect(statuses.filter((status) => status === 101)).toHaveLength(4);
    expect(await openRows("ann")).toHaveLength(4);
  });

  test.each<[string, ManagementApi]>([
    ["fails", apiWith(() => Promise.reject(new Error("no route to host")))],
    [
      "throws",
      apiWith(() => {
        throw new Error("a bug");
      }),
    ],
    ["is denied", apiWith(async () => ({ kind: "failed", reason: "status 403" }))],
    ["is throttled", apiWith(async () => ({ kind: "retry", reason: "status 429", isThrottled: true }))],
    ["is not answered", apiWith(() => new Promise(() => undefined))],
    ["is not possible with the app's client", apiWith()],
  ])("count as open if the probe %s", async (_why, client) => {
    await open({ limits: { connectionsPerUser: 1 }, apiGateway: { client } });
    expect(await connectLost("ann")).toBe(200);
    await age();
    expect(await connectLost("ann")).toBe(429);
    expect(await openRows("ann")).toHaveLength(1);
    expect(world.errors).toEqual([]);
  });

  test("count as open if a proxy in front of API Gateway answers 410 with HTML", async () => {
    await open({ limits: { connectionsPerUser: 1 } });
    const { apiId, endpoint } = world.gateway;
    const proxy = createServer((_request, response) => {
      response.writeHead(410, { "content-type": "text/html" }).end("<h1>410 Gone</h1>");
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const socket = await world.connect("ann");
    await age();
    const { port } = proxy.address() as AddressInfo;
    const gateway = { name: "local", apiId, secret: world.secret };
    try {
      await world.sallyport.registerGateway({ ...gateway, endpoint: `http://127.0.0.1:${port}/dev` });
      expect(await statusOf(world.connect("ann"))).toBe(429);
      const report = await world.sallyport.to({ user: "ann" }).send({ type: "news" });
      expect(report).toMatchObject({ sent: 0, gone: 0, failed: 1 });
      expect(Object.keys(report.failures)).toEqual([
        expect.stringMatching(/^status 410 from .*, which is not an answer of API Gateway: "<h1>410 Gone/),
      ]);
      expect(await openRows("ann")).toHaveLength(1);
      await world.sallyport.registerGateway({ ...gateway, endpoint });
      expect(await socket.result("whoami")).toMatchObject({ user: "ann" });
    } finally {
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
    }
  });

  test("are probed once for concurrent connects of a user, at most 20 at the same time", async () => {
    let inFlight = 0;
    let most = 0;
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const client = apiWith(async () => {
      most = Math.max(most, ++inFlight);
      await held;
      inFlight--;
      return { kind: "ok" };
    });
    await open({
      limits: { connectionsPerUser: 25, connectsPerUser: false, tokensPerUser: false },
      apiGateway: { client },
      instances: 1,
    });
    for (let index = 0; index < 25; index++) expect(await connectLost("ann")).toBe(200);
    await age();
    const connecting = Array.from({ length: 5 }, () => connectLost("ann"));
    const spent = "select count(*) as count from sallyport_tokens where spent_at is not null";
    await expect
      .poll(async () => Number(((await world.sql(spent)) as { count: number }[])[0]?.count))
      .toBe(30);
    await expect.poll(() => inFlight).toBe(20);
    release();
    expect(await Promise.all(connecting)).toEqual([429, 429, 429, 429, 429]);
    expect(most).toBe(20);
  });
});

describe("a view with connectionsPerUser of its own", () => {
  class SmallView extends WebSocketView {
    static override signedIn = true;
    static override limits = { connectionsPerUser: 1 };
    ping = handler(() => "pong");
  }
  class OpenView extends WebSocketView {
    static override signedIn = true;
    static override limits = { connectionsPerUser: false };
    ping = handler(() => "pong");
  }

  test("counts only its own connections, and the app's limit counts those of other views", async () => {
    await open({
      views: { "/ws/chat": ChatView, "/ws/lobby": LobbyView, "/ws/small": SmallView, "/ws/open": OpenView },
      limits: { connectionsPerUser: 2 },
    });
    const statuses = async (view: string, count: number) => {
      const seen: number[] = [];
      for (let index = 0; index < count; index++) seen.push(await connectLost("ann", view));
      return seen;
    };
    expect(await statuses("/ws/open", 3)).toEqual([200, 200, 200]);
    expect(await statuses("/ws/small", 2)).toEqual([200, 429]);
    expect(world.decisions.at(-1)?.message).toMatch(
      /^User ann has reached connectionsPerUser of view \/ws\/small, which allows 1 open connection at the same time\./,
    );
    expect(await statuses("/ws/chat", 1)).toEqual([200]);
    expect(await statuses("/ws/lobby", 2)).toEqual([200, 429]);
    expect(await statuses("/ws/chat", 1)).toEqual([429]);
    expect(await statuses("/ws/open", 1)).toEqual([200]);
  });
});
