import { randomUUID } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { hashToken, Tokens } from "../../src/auth/tokens.ts";
import { Connections } from "../../src/connections/connections.ts";
import {
  type CheckedConnection,
  ConnectionOpener,
  connectionsLock,
  type NewConnection,
  type SpentTokenRef,
} from "../../src/connections/open.ts";
import { UserPermissions } from "../../src/permissions/effective.ts";
import { Grants } from "../../src/permissions/grants.ts";
import { ChangeLog } from "../../src/revocation/change-log.ts";
import type { ChangedSubject } from "../../src/revocation/changed-subjects.ts";
import type { Database } from "../../src/storage/database.ts";
import { chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addGroups } from "./tables.ts";
import { ALIKE } from "./texts.ts";

interface Process {
  readonly database: Database;
  readonly entries: ConnectionOpener;
  readonly sessions: Connections;
  readonly tokens: Tokens;
  readonly changeLog: ChangeLog;
}

const at = twoProcesses();
let processes: readonly [Process, Process];
let gateway: string;
beforeEach(async () => {
  await rightsGiven(at);
  gateway = await addGateway(at.one);
  processes = at.each((database) => {
    const rights = new UserPermissions(database);
    const tokens = new Tokens(database, 60, rights);
    const changeLog = new ChangeLog(database);
    const entries = new ConnectionOpener(database, rights, tokens, changeLog);
    return { database, entries, tokens, changeLog, sessions: new Connections(database, rights) };
  });
});

const entry = (given: Partial<NewConnection> = {}): NewConnection => ({
  id: randomUUID(),
  gatewayId: gateway,
  connectionId: "connection",
  view: "/ws/chat",
  userId: "ann",
  sessionId: null,
  sourceIp: null,
  channel: undefined,
  token: undefined,
  since: undefined,
  limit: undefined,
  ...given,
});

/** Opens a connection as $connect does. */
const open = ({ database, entries }: Process, given: Partial<NewConnection> = {}) =>
  database.sharedTransaction((db) => entries.open(db, entry(given)));

const issue = (sessionId: string) =>
  processes[0].tokens.issue(at.one.db, {
    userId: "ann",
    sessionId,
    origin: null,
    gatewayId: null,
    view: null,
    channel: null,
  });

/** Issues a token and spends it. */
async function spentToken(sessionId: string): Promise<SpentTokenRef> {
  const token = await issue(sessionId);
  const { spentAt } = await processes[0].tokens.spend(token);
  return { hash: hashToken(token), spentAt };
}

const rows = () => at.two.db.selectFrom("sallyport_connections").selectAll().execute();
const memberships = () => at.two.db.selectFrom("sallyport_memberships").selectAll().execute();

