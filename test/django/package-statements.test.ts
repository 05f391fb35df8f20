import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterEach, expect, test } from "vitest";
import { z } from "zod";
import { badRequest, forbidden } from "../../src/errors.ts";
import type { Permission } from "../../src/permissions/define.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { defineChannel } from "../../src/views/channel.ts";
import type { User } from "../../src/views/context.ts";
import { handler } from "../../src/views/handler.ts";
import { type ViewClass, WebSocketView } from "../../src/views/view.ts";
import {
  BroadcastView,
  ChatView,
  channels,
  chat,
  LobbyView,
  ModerationView,
  ran,
} from "../integration/chat.ts";
import { type HandshakeRejected, World } from "../integration/world.ts";

const DENIED = { ok: false, status: 403, error: "Permission denied." };
const rejected = (status: number) => expect.objectContaining({ status }) as HandshakeRejected;

/** The members of each room, as in a table of the app. */
const members = new Map<string, Set<string>>();

/** A combination that no list can express, in a function that can be tested without a socket. */
const mayArchive = (user: Pick<User, "hasPermission">, openReports: number) =>
  user.hasPermission(chat.can_moderate_chat) ||
  (user.hasPermission(chat.can_broadcast_chat) && openReports === 0);

/** A view with all parts that the package leaves to the app. */
class RoomView extends WebSocketView {
  static override permissionsRequired = [chat.can_use_chat];

  where = handler(({ connection, user }) => ({ user: user.id, channels: connection.channels }));

  rights = handler(({ user }) => ({
    moderate: user.hasPermission(chat.can_moderate_chat),
    broadcast: user.hasPermission(chat.can_broadcast_chat),
  }));

  archive = handler({ body: z.object({ reports: z.int() }) }, ({ body, user }) => {
    if (!mayArchive(user, body.reports))
      throw forbidden(`${user.id} may not archive with ${body.reports} reports`);
    ran.push("archive");
    return "archived";
  });

  /** The room is in the session of the connection. The app decides who belongs to it. */
  history = handler(async ({ connection, requireChannel }) => {
    if (connection.channel === undefined) throw badRequest("Join a room first.");
    await requireChannel(connection.channel);
    return `history of ${connection.channel}`;
  });

  /** Unknown handler names are not dispatched here. */
  default = handler(() => {
    ran.push("default");
    return "default";
  });
}

const memberRoom = defineChannel("rooms/:slug", {
  permissionsRequired: [chat.can_use_chat],
  authorize: ({ user, params }) => user.id !== undefined && (members.get(params.slug)?.has(user.id) ?? false),
});

const VIEWS = {
  "/ws/chat": ChatView,
  "/ws/moderation": ModerationView,
  "/ws/broadcast": BroadcastView,
  "/ws/lobby": LobbyView,
  "/ws/room": RoomView,
};

let world: World | undefined;

async function open(gatewayView: keyof typeof VIEWS, others: object = { channels }): Promise<World> {
  await world?.close();
  world = await World.open({
    permissions: [chat],
    views: VIEWS,
    gatewayView,
    limits: { connectsPerUser: false, tokensPerUser: false, failedConnectsPerIp: false },
    ...others,
  });
  return world;
}

afterEach(async () => {
  const { errors } = world ?? { errors: [] };
  await world?.close();
  world = undefined;
  ran.length = 0;
  members.clear();
  expect(errors.map(String)).toEqual([]);
});

/** Starts an app with this view. */
const starting = (View: ViewClass) => () =>
  createSallyport({
    storage: sqlite(":memory:"),
    permissions: [chat],
    views: { "/ws/only": View },
    authenticate: () => null,
    origins: ["https://www.example.com"],
  });

test("P2 without any of several permissions, the message is denied and the handler is not called", async () => {
  const { connect, sallyport, sql } = bound(await open("/ws/chat"));
  await expect(connect("eve")).rejects.toEqual(rejected(403));
  await sallyport.access.grant("ann", chat.can_moderate_chat);
  const ann = await connect("ann");
  expect(await ann.result("delete_message", { message_id: 1 })).toEqual({ ok: true });
  // Deleted directly in the database, so that the connection stays open.
  await sql("delete from sallyport_user_permissions");
  expect(await ann.call("delete_message", { message_id: 2 })).toMatchObject(DENIED);
  expect(await ann.call("send_message", { message: "hi" })).toMatchObject(DENIED);
  expect(ran).toEqual(["delete_message 1 3"]);
});

