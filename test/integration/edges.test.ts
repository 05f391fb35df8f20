import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigurationError } from "../../src/errors.ts";
import { INTERNAL } from "../../src/internal.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { changedStorage, NOW, padded, storageAt, withHeldLooks } from "../postgres/database.ts";
import { ChatView, channels, chat, LobbyView } from "./chat.ts";
import { ORIGIN, World } from "./world.ts";

/** A Management API that accepts every request, and delays its responses while `holding` is true. */
let api: Server;
let endpoint: string;
let posts: { method: string; connection: string }[];
let holding: boolean;
let held: (() => void)[];
/** Whether it answers each `DELETE` with 410. */
let gone: boolean;
/** The number of first posts that it answers with 410. */
let arriving: number;

let members: Set<string>;
const club = defineChannel("clubs/:slug", {
  permissionsRequired: [chat.can_use_chat],
  authorizeMany: ({ userIds }) => userIds.filter((id) => members.has(id)),
});
const views = { "/ws/chat": ChatView, "/ws/lobby": LobbyView };

let world: World;
let releaseLooks: () => void;
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
  // Each test enforces changes itself, so no background job does it at the same time.
  const looks = withHeldLooks();
  releaseLooks = looks.release;
  world = await World.open({
    permissions: [chat],
    channels: [...channels, club],
    views,
    storage: looks.storage,
  });
});
afterEach(async () => {
  release();
  releaseLooks();
  await world.close();
  api.closeAllConnections();
  await new Promise((resolve) => api.close(resolve));
  expect(world.errors.map(String)).toEqual([]);
});

function release(): void {
  holding = false;
  for (const answer of held.splice(0)) answer();
}

/** Inserts connections at that gateway, of users `u00001`, `u00002`, … or all of one user. */
async function rows(count: number, user?: string, view = "/ws/chat"): Promise<void> {
  await world.sallyport.registerGateway({ name: "pages", endpoint });
  await world.sql(`insert into sallyport_connections (id, gateway_id, connection_id, view, user_id, connected_at, last_seen_at)
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})
    select ${padded("i", 5)}, (select id from sallyport_gateways where name = 'pages'), ${padded("i", 15)} || '=',
      '${view}', ${user === undefined ? `'u' || ${padded("i", 5)}` : `'${user}'`}, ${NOW} - 60000, 0 from n`);
}

/** Inserts the users of those connections, and adds them to the group if one is given. */
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

describe("an invalid audience or requirement", () => {
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
  ])("is rejected by to(): %s", (_what, audience) => {
    expect(() => world.sallyport.to(audience as never)).toThrow(ConfigurationError);
  });

  test.each([
    ["no channel", { channel: undefined }],
    ["a channel that is an object", { channel: ["rooms/general"] }],
    ["a channel that nothing declares", { channel: "cellar" }],
  ])("is rejected because no definition matches: %s", (_what, audience) => {
    expect(() => world.sallyport.to(audience as never)).toThrow(/no channel definition matches/);
  });

  test.each([
    ["null", null, /to\(…\): the options must be a plain object, but received null/],
    ["text", "chat.can_use_chat", /must be a plain object, but received a string/],
    ["a word that is none", { permissionRequired: [chat.can_use_chat] }, /permissionRequired/],
    ["a permission that is none", { permissionsRequired: ["chat.none"] }, /chat\.none/],
    ["an empty list", { allPermissionsRequired: [] }, /is empty/],
  ])("is rejected with the reason for the requirement: %s", (_what, requirement, words) => {
    expect(() => world.sallyport.to("everyone", requirement as never)).toThrow(words);
  });
});

test("an invalid result of authorizeMany denies the delivery, and the error is reported", async () => {
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
    await world.sql("delete from sallyport_connections");
    await rows(1, "ann");
    await world.sql("insert into sallyport_memberships select id, 'odd', 1 from sallyport_connections");
    expect(await app.to({ channel: "odd" }).send("x")).toMatchObject({ recipients: 1, denied: 1, sent: 0 });
    expect(errors).toHaveLength(1);
    await app.close();
  }
});

test("an app denies deliveries to connections of a view that it does not mount", async () => {
  await rows(1, "ann");
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const other = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    views: { "/ws/lobby": LobbyView },
    origins: [ORIGIN],
    authenticate: () => null,
  });
  expect(await other.to("everyone").preview()).toEqual({ recipients: 1, permitted: 0, denied: 1 });
  expect(await other.to({ user: "ann" }).send("x")).toMatchObject({ recipients: 1, denied: 1 });
  expect(await world.sallyport.to({ user: "ann" }).send("x")).toMatchObject({ recipients: 1, sent: 1 });
  await other.close();
});

