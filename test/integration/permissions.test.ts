import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BroadcastView, ChatView, channels, chat, LobbyView, ModerationView, ran } from "./chat.ts";
import { HandshakeRejected, revoked, World } from "./world.ts";

const DENIED = { ok: false, status: 403, error: "Permission denied." };
const views = {
  "/ws/chat": ChatView,
  "/ws/moderation": ModerationView,
  "/ws/broadcast": BroadcastView,
  "/ws/lobby": LobbyView,
};

let world: World;
const open = (gatewayView = "/ws/chat") =>
  World.open({
    permissions: [chat],
    channels,
    views,
    gatewayView,
    limits: { connectsPerUser: false, tokensPerUser: false, failedConnectsPerIp: false },
  });

beforeEach(async () => {
  ran.length = 0;
  world = await open();
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

const rejected = (status: number) => expect.objectContaining({ status }) as HandshakeRejected;

describe("a connect", () => {
  test("without a signed-in user is denied", async () => {
    expect((await world.requestToken(null)).status).toBe(401);
    await expect(world.connect(null)).rejects.toEqual(rejected(403));
    expect(world.decisions.at(-1)).toMatchObject({
      event: "connect",
      reason: "token-missing",
      view: "/ws/chat",
    });
  });

  test("B15 without a required permission is denied, and the decision lists the missing permissions", async () => {
    await expect(world.connect("eve")).rejects.toEqual(rejected(403));
    expect(world.decisions.at(-1)).toMatchObject({
      event: "connect",
      verdict: "denied",
      reason: "permission",
      userId: "eve",
      gateway: "local",
      missing: ["chat.can_use_chat", "chat.can_moderate_chat"],
    });
  });

  test("is checked in advance by the token endpoint, which returns a reference", async () => {
    const response = await world.requestToken("eve", { view: "/ws/chat", channel: "rooms/general" });
    expect(response.status).toBe(403);
    const body = (await response.json()) as { reference: string };
    expect(body).toEqual({
      ok: false,
      error: "Permission denied.",
      reference: expect.stringMatching(/^[0-9a-f]{12}$/),
    });
    expect(world.decisions.at(-1)).toMatchObject({
      event: "token",
      userId: "eve",
      reference: body.reference,
    });
    await world.sallyport.access.grant("eve", chat.can_use_chat);
    expect((await world.requestToken("eve", { view: "/ws/chat", channel: "rooms/general" })).status).toBe(
      200,
    );
    expect((await world.requestToken("eve", { view: "/ws/chat", channel: "rooms/moderators" })).status).toBe(
      403,
    );
    expect((await world.requestToken("eve", { view: "/ws/nowhere" })).status).toBe(403);
  });

  test("P1 is allowed with any one of several permissions", async () => {
    await world.sallyport.access.grant("mo", chat.can_moderate_chat);
    const mo = await world.connect("mo");
    expect(await mo.result("whoami")).toMatchObject({ user: "mo" });
  });

  test("P3 is allowed with all of several permissions, and denied without one of them", async () => {
    await world.close();
    world = await open("/ws/moderation");
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_use_chat);
    await expect(world.connect("ann")).rejects.toEqual(rejected(403));
    expect(world.decisions.at(-1)).toMatchObject({ missing: ["chat.can_moderate_chat"] });
    await access.grant("ann", chat.can_moderate_chat);
    expect(await (await world.connect("ann")).result("ping")).toEqual({ pong: true });
  });

  test("B14 P5 is allowed only if both lists of permissions are satisfied", async () => {
    await world.close();
    world = await open("/ws/broadcast");
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_broadcast_chat);
    await expect(world.connect("ann")).rejects.toEqual(rejected(403));
    await access.grant("bob", chat.can_use_chat);
    await expect(world.connect("bob")).rejects.toEqual(rejected(403));
    await access.grant("bob", chat.can_broadcast_chat);
    expect(await (await world.connect("bob")).result("ping")).toEqual({ pong: true });
  });

  test("B9 P13 P14 of a superuser passes every permission rule, and of an inactive superuser none", async () => {
    await world.sallyport.access.users.setSuperuser("rita", true);
    const rita = await world.connect("rita", { channel: "rooms/moderators" });
    expect(await rita.result("delete_message", { message_id: 5 })).toEqual({ ok: true });
    const token = await world.token("rita");
    await world.sallyport.access.users.setActive("rita", false);
    await expect(world.connect("rita", { token })).rejects.toEqual(rejected(403));
    expect(world.decisions.at(-1)).toMatchObject({ reason: "inactive" });
    expect((await world.requestToken("rita")).status).toBe(403);
  });

  test("B32 without a user is allowed by allowAnonymous, except for handlers that require a user", async () => {
    await world.close();
    world = await open("/ws/lobby");
    const guest = await world.connect(null);
    expect(await guest.result("ping")).toEqual({ user: null });
    expect(await guest.call("members_only")).toMatchObject(DENIED);
    expect(world.decisions.at(-1)).toMatchObject({ reason: "anonymous", handler: "members_only" });
    const ann = await world.connect("ann");
    expect(await ann.result("members_only")).toEqual({ user: "ann" });
    // A bad token is denied even if the view requires no token.
    await expect(world.connect(null, { token: "0".repeat(64) })).rejects.toEqual(rejected(403));
  });

  test("with a cookie and without a token is anonymous", async () => {
    await world.close();
    world = await open("/ws/lobby");
    const guest = await world.connect("ann", { token: undefined });
    expect(await guest.result("ping")).toEqual({ user: null });
  });
});

