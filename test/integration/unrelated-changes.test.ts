import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { defineChannel, definePermissions, handler, type Sallyport, WebSocketView } from "../../src/index.ts";
import { INTERNAL } from "../../src/internal.ts";
import type { Database } from "../../src/storage/database.ts";
import { storageAt, watchedStorageAt } from "../postgres/database.ts";
import { statusOf, World } from "./world.ts";

const chat = definePermissions("chat", { use: "Use", other: "Something else" });

/** Runs in each hook before it allows: `authorize` and `authorizeMany` of the channel, and `authorize` of a handler. */
let duringHook: () => Promise<unknown>;
let hookCalls: number;
async function allowed(): Promise<true> {
  hookCalls++;
  await duringHook();
  return true;
}

const rooms = defineChannel("rooms/:slug", {
  permissionsRequired: [chat.use],
  authorize: async ({ params }) => params.slug !== "hooked" || allowed(),
  authorizeMany: async ({ userIds, params }) => {
    if (params.slug === "news") await allowed();
    return userIds;
  },
});

class ChatView extends WebSocketView {
  static override permissionsRequired = [chat.use];
  enter = handler(async ({ join }) => join("rooms/hooked"));
  move = handler(async ({ move }) => move("rooms/hooked"));
  checked = handler({ authorize: allowed }, async () => "done");
}

let sent: string[];
let storage: (Database & AsyncDisposable) | undefined;
let world: World;
let other: Sallyport;

beforeEach(async () => {
  [sent, hookCalls] = [[], 0];
  duringHook = async () => undefined;
  world = await World.open({
    permissions: [chat],
    channels: [rooms],
    views: { "/ws/chat": ChatView },
    limits: { connectsPerUser: 1000, tokensPerUser: false },
    // A change applies immediately in its own process. Separate tests cover changes by other processes.
    instances: 1,
    storage: (source) => {
      storage = watchedStorageAt(source, (sql) => sent.push(sql));
      return storage;
    },
  });
  other = world.sallyport[INTERNAL].with({ storage: storageAt(world.database) });
  const { access } = world.sallyport;
  await access.grant({ group: "Crew" }, chat.use);
  await access.grant({ group: "Crew" }, chat.other);
  await access.grant({ group: "Strangers" }, chat.other);
  await access.users.addToGroup("stranger", "Strangers");
  for (const user of ["ann", "bob", "eve"]) await access.users.addToGroup(user, "Crew");
});
afterEach(async () => {
  await other.close();
  await world.close();
  await storage?.[Symbol.asyncDispose]();
});

let strangers = 0;
/** Makes changes that remove no permission from the crew, and that affect no channel of these tests. */
async function changeOthers(): Promise<void> {
  const { access } = world.sallyport;
  const stranger = `stranger ${strangers++}`;
  await access.grant(stranger, chat.use);
  await access.revoke(stranger, chat.use);
  await access.grant("ann", chat.other, { until: Date.now() + 3_600_000 + strangers });
  await access.recheck({ channel: "rooms/other" });
  await access.revoke({ group: "Strangers" }, chat.other);
  await access.grant({ group: "Strangers" }, chat.other);
}

const reasons = () => world.decisions.map(({ reason }) => reason);

describe("while permissions of other users change", () => {
  beforeEach(() => {
    duringHook = changeOthers;
  });

  test.each(["enter", "move"])("%s calls authorize once", async (name) => {
    const ann = await world.connect("ann");
    await ann.result(name);
    expect(hookCalls).toBe(1);
  });

  test("a connect with a channel calls authorize once", async () => {
    await world.connect("ann", { channel: "rooms/hooked" });
    expect(hookCalls).toBe(1);
  });

  test("a message calls authorize of its handler once", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    expect(await ann.result("checked")).toBe("done");
    expect(hookCalls).toBe(1);
  });

  test("a send reads each recipient once, and calls authorizeMany once", async () => {
    const sockets = [];
    for (const user of ["ann", "bob", "eve"])
      sockets.push(await world.connect(user, { channel: "rooms/news" }));
    // The first poll of a process counts as a change for all users.
    await polledAfter(() => other.access.grant("stranger", chat.other));
    sent = [];
    const report = await world.sallyport.to({ channel: "rooms/news" }).send({ type: "news" });
    expect(report).toMatchObject({ recipients: 3, sent: 3 });
    for (const socket of sockets) await socket.message("news");
    expect([hookCalls, pagesRead()]).toEqual([1, 1]);
  });
});