test("P4 an app with a view without a rule does not start", async () => {
  class Silent extends WebSocketView {
    ping = handler(() => "pong");
  }
  class Said extends Silent {
    static override allowAnonymous = true;
  }
  expect(starting(Silent)).toThrow(/^Silent has no rule/);
  expect(starting(Said)).not.toThrow();
});

test("P6 rules are checked before schema, authorize and handler", async () => {
  const { connect, decisions, sallyport, sql } = bound(await open("/ws/chat"));
  await sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await connect("ann");
  // A body that no schema accepts. A user without the permission receives no validation error.
  expect(await ann.call("delete_message", { message_id: "none" })).toMatchObject(DENIED);
  expect(decisions.at(-1)).toMatchObject({ reason: "permission", handler: "delete_message" });
  await sallyport.access.grant("ann", chat.can_moderate_chat);
  expect(await ann.call("delete_message", { message_id: "none" })).toMatchObject({ status: 400 });
  await sql("delete from sallyport_user_permissions");
  expect(await ann.call("read_document", { id_of: 1 })).toMatchObject(DENIED);
  expect(decisions.at(-1)).toMatchObject({ reason: "permission" });
  expect(ran).toEqual([]);
});

test("B18 P7 an unknown handler is denied after the rule of the view, and no default handler is called", async () => {
  const { connect, decisions, sallyport, sql } = bound(await open("/ws/room"));
  await sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await connect("ann");
  for (const name of ["nothing", "$default", "archived"]) {
    expect(await ann.call(name), name).toMatchObject(DENIED);
    expect(decisions.at(-1), name).toMatchObject({ reason: "handler", handler: name });
  }
  expect(ran).toEqual([]);
  // By its own name it is a handler like any other.
  expect(await ann.result("default")).toBe("default");
  await sql("delete from sallyport_user_permissions");
  for (const name of ["default", "nothing"]) {
    expect(await ann.call(name), name).toMatchObject(DENIED);
    expect(decisions.at(-1), name).toMatchObject({ reason: "permission" });
  }
  expect(ran).toEqual(["default"]);
});

test("P10 $connect of a view denies users without its permission: no code of the app runs, and no connection is stored", async () => {
  class GreetingView extends ModerationView {
    override connect() {
      ran.push("connect");
    }
  }
  const { connect, sallyport, sql } = bound(
    await open("/ws/moderation", { channels, views: { "/ws/moderation": GreetingView } }),
  );
  await expect(connect("eve")).rejects.toEqual(rejected(403));
  await sallyport.access.grant("eve", chat.can_use_chat);
  await expect(connect("eve")).rejects.toEqual(rejected(403));
  expect(ran).toEqual([]);
  expect(await sql("select id from sallyport_connections")).toEqual([]);
  await sallyport.access.grant("eve", chat.can_moderate_chat);
  await connect("eve");
  expect(ran).toEqual(["connect"]);
  expect(await sql("select user_id from sallyport_connections")).toEqual([{ user_id: "eve" }]);
});

test("P11 an anonymous connection is denied by every requirement", async () => {
  for (const view of ["/ws/chat", "/ws/moderation", "/ws/broadcast"] as const) {
    await expect((await open(view)).connect(null), view).rejects.toEqual(rejected(403));
  }
  const { connect } = bound(await open("/ws/lobby"));
  const guest = await connect(null);
  expect(await guest.result("ping")).toEqual({ user: null });
  expect(await guest.call("members_only")).toMatchObject(DENIED);
  for (const channel of ["rooms/general", "announcements", "notifications_user_null"]) {
    await expect(connect(null, { channel }), channel).rejects.toEqual(rejected(403));
  }
});

