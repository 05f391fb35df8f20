import { beforeEach, describe, expect, test } from "vitest";
import { Evictions } from "../../src/access/evictions.ts";
import { Rights } from "../../src/access/rights.ts";
import { MAX_SESSION_MS } from "../../src/protocol/quotas.ts";
import type { SessionSelector } from "../../src/sessions/session-selector.ts";
import { PAGE_SIZE, RIGHT_ENDED, Sessions } from "../../src/sessions/sessions.ts";
import { chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addGroups, addMemberships, addSessions, addUsers, type Session } from "./tables.ts";
import { ALIKE, ALIKE_TRIMMED, idsOfAllForms } from "./texts.ts";

const ALL: SessionSelector = { kind: "all" };
const ROOM: SessionSelector = { kind: "channel", channel: "room" };

const at = twoProcesses();
let sessions: Sessions;
let gateway: string;
beforeEach(async () => {
  sessions = new Sessions(at.two, new Rights(at.two));
  gateway = await addGateway(at.one);
});

const add = (rows: readonly Omit<Session, "gateway_id">[]) =>
  addSessions(
    at.one,
    rows.map((row) => ({ gateway_id: gateway, ...row })),
  );
const join = (ids: readonly string[], channel = "room") =>
  addMemberships(
    at.one.db,
    ids.map((session_id) => ({ session_id, channel })),
  );

/** How a selector's sessions are read: each way page by page. */
const WAYS = {
  page: (selector: SessionSelector, after: string) => sessions.page(selector, after),
  recipients: (selector: SessionSelector, after: string) => sessions.recipients(selector, after, [chat.read]),
};
type Way = keyof typeof WAYS;

async function idsBy(
  way: Way,
  selector: SessionSelector,
  between: (ids: readonly string[]) => Promise<unknown> = async () => undefined,
): Promise<string[]> {
  const ids: string[] = [];
  for (;;) {
    const page = await WAYS[way](selector, ids.at(-1) ?? "");
    ids.push(...page.map(({ id }) => id));
    if (page.length < PAGE_SIZE) return ids;
    await between(ids);
  }
}

/** The sessions of a selector, which every way of reading them must agree on. */
async function selected(selector: SessionSelector): Promise<string[]> {
  const [paged, received] = [await idsBy("page", selector), await idsBy("recipients", selector)];
  expect(received).toEqual(paged);
  expect(await sessions.count(selector, "")).toBe(paged.length);
  return sorted(paged);
}

describe("pages of sessions", () => {
  const ids = idsOfAllForms(2 * PAGE_SIZE + 9);

  test.each<SessionSelector>([
    ALL,
    ROOM,
    { kind: "view", view: "/ws/chat" },
    { kind: "user", userId: "ann" },
    { kind: "group", group: "Crew" },
    { kind: "holders", permission: chat.read },
    { kind: "login", loginId: "login" },
    { kind: "deleted-user", userId: "ann" },
  ])("are complete and repeat nobody, whatever order ids are put in: %j", async (selector) => {
    const users = "userId" in selector ? ["ann"] : idsOfAllForms(50);
    await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew");
      for (const user of users) await grants.addToGroup(db, user, "Crew", {});
      await grants.grant(db, { group: "Crew" }, chat.read, {});
    });
    const closed_at = ["login", "deleted-user"].includes(selector.kind) ? 5 : null;
    const row = { login_id: "login", closed_at };
    await add(ids.map((id, index) => ({ id, user_id: users[index % users.length] ?? null, ...row })));
    await join(ids);
    await join(ids, "Room");
    expect(await selected(selector)).toEqual(sorted(ids));
    const inOrder = await idsBy("page", selector);
    for (const index of [0, PAGE_SIZE - 1, PAGE_SIZE, ids.length - 1]) {
      expect(await sessions.count(selector, inOrder[index] as string)).toBe(ids.length - index - 1);
    }
    expect(await sessions.page(selector, inOrder.at(-1) as string)).toEqual([]);
    expect(await sessions.recipients(selector, inOrder.at(-1) as string, [])).toEqual([]);
  });

  test.each(["page", "recipients"] as const)(
    "miss nobody who stays and repeat nobody, while others come and go: by %s",
    async (way) => {
      await add(ids.map((id) => ({ id })));
      await join(ids);
      const [staying, closing] = [ids.slice(0, 700), ids.slice(700)];
      const closed: string[] = [];
      let came = 0;
      const seen = await idsBy(way, ROOM, async (before) => {
        closed.push(...closing.splice(0, 50).filter((id) => !before.includes(id)));
        await sessions.closeMany(closed, RIGHT_ENDED);
        if (++came > 3) return;
        const coming = idsOfAllForms(60).map((id) => `${id} came ${came}`);
        await add(coming.map((id) => ({ id })));
        await join(coming);
      });
      expect(closed.length).toBeGreaterThan(0);
      expect(new Set(seen).size).toBe(seen.length);
      expect(staying.filter((id) => !seen.includes(id))).toEqual([]);
      expect(closed.filter((id) => seen.includes(id))).toEqual([]);
    },
  );

  test("end where their number of sessions is just that of a page", async () => {
    await add(ids.slice(0, PAGE_SIZE).map((id) => ({ id })));
    expect(await selected(ALL)).toEqual(sorted(ids.slice(0, PAGE_SIZE)));
  });

  test("are read as the transaction has left them in which they are read", async () => {
    await add([{ id: "a" }, { id: "b" }]);
    const one = new Sessions(at.one, new Rights(at.one));
    const read = async (of: Sessions, options?: Parameters<Sessions["page"]>[2]) =>
      (await of.page(ALL, "", options)).map(({ id }) => id);
    await at.one.rehearse(async (db) => {
      await db.deleteFrom("sallyport_sessions").where("id", "=", "a").execute();
      expect(await read(one, { db })).toEqual(["b"]);
      expect(await read(sessions)).toEqual(["a", "b"]);
    });
  });
});

