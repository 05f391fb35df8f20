import type { Kysely } from "kysely";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
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
}

/** Runs after the permissions of a join were read and before its membership is written. */
let beforeWrite: () => Promise<unknown>;
/** Runs in the transaction of a join, before the statement that writes its membership. */
let beforeJoin: () => Promise<unknown>;
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
        executeBatch: async (...given) => {
          trips++;
          await beforeWrite();
          return storage.executeBatch(...given);
        },
        sharedTransaction: (work, options) =>
          storage.sharedTransaction((db) => work(withHook(db, () => beforeJoin())), options),
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
