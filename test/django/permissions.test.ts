import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import type { SallyportOptions } from "../../src/config.ts";
import { ConfigurationError, StorageError } from "../../src/errors.ts";
import { definePermissions, modelPermissions, PermissionCatalog } from "../../src/permissions/define.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import { type ViewClass, WebSocketView } from "../../src/views/view.ts";
import { ChatView, channels, chat, LobbyView, ran } from "../integration/chat.ts";
import { type HandshakeRejected, revoked, World } from "../integration/world.ts";
import { isPostgres } from "../postgres/database.ts";
import { aboutRights, articles, asPermission, authors, news, openShop, shop } from "./shop.ts";

const DENIED = { ok: false, status: 403, error: "Permission denied." };

/** The answer to a call with an undeclared name. */
const UNKNOWN = expect.objectContaining({ code: "SALLYPORT_UNKNOWN_NAME" }) as ConfigurationError;

const ALL_NAMES = [
  "shop.add_article",
  "shop.change_article",
  "shop.delete_article",
  "shop.view_article",
  "shop.can_ship",
  "news.add_article",
  "news.change_article",
];

let world: World | undefined;

/** Starts an app with real sockets, for statements about connected users. */
async function openWorld(gatewayView = "/ws/chat"): Promise<World> {
  world = await World.open({
    permissions: [chat],
    channels,
    views: { "/ws/chat": ChatView, "/ws/lobby": LobbyView },
    gatewayView,
    limits: { connectsPerUser: false, tokensPerUser: false, failedConnectsPerIp: false },
  });
  return world;
}

afterEach(async () => {
  const { errors } = world ?? { errors: [] };
  await world?.close();
  world = undefined;
  authors.clear();
  ran.length = 0;
  expect(errors.map(String)).toEqual([]);
});

const rejected = (status: number) => expect.objectContaining({ status }) as HandshakeRejected;

/** Starts an app with one view and these access rules. */
function startWith(rule: object): () => unknown {
  class RuledView extends WebSocketView {
    ping = handler(() => "pong");
  }
  Object.assign(RuledView, rule);
  return () => start({ views: { "/ws/ruled": RuledView as ViewClass } });
}

function start(options: Partial<SallyportOptions>) {
  return createSallyport({
    storage: sqlite(":memory:"),
    permissions: [shop, news],
    channels: [articles],
    views: {
      "/ws/ruled": class extends WebSocketView {
        static override signedIn = true;
        static override receiveOnly = true;
      },
    },
    authenticate: () => null,
    origins: ["https://www.example.com"],
    ...options,
  });
}