describe("a new connection", () => {
  test("has one row and its channel when many calls open it at once", async () => {
    for (const [round, channel] of [undefined, "rooms/general", "Räume/'😀\""].entries()) {
      const connectionId = `connection ${round}`;
      const { passed, failed } = await at.race(20, processes, (each) =>
        open(each, { connectionId, channel }),
      );
      expect(failed).toEqual([]);
      const opened = passed.filter((session) => session !== undefined);
      expect(opened).toHaveLength(1);
      const mine = (await rows()).filter((row) => row.connection_id === connectionId);
      expect(mine.map(({ id }) => id)).toEqual([opened[0]?.id]);
      const joined = (await memberships()).filter(({ connection_key }) => connection_key === opened[0]?.id);
      expect(joined.map((membership) => membership.channel)).toEqual(channel === undefined ? [] : [channel]);
    }
  });

  test("is stored as given, with null for missing values and the database time", async () => {
    for (const text of ALIKE) {
      const given = {
        connectionId: text,
        view: text,
        userId: text,
        sessionId: text,
        sourceIp: text,
        channel: text,
      };
      const opened = await open(processes[0], given);
      const found = await processes[1].sessions.find(gateway, text);
      expect(found).toMatchObject({
        id: opened?.id,
        view: text,
        userId: text,
        sessionId: text,
        channels: [text],
      });
    }
    const before = await at.time();
    const opened = await open(processes[0], { userId: null });
    const row = (await rows()).find(({ id }) => id === opened?.id);
    expect(row).toEqual({
      id: opened?.id,
      gateway_id: gateway,
      connection_id: "connection",
      view: "/ws/chat",
      user_id: null,
      session_id: null,
      source_ip: null,
      connected_at: row?.connected_at,
      last_seen_at: row?.connected_at,
      request_count: 0,
      closed_at: null,
      disconnected_at: null,
      close_code: null,
      close_reason: null,
    });
    expect(before <= (row?.connected_at ?? 0) && (row?.connected_at ?? 0) <= (await at.time())).toBe(true);
    expect((await rows()).map(({ source_ip }) => source_ip)).toEqual(expect.arrayContaining([...ALIKE]));
  });

  test("needs a connection id that is unused at its gateway, also by closed connections", async () => {
    const other = await addGateway(at.one, "other");
    const first = await open(processes[0]);
    await processes[1].sessions.disconnect(gateway, "connection", { code: undefined, reason: undefined });
    expect(await open(processes[1], { channel: "room" })).toBeUndefined();
    const elsewhere = await open(processes[1], { gatewayId: other });
    expect(sorted((await rows()).map(({ id }) => id))).toEqual(sorted([first?.id, elsewhere?.id]));
    expect(await memberships()).toEqual([]);
    await expect(open(processes[0], { gatewayId: "none" })).rejects.toThrow(/foreign/i);
  });

  test("is returned with the current permissions of its user", async () => {
    const until = Date.now() + 3_600_000;
    await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew");
      await grants.grant(db, "ann", chat.read, { until });
      await grants.grant(db, { group: "Crew" }, chat.write, {});
      await grants.addToGroup(db, "ann", "Crew", {});
    });
    for (const channel of [undefined, "room"]) {
      const opened = await open(processes[1], { connectionId: `${channel}`, channel });
      expect(opened).toMatchObject({ isActive: true, isSuperuser: false });
      expect(opened?.grants).toHaveLength(2);
      expect(opened?.grants).toContainEqual({ permission: "chat.read", group: null, until });
      expect(opened?.grants).toContainEqual({ permission: "chat.write", group: "Crew", until: null });
      const Ann = await open(processes[1], { connectionId: `Ann ${channel}`, userId: "Ann", channel });
      expect(Ann).toMatchObject({ isActive: false, permissions: [] });
      const anonymous = await open(processes[1], {
        connectionId: `nobody ${channel}`,
        userId: null,
        channel,
      });
      expect(anonymous).toMatchObject({ isActive: false, permissions: [] });
    }
  });

  test("B66 is absent, also from its channel, if its transaction is rolled back", async () => {
    const undone = at.one.sharedTransaction(async (db) => {
      expect(await processes[0].entries.open(db, entry({ channel: "room" }))).toBeDefined();
      throw new Error("refused");
    });
    await expect(undone).rejects.toThrow("refused");
    expect([await rows(), await memberships()]).toEqual([[], []]);
    expect(await open(processes[1], { channel: "room" })).toBeDefined();
  });
});

