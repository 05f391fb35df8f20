import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { ConfigurationError } from "../../src/errors.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/views/channel.ts";
import type { ConnectContext, DisconnectContext, User } from "../../src/views/context.ts";
import { handler } from "../../src/views/handler.ts";
import { WebSocketView } from "../../src/views/view.ts";
import { storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat, LobbyView } from "./chat.ts";
import { ORIGIN, statusOf, World, type WorldOptions } from "./world.ts";

const views = { "/ws/chat": ChatView, "/ws/lobby": LobbyView };
let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views });
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

async function reopen(options: Partial<WorldOptions>): Promise<World> {
  await world.close();
  world = await World.open({ permissions: [chat], channels, views, ...options });
  return world;
}

test("only invalid tokens count as failed connects of an address, not missing permissions", async () => {
  await reopen({ limits: { failedConnectsPerIp: 3 } });
  for (let attempt = 0; attempt < 6; attempt++) expect(await statusOf(world.connect("eve"))).toBe(403);
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  expect(await statusOf(world.connect("ann"))).toBe(101);
  for (let attempt = 0; attempt < 3; attempt++) {
    expect(await statusOf(world.connect("ann", { token: "0".repeat(64) }))).toBe(403);
  }
  expect(await statusOf(world.connect("ann", { token: "0".repeat(64) }))).toBe(429);
});

describe("a connect without a valid source address", () => {
  const connectStatus = async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const token = await world.token("ann");
    const headers = {
      connectionId: "AAAAAAAAAAAAAAA=",
      "x-sallyport-secret": world.secret,
      cookie: "login=ann:login-of-ann",
      origin: ORIGIN,
    };
    return (await world.event(`/ws/chat/connect?ws_token=${token}`, headers)).status;
  };

  test.each([
    ["with both limits by address", {}, 400],
    ["with the limit of connects alone", { failedConnectsPerIp: false as const }, 400],
    ["with the limit of failures alone", { connectsPerIp: false as const }, 400],
    ["with neither", { connectsPerIp: false as const, failedConnectsPerIp: false as const }, 200],
  ])("is allowed only if no limit counts addresses: %s", async (_what, limits, status) => {
    await reopen({ limits });
    expect(await connectStatus()).toBe(status);
  });

  test("is rejected if the address is not an IP address", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const headers = {
      connectionId: "AAAAAAAAAAAAAAA=",
      "x-sallyport-secret": world.secret,
      "x-sallyport-source-ip": "the moon",
      origin: ORIGIN,
    };
    expect((await world.event("/ws/chat/connect", headers)).status).toBe(400);
  });
});

test("a recheck while the view's connect() runs calls authorize again for the connecting user", async () => {
  const calls: (string | undefined)[] = [];
  let duringConnect: () => Promise<unknown> = async () => undefined;
  const den = defineChannel("den", {
    allowAnonymous: true,
    authorize: ({ user }: { user: User }) => {
      calls.push(user.id);
      return user.id !== "bob";
    },
  });
  class Slow extends WebSocketView {
    static override allowAnonymous = true;
    static override receiveOnly = true;
    override connect = async (_context: ConnectContext) => {
      await duringConnect();
    };
  }
  await reopen({ channels: [den], views: { "/ws/lobby": Slow } });
  await world.connect("ann", { channel: "den" });
  await world.connect(null, { channel: "den" });
  expect(calls).toEqual(["ann", undefined]);
  calls.length = 0;
  let changes = 1;
  duringConnect = async () => {
    if (changes-- > 0) await world.sallyport.access.recheck({ channel: "den" });
  };
  await world.connect("ann:again", { channel: "den" });
  // The recheck also calls it for the two open connections. The last call is for the connecting user.
  expect(calls.filter((id) => id === "ann").length).toBeGreaterThanOrEqual(3);
  expect(calls.at(-1)).toBe("ann");
  calls.length = 0;
  changes = 1;
  await world.connect(null, { channel: "den" });
  // The calls are for the connect, for the open anonymous connection, and again for the connect.
  expect(calls.filter((id) => id === undefined).length).toBeGreaterThanOrEqual(3);
});