describe("a single permission", () => {
  test("D1 an active superuser has every declared permission, also for an object, and an unknown name throws", async () => {
    const { access, sallyport, visit, errors } = await openShop();
    await access.users.setSuperuser("rita", true);
    authors.set("1", "rita");
    expect(sallyport.permissions.list().map(({ name }) => name)).toEqual(ALL_NAMES);
    for (const { name } of sallyport.permissions.list()) {
      expect(await access.users.hasPermission("rita", name), name).toBe(true);
      expect(await access.users.hasPermission("rita", name, { channel: "articles/1" }), name).toBe(true);
    }
    for (const name of ["shop.nothing", "nowhere.add_article", "add_article", "", null, undefined]) {
      await expect(access.users.hasPermission("rita", asPermission(name)), String(name)).rejects.toEqual(
        UNKNOWN,
      );
    }
    // In a handler, the client receives no details, and the developer receives a message.
    const rita = await visit("rita");
    expect(await rita.call("ask", { names: ["shop.nothing"] })).toBe(500);
    expect(errors.splice(0)).toEqual([UNKNOWN]);
  });

  test("D2 a superuser passes every permission rule, and only checks of data can deny", async () => {
    const { access, visit } = await openShop();
    await access.users.setSuperuser("rita", true);
    const rita = await visit("rita");
    expect(await rita.call("edit")).toBe("edited");
    const question = { user: "rita", view: "/ws/shop" };
    expect(await access.explain({ ...question, handler: "publish" })).toMatchObject({ verdict: "allowed" });
    // The rule of this handler passes, but its authorize denies.
    expect(await rita.call("publish")).toBe(403);
    expect(await access.explain({ ...question, channel: "articles/1" })).toMatchObject({
      verdict: "denied",
      missing: [],
      message: 'authorize of channel "articles/1" did not return true. Return true if the user is allowed.',
    });
  });

  test("D3 no additional statement reads whether a user is a superuser", async () => {
    const { access, statements, visit } = await openShop();
    await access.users.setSuperuser("rita", true);
    const rita = await visit("rita");
    await rita.call("edit");
    statements.length = 0;
    expect(await rita.call("edit")).toBe("edited");
    expect(await rita.call("ask", { names: ALL_NAMES })).toEqual(ALL_NAMES.map(() => true));
    // One for each message of any user: the one that reads the connection.
    expect(aboutRights(statements)).toHaveLength(2);
    expect(new Set(aboutRights(statements)).size).toBe(1);
  });

  test("D4 an inactive superuser has no permissions, and every set is empty", async () => {
    const { access } = await openShop();
    await access.users.setSuperuser("rita", true);
    await access.grant("rita", shop.add_article);
    await access.users.setActive("rita", false);
    expect(await access.users.hasPermission("rita", shop.add_article)).toBe(false);
    expect(await access.users.hasPermission("rita", shop.view_article)).toBe(false);
    expect(await access.users.hasAppPermissions("rita", shop)).toBe(false);
    for (const from of ["all", "user", "group"] as const) {
      expect(await access.users.permissions("rita", from), from).toEqual(new Set());
    }
    expect(await access.users.access("rita")).toMatchObject({ permissions: [] });
  });

  test("D5 an inactive user has no permissions, and has them again when active", async () => {
    const { access, visit } = await openShop();
    await access.grant("ann", shop.change_article);
    await access.grant({ group: "Writers" }, shop.view_article);
    await access.users.addToGroup("ann", "Writers");
    const everything = async () => [
      await access.users.hasPermission("ann", shop.change_article),
      await access.users.hasAnyPermission("ann", [shop.change_article, shop.view_article]),
      await access.users.hasAllPermissions("ann", [shop.change_article, shop.view_article]),
      await access.users.hasAppPermissions("ann", shop),
      (await access.users.permissions("ann")).size === 2,
      (await access.users.permissions("ann", "user")).size === 1,
      (await access.users.permissions("ann", "group")).size === 1,
    ];
    expect(await everything()).toEqual([true, true, true, true, true, true, true]);
    await access.users.setActive("ann", false);
    expect(await everything()).toEqual([false, false, false, false, false, false, false]);
    await expect(visit("ann")).rejects.toThrow("denied with 403");
    await access.users.setActive("ann", true);
    expect(await everything()).toEqual([true, true, true, true, true, true, true]);
    expect(await (await visit("ann")).call("edit")).toBe("edited");
  });

  test("D6 an inactive user is denied before any code of the app runs", async () => {
    const asked: string[] = [];
    const generous = defineChannel("generous/:id", {
      authorize: ({ user }) => {
        asked.push(String(user.id));
        return true;
      },
    });
    const { access, visit } = await openShop({ channels: [generous] });
    await access.users.setSuperuser("ann", true);
    const question = { user: "ann", view: "/ws/lobby", channel: "generous/1" };
    expect(await access.users.hasPermission("ann", shop.can_ship, { channel: "generous/1" })).toBe(true);
    expect(asked).toEqual(["ann"]);
    await access.users.setActive("ann", false);
    expect(await access.users.hasPermission("ann", shop.can_ship, { channel: "generous/1" })).toBe(false);
    expect(asked).toEqual(["ann"]);
    // An inactive user cannot use a view for anonymous users either.
    expect(await access.explain(question)).toMatchObject({ verdict: "denied" });
    await expect(visit("ann", "/ws/lobby")).rejects.toThrow("denied with 403");
  });

  test("D7 an anonymous user has no permissions, and their message needs one statement and none for permissions", async () => {
    const { access, sql, statements, visit } = await openShop();
    await access.grant("ann", shop.view_article);
    const guest = await visit(null, "/ws/lobby");
    expect(await guest.call("about_me")).toEqual({
      id: null,
      signedIn: false,
      isSuperuser: false,
      any: false,
      all: false,
      shop: false,
      news: false,
    });
    statements.length = 0;
    expect(await guest.call("ask", { names: ALL_NAMES })).toEqual(ALL_NAMES.map(() => false));
    expect(aboutRights(statements)).toHaveLength(1);
    expect(await access.users.access(null)).toMatchObject({ user: null, isActive: false, permissions: [] });
    expect(await sql("select id from sallyport_users")).toEqual([{ id: "ann" }]);
  });

  test("D8 a view for anonymous users declares it, and no permission can be granted to them", async () => {
    const { access, visit } = await openShop();
    const guest = await visit(null, "/ws/lobby");
    expect(await guest.call("ask", { names: [] })).toEqual([]);
    expect(await guest.call("edit")).toBe(403);
    await expect(visit(null, "/ws/shop")).rejects.toThrow("denied with 403");
    for (const nobody of ["", null, undefined]) {
      await expect(access.grant(nobody as string, shop.change_article)).rejects.toThrow(ConfigurationError);
    }
    expect(await guest.call("edit")).toBe(403);
  });

  test("D9 an unknown or misspelled permission does not compile, throws with its name, and never allows", async () => {
    const { access, sallyport, visit, errors } = await openShop();
    await access.grant("ann", shop.change_article);
    // @ts-expect-error text is not a permission
    await expect(access.users.hasPermission("ann", "shop.change_articel")).rejects.toThrow(
      'There is no permission "shop.change_articel". Did you mean "shop.change_article"?',
    );
    // @ts-expect-error a codename that was not declared
    expect(shop.change_articel).toBeUndefined();
    expect(() => sallyport.permissions.parse("shop.change_articel")).toThrow(/Did you mean/);
    await expect(access.grant("ann", asPermission("shop.change_articel"))).rejects.toEqual(UNKNOWN);
    expect(startWith({ permissionsRequired: ["shop.change_articel"] })).toThrow(/"shop.change_articel"/);
    const ann = await visit("ann");
    expect(await ann.call("ask", { names: ["shop.change_article"] })).toEqual([true]);
    expect(await ann.call("ask", { names: ["shop.change_articel"] })).toBe(500);
    expect(errors.splice(0)).toEqual([UNKNOWN]);
  });

  test("D10 names are exact: letter case, spaces and the app are part of the name", async () => {
    const twins = definePermissions("twins", { ship: "Ship", Ship: "Ship grandly" });
    const { access, sallyport, visit, errors } = await openShop({ permissions: [shop, news, twins] });
    await access.grant("ann", shop.change_article);
    await access.grant("ann", twins.ship);
    const others = ["Shop.Change_Article", "shop.change_article ", " shop.change_article", "change_article"];
    for (const name of others) expect(sallyport.permissions.find(name), name).toBeUndefined();
    const ann = await visit("ann");
    expect(await ann.call("ask", { names: ["shop.change_article"] })).toEqual([true]);
    for (const name of others) expect(await ann.call("ask", { names: [name] }), name).toBe(500);
    expect(errors.splice(0)).toEqual(others.map(() => UNKNOWN));
    // In the database, too.
    expect(await access.users.hasPermission("ann", twins.ship)).toBe(true);
    expect(await access.users.hasPermission("ann", twins.Ship)).toBe(false);
    expect(await access.users.withPermission(twins.Ship)).toEqual([]);
  });

  test("D11 a codename has no dots, so that app and codename can always be separated", () => {
    expect(() => definePermissions("shop", { "a.b": "A dotted name" })).toThrow(/"a.b" cannot be a codename/);
    expect(() => definePermissions("shop.eu", { a: "A dotted app" })).toThrow(/"shop.eu"/);
    for (const { name } of new PermissionCatalog([shop, news]).list())
      expect(name.split(".")).toHaveLength(2);
  });

  test("D12 the same codename in two apps is two permissions", async () => {
    const { access, visit } = await openShop();
    await access.grant("ann", shop.change_article);
    await access.grant("bob", news.change_article);
    const names = ["shop.change_article", "news.change_article"];
    expect(await (await visit("ann")).call("ask", { names })).toEqual([true, false]);
    expect(await (await visit("bob")).call("ask", { names })).toEqual([false, true]);
    expect(await access.users.withPermission(news.change_article)).toEqual(["bob"]);
  });

  test("D13 a codename is unique in an app: two models cannot both declare it", async () => {
    const order = { can_close: "Can close orders" };
    const ticket = { can_close: "Can close tickets" };
    expect(() => definePermissions("desk", order, ticket)).toThrow(
      'declares desk.can_close twice, as "Can close orders" and as "Can close tickets"',
    );
    const desk = definePermissions(
      "desk",
      { can_close_order: "Can close orders" },
      { can_close_ticket: "Can close tickets" },
    );
    const { access } = await openShop({ permissions: [shop, news, desk] });
    await access.grant("ann", desk.can_close_order);
    expect(await access.users.hasPermission("ann", desk.can_close_order)).toBe(true);
    expect(await access.users.hasPermission("ann", desk.can_close_ticket)).toBe(false);
  });

  test("D14 each permission is one row, with a codename of at most 100 and a label of at most 255 characters", async () => {
    const longest = "c".repeat(100);
    const long = definePermissions("long", { [longest]: "l".repeat(255) });
    expect(() => definePermissions("long", { [`${longest}c`]: "Too long" })).toThrow(/at most 100/);
    expect(() => definePermissions("long", { short: "l".repeat(256) })).toThrow(/1 to 255 characters/);
    expect(() => definePermissions("long", { short: " " })).toThrow(/1 to 255 characters/);
    const { access, sallyport, sql } = await openShop({ permissions: [shop, news, long] });
    await access.grant("ann", sallyport.permissions.parse(`long.${longest}`));
    expect(await access.users.permissions("ann")).toEqual(new Set([`long.${longest}`]));
    await sallyport.migrate();
    const rows = await sql(`select label from sallyport_permissions where name = 'long.${longest}'`);
    expect(rows).toEqual([{ label: "l".repeat(255) }]);
    await expect(
      sql(`insert into sallyport_permissions values ('long.${longest}', 'Twice', 0)`),
    ).rejects.toThrow(/unique/i);
  });
});

