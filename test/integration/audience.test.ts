import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ChannelAuthorizeManyContext, defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { NOW, padded } from "../postgres/database.ts";
import { ChatView, channels, chat, LobbyView } from "./chat.ts";
import { World } from "./world.ts";

const PEOPLE = ["ann", "bob", "cat", "mo", "rita"];
const views = { "/ws/chat": ChatView, "/ws/lobby": LobbyView };

let world: World;
let members: Set<string>;
let pages: ChannelAuthorizeManyContext<{ slug: string }>[];
let answer: (users: readonly string[]) => unknown;

/** The app decides on members, with one call of `authorizeMany` per page. */
const club = defineChannel("clubs/:slug", {
  permissionsRequired: [chat.can_use_chat],
  authorizeMany: (context) => {
    pages.push(context);
    return answer(context.userIds) as string[];
  },
});
/** Calls `authorize` for a join and `authorizeMany` for a send. */
const both = defineChannel("both", {
  allowAnonymous: true,
  authorize: () => true,
  authorizeMany: ({ userIds }) => userIds.filter((id) => members.has(id)),
});

class Kicker extends ChatView {
  kick = handler(async ({ to }) => (await to({ user: "bob" }).close()).sent);
  foresee = handler(({ to }) => to({ channel: "clubs/chess" }).preview());
  static override allowedHandlers = ["kick", "foresee", "whoami", "join_room"];
}