test("B10 P12 the user of a message is that of its connection, whatever cookie or body it contains", async () => {
  const { connect, event, sallyport, secret, sql } = bound(await open("/ws/chat"));
  await sallyport.access.grant("ann", chat.can_use_chat);
  await sallyport.access.users.setSuperuser("rita", true);
  await connect("ann", { channel: "rooms/general" });
  const [row] = (await sql("select connection_id from sallyport_connections")) as { connection_id: string }[];
  const as = (handlerName: string, fields: object) =>
    event(
      "/ws/chat/default?user=rita&user_id=rita",
      {
        connectionId: row?.connection_id ?? "",
        "x-sallyport-secret": secret,
        cookie: "login=rita:login-of-rita",
        authorization: "Bearer rita",
        "x-user": "rita",
      },
      JSON.stringify({ ...fields, handler: handlerName, user: "rita", userId: "rita", user_id: "rita" }),
    );
  expect(await (await as("whoami", {})).json()).toMatchObject({ user: "ann", channels: ["rooms/general"] });
  expect((await as("delete_message", { message_id: 1 })).status).toBe(403);
  // A connect belongs to the user of its token, or is anonymous.
  const token = await (world as World).token("ann");
  await expect(connect("rita", { token })).rejects.toEqual(rejected(403));
  expect(ran).toEqual([]);
});

test("P15 no method of a view can override the decision", async () => {
  class Lenient extends ModerationView {
    hasAnyPermission() {
      return true;
    }
    hasAllPermissions() {
      return true;
    }
    has_all_permission() {
      return true;
    }
    override connect() {}
  }
  const { connect, sallyport } = bound(
    await open("/ws/chat", { channels, views: { "/ws/chat": Lenient, "/ws/room": RoomView } }),
  );
  await sallyport.access.grant("ann", chat.can_use_chat);
  await expect(connect("ann")).rejects.toEqual(rejected(403));
  await sallyport.access.grant("ann", chat.can_moderate_chat);
  const ann = await connect("ann");
  expect(await ann.result("ping")).toEqual({ pong: true });
  // Clients cannot call such a method either.
  expect(await ann.call("hasAllPermissions")).toMatchObject(DENIED);
});

test("P16 a view cannot change the text of a denial, and the reason of a handler is only in the decision", async () => {
  class Talkative extends RoomView {
    permissionDenied() {
      return { ok: false, error: "You are not a moderator." };
    }
    override archive = handler({ body: z.object({ reports: z.int() }) }, () => {
      throw forbidden("because it has reports");
    });
  }
  const { connect, decisions, sallyport } = bound(
    await open("/ws/chat", { channels, views: { "/ws/chat": Talkative } }),
  );
  await sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await connect("ann");
  const answers = [await ann.call("archive", { reports: 1 }), await ann.call("nothing")];
  for (const { id: _id, reference: _reference, ...answer } of answers) expect(answer).toEqual(DENIED);
  expect(decisions.at(-2)).toMatchObject({ reason: "app", message: "because it has reports" });
});

test("P17 a rule that no list can express is code of the handler, in a function that can be tested alone", async () => {
  const holding = (...held: Permission[]) => ({ hasPermission: (p: Permission) => held.includes(p) });
  expect(mayArchive(holding(), 0)).toBe(false);
  expect(mayArchive(holding(chat.can_moderate_chat), 3)).toBe(true);
  expect([0, 1].map((reports) => mayArchive(holding(chat.can_broadcast_chat), reports))).toEqual([
    true,
    false,
  ]);

  const { connect, decisions, sallyport } = bound(await open("/ws/room"));
  await sallyport.access.grant("ann", chat.can_use_chat);
  await sallyport.access.grant("ann", chat.can_broadcast_chat);
  const ann = await connect("ann");
  expect(await ann.result("archive", { reports: 0 })).toBe("archived");
  expect(await ann.call("archive", { reports: 2 })).toMatchObject(DENIED);
  expect(decisions.at(-1)).toMatchObject({ message: "ann may not archive with 2 reports", userId: "ann" });
  expect(ran).toEqual(["archive"]);
});

test("P19 a handler can check permissions itself, with the permissions of the current message", async () => {
  const { connect, sallyport } = bound(await open("/ws/room"));
  const { access } = sallyport;
  await access.grant("ann", chat.can_use_chat);
  const ann = await connect("ann");
  expect(await ann.result("rights")).toEqual({ moderate: false, broadcast: false });
  await access.grant({ group: "Moderators" }, chat.can_moderate_chat);
  await access.users.addToGroup("ann", "Moderators");
  expect(await ann.result("rights")).toEqual({ moderate: true, broadcast: false });
  await access.groups.delete("Moderators");
  expect(await ann.result("rights")).toEqual({ moderate: false, broadcast: false });
});