describe("lists", () => {
  test("D15 an empty list is rejected, at startup in a rule and by an error in a method call", async () => {
    const { access, errors, visit } = await openShop();
    await access.users.setSuperuser("rita", true);
    await expect(access.users.hasAllPermissions("rita", [])).rejects.toThrow(/at least one permission/);
    await expect(access.users.hasAnyPermission("rita", [])).rejects.toThrow(/at least one permission/);
    // Anonymous users are checked with the same methods.
    expect(await (await visit(null, "/ws/lobby")).call("ask_none")).toBe(500);
    expect(errors.splice(0).map(String)).toEqual([expect.stringMatching(/at least one permission/)]);
    expect(startWith({ permissionsRequired: [] })).toThrow(/permissionsRequired is empty/);
    expect(startWith({ allPermissionsRequired: [] })).toThrow(/allPermissionsRequired is empty/);
    expect(startWith({ permissionsRequired: [shop.can_ship] })).not.toThrow();
  });

  test("D16 all of several permissions are required, for any iterable", async () => {
    const { access } = await openShop();
    await access.grant("ann", shop.add_article);
    await access.grant("ann", shop.view_article);
    function* held() {
      yield shop.add_article;
      yield shop.view_article;
    }
    function* oneMore() {
      yield* held();
      yield shop.can_ship;
    }
    expect(await access.users.hasAllPermissions("ann", [...held()])).toBe(true);
    expect(await access.users.hasAllPermissions("ann", held())).toBe(true);
    expect(await access.users.hasAllPermissions("ann", new Set(held()))).toBe(true);
    expect(await access.users.hasAllPermissions("ann", oneMore())).toBe(false);
    expect(await access.users.hasAllPermissions("ann", [shop.can_ship, shop.add_article])).toBe(false);
    await expect(access.users.hasAllPermissions("ann", (function* () {})())).rejects.toThrow(/at least one/);
  });

  test("D17 one permission instead of a list throws, and is not read as a list of characters", async () => {
    const { access } = await openShop();
    await access.grant("ann", shop.can_ship);
    // @ts-expect-error one permission is not a list
    await expect(access.users.hasAllPermissions("ann", shop.can_ship)).rejects.toThrow(
      'The permissions must be a list, but received "shop.can_ship". Pass an array of permissions.',
    );
    // @ts-expect-error one permission is not a list
    await expect(access.users.hasAnyPermission("ann", shop.can_ship)).rejects.toThrow(ConfigurationError);
    await expect(access.users.hasAnyPermission("ann", null as never)).rejects.toThrow(ConfigurationError);
    expect(startWith({ permissionsRequired: shop.can_ship })).toThrow(
      'permissionsRequired must be an array of permissions, but received "shop.can_ship".',
    );
  });

  test("D18 any of several permissions can be required, in rules and in method calls", async () => {
    const { access, visit } = await openShop();
    await access.grant("ann", shop.change_article);
    await access.grant("bob", shop.can_ship);
    const ann = await visit("ann");
    const bob = await visit("bob");
    expect([await ann.call("look"), await bob.call("look")]).toEqual(["seen", 403]);
    const either = [shop.view_article, shop.change_article];
    expect(await access.users.hasAnyPermission("ann", either)).toBe(true);
    expect(await access.users.hasAllPermissions("ann", either)).toBe(false);
    expect(await access.users.hasAnyPermission("bob", either)).toBe(false);
  });

  test("D19 the rule of a view is a non-empty list: an app with text, null or an empty list does not start", () => {
    expect(startWith({ allPermissionsRequired: "shop.can_ship" })).toThrow(
      /allPermissionsRequired must be an array of permissions/,
    );
    expect(startWith({})).toThrow(/RuledView has no rule/);
    expect(startWith({ permissionsRequired: undefined })).toThrow(/permissionsRequired is undefined/);
    expect(startWith({ permissionsRequired: null })).toThrow(ConfigurationError);
    expect(startWith({ allPermissionsRequired: [] })).toThrow(/would not restrict access/);
    expect(startWith({ allPermissionsRequired: [shop.can_ship] })).not.toThrow();
  });

  test("D20 a user without the permission gets 403, an anonymous one 401 where the page can read it, and no one is redirected", async () => {
    const { requestToken, connect, sallyport } = bound(await openWorld());
    const wanted = { view: "/ws/chat" };
    expect((await requestToken(null, wanted)).status).toBe(401);
    expect((await requestToken("eve", wanted)).status).toBe(403);
    await sallyport.access.grant("eve", chat.can_use_chat);
    expect((await requestToken("eve", wanted)).status).toBe(200);
    const eve = await connect("eve");
    expect(await eve.call("delete_message", { message_id: 1 })).toMatchObject(DENIED);
    expect(eve.isClosed).toBe(false);
  });

  test("D21 decisions have different reasons for anonymous and for unpermitted users, but the client receives the same answer", async () => {
    const { connect, decisions } = bound(await openWorld("/ws/lobby"));
    const guest = await connect(null);
    const answer = await guest.call("members_only");
    expect(answer).toMatchObject(DENIED);
    expect(decisions.at(-1)).toMatchObject({ reason: "anonymous", reference: answer.reference });
    await world?.close();
    const chatWorld = bound(await openWorld("/ws/chat"));
    await expect(chatWorld.connect(null)).rejects.toEqual(rejected(403));
    expect(chatWorld.decisions.at(-1)).toMatchObject({ reason: "token-missing" });
    await expect(chatWorld.connect("eve")).rejects.toEqual(rejected(403));
    expect(chatWorld.decisions.at(-1)).toMatchObject({
      reason: "permission",
      userId: "eve",
      missing: ["chat.can_use_chat", "chat.can_moderate_chat"],
    });
  });
});