test("a send is denied if its permission is revoked while authorize of the channel runs", async () => {
  let duringAuthorize: () => Promise<unknown> = async () => undefined;
  const desk = defineChannel("desk", {
    signedIn: true,
    sendRequired: [chat.can_broadcast_chat],
    authorize: async () => {
      await duringAuthorize();
      return true;
    },
  });
  class DeskView extends WebSocketView {
    static override signedIn = true;
    announce = handler(async ({ to }) => {
      const { sent } = await to({ channel: "desk" }).send({ type: "news" });
      return { sent };
    });
  }
  await reopen({ channels: [desk], views: { "/ws/desk": DeskView }, instances: 1 });
  await world.sallyport.access.grant("ann", chat.can_broadcast_chat);
  const ann = await world.connect("ann", { channel: "desk" });
  expect(await ann.call("announce")).toMatchObject({ ok: true, result: { sent: 1 } });
  duringAuthorize = async () => {
    duringAuthorize = async () => undefined;
    await world.sallyport.access.revoke("ann", chat.can_broadcast_chat);
  };
  expect(await ann.call("announce")).toMatchObject({ ok: false, status: 403 });
});

test("a second connect with the same connection id is rejected, with one authorize call per connect", async () => {
  let calls = 0;
  const den = defineChannel("den", {
    allowAnonymous: true,
    authorize: () => {
      calls++;
      return true;
    },
  });
  await reopen({ channels: [den], views: { "/ws/lobby": LobbyView } });
  const headers = {
    connectionId: "AAAAAAAAAAAAAAA=",
    "x-sallyport-secret": world.secret,
    "x-sallyport-source-ip": "192.0.2.1",
    origin: ORIGIN,
  };
  const connecting = async () => (await world.event("/ws/lobby/connect?channel=den", headers)).status;
  expect(await connecting()).toBe(200);
  expect(await connecting()).toBe(400);
  expect(calls).toBe(2);
});

test("an authorizeMany that returns its input does not admit an anonymous user", async () => {
  const den = defineChannel("den", { allowAnonymous: true, authorizeMany: ({ userIds }) => userIds });
  await reopen({ channels: [den], views: { "/ws/lobby": LobbyView } });
  expect(await statusOf(world.connect(null, { channel: "den" }))).toBe(403);
  expect(await statusOf(world.connect("ann", { channel: "den" }))).toBe(101);
  expect(await statusOf(world.connect(null))).toBe(101);
});

describe("a connect", () => {
  test("passes the handshake request to the view's connect()", async () => {
    let agent: string | null | undefined;
    class Curious extends WebSocketView {
      static override allowAnonymous = true;
      static override receiveOnly = true;
      override connect = ({ request }: ConnectContext) => {
        agent = request.headers.get("x-client");
      };
    }
    await reopen({ views: { "/ws/lobby": Curious } });
    await world.connect(null, { headers: { "x-client": "a browser" } });
    expect(agent).toBe("a browser");
  });

  test("does not call authenticate() if the token alone identifies the user", async () => {
    let calls = 0;
    await reopen({
      token: { binding: "token" },
      authenticate: () => {
        calls++;
        return { userId: "ann", sessionId: "phone" };
      },
    });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const token = await world.token("ann");
    const before = calls;
    await world.connect("ann", { token });
    expect([before > 0, calls]).toEqual([true, before]);
  });

  test("that is denied records user, session, address and origin, with the origin cut to 500 characters", async () => {
    expect(await statusOf(world.connect("eve:phone"))).toBe(403);
    expect(world.decisions.at(-1)).toMatchObject({
      userId: "eve",
      sessionId: expect.stringMatching(/^[0-9a-f]{12}$/),
      origin: ORIGIN,
      sourceIp: "127.0.0.1",
    });
    await statusOf(world.connect(null, { origin: `https://${"a".repeat(600)}.example` }));
    expect(world.decisions.at(-1)).toMatchObject({ reason: "origin" });
    expect(world.decisions.at(-1)?.origin).toHaveLength(500);
  });
});

test("an authorize hook that throws fails the connect with 500, and the error is reported", async () => {
  const failing = defineChannel("failing", {
    signedIn: true,
    authorize: () => {
      throw new Error("the app's database is down");
    },
  });
  await reopen({ channels: [failing] });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  expect(await statusOf(world.connect("ann", { channel: "failing" }))).toBe(500);
  expect(await world.sallyport.listConnections()).toEqual([]);
  expect(world.errors.splice(0).map(String)).toEqual(["Error: the app's database is down"]);
});