beforeEach(async () => {
  members = new Set(PEOPLE);
  pages = [];
  answer = (users) => users.filter((id) => members.has(id));
  world = await World.open({
    permissions: [chat],
    channels: [...channels, club, both],
    views: { ...views, "/ws/chat": Kicker },
  });
  for (const user of PEOPLE) await world.sallyport.access.grant(user, chat.can_use_chat);
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

const sockets = (channel?: string) =>
  Promise.all(PEOPLE.map((user) => world.connect(user, channel === undefined ? {} : { channel })));

describe("to({ permission })", () => {
  test("reaches only current holders of the permission: direct, through a group, or as a superuser", async () => {
    await sockets();
    const { sallyport } = world;
    const { access } = sallyport;
    await access.grant({ group: "Moderators" }, chat.can_moderate_chat);
    await access.users.addToGroup("mo", "Moderators");
    await access.grant("ann", chat.can_moderate_chat, { until: Date.now() + 60_000 });
    await access.users.setSuperuser("rita", true);
    await access.grant("cat", chat.can_moderate_chat);
    await access.revoke("cat", chat.can_moderate_chat);
    const sender = sallyport.to({ permission: chat.can_moderate_chat });
    expect(await sender.preview()).toEqual({ recipients: 3, permitted: 3, denied: 0 });
    expect(await sender.send({ type: "alert" })).toMatchObject({ recipients: 3, sent: 3, denied: 0 });
    await world.sql("update sallyport_user_permissions set until_at = 1 where user_id = 'ann'");
    await access.users.removeFromGroup("mo", "Moderators");
    expect(await sender.send({ type: "alert" })).toMatchObject({ recipients: 1, sent: 1 });
    expect(await access.users.withPermission(chat.can_moderate_chat)).toEqual(["rita"]);
  });

  test("denies a holder who does not satisfy the rule of the view", async () => {
    const [ann] = await sockets();
    await world.sallyport.access.grant("ann", chat.can_broadcast_chat);
    await world.sql(
      "delete from sallyport_user_permissions where permission = 'chat.can_use_chat' and user_id = 'ann'",
    );
    const report = await world.sallyport.to({ permission: chat.can_broadcast_chat }).send({ type: "alert" });
    expect(report).toMatchObject({ recipients: 1, sent: 0, denied: 1 });
    expect(ann?.received).toEqual([]);
  });
});

describe("authorizeMany", () => {
  test("is called once per page with each user id that the rules allow, without duplicates", async () => {
    await sockets("clubs/chess");
    await world.connect("ann", { channel: "clubs/chess" });
    await world.sql("delete from sallyport_user_permissions where user_id = 'mo'");
    members.delete("cat");
    pages = [];
    const report = await world.sallyport.to({ channel: "clubs/chess" }).send({ type: "move" });
    expect(report).toMatchObject({ recipients: 6, sent: 4, denied: 2 });
    expect(pages).toHaveLength(1);
    expect(pages[0]).toEqual({
      userIds: expect.arrayContaining(["ann", "bob", "cat", "rita"]),
      params: { slug: "chess" },
      channel: "clubs/chess",
    });
    expect(pages[0]?.userIds).toHaveLength(4);
  });

  test("decides on connects, joins and rechecks if the channel has no authorize", async () => {
    members.delete("bob");
    await expect(world.connect("bob", { channel: "clubs/chess" })).rejects.toMatchObject({ status: 403 });
    const bob = await world.connect("bob");
    expect(await bob.call("join_room", { channel: "clubs/chess" })).toMatchObject({ status: 403 });
    members.add("bob");
    await bob.result("join_room", { channel: "clubs/chess" });
    members.delete("bob");
    await world.sallyport.access.recheck({ channel: "clubs/chess" });
    expect(await bob.result("whoami")).toMatchObject({ channels: [] });
  });

  test("denies every recipient and reports an error if it fails or returns no array", async () => {
    await sockets("clubs/chess");
    const { sallyport } = world;
    for (const bad of [
      () => Promise.reject(new Error("out of reach")),
      () => "ann",
      () => null,
      () => ({ ann: true }),
    ]) {
      answer = bad;
      expect(await sallyport.to({ channel: "clubs/chess" }).send({ type: "x" })).toMatchObject({
        recipients: 5,
        sent: 0,
        denied: 5,
      });
    }
    expect(world.errors.splice(0)).toHaveLength(4);
    answer = () => ["mallory", 7, undefined];
    expect(await sallyport.to({ channel: "clubs/chess" }).send({ type: "x" })).toMatchObject({ denied: 5 });
  });

  test("does not authorize a delivery to an anonymous connection", async () => {
    await world.close();
    world = await World.open({ permissions: [chat], channels: [both], views: { "/ws/lobby": LobbyView } });
    await world.connect(null, { channel: "both" });
    await world.connect("ann", { channel: "both" });
    const report = await world.sallyport.to({ channel: "both" }).send({ type: "x" });
    expect(report).toMatchObject({ recipients: 2, sent: 1, denied: 1 });
  });

  test("is called for each page, and the delivery report counts all pages", async () => {
    await world.connect("ann", { channel: "clubs/chess" });
    await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
      with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200)
      select ${padded("i", 5)}, (select id from sallyport_gateways), ${padded("i", 15)} || '=', '/ws/chat', 'bob',
        ${NOW} - 60000, 0 from n`);
    await world.sql(
      "insert into sallyport_memberships select id, 'clubs/chess', 1 from sallyport_connections where true on conflict do nothing",
    );
    members.delete("bob");
    pages = [];
    const report = await world.sallyport.to({ channel: "clubs/chess" }).send({ type: "x" });
    expect(report).toMatchObject({
      recipients: 1201,
      sent: 1,
      denied: 1200,
      gone: 0,
      failed: 0,
      unsent: 0,
    });
    expect(pages.map(({ userIds }) => [...userIds].sort().join()).sort()).toEqual(["ann,bob", "bob", "bob"]);
  });
});

describe("preview() of a send", () => {
  test("returns the counts of the send without sending a message", async () => {
    const all = await sockets("clubs/chess");
    const sender = world.sallyport.to(
      { channel: "clubs/chess" },
      { allPermissionsRequired: [chat.can_moderate_chat] },
    );
    await world.sallyport.access.grant("mo", chat.can_moderate_chat);
    await world.sallyport.access.grant("cat", chat.can_moderate_chat);
    members.delete("cat");
    expect(await sender.preview()).toEqual({ recipients: 5, permitted: 1, denied: 4 });
    expect(await sender.send({ type: "x" })).toMatchObject({ recipients: 5, sent: 1, denied: 4 });
    await all[3]?.message("x");
    expect(all.flatMap(({ received }) => received)).toEqual([{ type: "x" }]);
  });

  test("in a handler is denied if the user is not allowed to send", async () => {
    const [ann] = await sockets("clubs/chess");
    expect(await ann?.result("foresee")).toEqual({ recipients: 5, permitted: 5, denied: 0 });
    members.delete("ann");
    expect(await ann?.call("foresee")).toMatchObject({ ok: false, status: 403 });
  });
});

test("three denied deliveries to a user for the same reason store one decision", async () => {
  await sockets("rooms/general");
  await world.sql("delete from sallyport_user_permissions where user_id = 'cat'");
  await world.sql(
    "insert into sallyport_user_permissions (user_id, permission, granted_at) values ('cat', 'chat.can_moderate_chat', 0)",
  );
  for (let i = 0; i < 3; i++) await world.sallyport.to({ channel: "rooms/general" }).send({ type: "x" });
  const kept = await world.sallyport.access.audit.decisions({ user: "cat" });
  expect(kept).toHaveLength(1);
  expect(kept[0]).toMatchObject({
    event: "delivery",
    verdict: "denied",
    reason: "permission",
    channel: "rooms/general",
    missing: ["chat.can_use_chat"],
  });
});

test("sends to different audiences in turn reach the recipients of their own audience", async () => {
  const all = await Promise.all(
    PEOPLE.map((user, index) =>
      world.connect(user, { channel: index < 2 ? "rooms/general" : "clubs/chess" }),
    ),
  );
  const { access } = world.sallyport;
  await access.grant("mo", chat.can_moderate_chat);
  const reached = async (audience: Parameters<typeof world.sallyport.to>[0]) => {
    const { recipients, denied } = await world.sallyport.to(audience).preview();
    return [recipients, denied];
  };
  const [ann] = await world.sallyport.listConnections({ user: "ann" });
  const [bob] = await world.sallyport.listConnections({ user: "bob" });
  for (let round = 0; round < 2; round++) {
    expect(await reached({ channel: "rooms/general" })).toEqual([2, 0]);
    expect(await reached({ channel: "clubs/chess" })).toEqual([3, 0]);
    expect(await reached({ channel: "clubs/none" })).toEqual([0, 0]);
    expect(await reached({ user: "ann" })).toEqual([1, 0]);
    expect(await reached({ user: "nobody" })).toEqual([0, 0]);
    expect(await reached({ permission: chat.can_use_chat })).toEqual([5, 0]);
    expect(await reached({ permission: chat.can_moderate_chat })).toEqual([1, 0]);
    expect(await reached({ connection: ann?.connection as string })).toEqual([1, 0]);
    expect(await reached({ connectionId: bob?.connectionId as string })).toEqual([1, 0]);
    expect(await reached("everyone")).toEqual([5, 0]);
    await world.sallyport.to({ channel: "rooms/general" }).send({ type: "general" });
    await world.sallyport.to({ channel: "clubs/chess" }).send({ type: "chess" });
  }
  for (const [index, socket] of all.entries()) {
    await socket.call("whoami");
    const types = socket.received
      .map(({ type }) => type)
      .filter((type) => type === "general" || type === "chess");
    expect(types).toEqual(index < 2 ? ["general", "general"] : ["chess", "chess"]);
  }
});

test("close() records the user who called it, and accepts the id of a connection", async () => {
  const [ann, bob] = await sockets();
  expect(await ann?.result("kick")).toBe(1);
  await bob?.closed;
  expect((await world.sallyport.access.audit.list())[0]).toMatchObject({
    action: "close-connections",
    by: "ann",
    user: "bob",
  });
  const [cat] = await world.sallyport.listConnections({ user: "cat" });
  expect(cat).toMatchObject({ user: "cat", view: "/ws/chat", gateway: "local", channels: [] });
  expect(await world.sallyport.to({ connection: cat?.connection as string }).close()).toMatchObject({
    recipients: 1,
    sent: 1,
  });
  expect(await world.sallyport.listConnections({ user: "cat" })).toEqual([]);
  expect((await world.sallyport.access.audit.list())[0]).toMatchObject({
    action: "close-connections",
    user: "cat",
    details: { audience: { connection: cat?.connection } },
  });
});

test("the audit entry of a change records that the change created a group", async () => {
  const { access } = world.sallyport;
  await access.grant({ group: "New" }, chat.can_use_chat);
  await access.users.addToGroup("ann", "New");
  await access.users.addToGroup("ann", "Newer", { until: 4e12 });
  await access.users.addToGroup("bob", "Newer");
  expect((await access.audit.list({ limit: 4 })).map(({ action, details }) => [action, details])).toEqual([
    ["add-to-group", {}],
    ["add-to-group", { until: 4e12, madeGroup: true }],
    ["add-to-group", {}],
    ["grant", { madeGroup: true }],
  ]);
});

test("listConnections() filters by channel, user and view, and returns pages", async () => {
  await sockets("rooms/general");
  await world.connect("ann", { channel: "rooms/random" });
  const { sallyport } = world;
  expect(await sallyport.listConnections({ channel: "rooms/general" })).toHaveLength(5);
  expect(await sallyport.listConnections({ channel: "rooms/random", user: "ann" })).toMatchObject([
    { channels: ["rooms/random"] },
  ]);
  expect(await sallyport.listConnections({ view: "/ws/lobby" })).toEqual([]);
  const first = await sallyport.listConnections({ limit: 4 });
  const rest = await sallyport.listConnections({ after: first.at(-1)?.connection, limit: 4 });
  expect(new Set([...first, ...rest].map(({ connection }) => connection)).size).toBe(6);
  await expect(sallyport.listConnections({ limit: 0 })).rejects.toThrow(/limit/);
});