describe("an audience", () => {
  test("is of exactly those whom it names, however alike others are", async () => {
    const names = ALIKE.map((text, index) => ({ text, id: `${index}` }));
    await add(
      names.map(({ text, id }) => ({ id, connection_id: text, user_id: text, login_id: text, view: text })),
    );
    for (const { text, id } of names) await join([id], text);
    for (const { text, id } of names) {
      const selectors: SessionSelector[] = [
        { kind: "channel", channel: text },
        { kind: "view", view: text },
        { kind: "user", userId: text },
        { kind: "connection", connectionId: text },
      ];
      for (const selector of selectors)
        expect([selector, await selected(selector)]).toEqual([selector, [id]]);
      expect(await selected({ kind: "session", sessionId: id })).toEqual([id]);
    }
    expect(await selected({ kind: "session", sessionId: "Ann" })).toEqual([]);
    expect(await selected(ALL)).toEqual(sorted(names.map(({ id }) => id)));
  });

  test("is of a group's members, a record's users, or those who hold a permission now", async () => {
    const groups = ALIKE_TRIMMED.slice(0, 12);
    await rightsGiven(at, async (grants, db) => {
      await addGroups(db, ...groups);
      for (const [index, group] of groups.entries()) await grants.addToGroup(db, `user ${index}`, group, {});
      await grants.grant(db, { group: groups[0] as string }, chat.read, {});
      await grants.grant(db, "user 1", chat.Read, {});
      await grants.setFlag(db, "user 2", "is_superuser", true);
      await grants.grant(db, "user 3", chat.read, {});
      await grants.setFlag(db, "user 3", "is_active", false);
    });
    await add(groups.map((_, index) => ({ id: `${index}`, user_id: `user ${index}` })));
    await add([{ id: "nobody's" }, { id: "unknown", user_id: "unknown" }]);
    for (const [index, group] of groups.entries())
      expect(await selected({ kind: "group", group })).toEqual([`${index}`]);
    const evictions = new Evictions(at.one, "app");
    const users = ["user 5", "user 7", "unknown", "USER 8"];
    const evictionId = await at.one.write((db) => evictions.record(db, { scope: "users", users }, null));
    expect(await selected({ kind: "listed", evictionId })).toEqual(["5", "7", "unknown"]);
    expect(await selected({ kind: "holders", permission: chat.read })).toEqual(["0", "2"]);
    expect(await selected({ kind: "holders", permission: chat.Read })).toEqual(["1", "2"]);
    expect(await selected({ kind: "holders", permission: chat.write })).toEqual(["2"]);
  });

  test("brings each session's rights along, of the permissions that are asked about", async () => {
    await rightsGiven(at, async (grants, db) => {
      await addUsers(db, ["bob"]);
      for (const permission of [chat.read, chat.Read, chat.write])
        await grants.grant(db, "ann", permission, {});
    });
    await add([{ id: "a", user_id: "ann" }, { id: "b", user_id: "bob" }, { id: "c" }]);
    const brought = async (...only: string[]) =>
      (await sessions.recipients(ALL, "", only)).map(({ isActive, permissions }) => [
        isActive,
        sorted(permissions),
      ]);
    const [bob, nobody] = [
      [true, []],
      [false, []],
    ];
    expect(await brought(chat.read)).toEqual([[true, [chat.read]], bob, nobody]);
    expect(await brought(chat.read, chat.write)).toEqual([[true, [chat.read, chat.write]], bob, nobody]);
    expect(await brought()).toEqual([[true, []], bob, nobody]);
    const [ann] = await sessions.page(ALL, "");
    expect(sorted(ann?.permissions ?? [])).toEqual(["chat.Read", "chat.read", "chat.write"]);
  });

  test("has nobody who was closed, has disconnected, or is older than a socket can be", async () => {
    const over = { disconnected_at: 5, closed_at: 5, close_reason: RIGHT_ENDED };
    const closed = (close_reason: string) => ({
      closed_at: 5,
      close_reason,
      user_id: "ann",
      login_id: "login",
    });
    await add([
      { id: "open", user_id: "ann", login_id: "login" },
      { id: "ended", ...closed("login ended") },
      { id: "lost", ...closed(RIGHT_ENDED) },
      { id: "gone", ...closed(RIGHT_ENDED), ...over },
      { id: "old", ...closed(RIGHT_ENDED), closed_at: null },
      { id: "other", ...closed("login ended"), user_id: "Ann", login_id: "Login" },
    ]);
    await at.one.db
      .updateTable("sallyport_sessions")
      .set(({ eb }) => ({ connected_at: eb(at.one.now, "-", MAX_SESSION_MS) }))
      .where("id", "=", "old")
      .execute();
    expect(await selected(ALL)).toEqual(["open"]);
    expect(await selected({ kind: "user", userId: "ann" })).toEqual(["open"]);
    expect(await selected({ kind: "login", loginId: "login" })).toEqual(["ended", "lost"]);
    expect(await selected({ kind: "deleted-user", userId: "ann" })).toEqual(["ended", "lost"]);
    const takenOver = await sessions.page({ kind: "user", userId: "ann" }, "", { isTakenOver: true });
    expect(takenOver.map(({ id, isClosed }) => [id, isClosed])).toEqual([
      ["lost", true],
      ["open", false],
    ]);
  });
});

