import { request } from "node:http";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { defineGateway, gatewaySecret } from "../../src/aws.ts";
import { createSallyport, handler, WebSocketView } from "../../src/index.ts";
import { INTERNAL } from "../../src/internal.ts";
import { startLocalGateway } from "../../src/local/emulator.ts";
import { isPostgres, storageAt, watchedStorageAt } from "../postgres/database.ts";
import { ChatView, channels, chat, LobbyView, ran } from "./chat.ts";
import { GatewayServer } from "./gateway-server.ts";
import { type Frame, ORIGIN, Socket, statusOf, World, type WorldOptions } from "./world.ts";

const CONNECTION = "AAAAAAAAAAAAAAA=";

let world: World;

/** Closes the world of the test and opens another one, where ann and bob can use the chat. */
async function reopen(options: Partial<WorldOptions> = {}): Promise<void> {
  await world?.close();
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView, "/ws/lobby": LobbyView },
    ...options,
  });
  for (const user of ["ann", "bob"]) await world.sallyport.access.grant(user, chat.can_use_chat);
}

beforeEach(async () => {
  ran.length = 0;
  await reopen();
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

const last = () => world.decisions.at(-1);

interface Row {
  readonly connection_id: string;
  readonly request_count: number;
  readonly last_seen_at: number;
  readonly disconnected_at: number | null;
  readonly close_reason: string | null;
}

/** Returns the row of the only connection of a user. */
async function rowOf(user: string | null): Promise<Row> {
  const rows = await world.sql(
    `select connection_id, request_count, last_seen_at, disconnected_at, close_reason
      from sallyport_connections where user_id ${user === null ? "is null" : `= '${user}'`}`,
  );
  expect(rows).toHaveLength(1);
  return rows[0] as Row;
}

const isDisconnected = async (user: string) => (await rowOf(user)).disconnected_at !== null;

/** Sends a message event of a connection, as its gateway does. */
const message = (
  connectionId: string,
  body: object,
  headers: Record<string, string> = {},
  view = "/ws/chat",
) =>
  world.event(
    `${view}/default`,
    { connectionId, "x-sallyport-secret": world.secret, ...headers },
    JSON.stringify(body),
  );

/** Sends a POST with only these headers. Unlike fetch(), it adds no Accept or User-Agent header. */
function post(
  path: string,
  headers: Record<string, string>,
  body = "",
): Promise<[status: number, body: string]> {
  return new Promise((resolve, reject) => {
    const options = { method: "POST", headers: { ...headers, "content-length": Buffer.byteLength(body) } };
    request(new URL(path, world.appUrl), options, async (response) => {
      let text = "";
      for await (const chunk of response) text += chunk;
      resolve([response.statusCode ?? 0, text]);
    })
      .on("error", reject)
      .end(body);
  });
}

describe("the identity of a message", () => {
  test("B5 is not that of a connection that has disconnected", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const { connection_id } = await rowOf("ann");
    ann.close();
    await expect.poll(() => isDisconnected("ann")).toBe(true);
    const late = await message(connection_id, { handler: "send_message", message: "late" });
    expect(late.status).toBe(403);
    expect(last()).toMatchObject({ reason: "connection" });
    expect(ran).toEqual([]);
  });

  test("B10 is never read from a cookie, also if the connection has no user", async () => {
    await reopen({ gatewayView: "/ws/lobby" });
    await world.connect(null);
    const { connection_id } = await rowOf(null);
    const call = (name: string) =>
      message(connection_id, { handler: name }, { cookie: "login=ann:login-of-ann" }, "/ws/lobby");
    expect(await (await call("ping")).json()).toEqual({ user: null });
    expect((await call("members_only")).status).toBe(403);
    expect(last()).toMatchObject({ reason: "anonymous", handler: "members_only" });
  });

  test("B60 is denied without an error if the row of its user was deleted", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await world.sql("delete from sallyport_users where id = 'ann'");
    expect(await ann.call("whoami")).toMatchObject({ ok: false, status: 403 });
    expect(await world.sallyport.to({ user: "ann" }).send({ type: "x" })).toMatchObject({ sent: 0 });
    ann.close();
    await expect.poll(() => isDisconnected("ann")).toBe(true);
  });

  test("B57 can be any user id, without a user model", async () => {
    const { access } = world.sallyport;
    for (const user of ["42", "00042", "ann@example.com", "0b1c4a5e-7c1d-4c8e-9a57-0d3f5c2b1a90"]) {
      await access.grant(user, chat.can_use_chat);
      const socket = await world.connect(user);
      expect(await socket.result("whoami")).toMatchObject({ user });
      expect(await world.sallyport.listConnections({ user })).toMatchObject([{ user }]);
      expect(await access.users.get(user)).toMatchObject({ grants: [{ permission: chat.can_use_chat }] });
    }
  });
});

