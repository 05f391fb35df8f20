import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { MAX_CONNECTION_ROW_AGE_MS } from "../../src/protocol/quotas.ts";
import type { SqlConnections } from "../../src/storage/sql/connections.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import { chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions, type Session } from "./tables.ts";
import { ALIKE, idsOfAllForms } from "./texts.ts";

const HOUR_MS = 3_600_000;
const LEFT = { code: undefined, reason: undefined };

const at = twoProcesses();
let sessions: readonly [SqlConnections, SqlConnections];
let gateway: string;
beforeEach(async () => {
  sessions = at.each((database) => storeOf(database).connections);
  gateway = await addGateway(at.one);
});
afterEach(() => {
  vi.useRealTimers();
});

const add = (...rows: Omit<Session, "gateway_id">[]) =>
  addSessions(
    at.one,
    rows.map((row) => ({ gateway_id: gateway, ...row })),
  );
const addMany = (ids: readonly string[], row: Omit<Session, "gateway_id"> = {}) =>
  add(...ids.map((id) => ({ id, connection_id: `connection ${id}`, ...row })));

/** Moves the opening of connections into the past. */
const aged = (ageMs: number, ids: readonly string[]) =>
  at.one.db
    .updateTable("sallyport_connections")
    .set(({ eb }) => ({ connected_at: eb(at.one.now, "-", ageMs) }))
    .where("id", "in", ids)
    .execute();

const rowOf = (id: string) =>
  at.two.db.selectFrom("sallyport_connections").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

async function openIds(): Promise<string[]> {
  const open = at.two.db.selectFrom("sallyport_connections").select("id").where("closed_at", "is", null);
  return sorted((await open.execute()).map(({ id }) => id));
}