describe("channels", () => {
  beforeEach(async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant("mo", chat.can_use_chat);
    await world.sallyport.access.grant("mo", chat.can_moderate_chat);
  });

  test("P27 P29 of another user are denied at connect", async () => {
    await expect(world.connect("ann", { channel: "notifications_user_mo" })).rejects.toEqual(rejected(403));
    expect(world.decisions.at(-1)).toMatchObject({ reason: "authorize", channel: "notifications_user_mo" });
    expect(
      await (await world.connect("ann", { channel: "notifications_user_ann" })).result("whoami"),
    ).toMatchObject({
      channels: ["notifications_user_ann"],
    });
  });

  test("B20 P28 are denied by join and change, and the connection keeps its channel", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    expect(await ann.call("join_room", { channel: "notifications_user_mo" })).toMatchObject(DENIED);
    expect(await ann.call("change_channel", { channel: "rooms/moderators" })).toMatchObject(DENIED);
    expect(world.decisions.at(-1)).toMatchObject({
      reason: "permission",
      missing: ["chat.can_moderate_chat"],
    });
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
    await ann.result("change_channel", { channel: "rooms/random" });
    expect(await ann.result("whoami")).toMatchObject({ channels: ["rooms/random"] });
    await ann.result("join_room", { channel: "rooms/general" });
    expect(await ann.result("leave_room")).toEqual({ channels: ["rooms/random"] });
  });

  test("P30 receive nothing from a user that their rules deny", async () => {
    const mo = await world.connect("mo", { channel: "rooms/moderators" });
    const ann = await world.connect("ann");
    expect(await ann.call("send_to", { channel: "rooms/moderators", message: "let me in" })).toMatchObject(
      DENIED,
    );
    expect(await ann.call("send_to", { channel: "notifications_user_mo", message: "hi" })).toMatchObject(
      DENIED,
    );
    expect(await ann.call("send_to", { channel: "nowhere", message: "hi" })).toMatchObject(DENIED);
    await mo.result("whoami");
    expect(mo.received.filter((frame) => frame.type === "chat_message")).toEqual([]);
  });

  test("can require more permissions to send than to join", async () => {
    const ann = await world.connect("ann", { channel: "announcements" });
    expect(await ann.call("send_to", { channel: "announcements", message: "hear me" })).toMatchObject(DENIED);
    await world.sallyport.access.grant("ann", chat.can_broadcast_chat);
    await ann.result("send_to", { channel: "announcements", message: "hear me" });
    expect(await ann.message("chat_message")).toMatchObject({ message: "hear me" });
  });

  test("B20 B22 with an unknown name are denied, and with an invalid name rejected", async () => {
    await expect(world.connect("ann", { channel: "nowhere" })).rejects.toEqual(rejected(403));
    await expect(world.connect("ann", { channel: "rooms/a b" })).rejects.toEqual(rejected(400));
    await expect(world.connect("ann", { channel: "rooms/general\n" })).rejects.toEqual(rejected(400));
    await expect(world.connect("ann", { channel: `rooms/${"x".repeat(200)}` })).rejects.toEqual(
      rejected(400),
    );
    const ann = await world.connect("ann");
    for (const channel of ["rooms/../moderators", "rooms//x", "/rooms/x", "rooms/x/", "", "rooms/💥"]) {
      expect(await ann.call("change_channel", { channel })).toMatchObject({ ok: false, status: 400 });
    }
    const tooLong = `rooms/${"x".repeat(123)}`;
    expect(tooLong).toHaveLength(129);
    await expect(world.connect("ann", { channel: tooLong })).rejects.toEqual(rejected(400));
    for (const channel of [7, null, true, {}, ["rooms/general"], "rooms/a b", "rooms/general\n", tooLong]) {
      expect(await ann.call("change_channel", { channel })).toMatchObject({ ok: false, status: 400 });
    }
    expect(await ann.call("change_channel")).toMatchObject({ ok: false, status: 400 });
    expect(await ann.result("whoami")).toMatchObject({ channels: [] });
  });

  test("deliver a message only to their members", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const mo = await world.connect("mo", { channel: "rooms/general" });
    const other = await world.connect("mo", { channel: "rooms/random" });
    await ann.result("send_message", { message: "  hello  " });
    const expected = { type: "chat_message", message: "hello", username: "ann" };
    expect(await ann.message("chat_message")).toEqual(expected);
    expect(await mo.message("chat_message")).toEqual(expected);
    await other.result("whoami");
    expect(other.received.some((frame) => frame.type === "chat_message")).toBe(false);
  });
});

