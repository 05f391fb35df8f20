import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigurationError } from "../../src/errors.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/view/channel.ts";
import { changedStorage, NOW, padded, storageAt, withHeldLooks } from "../postgres/database.ts";
import { ChatView, channels, chat, LobbyView } from "./chat.ts";
import { ORIGIN, World } from "./world.ts";

/** Where whole pages of sockets are: it takes everything, and holds it up while `holding`. */
let api: Server;
let endpoint: string;
let posts: { method: string; connection: string }[];
let holding: boolean;
let held: (() => void)[];
/** Whether it knows nothing of a socket that is to be closed. */
let gone: boolean;
/** How many posts it answers with 410 first. */
let arriving: number;

let members: Set<string>;
const club = defineChannel("clubs/:slug", {
  permissionsRequired: [chat.can_use_chat],
  authorizeMany: ({ userIds }) => userIds.filter((id) => members.has(id)),
});
const views = { "/ws/chat": ChatView, "/ws/lobby": LobbyView };

let world: World;
let letLook: () => void;
beforeEach(async () => {
  [gone, arriving] = [false, 0];
  [posts, holding, held, members] = [[], false, [], new Set(["ann", "bob"])];
  api = createServer((request, response) => {
    const connection = decodeURIComponent(request.url?.split("/").at(-1) ?? "");
    posts.push({ method: request.method ?? "", connection });
    const isGone = request.method === "DELETE" ? gone : arriving-- > 0;
    const answer = () => request.resume().on("end", () => response.writeHead(isGone ? 410 : 200).end());
    if (holding) held.push(answer);
    else answer();
  });
  await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(api.address() as AddressInfo).port}/dev`;
  // Each test enforces changes itself. No process does it at the same time.
  const looks = withHeldLooks();
  letLook = looks.release;
  world = await World.open({
    permissions: [chat],
    channels: [...channels, club],
    views,
    storage: looks.storage,
  });
});
afterEach(async () => {
  release();
  letLook();
  await world.close();
  api.closeAllConnections();
  await new Promise((resolve) => api.close(resolve));
  expect(world.errors.map(String)).toEqual([]);
});

function release(): void {
  holding = false;
  for (const answer of held.splice(0)) answer();
}

/** Rows of sockets at that gateway, of users `u00001` and so on, or all of one user. */
async function rows(count: number, user?: string, view = "/ws/chat"): Promise<void> {
  await world.sallyport.registerGateway({ name: "pages", endpoint });
  await world.sql(`insert into sallyport_sessions (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})
    select ${padded("i", 5)}, (select id from sallyport_gateways where name = 'pages'), ${padded("i", 15)} || '=',
      '${view}', ${user === undefined ? `'u' || ${padded("i", 5)}` : `'${user}'`}, ${NOW} - 60000, 0 from n`);
}

/** Users of those rows, all in one group. */
async function people(count: number, group?: string): Promise<void> {
  await world.sql(`insert into sallyport_users (id, is_active, is_superuser, created_at)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})
    select 'u' || ${padded("i", 5)}, 1, 0, 0 from n`);
  if (group === undefined) return;
  await world.sallyport.access.grant({ group }, chat.can_use_chat);
  await world.sql(
    `insert into sallyport_user_groups (user_id, group_name, granted_at) select id, '${group}', 0 from sallyport_users`,
  );
}

describe("an audience or a requirement that cannot be is refused before anything is read", () => {
  test.each([
    ["nothing", undefined],
    ["null", null],
    ["a word that is none", "everybody"],
    ["a number", 5],
    ["an empty object", {}],
    ["a key that is none", { room: "general" }],
    ["two keys", { channel: "rooms/general", user: "ann" }],
    ["no user", { user: undefined }],
    ["an empty user", { user: "" }],
    ["no session", { session: undefined }],
    ["no connection", { connection: undefined }],
    ["a permission that is none", { permission: "chat.none" }],
  ])("%s", (_what, audience) => {
    expect(() => world.sallyport.to(audience as never)).toThrow(ConfigurationError);
  });

  test.each([
    ["no channel", { channel: undefined }],
    ["a channel that is an object", { channel: ["rooms/general"] }],
    ["a channel that nothing declares", { channel: "cellar" }],
  ])("%s: no definition matches it", (_what, audience) => {
    expect(() => world.sallyport.to(audience as never)).toThrow(/no channel definition matches/);
  });

  test.each([
    ["null", null, /to\(…\): the options must be a plain object, but received null/],
    ["text", "chat.can_use_chat", /must be a plain object, but received a string/],
    ["a word that is none", { permissionRequired: [chat.can_use_chat] }, /permissionRequired/],
    ["a permission that is none", { permissionsRequired: ["chat.none"] }, /chat\.none/],
    ["an empty list", { allPermissionsRequired: [] }, /is empty/],
  ])("a requirement that is %s", (_what, requirement, words) => {
    expect(() => world.sallyport.to("everyone", requirement as never)).toThrow(words);
  });
});

test("what no answer of authorizeMany is, lets nobody in, and is told", async () => {
  const down = async () => {
    throw new Error("down");
  };
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  for (const answer of [undefined, null, 5, "all of them", { ann: true }, down]) {
    const odd = defineChannel("odd", {
      signedIn: true,
      authorizeMany: () => (answer === down ? down() : answer) as never,
    });
    const errors: string[] = [];
    const app = createSallyport({
      storage: storageAt(world.database),
      permissions: [chat],
      channels: [odd],
      views,
      origins: [ORIGIN],
      authenticate: () => null,
      onError: (error) => void errors.push(String(error)),
    });
    await world.sql("delete from sallyport_sessions");
    await rows(1, "ann");
    await world.sql("insert into sallyport_memberships select id, 'odd', 1 from sallyport_sessions");
    expect(await app.to({ channel: "odd" }).send("x")).toMatchObject({ recipients: 1, withheld: 1, sent: 0 });
    expect(errors).toHaveLength(1);
    await app.close();
  }
});

test("sockets of a view that is not mounted here are nobody whom this app may speak to", async () => {
  await rows(1, "ann");
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const other = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    views: { "/ws/lobby": LobbyView },
    origins: [ORIGIN],
    authenticate: () => null,
  });
  expect(await other.to("everyone").preview()).toEqual({ recipients: 1, permitted: 0, withheld: 1 });
  expect(await other.to({ user: "ann" }).send("x")).toMatchObject({ recipients: 1, withheld: 1 });
  expect(await world.sallyport.to({ user: "ann" }).send("x")).toMatchObject({ recipients: 1, sent: 1 });
  await other.close();
});

test("reasons of one send are kept for twenty whom it withholds from, however many there are", async () => {
  await rows(30);
  await people(30);
  const report = await world.sallyport.to("everyone").send("x");
  expect(report).toMatchObject({ recipients: 30, withheld: 30 });
  await expect.poll(async () => (await world.sallyport.access.decisions({ limit: 100 })).length).toBe(20);
});

test("a hook that leaves somebody out is the reason that is kept, and those whom it named have none", async () => {
  for (const user of ["ann", "bob"]) await world.sallyport.access.grant(user, chat.can_use_chat);
  await Promise.all(["ann", "bob"].map((user) => world.connect(user, { channel: "clubs/chess" })));
  members.delete("bob");
  expect(await world.sallyport.to({ channel: "clubs/chess" }).send("x")).toMatchObject({
    sent: 1,
    withheld: 1,
  });
  const decisions = () => world.sallyport.access.decisions();
  await expect
    .poll(decisions)
    .toMatchObject([{ event: "delivery", userId: "bob", reason: "authorize", channel: "clubs/chess" }]);
});

test("a change of others under a fan-out to everyone, or to a user, costs nobody a frame", async () => {
  for (const audience of ["everyone", { user: "ann" }] as const) {
    [holding, posts] = [true, []];
    await world.sql("delete from sallyport_sessions");
    await rows(140, "ann");
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant({ group: "Others" }, chat.can_use_chat);
    const sending = world.sallyport.to(audience).send("x");
    await expect.poll(() => posts.length).toBe(128);
    const revoking = world.sallyport.access.revoke({ group: "Others" }, chat.can_use_chat);
    await expect
      .poll(async () => (await world.sallyport.access.audit({ limit: 1 }))[0]?.action)
      .toBe("revoke");
    release();
    await revoking;
    expect(await sending).toMatchObject({ recipients: 140, sent: 140, withheld: 0 });
  }
});

test("close() of more sockets than one page ends all of them", async () => {
  await rows(1101, "ann");
  const report = await world.sallyport.to({ user: "ann" }).close();
  expect(report).toMatchObject({ recipients: 1101, sent: 1101, failed: 0 });
  expect(posts.filter(({ method }) => method === "DELETE")).toHaveLength(1101);
  expect(await world.sql("select id from sallyport_sessions where closed_at is null")).toEqual([]);
});

test("more grants that end together than have a record each: all their sockets end, once", async () => {
  await rows(140);
  await people(140);
  await world.sql(`insert into sallyport_user_permissions (user_id, permission, until_at, granted_at)
    select id, '${chat.can_use_chat}', 1, 0 from sallyport_users`);
  expect(await world.sallyport.enforce()).toBe(140);
  expect(await world.sql("select id from sallyport_sessions where closed_at is null")).toEqual([]);
  expect(posts.filter(({ method }) => method === "DELETE")).toHaveLength(140);
  expect(await world.sallyport.access.audit({ limit: 1000 })).toHaveLength(140);
  expect(await world.sallyport.enforce()).toBe(0);
});

test("an eviction of several pages reports each socket once", async () => {
  await rows(1101);
  await people(1101, "Crew");
  await world.sallyport.access.addToGroup("u00001", "Others");
  await world.sallyport.access.grant({ group: "Others" }, chat.can_use_chat);
  await world.sql("update sallyport_user_groups set until_at = 1 where group_name = 'Crew'");
  expect(await world.sallyport.enforce()).toBe(1100);
  expect(await world.sql("select user_id from sallyport_sessions where closed_at is null")).toEqual([
    { user_id: "u00001" },
  ]);
});

test("a channel that the next version guards more strictly is left, by those who may not stay", async () => {
  for (const user of ["ann", "mo"]) await world.sallyport.access.grant(user, chat.can_use_chat);
  await world.sallyport.access.grant("mo", chat.can_moderate_chat);
  const [ann, mo] = await Promise.all(
    ["ann", "mo"].map((user) => world.connect(user, { channel: "rooms/general" })),
  );
  const next = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    channels: [
      ...channels.slice(1),
      club,
      defineChannel("rooms/:slug", { permissionsRequired: [chat.can_moderate_chat] }),
    ],
    views,
    origins: [ORIGIN],
    authenticate: () => null,
  });
  await next.migrate();
  expect(await ann?.message("sallyport.revoked")).toMatchObject({
    scope: "channel",
    channel: "rooms/general",
  });
  expect(await world.sallyport.listSessions({ channel: "rooms/general" })).toMatchObject([{ user: "mo" }]);
  expect([ann?.isClosed, mo?.isClosed]).toEqual([false, false]);
  await next.close();
});

test("what ends a login, or a user, is foretold to end its sockets, whatever the rules would say", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const [phone, desk] = [await world.connect("ann:phone"), await world.connect("ann:desk")];
  const { access } = world.sallyport;
  const ending = async (change: Parameters<typeof access.preview>[0]) =>
    (await access.preview(change)).sessions.length;
  expect(await ending({ kind: "end-session", session: "phone" })).toBe(1);
  expect(await ending({ kind: "end-session", session: "nobody's" })).toBe(0);
  expect(await ending({ kind: "delete-user", user: "ann" })).toBe(2);
  expect(await ending({ kind: "recheck", user: "ann" })).toBe(0);
  await access.endSession("phone");
  await phone.closed;
  expect(desk.isClosed).toBe(false);
});

test("a client that hangs up on its notice is gone, however young: it is not asked after again and again", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  await rows(1, "ann");
  await world.sql(`update sallyport_sessions set connected_at = ${NOW}`);
  gone = true;
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
});

test("one that is only arriving is tried again until it is there", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  await rows(1, "ann");
  await world.sql(`update sallyport_sessions set connected_at = ${NOW}`);
  arriving = 2;
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "POST", "POST", "DELETE"]);
});

test("reports an enforcement that fails, and finishes it at the next look", async () => {
  const storage = storageAt(world.database);
  let failures = 1;
  const errors: string[] = [];
  const app = createSallyport({
    storage: changedStorage(storage, {
      writeBeside: async (work, options) => {
        if (failures-- > 0) throw new Error("the disk is full");
        return storage.writeBeside(work, options);
      },
    }),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
    onError: (error, where) => void errors.push(`${where}: ${error}`),
  });
  await rows(1, "ann");
  await app.access.grant("ann", chat.can_use_chat);
  expect(await app.access.revoke("ann", chat.can_use_chat)).toBe(true);
  expect(errors).toEqual([expect.stringContaining("the disk is full")]);
  expect(await world.sql("select id from sallyport_sessions where closed_at is null")).toHaveLength(1);
  // Ends the claim of the process that failed.
  await world.sql("update sallyport_evictions set claimed_until = 1");
  expect(await world.sallyport.enforce()).toBe(1);
  expect(await world.sql("select id from sallyport_sessions where closed_at is null")).toEqual([]);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
  await app.close();
});

test("an enforcement that fails after rows were closed, and cannot even be put off: their sockets hear of it when it is made up for", async () => {
  const storage = storageAt(world.database);
  let writes = Number.POSITIVE_INFINITY;
  const fail = () => Promise.reject(new Error("the database is away"));
  const app = createSallyport({
    storage: changedStorage(storage, {
      writeBeside: (work, options) => (writes-- > 0 ? storage.writeBeside(work, options) : fail()),
      write: async (work) => {
        if (writes <= 0) return fail();
        const done = await storage.write(work);
        // The change is committed; of what follows from it only the first page's rows are closed.
        if (isRevoking) writes = 1;
        return done;
      },
    }),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
    onError: () => undefined,
  });
  let isRevoking = false;
  await rows(2, "ann");
  await world.sql("update sallyport_sessions set user_id = 'bob' where id = '00002'");
  await world.sql(
    "insert into sallyport_memberships select id, 'rooms/moderators', 1 from sallyport_sessions",
  );
  await app.access.grant("bob", chat.can_use_chat);
  await app.access.grant({ group: "Crew" }, chat.can_moderate_chat);
  for (const user of ["ann", "bob"]) await app.access.addToGroup(user, "Crew");

  isRevoking = true;
  await app.access.revoke({ group: "Crew" }, chat.can_moderate_chat);
  expect(await world.sql("select id from sallyport_sessions where closed_at is null")).toEqual([
    { id: "00002" },
  ]);
  expect(posts).toEqual([]);
  isRevoking = false;
  writes = Number.POSITIVE_INFINITY;
  await app.enforce();
  expect(posts.filter(({ connection }) => connection.endsWith("1=")).map(({ method }) => method)).toEqual([
    "POST",
    "DELETE",
  ]);
  expect(posts.filter(({ connection }) => connection.endsWith("2=")).map(({ method }) => method)).toEqual([
    "POST",
  ]);
  expect(await world.sql("select id from sallyport_evictions")).toEqual([]);
  await app.close();
});

test("what fails while hooks are asked leaves the record to the next look, which tells how many have lost something", async () => {
  const storage = storageAt(world.database);
  let [isAway, isMember] = [false, true];
  const errors: string[] = [];
  const app = createSallyport({
    storage: changedStorage(storage, {
      writeBeside: (work, options) =>
        isAway ? Promise.reject(new Error("the database is away")) : storage.writeBeside(work, options),
    }),
    permissions: [chat],
    channels: [defineChannel("hooked", { signedIn: true, authorize: () => isMember })],
    views,
    origins: [ORIGIN],
    authenticate: () => null,
    onError: (error, where) => void errors.push(`${where}: ${error}`),
  });
  await rows(2, "ann");
  await world.sql("insert into sallyport_memberships select id, 'hooked', 1 from sallyport_sessions");
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  [isAway, isMember] = [true, false];
  await app.access.recheck({ user: "ann" });
  expect(errors).toEqual(["enforcing a change of user ann: Error: the database is away"]);
  expect(await world.sql("select id from sallyport_evictions")).toHaveLength(1);
  isAway = false;
  await world.sql("update sallyport_evictions set claimed_until = 1");
  expect(await app.enforce()).toBe(2);
  expect(await world.sql("select session_id from sallyport_memberships")).toEqual([]);
  expect(await world.sql("select id from sallyport_evictions")).toEqual([]);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "POST"]);
  await app.close();
});

test("a socket that its gateway does not close is told, by its connection", async () => {
  await rows(1, "ann");
  await world.sallyport.registerGateway({ name: "pages", endpoint: "http://127.0.0.1:9/dev" });
  const errors: string[] = [];
  const app = world.sallyport.with({
    storage: storageAt(world.database),
    onError: (error, where) => void errors.push(`${where}: ${error}`),
  });
  await app.access.grant("ann", chat.can_use_chat);
  await app.access.revoke("ann", chat.can_use_chat);
  const told = "evicting connection 000000000000001=: Error: The gateway did not take it: ECONNREFUSED";
  await app.close();
  // Equal errors are passed on once, and then with their number.
  expect(errors).toEqual([told, told]);
});