test("P21 the room comes from the connection and the membership from the app, and both are read for each message", async () => {
  const { connect, decisions, sallyport } = bound(await open("/ws/room", { channels: [memberRoom] }));
  for (const user of ["ann", "bob"]) await sallyport.access.grant(user, chat.can_use_chat);
  members.set("general", new Set(["ann"]));
  const ann = await connect("ann", { channel: "rooms/general" });
  await expect(connect("bob", { channel: "rooms/general" })).rejects.toEqual(rejected(403));
  const bob = await connect("bob");
  expect(await ann.result("history", { channel: "rooms/other" })).toBe("history of rooms/general");
  expect(await bob.call("history", { channel: "rooms/general" })).toMatchObject({ status: 400 });
  // Still in the channel, but no longer a member.
  members.get("general")?.delete("ann");
  expect(await ann.call("history")).toMatchObject(DENIED);
  expect(decisions.at(-1)).toMatchObject({ reason: "authorize", userId: "ann" });
});

test("P22 a call needs both an allowed handler and a permitted user", async () => {
  const { connect, decisions, sallyport } = bound(await open("/ws/chat"));
  await sallyport.access.users.setSuperuser("rita", true);
  await sallyport.access.grant("ann", chat.can_use_chat);
  // All permissions, but a handler that is not allowed.
  expect(await (await connect("rita")).call("hidden")).toMatchObject(DENIED);
  expect(decisions.at(-1)).toMatchObject({ reason: "handler", userId: "rita" });
  // An allowed handler, but not the permission.
  expect(await (await connect("ann")).call("delete_message", { message_id: 1 })).toMatchObject(DENIED);
  expect(decisions.at(-1)).toMatchObject({ reason: "permission", userId: "ann" });
  expect(ran).toEqual([]);
});

test("P24 an app with a handler whose name begins with _ does not start, listed or not", async () => {
  class Private extends WebSocketView {
    static override signedIn = true;
    _purge = handler(() => "purged");
  }
  class Listed extends Private {
    static override allowedHandlers = ["_purge"];
  }
  expect(starting(Private)).toThrow(/"_purge"\. A name that begins with _ means that it is private/);
  expect(starting(Listed)).toThrow(/"_purge"/);
});

test("P25 helper methods cannot be called, only handlers made by handler()", async () => {
  const { connect, sallyport } = bound(await open("/ws/chat"));
  await sallyport.access.users.setSuperuser("rita", true);
  const rita = await connect("rita");
  for (const name of ["helper", "slug", "#slug"]) expect(await rita.call(name), name).toMatchObject(DENIED);
  expect(ran).toEqual([]);
  class Listing extends ChatView {
    static override allowedHandlers = ["helper"];
  }
  expect(starting(Listing)).toThrow(
    'Listing lists handler "helper" in allowedHandlers, but does not declare it.',
  );
});

test("P31 no channel, room, tenant, user or role that a client sends is trusted", async () => {
  const { connect, sallyport } = bound(await open("/ws/chat"));
  await sallyport.access.grant("ann", chat.can_use_chat);
  await sallyport.access.grant("mo", chat.can_use_chat);
  const ann = await connect("ann", { channel: "rooms/general" });
  const mo = await connect("mo", { channel: "rooms/random" });
  const claims = {
    channel: "rooms/random",
    channel_name: "rooms/random",
    room_id: "random",
    tenant_id: 7,
    project_id: 7,
    user: "mo",
    user_id: "mo",
    username: "mo",
    role: "superuser",
    is_superuser: true,
    isSuperuser: true,
    permissions: ["chat.can_moderate_chat"],
    session: { channel: "rooms/random", userId: "mo" },
  };
  expect(await ann.result("whoami", claims)).toMatchObject({ user: "ann", channels: ["rooms/general"] });
  expect(await ann.call("delete_message", { message_id: 1, ...claims })).toMatchObject(DENIED);
  await ann.result("send_message", { message: "hi", ...claims });
  expect(await ann.message("chat_message")).toEqual({ type: "chat_message", message: "hi", username: "ann" });
  await mo.result("whoami");
  expect(mo.received.filter((frame) => "type" in frame)).toEqual([]);
});

