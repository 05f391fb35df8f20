import { randomBytes, randomUUID } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { hashToken } from "../../src/auth/tokens.ts";
import type { Database } from "../../src/storage/database.ts";
import { ChangeLog } from "../../src/storage/sql/change-log.ts";
import type { ChangedSubject } from "../../src/storage/stores/changes.ts";
import type {
  CheckedPermissions,
  NewConnection,
  OpenResult,
  SpentTokenRef,
} from "../../src/storage/stores/connections.ts";
import type { EffectivePermissions } from "../../src/storage/stores/users.ts";
import { changedStorage } from "../postgres/storage-at.ts";
import { Changes, chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addGroups } from "./tables.ts";
import { ALIKE } from "./texts.ts";

const at = twoProcesses();
let gateway: string;
beforeEach(async () => {
  await rightsGiven(at);
  gateway = await addGateway(at.one);
});

const newConnection = (given: Partial<NewConnection> = {}): NewConnection => ({
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

interface Opened {
  readonly id: string;
  readonly kind: OpenResult["kind"];
  /** The permissions of the user, as the check received them. */
  readonly user: EffectivePermissions | undefined;
}

/** Opens a connection as $connect does. */
async function open(
  { store }: Database,
  given: Partial<NewConnection> = {},
  checked?: CheckedPermissions,
): Promise<Opened> {
  const connection = newConnection(given);
  let user: EffectivePermissions | undefined;
  const check = (permissions: EffectivePermissions) => {
    user = permissions;
  };
  const { kind } = await store.connections.open(connection, check, checked);
  return { id: connection.id, kind, user };
}

const isOpened = ({ kind }: Opened) => kind === "opened";

/** Issues a token and spends it. */
async function spentToken(sessionId: string): Promise<SpentTokenRef> {
  const hash = hashToken(randomBytes(32).toString("hex"));
  const grant = { userId: "ann", sessionId, origin: null, gatewayId: null, view: null, channel: null };
  const { tokens } = at.one.store;
  expect(await tokens.issue(hash, grant, { expiresInMs: 60_000, session: null })).toBe(true);
  const spent = await tokens.spend(hash);
  return { hash, spentAt: spent?.spentAt ?? 0 };
}

const endSession = (database: Database, sessionHash: string) =>
  new Changes(database).apply({ kind: "end-session", sessionHash, fingerprint: "abc" });

const append = (scope: ChangedSubject["scope"], subject: string) =>
  at.two.transaction((db) => new ChangeLog(at.two).append(db, [{ scope, subject }]));

const rows = () => at.two.db.selectFrom("sallyport_connections").selectAll().execute();
const memberships = () => at.two.db.selectFrom("sallyport_memberships").selectAll().execute();

describe("a new connection", () => {
  test("has one row and its channel when many calls open it at once", async () => {
    for (const [round, channel] of [undefined, "rooms/general", "Räume/'😀\""].entries()) {
      const connectionId = `connection ${round}`;
      const { passed, failed } = await at.race(20, [at.one, at.two], (each) =>
        open(each, { connectionId, channel }),
      );
      expect(failed).toEqual([]);
      const opened = passed.filter(isOpened);
      expect(opened).toHaveLength(1);
      expect(passed.filter(({ kind }) => kind === "exists")).toHaveLength(19);
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
      const opened = await open(at.one, given);
      const found = await at.two.store.connections.find(gateway, text);
      expect(found).toMatchObject({
        id: opened.id,
        view: text,
        userId: text,
        sessionId: text,
        channels: [text],
      });
    }
    const before = await at.time();
    const opened = await open(at.one, { userId: null });
    const row = (await rows()).find(({ id }) => id === opened.id);
    expect(row).toEqual({
      id: opened.id,
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
    const first = await open(at.one);
    await at.two.store.connections.disconnect(gateway, "connection", { code: undefined, reason: undefined });
    expect(await open(at.two, { channel: "room" })).toMatchObject({ kind: "exists" });
    const elsewhere = await open(at.two, { gatewayId: other });
    expect(sorted((await rows()).map(({ id }) => id))).toEqual(sorted([first.id, elsewhere.id]));
    expect(await memberships()).toEqual([]);
    await expect(open(at.one, { gatewayId: "none" })).rejects.toThrow(/foreign/i);
  });

  test("is returned with the current permissions of its user", async () => {
    const until = Date.now() + 3_600_000;
    await rightsGiven(at, async (changes, db) => {
      await addGroups(db, "Crew");
      await changes.grant("ann", chat.read, { until });
      await changes.grant({ group: "Crew" }, chat.write);
      await changes.addToGroup("ann", "Crew");
    });
    for (const channel of [undefined, "room"]) {
      const { user } = await open(at.two, { connectionId: `${channel}`, channel });
      expect(user).toMatchObject({ isActive: true, isSuperuser: false });
      expect(user?.grants).toHaveLength(2);
      expect(user?.grants).toContainEqual({ permission: "chat.read", group: null, until });
      expect(user?.grants).toContainEqual({ permission: "chat.write", group: "Crew", until: null });
      const Ann = await open(at.two, { connectionId: `Ann ${channel}`, userId: "Ann", channel });
      expect(Ann.user).toMatchObject({ isActive: false, permissions: [] });
      const anonymous = await open(at.two, { connectionId: `nobody ${channel}`, userId: null, channel });
      expect(anonymous.user).toMatchObject({ isActive: false, permissions: [] });
    }
  });

  test("B66 is absent, also from its channel, if the check of its permissions throws", async () => {
    const refuse = () => {
      throw new Error("rejected");
    };
    const opening = at.one.store.connections.open(newConnection({ channel: "room" }), refuse);
    await expect(opening).rejects.toThrow("rejected");
    expect([await rows(), await memberships()]).toEqual([[], []]);
    expect(await open(at.two, { channel: "room" })).toMatchObject({ kind: "opened" });
  });
});

describe("a connection with permissions that were checked before", () => {
  const UNCHANGED = { since: 0, grants: [] };
  const expiring = (until: number) => ({
    since: 0,
    grants: [{ permission: chat.read, group: null, until }],
  });

  test("has one row and its channel, and is checked again after a change or an expiry", async () => {
    for (const channel of [undefined, "room"]) {
      const connectionId = `${channel}`;
      const opened = await open(at.one, { connectionId, channel }, UNCHANGED);
      expect(opened).toMatchObject({ kind: "opened", user: undefined });
      expect(await open(at.one, { connectionId, channel }, UNCHANGED)).toMatchObject({ kind: "exists" });
      const found = await at.two.store.connections.find(gateway, connectionId);
      const channels = channel === undefined ? [] : [channel];
      expect(found).toMatchObject({ id: opened.id, userId: "ann", channels });
    }
    const now = await at.time();
    const opened = async (connectionId: string, checked: CheckedPermissions) => {
      const { kind, user } = await open(at.one, { connectionId, channel: "room" }, checked);
      return [kind, user === undefined ? "unchecked" : "checked"];
    };
    expect(await opened("expired", expiring(now - 1))).toEqual(["opened", "checked"]);
    expect(await opened("expires later", expiring(now + 60_000))).toEqual(["opened", "unchecked"]);
    expect(await opened("unknown grants", { since: 0, grants: undefined })).toEqual(["opened", "checked"]);
    await append("user", "bob");
    expect(await opened("before the change", UNCHANGED)).toEqual(["opened", "checked"]);
    expect(await opened("after the change", { ...UNCHANGED, since: 1 })).toEqual(["opened", "unchecked"]);
    expect(await rows()).toHaveLength(7);
    expect(await memberships()).toHaveLength(6);
  });

  test("respects the limit of connections per user, and needs a token of an open session", async () => {
    const token = await spentToken("login");
    const limit = { max: 3, scope: { view: "/ws/chat" } };
    const { passed, failed } = await at.race(20, [at.one, at.two], (each, index) =>
      open(each, { connectionId: `${index}`, token, limit }, UNCHANGED),
    );
    expect(failed).toEqual([]);
    expect(passed.filter(isOpened)).toHaveLength(3);
    expect(passed.filter(({ kind }) => kind === "full")).toHaveLength(17);
    await endSession(at.two, "login");
    const since = await at.one.store.changes.last();
    const ended = await open(at.one, { connectionId: "ended", token }, { since, grants: [] });
    expect(ended).toMatchObject({ kind: "session-ended", user: undefined });
    expect(await rows()).toHaveLength(3);
  });
});

describe("a connection does not open", () => {
  test("if the session of its token has ended, with or without a channel", async () => {
    const [ended, other] = [await spentToken("login"), await spentToken("Login")];
    await endSession(at.two, "login");
    for (const channel of [undefined, "room"]) {
      const connectionId = `${channel}`;
      expect((await open(at.one, { connectionId, channel, token: ended })).kind).toBe("session-ended");
      expect((await open(at.one, { connectionId, channel, token: other })).kind).toBe("opened");
    }
    expect(await rows()).toHaveLength(2);
  });

  test("with a token that was deleted with its user", async () => {
    const token = await spentToken("login");
    await new Changes(at.two).apply({ kind: "delete-user", user: "ann" });
    expect((await open(at.one, { token })).kind).toBe("token-deleted");
  });

  test("with a token that is no longer marked as spent, or that another connect has spent", async () => {
    const token = await spentToken("login");
    const markSpent = (spent_at: number | null) =>
      at.two.db.updateTable("sallyport_tokens").set({ spent_at }).execute();
    for (const spentAt of [null, token.spentAt + 1]) {
      await markSpent(spentAt);
      expect((await open(at.one, { connectionId: "0", token })).kind).toBe("token-respent");
      expect((await open(at.two, { connectionId: "1", token }, { since: 0, grants: [] })).kind).toBe(
        "token-respent",
      );
    }
    expect(await rows()).toEqual([]);
  });

  test("if a change that affects it was recorded after the decision", async () => {
    const kindOf = async (connectionId: string, since: number | undefined) =>
      (await open(at.one, { connectionId, since, channel: "room" })).kind;
    expect(await kindOf("0", 1)).toBe("changed");
    expect(await kindOf("0", 0)).toBe("opened");
    await append("user", "ann");
    await append("user", "bob");
    await append("channel", "other");
    await at.two.db
      .updateTable("sallyport_counters")
      .set({ count: 2 ** 40 })
      .execute();
    for (const since of [0, 1, 2, 3, 2 ** 40 - 1, 2 ** 40 + 1])
      expect(await kindOf("1", since)).toBe("changed");
    expect(await kindOf("1", 2 ** 40)).toBe("opened");
    await append("user", "bob");
    await append("channel", "other");
    expect(await kindOf("2", 2 ** 40)).toBe("opened");
    for (const [scope, subject] of [
      ["user", "ann"],
      ["session", "login"],
      ["channel", "room"],
      ["view", "/ws/chat"],
      ["everyone", ""],
    ] as const) {
      const since = await at.one.store.changes.last();
      await append(scope, subject);
      const connection = { connectionId: scope, since, sessionId: "login", channel: "room" };
      const result = await at.one.store.connections.open(newConnection(connection), () => undefined);
      expect(result, scope).toEqual({ kind: "changed", last: since + 1 });
      expect((await open(at.one, { ...connection, since: since + 1 })).kind, scope).toBe("opened");
    }
    expect(await kindOf("3", undefined)).toBe("opened");
  });
});

describe("connections that open during a change", () => {
  test("are closed with their session or do not open", async () => {
    for (let round = 0; round < 5; round++) {
      const sessionId = `login ${round}`;
      const token = await spentToken(sessionId);
      const { passed, failed } = await at.race(21, [at.one, at.two], async (each, index) => {
        if (index !== 10)
          return open(each, { connectionId: `${round} ${index}`, sessionId, token, channel: "room" });
        await endSession(each, sessionId);
        return undefined;
      });
      expect(failed).toEqual([]);
      const opened = passed.filter((result) => result !== undefined && isOpened(result));
      const closed = (await rows()).filter((row) => row.session_id === sessionId && row.closed_at !== null);
      expect(opened).toHaveLength(closed.length);
      expect(await at.two.store.connections.count({ kind: "all" }, "")).toBe(0);
    }
  });

  test("are seen by the process that revoked their permission, or open without it", async () => {
    for (let round = 0; round < 5; round++) {
      const userId = `user ${round}`;
      await rightsGiven(at, (changes) => changes.grant(userId, chat.read));
      const seen = new Set<string>();
      const { passed, failed } = await at.race(21, [at.one, at.two], async (each, index) => {
        if (index !== 10) return open(each, { connectionId: `${round} ${index}`, userId });
        await new Changes(each).revoke(userId, chat.read);
        for (const { id } of await each.store.connections.page({ kind: "user", userId }, "")) seen.add(id);
        return undefined;
      });
      expect(failed).toEqual([]);
      const opened = passed.filter((result) => result !== undefined);
      expect(opened.filter(isOpened)).toHaveLength(20);
      const withPermission = opened.filter(({ user }) => (user?.permissions ?? []).length > 0);
      expect(withPermission.filter(({ id }) => !seen.has(id))).toEqual([]);
    }
  });

  /** Records a change of a user, and returns the connections that are open at that moment. */
  async function openDuringChange(each: Database, user: string): Promise<readonly string[]> {
    let ids: readonly string[] = [];
    const storage = changedStorage(each, {
      transaction: (work) =>
        each.transaction(async (db) => {
          const result = await work(db);
          ids = (await db.selectFrom("sallyport_connections").select("id").execute()).map(({ id }) => id);
          return result;
        }),
    });
    await new Changes(storage).apply({ kind: "recheck", user });
    return ids;
  }

  test("with checked permissions are checked again after the change, or open before it", async () => {
    for (let round = 0; round < 5; round++) {
      const checked = { since: await at.one.store.changes.last(), grants: [] };
      let before: readonly string[] = [];
      const { passed, failed } = await at.race(21, [at.one, at.two], async (each, index) => {
        const given = { connectionId: `${round} ${index}`, channel: "room" };
        if (index !== 10) return open(each, given, checked);
        before = await openDuringChange(each, "bob");
        return undefined;
      });
      expect(failed).toEqual([]);
      const opened = passed.filter((result) => result !== undefined);
      expect(opened.filter(isOpened)).toHaveLength(20);
      const unchecked = opened.filter(({ user }) => user === undefined).map(({ id }) => id);
      expect(unchecked.filter((id) => !before.includes(id))).toEqual([]);
      await at.one.db.deleteFrom("sallyport_connections").execute();
    }
  });

  test("with a stale decision open before the change or not at all", async () => {
    for (let round = 0; round < 5; round++) {
      const since = await at.one.store.changes.last();
      let before: readonly string[] = [];
      const { passed, failed } = await at.race(21, [at.one, at.two], async (each, index) => {
        if (index !== 10) return open(each, { connectionId: `${round} ${index}`, since });
        before = await openDuringChange(each, "ann");
        return undefined;
      });
      expect(failed).toEqual([]);
      const opened = passed.filter((result) => result !== undefined && isOpened(result));
      expect(opened.map((result) => result?.id).filter((id) => !before.includes(id ?? ""))).toEqual([]);
      await at.one.db.deleteFrom("sallyport_connections").execute();
    }
  });
});
