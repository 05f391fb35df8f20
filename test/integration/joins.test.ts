import { type Kysely, sql } from "kysely";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { JOINS_AT_ONCE } from "../../src/events/join.ts";
import { defineChannel, definePermissions, handler, WebSocketView } from "../../src/index.ts";
import type { Tables } from "../../src/storage/database.ts";
import { changedStorage, isPostgres, storageAt } from "../postgres/database.ts";
import { World } from "./world.ts";

const chat = definePermissions("chat", { use: "Use", read: "Read the room" });
const rooms = defineChannel("rooms/:slug", { permissionsRequired: [chat.read] });

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  enter = handler(async ({ join }) => join("rooms/one"));
  move = handler(async ({ move }) => move("rooms/two"));
  ping = handler(async () => "pong");
}

/** Runs after the permissions of a join were read and before its membership is written. */
let beforeWrite: (lock: string | undefined) => Promise<unknown>;
/** Runs in the transaction of a join, before the statement that writes its membership. */
let beforeJoin: (db: Kysely<Tables>) => Promise<unknown>;
let trips: number;
let world: World;

beforeEach(async () => {
  beforeWrite = async () => undefined;
  beforeJoin = async () => undefined;
  world = await World.open({
    permissions: [chat],
    channels: [rooms],
    views: { "/ws/chat": ChatView },
    instances: 1,
    storage: (source) => {
      const storage = storageAt(source);
      return changedStorage(storage, {
        executeBatch: async (statements, options) => {
          trips++;
          await beforeWrite(options?.lock);
          return storage.executeBatch(statements, options);
        },
        sharedTransaction: (work, options) =>
          storage.sharedTransaction((db) => work(withHook(db, () => beforeJoin(db))), options),
      });
    },
  });
  await world.sallyport.access.grant("ann", chat.use);
  await world.sallyport.access.grant("ann", chat.read);
});
afterEach(() => world.close());

/** Returns a transaction that calls `hook` before each of its prepared statements. */
function withHook(db: Kysely<Tables>, hook: () => Promise<unknown>): Kysely<Tables> {
  return new Proxy(db, {
    get(target, name) {
      const value = Reflect.get(target, name, target) as unknown;
      if (name === "executeQuery") {
        return async (...given: Parameters<typeof db.executeQuery>) => {
          await hook();
          return target.executeQuery(...given);
        };
      }
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const reasons = () => world.decisions.map(({ reason }) => reason);
const channels = () => world.sql("select channel from sallyport_memberships order by channel");

async function connected() {
  const ann = await world.connect("ann");
  trips = 0;
  return ann;
}

test("a join and a move each write in one round trip on PostgreSQL", async () => {
  const ann = await connected();
  expect(await ann.call("enter")).toMatchObject({ ok: true });
  expect(await ann.call("move")).toMatchObject({ ok: true });
  expect(trips).toBe(isPostgres ? 2 : 0);
  expect(await channels()).toEqual([{ channel: "rooms/two" }]);
});

describe.runIf(isPostgres)("on PostgreSQL", () => {
  beforeEach(async () => {
    for (const user of ["bob", "cat"]) {
      for (const permission of [chat.use, chat.read]) await world.sallyport.access.grant(user, permission);
    }
  });

  test("connects and joins of other connections run while the transaction of a join is open", async () => {
    const [ann, bob] = [await connected(), await world.connect("bob")];
    // After a change of another user, the join takes a transaction.
    beforeWrite = async () => {
      beforeWrite = async () => undefined;
      await world.sallyport.access.grant("eve", chat.use);
    };
    let isOpen = false;
    beforeJoin = async (db) => {
      beforeJoin = async () => undefined;
      isOpen = true;
      // Statements keep the server from ending an idle transaction.
      while (isOpen) await sql`select pg_sleep(0.05)`.execute(db);
    };
    const entering = ann.call("enter");
    await expect.poll(() => isOpen).toBe(true);
    // In one statement, and in a transaction.
    expect(await bob.call("enter")).toMatchObject({ ok: true });
    beforeWrite = async () => {
      beforeWrite = async () => undefined;
      await world.sql("update sallyport_counters set count = count + 1 where key = 'changes recorded'");
    };
    expect(await bob.call("move")).toMatchObject({ ok: true });
    const cat = await world.connect("cat", { channel: "rooms/one" });
    expect(await channels()).toEqual([{ channel: "rooms/one" }, { channel: "rooms/two" }]);
    expect(await cat.call("move")).toMatchObject({ ok: true });
    expect(ann.received).toEqual([]);
    isOpen = false;
    expect(await entering).toMatchObject({ ok: true });
  });

  test("at most four joins of a process write at the same time, and the others wait", async () => {
    const members = await Promise.all(Array.from({ length: 12 }, () => world.connect("ann")));
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let writing = 0;
    beforeWrite = async (lock) => {
      if (!lock?.startsWith("channels of ")) return;
      writing++;
      await held;
    };
    const entering = members.map((member) => member.call("enter"));
    await expect.poll(() => writing).toBe(JOINS_AT_ONCE);
    const bob = await world.connect("bob");
    for (let times = 0; times < 5; times++) expect(await bob.call("ping")).toMatchObject({ ok: true });
    expect(writing).toBe(JOINS_AT_ONCE);
    release();
    for (const answer of await Promise.all(entering)) expect(answer).toMatchObject({ ok: true });
    expect(writing).toBe(12);
  });
});

describe.runIf(isPostgres)("between the permission check and the write of a join", () => {
  test.each([
    ["channel", chat.read, { ok: false, status: 403 }],
    // The connection closes before the answer arrives.
    ["view", chat.use, "closed"],
  ])("a revoked permission of the %s denies a join and a move", async (_name, permission, answer) => {
    for (const name of ["enter", "move"]) {
      await world.sallyport.access.grant("ann", permission);
      const ann = await connected();
      beforeWrite = async () => {
        beforeWrite = async () => undefined;
        await world.sallyport.access.revoke("ann", permission);
      };
      const received = await ann.call(name).catch(() => "closed");
      expect(received).toEqual(typeof answer === "string" ? answer : expect.objectContaining(answer));
      expect(await channels()).toEqual([]);
      ann.close();
    }
  });

  test("a change of another user falls back to a transaction, and the join succeeds", async () => {
    const ann = await connected();
    beforeWrite = () => world.sallyport.access.grant("bob", chat.use);
    expect(await ann.call("enter")).toMatchObject({ ok: true });
    expect(trips).toBe(1);
    expect(await channels()).toEqual([{ channel: "rooms/one" }]);
  });

  test("a closed connection denies the join", async () => {
    const ann = await connected();
    beforeWrite = () => world.sql("update sallyport_connections set closed_at = 1");
    expect(await ann.call("enter")).toMatchObject({ ok: false, status: 403 });
    expect(await channels()).toEqual([]);
  });

  test("a connection that is closed during the transaction of a join denies the join", async () => {
    const ann = await connected();
    // After a change of another user, the join takes a transaction.
    beforeWrite = () => world.sallyport.access.grant("bob", chat.use);
    beforeJoin = () => world.sql("update sallyport_connections set closed_at = 1");
    expect(await ann.call("enter")).toMatchObject({ ok: false, status: 403 });
    expect(await channels()).toEqual([]);
    expect(reasons()).toEqual(["connection"]);
  });
});