describe("a connection", () => {
  test("is found by its connection id, with its channels, user flags and permissions", async () => {
    const until = Date.now() + HOUR_MS;
    await rightsGiven(at, async (changes) => {
      await changes.grant("ann", chat.read, { until });
      await changes.setSuperuser("ann", true);
    });
    await add({ id: "s", connection_id: "c", user_id: "ann", session_id: "login", view: "/ws/ä'\"" });
    await aged(5000, ["s"]);
    const joined = ALIKE.map((channel, index) => ({
      connection_key: "s",
      channel,
      joined_at: 2 ** 40 - index,
    }));
    await addMemberships(at.one.db, joined);
    const found = await sessions[1].find(gateway, "c");
    expect(found).toEqual({
      id: "s",
      gatewayId: gateway,
      connectionId: "c",
      view: "/ws/ä'\"",
      userId: "ann",
      sessionId: "login",
      ageMs: found?.ageMs,
      connectedAt: (await rowOf("s")).connected_at,
      isClosed: false,
      isActive: true,
      isSuperuser: true,
      permissions: ["chat.read"],
      grants: [{ permission: "chat.read", group: null, until }],
      channels: [...ALIKE].reverse(),
    });
    expect(found?.ageMs).toBeGreaterThanOrEqual(5000);
    expect(found?.ageMs).toBeLessThan(HOUR_MS);
  });

  test("without a user, or with an unknown user, has nulls and no permissions", async () => {
    await add({ connection_id: "nobody" }, { connection_id: "unknown", user_id: "ann" });
    const without = {
      isActive: false,
      isSuperuser: false,
      permissions: [],
      grants: [],
      channels: [],
      sessionId: null,
    };
    expect(await sessions[1].find(gateway, "nobody")).toMatchObject({ userId: null, ...without });
    expect(await sessions[1].find(gateway, "unknown")).toMatchObject({ userId: "ann", ...without });
  });

  test("is found by its exact connection id and gateway", async () => {
    const other = await addGateway(at.one, "other");
    const rows = ALIKE.map((connection_id, index) => ({ id: `${index}`, connection_id }));
    await add(...rows);
    await addSessions(at.one, [{ id: "there", gateway_id: other, connection_id: "Ann" }]);
    for (const { id, connection_id } of rows) {
      expect(await sessions[1].find(gateway, connection_id)).toMatchObject({
        id,
        connectionId: connection_id,
      });
      expect((await sessions[1].find(other, connection_id))?.id).toBe(
        connection_id === "Ann" ? "there" : undefined,
      );
    }
  });

  test("is read again by each call, whatever was read before", async () => {
    const other = await addGateway(at.one, "other");
    for (const gateway_id of [gateway, other]) {
      await addSessions(
        at.one,
        ["Ann", "Bob"].map((connection_id) => ({
          id: `${gateway_id} ${connection_id}`,
          gateway_id,
          connection_id,
        })),
      );
    }
    const found = async (each: SqlConnections, gatewayId: string, connection: string) =>
      (await each.find(gatewayId, connection))?.id;
    for (let round = 0; round < 30; round++) {
      const gatewayId = [gateway, other, "none"][round % 3] as string;
      const connection = ["Ann", "Bob"][round % 2] as string;
      const id = gatewayId === "none" ? undefined : `${gatewayId} ${connection}`;
      // A read inside a transaction goes through Kysely, and one at the same time waits for it.
      if (round % 4 === 0) {
        const both = [
          at.two.transaction((db) => sessions[1].findIn(db, `${other} Ann`)),
          found(sessions[1], gatewayId, connection),
        ];
        expect((await Promise.all(both))[1]).toBe(id);
      }
      expect(await found(sessions[1], gatewayId, connection)).toBe(id);
      await sessions[0].closeMany([`${gateway} Bob`], "permission ended");
      if (round > 0) expect(await found(sessions[1], gateway, "Bob")).toBeUndefined();
      await at.one.db.updateTable("sallyport_connections").set({ closed_at: null }).execute();
    }
  });

  test("is found until it is closed, or too old by the database clock", async () => {
    await addMany(["open", "closed", "old", "oldest"]);
    await addMemberships(at.one.db, [{ connection_key: "old", channel: "room" }]);
    await sessions[0].closeMany(["closed"], "permission ended");
    await aged(MAX_CONNECTION_ROW_AGE_MS - 60_000, ["old"]);
    await aged(MAX_CONNECTION_ROW_AGE_MS, ["oldest"]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 24 * HOUR_MS });
    for (const [id, isThere] of [
      ["open", true],
      ["closed", false],
      ["old", true],
      ["oldest", false],
    ] as const) {
      expect([id, (await sessions[1].find(gateway, `connection ${id}`)) !== undefined]).toEqual([
        id,
        isThere,
      ]);
      expect([id, (await sessions[1].findById(id)) !== undefined]).toEqual([id, isThere]);
      expect(await sessions[1].isConnected(id)).toBe(true);
    }
  });

  test("is found by its id in a transaction, as the transaction has changed it", async () => {
    await addMany(["a", "A"]);
    await at.one.rollbackTransaction(async (db) => {
      expect(await sessions[0].findIn(db, "a")).toMatchObject({ id: "a", connectionId: "connection a" });
      await db.updateTable("sallyport_connections").set({ closed_at: 1 }).where("id", "=", "a").execute();
      expect(await sessions[0].findIn(db, "a")).toBeUndefined();
      expect(await sessions[1].findById("a")).toMatchObject({ id: "a" });
    });
  });
});

describe("a disconnect", () => {
  test("returns the channels of the connection to one of many concurrent calls", async () => {
    await addMany(["a", "A"], { user_id: "ann" });
    const channels = [...ALIKE].reverse();
    await addMemberships(
      at.one.db,
      channels.map((channel, index) => ({ connection_key: "a", channel, joined_at: 2 ** 40 + index })),
    );
    const before = await at.time();
    const { passed, failed } = await at.race(20, sessions, (each) =>
      each.disconnect(gateway, "connection a", { code: 1001, reason: "gone 😀" }),
    );
    expect(failed).toEqual([]);
    const { connected_at: connectedAt, ...row } = await rowOf("a");
    expect(passed.filter((departed) => departed !== undefined)).toEqual([
      { id: "a", connectionId: "connection a", view: "/ws/chat", userId: "ann", connectedAt, channels },
    ]);
    expect(row).toMatchObject({ close_code: 1001, close_reason: "gone 😀" });
    expect(row.closed_at).toBe(row.disconnected_at);
    expect(before <= (row.closed_at ?? 0) && (row.closed_at ?? 0) <= (await at.time())).toBe(true);
    expect(await sessions[1].isConnected("a")).toBe(false);
    expect(await openIds()).toEqual(["A"]);
  });

  test("of a closed connection keeps time and reason of the close, and is reported", async () => {
    await addMany(["a"]);
    await sessions[0].closeMany(["a"], "permission ended");
    await at.one.db
      .updateTable("sallyport_connections")
      .set({ closed_at: 2 ** 40 })
      .execute();
    expect(await sessions[1].isConnected("a")).toBe(true);
    const departed = await sessions[1].disconnect(gateway, "connection a", { code: 1000, reason: "bye" });
    expect(departed).toMatchObject({ id: "a", userId: null, channels: [] });
    expect(await rowOf("a")).toMatchObject({
      closed_at: 2 ** 40,
      close_code: 1000,
      close_reason: "permission ended",
    });
  });

  test("needs no code or reason, shortens a long reason, and ignores unknown connections", async () => {
    await addMany(["a", "b"]);
    await sessions[0].disconnect(gateway, "connection a", LEFT);
    expect(await rowOf("a")).toMatchObject({ close_code: null, close_reason: null });
    await sessions[0].disconnect(gateway, "connection b", { code: 4999, reason: "ä".repeat(5000) });
    expect(await rowOf("b")).toMatchObject({ close_code: 4999, close_reason: "ä".repeat(200) });
    expect(await sessions[0].disconnect(gateway, "connection", LEFT)).toBeUndefined();
    expect(await sessions[0].disconnect("elsewhere", "connection a", LEFT)).toBeUndefined();
  });

  test("is stored with the largest close code", async () => {
    await addMany(["a"]);
    const code = 65_535;
    expect(await sessions[0].disconnect(gateway, "connection a", { code, reason: "" })).toMatchObject({
      id: "a",
    });
    expect(await sessions[1].isConnected("a")).toBe(false);
  });
});

