import { beforeEach, describe, expect, test } from "vitest";
import { MAX_CONNECTION_ROW_AGE_MS } from "../../src/protocol/quotas.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import {
  CONNECTION_PAGE,
  type ConnectionFilter,
  type ConnectionSelector,
  type ConnectionStore,
  PERMISSION_ENDED,
} from "../../src/storage/stores/connections.ts";
import { chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addGroups, addMemberships, addSessions, addUsers, type Session } from "./tables.ts";
import { ALIKE, ALIKE_TRIMMED, idsOfAllForms } from "./texts.ts";

const ALL: ConnectionSelector = { kind: "all" };
const ROOM: ConnectionSelector = { kind: "channel", channel: "room" };

const at = twoProcesses();
let sessions: ConnectionStore;
let gateway: string;
beforeEach(async () => {
  sessions = at.two.store.connections;
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
    ids.map((connection_key) => ({ connection_key, channel })),
  );

/** The ways to read the connections of a selector, page by page. */
const WAYS = {
  page: (selector: ConnectionSelector, after: string) => sessions.page(selector, after),
  recipients: (selector: ConnectionSelector, after: string) =>
    sessions.recipients(selector, after, [chat.read]),
};
type Way = keyof typeof WAYS;

async function idsBy(
  way: Way,
  selector: ConnectionSelector,
  between: (ids: readonly string[]) => Promise<unknown> = async () => undefined,
): Promise<string[]> {
  const ids: string[] = [];
  for (;;) {
    const page = await WAYS[way](selector, ids.at(-1) ?? "");
    ids.push(...page.map(({ id }) => id));
    if (page.length < CONNECTION_PAGE) return ids;
    await between(ids);
  }
}

/** Returns the connections of a selector, and checks that all ways to read them agree. */
async function selected(selector: ConnectionSelector): Promise<string[]> {
  const [paged, received] = [await idsBy("page", selector), await idsBy("recipients", selector)];
  expect(received).toEqual(paged);
  expect(await sessions.count(selector, "")).toBe(paged.length);
  return sorted(paged);
}

describe("pages of connections", () => {
  const ids = idsOfAllForms(2 * CONNECTION_PAGE + 9);

  test.each<ConnectionSelector>([
    ALL,
    ROOM,
    { kind: "view", view: "/ws/chat" },
    { kind: "user", userId: "ann" },
    { kind: "group", group: "Crew" },
    { kind: "holders", permission: chat.read },
    { kind: "session", sessionId: "login" },
    { kind: "deleted-user", userId: "ann" },
  ])("are complete and without duplicates for any order of ids: %j", async (selector) => {
    const users = "userId" in selector ? ["ann"] : idsOfAllForms(50);
    await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "Crew");
      for (const user of users) await changes.addToGroup(user, "Crew");
      await changes.grant({ group: "Crew" }, chat.read);
    });
    const closed_at = ["session", "deleted-user"].includes(selector.kind) ? 5 : null;
    const row = { session_id: "login", closed_at };
    await add(ids.map((id, index) => ({ id, user_id: users[index % users.length] ?? null, ...row })));
    await join(ids);
    await join(ids, "Room");
    expect(await selected(selector)).toEqual(sorted(ids));
    const inOrder = await idsBy("page", selector);
    for (const index of [0, CONNECTION_PAGE - 1, CONNECTION_PAGE, ids.length - 1]) {
      expect(await sessions.count(selector, inOrder[index] as string)).toBe(ids.length - index - 1);
    }
    expect(await sessions.page(selector, inOrder.at(-1) as string)).toEqual([]);
    expect(await sessions.recipients(selector, inOrder.at(-1) as string, [])).toEqual([]);
  });

  test.each(["page", "recipients"] as const)(
    "contain each remaining connection once while others open and close: by %s",
    async (way) => {
      await add(ids.map((id) => ({ id })));
      await join(ids);
      const [staying, closing] = [ids.slice(0, 700), ids.slice(700)];
      const closed: string[] = [];
      let came = 0;
      const seen = await idsBy(way, ROOM, async (before) => {
        closed.push(...closing.splice(0, 50).filter((id) => !before.includes(id)));
        await sessions.closeMany(closed, PERMISSION_ENDED);
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

  test("end if the number of connections is exactly one page", async () => {
    await add(ids.slice(0, CONNECTION_PAGE).map((id) => ({ id })));
    expect(await selected(ALL)).toEqual(sorted(ids.slice(0, CONNECTION_PAGE)));
  });

  test("are read as their transaction has changed them", async () => {
    await add([{ id: "a" }, { id: "b" }]);
    const { connections } = storeOf(at.one);
    const ids = (page: readonly { readonly id: string }[]) => page.map(({ id }) => id);
    await at.one.rollbackTransaction(async (db) => {
      await db.deleteFrom("sallyport_connections").where("id", "=", "a").execute();
      expect(ids(await connections.pageIn(db, ALL, ""))).toEqual(["b"]);
      expect(ids(await sessions.page(ALL, ""))).toEqual(["a", "b"]);
    });
  });
});

describe("an audience", () => {
  test("contains exactly the selected connections, and no similar ones", async () => {
    const names = ALIKE.map((text, index) => ({ text, id: `${index}` }));
    await add(
      names.map(({ text, id }) => ({ id, connection_id: text, user_id: text, session_id: text, view: text })),
    );
    for (const { text, id } of names) await join([id], text);
    for (const { text, id } of names) {
      const selectors: ConnectionSelector[] = [
        { kind: "channel", channel: text },
        { kind: "view", view: text },
        { kind: "user", userId: text },
        { kind: "connection-id", connectionId: text },
      ];
      for (const selector of selectors)
        expect([selector, await selected(selector)]).toEqual([selector, [id]]);
      expect(await selected({ kind: "connection", connectionKey: id })).toEqual([id]);
    }
    expect(await selected({ kind: "connection", connectionKey: "Ann" })).toEqual([]);
    expect(await selected(ALL)).toEqual(sorted(names.map(({ id }) => id)));
  });

  test("can be the members of a group, the users of a revocation, or current holders", async () => {
    const groups = ALIKE_TRIMMED.slice(0, 12);
    await rightsGiven(at, async (changes, db) => {
      await addGroups(db, ...groups);
      for (const [index, group] of groups.entries()) await changes.addToGroup(`user ${index}`, group);
      await changes.grant({ group: groups[0] as string }, chat.read);
      await changes.grant("user 1", chat.Read);
      await changes.setSuperuser("user 2", true);
      await changes.grant("user 3", chat.read);
      await changes.setActive("user 3", false);
    });
    await add(groups.map((_, index) => ({ id: `${index}`, user_id: `user ${index}` })));
    await add([{ id: "nobody's" }, { id: "unknown", user_id: "unknown" }]);
    for (const [index, group] of groups.entries())
      expect(await selected({ kind: "group", group })).toEqual([`${index}`]);
    const users = ["user 5", "user 7", "unknown", "USER 8"];
    const revocationId = await at.one.transaction((db) =>
      storeOf(at.one).revocations.record(db, { scope: "users", users }, null, "process"),
    );
    expect(await selected({ kind: "listed", revocationId })).toEqual(["5", "7", "unknown"]);
    expect(await selected({ kind: "holders", permission: chat.read })).toEqual(["0", "2"]);
    expect(await selected({ kind: "holders", permission: chat.Read })).toEqual(["1", "2"]);
    expect(await selected({ kind: "holders", permission: chat.write })).toEqual(["2"]);
  });

  test("includes the requested permissions of each connection", async () => {
    await rightsGiven(at, async (changes, db) => {
      await addUsers(db, ["bob"]);
      for (const permission of [chat.read, chat.Read, chat.write]) await changes.grant("ann", permission);
    });
    await add([{ id: "a", user_id: "ann" }, { id: "b", user_id: "bob" }, { id: "c" }]);
    const brought = async (...only: string[]) =>
      (await sessions.recipients(ALL, "", only)).map(({ isActive, permissions }) => [
        isActive,
        sorted(permissions),
      ]);
    const [bob, anonymous] = [
      [true, []],
      [false, []],
    ];
    expect(await brought(chat.read)).toEqual([[true, [chat.read]], bob, anonymous]);
    expect(await brought(chat.read, chat.write)).toEqual([[true, [chat.read, chat.write]], bob, anonymous]);
    expect(await brought()).toEqual([[true, []], bob, anonymous]);
    const [ann] = await sessions.page(ALL, "");
    expect(sorted(ann?.permissions ?? [])).toEqual(["chat.Read", "chat.read", "chat.write"]);
  });

  test("contains no connection that is closed, disconnected or too old", async () => {
    const over = { disconnected_at: 5, closed_at: 5, close_reason: PERMISSION_ENDED };
    const closed = (close_reason: string) => ({
      closed_at: 5,
      close_reason,
      user_id: "ann",
      session_id: "login",
    });
    await add([
      { id: "open", user_id: "ann", session_id: "login" },
      { id: "ended", ...closed("session ended") },
      { id: "lost", ...closed(PERMISSION_ENDED) },
      { id: "gone", ...closed(PERMISSION_ENDED), ...over },
      { id: "old", ...closed(PERMISSION_ENDED), closed_at: null },
      { id: "other", ...closed("session ended"), user_id: "Ann", session_id: "Login" },
    ]);
    await at.one.db
      .updateTable("sallyport_connections")
      .set(({ eb }) => ({ connected_at: eb(at.one.now, "-", MAX_CONNECTION_ROW_AGE_MS) }))
      .where("id", "=", "old")
      .execute();
    expect(await selected(ALL)).toEqual(["open"]);
    expect(await selected({ kind: "user", userId: "ann" })).toEqual(["open"]);
    expect(await selected({ kind: "session", sessionId: "login" })).toEqual(["ended", "lost"]);
    expect(await selected({ kind: "deleted-user", userId: "ann" })).toEqual(["ended", "lost"]);
    const takenOver = await sessions.page({ kind: "user", userId: "ann" }, "", { includeClosed: true });
    expect(takenOver.map(({ id, isClosed }) => [id, isClosed])).toEqual([
      ["lost", true],
      ["open", false],
    ]);
  });
});

describe("a list of connections", () => {
  test("contains the connections that match all filters, in pages of any size", async () => {
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
    const listed = async (filter: ConnectionFilter, limit = 1000) =>
      (await sessions.list(filter, limit)).map(({ id }) => id);
    for (const { id, text } of rows) {
      for (const filter of [{ connection: id }, { user: text }, { view: text }, { channel: text }]) {
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