describe("the token endpoint", () => {
  test("B11 denies requests of other sites, without a CSRF check of the app", async () => {
    const cookie = "login=ann:login-of-ann";
    for (const origin of ["https://evil.test", "null", undefined]) {
      for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json"]) {
        const response = await fetch(`${world.appUrl}/api/ws-token`, {
          method: "POST",
          headers: { cookie, "content-type": type, ...(origin === undefined ? {} : { origin }) },
        });
        expect(response.status, `${origin} ${type}`).toBe(403);
        expect(response.headers.get("access-control-allow-origin")).toBeNull();
        expect(last()).toMatchObject({ event: "token", reason: "origin" });
      }
    }
    const read = await fetch(`${world.appUrl}/api/ws-token`, { headers: { cookie, origin: ORIGIN } });
    expect(read.status).toBe(405);
    expect(await world.sql("select * from sallyport_tokens")).toEqual([]);
  });

  test("B12 returns a token that is in no decision, table or default access log", async () => {
    const token = await world.token("ann");
    const cookie = "login=bob:login-of-bob";
    for (const reason of ["session", "token-replayed"]) {
      expect(await statusOf(world.connect("ann", { token, cookie }))).toBe(403);
      expect(last()).toMatchObject({ reason });
    }
    const stored = await Promise.all(
      ["tokens", "decisions", "audit"].map((table) => world.sql(`select * from sallyport_${table}`)),
    );
    const decisions = await world.sallyport.access.audit.decisions();
    expect(decisions).toHaveLength(2);
    const text = JSON.stringify([world.decisions, decisions, stored], (_key, value) =>
      typeof value === "bigint" ? String(value) : value,
    );
    expect(text).not.toContain(token);
    const { accessLog } = defineGateway({
      name: "chat",
      region: "eu-west-1",
      target: "https://www.example.com/ws/chat",
      accessLog: { destinationArn: "arn:aws:logs:eu-west-1:123456789012:log-group:chat" },
    });
    expect(accessLog?.format).toContain("$context.requestId");
    expect(accessLog?.format).not.toMatch(/query|path|url/i);
  });
});

/** Overrides the hooks, and has members that are not handlers. */
class DebugView extends WebSocketView {
  static override signedIn = true;
  ping = handler(() => "pong");
  override connect() {
    ran.push("connect");
  }
  override disconnect() {
    ran.push("disconnect");
  }
  dispatch() {
    ran.push("dispatch");
  }
  permission_denied() {
    ran.push("permission_denied");
  }
  get model() {
    ran.push("model");
    return Map;
  }
}

/** Has a handler named default, which the Python package calls for unknown names. */
class DefaultView extends WebSocketView {
  static override signedIn = true;
  default = handler(() => "default");
  first = handler(() => "first");
}

const starting = (View: typeof WebSocketView, members: object) => () =>
  createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    views: { "/ws/chat": Object.assign(class extends View {}, members) as never },
    authenticate: () => null,
    origins: [ORIGIN],
  });