describe("connections that are closed together", () => {
  test("are each returned to one of several concurrent calls, in any order", async () => {
    for (let round = 0; round < 3; round++) {
      const ids = idsOfAllForms(1500).map((id) => `${id} of ${round}`);
      await addMany(ids);
      const named = [...ids, "nobody's", "NOBODY'S"];
      const { passed, failed } = await at.race(4, sessions, (each, index) =>
        each.closeMany(index % 2 === 0 ? named : [...named].reverse(), `by ${index}`),
      );
      expect(failed).toEqual([]);
      expect(sorted(passed.flatMap((closed) => [...closed]))).toEqual(sorted(ids));
      for (const [index, closed] of passed.entries()) {
        for (const id of [...closed].slice(0, 3))
          expect(await rowOf(id)).toMatchObject({ close_reason: `by ${index}` });
      }
      expect(await openIds()).toEqual([]);
    }
    expect(await sessions[0].closeMany([], "nothing")).toEqual(new Set());
  });

  test("and disconnect at the same time are returned at most once as closed", async () => {
    const ids = idsOfAllForms(60);
    await addMany(ids);
    const closedIds: string[] = [];
    const [, { passed, failed }] = await Promise.all([
      sessions[0].closeMany(ids, "permission ended").then((closed) => closedIds.push(...closed)),
      at.race(60, sessions, (each, index) => each.disconnect(gateway, `connection ${ids[index]}`, LEFT)),
    ]);
    expect(failed).toEqual([]);
    expect(sorted(passed.map((departed) => departed?.id))).toEqual(sorted(ids));
    expect(new Set(closedIds).size).toBe(closedIds.length);
    for (const id of closedIds) expect(await rowOf(id)).toMatchObject({ close_reason: "permission ended" });
    expect(await openIds()).toEqual([]);
  });

  test("are those of exactly one session or user, and stay open after a rollback", async () => {
    const rows = ALIKE.flatMap((text, index) => [
      { id: `session ${index}`, connection_id: `1 ${index}`, session_id: text },
      { id: `user ${index}`, connection_id: `2 ${index}`, user_id: text },
    ]);
    await add(...rows);
    const open = new Set(rows.map(({ id }) => id));
    for (const [index, text] of ALIKE.entries()) {
      if (index % 4 !== 0) continue;
      for (const selector of [{ session: text }, { user: text }]) {
        expect(
          await at.one.transaction((db) => sessions[0].closeForSessionOrUser(db, selector, "ended")),
        ).toBe(1);
        expect(
          await at.two.transaction((db) => sessions[1].closeForSessionOrUser(db, selector, "ended")),
        ).toBe(0);
        open.delete(`${Object.keys(selector)} ${index}`);
        expect(await openIds()).toEqual(sorted(open));
      }
    }
    expect(
      await at.one.rollbackTransaction((db) =>
        sessions[0].closeForSessionOrUser(db, { user: ALIKE[1] as string }, "ended"),
      ),
    ).toBe(1);
    expect(await openIds()).toEqual(sorted(open));
  });
});