describe("sources of permissions", () => {
  test("D22 effective permissions are the direct ones and those of all groups, and there are no negative permissions", async () => {
    const { access } = await openShop();
    await access.grant("ann", shop.add_article);
    await access.grant({ group: "Editors" }, shop.change_article);
    await access.grant({ group: "Editors" }, shop.add_article);
    await access.grant({ group: "Packers" }, shop.can_ship);
    await access.users.addToGroup("ann", "Editors");
    await access.users.addToGroup("ann", "Packers");
    expect(await access.users.permissions("ann")).toEqual(
      new Set(["shop.add_article", "shop.change_article", "shop.can_ship"]),
    );
    // Revoking a permission that was not granted directly changes nothing, and is not stored.
    expect(await access.revoke("ann", shop.can_ship)).toBe(false);
    expect(await access.users.hasPermission("ann", shop.can_ship)).toBe(true);
    expect(await access.revoke("ann", shop.add_article)).toBe(true);
    expect(await access.users.hasPermission("ann", shop.add_article)).toBe(true);
  });

  test("D23 a permission through two groups survives leaving one, and ends with the second", async () => {
    const { access } = await openShop();
    for (const group of ["Editors", "Writers"]) {
      await access.grant({ group }, shop.change_article);
      await access.users.addToGroup("ann", group);
    }
    await access.users.removeFromGroup("ann", "Editors");
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(true);
    await access.users.removeFromGroup("ann", "Writers");
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(false);
    expect(await access.users.permissions("ann")).toEqual(new Set());
  });

  test("D24 all members of a group lose what it loses, and connections that need it are closed immediately", async () => {
    const { sallyport, connect } = bound(await openWorld());
    const { access } = sallyport;
    await access.grant({ group: "Chatters" }, chat.can_use_chat);
    await access.users.addToGroup("ann", "Chatters");
    await access.users.addToGroup("bob", "Chatters");
    await access.grant("bob", chat.can_use_chat);
    const ann = await connect("ann", { channel: "rooms/general" });
    const bob = await connect("bob", { channel: "rooms/general" });
    await access.revoke({ group: "Chatters" }, chat.can_use_chat);
    expect(await access.users.hasPermission("ann", chat.can_use_chat)).toBe(false);
    expect((await ann.closed).code).toBe(1000);
    expect(ann.received).toEqual([revoked()]);
    // Bob had it from two sources.
    expect(await bob.result("whoami")).toMatchObject({ user: "bob", channels: ["rooms/general"] });
  });

  test("D25 permissions of a deleted group and pruned permissions end for all users, and a superuser still passes", async () => {
    const { access, restarted, sql } = await openShop();
    await access.users.setSuperuser("rita", true);
    await access.grant({ group: "Editors" }, shop.change_article);
    await access.users.addToGroup("ann", "Editors");
    await access.users.addToGroup("rita", "Editors");
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(true);
    expect(await access.groups.delete("Editors")).toBe(true);
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(false);
    expect(await access.users.hasPermission("rita", shop.change_article)).toBe(true);

    await access.grant("ann", news.add_article);
    await access.grant({ group: "Writers" }, news.add_article);
    await access.users.addToGroup("bob", "Writers");
    const later = restarted({ permissions: [shop], views: { "/ws/ruled": Ruled } });
    await later.access.permissions.prune();
    const left =
      "select permission from sallyport_user_permissions union select permission from sallyport_group_permissions";
    expect(await sql(left)).toEqual([]);
    for (const user of ["ann", "bob"]) expect(await later.access.users.permissions(user)).toEqual(new Set());
    expect(await later.access.users.hasPermission("rita", shop.can_ship)).toBe(true);
  });

  test("D26 declaring a pruned permission again does not restore its grants", async () => {
    const { access, restarted } = await openShop();
    await access.grant("ann", news.add_article);
    const without = restarted({ permissions: [shop], views: { "/ws/ruled": Ruled } });
    expect((await without.migrate()).stale).toEqual(["news.add_article", "news.change_article"]);
    expect(await without.access.permissions.prune()).toEqual(["news.add_article", "news.change_article"]);
    const again = restarted({ permissions: [shop, news] });
    expect((await again.migrate()).added).toEqual(["news.add_article", "news.change_article"]);
    expect(await again.access.users.hasPermission("ann", news.add_article)).toBe(false);
    expect(await again.access.users.withPermission(news.add_article)).toEqual([]);
  });

  test("D27 groups are flat, each name is one group, and a name has at most 150 characters", async () => {
    const { access } = await openShop();
    expect(await access.groups.create("g".repeat(150))).toBe(true);
    expect(await access.groups.create("g".repeat(150))).toBe(false);
    await expect(access.groups.create("g".repeat(151))).rejects.toThrow(/1 to 150 characters/);
    // A user with the name of a group is not a group, so no user inherits from it.
    await access.grant({ group: "Staff" }, shop.can_ship);
    await access.users.addToGroup("Editors", "Staff");
    await access.users.addToGroup("ann", "Editors");
    expect(await access.users.hasPermission("Editors", shop.can_ship)).toBe(true);
    expect(await access.users.hasPermission("ann", shop.can_ship)).toBe(false);
    await expect(access.users.addToGroup({ group: "Editors" } as never, "Staff")).rejects.toThrow(
      /A user id must be a string/,
    );
    expect((await access.groups.list()).map(({ name }) => name)).toEqual([
      "Editors",
      "Staff",
      "g".repeat(150),
    ]);
  });

  test("D28 the list of a superuser matches the checks: every declared permission, and nothing else", async () => {
    const { access, restarted, sallyport } = await openShop();
    await access.users.setSuperuser("rita", true);
    await access.grant("rita", news.add_article);
    expect([...(await access.users.permissions("rita"))].sort()).toEqual([...ALL_NAMES].sort());
    for (const name of await access.users.permissions("rita")) {
      expect(await access.users.hasPermission("rita", sallyport.permissions.parse(name)), name).toBe(true);
    }
    // A grant of an undeclared permission is in no list, because it cannot be checked.
    const later = restarted({ permissions: [shop], views: { "/ws/ruled": Ruled } });
    expect([...(await later.access.users.permissions("rita"))].sort()).toEqual(
      ALL_NAMES.filter((name) => name.startsWith("shop.")).sort(),
    );
    expect(await later.access.users.permissions("rita", "user")).toEqual(new Set());
    await expect(later.access.users.hasPermission("rita", news.add_article)).rejects.toEqual(UNKNOWN);
  });

  test("D29 permissions are listed by source, and the explanation names it", async () => {
    const { access } = await openShop();
    await access.grant("ann", shop.add_article);
    await access.grant("ann", shop.change_article);
    await access.grant({ group: "Editors" }, shop.change_article);
    await access.grant({ group: "Editors" }, shop.view_article);
    await access.users.addToGroup("ann", "Editors");
    expect(await access.users.permissions("ann", "user")).toEqual(
      new Set(["shop.add_article", "shop.change_article"]),
    );
    expect(await access.users.permissions("ann", "group")).toEqual(
      new Set(["shop.change_article", "shop.view_article"]),
    );
    expect(
      (await access.permissions.holders(shop.change_article)).map(({ user, grants }) => [user, grants]),
    ).toEqual([
      [
        "ann",
        [
          { permission: "shop.change_article", group: null, until: null },
          { permission: "shop.change_article", group: "Editors", until: null },
        ],
      ],
    ]);
    // A superuser's own grants are listed by source too. Being a superuser is not a grant.
    await access.users.setSuperuser("ann", true);
    expect(await access.users.permissions("ann", "user")).toEqual(
      new Set(["shop.add_article", "shop.change_article"]),
    );
  });

  test("D30 there is no staff flag: authenticate() returns ids, and everything else is rejected", async () => {
    for (const more of [{ isStaff: true }, { is_staff: true }, { isSuperuser: true }, { permissions: [] }]) {
      const flagged = await openShop({ authenticate: () => ({ userId: "ann", ...more }) });
      await expect(flagged.visit("ann")).rejects.toThrow(/500/);
      expect(flagged.errors.splice(0).map(String)).toEqual([
        expect.stringMatching(/the result of authenticate\(\): \w+ is not an option/),
      ]);
    }
    const { access, sql, visit } = await openShop();
    await access.users.addToGroup("ann", "staff");
    const ann = await visit("ann");
    expect(await ann.call("ask", { names: ALL_NAMES })).toEqual(ALL_NAMES.map(() => false));
    expect(await ann.call("about_me")).toMatchObject({ id: "ann", isSuperuser: false, shop: false });
    const columns = await sql(
      isPostgres
        ? "select column_name as name from information_schema.columns where table_schema = current_schema() and table_name = 'sallyport_users' order by 1"
        : "select name from pragma_table_info('sallyport_users') order by name",
    );
    expect(columns.map(({ name }) => name)).toEqual(["created_at", "id", "is_active", "is_superuser"]);
  });

  test("D31 users who can change can also view if a rule says view or change", async () => {
    const { access, visit } = await openShop();
    await access.grant("viewer", shop.view_article);
    await access.grant("editor", shop.change_article);
    await access.grant("adder", shop.add_article);
    const answers: unknown[] = [];
    for (const user of ["viewer", "editor", "adder"]) {
      const visitor = await visit(user);
      answers.push([await visitor.call("look"), await visitor.call("edit")]);
    }
    expect(answers).toEqual([
      ["seen", 403],
      ["seen", "edited"],
      [403, 403],
    ]);
  });
});