test("a send stores decisions for at most 20 of its denied recipients", async () => {
  await rows(30);
  await people(30);
  const report = await world.sallyport.to("everyone").send("x");
  expect(report).toMatchObject({ recipients: 30, denied: 30 });
  await expect
    .poll(async () => (await world.sallyport.access.audit.decisions({ limit: 100 })).length)
    .toBe(20);
});

test("a denial by authorizeMany is stored with the reason authorize, and a delivery stores no decision", async () => {
  for (const user of ["ann", "bob"]) await world.sallyport.access.grant(user, chat.can_use_chat);
  await Promise.all(["ann", "bob"].map((user) => world.connect(user, { channel: "clubs/chess" })));
  members.delete("bob");
  expect(await world.sallyport.to({ channel: "clubs/chess" }).send("x")).toMatchObject({
    sent: 1,
    denied: 1,
  });
  const decisions = () => world.sallyport.access.audit.decisions();
  await expect
    .poll(decisions)
    .toMatchObject([{ event: "delivery", userId: "bob", reason: "authorize", channel: "clubs/chess" }]);
});

test("a permission change for other users during a send does not deny any recipient", async () => {
  for (const audience of ["everyone", { user: "ann" }] as const) {
    [holding, posts] = [true, []];
    await world.sql("delete from sallyport_connections");
    await rows(140, "ann");
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    await world.sallyport.access.grant({ group: "Others" }, chat.can_use_chat);
    const sending = world.sallyport.to(audience).send("x");
    await expect.poll(() => posts.length).toBe(128);
    const revoking = world.sallyport.access.revoke({ group: "Others" }, chat.can_use_chat);
    await expect
      .poll(async () => (await world.sallyport.access.audit.list({ limit: 1 }))[0]?.action)
      .toBe("revoke");
    release();
    await revoking;
    expect(await sending).toMatchObject({ recipients: 140, sent: 140, denied: 0 });
  }
});

test("B45 close() closes all connections of an audience that is larger than one page", async () => {
  await rows(1101, "ann");
  const report = await world.sallyport.to({ user: "ann" }).close();
  expect(report).toMatchObject({ recipients: 1101, sent: 1101, failed: 0 });
  expect(posts.filter(({ method }) => method === "DELETE")).toHaveLength(1101);
  expect(await world.sql("select id from sallyport_connections where closed_at is null")).toEqual([]);
});

test("140 grants that expire together close the connection of each user once", async () => {
  await rows(140);
  await people(140);
  await world.sql(`insert into sallyport_user_permissions (user_id, permission, until_at, granted_at)
    select id, '${chat.can_use_chat}', 1, 0 from sallyport_users`);
  expect(await world.sallyport.enforce()).toBe(140);
  expect(await world.sql("select id from sallyport_connections where closed_at is null")).toEqual([]);
  expect(posts.filter(({ method }) => method === "DELETE")).toHaveLength(140);
  expect(await world.sallyport.access.audit.list({ limit: 1000 })).toHaveLength(140);
  expect(await world.sallyport.enforce()).toBe(0);
});

test("a revocation of several pages counts each closed connection once", async () => {
  await rows(1101);
  await people(1101, "Crew");
  await world.sallyport.access.users.addToGroup("u00001", "Others");
  await world.sallyport.access.grant({ group: "Others" }, chat.can_use_chat);
  await world.sql("update sallyport_user_groups set until_at = 1 where group_name = 'Crew'");
  expect(await world.sallyport.enforce()).toBe(1100);
  expect(await world.sql("select user_id from sallyport_connections where closed_at is null")).toEqual([
    { user_id: "u00001" },
  ]);
});

test("a stricter channel rule in a new version removes only the connections that it denies", async () => {
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
  expect(await world.sallyport.listConnections({ channel: "rooms/general" })).toMatchObject([{ user: "mo" }]);
  expect([ann?.isClosed, mo?.isClosed]).toEqual([false, false]);
  await next.close();
});

test("the preview of an ended session or a deleted user lists the connections that it closes", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const [phone, desk] = [await world.connect("ann:phone"), await world.connect("ann:desk")];
  const { access } = world.sallyport;
  const ending = async (change: Parameters<typeof access.preview>[0]) =>
    (await access.preview(change)).connections.length;
  expect(await ending({ kind: "end-session", session: "phone" })).toBe(1);
  expect(await ending({ kind: "end-session", session: "nobody's" })).toBe(0);
  expect(await ending({ kind: "delete-user", user: "ann" })).toBe(2);
  expect(await ending({ kind: "recheck", user: "ann" })).toBe(0);
  await access.endSession("phone");
  await phone.closed;
  expect(desk.isClosed).toBe(false);
});

test("a new connection that is gone when it is closed is not retried", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  await rows(1, "ann");
  await world.sql(`update sallyport_connections set connected_at = ${NOW}`);
  gone = true;
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
});