describe("handlers", () => {
  beforeEach(() => world.sallyport.access.grant("ann", chat.can_use_chat));

  test("B17 P23–P26 are callable only if handler() created them and allowedHandlers lists them", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const names = [
      "undeclared",
      "hidden",
      "helper",
      "slug",
      "#slug",
      "connect",
      "disconnect",
      "constructor",
      "__proto__",
      "toString",
      "hasOwnProperty",
      "permissionsRequired",
      "allowedHandlers",
      "then",
      "default",
      "",
    ];
    for (const name of names) {
      expect(await ann.call(name), name).toMatchObject(DENIED);
      expect(world.decisions.at(-1), name).toMatchObject({ reason: "handler", handler: name, userId: "ann" });
    }
    expect(ran).toEqual([]);
  });

  test("B62 P33 P34 return the same error for a missing permission, object, channel or handler", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const answers = [
      await ann.call("delete_message", { message_id: 5 }),
      await ann.call("read_document", { id_of: 2 }),
      await ann.call("read_document", { id_of: 99 }),
      await ann.call("change_channel", { channel: "nowhere" }),
      await ann.call("nothing"),
      await ann.call("deny_always"),
    ];
    for (const { id: _id, reference, ...answer } of answers) {
      expect(answer).toEqual(DENIED);
      expect(reference).toMatch(/^[0-9a-f]{12}$/);
    }
    const references = answers.map((answer) => answer.reference);
    expect(world.decisions.slice(-6).map((decision) => decision.reference)).toEqual(references);
    expect(world.decisions.slice(-6).map((decision) => decision.reason)).toEqual([
      "permission",
      "authorize",
      "authorize",
      "channel",
      "handler",
      "app",
    ]);
    expect(ran).toEqual([]);
  });

  test("P18 P20 apply their own permission and object checks in addition to the view's", async () => {
    const ann = await world.connect("ann");
    expect(await ann.result("read_document", { id_of: 1 })).toEqual({ document: 1 });
    expect(await ann.call("require_broadcast")).toMatchObject(DENIED);
    await world.sallyport.access.grant("ann", chat.can_broadcast_chat);
    expect(await ann.result("require_broadcast")).toEqual({ ok: true });
    // A superuser passes permission rules, but not authorize.
    await world.sallyport.access.users.setSuperuser("ann", true);
    expect(await ann.result("delete_message", { message_id: 1 })).toEqual({ ok: true });
    expect(await ann.call("read_document", { id_of: 2 })).toMatchObject(DENIED);
  });

  test("P36 P37 reject missing and invalid fields with 400, and ignore additional fields", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    expect(await ann.call("send_message", { message: "   " })).toMatchObject({
      ok: false,
      status: 400,
      error: "Message cannot be empty.",
    });
    for (const fields of [{}, { message: null }, { message: 7 }, { message: ["a"] }, { message: { a: 1 } }]) {
      expect(await ann.call("send_message", fields)).toMatchObject({ ok: false, status: 400 });
    }
    expect(ran).toEqual([]);
    // Additional fields change neither the user nor the channel of the message.
    await ann.result("send_message", {
      message: "hi",
      user: "mo",
      userId: "mo",
      username: "mo",
      channel: "rooms/random",
    });
    expect(await ann.message("chat_message")).toEqual({
      type: "chat_message",
      message: "hi",
      username: "ann",
    });
  });

  test("answer a message without an id with the plain result or error", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    ann.send({ handler: "send_message", message: "plain" });
    expect(await ann.next((frame) => frame.ok === true && !("type" in frame))).toEqual({ ok: true });
    ann.send({ handler: "nothing" });
    expect(await ann.next((frame) => frame.ok === false)).toEqual({
      ok: false,
      error: "Permission denied.",
      reference: expect.any(String),
    });
  });

  test("F73 are selected by the field action, unless the field handler is present", async () => {
    const ann = await world.connect("ann");
    ann.send({ action: "whoami", id: 1 });
    expect(await ann.next((frame) => frame.id === 1)).toMatchObject({ ok: true, result: { body: {} } });
    ann.send({ action: "sendroute", handler: "whoami", id: 2, extra: [1] });
    expect(await ann.next((frame) => frame.id === 2)).toMatchObject({
      ok: true,
      result: { body: { extra: [1] } },
    });
    ann.send({ handler: "nothing", action: "whoami", id: 3 });
    expect(await ann.next((frame) => frame.id === 3)).toMatchObject(DENIED);
  });

  test("answer 500 after an exception, which only onError receives", async () => {
    const ann = await world.connect("ann");
    const answer = await ann.call("fail_always");
    expect(answer).toMatchObject({ ok: false, status: 500, error: "Internal error." });
    expect(JSON.stringify(answer)).not.toContain("a bug in the app");
    expect(world.errors.splice(0).map(String)).toEqual(["Error: a bug in the app"]);
  });
});