describe("no cache", () => {
  test("D32 permissions are read with the statement that reads the connection, and checks need no other statement", async () => {
    const { access, statements, visit } = await openShop();
    await access.grant("ann", shop.change_article);
    await access.grant({ group: "Editors" }, shop.view_article);
    await access.users.addToGroup("ann", "Editors");
    const ann = await visit("ann");
    await ann.call("edit");
    const costOf = async (name: string, fields: object) => {
      statements.length = 0;
      await ann.call(name, fields);
      return aboutRights(statements);
    };
    const asking = await costOf("ask", { names: Array.from({ length: 50 }, () => "shop.view_article") });
    expect(asking).toHaveLength(1);
    expect(asking[0]).toMatch(
      /"sallyport_user_permissions".*"sallyport_group_permissions".*"sallyport_connections"/,
    );
    // The rules of the view and the handler add no statement, and neither does the second message.
    expect(await costOf("edit", {})).toEqual(asking);
    expect(await costOf("ask", { names: [] })).toEqual(asking);
  });

  test("D33 nothing is cached: a grant after a denial counts, and a revocation after a permission", async () => {
    const { access, visit } = await openShop();
    const ann = await visit("ann");
    expect(await ann.call("edit")).toBe(403);
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(false);
    await access.grant("ann", shop.change_article);
    expect(await ann.call("edit")).toBe("edited");
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(true);
    await access.revoke("ann", shop.change_article);
    expect(await ann.call("edit")).toBe(403);
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(false);
  });

  test("D34 nothing must be refreshed: the next message even sees changes made directly in the database", async () => {
    const { access, sql, visit } = await openShop();
    await access.grant("ann", shop.change_article);
    const ann = await visit("ann");
    expect(await ann.call("edit")).toBe("edited");
    await sql("delete from sallyport_user_permissions");
    expect(await ann.call("edit")).toBe(403);
    await sql("update sallyport_users set is_superuser = 1");
    expect(await ann.call("edit")).toBe("edited");
    await sql("update sallyport_users set is_active = 0");
    expect(await ann.call("edit")).toBe(403);
    await sql("delete from sallyport_users");
    expect(await ann.call("edit")).toBe(403);
  });

  test("D35 a change applies to the next event of every open connection", async () => {
    const { sallyport, connect } = bound(await openWorld());
    const { access } = sallyport;
    await access.grant("ann", chat.can_use_chat);
    const desk = await connect("ann:desk");
    const phone = await connect("ann:phone");
    for (const socket of [desk, phone]) {
      expect(await socket.call("delete_message", { message_id: 1 })).toMatchObject(DENIED);
    }
    await access.grant("ann", chat.can_moderate_chat);
    for (const socket of [desk, phone]) {
      expect(await socket.result("delete_message", { message_id: 1 })).toEqual({ ok: true });
    }
    await access.revoke("ann", chat.can_moderate_chat);
    for (const socket of [desk, phone]) {
      expect(await socket.call("delete_message", { message_id: 1 })).toMatchObject(DENIED);
    }
  });

  test("D36 a connection is closed when its user loses the required permission or becomes inactive", async () => {
    const { sallyport, connect, requestToken } = bound(await openWorld());
    const { access } = sallyport;
    for (const user of ["ann", "bob", "mo"]) await access.grant(user, chat.can_use_chat);
    const channel = "rooms/general";
    const ann = await connect("ann", { channel });
    const bob = await connect("bob", { channel });
    const mo = await connect("mo", { channel });
    await access.revoke("ann", chat.can_use_chat);
    await access.users.setActive("bob", false);
    await mo.result("send_message", { message: "for those who may" });
    await mo.message("chat_message");
    for (const socket of [ann, bob]) {
      expect((await socket.closed).code).toBe(1000);
      expect(socket.received).toEqual([revoked()]);
    }
    await expect(connect("ann")).rejects.toEqual(rejected(403));
    expect((await requestToken("bob")).status).toBe(403);
  });

  test("D37 two apps with one database cannot hide a grant from each other, because nothing is cached", async () => {
    const { access, restarted } = await openShop();
    const other = restarted({}).access;
    expect(await access.users.hasPermission("ann", shop.can_ship)).toBe(false);
    expect(await other.users.hasPermission("ann", shop.can_ship)).toBe(false);
    await access.grant("ann", shop.can_ship);
    await other.grant("ann", news.add_article);
    for (const one of [access, other]) {
      expect(await one.users.permissions("ann")).toEqual(new Set(["shop.can_ship", "news.add_article"]));
    }
    await other.revoke("ann", shop.can_ship);
    expect(await access.users.hasPermission("ann", shop.can_ship)).toBe(false);
  });

  test("D38 any source of a permission is sufficient, in whatever order the sources end", async () => {
    const { access } = await openShop();
    const sources = [
      {
        give: () => access.grant("ann", shop.can_ship),
        take: () => access.revoke("ann", shop.can_ship),
      },
      {
        give: async () => {
          await access.grant({ group: "Packers" }, shop.can_ship);
          await access.users.addToGroup("ann", "Packers");
        },
        take: () => access.users.removeFromGroup("ann", "Packers"),
      },
      {
        give: () => access.users.setSuperuser("ann", true),
        take: () => access.users.setSuperuser("ann", false),
      },
    ];
    for (const order of [sources, [...sources].reverse(), [...sources.slice(1), ...sources.slice(0, 1)]]) {
      for (const { give } of sources) await give();
      for (const { take } of order) {
        expect(await access.users.hasPermission("ann", shop.can_ship)).toBe(true);
        await take();
      }
      expect(await access.users.hasPermission("ann", shop.can_ship)).toBe(false);
    }
  });

  test("D39 a denial by a rule holds in whatever position it is declared", async () => {
    const open = defineChannel("halls/:id", {
      permissionsRequired: [shop.view_article],
      authorize: () => true,
    });
    const veto = defineChannel("halls/closed", { authorize: () => false });
    const orders = [
      [open, veto],
      [veto, open],
    ];
    for (const inThisOrder of orders) {
      const { access } = await openShop({ channels: inThisOrder });
      await access.grant("ann", shop.view_article);
      await access.users.setSuperuser("rita", true);
      for (const user of ["ann", "rita"]) {
        expect(await access.users.hasPermission(user, shop.view_article, { channel: "halls/1" })).toBe(true);
        expect(await access.users.hasPermission(user, shop.view_article, { channel: "halls/closed" })).toBe(
          false,
        );
      }
    }
  });

  test("D40 without authenticate(), the app does not start", () => {
    expect(() => start({ authenticate: undefined as never })).toThrow(/authenticate is undefined/);
    expect(() => start({ authenticate: [] as never })).toThrow(ConfigurationError);
    expect(() => start({})).not.toThrow();
  });
});