test("a notice to a connection that is still opening is retried until API Gateway accepts it", async () => {
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  await rows(1, "ann");
  await world.sql(`update sallyport_connections set connected_at = ${NOW}`);
  arriving = 2;
  await world.sallyport.access.revoke("ann", chat.can_use_chat);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "POST", "POST", "DELETE"]);
});

test("a failed enforcement is reported, and the next enforce() completes it", async () => {
  const storage = storageAt(world.database);
  let failures = 1;
  const errors: string[] = [];
  const app = createSallyport({
    storage: changedStorage(storage, {
      sharedTransaction: async (work, options) => {
        if (failures-- > 0) throw new Error("the disk is full");
        return storage.sharedTransaction(work, options);
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
  expect(await world.sql("select id from sallyport_connections where closed_at is null")).toHaveLength(1);
  // Expires the claim of the process that failed.
  await world.sql("update sallyport_revocations set claimed_until = 1");
  expect(await world.sallyport.enforce()).toBe(1);
  expect(await world.sql("select id from sallyport_connections where closed_at is null")).toEqual([]);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "DELETE"]);
  await app.close();
});

test("connections of an enforcement that failed halfway receive their notices from the next enforce()", async () => {
  const storage = storageAt(world.database);
  let writes = Number.POSITIVE_INFINITY;
  const fail = () => Promise.reject(new Error("the database is away"));
  const app = createSallyport({
    storage: changedStorage(storage, {
      sharedTransaction: (work, options) =>
        writes-- > 0 ? storage.sharedTransaction(work, options) : fail(),
      transaction: async (work) => {
        if (writes <= 0) return fail();
        const done = await storage.transaction(work);
        // The change is committed. The enforcement closes only the rows of the first page.
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
  await world.sql("update sallyport_connections set user_id = 'bob' where id = '00002'");
  await world.sql(
    "insert into sallyport_memberships select id, 'rooms/moderators', 1 from sallyport_connections",
  );
  await app.access.grant("bob", chat.can_use_chat);
  await app.access.grant({ group: "Crew" }, chat.can_moderate_chat);
  for (const user of ["ann", "bob"]) await app.access.users.addToGroup(user, "Crew");

  isRevoking = true;
  await app.access.revoke({ group: "Crew" }, chat.can_moderate_chat);
  expect(await world.sql("select id from sallyport_connections where closed_at is null")).toEqual([
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
  expect(await world.sql("select id from sallyport_revocations")).toEqual([]);
  await app.close();
});

test("an enforcement that fails during authorize hooks keeps its record, and the next enforce() completes it", async () => {
  const storage = storageAt(world.database);
  let [isAway, isMember] = [false, true];
  const errors: string[] = [];
  const app = createSallyport({
    storage: changedStorage(storage, {
      sharedTransaction: (work, options) =>
        isAway ? Promise.reject(new Error("the database is away")) : storage.sharedTransaction(work, options),
    }),
    permissions: [chat],
    channels: [defineChannel("hooked", { signedIn: true, authorize: () => isMember })],
    views,
    origins: [ORIGIN],
    authenticate: () => null,
    onError: (error, where) => void errors.push(`${where}: ${error}`),
  });
  await rows(2, "ann");
  await world.sql("insert into sallyport_memberships select id, 'hooked', 1 from sallyport_connections");
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  [isAway, isMember] = [true, false];
  await app.access.recheck({ user: "ann" });
  expect(errors).toEqual(["revoking access after a change of user ann: Error: the database is away"]);
  expect(await world.sql("select id from sallyport_revocations")).toHaveLength(1);
  isAway = false;
  await world.sql("update sallyport_revocations set claimed_until = 1");
  expect(await app.enforce()).toBe(2);
  expect(await world.sql("select connection_key from sallyport_memberships")).toEqual([]);
  expect(await world.sql("select id from sallyport_revocations")).toEqual([]);
  expect(posts.map(({ method }) => method)).toEqual(["POST", "POST"]);
  await app.close();
});

test("a connection that its gateway cannot close is reported with its connection id", async () => {
  await rows(1, "ann");
  await world.sallyport.registerGateway({ name: "pages", endpoint: "http://127.0.0.1:9/dev" });
  const errors: string[] = [];
  const app = world.sallyport[INTERNAL].with({
    storage: storageAt(world.database),
    onError: (error, where) => void errors.push(`${where}: ${error}`),
  });
  await app.access.grant("ann", chat.can_use_chat);
  await app.access.revoke("ann", chat.can_use_chat);
  const report =
    "revoking access of connection 000000000000001=: Error: API Gateway did not accept the notice or the close " +
    "of the connection (ECONNREFUSED). Check that this process can reach the gateway.";
  await app.close();
  // Equal errors are reported once, and then once more with their count.
  expect(errors).toEqual([report, report]);
});
