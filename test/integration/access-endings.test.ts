import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { definePermissions } from "../../src/access/permissions.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/view/channel.ts";
import { storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat } from "./chat.ts";
import { ORIGIN, revoked, type Socket, World } from "./world.ts";

const views = { "/ws/chat": ChatView };

let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views });
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** The socket hears that its view is lost, after what it heard before, and is closed. */
async function expectClosed(socket: Socket, ...before: unknown[]): Promise<void> {
  expect((await socket.closed).code).toBe(1000);
  expect(socket.received.filter((frame) => frame.type !== undefined)).toEqual([...before, revoked()]);
}

/** The socket hears that it has left the channel, and goes on. */
async function expectLeft(socket: Socket, channel: string): Promise<void> {
  expect(await socket.message("sallyport.revoked")).toEqual(revoked(channel));
  expect(await socket.result("whoami")).toMatchObject({ channels: [] });
  expect(await world.sallyport.to({ channel }).send({ type: "x" })).toMatchObject({ recipients: 0 });
}

describe("whatever a right rested on, its sockets end with it", () => {
  test("a permission taken from a group: members lose the view, others keep it", async () => {
    await world.sallyport.access.grant({ group: "Chatters" }, chat.can_use_chat);
    await world.sallyport.access.addToGroup("ann", "Chatters");
    await world.sallyport.access.addToGroup("bob", "Chatters");
    await world.sallyport.access.grant("bob", chat.can_use_chat);
    const [ann, bob] = [await world.connect("ann"), await world.connect("bob")];
    await world.sallyport.access.revoke({ group: "Chatters" }, chat.can_use_chat);
    await expectClosed(ann);
    expect(await bob.result("whoami")).toMatchObject({ user: "bob" });
  });

  test("a group that is deleted: its members lose what it gave, and only that", async () => {
    await world.sallyport.access.grant({ group: "Moderators" }, chat.can_moderate_chat);
    for (const user of ["ann", "bob"]) await world.sallyport.access.addToGroup(user, "Moderators");
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await world.sallyport.access.grant("bob", chat.can_use_chat);
    const bob = await world.connect("bob", { channel: "rooms/moderators" });
    await world.sallyport.access.revoke("bob", chat.can_use_chat);
    await bob.message("sallyport.revoked");
    expect(await world.sallyport.access.deleteGroup("Moderators")).toBe(true);
    await expectClosed(bob, revoked("rooms/moderators"));
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
    expect(await world.sallyport.access.deleteGroup("Moderators")).toBe(false);
    expect(await world.sql("select * from sallyport_evictions")).toEqual([]);
    expect(await world.sql("select * from sallyport_eviction_users")).toEqual([]);
  });

  test("a member who is removed from the group; the right regained lets the same socket rejoin", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant({ group: "Moderators" }, chat.can_moderate_chat);
    await world.sallyport.access.addToGroup("ann", "Moderators");
    const ann = await world.connect("ann", { channel: "rooms/moderators" });
    await world.sallyport.access.removeFromGroup("ann", "Moderators");
    await expectLeft(ann, "rooms/moderators");
    expect(await ann.call("join_room", { channel: "rooms/moderators" })).toMatchObject({ status: 403 });
    await world.sallyport.access.addToGroup("ann", "Moderators");
    await ann.result("join_room", { channel: "rooms/moderators" });
    expect(await world.sallyport.to({ channel: "rooms/moderators" }).send({ type: "x" })).toMatchObject({
      sent: 1,
    });
  });

  test("a user who is deactivated", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    expect(await world.sallyport.access.setActive("ann", false)).toBe(true);
    await expectClosed(ann);
    expect(await world.sallyport.access.setActive("ann", false)).toBe(false);
  });

  test("a superuser who is none any more: keeps what was granted, loses the rest", async () => {
    await world.sallyport.access.setSuperuser("rita", true);
    const bare = await world.connect("rita");
    await world.sallyport.access.setSuperuser("rita", false);
    await expectClosed(bare);
    await world.sallyport.access.setSuperuser("rita", true);
    await world.sallyport.access.grant("rita", chat.can_use_chat);
    const rita = await world.connect("rita", { channel: "rooms/moderators" });
    await world.sallyport.access.setSuperuser("rita", false);
    await expectLeft(rita, "rooms/moderators");
  });

  test("a user who is deleted: sockets, tokens, grants and memberships", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.addToGroup("ann", "Chatters");
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const token = await world.token("ann");
    expect(await world.sallyport.access.deleteUser("ann")).toBe(true);
    await expectClosed(ann);
    await expect(world.connect("ann", { token })).rejects.toMatchObject({ status: 403 });
    expect(world.decisions.at(-1)).toMatchObject({ reason: "token-unknown" });
    expect(await world.sallyport.access.show("ann")).toBeUndefined();
    for (const table of ["user_permissions", "user_groups"]) {
      expect(await world.sql(`select * from sallyport_${table} where user_id = 'ann'`)).toEqual([]);
    }
    // The app's login still stands, so she is a new user: one without rights.
    await expect(world.connect("ann")).rejects.toMatchObject({ status: 403 });
  });

  test("a login that ended, and no other of the same user", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const [phone, desk] = [await world.connect("ann:phone"), await world.connect("ann:desk")];
    await world.sallyport.access.endSession("phone");
    await expectClosed(phone);
    expect(await desk.result("whoami")).toMatchObject({ user: "ann" });
  });

  test("a permission that is pruned: no app declares it any more, but another version still asks for it", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant({ group: "Chatters" }, chat.can_use_chat);
    await world.sallyport.access.addToGroup("bob", "Chatters");
    const [ann, bob] = [await world.connect("ann"), await world.connect("bob")];
    const next = definePermissions("chat", {
      can_moderate_chat: "Moderate",
      can_broadcast_chat: "Broadcast",
    });
    class Next extends ChatView {
      static override permissionsRequired = [next.can_moderate_chat];
      static override inheritRules = false;
    }
    const other = createSallyport({
      storage: storageAt(world.database),
      permissions: [next],
      views: { "/ws/chat": Next },
      origins: [ORIGIN],
      authenticate: () => null,
    });
    expect(await other.access.preview({ kind: "prune-permissions" })).toMatchObject({
      pruned: ["chat.can_use_chat"],
      users: [
        { user: "ann", gains: [], loses: ["chat.can_use_chat"] },
        { user: "bob", gains: [], loses: ["chat.can_use_chat"] },
      ],
    });
    await expect(world.sallyport.access.prunePermissions(["chat.can_use_chat"])).rejects.toThrow(
      /declared in code/,
    );
    expect(await other.access.prunePermissions()).toEqual(["chat.can_use_chat"]);
    await expectClosed(ann);
    await expectClosed(bob);
    expect(await other.access.prunePermissions()).toEqual([]);
    await other.close();
  });
});