test("P32 permissions of a loaded page do not count for the connect, nor those of the connect for a message", async () => {
  const { connect, sallyport, sql, token } = bound(await open("/ws/chat"));
  const { access } = sallyport;
  await access.grant("ann", chat.can_use_chat);
  const issued = await token("ann", { view: "/ws/chat", channel: "rooms/general" });
  await access.revoke("ann", chat.can_use_chat);
  await expect(connect("ann", { token: issued, channel: "rooms/general" })).rejects.toEqual(rejected(403));
  await access.grant("ann", chat.can_use_chat);
  const ann = await connect("ann", { channel: "rooms/general" });
  await sql("delete from sallyport_user_permissions");
  expect(await ann.call("send_message", { message: "hi" })).toMatchObject(DENIED);
  expect(ran).toEqual([]);
});

test("P35 the decision contains what the client does not receive: user, connection, gateway, handler and the missing permissions", async () => {
  const { connect, decisions, sallyport, sql } = bound(await open("/ws/chat"));
  await sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await connect("ann", { channel: "rooms/general" });
  const answer = await ann.call("delete_message", { message_id: 1 });
  const [row] = await sql("select id, connection_id from sallyport_connections");
  const { id, connection_id } = row as { id: string; connection_id: string };
  const decision = {
    event: "message",
    verdict: "denied",
    reason: "permission",
    userId: "ann",
    connectionId: connection_id,
    connectionKey: id,
    gateway: "local",
    view: "/ws/chat",
    handler: "delete_message",
    missing: ["chat.can_moderate_chat"],
    message: "ChatView.delete_message needs chat.can_moderate_chat. Grant it to allow this.",
    reference: answer.reference,
  };
  expect(decisions.at(-1)).toMatchObject(decision);
  expect(await sallyport.access.explain(answer.reference as string)).toMatchObject(decision);
  expect(Object.keys(answer).sort()).toEqual(["error", "id", "ok", "reference", "status"]);
});

test("P39 an app with an unknown permission in a rule, or text instead of a list, does not start", async () => {
  class Misspelt extends WebSocketView {
    static override permissionsRequired = ["chat.can_use_chatt" as Permission];
    ping = handler(() => "pong");
  }
  class Text extends WebSocketView {
    static override allPermissionsRequired = chat.can_use_chat as never;
    ping = handler(() => "pong");
  }
  class Handler extends WebSocketView {
    static override signedIn = true;
    ping = handler({ permissionsRequired: ["chat.nothing" as Permission] }, () => "pong");
  }
  expect(starting(Misspelt)).toThrow(/"chat.can_use_chatt", which is not among the permissions/);
  expect(starting(Text)).toThrow(
    'Text: allPermissionsRequired must be an array of permissions, but received "chat.can_use_chat".',
  );
  expect(starting(Handler)).toThrow(/Handler.ping: permissionsRequired contains "chat.nothing"/);
});

test("every statement from P1 to P39 has a test with its number", () => {
  const tests = resolve(import.meta.dirname, "..");
  const files = readdirSync(tests, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".test.ts"),
  );
  const borne = new Set<number>();
  for (const file of files) {
    const names = readFileSync(join(tests, file), "utf8").matchAll(/^ *(?:test|it)\(\s*(["'`])(.*?)\1/gms);
    for (const [, , name = ""] of names) {
      for (const [, number] of name.matchAll(/\bP(\d+)\b/g)) borne.add(Number(number));
    }
  }
  const missing = Array.from({ length: 39 }, (_, index) => index + 1).filter((number) => !borne.has(number));
  expect(missing).toEqual([]);
});

/** Methods of the world, as separate functions. */
function bound(opened: World) {
  return {
    sallyport: opened.sallyport,
    decisions: opened.decisions,
    secret: opened.secret,
    connect: opened.connect.bind(opened),
    event: opened.event.bind(opened),
    token: opened.token.bind(opened),
    sql: opened.sql.bind(opened),
  };
}