describe("objects", () => {
  test("D41 with an object, the permission is held and the app allows the object", async () => {
    const { access } = await openShop();
    await access.grant("ann", shop.view_article);
    await access.grant("bob", shop.view_article);
    authors.set("1", "ann");
    const object = { channel: "articles/1" };
    expect(await access.users.hasPermission("ann", shop.view_article, object)).toBe(true);
    expect(await access.users.hasPermission("bob", shop.view_article, object)).toBe(false);
    await access.revoke("ann", shop.view_article);
    expect(await access.users.hasPermission("ann", shop.view_article, object)).toBe(false);
  });

  test("D42 holding it for an object implies holding it, but not the reverse", async () => {
    const { access } = await openShop();
    await access.grant("holder", shop.view_article);
    await access.grant("author", shop.view_article);
    authors.set("1", "author");
    authors.set("2", "outsider");
    for (const user of ["holder", "author", "outsider", "nobody"]) {
      for (const id of ["1", "2", "3"]) {
        const global = await access.users.hasPermission(user, shop.view_article);
        const object = await access.users.hasPermission(user, shop.view_article, {
          channel: `articles/${id}`,
        });
        expect([user, id, global, object]).toEqual([
          user,
          id,
          user === "holder" || user === "author",
          user === "author" && id === "1",
        ]);
      }
    }
  });

  test("D43 the answer of the app for one object does not count for another, or without an object", async () => {
    const { access, sql } = await openShop();
    await access.grant("ann", shop.view_article);
    authors.set("1", "ann");
    expect(await access.users.hasPermission("ann", shop.view_article, { channel: "articles/1" })).toBe(true);
    expect(await access.users.hasPermission("ann", shop.view_article, { channel: "articles/2" })).toBe(false);
    expect(await access.users.hasPermission("ann", shop.change_article)).toBe(false);
    authors.set("2", "bob");
    expect(await access.users.permissions("bob")).toEqual(new Set());
    expect(await sql("select user_id, permission from sallyport_user_permissions")).toEqual([
      { user_id: "ann", permission: "shop.view_article" },
    ]);
  });

  test("D44 with an object, a permission has its full name too, and is the one that is checked", async () => {
    const { access } = await openShop();
    await access.grant("ann", shop.view_article);
    authors.set("1", "ann");
    const object = { channel: "articles/1" };
    await expect(access.users.hasPermission("ann", asPermission("view_article"), object)).rejects.toEqual(
      UNKNOWN,
    );
    await expect(
      access.users.hasPermission("ann", asPermission("news.view_article"), object),
    ).rejects.toEqual(UNKNOWN);
    // Of another app, but declared: granted or not granted.
    expect(await access.users.hasPermission("ann", news.change_article, object)).toBe(false);
    await access.grant("ann", news.change_article);
    expect(await access.users.hasPermission("ann", news.change_article, object)).toBe(true);
    await expect(
      access.users.hasPermission("ann", shop.view_article, { channel: "nowhere" }),
    ).rejects.toEqual(UNKNOWN);
  });

  test("D45 checks and the list of permitted users have the same rule", async () => {
    const { access } = await openShop();
    const users = ["ann", "bob", "eve", "off", "rita"];
    for (const user of ["ann", "bob", "off"]) await access.grant(user, shop.view_article);
    await access.users.setActive("off", false);
    await access.users.setSuperuser("rita", true);
    for (const [id, author] of users.entries()) authors.set(String(id), author);
    const yes: string[] = [];
    for (const id of users.keys()) {
      const object = { channel: `articles/${id}` };
      const listed = await access.users.withPermission(shop.view_article, { object });
      for (const user of users) {
        const answer = await access.users.hasPermission(user, shop.view_article, object);
        expect(listed.includes(user), `${user} ${id}`).toBe(answer);
        if (answer) yes.push(`${user} ${id}`);
      }
    }
    expect(yes).toEqual(["ann 0", "bob 1", "rita 4"]);
  });

  test("D46 no row remains when an object is deleted", async () => {
    const rooms = new Set(["1"]);
    const room = defineChannel("rooms/:id", {
      signedIn: true,
      authorize: ({ params }) => rooms.has(params.id),
    });
    world = await World.open({ permissions: [chat], channels: [room], views: { "/ws/chat": ChatView } });
    const { sallyport, connect, sql } = bound(world);
    await sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await connect("ann", { channel: "rooms/1" });
    const ours = async () => [
      ...(await sql("select channel from sallyport_memberships")),
      ...(await sql("select permission from sallyport_user_permissions")),
      ...(await sql("select permission from sallyport_group_permissions")),
    ];
    expect(await ours()).toEqual([{ channel: "rooms/1" }, { permission: "chat.can_use_chat" }]);
    // Access to the object is data of the app, and no grant names an object.
    rooms.delete("1");
    await sallyport.access.recheck({ channel: "rooms/1" });
    expect(await ann.message("sallyport.revoked")).toEqual(revoked("rooms/1"));
    expect(await ours()).toEqual([{ permission: "chat.can_use_chat" }]);
    expect(await ann.result("whoami")).toMatchObject({ channels: [] });
  });

  test("D47 the anonymous user is not a user: there is no row to grant to, and a user may have any name", async () => {
    const { access, sql, visit } = await openShop();
    const guest = await visit(null, "/ws/lobby");
    await access.grant("AnonymousUser", shop.change_article);
    expect(await guest.call("edit")).toBe(403);
    expect(await guest.call("ask", { names: ["shop.change_article"] })).toEqual([false]);
    expect(await sql("select user_id from sallyport_connections")).toEqual([{ user_id: null }]);
  });
});