describe("a list of sessions", () => {
  test("is of those to whom all of its filters apply, in pages of any size", async () => {
    const rows = ALIKE.map((text, index) => ({ id: `${index}`.padStart(3, "0"), text }));
    await add(
      rows.map(({ id, text }) => ({
        id,
        user_id: text,
        view: text,
        request_count: 3,
        last_seen_at: 2 ** 41,
      })),
    );
    for (const { id, text } of rows) await join([id], text);
    const listed = async (filter: Parameters<Sessions["list"]>[0], limit = 1000) =>
      (await sessions.list(filter, limit)).map(({ id }) => id);
    for (const { id, text } of rows) {
      for (const filter of [{ session: id }, { user: text }, { view: text }, { channel: text }]) {
        expect([filter, await listed(filter)]).toEqual([filter, [id]]);
      }
    }
    expect(await listed({ user: "Ann", channel: "ann" })).toEqual([]);
    expect(await listed({ user: "Ann", view: "Ann", channel: "Ann", after: "000" })).toEqual([]);
    const seen: string[] = [];
    for (let page = await listed({}, 7); page.length > 0; page = await listed({ after: page.at(-1) }, 7)) {
      seen.push(...page);
    }
    expect(seen).toEqual(rows.map(({ id }) => id));
    const [first] = await sessions.list({}, 1);
    expect(first).toMatchObject({ requestCount: 3, lastSeenAt: 2 ** 41, channels: ["Ann"], isClosed: false });
  });
});
