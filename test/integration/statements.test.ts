import { afterEach, beforeEach, expect, test } from "vitest";
import { handler, WebSocketView } from "../../src/index.ts";
import type { Database } from "../../src/storage/database.ts";
import { isPostgres, watchedStorageAt } from "../postgres/database.ts";
import { chat, personal, rooms } from "./chat.ts";
import { World } from "./world.ts";

let left: (() => void) | undefined;

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];
  whoami = handler(async ({ user }) => user.id);
  join = handler(async ({ join }) => join("rooms/general"));
  move = handler(async ({ move, connection }) =>
    move(connection.channel === "rooms/general" ? "notifications_user_ann" : "rooms/general"),
  );
  leave = handler(async ({ leave }) => leave("rooms/general"));
  override disconnect() {
    left?.();
  }
}

class OpenView extends WebSocketView {
  static override allowAnonymous = true;
  ping = handler(async () => "pong");
}

let sent: string[];
let storage: (Database & AsyncDisposable) | undefined;
let world: World;

beforeEach(async () => {
  sent = [];
  world = await World.open({
    permissions: [chat],
    channels: [rooms, personal],
    views: { "/ws/chat": ChatView, "/ws/open": OpenView },
    limits: { connectsPerUser: 1000, tokensPerUser: false },
    // Only the statements of one process are counted.
    instances: 1,
    storage: (source) => {
      storage = watchedStorageAt(source, (sql) => sent.push(sql));
      return storage;
    },
  });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
});
afterEach(async () => {
  await world.close();
  await storage?.[Symbol.asyncDispose]();
});

/**
 * Returns the statements of an event, without those that control transactions. It is the shortest list of several runs,
 * because the poller or a read of the list of gateways can run during an event.
 */
async function statementsOf(prepare: () => Promise<() => Promise<unknown>>): Promise<readonly string[]> {
  const lists: string[][] = [];
  for (let times = 0; times < 12; times++) {
    const event = await prepare();
    sent = [];
    await event();
    lists.push(sent.filter((sql) => !/^(begin|commit|set local)/i.test(sql)));
  }
  lists.sort((a, b) => a.length - b.length);
  return lists[0] ?? [];
}

/** Returns the verb and the table of each statement. */
const summarize = (statements: readonly string[]) =>
  statements.map((sql) => {
    const [, verb = ""] = /^(?:with "\w+" as \()?(insert|update|delete|select) /.exec(sql) ?? [];
    const written = /(?:insert into|update|delete from) (?:"\w+"\.)?"sallyport_(\w+)"/.exec(sql);
    const read = /from (?:"\w+"\.)?"sallyport_(\w+)" as "c"/.exec(sql);
    return `${verb} ${(written ?? read)?.[1]}`;
  });

test("a message executes one statement, a read", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  const statements = await statementsOf(async () => () => ann.call("whoami"));
  expect(summarize(statements)).toEqual(["select connections"]);
});

test("a connect executes three statements: token, limits and row", async () => {
  const statements = await statementsOf(async () => {
    const token = await world.token("ann");
    return () => world.connect("ann", { token });
  });
  expect(summarize(statements)).toEqual(["update tokens", "insert counters", "insert connections"]);
});

test("a connect to a channel executes one more statement on SQLite, and none on PostgreSQL", async () => {
  for (const channel of ["rooms/general", "notifications_user_ann"]) {
    const statements = await statementsOf(async () => {
      const token = await world.token("ann");
      return () => world.connect("ann", { token, channel });
    });
    expect(summarize(statements), channel).toEqual([
      "update tokens",
      "insert counters",
      "insert connections",
      ...(isPostgres ? [] : ["insert memberships"]),
    ]);
  }
});