test("two changes that both end the same sockets: each is told once", async () => {
  const { access } = world.sallyport;
  await access.grant("ann", chat.can_use_chat);
  await access.setSuperuser("ann", true);
  const sockets = await Promise.all([1, 2, 3].map(() => world.connect("ann")));
  await Promise.all([
    access.setSuperuser("ann", false),
    access.revoke("ann", chat.can_use_chat),
    access.setActive("ann", false),
    access.recheck({ user: "ann" }),
  ]);
  for (const socket of sockets) await expectClosed(socket);
});

test("nobody's eviction by rights waits for the author's hook about somebody else", async () => {
  await world.close();
  let goOn: () => void = () => undefined;
  let held: Promise<void> | undefined;
  const slow = defineChannel("slow", {
    signedIn: true,
    authorize: async () => {
      await held;
      return true;
    },
  });
  world = await World.open({ permissions: [chat], channels: [...channels, slow], views });
  const { access } = world.sallyport;
  await access.grant({ group: "Chatters" }, chat.can_use_chat);
  for (const user of ["ann", "bob"]) await access.addToGroup(user, "Chatters");
  await access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann", { channel: "slow" });
  const bob = await world.connect("bob");
  held = new Promise((resolve) => {
    goOn = resolve;
  });
  const revoking = access.revoke({ group: "Chatters" }, chat.can_use_chat);
  await expectClosed(bob);
  goOn();
  await revoking;
  expect(await ann.result("whoami")).toMatchObject({ channels: ["slow"] });
});

describe("rules that change with a deployment", () => {
  test("end the sockets that rest on the old ones, when the new version migrates", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant("mo", chat.can_moderate_chat);
    const [ann, mo] = [await world.connect("ann"), await world.connect("mo")];
    class Stricter extends ChatView {
      static override permissionsRequired = [chat.can_moderate_chat];
    }
    const next = createSallyport({
      storage: storageAt(world.database),
      permissions: [chat],
      channels,
      views: { "/ws/chat": Stricter },
      origins: [ORIGIN],
      authenticate: () => null,
    });
    await next.migrate();
    await expectClosed(ann);
    expect(await mo.result("whoami")).toMatchObject({ user: "mo" });
    expect((await next.access.audit())[0]).toMatchObject({
      action: "rules-changed",
      details: { rules: [{ kind: "view", name: "/ws/chat", change: "changed", widens: false }] },
    });
    await next.close();
  });
});

test("a user who comes anew before the deletion was enforced is another user, and keeps the new socket", async () => {
  const { access } = world.sallyport;
  await access.grant("ann", chat.can_use_chat);
  const before = await world.connect("ann");
  // As a process leaves it that died right after its commit.
  await world.sql("update sallyport_sessions set closed_at = 1, close_reason = 'user deleted'");
  await world.sql("delete from sallyport_users where id = 'ann'");
  await access.grant("ann", chat.can_use_chat);
  const anew = await world.connect("ann");
  await world.sql(
    "insert into sallyport_evictions (id, scope, subject, created_at) values ('x', 'deleted-user', 'ann', 1)",
  );
  await world.sallyport.enforce();
  await expectClosed(before);
  expect(await anew.result("whoami")).toMatchObject({ user: "ann" });
});