describe("a change of access during a connection", () => {
  test("P8 applies to the next message after a direct grant or revoke", async () => {
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    expect(await ann.call("delete_message", { message_id: 1 })).toMatchObject(DENIED);
    await access.grant("ann", chat.can_moderate_chat);
    expect(await ann.result("delete_message", { message_id: 1 })).toEqual({ ok: true });
    await access.revoke("ann", chat.can_moderate_chat);
    expect(await ann.call("delete_message", { message_id: 1 })).toMatchObject(DENIED);
    expect(ann.isClosed).toBe(false);
  });

  test("B15 B45 P9 sends one notice and closes the connection when the view permission is revoked", async () => {
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_use_chat);
    await access.grant("mo", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const mo = await world.connect("mo", { channel: "rooms/general" });
    expect(await access.revoke("ann", chat.can_use_chat)).toBe(true);
    expect(await ann.closed).toEqual({ code: 1000, reason: "Connection Closed Normally" });
    expect(ann.received).toEqual([revoked()]);
    await mo.result("send_message", { message: "without ann" });
    await mo.message("chat_message");
    await expect(world.connect("ann")).rejects.toEqual(rejected(403));
  });

  test("P38 closes the connection when the user or the permission is removed from the group", async () => {
    const { access } = world.sallyport;
    await access.grant({ group: "Chatters" }, chat.can_use_chat);
    await access.users.addToGroup("ann", "Chatters");
    await access.users.addToGroup("bob", "Chatters");
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const bob = await world.connect("bob", { channel: "rooms/general" });
    await access.users.removeFromGroup("ann", "Chatters");
    expect((await ann.closed).code).toBe(1000);
    expect(await bob.result("whoami")).toMatchObject({ user: "bob" });
    await access.revoke({ group: "Chatters" }, chat.can_use_chat);
    expect((await bob.closed).code).toBe(1000);
  });

  test("B9 P13 closes the connections of a deactivated user and of a former superuser", async () => {
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_use_chat);
    await access.users.setSuperuser("rita", true);
    const ann = await world.connect("ann");
    const rita = await world.connect("rita");
    await access.users.setActive("ann", false);
    expect((await ann.closed).code).toBe(1000);
    await access.users.setSuperuser("rita", false);
    expect((await rita.closed).code).toBe(1000);
  });

  test("removes the connection from a denied channel with a notice, until it is granted again", async () => {
    const { access } = world.sallyport;
    await access.grant("mo", chat.can_use_chat);
    await access.grant("mo", chat.can_moderate_chat);
    const mo = await world.connect("mo", { channel: "rooms/general" });
    await mo.result("join_room", { channel: "rooms/moderators" });
    await access.revoke("mo", chat.can_moderate_chat);
    expect(await mo.message("sallyport.revoked")).toEqual(revoked("rooms/moderators"));
    expect(await mo.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
    expect(await mo.call("join_room", { channel: "rooms/moderators" })).toMatchObject(DENIED);
    await access.grant("mo", chat.can_moderate_chat);
    await mo.result("join_room", { channel: "rooms/moderators" });
  });

  test("B15 that was made directly in the database stops deliveries and messages", async () => {
    const { access } = world.sallyport;
    await access.grant("ann", chat.can_use_chat);
    await access.grant("mo", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const mo = await world.connect("mo", { channel: "rooms/general" });
    await world.sql("delete from sallyport_user_permissions where user_id = 'ann'");
    const report = await world.sallyport
      .to({ channel: "rooms/general" })
      .send({ type: "chat_message", message: "x" });
    expect(report).toEqual({
      recipients: 2,
      sent: 1,
      gone: 0,
      denied: 1,
      failed: 0,
      unsent: 0,
      failures: {},
      cursor: null,
    });
    await mo.message("chat_message");
    // These audiences have no channel rule, so the rule of each connection's view applies.
    expect(await world.sallyport.to("everyone").send({ type: "y" })).toMatchObject({ sent: 1, denied: 1 });
    expect(await world.sallyport.to({ user: "ann" }).send({ type: "y" })).toMatchObject({
      sent: 0,
      denied: 1,
    });
    expect(await ann.call("whoami")).toMatchObject(DENIED);
    expect(ann.received.some((frame) => "type" in frame)).toBe(false);
  });

  test("hides channels that are no longer allowed from handlers", async () => {
    const { access } = world.sallyport;
    await access.grant("mo", chat.can_use_chat);
    await access.grant("mo", chat.can_moderate_chat);
    const mo = await world.connect("mo", { channel: "rooms/general" });
    await mo.result("join_room", { channel: "rooms/moderators" });
    await world.sql("delete from sallyport_user_permissions where permission = 'chat.can_moderate_chat'");
    expect(await mo.result("whoami")).toMatchObject({ channels: ["rooms/general"] });
    expect(await mo.result("send_message", { message: "where to?" })).toEqual({ ok: true });
  });

  test("B9 B45 P9 closes connections and invalidates tokens of an ended session only", async () => {
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const desk = await world.connect("ann:desk");
    const phone = await world.connect("ann:phone");
    const token = await world.token("ann:phone");
    await world.sallyport.access.endSession("phone");
    expect((await phone.closed).code).toBe(1000);
    await expect(world.connect("ann:phone", { token })).rejects.toEqual(rejected(401));
    expect(await desk.result("whoami")).toMatchObject({ user: "ann" });
  });
});

test("B15 a user without permission receives no message of a channel", async () => {
  const { access, to } = { access: world.sallyport.access, to: world.sallyport.to.bind(world.sallyport) };
  await access.grant("ann", chat.can_use_chat);
  await access.grant("mo", chat.can_moderate_chat);
  await expect(world.connect("eve", { channel: "rooms/general" })).rejects.toBeInstanceOf(HandshakeRejected);
  // Mo is allowed to connect to the view, but not to join the room.
  await expect(world.connect("mo", { channel: "rooms/general" })).rejects.toBeInstanceOf(HandshakeRejected);
  const mo = await world.connect("mo");
  for (const handler of ["join_room", "change_channel"]) {
    expect(await mo.call(handler, { channel: "rooms/general" })).toMatchObject(DENIED);
  }
  expect(await mo.call("send_to", { channel: "rooms/general", message: "let me in" })).toMatchObject(DENIED);
  const ann = await world.connect("ann", { channel: "rooms/general" });
  await ann.result("send_message", { message: "for those who may" });
  expect(await to({ channel: "rooms/general" }).send({ type: "x" })).toMatchObject({
    recipients: 1,
    sent: 1,
  });
  expect(
    await to("everyone", { permissionsRequired: [chat.can_use_chat] }).send({ type: "z" }),
  ).toMatchObject({
    recipients: 2,
    sent: 1,
    denied: 1,
  });
  await ann.message("z");
  await mo.call("whoami");
  expect(mo.received.filter((frame) => "type" in frame)).toEqual([]);
  expect(await to({ user: "eve" }).send({ type: "x" })).toMatchObject({ recipients: 0 });
});