describe("a connection that opens unless something changed", () => {
  test("has one row and its channel, if no change was recorded and no grant expired", async () => {
    const [{ entries }, { changeLog, sessions }] = processes;
    const checked = (given: Partial<CheckedConnection>) =>
      entries.openUnchanged({ ...entry(), since: 0, validUntil: null, ...given }, undefined);
    for (const channel of [undefined, "room"]) {
      const id = randomUUID();
      const connectionId = `${channel}`;
      expect(await checked({ id, connectionId, channel })).toBe(true);
      expect(await checked({ connectionId, channel })).toBe(false);
      const found = await sessions.find(gateway, connectionId);
      expect(found).toMatchObject({ id, userId: "ann", channels: channel === undefined ? [] : [channel] });
    }
    const now = await at.time();
    expect(await checked({ connectionId: "ended", channel: "room", validUntil: now - 1 })).toBe(false);
    expect(await checked({ connectionId: "ends later", channel: "room", validUntil: now + 60_000 })).toBe(
      true,
    );
    await at.two.transaction((db) => changeLog.append(db, [{ scope: "user", subject: "bob" }]));
    expect(await checked({ connectionId: "before the change", channel: "room" })).toBe(false);
    expect(await checked({ connectionId: "after the change", channel: "room", since: 1 })).toBe(true);
    expect(await rows()).toHaveLength(4);
    expect(await memberships()).toHaveLength(3);
  });

  test("respects the limit of connections per user, and needs a token of an open session", async () => {
    const token = await spentToken("login");
    const limit = { max: 3, scope: { view: "/ws/chat" } };
    const { passed, failed } = await at.race(20, processes, ({ entries }, index) =>
      entries.openUnchanged(
        { ...entry({ connectionId: `${index}`, token, limit }), since: 0, validUntil: null },
        connectionsLock("ann"),
      ),
    );
    expect(failed).toEqual([]);
    expect(passed.filter(Boolean)).toHaveLength(3);
    await processes[1].tokens.end(at.two.db, "login");
    const ended = { ...entry({ connectionId: "ended", token }), since: 0, validUntil: null };
    expect(await processes[0].entries.openUnchanged(ended, undefined)).toBe(false);
    expect(await rows()).toHaveLength(3);
  });
});

describe("a connection does not open", () => {
  test("if the session of its token has ended, with or without a channel", async () => {
    const [ended, other] = [await spentToken("login"), await spentToken("Login")];
    await processes[1].tokens.end(at.two.db, "login");
    for (const channel of [undefined, "room"]) {
      const connectionId = `${channel}`;
      expect(await open(processes[0], { connectionId, channel, token: ended })).toBeUndefined();
      expect(await open(processes[0], { connectionId, channel, token: other })).toBeDefined();
    }
    expect(await rows()).toHaveLength(2);
  });

  test("with a token that is no longer marked as spent, or that another connect has spent", async () => {
    const token = await spentToken("login");
    const lost = () => at.two.db.updateTable("sallyport_tokens").set({ spent_at: null }).execute();
    await lost();
    const checked = { ...entry({ connectionId: "1", token }), since: 0, validUntil: null };
    expect(await open(processes[0], { connectionId: "0", token })).toBeUndefined();
    expect(await processes[1].entries.openUnchanged(checked, undefined)).toBe(false);
    await at.two.db
      .updateTable("sallyport_tokens")
      .set({ spent_at: token.spentAt + 1 })
      .execute();
    expect(await open(processes[0], { connectionId: "0", token })).toBeUndefined();
    expect(await processes[1].entries.openUnchanged(checked, undefined)).toBe(false);
    expect(await rows()).toEqual([]);
  });

  test("if a change that affects it was recorded after the decision", async () => {
    const { changeLog } = processes[1];
    expect(await open(processes[0], { connectionId: "0", since: 1 })).toBeUndefined();
    expect(await open(processes[0], { connectionId: "0", since: 0 })).toBeDefined();
    const append = (scope: ChangedSubject["scope"], subject: string) =>
      at.two.transaction((db) => changeLog.append(db, [{ scope, subject }]));
    await append("user", "ann");
    await append("user", "bob");
    await append("channel", "other");
    await at.two.db
      .updateTable("sallyport_counters")
      .set({ count: 2 ** 40 })
      .execute();
    for (const since of [0, 1, 2, 3, 2 ** 40 - 1, 2 ** 40 + 1]) {
      expect(await open(processes[0], { connectionId: "1", since, channel: "room" })).toBeUndefined();
    }
    expect(await open(processes[0], { connectionId: "1", since: 2 ** 40, channel: "room" })).toBeDefined();
    await append("user", "bob");
    await append("channel", "other");
    expect(await open(processes[0], { connectionId: "2", since: 2 ** 40, channel: "room" })).toBeDefined();
    for (const [scope, subject] of [
      ["user", "ann"],
      ["session", "login"],
      ["channel", "room"],
      ["view", "/ws/chat"],
      ["everyone", ""],
    ] as const) {
      const since = await changeLog.last(at.one.db);
      await append(scope, subject);
      const connection = { connectionId: scope, since, sessionId: "login", channel: "room" };
      expect(await open(processes[0], connection), scope).toBeUndefined();
      expect(await open(processes[0], { ...connection, since: since + 1 }), scope).toBeDefined();
    }
    expect(await open(processes[0], { connectionId: "3", since: undefined })).toBeDefined();
  });
});