describe("the handler of a message", () => {
  test("B13 is change_channel only at a view that declares it", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const { connection_id } = await rowOf("ann");
    const change = { handler: "change_channel", channel: "rooms/random" };
    expect((await message(connection_id, change, {}, "/ws/lobby")).status).toBe(403);
    expect(last()).toMatchObject({ view: "/ws/lobby", reason: "handler", handler: "change_channel" });
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
    expect(await ann.result("change_channel", change)).toEqual({ ok: true, channel: "rooms/random" });
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/random"] });
  });

  test("B17 is never a hook, a method or an attribute of the view", async () => {
    await reopen({ views: { "/ws/chat": DebugView } });
    const ann = await world.connect("ann");
    for (const name of ["connect", "disconnect", "dispatch", "permission_denied", "model"]) {
      expect(await ann.call(name), name).toMatchObject({ ok: false, status: 403 });
      expect(last(), name).toMatchObject({ reason: "handler", handler: name });
    }
    expect(await ann.result("ping")).toBe("pong");
    expect(ran).toEqual(["connect"]);
    class WithModel extends DebugView {
      override get model() {
        return Map;
      }
      Group = Map;
    }
    expect(starting(WithModel as never, {})).toThrow(/public field "Group", which is not a handler/);
  });

  test("B19 is the one that the field handler names, whatever action contains", async () => {
    await reopen({ views: { "/ws/chat": DefaultView } });
    const ann = await world.connect("ann");
    const answerTo = async (id: number, fields: object) => {
      ann.send({ id, ...fields });
      return ann.next((frame) => frame.id === id);
    };
    expect(await answerTo(1, { handler: "default", action: "first" })).toMatchObject({ result: "default" });
    expect(await answerTo(2, { handler: "_x", action: "first" })).toMatchObject({ ok: false, status: 403 });
    expect(await answerTo(3, { handler: 5, action: "first" })).toMatchObject({ ok: false, status: 400 });
    expect(await answerTo(4, { action: "first" })).toMatchObject({ result: "first" });
    const inSet = { allowedHandlers: new Set(["first"]) };
    expect(starting(DefaultView, inSet)).toThrow(/allowedHandlers must be an array of handler names/);
    const unknown = { ADDITIONAL_ALLOWED_HANDLERS: ["first"] };
    expect(starting(DefaultView, unknown)).toThrow(/Did you mean "allowedHandlers"/);
  });
});

test("B22 an app does not start with an invalid or undefined default channel", () => {
  for (const defaultChannel of ["bad name!", "rooms/general\n", "x".repeat(129), "nowhere"])
    expect(starting(LobbyView, { allowAnonymous: true, defaultChannel }), defaultChannel).toThrow(
      /defaultChannel ".*" matches no/s,
    );
});

test("B29 connects are counted separately for each gateway", async () => {
  await reopen({ limits: { connectsPerUser: 1, connectsPerIp: 1 } });
  const secret = gatewaySecret();
  const other = await startLocalGateway({ target: `${world.appUrl}/ws/chat/`, port: 0, secret });
  onTestFinished(() => other.close());
  const { apiId, endpoint } = other;
  await world.sallyport.registerGateway({ name: "other", apiId, endpoint, secret });
  const connectToOther = async () => {
    const url = new URL(other.url);
    url.searchParams.set("ws_token", await world.token("ann"));
    return statusOf(Socket.open(url, { origin: ORIGIN, cookie: "login=ann:login-of-ann" }));
  };
  expect(await statusOf(world.connect("ann"))).toBe(101);
  expect(await connectToOther()).toBe(101);
  expect(await statusOf(world.connect("ann"))).toBe(429);
  expect(await connectToOther()).toBe(429);
});

describe("the row of a connection", () => {
  let entered: () => void = () => undefined;
  let held: Promise<void> = Promise.resolve();
  class WaitingView extends ChatView {
    wait_and_move = handler(async ({ move }) => {
      entered();
      await held;
      await move("rooms/random");
    });
    static override allowedHandlers = ["whoami", "change_channel", "wait_and_move"];
  }
  // Each process counts and writes the messages that it received.
  beforeEach(() => reopen({ views: { "/ws/chat": WaitingView }, instances: 1 }));

  /** Writes the collected activity, and returns the number of messages of a user's connection. */
  async function counted(user: string): Promise<number> {
    await world.sallyport.flush();
    return Number((await rowOf(user)).request_count);
  }

  test("B21 keeps its count when the channel changes, and its end when that races with a disconnect", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    for (let times = 0; times < 3; times++) await ann.result("whoami");
    await ann.result("change_channel", { channel: "announcements" });
    expect(await counted("ann")).toBe(4);

    let release: () => void = () => undefined;
    held = new Promise((resolve) => {
      release = resolve;
    });
    const hasEntered = new Promise<void>((resolve) => {
      entered = resolve;
    });
    const { connection_id } = await rowOf("ann");
    const moving = message(connection_id, { handler: "wait_and_move" });
    await hasEntered;
    ann.close();
    await expect.poll(() => isDisconnected("ann")).toBe(true);
    const { disconnected_at } = await rowOf("ann");
    release();
    expect((await moving).status).toBe(403);
    expect(await counted("ann")).toBe(5);
    expect(await rowOf("ann")).toMatchObject({ disconnected_at });
    expect(await world.sql("select * from sallyport_memberships where channel = 'rooms/random'")).toEqual([]);
  });

  test("B21 keeps its count when a send closes it as gone", async () => {
    world.gateway.setFaults({ drop: ({ kind }) => kind === "disconnect" });
    const bob = await world.connect("bob", { channel: "rooms/general" });
    await bob.result("whoami");
    await bob.result("change_channel", { channel: "rooms/random" });
    expect(await counted("bob")).toBe(2);
    // Older than a $connect can be in progress.
    await world.sql("update sallyport_connections set connected_at = connected_at - 60000");
    bob.terminate();
    await expect.poll(() => world.gateway.connectionCount).toBe(0);
    expect(await world.sallyport.to({ user: "bob" }).send({ type: "x" })).toMatchObject({ gone: 1 });
    expect(await rowOf("bob")).toMatchObject({ close_reason: "gone" });
    expect(await counted("bob")).toBe(2);
  });

  test("B64 contains the time of the last message, and a count without the disconnect", async () => {
    const ann = await world.connect("ann");
    await world.sql("update sallyport_connections set last_seen_at = 1");
    for (let times = 0; times < 2; times++) await ann.result("whoami");
    expect(await counted("ann")).toBe(2);
    expect(Number((await rowOf("ann")).last_seen_at)).toBeGreaterThan(1);
    ann.close();
    await expect.poll(() => isDisconnected("ann")).toBe(true);
    expect(await counted("ann")).toBe(2);
  });
});

