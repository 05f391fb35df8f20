import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { definePermissions } from "../../src/permissions/define.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/views/channel.ts";
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

/** Expects the notice of a lost view as the last message, after the given ones, and a closed connection. */
async function expectClosed(socket: Socket, ...before: unknown[]): Promise<void> {
  expect((await socket.closed).code).toBe(1000);
  expect(socket.received.filter((frame) => frame.type !== undefined)).toEqual([...before, revoked()]);
}

/** Expects the notice of a lost channel, and a connection that stays open outside that channel. */
async function expectLeft(socket: Socket, channel: string): Promise<void> {
  expect(await socket.message("sallyport.revoked")).toEqual(revoked(channel));
  expect(await socket.result("whoami")).toMatchObject({ channels: [] });
  expect(await world.sallyport.to({ channel }).send({ type: "x" })).toMatchObject({ recipients: 0 });
}

describe("loss of access", () => {
  test("closes the connections of members without another grant when a group loses a permission", async () => {
    await world.sallyport.access.grant({ group: "Chatters" }, chat.can_use_chat);
    await world.sallyport.access.users.addToGroup("ann", "Chatters");
    await world.sallyport.access.users.addToGroup("bob", "Chatters");
    await world.sallyport.access.grant("bob", chat.can_use_chat);
    const [ann, bob] = [await world.connect("ann"), await world.connect("bob")];
    await world.sallyport.access.revoke({ group: "Chatters" }, chat.can_use_chat);
    await expectClosed(ann);
    expect(await bob.result("whoami")).toMatchObject({ user: "bob" });
  });

  test("closes only the connections that needed a group's permission when the group is deleted", async () => {
    await world.sallyport.access.grant({ group: "Moderators" }, chat.can_moderate_chat);
    for (const user of ["ann", "bob"]) await world.sallyport.access.users.addToGroup(user, "Moderators");
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await world.sallyport.access.grant("bob", chat.can_use_chat);
    const bob = await world.connect("bob", { channel: "rooms/moderators" });
    await world.sallyport.access.revoke("bob", chat.can_use_chat);
    await bob.message("sallyport.revoked");
    expect(await world.sallyport.access.groups.delete("Moderators")).toBe(true);
    await expectClosed(bob, revoked("rooms/moderators"));
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
    expect(await world.sallyport.access.groups.delete("Moderators")).toBe(false);
    expect(await world.sql("select * from sallyport_revocations")).toEqual([]);
    expect(await world.sql("select * from sallyport_revocation_users")).toEqual([]);
  });

  test("ends a channel membership when a user leaves a group, and the connection can rejoin", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant({ group: "Moderators" }, chat.can_moderate_chat);
    await world.sallyport.access.users.addToGroup("ann", "Moderators");
    const ann = await world.connect("ann", { channel: "rooms/moderators" });
    await world.sallyport.access.users.removeFromGroup("ann", "Moderators");
    await expectLeft(ann, "rooms/moderators");
    expect(await ann.call("join_room", { channel: "rooms/moderators" })).toMatchObject({ status: 403 });
    await world.sallyport.access.users.addToGroup("ann", "Moderators");
    await ann.result("join_room", { channel: "rooms/moderators" });
    expect(await world.sallyport.to({ channel: "rooms/moderators" }).send({ type: "x" })).toMatchObject({
      sent: 1,
    });
  });

  test("closes the connections of a user who is deactivated", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    expect(await world.sallyport.access.users.setActive("ann", false)).toBe(true);
    await expectClosed(ann);
    expect(await world.sallyport.access.users.setActive("ann", false)).toBe(false);
  });

  test("keeps only granted access when a user is no longer a superuser", async () => {
    await world.sallyport.access.users.setSuperuser("rita", true);
    const bare = await world.connect("rita");
    await world.sallyport.access.users.setSuperuser("rita", false);
    await expectClosed(bare);
    await world.sallyport.access.users.setSuperuser("rita", true);
    await world.sallyport.access.grant("rita", chat.can_use_chat);
    const rita = await world.connect("rita", { channel: "rooms/moderators" });
    await world.sallyport.access.users.setSuperuser("rita", false);
    await expectLeft(rita, "rooms/moderators");
  });

  test("B60 removes connections, tokens, grants and memberships when a user is deleted", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.users.addToGroup("ann", "Chatters");
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const token = await world.token("ann");
    expect(await world.sallyport.access.users.delete("ann")).toBe(true);
    await expectClosed(ann);
    await expect(world.connect("ann", { token })).rejects.toMatchObject({ status: 403 });
    expect(world.decisions.at(-1)).toMatchObject({ reason: "token-unknown" });
    expect(await world.sallyport.access.users.get("ann")).toBeUndefined();
    for (const table of ["user_permissions", "user_groups"]) {
      expect(await world.sql(`select * from sallyport_${table} where user_id = 'ann'`)).toEqual([]);
    }
    // The session in the app is still valid, so ann becomes a new user without permissions.
    await expect(world.connect("ann")).rejects.toMatchObject({ status: 403 });
  });

  test("closes only the connections of a session that ends", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const [phone, desk] = [await world.connect("ann:phone"), await world.connect("ann:desk")];
    await world.sallyport.access.endSession("phone");
    await expectClosed(phone);
    expect(await desk.result("whoami")).toMatchObject({ user: "ann" });
  });

  test("closes connections of a version that still requires a permission when it is pruned", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant({ group: "Chatters" }, chat.can_use_chat);
    await world.sallyport.access.users.addToGroup("bob", "Chatters");
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
    await expect(world.sallyport.access.permissions.prune(["chat.can_use_chat"])).rejects.toThrow(
      /declared in code/,
    );
    expect(await other.access.permissions.prune()).toEqual(["chat.can_use_chat"]);
    await expectClosed(ann);
    await expectClosed(bob);
    expect(await other.access.permissions.prune()).toEqual([]);
    await other.close();
  });
});

