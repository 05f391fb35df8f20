import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Rights } from "../../src/access/rights.ts";
import { MAX_SESSION_MS } from "../../src/protocol/quotas.ts";
import { Sessions } from "../../src/sessions/sessions.ts";
import { chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions, type Session } from "./tables.ts";
import { ALIKE, idsOfAllForms } from "./texts.ts";

const HOUR_MS = 3_600_000;
const LEFT = { code: undefined, reason: undefined };

const at = twoProcesses();
let sessions: readonly [Sessions, Sessions];
let gateway: string;
beforeEach(async () => {
  sessions = at.each((database) => new Sessions(database, new Rights(database)));
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

/** Has a session have been opened so long ago. */
const aged = (ageMs: number, ids: readonly string[]) =>
  at.one.db
    .updateTable("sallyport_sessions")
    .set(({ eb }) => ({ connected_at: eb(at.one.now, "-", ageMs) }))
    .where("id", "in", ids)
    .execute();

const rowOf = (id: string) =>
  at.two.db.selectFrom("sallyport_sessions").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

async function openIds(): Promise<string[]> {
  const open = at.two.db.selectFrom("sallyport_sessions").select("id").where("closed_at", "is", null);
  return sorted((await open.execute()).map(({ id }) => id));
}

describe("a session", () => {
  test("is found by its connection with its channels in order, and its user's state and rights", async () => {
    const until = Date.now() + HOUR_MS;
    await rightsGiven(at, async (grants, db) => {
      await grants.grant(db, "ann", chat.read, { until });
      await grants.setFlag(db, "ann", "is_superuser", true);
    });
    await add({ id: "s", connection_id: "c", user_id: "ann", login_id: "login", view: "/ws/ä'\"" });
    await aged(5000, ["s"]);
    const joined = ALIKE.map((channel, index) => ({ session_id: "s", channel, joined_at: 2 ** 40 - index }));
    await addMemberships(at.one.db, joined);
    const found = await sessions[1].find(gateway, "c");
    expect(found).toEqual({
      id: "s",
      gatewayId: gateway,
      connectionId: "c",
      view: "/ws/ä'\"",
      userId: "ann",
      loginId: "login",
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

  test("of nobody, or of somebody without a row, has nulls and no rights", async () => {
    await add({ connection_id: "nobody" }, { connection_id: "unknown", user_id: "ann" });
    const without = {
      isActive: false,
      isSuperuser: false,
      permissions: [],
      grants: [],
      channels: [],
      loginId: null,
    };
    expect(await sessions[1].find(gateway, "nobody")).toMatchObject({ userId: null, ...without });
    expect(await sessions[1].find(gateway, "unknown")).toMatchObject({ userId: "ann", ...without });
  });

  test("is found by its very connection at its gateway, however alike others are", async () => {
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

  test("is read anew by each of many reads, whichever way the rows before it were read", async () => {
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
    const found = async (each: Sessions, gatewayId: string, connection: string) =>
      (await each.find(gatewayId, connection))?.id;
    for (let round = 0; round < 30; round++) {
      const gatewayId = [gateway, other, "none"][round % 3] as string;
      const connection = ["Ann", "Bob"][round % 2] as string;
      const id = gatewayId === "none" ? undefined : `${gatewayId} ${connection}`;
      // A read inside a transaction goes through Kysely, and one at the same time waits for it.
      if (round % 4 === 0) {
        const both = [
          at.two.write((db) => sessions[1].findById(db, `${other} Ann`)),
          found(sessions[1], gatewayId, connection),
        ];
        expect((await Promise.all(both))[1]).toBe(id);
      }
      expect(await found(sessions[1], gatewayId, connection)).toBe(id);
      await sessions[0].closeMany([`${gateway} Bob`], "right ended");
      if (round > 0) expect(await found(sessions[1], gateway, "Bob")).toBeUndefined();
      await at.one.db.updateTable("sallyport_sessions").set({ closed_at: null }).execute();
    }
  });

  test("is there until it is closed, or older than a socket can be by the database's clock", async () => {
    await addMany(["open", "closed", "old", "oldest"]);
    await addMemberships(at.one.db, [{ session_id: "old", channel: "room" }]);
    await sessions[0].closeMany(["closed"], "right ended");
    await aged(MAX_SESSION_MS - 60_000, ["old"]);
    await aged(MAX_SESSION_MS, ["oldest"]);
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
      expect([id, (await sessions[1].findById(at.two.db, id)) !== undefined]).toEqual([id, isThere]);
      expect(await sessions[1].isConnected(id)).toBe(true);
    }
  });

  test("is found by its id inside a transaction, as that has left it", async () => {
    await addMany(["a", "A"]);
    await at.one.rehearse(async (db) => {
      expect(await sessions[0].findById(db, "a")).toMatchObject({ id: "a", connectionId: "connection a" });
      await db.updateTable("sallyport_sessions").set({ closed_at: 1 }).where("id", "=", "a").execute();
      expect(await sessions[0].findById(db, "a")).toBeUndefined();
      expect(await sessions[1].findById(at.two.db, "a")).toMatchObject({ id: "a" });
    });
  });
});

describe("a disconnect", () => {
  test("is told to one of many at once, with the channels the session was in", async () => {
    await addMany(["a", "A"], { user_id: "ann" });
    const channels = [...ALIKE].reverse();
    await addMemberships(
      at.one.db,
      channels.map((channel, index) => ({ session_id: "a", channel, joined_at: 2 ** 40 + index })),
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

  test("of a session that was closed before keeps when and why, and is told all the same", async () => {
    await addMany(["a"]);
    await sessions[0].closeMany(["a"], "right ended");
    await at.one.db
      .updateTable("sallyport_sessions")
      .set({ closed_at: 2 ** 40 })
      .execute();
    expect(await sessions[1].isConnected("a")).toBe(true);
    const departed = await sessions[1].disconnect(gateway, "connection a", { code: 1000, reason: "bye" });
    expect(departed).toMatchObject({ id: "a", userId: null, channels: [] });
    expect(await rowOf("a")).toMatchObject({
      closed_at: 2 ** 40,
      close_code: 1000,
      close_reason: "right ended",
    });
  });

  test("needs no code and no reason, cuts a long one short, and is nothing for a socket nobody knows", async () => {
    await addMany(["a", "b"]);
    await sessions[0].disconnect(gateway, "connection a", LEFT);
    expect(await rowOf("a")).toMatchObject({ close_code: null, close_reason: null });
    await sessions[0].disconnect(gateway, "connection b", { code: 4999, reason: "ä".repeat(5000) });
    expect(await rowOf("b")).toMatchObject({ close_code: 4999, close_reason: "ä".repeat(200) });
    expect(await sessions[0].disconnect(gateway, "connection", LEFT)).toBeUndefined();
    expect(await sessions[0].disconnect("elsewhere", "connection a", LEFT)).toBeUndefined();
  });

  test("is noted whatever code a socket can close with", async () => {
    await addMany(["a"]);
    const code = 65_535;
    expect(await sessions[0].disconnect(gateway, "connection a", { code, reason: "" })).toMatchObject({
      id: "a",
    });
    expect(await sessions[1].isConnected("a")).toBe(false);
  });
});

describe("sessions that are closed together", () => {
  test("are each told to one of two at once, in whatever order they name them", async () => {
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

  test("and disconnect meanwhile are told once as closed at the most, and once as gone", async () => {
    const ids = idsOfAllForms(60);
    await addMany(ids);
    const told: string[] = [];
    const [, { passed, failed }] = await Promise.all([
      sessions[0].closeMany(ids, "right ended").then((closed) => told.push(...closed)),
      at.race(60, sessions, (each, index) => each.disconnect(gateway, `connection ${ids[index]}`, LEFT)),
    ]);
    expect(failed).toEqual([]);
    expect(sorted(passed.map((departed) => departed?.id))).toEqual(sorted(ids));
    expect(new Set(told).size).toBe(told.length);
    for (const id of told) expect(await rowOf(id)).toMatchObject({ close_reason: "right ended" });
    expect(await openIds()).toEqual([]);
  });

  test("are those of the very login or user, and open again where that is undone", async () => {
    const rows = ALIKE.flatMap((text, index) => [
      { id: `login ${index}`, connection_id: `1 ${index}`, login_id: text },
      { id: `user ${index}`, connection_id: `2 ${index}`, user_id: text },
    ]);
    await add(...rows);
    const open = new Set(rows.map(({ id }) => id));
    for (const [index, text] of ALIKE.entries()) {
      if (index % 4 !== 0) continue;
      for (const whose of [{ login: text }, { user: text }]) {
        expect(await at.one.write((db) => sessions[0].closeOf(db, whose, "ended"))).toBe(1);
        expect(await at.two.write((db) => sessions[1].closeOf(db, whose, "ended"))).toBe(0);
        open.delete(`${Object.keys(whose)} ${index}`);
        expect(await openIds()).toEqual(sorted(open));
      }
    }
    expect(
      await at.one.rehearse((db) => sessions[0].closeOf(db, { user: ALIKE[1] as string }, "ended")),
    ).toBe(1);
    expect(await openIds()).toEqual(sorted(open));
  });
});