/** Counts statements that read recipients. Those that also read channels of connections enforce changes. */
const pagesRead = () =>
  sent.filter((sql) => /^select .*sallyport_memberships" as "joined"/.test(sql) && !/as "channels"/.test(sql))
    .length;

/** Resolves when this process has read the changes of another one. */
async function polledAfter(change: () => Promise<unknown>): Promise<void> {
  await change();
  sent = [];
  await expect
    .poll(() => sent.filter((sql) => /from .*"sallyport_changes" as "change"/.test(sql)).length)
    .toBeGreaterThan(1);
}

describe("while another process changes permissions", () => {
  const changes = {
    "of other users": async () => {
      await other.access.grant("stranger", chat.use);
      await other.access.revoke("stranger", chat.use);
      await other.access.revoke({ group: "Strangers" }, chat.other);
    },
    "of recipients, and only adds some": async () => {
      await other.access.grant("ann", chat.other);
      await other.access.grant({ group: "Crew" }, chat.other, { until: Date.now() + 3_600_000 });
      await other.access.users.addToGroup("bob", "Strangers");
    },
  };
  test.each(Object.entries(changes))("%s, a send reads each recipient once", async (_what, change) => {
    await world.sallyport.access.grant("ann", chat.use);
    const ann = await world.connect("ann", { channel: "rooms/news" });
    const bob = await world.connect("bob", { channel: "rooms/news" });
    await polledAfter(() => other.access.grant("stranger", chat.other));
    let read = 0;
    duringHook = async () => {
      read += pagesRead();
      await polledAfter(change);
    };
    sent = [];
    const report = await world.sallyport.to({ channel: "rooms/news" }).send({ type: "news" });
    expect(report).toMatchObject({ recipients: 2, sent: 2 });
    await Promise.all([ann.message("news"), bob.message("news")]);
    expect([hookCalls, read + pagesRead()]).toEqual([1, 1]);
  });

  test("and closes a connection, this connection receives nothing more", async () => {
    const sockets = [];
    for (const user of ["ann", "bob", "eve"])
      sockets.push(await world.connect(user, { channel: "rooms/news" }));
    await polledAfter(() => other.access.grant("stranger", chat.other));
    duringHook = async () => {
      if (hookCalls === 1) await polledAfter(() => other.to({ user: "bob" }).close());
    };
    const report = await world.sallyport.to({ channel: "rooms/news" }).send({ type: "news" });
    expect(report).toMatchObject({ recipients: 3, sent: 2, denied: 1 });
    expect(sockets[1]?.received.filter(({ type }) => type === "news")).toEqual([]);
  });

  test("of recipients, a send reads the page once more and calls authorizeMany once more", async () => {
    const users = Array.from({ length: 12 }, (_, index) => `user ${index}`);
    for (const user of users) await world.sallyport.access.users.addToGroup(user, "Crew");
    const sockets = [];
    for (const user of users) sockets.push(await world.connect(user, { channel: "rooms/news" }));
    await polledAfter(() => other.access.grant("stranger", chat.other));
    let read = 0;
    duringHook = async () => {
      if (hookCalls > 1) return;
      read += pagesRead();
      await polledAfter(async () => {
        await other.access.revoke({ group: "Crew" }, chat.other);
        await other.access.users.removeFromGroup("user 3", "Crew");
      });
    };
    sent = [];
    const report = await world.sallyport.to({ channel: "rooms/news" }).send({ type: "news" });
    expect(report).toMatchObject({ recipients: 12, sent: 11, denied: 1 });
    for (const [index, socket] of sockets.entries()) if (index !== 3) await socket.message("news");
    expect(sockets[3]?.received.filter(({ type }) => type === "news")).toEqual([]);
    expect([hookCalls, read + pagesRead()]).toEqual([2, 2]);
  });
});

describe("while the user's own permissions keep changing", () => {
  beforeEach(() => {
    duringHook = () => world.sallyport.access.recheck({ user: "ann" });
  });

  test.each(["enter", "move"])("%s is denied after 20 calls of authorize", async (name) => {
    const ann = await world.connect("ann");
    expect(await ann.call(name)).toMatchObject({ ok: false, status: 403 });
    expect([hookCalls, reasons()]).toEqual([20, ["unstable"]]);
  });

  test("a connect with a channel is denied after 20 calls of authorize", async () => {
    expect(await statusOf(world.connect("ann", { channel: "rooms/hooked" }))).toBe(403);
    expect([hookCalls, reasons()]).toEqual([20, ["unstable"]]);
  });

  test("a message is denied after 20 calls of authorize", async () => {
    const ann = await world.connect("ann");
    expect(await ann.call("checked")).toMatchObject({ ok: false, status: 403 });
    expect([hookCalls, reasons()]).toEqual([20, ["unstable"]]);
  });

  test("a recipient of a send is denied, and the others receive the message", async () => {
    const ann = await world.connect("ann", { channel: "rooms/news" });
    const bob = await world.connect("bob", { channel: "rooms/news" });
    const report = await world.sallyport.to({ channel: "rooms/news" }).send({ type: "news" });
    expect(report).toMatchObject({ recipients: 2, sent: 1, denied: 1 });
    await bob.message("news");
    expect(ann.received.filter(({ type }) => type === "news")).toEqual([]);
    expect([hookCalls, reasons()]).toEqual([20, ["unstable"]]);
  });
});