describe("users with a permission", () => {
  const people = async () => {
    const opened = await openShop();
    const { access } = opened;
    await access.grant("direct", shop.can_ship);
    await access.grant({ group: "Packers" }, shop.can_ship);
    await access.users.addToGroup("grouped", "Packers");
    await access.grant("other", shop.view_article);
    await access.grant("gone", shop.can_ship);
    await access.users.setActive("gone", false);
    await access.users.setSuperuser("rita", true);
    await access.users.setSuperuser("retired", true);
    await access.users.setActive("retired", false);
    return opened;
  };

  test("D48 are active users with a direct or group grant, and superusers", async () => {
    const { access } = await people();
    expect(await access.users.withPermission(shop.can_ship)).toEqual(["direct", "grouped", "rita"]);
    expect((await access.permissions.holders(shop.can_ship)).map(({ user }) => user)).toEqual([
      "direct",
      "grouped",
      "rita",
    ]);
    for (const user of ["direct", "grouped", "rita", "other", "gone", "retired"]) {
      const listed = (await access.users.withPermission(shop.can_ship)).includes(user);
      expect(await access.users.hasPermission(user, shop.can_ship), user).toBe(listed);
    }
  });

  test("D49 can exclude superusers, and include inactive users or list only those", async () => {
    const { access } = await people();
    // Also granted, but still a superuser.
    await access.grant("rita", shop.can_ship);
    expect(await access.users.withPermission(shop.can_ship, { superusers: false })).toEqual([
      "direct",
      "grouped",
    ]);
    expect(await access.users.withPermission(shop.can_ship, { active: "any" })).toEqual([
      "direct",
      "gone",
      "grouped",
      "retired",
      "rita",
    ]);
    expect(await access.users.withPermission(shop.can_ship, { active: false })).toEqual(["gone", "retired"]);
    expect(await access.users.withPermission(shop.can_ship, { active: false, superusers: false })).toEqual([
      "gone",
    ]);
  });

  test("D50 are only superusers for a permission that is not in the database yet, and an undeclared one throws", async () => {
    const { access, restarted } = await people();
    const fresh = definePermissions("fresh", { can_try: "Can try" });
    const later = restarted({ permissions: [shop, news, fresh] }).access;
    expect(await later.users.withPermission(fresh.can_try)).toEqual(["rita"]);
    await expect(later.grant("other", fresh.can_try)).rejects.toThrow(StorageError);
    await expect(access.users.withPermission(fresh.can_try)).rejects.toEqual(UNKNOWN);
  });

  test("D51 with an object are those that the app allows", async () => {
    const { access } = await people();
    authors.set("1", "other");
    authors.set("2", "rita");
    authors.set("3", "direct");
    const who = (id: string, permission = shop.view_article) =>
      access.users.withPermission(permission, { object: { channel: `articles/${id}` } });
    expect(await access.users.withPermission(shop.view_article)).toEqual(["other", "rita"]);
    expect([await who("1"), await who("2"), await who("3")]).toEqual([["other"], ["rita"], []]);
    // The rule of the channel is checked too: a user who can ship is not necessarily allowed in the
    // article's room.
    expect(await who("3", shop.can_ship)).toEqual([]);
  });

  test("D52 need the full name of a permission, and anything else throws", async () => {
    const { access } = await people();
    for (const name of ["can_ship", "shop.", ".can_ship", "", "shop.can_ship.now", 7, null, undefined, {}]) {
      await expect(access.users.withPermission(asPermission(name)), String(name)).rejects.toEqual(UNKNOWN);
    }
  });
});