describe("the headers of an event", () => {
  const connectHeaders = (connectionId = CONNECTION): Record<string, string> => ({
    connectionId,
    "x-sallyport-secret": world.secret,
    "x-sallyport-source-ip": "203.0.113.7",
    origin: ORIGIN,
  });

  test("B31 can contain any Host, and a denial does not name an allowed host or origin", async () => {
    const cookie = "login=ann:login-of-ann";
    const hosts = ["ws.example.com", "ws.example.com:8443", "WS.EXAMPLE.COM", "10.0.0.1", "localhost"];
    for (const [index, host] of hosts.entries()) {
      const path = `/ws/chat/connect?ws_token=${await world.token("ann")}`;
      const headers = { ...connectHeaders(`AAAAAAAAAAAAAA${index}=`), cookie, host };
      expect(await post(path, headers), host).toEqual([200, "{}"]);
    }
    const evil = { ...connectHeaders(), cookie, host: "evil.test", origin: "https://evil.test" };
    const [status, body] = await post(`/ws/chat/connect?ws_token=${await world.token("ann")}`, evil);
    expect([status, JSON.parse(body)]).toEqual([
      403,
      { ok: false, error: "Permission denied.", reference: expect.any(String) },
    ]);
  });

  test("B32 B33 B34 need no Cookie, X-Real-Ip, User-Agent or Sec-WebSocket header", async () => {
    const call = JSON.stringify({ handler: "ping" });
    expect(await post("/ws/lobby/connect", connectHeaders())).toEqual([200, "{}"]);
    const needed = { connectionId: CONNECTION, "x-sallyport-secret": world.secret };
    expect(await post("/ws/lobby/default", needed, call)).toEqual([200, '{"user":null}']);
    expect(await post("/ws/lobby/disconnect", needed)).toEqual([200, "{}"]);
    // A missing header that is needed is rejected. It causes no internal error.
    for (const name of Object.keys(connectHeaders())) {
      const { [name]: _missing, ...headers } = connectHeaders("BBBBBBBBBBBBBBB=");
      const [status] = await post("/ws/lobby/connect", headers);
      expect([400, 403], name).toContain(status);
    }
    for (const name of Object.keys(needed)) {
      const { [name]: _missing, ...headers } = needed as Record<string, string>;
      const [status] = await post("/ws/lobby/default", headers, call);
      expect([400, 403], name).toContain(status);
    }
  });

  test("B62 that cause a denied connect are not revealed by its body", async () => {
    await world.sallyport.access.users.setActive("bob", false);
    const ann = { cookie: "login=ann:login-of-ann" };
    const token = (user: string) => world.token(user);
    const inactive = async () => {
      await world.sallyport.access.users.setActive("bob", true);
      const issued = await token("bob");
      await world.sallyport.access.users.setActive("bob", false);
      return issued;
    };
    const cases: [reason: string, query: Record<string, string>, headers: Record<string, string>][] = [
      ["caller", {}, { "x-sallyport-secret": "0".repeat(64) }],
      ["caller", {}, { "x-amzn-apigateway-api-id": "zzzzzzzzzz" }],
      ["origin", { ws_token: await token("ann") }, { ...ann, origin: "https://evil.test" }],
      ["token-missing", {}, ann],
      ["token-unknown", { ws_token: "0".repeat(64) }, ann],
      ["session", { ws_token: await token("ann") }, {}],
      ["session", { ws_token: await token("ann") }, { cookie: "login=bob:login-of-bob" }],
      ["permission", { ws_token: await token("eve") }, { cookie: "login=eve:login-of-eve" }],
      ["permission", { ws_token: await token("ann"), channel: "rooms/moderators" }, ann],
      ["channel", { ws_token: await token("ann"), channel: "nowhere" }, ann],
      ["authorize", { ws_token: await token("ann"), channel: "notifications_user_bob" }, ann],
      ["inactive", { ws_token: await inactive() }, { cookie: "login=bob:login-of-bob" }],
    ];
    for (const [reason, query, headers] of cases) {
      const path = `/ws/chat/connect?${new URLSearchParams(query)}`;
      const [status, body] = await post(path, { ...connectHeaders(), ...headers });
      expect(last()).toMatchObject({ event: "connect", reason });
      const { reference: _reference, ...answer } = JSON.parse(body) as Frame;
      expect([status, answer], reason).toEqual([403, { ok: false, error: "Permission denied." }]);
    }
  });
});