test("with binding token, no token is issued if the session ends or changes during the request", async () => {
  let sessionIds = ["desk", "desk"];
  await world.close();
  world = await World.open({ permissions: [chat], channels, views, token: { binding: "token" } });
  const app = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    token: { binding: "token" },
    authenticate: () => {
      const sessionId = sessionIds.shift();
      return sessionId === undefined ? null : { userId: "ann", sessionId };
    },
  });
  const tokenStatus = async () =>
    (await app.fetch(new Request("http://app/api/ws-token", { method: "POST", headers: { origin: ORIGIN } })))
      ?.status;
  const stored = () => world.sql("select hash from sallyport_tokens");
  expect(await tokenStatus()).toBe(200);
  expect(await stored()).toHaveLength(1);
  for (const then of [["desk"], ["desk", "another"]]) {
    sessionIds = then;
    expect(await tokenStatus()).toBe(403);
    expect(await stored()).toHaveLength(1);
  }
  await app.close();
});

test("an app does not remove connections from a channel that only another app declares", async () => {
  const theirs = defineChannel("theirs", { permissionsRequired: [chat.can_use_chat] });
  await reopen({ channels: [...channels, theirs] });
  for (const right of [chat.can_use_chat, chat.can_moderate_chat])
    await world.sallyport.access.grant("ann", right);
  const ann = await world.connect("ann", { channel: "theirs" });
  const errors: unknown[] = [];
  const other = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
    onError: (error) => void errors.push(error),
  });
  await other.access.revoke("ann", chat.can_moderate_chat);
  await other.access.recheck({ user: "ann" });
  expect(await world.sallyport.listConnections({ channel: "theirs" })).toMatchObject([{ user: "ann" }]);
  expect(ann.received).toEqual([]);
  expect(errors).toEqual([]);
  await other.close();
});

test("move() replaces the channel or keeps the same one, and leave() removes it", async () => {
  class Mover extends WebSocketView {
    static override signedIn = true;
    go = handler(async ({ body, move, connection }) => {
      await move((body as { channel: string }).channel);
      return connection.channels;
    });
    out = handler(async ({ leave, connection }) => {
      await leave();
      return connection.channels;
    });
  }
  await reopen({ views: { "/ws/mover": Mover } });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  expect(await ann.result("out")).toEqual([]);
  expect(await ann.result("go", { channel: "rooms/one" })).toEqual(["rooms/one"]);
  expect(await ann.result("go", { channel: "rooms/two" })).toEqual(["rooms/two"]);
  expect(await ann.result("go", { channel: "rooms/two" })).toEqual(["rooms/two"]);
  expect(await world.sallyport.listConnections()).toMatchObject([{ channels: ["rooms/two"] }]);
  expect(await ann.result("out")).toEqual([]);
  expect(await world.sallyport.listConnections()).toMatchObject([{ channels: [] }]);
});

test("accepts a call id of at most 128 characters or a number, and no other type", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  for (const [id, fits] of [
    ["x".repeat(128), true],
    ["x".repeat(129), false],
    [7, true],
    [true, false],
    [null, false],
    [{ id: 1 }, false],
  ] as const) {
    ann.send({ handler: "whoami", id });
    const last = ann.received.length;
    await expect.poll(() => ann.received.length).toBeGreaterThan(last);
    const frame = ann.received.at(-1);
    expect([id, frame?.ok, frame?.id]).toEqual(fits ? [id, true, id] : [id, false, undefined]);
  }
});

test("repeats the id of a call exactly as sent, or rejects it with the rule for ids", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  const rule =
    "The id of a call must be text of at most 128 characters, or a number from -(2^53 - 1) to 2^53 - 1";
  for (const [id, fits] of [
    ["9007199254740991", true],
    ["-9007199254740991", true],
    ["9007199254740992", false],
    ["9007199254740993", false],
    ["12345678901234567890", false],
    ["-0", false],
    ["1.0", false],
    ["1e2", false],
    ["1E2", false],
    ["1e400", false],
    ["0.5", true],
    ["0.50", false],
    ["0.1000000000000000055511151231257827", false],
    ["0", true],
    ['"12345678901234567890"', true],
    ['"\\ud800"', true],
  ] as const) {
    ann.received.length = 0;
    ann.send(`{"handler":"whoami","id":${id}}`);
    const frame = await ann.next(() => true);
    if (fits) expect([frame.ok, JSON.stringify(frame.id)]).toEqual([true, id]);
    else
      expect([id, frame]).toEqual([
        id,
        { ok: false, error: expect.stringContaining(rule), reference: expect.any(String) },
      ]);
  }
});

