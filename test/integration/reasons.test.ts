import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { reevaluate } from "../../src/audit/decision.ts";
import { createSallyport } from "../../src/sallyport.ts";
import { sqlite } from "../../src/storage/sqlite.ts";
import { defineChannel } from "../../src/views/channel.ts";
import { databaseTime, storageAt } from "../postgres/database.ts";
import { ChatView, channels, chat, LobbyView } from "./chat.ts";
import { ORIGIN, World, type WorldOptions } from "./world.ts";

const views = { "/ws/chat": ChatView, "/ws/lobby": LobbyView };
const until = Date.now() + 3_600_000;

let world: World;
const open = (options: Partial<WorldOptions> = {}) =>
  World.open({ permissions: [chat], channels, views, ...options });
beforeEach(async () => {
  world = await open();
  await world.sallyport.access.grant({ group: "Chatters" }, chat.can_use_chat);
  await world.sallyport.access.users.addToGroup("ann", "Chatters", { until });
});
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
  expect(world.errors.map(String)).toEqual([]);
});

/** Calls `work` with a second instance of the app, as in another process. */
async function inAnotherProcess<Result>(work: (app: ReturnType<typeof createSallyport>) => Promise<Result>) {
  const other = createSallyport({
    storage: storageAt(world.database),
    permissions: [chat],
    channels,
    views,
    origins: [ORIGIN],
    authenticate: () => null,
  });
  try {
    return await work(other);
  } finally {
    await other.close();
  }
}

describe("a decision reference", () => {
  test("returns each checked rule, the grants of the user and the missing permissions", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const answer = await ann.call("delete_message", { message_id: 1 });
    const reference = answer.reference as string;
    const decision = await inAnotherProcess(({ access }) => access.explain(reference));
    expect(decision).toMatchObject({
      reference,
      event: "message",
      verdict: "denied",
      reason: "permission",
      status: 403,
      userId: "ann",
      view: "/ws/chat",
      handler: "delete_message",
      missing: ["chat.can_moderate_chat"],
      repeats: 0,
    });
    expect(decision?.steps).toEqual([
      {
        kind: "rule",
        what: "ChatView",
        rule: { signedIn: true, anyOf: [["chat.can_use_chat", "chat.can_moderate_chat"]], allOf: [] },
        subject: { userId: "ann", isActive: true, isSuperuser: false },
        held: [{ permission: "chat.can_use_chat", group: "Chatters", until }],
        allowed: true,
        missing: [],
      },
      {
        kind: "rule",
        what: "ChatView.delete_message",
        rule: { signedIn: true, anyOf: [], allOf: ["chat.can_moderate_chat"] },
        subject: { userId: "ann", isActive: true, isSuperuser: false },
        held: [],
        allowed: false,
        missing: ["chat.can_moderate_chat"],
      },
    ]);
    expect(decision?.steps.map(reevaluate)).toEqual([true, false]);
    expect(decision?.tookMs).toBeGreaterThan(0);
    expect(await world.sallyport.access.explain("0123456789ab")).toBeUndefined();
  });

  test("B59 returns denied tokens, joins, sends and hooks, and denied connects are listed", async () => {
    const token = (await (await world.requestToken("eve", { view: "/ws/chat" })).json()) as {
      reference: string;
    };
    expect(await world.sallyport.access.explain(token.reference)).toMatchObject({
      event: "token",
      userId: "eve",
    });
    await expect(world.connect("eve")).rejects.toMatchObject({ status: 403 });
    expect((await world.sallyport.access.audit.decisions({ user: "eve" }))[0]).toMatchObject({
      event: "connect",
      verdict: "denied",
      missing: ["chat.can_use_chat", "chat.can_moderate_chat"],
    });
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const why = async (answer: Record<string, unknown>) =>
      (await world.sallyport.access.explain(answer.reference as string))?.steps.at(-1);
    const join = await ann.call("join_room", { channel: "rooms/moderators" });
    expect(await why(join)).toMatchObject({ what: 'channel "rooms/moderators"', allowed: false });
    await ann.result("join_room", { channel: "announcements" });
    const send = await ann.call("send_to", { channel: "announcements", message: "hi" });
    expect(await why(send)).toMatchObject({ what: 'sending to channel "announcements"', allowed: false });
    const hook = await ann.call("read_document", { id_of: 2 });
    expect(await why(hook)).toEqual({
      kind: "authorize",
      what: "authorize of ChatView.read_document",
      allowed: false,
    });
  });

  test("of a revocation returns the change that caused it, with actor and reason", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await world.sallyport.access.users.removeFromGroup("ann", "Chatters", {
      by: "boss",
      reason: "left the team",
    });
    const { reference } = await ann.message("sallyport.revoked");
    const decision = await world.sallyport.access.explain(reference as string);
    expect(decision).toMatchObject({
      event: "revocation",
      reason: "permission",
      userId: "ann",
      view: "/ws/chat",
      missing: ["chat.can_use_chat", "chat.can_moderate_chat"],
    });
    const [entry] = await world.sallyport.access.audit.list({ user: "ann" });
    expect(decision?.change).toBe(entry?.number);
    expect(entry).toMatchObject({ action: "remove-from-group", by: "boss", reason: "left the team" });
    expect(world.decisions.at(-1)).toMatchObject({ event: "revocation", reference });
  });

  test("of an unauthenticated gateway is stored without a user", async () => {
    const response = await world.event("/ws/chat/default", { connectionId: "AAAAAAAAAAAAAAA=" }, "{}");
    const { reference } = (await response.json()) as { reference: string };
    const decision = await world.sallyport.access.explain(reference);
    expect(decision).toMatchObject({ reason: "caller", steps: [] });
    expect(decision?.userId).toBeUndefined();
  });
});

