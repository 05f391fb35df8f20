import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CompiledQuery, Kysely } from "kysely";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { nodeListener } from "../../src/adapters/node.ts";
import { INTERNAL } from "../../src/internal.ts";
import { createSallyport, type Sallyport } from "../../src/sallyport.ts";
import type { Database } from "../../src/storage/database.ts";
import { LibsqlDialect } from "../../src/storage/sqlite.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { handler } from "../../src/views/handler.ts";
import {
  isPostgres,
  NOW,
  observedStorageAt,
  padded,
  storageAt,
  withHeldLooks,
} from "../postgres/database.ts";
import { sqliteDatabase } from "../postgres/storage-at.ts";
import { ChatView, channels, chat, ModerationView } from "./chat.ts";
import { ORIGIN, revoked, World } from "./world.ts";

const views = { "/ws/chat": ChatView };
let world: World;
beforeEach(async () => {
  world = await World.open({ permissions: [chat], channels, views });
});
afterEach(async () => {
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

const app = (storage: Database, more: object = {}) =>
  createSallyport({
    storage,
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
    ...more,
  });

test("a hook that does not return denies access after five seconds and delays no other revocation", async () => {
  await world.close();
  let hanging = false;
  const stuck = defineChannel("stuck", {
    signedIn: true,
    authorize: () => (hanging ? new Promise<boolean>(() => undefined) : true),
  });
  world = await World.open({ permissions: [chat], channels: [...channels, stuck], views });
  const { access } = world.sallyport;
  for (const user of ["ann", "bob"]) await access.grant(user, chat.can_use_chat);
  await access.grant("dee", chat.can_use_chat);
  const ann = await world.connect("ann", { channel: "stuck" });
  const [bob, dee] = [await world.connect("bob"), await world.connect("dee")];
  hanging = true;
  // Only this test advances the clock.
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const rechecking = access.recheck({ user: "ann" });
  let isDone = false;
  rechecking.then(() => {
    isDone = true;
  });
  await access.revoke("bob", chat.can_use_chat);
  await world.sql("update sallyport_user_permissions set until_at = 1 where user_id = 'dee'");
  await vi.advanceTimersByTimeAsync(1000);
  expect((await bob.closed).code).toBe(1000);
  expect((await dee.closed).code).toBe(1000);
  expect(isDone).toBe(false);
  await vi.advanceTimersByTimeAsync(5000);
  await expect.poll(() => isDone).toBe(true);
  await rechecking;
  vi.useRealTimers();
  expect(await ann.message("sallyport.revoked")).toEqual(revoked("stuck"));
  expect(world.errors.splice(0).map(String)).toEqual([
    expect.stringContaining("did not return within 5000 ms"),
  ]);
});

test("enforces a permission change that a hook makes after it has returned", async () => {
  await world.close();
  let later: Promise<unknown> | undefined;
  const lazy = defineChannel("lazy", {
    signedIn: true,
    authorize: () => {
      later ??= new Promise((resolve) => setImmediate(resolve)).then(() =>
        world.sallyport.access.revoke("bob", chat.can_use_chat),
      );
      return true;
    },
  });
  world = await World.open({ permissions: [chat], channels: [...channels, lazy], views });
  const { access } = world.sallyport;
  for (const user of ["ann", "bob"]) await access.grant(user, chat.can_use_chat);
  const bob = await world.connect("bob");
  await world.connect("ann", { channel: "lazy" });
  await access.recheck({ user: "ann" });
  await later;
  expect(await world.sql("select closed_at from sallyport_connections where user_id = 'bob'")).not.toEqual([
    { closed_at: null },
  ]);
  expect((await bob.closed).code).toBe(1000);
});

test("completes a revocation of a process that died between closing the row and the connection", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann");
  await world.sql("delete from sallyport_user_permissions");
  await world.sql("update sallyport_connections set closed_at = 1, close_reason = 'permission ended'");
  await world.sql(`insert into sallyport_revocations (id, scope, subject, created_at, claimed_by, claimed_until)
    values ('x', 'user', 'ann', 1, 'dead', 0)`);
  expect((await ann.closed).code).toBe(1000);
  expect(ann.received).toEqual([revoked()]);
});

describe("two apps with different views on one database", () => {
  test("close their own connections after a change by the other app", async () => {
    const other = app(storageAt(world.database), { views: { "/ws/other": ModerationView }, channels: [] });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await other.access.revoke("ann", chat.can_use_chat);
    expect((await ann.closed).code).toBe(1000);
    await other.close();
  });

  test("process a revocation once each, and remove it when both are done", async () => {
    await world.close();
    // The pollers of the world are paused. Only enforce() reads the record.
    const { storage, release } = withHeldLooks();
    world = await World.open({ permissions: [chat], channels, views, storage });
    const other = app(storageAt(world.database), { views: { "/ws/other": ModerationView }, channels: [] });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant("ann", chat.can_moderate_chat);
    await world.connect("ann");
    await other.access.revoke("ann", chat.can_moderate_chat);
    const records = () => world.sql("select done_by from sallyport_revocations");
    try {
      expect(await records()).toHaveLength(1);
      expect(await other.enforce()).toBe(0);
      // The world's app knows all views and channels that are in use, so the record is complete.
      await world.sallyport.enforce();
      expect(await records()).toEqual([]);
    } finally {
      release();
    }
    await other.close();
  });
});

test("a restarted app that receives no request revokes access when a grant expires", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    select 's', id, 'AAAAAAAAAAAAAAA=', '/ws/chat', 'ann', ${NOW} - 60000, 0 from sallyport_gateways`);
  await world.sallyport.close();
  await world.sql(`update sallyport_user_permissions set until_at = ${NOW} + 300`);
  const restarted = app(storageAt(world.database));
  nodeListener(restarted);
  const reasons = () => world.sql("select close_reason from sallyport_connections");
  await expect.poll(reasons).toEqual([{ close_reason: "permission ended" }]);
  // The revocation must be complete before the gateway shuts down.
  await expect.poll(() => world.sql("select id from sallyport_revocations")).toEqual([]);
  await restarted.close();
});

describe("an app with its own Kysely instance and foreign keys turned off", () => {
  let folder: string;
  let own: Kysely<unknown>;
  let sallyport: Sallyport;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "sallyport-own-"));
    own = new Kysely({ dialect: new LibsqlDialect({ path: join(folder, "own.db") }) });
    await own.executeQuery(CompiledQuery.raw("pragma foreign_keys = off"));
    sallyport = app(sqliteDatabase(own));
    await sallyport.migrate();
  });
  afterEach(async () => {
    await sallyport.close();
    await own.destroy();
    await rm(folder, { recursive: true, force: true });
  });
  const rows = async (table: string) =>
    (await own.executeQuery(CompiledQuery.raw(`select * from sallyport_${table}`))).rows;

  test("deletes all dependent rows of a deleted user or group", async () => {
    const { access } = sallyport;
    await access.grant({ group: "Crew" }, chat.can_use_chat);
    await access.users.addToGroup("bob", "Crew");
    await access.groups.delete("Crew");
    expect(await access.users.hasPermission("bob", chat.can_use_chat)).toBe(false);
    await access.groups.create("Crew");
    expect(await access.users.hasPermission("bob", chat.can_use_chat)).toBe(false);
    await access.grant("ann", chat.can_use_chat);
    await access.users.addToGroup("ann", "Crew");
    await access.users.delete("ann");
    await access.users.setActive("ann", false);
    await access.users.setActive("ann", true);
    expect(await access.users.hasPermission("ann", chat.can_use_chat)).toBe(false);
    for (const table of [
      "user_permissions",
      "group_permissions",
      "user_groups",
      "revocation_users",
      "revocations",
    ])
      expect(await rows(table), table).toEqual([]);
  });
});

test("links each revocation by an expired grant to its own audit entry", async () => {
  const { access } = world.sallyport;
  const users = ["ann", "bob", "cat"];
  for (const user of users) await access.grant(user, chat.can_use_chat);
  const sockets = await Promise.all(users.map((user) => world.connect(user)));
  await world.sql("update sallyport_user_permissions set until_at = 1");
  await world.sallyport.enforce();
  for (const [index, socket] of sockets.entries()) {
    await socket.closed;
    const notice = await socket.message("sallyport.revoked");
    const decision = await access.explain(notice.reference as string);
    const [entry] = await access.audit.list({ user: users[index] as string });
    expect(decision?.change).toBe(entry?.number);
    expect(entry).toMatchObject({ action: "expired", user: users[index] });
  }
});

test("an unrelated change in the same process does not repeat the authorizeMany call of a send", async () => {
  await world.close();
  let hookCalls = 0;
  const club = defineChannel("club", {
    signedIn: true,
    authorizeMany: ({ userIds }) => {
      hookCalls++;
      return userIds;
    },
  });
  const held: (() => void)[] = [];
  let isHeld = true;
  let polls = 0;
  let api: Server | undefined;
  try {
    api = createServer((request, response) => {
      request.resume();
      if (isHeld) held.push(() => response.end());
      else response.end();
    });
    await new Promise<void>((resolve) => api?.listen(0, "127.0.0.1", resolve));
    const storage = (source: string) => observedStorageAt(source, () => polls++);
    world = await World.open({ permissions: [chat], channels: [...channels, club], views, storage });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const endpoint = `http://127.0.0.1:${(api.address() as AddressInfo).port}/dev`;
    await world.sallyport.registerGateway({ name: "slow", endpoint });
    await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
      with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
      select ${padded("i", 5)}, (select id from sallyport_gateways where name = 'slow'), ${padded("i", 15)} || '=',
        '/ws/chat', 'ann', ${NOW} - 60000, 0 from n`);
    await world.sql("insert into sallyport_memberships select id, 'club', 1 from sallyport_connections");
    world.sallyport[INTERNAL].start();
    const sending = world.sallyport.to({ channel: "club" }).send("news");
    await expect.poll(() => held.length).toBe(128);
    await world.sallyport.access.groups.create("Others");
    // Every third poll of a process checks everything.
    const before = polls;
    await expect.poll(() => polls).toBeGreaterThan(before + 4 * (isPostgres ? 3 : 1));
    isHeld = false;
    for (const go of held) go();
    expect(await sending).toMatchObject({ recipients: 300, sent: 300 });
    expect(hookCalls).toBe(1);
  } finally {
    api?.closeAllConnections();
    api?.close();
  }
});

describe("invalid input", () => {
  test("of recheck() is rejected and makes no other change", async () => {
    const { access } = world.sallyport;
    const sly = { kind: "set-superuser", user: "eve", superuser: true };
    await expect(access.recheck(sly as never)).rejects.toThrow(/Pass either \{ user \} or \{ channel \}\./);
    await expect(access.recheck({ user: "a", channel: "rooms/a" } as never)).rejects.toThrow(/Pass either/);
    await expect(access.recheck({ channel: "no/such" })).rejects.toThrow(/No channel definition matches/);
    expect(await access.users.get("eve")).toBeUndefined();
  });

  test("with two keys in an audience or a holder is rejected", async () => {
    const { sallyport } = world;
    expect(() => sallyport.to({ channel: "rooms/general", user: "bob" })).toThrow(/one of/);
    expect(() => sallyport.to({ permission: chat.can_use_chat, user: "bob" })).toThrow(/one of/);
    await expect(
      sallyport.access.grant({ group: "Crew", user: "bob" } as never, chat.can_use_chat),
    ).rejects.toThrow(/A holder is/);
  });

  test.each([
    [
      "a misspelt end",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, { untill: 9e15 } as never),
      /untill is not an option\. Did you mean "until"\?/,
    ],
    [
      "an end as text",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, { until: "1900000000000" } as never),
      /until must be a Date or a whole number of epoch milliseconds/,
    ],
    [
      "an end beyond any Date",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, { until: 9e15 }),
      /until must be a Date or a whole number of epoch milliseconds/,
    ],
    [
      "a reason where options belong",
      () => world.sallyport.access.revoke("ann", chat.can_use_chat, "fired" as never),
      /options of a (change|grant): the options must be a plain object/,
    ],
    [
      "null for options",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, null as never),
      /options|Options/,
    ],
    [
      "null for a question",
      () => world.sallyport.access.explain(null as never),
      /explain\(\): the argument must be a reference or a question/,
    ],
    [
      "a question about nobody's id",
      () => world.sallyport.access.explain({ user: "", view: "/ws/chat" }),
      /A user id must be a string/,
    ],
    [
      "null for a filter",
      () => world.sallyport.access.audit.list(null as never),
      /audit\(\): the options must be a plain object/,
    ],
    [
      "a misspelt filter",
      () => world.sallyport.access.audit.list({ usr: "ann" } as never),
      /Did you mean "user"/,
    ],
    [
      "a number that is none",
      () => world.sallyport.access.audit.list({ before: "abc" as never }),
      /before must be a whole number/,
    ],
    [
      "a verdict that is none",
      () => world.sallyport.access.audit.decisions({ verdict: "x" as never }),
      /verdict/,
    ],
    ["a filter with NUL", () => world.sallyport.listConnections({ user: "a\0" }), /NUL/],
    [
      "a kick with text",
      () => world.sallyport.to("everyone").close("because" as never),
      /options of a (change|grant): the options must be a plain object/,
    ],
    [
      "null for a requirement",
      async () => world.sallyport.to("everyone", null as never),
      /must be a plain object, but received null/,
    ],
    [
      "a circle for an audience",
      async () => {
        const circle: Record<string, unknown> = {};
        circle.user = circle;
        world.sallyport.to(circle as never);
      },
      /the audience is invalid/,
    ],
    [
      "half a character in an id",
      () => world.sallyport.access.grant("a\ud800", chat.can_use_chat),
      /A user id must be a string/,
    ],
    [
      "a split that there is not",
      () => world.sallyport.access.users.permissions("ann", "groups" as never),
      /"all", "user" or "group"/,
    ],
    [
      "a misspelt option of a question",
      () => world.sallyport.access.users.withPermission(chat.can_use_chat, { activ: true } as never),
      /Did you mean "active"/,
    ],
  ])("such as %s is rejected without an audit entry", async (_name, act, words) => {
    await expect((async () => act())()).rejects.toThrow(words);
    expect(await world.sql("select * from sallyport_audit")).toEqual([]);
  });
});

test("explains the access of an unknown user as that of an active user without permissions", async () => {
  const { access } = world.sallyport;
  expect(await access.explain({ user: "stranger", view: "/ws/chat" })).toMatchObject({
    verdict: "denied",
    message: "ChatView needs chat.can_use_chat or chat.can_moderate_chat. Grant one of them to allow this.",
  });
  expect(await access.users.access("stranger")).toMatchObject({ isActive: true, permissions: [] });
});

test("ignores a repeated grant, and calls no hook after changes that only add permissions", async () => {
  await world.close();
  let hookCalls = 0;
  const club = defineChannel("club", {
    signedIn: true,
    authorize: () => {
      hookCalls++;
      return true;
    },
  });
  world = await World.open({ permissions: [chat], channels: [...channels, club], views });
  const { access } = world.sallyport;
  expect(await access.grant("ann", chat.can_use_chat)).toBe(true);
  expect(await access.grant("ann", chat.can_use_chat, { reason: "again" })).toBe(false);
  expect(await access.audit.list()).toHaveLength(1);
  await world.connect("ann", { channel: "club" });
  hookCalls = 0;
  await access.grant("ann", chat.can_moderate_chat);
  await access.users.addToGroup("ann", "Crew");
  await access.users.setSuperuser("ann", true);
  expect(hookCalls).toBe(0);
  await access.users.setSuperuser("ann", false);
  expect(hookCalls).toBe(1);
});

describe("a running handler", () => {
  let resume: () => void = () => undefined;
  let entered: Promise<void>;
  class Patient extends ChatView {
    patient_join = handler(({ join }) => this.#later(() => join("announcements")));
    patient_leave = handler(({ leave, connection }) => this.#later(() => leave(connection.channel)));
    patient_check = handler(({ requireChannel }) => this.#later(() => requireChannel("announcements")));
    patient_send = handler(({ to }) =>
      this.#later(async () => {
        await to({ channel: "announcements" }).send({ type: "late" });
      }),
    );
    rejoin = handler(async ({ move, connection }) => {
      await move(connection.channel ?? "announcements");
      return { channel: connection.channel, channels: connection.channels };
    });
    leave_all = handler(async ({ leave, connection }) => {
      while (connection.channel) await leave();
      await leave();
      return { channels: connection.channels };
    });
    static override allowedHandlers = [
      "patient_join",
      "patient_leave",
      "patient_check",
      "patient_send",
      "rejoin",
      "leave_all",
      "whoami",
      "join_room",
    ];
    async #later(act: () => Promise<void>): Promise<void> {
      const resumed = new Promise<void>((resolve) => {
        resume = resolve;
      });
      arrived();
      await resumed;
      await act();
    }
  }
  let arrived: () => void = () => undefined;

  beforeEach(async () => {
    entered = new Promise((resolve) => {
      arrived = resolve;
    });
    await world.close();
    world = await World.open({ permissions: [chat], channels, views: { "/ws/chat": Patient } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant("ann", chat.can_broadcast_chat);
  });

  test.each(["patient_join", "patient_check", "patient_send"])(
    "cannot call %s after its connection was closed",
    async (name) => {
      await world.connect("ann");
      await world.connect("ann", { channel: "announcements" });
      const rows = await world.sql(
        "select id, connection_id from sallyport_connections order by connected_at",
      );
      const { id, connection_id } = rows[0] as { id: string; connection_id: string };
      const headers = { connectionId: connection_id, "x-sallyport-secret": world.secret };
      const late = world.event("/ws/chat/default", headers, JSON.stringify({ id: 1, handler: name }));
      await entered;
      // A direct change of the database. Only the operation itself can detect it.
      await world.sql(`update sallyport_connections set closed_at = 1 where id = '${id}'`);
      resume();
      expect(await (await late).json()).toMatchObject({ ok: false, status: 403 });
      expect(world.decisions.at(-1)).toMatchObject({ reason: "connection" });
      expect(await world.sql(`select * from sallyport_memberships where connection_key = '${id}'`)).toEqual(
        [],
      );
    },
  );

  test("keeps its channel when it moves to the same channel, and can leave all channels", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await ann.result("join_room", { channel: "announcements" });
    expect(await ann.result("rejoin")).toEqual({
      channel: "announcements",
      channels: ["rooms/general", "announcements"],
    });
    expect(await world.sql("select channel from sallyport_memberships order by channel")).toEqual([
      { channel: "announcements" },
      { channel: "rooms/general" },
    ]);
    expect(await ann.result("leave_all")).toEqual({ channels: [] });
    expect(await world.sql("select * from sallyport_memberships")).toEqual([]);
    expect(await ann.result("rejoin")).toEqual({ channel: "announcements", channels: ["announcements"] });
  });
});