describe("a message", () => {
  class Mirror extends WebSocketView {
    static override allowAnonymous = true;
    look = handler(({ body }) => {
      const own = Object.getOwnPropertyDescriptors(body as object);
      return Object.entries(own).map(([key, { value, ...kind }]) => ({ key, value, ...kind }));
    });
    strict = handler(
      { body: z.object({ list: z.array(z.object({ name: z.string("x".repeat(300)) })) }) },
      () => "it fits",
    );
    whole = handler({ body: z.custom(() => false, "Never.") }, () => "it fits");
  }
  beforeEach(() => reopen({ views: { "/ws/lobby": Mirror } }));

  test("reaches its handler without id, handler and action, and with any other key as own property", async () => {
    const ann = await world.connect(null);
    ann.send(
      '{"id":"1","handler":"look","action":"look","a":1,"__proto__":2,"constructor":3,"toString":null}',
    );
    const { result } = await ann.next(({ id }) => id === "1");
    const plain = { writable: true, enumerable: true, configurable: true };
    expect(result).toEqual([
      { key: "a", value: 1, ...plain },
      { key: "__proto__", value: 2, ...plain },
      { key: "constructor", value: 3, ...plain },
      { key: "toString", value: null, ...plain },
    ]);
  });

  test("with an infinite number as id is rejected as malformed", async () => {
    const ann = await world.connect(null);
    ann.send('{"id":1e999,"handler":"look"}');
    await expect.poll(() => world.decisions.at(-1)).toMatchObject({ reason: "malformed", status: 400 });
  });

  test("that fails its schema returns a short error, and the decision contains the failing path", async () => {
    const ann = await world.connect(null);
    expect(await ann.call("strict", { list: [{ name: "a" }, { name: 1 }] })).toMatchObject({
      status: 400,
      error: "x".repeat(200),
    });
    expect(world.decisions.at(-1)?.message).toContain("the schema of strict at list.1.name: xxx");
    await ann.call("whole");
    expect(world.decisions.at(-1)?.message).toContain("the schema of whole at body: Never.");
    const long = { list: Array.from({ length: 500 }, () => ({})) };
    await ann.call("strict", long);
    expect(world.decisions.at(-1)?.message.length).toBeLessThan(3000);
  });

  test("is denied if its handler is unknown, and the decision lists the existing handlers", async () => {
    const ann = await world.connect(null);
    expect(await ann.call("n".repeat(300))).toMatchObject({ ok: false, status: 403 });
    expect(world.decisions.at(-1)?.handler).toBe("n".repeat(200));
    expect(world.decisions.at(-1)?.message).toMatch(/Call one of: look, strict, whole\.$/);
  });

  test("does not show its handler a channel that is no longer declared", async () => {
    await reopen({ views });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await world.sql("insert into sallyport_memberships select id, 'gone', 1 from sallyport_connections");
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
  });
});

describe("access changes", () => {
  const invalidChanges: readonly (readonly [
    what: string,
    change: (access: World["sallyport"]["access"]) => Promise<unknown>,
  ])[] = [
    ["a change of an unknown kind", (access) => access.preview({ kind: "abolish" } as never)],
    ["nothing", (access) => access.preview(null as never)],
    ["a recheck of nobody", (access) => access.recheck({} as never)],
    ["a recheck of two things", (access) => access.recheck({ user: "ann", channel: "rooms/a" } as never)],
    ["a recheck of a channel that is none", (access) => access.recheck({ channel: "nowhere" })],
    ["a recheck of no name", (access) => access.recheck({ channel: 7 as never })],
    ["a grant of no name", (access) => access.grant("ann", 7 as never)],
    ["a revocation of no name", (access) => access.revoke("ann", 7 as never)],
    ["a pruning of one name", (access) => access.permissions.prune("chat.old" as never)],
    ["a pruning of no names", (access) => access.permissions.prune([7] as never)],
    [
      "a pruning of names, and of one that is none",
      (access) => access.permissions.prune(["chat.old", 7] as never),
    ],
    ["options that are none", (access) => access.revoke("ann", chat.can_use_chat, null as never)],
    [
      "a reason that cannot be kept",
      (access) => access.revoke("ann", chat.can_use_chat, { reason: 7 as never }),
    ],
    ["an end that is text", (access) => access.grant("ann", chat.can_use_chat, { until: "soon" as never })],
  ];
  test.each(invalidChanges)("are rejected without a write: %s", async (_what, change) => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const before = await world.sallyport.access.audit.list();
    const error = await change(world.sallyport.access).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(await world.sallyport.access.audit.list()).toEqual(before);
    expect(await world.sql("select id from sallyport_revocations")).toEqual([]);
    expect(await world.sallyport.access.users.hasPermission("ann", chat.can_use_chat)).toBe(true);
  });

  test.each<[what: string, names: string[]]>([
    ["no permission at all", []],
    ["one that nobody has", ["chat.forgotten"]],
  ])("have no effect and return an empty list for pruning %s", async (_what, names) => {
    expect(await world.sallyport.access.permissions.prune(names)).toEqual([]);
    expect(await world.sallyport.access.audit.list()).toEqual([]);
    expect(await world.sql("select id from sallyport_revocations")).toEqual([]);
  });

  test("prune the existing permissions of a list and ignore unknown names", async () => {
    await world.sql(
      "insert into sallyport_permissions (name, label, created_at) values ('chat.old', 'Old', 0)",
    );
    expect(await world.sallyport.access.permissions.prune(["chat.forgotten", "chat.old"])).toEqual([
      "chat.old",
    ]);
    expect(await world.sallyport.access.audit.list()).toMatchObject([
      { details: { permissions: ["chat.old"] } },
    ]);
  });
});