describe("declaring permissions", () => {
  test("D53 each model gets add, change, delete and view, with a label", () => {
    const set = definePermissions("shop", modelPermissions("article"));
    expect(new PermissionCatalog([set]).list()).toEqual([
      { name: "shop.add_article", label: "Can add article" },
      { name: "shop.change_article", label: "Can change article" },
      { name: "shop.delete_article", label: "Can delete article" },
      { name: "shop.view_article", label: "Can view article" },
    ]);
    expect(modelPermissions("order_line").add_order_line).toBe("Can add order line");
  });

  test("D54 a codename is the action and the model in lower case", () => {
    expect(shop.add_article).toBe("shop.add_article");
    expect(Object.keys(modelPermissions("article"))).toEqual([
      "add_article",
      "change_article",
      "delete_article",
      "view_article",
    ]);
    for (const model of ["Article", "order-line", "order.line", "", "9lives", "m".repeat(94)]) {
      expect(() => modelPermissions(model), model).toThrow(/cannot be the name of a model/);
    }
    // Codenames of the longest model name are still valid.
    const longest = modelPermissions("m".repeat(93));
    expect(() => definePermissions("shop", longest)).not.toThrow();
  });

  test("D55 a model can have additional permissions, fewer of the four, or none", () => {
    const names = (...labels: [Record<string, string>, ...Record<string, string>[]]) =>
      Object.keys(definePermissions("shop", ...labels));
    expect(names(modelPermissions("article", ["view"]), { can_ship: "Can ship" })).toEqual([
      "view_article",
      "can_ship",
    ]);
    expect(names(modelPermissions("article", []), { can_ship: "Can ship" })).toEqual(["can_ship"]);
    expect(() => modelPermissions("article", ["publish" as never])).toThrow(/"publish"/);
    expect(() => modelPermissions("article", ["add", "add"])).toThrow(/"add" is listed twice/);
    const { view_article, can_ship } = definePermissions("shop", modelPermissions("article", ["view"]), {
      can_ship: "Can ship",
    });
    expect([view_article, can_ship]).toEqual(["shop.view_article", "shop.can_ship"]);
  });

  test("D56 each model has its own permissions, also if it shares the table of another", async () => {
    const drafts = definePermissions(
      "drafts",
      modelPermissions("article"),
      modelPermissions("draft_article"),
    );
    const { access } = await openShop({ permissions: [shop, news, drafts] });
    await access.grant("ann", drafts.change_draft_article);
    expect(await access.users.hasPermission("ann", drafts.change_draft_article)).toBe(true);
    expect(await access.users.hasPermission("ann", drafts.change_article)).toBe(false);
    expect(Object.keys(drafts)).toHaveLength(8);
  });

  test("D57 migrate adds what is missing, and running it again changes nothing", async () => {
    const { access, restarted, sallyport, sql } = await openShop();
    await access.grant("ann", shop.can_ship);
    const rows = () => sql("select * from sallyport_permissions order by name");
    const before = await rows();
    expect(before.map(({ name }) => name)).toEqual([...ALL_NAMES].sort());
    expect(await sallyport.migrate()).toEqual({ migrations: [], added: [], stale: [], rules: [] });
    expect(await rows()).toEqual(before);
    const fresh = definePermissions("fresh", { can_try: "Can try" });
    const later = restarted({ permissions: [shop, news, fresh] });
    expect(await later.migrate()).toMatchObject({ added: ["fresh.can_try"], stale: [] });
    expect((await rows()).filter(({ name }) => name !== "fresh.can_try")).toEqual(before);
    expect(await later.access.users.hasPermission("ann", shop.can_ship)).toBe(true);
  });

  test("D58 undeclared permissions are reported, and removed only on request", async () => {
    const { access, restarted, sql } = await openShop();
    await access.grant("ann", news.add_article);
    const later = restarted({ permissions: [shop], views: { "/ws/ruled": Ruled } });
    const stale = ["news.add_article", "news.change_article"];
    expect((await later.migrate()).stale).toEqual(stale);
    expect((await later.migrate()).stale).toEqual(stale);
    expect(await sql("select permission from sallyport_user_permissions")).toHaveLength(1);
    await expect(later.access.permissions.prune(["shop.can_ship"])).rejects.toThrow(/declared in code/);
    expect(await later.access.preview({ kind: "prune-permissions" })).toMatchObject({
      pruned: stale,
      users: [{ user: "ann", gains: [], loses: ["news.add_article"] }],
    });
    expect(await later.access.permissions.prune(["news.change_article"])).toEqual(["news.change_article"]);
    expect(await later.access.permissions.prune()).toEqual(["news.add_article"]);
    expect((await later.migrate()).stale).toEqual([]);
    expect(await later.access.permissions.prune()).toEqual([]);
  });

  test("D59 a codename that is declared twice, by a model or otherwise, is an error at startup", () => {
    expect(() => definePermissions("shop", modelPermissions("article"), { add_article: "Can add" })).toThrow(
      'declares shop.add_article twice, as "Can add article" and as "Can add"',
    );
    expect(() => definePermissions("shop", { can_ship: "Can ship" }, { can_ship: "Can ship" })).toThrow(
      ConfigurationError,
    );
    expect(() =>
      definePermissions("shop", modelPermissions("article"), modelPermissions("article", ["view"])),
    ).toThrow(/shop.view_article twice/);
    const more = definePermissions("shop", { can_pack: "Can pack" });
    expect(() => start({ permissions: [shop, news, more] })).toThrow(/Two permission sets .* "shop"/);
  });

  test("D60 removing a model removes its permissions and every grant of them", async () => {
    const { access, restarted, sql } = await openShop();
    await access.grant("ann", shop.add_article);
    await access.grant({ group: "Editors" }, shop.change_article);
    await access.grant("ann", shop.can_ship);
    const slim = definePermissions("shop", { can_ship: "Can ship orders" });
    const later = restarted({ permissions: [slim, news], channels: [], views: { "/ws/ruled": Ruled } });
    expect(await later.access.permissions.prune()).toEqual([
      "shop.add_article",
      "shop.change_article",
      "shop.delete_article",
      "shop.view_article",
    ]);
    expect(await sql("select permission from sallyport_group_permissions")).toEqual([]);
    expect(await sql("select permission from sallyport_user_permissions")).toEqual([
      { permission: "shop.can_ship" },
    ]);
  });

  test("D61 the name of a permission is its natural key: it is the same in every database", async () => {
    const here = await openShop();
    const fixture = JSON.stringify(here.sallyport.permissions.list());
    expect(JSON.parse(fixture)[0]).toEqual({ name: "shop.add_article", label: "Can add article" });
    const there = await openShop();
    for (const { name } of JSON.parse(fixture) as { name: string }[]) {
      await there.access.grant("ann", there.sallyport.permissions.parse(name));
    }
    expect([...(await there.access.users.permissions("ann"))].sort()).toEqual([...ALL_NAMES].sort());
    expect(await there.access.users.hasPermission("ann", shop.can_ship)).toBe(true);
  });
});

describe("an app", () => {
  test("D62 any permission of an app counts as having one of it, and a superuser has one of every app", async () => {
    const { access, visit } = await openShop();
    await access.grant("ann", shop.can_ship);
    await access.grant({ group: "Writers" }, news.change_article);
    await access.users.addToGroup("bob", "Writers");
    await access.users.setSuperuser("rita", true);
    const of = async (user: string) => [
      await access.users.hasAppPermissions(user, shop),
      await access.users.hasAppPermissions(user, news),
    ];
    expect(await of("ann")).toEqual([true, false]);
    expect(await of("bob")).toEqual([false, true]);
    expect(await of("rita")).toEqual([true, true]);
    expect(await of("eve")).toEqual([false, false]);
    // A handler gets the same answer.
    for (const user of ["ann", "bob", "rita"]) {
      const [inShop, inNews] = await of(user);
      expect(await (await visit(user)).call("about_me"), user).toMatchObject({ shop: inShop, news: inNews });
    }
    await expect(access.users.hasAppPermissions("ann", "shop" as never)).rejects.toThrow(/definePermissions/);
  });
});

test("every statement from D1 to D62 has one test", () => {
  const source = readFileSync(import.meta.filename, "utf8");
  const numbers = [...source.matchAll(/\btest\(\s*"D(\d+) /g)].map(([, number]) => Number(number));
  expect(numbers).toEqual(Array.from({ length: 62 }, (_, index) => index + 1));
});

/** A view without permissions that another version of the code may not declare. */
class Ruled extends WebSocketView {
  static override signedIn = true;
  static override receiveOnly = true;
}

/** Methods of the world, as separate functions. */
function bound(opened: World) {
  return {
    sallyport: opened.sallyport,
    decisions: opened.decisions,
    connect: opened.connect.bind(opened),
    requestToken: opened.requestToken.bind(opened),
    sql: opened.sql.bind(opened),
  };
}
