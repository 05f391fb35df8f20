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
  move = handler(async ({ move, session }) =>
    move(session.channel === "rooms/general" ? "notifications_user_ann" : "rooms/general"),
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
    // What is counted is what one process asks.
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
 * What an event asks of the database, the ends of transactions aside: the shortest list of several, since now and then the loop,
 * or the list of gateways, is due meanwhile.
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

/** What each statement does first, and to which table of ours. */
const deeds = (statements: readonly string[]) =>
  statements.map((sql) => {
    const [, verb = ""] = /^(?:with "\w+" as \()?(insert|update|delete|select) /.exec(sql) ?? [];
    const written = /(?:insert into|update|delete from) (?:"\w+"\.)?"sallyport_(\w+)"/.exec(sql);
    const read = /from (?:"\w+"\.)?"sallyport_(\w+)" as "s"/.exec(sql);
    return `${verb} ${(written ?? read)?.[1]}`;
  });

test("a message is one statement, a read", async () => {
  const ann = await world.connect("ann", { channel: "rooms/general" });
  const statements = await statementsOf(async () => () => ann.call("whoami"));
  expect(deeds(statements)).toEqual(["select sessions"]);
});

test("a connect is three statements: token, limits, row", async () => {
  const statements = await statementsOf(async () => {
    const token = await world.token("ann");
    return () => world.connect("ann", { token });
  });
  expect(deeds(statements)).toEqual(["update tokens", "insert counters", "insert sessions"]);
});

test("a connect to a channel joins in the row's statement where a WITH may write, and in the row's transaction elsewhere", async () => {
  for (const channel of ["rooms/general", "notifications_user_ann"]) {
    const statements = await statementsOf(async () => {
      const token = await world.token("ann");
      return () => world.connect("ann", { token, channel });
    });
    expect(deeds(statements), channel).toEqual([
      "update tokens",
      "insert counters",
      "insert sessions",
      ...(isPostgres ? [] : ["insert memberships"]),
    ]);
  }
});

test("a join is a read of the permissions, and the membership in one statement where the database has a WITH that writes", async () => {
  const ann = await world.connect("ann");
  const inOne = ["select sessions", "select sessions", "insert memberships"];
  expect(deeds(await statementsOf(async () => () => ann.call("join")))).toEqual(inOne);
  const moved = deeds(await statementsOf(async () => () => ann.call("move")));
  expect(moved).toEqual(isPostgres ? inOne : [...inOne, "delete memberships"]);
  const left = deeds(await statementsOf(async () => () => ann.call("leave")));
  expect(left).toEqual(["select sessions", "delete memberships"]);
});

test("a bad token at the limit of its address is an update that matches no row, and reads", async () => {
  const guess = () => world.connect("ann", { token: "0".repeat(64) }).catch(() => undefined);
  // 20 are counted, and 60 decisions of one reason are stored per minute.
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

test("an anonymous connect is two statements: limits and row", async () => {
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
  expect(deeds(statements)).toEqual(["insert counters", "insert sessions"]);
});

test("a disconnect is one statement, in a channel too", async () => {
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
  expect(deeds(statements)).toEqual(["update sessions"]);
});

/** The row of the one session of a user. */
async function rowOf(user: string) {
  const [row] = (await world.sql(
    `select id, connected_at, last_seen_at, request_count from sallyport_sessions where user_id = '${user}'`,
  )) as { id: string; connected_at: string; last_seen_at: string; request_count: number }[];
  return row as NonNullable<typeof row>;
}

test("what need not be written at once is gathered, and written in one statement for all sessions within seconds", async () => {
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
  expect(await world.sql("select session_id from sallyport_memberships")).toHaveLength(1);
  const row = await rowOf("ann");
  expect(Number(row.last_seen_at)).toBeGreaterThan(Number(row.connected_at));
  const [told] = await world.sallyport.listSessions({ user: "ann" });
  expect(told).toMatchObject({ lastSeenAt: Number(row.last_seen_at), requestCount: 3 });

  await ann.call("whoami");
  await world.sallyport.close();
  expect(await rowOf("ann")).toMatchObject({ request_count: 4 });
});