test("concurrent changes that close the same connections send one notice to each connection", async () => {
  const { access } = world.sallyport;
  await access.grant("ann", chat.can_use_chat);
  await access.users.setSuperuser("ann", true);
  const sockets = await Promise.all([1, 2, 3].map(() => world.connect("ann")));
  await Promise.all([
    access.users.setSuperuser("ann", false),
    access.revoke("ann", chat.can_use_chat),
    access.users.setActive("ann", false),
    access.recheck({ user: "ann" }),
  ]);
  for (const socket of sockets) await expectClosed(socket);
});

test("the revocation of one user does not wait for the authorize hook of another user", async () => {
  await world.close();
  let release: () => void = () => undefined;
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
  for (const user of ["ann", "bob"]) await access.users.addToGroup(user, "Chatters");
  await access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann", { channel: "slow" });
  const bob = await world.connect("bob");
  held = new Promise((resolve) => {
    release = resolve;
  });
  const revoking = access.revoke({ group: "Chatters" }, chat.can_use_chat);
  await expectClosed(bob);
  release();
  await revoking;
  expect(await ann.result("whoami")).toMatchObject({ channels: ["slow"] });
});

describe("a deployment with stricter rules", () => {
  test("closes the connections that the new rules deny when it migrates", async () => {
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
    expect((await next.access.audit.list())[0]).toMatchObject({
      action: "rules-changed",
      details: { rules: [{ kind: "view", name: "/ws/chat", change: "changed", widens: false }] },
    });
    await next.close();
  });
});

test("a user who is created again before the deletion is enforced keeps the new connection", async () => {
  const { access } = world.sallyport;
  await access.grant("ann", chat.can_use_chat);
  const before = await world.connect("ann");
  // A process that dies directly after its commit leaves this state.
  await world.sql("update sallyport_connections set closed_at = 1, close_reason = 'user deleted'");
  await world.sql("delete from sallyport_users where id = 'ann'");
  await access.grant("ann", chat.can_use_chat);
  const after = await world.connect("ann");
  await world.sql(
    "insert into sallyport_revocations (id, scope, subject, created_at) values ('x', 'deleted-user', 'ann', 1)",
  );
  await world.sallyport.enforce();
  await expectClosed(before);
  expect(await after.result("whoami")).toMatchObject({ user: "ann" });
});