describe("the decision log", () => {
  test("stores 60 denials per user, reason and minute, and counts the others on the last", async () => {
    await world.close();
    // Each process counts separately.
    world = await open({ instances: 1 });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    const references: unknown[] = [];
    for (let i = 0; i < 75; i++)
      references.push((await ann.call("delete_message", { message_id: i })).reference);
    expect(new Set(references.slice(0, 60)).size).toBe(60);
    expect(new Set(references.slice(60))).toEqual(new Set([`${references[59]}+`]));
    // Another reason has its own count.
    const other = await ann.call("hidden");
    expect(other.reference).not.toBe(references[59]);
    const kept = await world.sallyport.access.audit.decisions({ user: "ann", limit: 1000 });
    expect(kept.filter(({ reason }) => reason === "permission")).toHaveLength(60);
    expect(await world.sallyport.access.explain(references[59] as string)).toMatchObject({ repeats: 15 });
    expect(await world.sallyport.access.explain(references[58] as string)).toMatchObject({ repeats: 0 });
    expect(await world.sallyport.access.explain(references[60] as string)).toMatchObject({
      reference: references[59],
      repeats: 15,
      isCounted: true,
    });
    // onDecision received each stored denial, and the number of the others.
    const received = world.decisions.filter(({ reason }) => reason === "permission");
    const total = received.reduce((sum, { repeats }) => sum + Math.max(1, repeats), 0);
    expect([received.filter(({ repeats }) => repeats === 0).length, total]).toEqual([60, 75]);
    // Denials are stored again a minute later.
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    const { reference } = await ann.call("delete_message", { message_id: 1 });
    expect(references).not.toContain(reference);
    expect(await world.sallyport.access.explain(reference as string)).toMatchObject({
      reference,
      repeats: 0,
    });
  });

  test("stores a sample of allowed decisions with their steps", async () => {
    await world.close();
    world = await open({ decisionLog: { sampleAllowed: 1 } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann", { channel: "rooms/general" });
    await ann.result("whoami");
    const kept = () => world.sallyport.access.audit.decisions({ user: "ann", verdict: "allowed" });
    // Another instance writes its allowed decisions at its next poll.
    await expect
      .poll(async () => (await kept()).map(({ event }) => event).sort())
      .toEqual(["connect", "message", "token"]);
    const allowed = await kept();
    const connect = allowed.find(({ event }) => event === "connect");
    expect(connect).toMatchObject({ channel: "rooms/general", status: 200, missing: [] });
    expect(connect?.steps.map(({ what, allowed: yes }) => [what, yes])).toContainEqual([
      'channel "rooms/general"',
      true,
    ]);
    expect(connect?.steps.every(reevaluate)).toBe(true);
  });

  test("deletes the oldest decisions beyond maxRows and keepDays", async () => {
    await world.close();
    // Before the app is created, because the fake clock starts at 0.
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    world = await open({ decisionLog: { sampleAllowed: 0, maxRows: 10, keepDays: 1 } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    const references: string[] = [];
    for (let i = 0; i < 20; i++)
      references.push((await ann.call("delete_message", { message_id: i })).reference as string);
    vi.advanceTimersByTime(61_000);
    const last = (await ann.call("delete_message", { message_id: 1 })).reference as string;
    await world.sallyport.enforce();
    // A cleanup that the process started itself can still be running.
    const kept = () => world.sallyport.access.audit.decisions();
    await expect.poll(async () => (await kept()).length).toBeLessThanOrEqual(10);
    expect((await kept()).map(({ reference }) => reference)).toContain(last);
    vi.advanceTimersByTime(25 * 3_600_000);
    await world.sallyport.enforce();
    await expect.poll(kept).toEqual([]);
  });

  test("keeps the decisions of a user when other users cause more denials than maxRows", async () => {
    await world.close();
    world = await open({ instances: 1, decisionLog: { sampleAllowed: 0, maxRows: 300 } });
    await world.sallyport.access.grant("ann", chat.can_use_chat);
    const ann = await world.connect("ann");
    const first = (await ann.call("delete_message", { message_id: 1 })).reference as string;
    for (const user of ["u1", "u2", "u3", "u4", "u5", "u6"]) {
      await world.sallyport.access.grant(user, chat.can_use_chat);
      const socket = await world.connect(user);
      for (let i = 0; i < 60; i++) await socket.call("delete_message", { message_id: i });
    }
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    await world.sallyport.cleanup();
    const kept = await world.sallyport.access.audit.decisions({ limit: 1000 });
    expect(kept.length).toBeLessThanOrEqual(300);
    expect(kept.length).toBeGreaterThan(290);
    expect(await world.sallyport.access.explain(first)).toMatchObject({ userId: "ann", repeats: 0 });
  });

  test("never returns the decision of another address for a reference", async () => {
    await world.close();
    world = await open({ instances: 1, limits: { failedConnectsPerIp: false } });
    const guess = async (address: string) => {
      const headers = {
        connectionId: `${Math.random().toString(36).slice(2)}=`,
        origin: ORIGIN,
        "x-sallyport-secret": world.secret,
        "x-sallyport-source-ip": address,
      };
      const response = await world.event(`/ws/chat/connect?ws_token=${"0".repeat(64)}`, headers);
      return ((await response.json()) as { reference: string }).reference;
    };
    for (let i = 0; i < 80; i++) await guess("203.0.113.66");
    expect(await world.sallyport.access.explain(await guess("198.51.100.7"))).toMatchObject({
      sourceIp: "198.51.100.7",
    });
    expect(await world.sallyport.access.explain(await guess("203.0.113.66"))).toMatchObject({
      sourceIp: "203.0.113.66",
      isCounted: true,
    });
  });

  test("passes repeated denials of an unknown caller to onDecision as a count", async () => {
    await world.close();
    world = await open({ instances: 1 });
    for (let i = 0; i < 500; i++)
      await world.event("/ws/chat/default", { connectionId: "AAAAAAAAAAAAAAA=" }, "{}");
    await world.sallyport.flush();
    const total = world.decisions.reduce((sum, { repeats }) => sum + Math.max(1, repeats), 0);
    expect(total).toBe(500);
    expect(world.decisions.filter(({ repeats }) => repeats === 0)).toHaveLength(10);
  });

  test("stores neither unrelated permissions nor the content of messages", async () => {
    const ann = await world.connect("ann", { channel: "rooms/general" });
    const { reference } = await ann.call("delete_message", { message_id: 424_242_424_242, note: "a secret" });
    const rows = await world.sql(`select * from sallyport_decisions where reference = '${reference}'`);
    expect(JSON.stringify(rows)).not.toMatch(/424242424242|a secret|can_broadcast/);
  });

  test("stores a fingerprint of a session id instead of the id", async () => {
    const ann = await world.connect("ann:a-secret-key");
    await ann.call("delete_message", { message_id: 1 });
    await world.sallyport.access.endSession("a-secret-key");
    await ann.closed;
    const kept = await world.sallyport.access.audit.decisions({ user: "ann" });
    expect(kept.map(({ event }) => event).sort()).toEqual(["message", "revocation"]);
    expect(new Set(kept.map(({ sessionId }) => sessionId))).toEqual(new Set([kept[0]?.sessionId]));
    expect(kept[0]?.sessionId).toMatch(/^[0-9a-f]{12}$/);
    const logged = [kept, world.decisions, await world.sallyport.access.audit.list()];
    expect(JSON.stringify(logged)).not.toContain("a-secret-key");
  });

  test("does not change a denial when the decision cannot be stored", async () => {
    const ann = await world.connect("ann");
    await world.sql("drop table sallyport_decisions");
    expect(await ann.call("delete_message", { message_id: 1 })).toMatchObject({ ok: false, status: 403 });
    expect(world.errors.splice(0).map(String)).toEqual([expect.stringContaining("sallyport_decisions")]);
  });
});

describe("explaining access without an event", () => {
  test("evaluates every rule of a view, handler and channel, also after the first denial", async () => {
    const { access } = world.sallyport;
    const answer = await access.explain({
      user: "ann",
      view: "/ws/chat",
      handler: "delete_message",
      channel: "rooms/moderators",
    });
    expect(answer).toMatchObject({
      verdict: "denied",
      message: "ChatView.delete_message needs chat.can_moderate_chat. Grant it to allow this.",
      missing: ["chat.can_moderate_chat"],
      uncalledHooks: [],
    });
    expect(answer.steps.map(({ what, allowed }) => `${what}: ${allowed}`)).toEqual([
      "ChatView: true",
      "ChatView.delete_message: false",
      'channel "rooms/moderators": true',
      'channel "rooms/moderators": false',
    ]);
    await access.users.setSuperuser("ann", true);
    expect(await access.explain({ user: "ann", view: "/ws/chat", handler: "read_document" })).toMatchObject({
      verdict: "allowed",
      uncalledHooks: ["authorize of ChatView.read_document"],
    });
    expect(
      await access.explain({ user: "ann", view: "/ws/chat", channel: "notifications_user_bob" }),
    ).toMatchObject({
      verdict: "denied",
      message:
        'authorize of channel "notifications_user_bob" did not return true. Return true if the user is allowed.',
    });
    expect(await access.explain({ user: null, view: "/ws/lobby", handler: "members_only" })).toMatchObject({
      verdict: "denied",
      message: "LobbyView.members_only needs a signed-in user. Sign in first.",
    });
  });

  test("rejects an unknown view, handler or channel, and suggests similar views and handlers", async () => {
    const { access } = world.sallyport;
    await expect(access.explain({ user: "ann", view: "/ws/chta" })).rejects.toThrow(
      /Did you mean "\/ws\/chat"/,
    );
    await expect(access.explain({ user: "ann", view: "/ws/chat", handler: "delete_mesage" })).rejects.toThrow(
      /Did you mean "delete_message"/,
    );
    await expect(access.explain({ user: "ann", view: "/ws/chat", channel: "no/such" })).rejects.toThrow(
      /No channel definition matches/,
    );
    expect(await world.sallyport.access.audit.decisions()).toEqual([]);
  });

  test("lists the holders of a permission and the access of a user", async () => {
    const { access } = world.sallyport;
    await access.grant("bob", chat.can_use_chat);
    await access.users.setSuperuser("rita", true);
    await access.grant("gone", chat.can_use_chat);
    await access.users.setActive("gone", false);
    expect(await access.permissions.holders(chat.can_use_chat)).toEqual([
      {
        user: "ann",
        isSuperuser: false,
        grants: [{ permission: "chat.can_use_chat", group: "Chatters", until }],
      },
      {
        user: "bob",
        isSuperuser: false,
        grants: [{ permission: "chat.can_use_chat", group: null, until: null }],
      },
      { user: "rita", isSuperuser: true, grants: [] },
    ]);
    const ann = await access.users.access("ann");
    expect(ann.permissions).toEqual(["chat.can_use_chat"]);
    const handlers = ann.views[0]?.handlers.map(({ name, allowed, hasAuthorize }) => [
      name,
      allowed,
      hasAuthorize,
    ]);
    expect(handlers).toContainEqual(["delete_message", false, false]);
    expect(handlers).toContainEqual(["read_document", true, true]);
    expect(ann.channels).toContainEqual({
      pattern: "announcements",
      allowed: true,
      maySend: false,
      hasAuthorize: false,
    });
    expect((await access.users.access(null)).views.map(({ path, allowed }) => [path, allowed])).toEqual([
      ["/ws/chat", false],
      ["/ws/lobby", true],
    ]);
    expect((await access.users.access("gone")).permissions).toEqual([]);
  });
});

describe("the audit log", () => {
  test("records the actor, action, time and reason of each change in commit order", async () => {
    const before = await databaseTime(world.database);
    const { access } = world.sallyport;
    const by = { by: "boss", reason: "because" };
    await access.grant("bob", chat.can_use_chat, { ...by, until });
    await access.revoke("bob", chat.can_use_chat, by);
    await access.grant({ group: "Crew" }, chat.can_moderate_chat, by);
    await access.users.addToGroup("bob", "Crew", by);
    await access.users.removeFromGroup("bob", "Crew", by);
    await access.groups.delete("Crew", by);
    await access.groups.create("Crew", by);
    await access.users.setActive("bob", false, by);
    await access.users.setSuperuser("bob", true, by);
    await access.recheck({ user: "bob" }, by);
    await access.recheck({ channel: "rooms/general" }, by);
    await access.endSession("login-of-bob", by);
    await world.sallyport.to({ user: "bob" }).close(by);
    await access.users.delete("bob", by);
    const entries = (await access.audit.list({ by: "boss" })).toReversed();
    expect(entries.map(({ action, user, group, permission }) => [action, user, group, permission])).toEqual([
      ["grant", "bob", null, "chat.can_use_chat"],
      ["revoke", "bob", null, "chat.can_use_chat"],
      ["grant", null, "Crew", "chat.can_moderate_chat"],
      ["add-to-group", "bob", "Crew", null],
      ["remove-from-group", "bob", "Crew", null],
      ["delete-group", null, "Crew", null],
      ["create-group", null, "Crew", null],
      ["set-active", "bob", null, null],
      ["set-superuser", "bob", null, null],
      ["recheck", "bob", null, null],
      ["recheck", null, null, null],
      ["end-session", null, null, null],
      ["close-connections", "bob", null, null],
      ["delete-user", "bob", null, null],
    ]);
    expect(entries[0]).toMatchObject({ reason: "because", details: { until } });
    expect(entries[7]?.details).toEqual({ active: false });
    expect(entries[12]?.details).toEqual({ audience: { user: "bob" } });
    const after = await databaseTime(world.database);
    expect(entries.every(({ at }) => before <= at && at <= after)).toBe(true);
    const numbers = entries.map(({ number }) => number);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
  });

  test("ignores changes without an effect, and records expired grants", async () => {
    const { access } = world.sallyport;
    const before = await access.audit.list();
    expect(await access.revoke("nobody", chat.can_use_chat)).toBe(false);
    expect(await access.users.removeFromGroup("ann", "Nowhere")).toBe(false);
    expect(await access.groups.create("Chatters")).toBe(false);
    expect(await access.users.setActive("ann", true)).toBe(false);
    expect(await access.users.delete("nobody")).toBe(false);
    expect(await access.audit.list()).toEqual(before);
    await world.sql("update sallyport_user_groups set until_at = 1");
    await world.sallyport.enforce();
    expect((await access.audit.list())[0]).toMatchObject({
      action: "expired",
      by: "sallyport",
      user: "ann",
      group: "Chatters",
      details: { until: 1 },
    });
  });

  test("can be filtered by user and time, and read in pages", async () => {
    const { access } = world.sallyport;
    for (const user of ["u1", "u2", "u3"]) await access.grant(user, chat.can_use_chat);
    expect(await access.audit.list({ user: "u2" })).toHaveLength(1);
    expect(await access.audit.list({ since: Date.now() + 60_000 })).toEqual([]);
    const [newest] = await access.audit.list({ limit: 1 });
    const [next] = await access.audit.list({ limit: 1, before: newest?.number });
    expect([newest?.user, next?.user]).toEqual(["u3", "u2"]);
    await expect(access.audit.list({ limit: 0 })).rejects.toThrow(
      /audit\(\): limit must be a whole number of rows from 1 to 1000, but received 0/,
    );
    await expect(access.audit.list({ since: Number.NaN })).rejects.toThrow(
      /since must be a Date or a whole number of epoch milliseconds/,
    );
  });
});

describe("invalid input", () => {
  test.each([
    [
      "a user without an id",
      () => world.sallyport.access.grant("", chat.can_use_chat),
      /1 to 255 characters/,
    ],
    [
      "an id that is too long",
      () => world.sallyport.access.users.setActive("x".repeat(256), false),
      /1 to 255/,
    ],
    [
      "an id with NUL",
      () => world.sallyport.access.users.delete("a\0b"),
      /no control characters, but received "a\\u0000b"/,
    ],
    [
      "an id that is no text",
      () => world.sallyport.access.revoke(7 as never, chat.can_use_chat),
      /but received 7/,
    ],
    ["a group with spaces around", () => world.sallyport.access.groups.create(" Crew"), /spaces around/],
    ["a group name over 150", () => world.sallyport.access.users.addToGroup("ann", "g".repeat(151)), /150/],
    [
      "an unknown permission",
      () => world.sallyport.access.grant("ann", "chat.can_use_chta" as never),
      /Did you mean/,
    ],
    [
      "an end that has passed",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, { until: 1 }),
      /has passed/,
    ],
    [
      "an end that is none",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, { until: Number.NaN }),
      /until must be a Date or a whole number of epoch milliseconds/,
    ],
    [
      "a reason that is a book",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, { reason: "r".repeat(1001) }),
      /1000/,
    ],
    [
      "a giver that is no text",
      () => world.sallyport.access.grant("ann", chat.can_use_chat, { by: 7 as never }),
      /by must be the user who makes the change/,
    ],
    [
      "a flag that is none",
      () => world.sallyport.access.users.setSuperuser("ann", "on" as never),
      /true or false/,
    ],
    ["a login that is none", () => world.sallyport.access.endSession(""), /must be a session id/],
    [
      "a recheck of nothing",
      () => world.sallyport.access.recheck({} as never),
      /\{ user \} or \{ channel \}/,
    ],
    [
      "no change at all",
      () => world.sallyport.access.change(null as never),
      /A change must be an object with a kind, but received null/,
    ],
    [
      "a change of no kind",
      () => world.sallyport.access.preview({ kind: "promote" } as never),
      /The kinds are: grant/,
    ],
    ["an audience that is none", async () => world.sallyport.to({} as never), /the audience is invalid/],
    [
      "an undefined user as audience",
      async () => world.sallyport.to({ user: undefined } as never),
      /the audience is invalid/,
    ],
    [
      "a misspelt requirement",
      async () => world.sallyport.to("everyone", { permissionRequired: [] } as never),
      /permissionsRequired/,
    ],
    [
      "a kick with a book for a reason",
      () => world.sallyport.to("everyone").close({ reason: "r".repeat(1001) }),
      /1000/,
    ],
    [
      "an empty list of questions",
      () => world.sallyport.access.users.hasAllPermissions("ann", []),
      /at least one/,
    ],
  ])("such as %s is rejected and changes no table", async (_name, act, words) => {
    const tables = [
      "users",
      "groups",
      "user_permissions",
      "group_permissions",
      "user_groups",
      "audit",
      "revocations",
    ];
    const state = async () =>
      JSON.stringify(await Promise.all(tables.map((table) => world.sql(`select * from sallyport_${table}`))));
    const before = await state();
    await expect((async () => act())()).rejects.toThrow(words);
    expect(await state()).toBe(before);
  });

  test("in the decisionLog options is rejected", () => {
    const make = (decisionLog: object) => () =>
      createSallyport({
        storage: sqlite(":memory:"),
        permissions: [chat],
        views,
        origins: [ORIGIN],
        authenticate: () => null,
        decisionLog,
      });
    expect(make({ sampleAllowed: 2 })).toThrow(/sampleAllowed must be a share from 0 to 1/);
    expect(make({ keepDays: 0 })).toThrow(/keepDays/);
    expect(make({ maxRows: 1.5 })).toThrow(/maxRows/);
    expect(make({ sampleAlowed: 1 })).toThrow(/Did you mean "sampleAllowed"/);
  });
});

test("the decision of a revocation contains the hook error that caused it", async () => {
  await world.close();
  let failing = false;
  const club = defineChannel("club", {
    signedIn: true,
    authorize: () => {
      if (failing) throw new Error("out of reach");
      return true;
    },
  });
  world = await open({ channels: [...channels, club] });
  await world.sallyport.access.grant("ann", chat.can_use_chat);
  const ann = await world.connect("ann", { channel: "club" });
  failing = true;
  await world.sallyport.access.recheck({ channel: "club" });
  const { reference } = await ann.message("sallyport.revoked");
  expect(await world.sallyport.access.explain(reference as string)).toMatchObject({
    event: "revocation",
    channel: "club",
    reason: "authorize",
    message:
      'authorize of channel "club" failed (Error: out of reach), so access is denied. Fix the error in the hook.',
  });
  expect(world.errors.splice(0)).toHaveLength(1);
});