test("a join executes three statements, a move at most four, and a leave two", async () => {
  const ann = await world.connect("ann");
  const inOne = ["select connections", "select connections", "insert memberships"];
  expect(summarize(await statementsOf(async () => () => ann.call("join")))).toEqual(inOne);
  const moved = summarize(await statementsOf(async () => () => ann.call("move")));
  expect(moved).toEqual(isPostgres ? inOne : [...inOne, "delete memberships"]);
  const left = summarize(await statementsOf(async () => () => ann.call("leave")));
  expect(left).toEqual(["select connections", "delete memberships"]);
});

test("a bad token at the limit of its address executes one update and three reads", async () => {
  const guess = () => world.connect("ann", { token: "0".repeat(64) }).catch(() => undefined);
  // The limit counts 20 bad tokens, and 60 decisions of one reason are stored per minute.
  for (let attempt = 0; attempt < 85; attempt++) await guess();
  const statements = await statementsOf(async () => guess);
  expect(world.decisions.at(-1)).toMatchObject({ reason: "limit" });
  const kinds = statements.map((sql) => `${/^\w+/.exec(sql)?.[0]} ${/sallyport_\w+/.exec(sql)?.[0]}`);
  expect(kinds).toEqual([
    "update sallyport_tokens",
    "select sallyport_tokens",
    "select sallyport_counters",
    "select sallyport_counters",
  ]);
});

test("an anonymous connect executes two statements: limits and row", async () => {
  await world.close();
  await storage?.[Symbol.asyncDispose]();
  world = await World.open({
    permissions: [chat],
    views: { "/ws/open": OpenView },
    storage: (source) => {
      storage = watchedStorageAt(source, (sql) => sent.push(sql));
      return storage;
    },
  });
  const statements = await statementsOf(async () => () => world.connect(null));
  expect(summarize(statements)).toEqual(["insert counters", "insert connections"]);
});

test("a disconnect executes one statement, also in a channel", async () => {
  const statements = await statementsOf(async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    return async () => {
      const gone = new Promise<void>((resolve) => {
        left = resolve;
      });
      ann.close();
      await gone;
    };
  });
  expect(summarize(statements)).toEqual(["update connections"]);
});

/** Returns the row of the only connection of a user. */
async function rowOf(user: string) {
  const [row] = (await world.sql(
    `select id, connected_at, last_seen_at, request_count from sallyport_connections where user_id = '${user}'`,
  )) as { id: string; connected_at: string; last_seen_at: string; request_count: number }[];
  return row as NonNullable<typeof row>;
}

test("the activity of all connections is collected and written in one statement", async () => {
  await world.sallyport.access.grant("bob", chat.can_use_chat);
  const [ann, bob] = [
    await world.connect("ann", { channel: "rooms/general" }),
    await world.connect("bob", { channel: "rooms/general" }),
  ];
  for (let times = 0; times < 3; times++) await ann.call("whoami");
  await bob.call("whoami");
  const gone = new Promise<void>((resolve) => {
    left = resolve;
  });
  bob.close();
  await gone;
  expect(await rowOf("ann")).toMatchObject({ request_count: 0 });
  expect(await world.sallyport.to({ channel: "rooms/general" }).preview()).toMatchObject({ recipients: 1 });

  sent = [];
  await expect.poll(() => rowOf("ann")).toMatchObject({ request_count: 3 });
  expect(await rowOf("bob")).toMatchObject({ request_count: 1 });
  expect(sent.filter((sql) => sql.includes("gathered"))).toHaveLength(1);
  expect(await world.sql("select connection_key from sallyport_memberships")).toHaveLength(1);
  const row = await rowOf("ann");
  expect(Number(row.last_seen_at)).toBeGreaterThan(Number(row.connected_at));
  const [listed] = await world.sallyport.listConnections({ user: "ann" });
  expect(listed).toMatchObject({ lastSeenAt: Number(row.last_seen_at), requestCount: 3 });

  await ann.call("whoami");
  await world.sallyport.close();
  expect(await rowOf("ann")).toMatchObject({ request_count: 4 });
});
