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
import { type Refused, revoked, World } from "../integration/world.ts";
import { isPostgres } from "../postgres/database.ts";
import { aboutRights, articles, asPermission, authors, news, openShop, shop } from "./shop.ts";

const DENIED = { ok: false, status: 403, error: "Permission denied." };

/** What a call with a name that nothing declares is answered with. */
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

/** An app with real sockets, for statements about what happens while somebody is connected. */
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

const refused = (status: number) => expect.objectContaining({ status }) as Refused;

/** An app whose one view says this of who gets in. */
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
  test("D1 an active superuser has every declared permission, with an object too; an unknown name throws", async () => {
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
    // In a handler as well: the peer gets no answer, and the developer a sentence.
    const rita = await visit("rita");
    expect(await rita.call("ask", { names: ["shop.nothing"] })).toBe(500);
    expect(errors.splice(0)).toEqual([UNKNOWN]);
  });

  test("D2 no permission rule stops a superuser; only the word about the data does", async () => {
    const { access, visit } = await openShop();
    await access.users.setSuperuser("rita", true);
    const rita = await visit("rita");
    expect(await rita.call("edit")).toBe("edited");
    const question = { user: "rita", view: "/ws/shop" };
    expect(await access.explain({ ...question, handler: "publish" })).toMatchObject({ verdict: "allowed" });
    // The rule of this handler passes, its authorize says no.
    expect(await rita.call("publish")).toBe(403);
    expect(await access.explain({ ...question, channel: "articles/1" })).toMatchObject({
      verdict: "denied",
      missing: [],
      message: 'authorize of channel "articles/1" did not return true. Return true if the user is allowed.',
    });
  });

  test("D3 that a user is superuser costs no statement of its own", async () => {
    const { access, statements, visit } = await openShop();
    await access.users.setSuperuser("rita", true);
    const rita = await visit("rita");
    await rita.call("edit");
    statements.length = 0;
    expect(await rita.call("edit")).toBe("edited");
    expect(await rita.call("ask", { names: ALL_NAMES })).toEqual(ALL_NAMES.map(() => true));
    // One for each message, whoever it is from: the one that finds the session.
    expect(aboutRights(statements)).toHaveLength(2);
    expect(new Set(aboutRights(statements)).size).toBe(1);
  });

  test("D4 an inactive superuser has nothing, and every set is empty", async () => {
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

  test("D5 an inactive user has nothing, whatever was asked before; active again, everything is back", async () => {
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
    await expect(visit("ann")).rejects.toThrow("refused with 403");
    await access.users.setActive("ann", true);
    expect(await everything()).toEqual([true, true, true, true, true, true, true]);
    expect(await (await visit("ann")).call("edit")).toBe("edited");
  });

  test("D6 inactivity is enforced before any code of the app is asked, so that none can let in", async () => {
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
    // Not even what is open to everybody lets in somebody who was locked out.
    expect(await access.explain(question)).toMatchObject({ verdict: "denied" });
    await expect(visit("ann", "/ws/lobby")).rejects.toThrow("refused with 403");
  });

  test("D7 an anonymous user has nothing, by one statement for the message and none for rights", async () => {
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

  test("D8 what is for anonymous users says so itself; a permission cannot be given to them", async () => {
    const { access, visit } = await openShop();
    const guest = await visit(null, "/ws/lobby");
    expect(await guest.call("ask", { names: [] })).toEqual([]);
    expect(await guest.call("edit")).toBe(403);
    await expect(visit(null, "/ws/shop")).rejects.toThrow("refused with 403");
    for (const nobody of ["", null, undefined]) {
      await expect(access.grant(nobody as string, shop.change_article)).rejects.toThrow(ConfigurationError);
    }
    expect(await guest.call("edit")).toBe(403);
  });

  test("D9 an unknown or misspelt permission does not compile, throws by name, and never lets in", async () => {
    const { access, sallyport, visit, errors } = await openShop();
    await access.grant("ann", shop.change_article);
    // @ts-expect-error text is no permission
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

  test("D10 names are exact: case, spaces and a missing app make another name", async () => {
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

  test("D11 a codename has no dots, so that app and codename can always be told apart", () => {
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

  test("D13 a codename stands for one thing in an app: two models cannot both declare it", async () => {
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

  test("D14 one row for each permission; a codename has at most 100 characters, a label 255", async () => {
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
  test("D15 an empty list asks for nothing, so it is refused: at start in a rule, by an error in a question", async () => {
    const { access, errors, visit } = await openShop();
    await access.users.setSuperuser("rita", true);
    await expect(access.users.hasAllPermissions("rita", [])).rejects.toThrow(/at least one permission/);
    await expect(access.users.hasAnyPermission("rita", [])).rejects.toThrow(/at least one permission/);
    // Anonymous users ask by the same words.
    expect(await (await visit(null, "/ws/lobby")).call("ask_none")).toBe(500);
    expect(errors.splice(0).map(String)).toEqual([expect.stringMatching(/at least one permission/)]);
    expect(startWith({ permissionsRequired: [] })).toThrow(/permissionsRequired is empty/);
    expect(startWith({ allPermissionsRequired: [] })).toThrow(/allPermissionsRequired is empty/);
    expect(startWith({ permissionsRequired: [shop.can_ship] })).not.toThrow();
  });

  test("D16 all-of is AND, over any iterable", async () => {
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

  test("D17 one permission where a list belongs throws, instead of being read letter by letter", async () => {
    const { access } = await openShop();
    await access.grant("ann", shop.can_ship);
    // @ts-expect-error one permission is no list
    await expect(access.users.hasAllPermissions("ann", shop.can_ship)).rejects.toThrow(
      'The permissions must be a list, but received "shop.can_ship". Pass an array of permissions.',
    );
    // @ts-expect-error one permission is no list
    await expect(access.users.hasAnyPermission("ann", shop.can_ship)).rejects.toThrow(ConfigurationError);
    await expect(access.users.hasAnyPermission("ann", null as never)).rejects.toThrow(ConfigurationError);
    expect(startWith({ permissionsRequired: shop.can_ship })).toThrow(
      'permissionsRequired must be an array of permissions, but received "shop.can_ship".',
    );
  });

  test("D18 any-of exists, in rules and in questions", async () => {
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

  test("D19 a view's rule is a list with something in it: text, nothing and an empty list refuse to start", () => {
    expect(startWith({ allPermissionsRequired: "shop.can_ship" })).toThrow(
      /allPermissionsRequired must be an array of permissions/,
    );
    expect(startWith({})).toThrow(/RuledView has no rule/);
    expect(startWith({ permissionsRequired: undefined })).toThrow(/permissionsRequired is undefined/);
    expect(startWith({ permissionsRequired: null })).toThrow(ConfigurationError);
    expect(startWith({ allPermissionsRequired: [] })).toThrow(/would not restrict access/);
    expect(startWith({ allPermissionsRequired: [shop.can_ship] })).not.toThrow();
  });

  test("D20 who lacks the permission gets 403, who has not signed in 401 where the page can hear it, and nobody a redirect", async () => {
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

  test("D21 not signed in and not permitted are two reasons in the decisions, though the peer hears one", async () => {
    const { connect, decisions } = bound(await openWorld("/ws/lobby"));
    const guest = await connect(null);
    const answer = await guest.call("members_only");
    expect(answer).toMatchObject(DENIED);
    expect(decisions.at(-1)).toMatchObject({ reason: "anonymous", reference: answer.reference });
    await world?.close();
    const chatWorld = bound(await openWorld("/ws/chat"));
    await expect(chatWorld.connect(null)).rejects.toEqual(refused(403));
    expect(chatWorld.decisions.at(-1)).toMatchObject({ reason: "token-missing" });
    await expect(chatWorld.connect("eve")).rejects.toEqual(refused(403));
    expect(chatWorld.decisions.at(-1)).toMatchObject({
      reason: "permission",
      userId: "eve",
      missing: ["chat.can_use_chat", "chat.can_moderate_chat"],
    });
  });
});

describe("where rights come from", () => {
  test("D22 effective is direct and all groups' together; nothing can be taken off it by a no", async () => {
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
    // Revoking what was not given directly takes nothing away, and is no negative right that stays.
    expect(await access.revoke("ann", shop.can_ship)).toBe(false);
    expect(await access.users.hasPermission("ann", shop.can_ship)).toBe(true);
    expect(await access.revoke("ann", shop.add_article)).toBe(true);
    expect(await access.users.hasPermission("ann", shop.add_article)).toBe(true);
  });

  test("D23 a permission through two groups survives leaving one, and is gone after both", async () => {
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

  test("D24 what a group loses all its members lose, and sockets that rested on it end at once", async () => {
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
    // Bob had it twice.
    expect(await bob.result("whoami")).toMatchObject({ user: "bob", channels: ["rooms/general"] });
  });

  test("D25 a deleted group's and a pruned permission's rights are gone for all; a superuser still passes", async () => {
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

  test("D26 a permission that was pruned and is declared again does not bring its grants back", async () => {
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

  test("D27 groups are flat, each name is one group, at most 150 characters long", async () => {
    const { access } = await openShop();
    expect(await access.groups.create("g".repeat(150))).toBe(true);
    expect(await access.groups.create("g".repeat(150))).toBe(false);
    await expect(access.groups.create("g".repeat(151))).rejects.toThrow(/1 to 150 characters/);
    // A user called like a group is no group: nobody inherits through it.
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

  test("D28 a superuser's list and the answers agree: every declared permission, and nothing else", async () => {
    const { access, restarted, sallyport } = await openShop();
    await access.users.setSuperuser("rita", true);
    await access.grant("rita", news.add_article);
    expect([...(await access.users.permissions("rita"))].sort()).toEqual([...ALL_NAMES].sort());
    for (const name of await access.users.permissions("rita")) {
      expect(await access.users.hasPermission("rita", sallyport.permissions.parse(name)), name).toBe(true);
    }
    // A grant of what is no longer declared can be asked for by nobody, so no list has it.
    const later = restarted({ permissions: [shop], views: { "/ws/ruled": Ruled } });
    expect([...(await later.access.users.permissions("rita"))].sort()).toEqual(
      ALL_NAMES.filter((name) => name.startsWith("shop.")).sort(),
    );
    expect(await later.access.users.permissions("rita", "user")).toEqual(new Set());
    await expect(later.access.users.hasPermission("rita", news.add_article)).rejects.toEqual(UNKNOWN);
  });

  test("D29 rights are told apart by source, and the explanation names it", async () => {
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
    // A superuser's own grants are told by source as well: being superuser is none.
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

  test("D31 whoever may change may look, where a rule says view or change", async () => {
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
  test("D32 rights come with the statement that finds the session: no further one, however much is asked", async () => {
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
    // The view's and the handler's rule cost nothing beside it, nor does the second message.
    expect(await costOf("edit", {})).toEqual(asking);
    expect(await costOf("ask", { names: [] })).toEqual(asking);
  });

  test("D33 nothing is remembered: a grant after a no counts, and a revocation after a yes", async () => {
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

  test("D34 there is nothing to refresh: even what changed behind the library's back is seen by the next message", async () => {
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

  test("D35 a change is seen at the next event of an open socket, and of every other one", async () => {
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

  test("D36 a socket does not outlive the right that it rests on, nor its user's being active", async () => {
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
    await expect(connect("ann")).rejects.toEqual(refused(403));
    expect((await requestToken("bob")).status).toBe(403);
  });

  test("D37 two apps over one database cannot hide a grant from each other: there is nothing that both could fill", async () => {
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

  test("D38 any source that grants suffices, in whatever order they are lost", async () => {
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

  test("D39 a veto holds in whatever place it is declared", async () => {
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

  test("D40 without a way to tell who somebody is, nothing starts", () => {
    expect(() => start({ authenticate: undefined as never })).toThrow(/authenticate is undefined/);
    expect(() => start({ authenticate: [] as never })).toThrow(ConfigurationError);
    expect(() => start({})).not.toThrow();
  });
});

describe("objects", () => {
  test("D41 with an object: the permission is held and the app says yes about the object", async () => {
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

  test("D42 holding it about an object implies holding it; holding it implies nothing about an object", async () => {
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

  test("D43 the app's word about one object counts for no other, and for nothing without an object", async () => {
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

  test("D44 with an object, too, a permission has its full name, and is the one that is asked about", async () => {
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
    // Of another app, but declared: held or not held, as it is.
    expect(await access.users.hasPermission("ann", news.change_article, object)).toBe(false);
    await access.grant("ann", news.change_article);
    expect(await access.users.hasPermission("ann", news.change_article, object)).toBe(true);
    await expect(
      access.users.hasPermission("ann", shop.view_article, { channel: "nowhere" }),
    ).rejects.toEqual(UNKNOWN);
  });

  test("D45 one rule for the question and for the list of who may", async () => {
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

  test("D46 when an object is deleted nothing of ours is left behind", async () => {
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
    // Who may be there is the app's data alone, and no grant names an object.
    rooms.delete("1");
    await sallyport.access.recheck({ channel: "rooms/1" });
    expect(await ann.message("sallyport.revoked")).toEqual(revoked("rooms/1"));
    expect(await ours()).toEqual([{ permission: "chat.can_use_chat" }]);
    expect(await ann.result("whoami")).toMatchObject({ channels: [] });
  });

  test("D47 nobody is no user: there is no row to grant to, and a user who is called so is just a user", async () => {
    const { access, sql, visit } = await openShop();
    const guest = await visit(null, "/ws/lobby");
    await access.grant("AnonymousUser", shop.change_article);
    expect(await guest.call("edit")).toBe(403);
    expect(await guest.call("ask", { names: ["shop.change_article"] })).toEqual([false]);
    expect(await sql("select user_id from sallyport_connections")).toEqual([{ user_id: null }]);
  });
});

describe("who has a permission", () => {
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

  test("D48 active users, directly or by a group, superusers included", async () => {
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

  test("D49 superusers can be left out, and inactive users asked for as well or alone", async () => {
    const { access } = await people();
    // Granted it as well, and a superuser even so.
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

  test("D50 a permission that the database does not know yet: superusers only; one that is not declared throws", async () => {
    const { access, restarted } = await people();
    const fresh = definePermissions("fresh", { can_try: "Can try" });
    const later = restarted({ permissions: [shop, news, fresh] }).access;
    expect(await later.users.withPermission(fresh.can_try)).toEqual(["rita"]);
    await expect(later.grant("other", fresh.can_try)).rejects.toThrow(StorageError);
    await expect(access.users.withPermission(fresh.can_try)).rejects.toEqual(UNKNOWN);
  });

  test("D51 with an object, the app is asked about each of them", async () => {
    const { access } = await people();
    authors.set("1", "other");
    authors.set("2", "rita");
    authors.set("3", "direct");
    const who = (id: string, permission = shop.view_article) =>
      access.users.withPermission(permission, { object: { channel: `articles/${id}` } });
    expect(await access.users.withPermission(shop.view_article)).toEqual(["other", "rita"]);
    expect([await who("1"), await who("2"), await who("3")]).toEqual([["other"], ["rita"], []]);
    // The channel's own rule is asked too: whoever may ship may not therefore be in the article's room.
    expect(await who("3", shop.can_ship)).toEqual([]);
  });

  test("D52 what is no full name of a permission throws", async () => {
    const { access } = await people();
    for (const name of ["can_ship", "shop.", ".can_ship", "", "shop.can_ship.now", 7, null, undefined, {}]) {
      await expect(access.users.withPermission(asPermission(name)), String(name)).rejects.toEqual(UNKNOWN);
    }
  });
});

describe("how permissions come to be", () => {
  test("D53 each model gets add, change, delete and view, with a label that says so", () => {
    const set = definePermissions("shop", modelPermissions("article"));
    expect(new PermissionCatalog([set]).list()).toEqual([
      { name: "shop.add_article", label: "Can add article" },
      { name: "shop.change_article", label: "Can change article" },
      { name: "shop.delete_article", label: "Can delete article" },
      { name: "shop.view_article", label: "Can view article" },
    ]);
    expect(modelPermissions("order_line").add_order_line).toBe("Can add order line");
  });

  test("D54 a codename is action and model in lower case", () => {
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
    // The longest name of a model still makes codenames that may be.
    const longest = modelPermissions("m".repeat(93));
    expect(() => definePermissions("shop", longest)).not.toThrow();
  });

  test("D55 further ones beside a model's, fewer of the four, or none of them", () => {
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

  test("D56 whatever stands for a model has permissions of its own, also what shares another's table", async () => {
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

  test("D57 migrate brings in what is missing, and doing it again changes nothing", async () => {
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

  test("D58 what is no longer declared is reported, and removed only when asked", async () => {
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

  test("D59 a codename declared twice, with a model's or another, is an error at start", () => {
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

  test("D60 with a model that is gone go its permissions and every grant of them", async () => {
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

  test("D61 a permission's name is its natural key: written down here, it is the same one there", async () => {
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
  test("D62 any permission of an app counts as having some of it; a superuser has some of every app", async () => {
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
    // A handler is told the same.
    for (const user of ["ann", "bob", "rita"]) {
      const [inShop, inNews] = await of(user);
      expect(await (await visit(user)).call("about_me"), user).toMatchObject({ shop: inShop, news: inNews });
    }
    await expect(access.users.hasAppPermissions("ann", "shop" as never)).rejects.toThrow(/definePermissions/);
  });
});

test("every statement from D1 to D62 has one test of its own", () => {
  const source = readFileSync(import.meta.filename, "utf8");
  const numbers = [...source.matchAll(/\btest\(\s*"D(\d+) /g)].map(([, number]) => Number(number));
  expect(numbers).toEqual(Array.from({ length: 62 }, (_, index) => index + 1));
});

/** A view that asks for nothing that another version of the code may not declare. */
class Ruled extends WebSocketView {
  static override signedIn = true;
  static override receiveOnly = true;
}

/** The world's methods, to be taken apart. */
function bound(opened: World) {
  return {
    sallyport: opened.sallyport,
    decisions: opened.decisions,
    connect: opened.connect.bind(opened),
    requestToken: opened.requestToken.bind(opened),
    sql: opened.sql.bind(opened),
  };
}