describe("a disconnect", () => {
  interface Departure {
    readonly view: string;
    readonly user: string | undefined;
    readonly channels: readonly string[];
    readonly code: number | undefined;
    readonly reason: string | undefined;
  }
  let departures: Departure[];
  let fails = false;

  class HallView extends WebSocketView {
    static override allowAnonymous = true;
    ping = handler(async () => "pong");
    override async disconnect({ userId, connection, code, reason, to }: DisconnectContext) {
      if (fails) throw new Error("a bug in the app");
      departures.push({ view: "hall", user: userId, channels: connection.channels, code, reason });
      if (connection.channel) await to({ channel: connection.channel }).send({ type: "left", who: userId });
    }
  }
  class OtherView extends WebSocketView {
    static override allowAnonymous = true;
    ping = handler(async () => "pong");
    override disconnect({ userId, connection, code, reason }: DisconnectContext) {
      departures.push({ view: "other", user: userId, channels: connection.channels, code, reason });
    }
  }

  beforeEach(async () => {
    [departures, fails] = [[], false];
    await reopen({
      channels: [defineChannel("open", { allowAnonymous: true })],
      views: { "/ws/hall": HallView, "/ws/other": OtherView },
    });
  });

  const connectionOf = async () =>
    (
      (await world.sql("select connection_id from sallyport_connections order by connected_at, id")) as {
        connection_id: string;
      }[]
    )[0]?.connection_id as string;
  const disconnect = (path: string, connectionId: string, headers: Record<string, string> = {}) =>
    world.event(path, { connectionId, "x-sallyport-secret": world.secret, ...headers });

  test("calls disconnect() of the connection's view once, with code and reason, and it can send", async () => {
    await world.connect("ann", { channel: "open" });
    const connection = await connectionOf();
    const bob = await world.connect("bob", { channel: "open" });
    const headers = { "x-sallyport-disconnect-code": "1001", "x-sallyport-disconnect-reason": "Going away" };
    expect((await disconnect("/ws/other/disconnect", connection, headers)).status).toBe(200);
    expect((await disconnect("/ws/other/disconnect", connection, headers)).status).toBe(200);
    expect(departures).toEqual([
      { view: "hall", user: "ann", channels: ["open"], code: 1001, reason: "Going away" },
    ]);
    expect(await bob.message("left")).toMatchObject({ who: "ann" });
    expect((await disconnect("/ws/hall/disconnect", "AAAAAAAAAAAAAAA=")).status).toBe(200);
    expect(departures).toHaveLength(1);
  });

  test.each(["", "x1001", "1001x", "1.5", "-1", "1".repeat(16)])(
    "has no code if the header contains %j",
    async (code) => {
      await world.connect("ann");
      await disconnect("/ws/hall/disconnect", await connectionOf(), { "x-sallyport-disconnect-code": code });
      expect(departures).toMatchObject([{ code: undefined, channels: [] }]);
    },
  );

  test("closes the connection in the database and reports the error if its hook throws", async () => {
    await world.connect("ann");
    fails = true;
    expect((await disconnect("/ws/hall/disconnect", await connectionOf())).status).toBe(200);
    expect(await world.sallyport.listConnections()).toEqual([]);
    expect(world.errors.splice(0).map(String)).toEqual(["Error: a bug in the app"]);
  });
});

test("with the binding token, a request gets no token if its user changes while it is handled", async () => {
  let calls = 0;
  await reopen({
    token: { binding: "token" },
    instances: 1,
    // Without a session id, only the user distinguishes the two.
    authenticate: () => ({ userId: ++calls % 2 === 1 ? "ann" : "bob" }),
  });
  expect((await world.requestToken("ann")).status).toBe(403);
  const tokens = await world.sql("select hash from sallyport_tokens");
  expect(tokens).toEqual([]);
});