describe("a send", () => {
  /** Inserts open connections of ann at a gateway that the test controls. */
  async function openAt(count: number): Promise<GatewayServer> {
    const gateway = await GatewayServer.start();
    onTestFinished(() => gateway.close());
    await gateway.open(world, "fake", "ann", 1, count);
    return gateway;
  }

  test("B38 reaches the other recipients when some are throttled or fail, and reports each", async () => {
    const gateway = await openAt(5);
    let throttled = 0;
    gateway.answer = ({ connection }) => {
      if (connection === "00001=") return ++throttled === 1 ? 429 : 200;
      return { "00002=": 403, "00003=": 500 }[connection] ?? 200;
    };
    expect(await world.sallyport.to({ user: "ann" }).send({ type: "x" })).toEqual({
      recipients: 5,
      sent: 3,
      gone: 0,
      denied: 0,
      failed: 2,
      unsent: 0,
      failures: { "status 403": 1, "status 500": 1 },
      cursor: null,
    });
    expect(throttled).toBe(2);
  });

  test("B39 has several calls to the gateway in flight", async () => {
    const gateway = await openAt(40);
    let arrived = 0;
    let answerAll: () => void = () => undefined;
    const allArrived = new Promise<void>((resolve) => {
      answerAll = resolve;
    });
    // A send with one call at a time would never finish.
    gateway.answer = async () => {
      if (++arrived === 10) answerAll();
      await allArrived;
      return 200;
    };
    expect(await world.sallyport.to({ user: "ann" }).send({ type: "x" })).toMatchObject({ sent: 40 });
  });

  test("B41 converts dates and objects with toJSON(), and skips connections of a removed gateway", async () => {
    const ann = await world.connect("ann");
    const { sallyport } = world;
    const price = { toJSON: () => "1.10" };
    const sent = await sallyport.to({ user: "ann" }).send({ type: "sale", at: new Date(0), price });
    expect(sent).toMatchObject({ recipients: 1, sent: 1 });
    expect(await ann.message("sale")).toEqual({
      type: "sale",
      at: "1970-01-01T00:00:00.000Z",
      price: "1.10",
    });
    await expect(sallyport.to({ user: "ann" }).send({ total: 1n })).rejects.toThrow(/^message\.total /);
    await sallyport[INTERNAL].provisioning.gateways.remove("local");
    for (const audience of ["everyone", { user: "ann" }] as const)
      expect(await sallyport.to(audience).send({ type: "x" })).toMatchObject({ recipients: 0, failed: 0 });
  });

  test("B42 to one connection reports whether it was sent, gone or not attempted", async () => {
    const { sallyport } = world;
    const gateway = await openAt(1);
    const send = () => sallyport.to({ connection: "00001" }).send({ type: "x" });
    expect(await send()).toMatchObject({ recipients: 1, sent: 1, gone: 0 });
    gateway.answer = () => 410;
    expect(await send()).toMatchObject({ recipients: 1, sent: 0, gone: 1 });
    const attempts = gateway.calls.length;
    expect(await send()).toMatchObject({ recipients: 0, sent: 0, gone: 0 });
    expect(gateway.calls).toHaveLength(attempts);
  });
});