describe("connections that open during a change", () => {
  test("are closed with their session or do not open", async () => {
    for (let round = 0; round < 5; round++) {
      const sessionId = `login ${round}`;
      const token = await spentToken(sessionId);
      let closed = 0;
      const { passed, failed } = await at.race(21, processes, async (each, index) => {
        if (index !== 10)
          return open(each, { connectionId: `${round} ${index}`, sessionId, token, channel: "room" });
        closed = await each.database.transaction(async (db) => {
          await each.tokens.end(db, sessionId);
          return each.sessions.closeForSessionOrUser(db, { session: sessionId }, "session ended");
        });
        return undefined;
      });
      expect(failed).toEqual([]);
      expect(passed.filter((session) => session !== undefined)).toHaveLength(closed);
      expect(await processes[1].sessions.count({ kind: "all" }, "")).toBe(0);
    }
  });

  test("are seen by the process that revoked their permission, or open without it", async () => {
    for (let round = 0; round < 5; round++) {
      const userId = `user ${round}`;
      await rightsGiven(at, (grants, db) => grants.grant(db, userId, chat.read, {}));
      const seen = new Set<string>();
      const { passed, failed } = await at.race(21, processes, async (each, index) => {
        if (index !== 10) return open(each, { connectionId: `${round} ${index}`, userId });
        await each.database.transaction((db) => new Grants(each.database).revoke(db, userId, chat.read));
        for (const { id } of await each.sessions.page({ kind: "user", userId }, "")) seen.add(id);
        return undefined;
      });
      expect(failed).toEqual([]);
      const opened = passed.filter((session) => session !== undefined);
      expect(opened).toHaveLength(20);
      const withPermission = opened.filter(({ permissions }) => permissions.length > 0);
      expect(withPermission.filter(({ id }) => !seen.has(id))).toEqual([]);
    }
  });

  test("with openUnchanged() open before the change or not at all", async () => {
    for (let round = 0; round < 5; round++) {
      const since = await processes[0].changeLog.last(at.one.db);
      let before: readonly string[] = [];
      const { passed, failed } = await at.race(21, processes, async (each, index) => {
        const row = {
          ...entry({ connectionId: `${round} ${index}`, channel: "room" }),
          since,
          validUntil: null,
        };
        if (index !== 10) return (await each.entries.openUnchanged(row, undefined)) ? row.id : undefined;
        before = await each.database.transaction(async (db) => {
          await each.changeLog.append(db, [{ scope: "user", subject: "bob" }]);
          return (await db.selectFrom("sallyport_connections").select("id").execute()).map(({ id }) => id);
        });
        return undefined;
      });
      expect(failed).toEqual([]);
      expect(sorted(passed.filter((id) => id !== undefined))).toEqual(sorted(before));
      await at.one.db.deleteFrom("sallyport_connections").execute();
    }
  });

  test("with a stale decision open before the change or not at all", async () => {
    for (let round = 0; round < 5; round++) {
      const since = await processes[0].changeLog.last(at.one.db);
      let before: readonly string[] = [];
      const { passed, failed } = await at.race(21, processes, async (each, index) => {
        if (index !== 10) return open(each, { connectionId: `${round} ${index}`, since });
        before = await each.database.transaction(async (db) => {
          await each.changeLog.append(db, [{ scope: "user", subject: "ann" }]);
          return (await db.selectFrom("sallyport_connections").select("id").execute()).map(({ id }) => id);
        });
        return undefined;
      });
      expect(failed).toEqual([]);
      const opened = passed.filter((session) => session !== undefined).map(({ id }) => id);
      expect(opened.filter((id) => !before.includes(id))).toEqual([]);
      await at.one.db.deleteFrom("sallyport_connections").execute();
    }
  });
});
