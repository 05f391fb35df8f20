import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { defineChannel, definePermissions, handler, WebSocketView } from "../../src/index.ts";
import { changedStorage, isPostgres, storageAt } from "../postgres/database.ts";
import { World } from "./world.ts";

const chat = definePermissions("chat", { use: "Use", read: "Read the room" });
const rooms = defineChannel("rooms/:slug", { permissionsRequired: [chat.read] });

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  enter = handler(async ({ join }) => join("rooms/one"));
  move = handler(async ({ move }) => move("rooms/two"));
}

/** What happens after the permissions of a join were read, and before its membership is written. */
let meanwhile: () => Promise<unknown>;
let trips: number;
let world: World;

beforeEach(async () => {
  meanwhile = async () => undefined;
  world = await World.open({
    permissions: [chat],
    channels: [rooms],
    views: { "/ws/chat": ChatView },
    instances: 1,
    storage: (source) => {
      const storage = storageAt(source);
      return changedStorage(storage, {
        writeInOneTrip: async (...given) => {
          trips++;
          await meanwhile();
          return storage.writeInOneTrip(...given);
        },
      });
    },
  });
  await world.sallyport.access.grant("ann", chat.use);
  await world.sallyport.access.grant("ann", chat.read);
});
afterEach(() => world.close());

const channels = () => world.sql("select channel from sallyport_memberships order by channel");

async function connected() {
  const ann = await world.connect("ann");
  trips = 0;
  return ann;
}

test("a join, a move and a leave take one trip each to write, where the database can", async () => {
  const ann = await connected();
  expect(await ann.call("enter")).toMatchObject({ ok: true });
  expect(await ann.call("move")).toMatchObject({ ok: true });
  expect(trips).toBe(isPostgres ? 2 : 0);
  expect(await channels()).toEqual([{ channel: "rooms/two" }]);
});

describe.runIf(isPostgres)("between the permissions of a join and its membership", () => {
  test.each([
    ["channel", chat.read, { ok: false, status: 403 }],
    // The connection is closed before the answer.
    ["view", chat.use, "closed"],
  ])("the end of the permission of the %s denies a join and a move", async (_name, permission, answer) => {
    for (const name of ["enter", "move"]) {
      await world.sallyport.access.grant("ann", permission);
      const ann = await connected();
      meanwhile = async () => {
        meanwhile = async () => undefined;
        await world.sallyport.access.revoke("ann", permission);
      };
      const received = await ann.call(name).catch(() => "closed");
      expect(received).toEqual(typeof answer === "string" ? answer : expect.objectContaining(answer));
      expect(await channels()).toEqual([]);
      ann.close();
    }
  });

  test("a change that concerns another user leads to the transaction, which joins", async () => {
    const ann = await connected();
    meanwhile = () => world.sallyport.access.grant("bob", chat.use);
    expect(await ann.call("enter")).toMatchObject({ ok: true });
    expect(trips).toBe(1);
    expect(await channels()).toEqual([{ channel: "rooms/one" }]);
  });

  test("the end of the connection denies the join", async () => {
    const ann = await connected();
    meanwhile = () => world.sql("update sallyport_sessions set closed_at = 1");
    expect(await ann.call("enter")).toMatchObject({ ok: false, status: 403 });
    expect(await channels()).toEqual([]);
  });
});