describe("the indexes of the database", () => {
  interface Index {
    readonly in_table: string;
    readonly name: string;
    readonly is_unique: number | boolean;
    readonly is_partial: number | boolean;
    readonly columns: string;
  }

  const INDEXES = isPostgres
    ? `select t.relname as in_table, i.relname as name, x.indisunique as is_unique, x.indpred is not null as is_partial,
        (select string_agg(a.attname, ',' order by k.n) from unnest(x.indkey) with ordinality k(attnum, n)
          join pg_attribute a on a.attrelid = t.oid and a.attnum = k.attnum) as columns
      from pg_index x join pg_class t on t.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
      where t.relnamespace = current_schema()::regnamespace and t.relname like 'sallyport%'`
    : `select t.name as in_table, i.name as name, i."unique" as is_unique, i.partial as is_partial,
        (select group_concat(c.name) from (select name from pragma_index_info(i.name) order by seqno) c) as columns
      from sqlite_master t, pragma_index_list(t.name) i
      where t.type = 'table' and t.name like 'sallyport%'`;

  test("B73 contain none that begins another one", async () => {
    const indexes = (await world.sql(INDEXES)) as Index[];
    expect(indexes.length).toBeGreaterThan(30);
    const redundant = indexes.filter((one) =>
      indexes.some(
        (other) =>
          one !== other &&
          one.in_table === other.in_table &&
          Boolean(one.is_partial) === Boolean(other.is_partial) &&
          `${other.columns},`.startsWith(`${one.columns},`) &&
          !one.is_unique,
      ),
    );
    expect(redundant).toEqual([]);
  });

  /**
   * Returns the names of the tables of which a statement reads every row, or the rows from an id or a
   * connection time on, which most rows match.
   */
  async function scannedBy(sql: string): Promise<string[]> {
    const aliases = new Map(
      [...sql.matchAll(/"(sallyport_\w+)" as "(\w+)"/g)].map(([, table, alias]) => [alias, table]),
    );
    const plan = (await world.sql(`explain query plan ${sql}`)) as { detail: string }[];
    return plan
      .map(
        ({ detail }) =>
          /^(?:SCAN (\w+)|SEARCH (\w+) .*\((?:id|connection_key|connected_at)>\?)/.exec(detail) ?? [],
      )
      .map(([, scanned, ranged]) => scanned ?? ranged ?? "")
      .map((name) => aliases.get(name) ?? name)
      .filter((name) => name.startsWith("sallyport_"));
  }

  // PostgreSQL scans small tables, whatever indexes they have.
  test.skipIf(isPostgres)("B73 serve each statement of a token request, an event and a send", async () => {
    const statements = new Set<string>();
    await reopen({
      storage: (source) => {
        const storage = watchedStorageAt(source, (sql) => statements.add(sql));
        onTestFinished(() => storage[Symbol.asyncDispose]());
        return storage;
      },
    });
    statements.clear();
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await ann.result("join_room", { channel: "announcements" });
    await ann.result("change_channel", { channel: "rooms/random" });
    await ann.result("leave_room");
    for (const audience of [{ user: "ann" }, { channel: "rooms/random" }])
      await world.sallyport.to(audience).send({ type: "x" });
    await statusOf(world.connect("ann", { token: "0".repeat(64) }));
    ann.close();
    await expect.poll(() => isDisconnected("ann")).toBe(true);
    await world.sallyport.flush();
    const queries = [...statements].filter((sql) => /^(select|insert|update|delete|with) /i.test(sql));
    expect(queries.length).toBeGreaterThan(15);
    const unindexed = 'select "c"."id" from "sallyport_connections" as "c" where "c"."view" = ?';
    expect(await scannedBy(unindexed)).toEqual(["sallyport_connections"]);
    const scanned = (await Promise.all(queries.map(scannedBy))).flat();
    // Both tables have few rows: those of gateways, and those of unfinished revocations.
    const small = ["sallyport_gateways", "sallyport_revocations"];
    expect(scanned.filter((table) => !small.includes(table))).toEqual([]);
  });
});
