import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Audit } from "../../src/audit/audit-log.ts";
import type { UserPermissions } from "../../src/permissions/effective.ts";
import { Grants } from "../../src/permissions/grants.ts";
import { ChangeLog } from "../../src/revocation/change-log.ts";
import { RevocationQueue } from "../../src/revocation/queue.ts";
import type { Database } from "../../src/storage/database.ts";
import { chat, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, type Db, groupsIn } from "./tables.ts";
import { ALIKE_TRIMMED, ALIKE_USERS } from "./texts.ts";

const HOUR_MS = 3_600_000;

const at = twoProcesses();
let rights: UserPermissions;
let grants: Grants;
beforeEach(async () => {
  rights = await rightsGiven(at);
  grants = new Grants(at.one);
});
afterEach(() => {
  vi.useRealTimers();
});

/** Runs a change in its own transaction. */
const change = <Result>(work: (db: Db) => Promise<Result>) => at.one.transaction(work);

/** Runs the same change concurrently in both processes, and returns all results. */
async function atOnce<Result>(count: number, work: (grants: Grants, db: Db) => Promise<Result>) {
  const nouns = at.each((database) => ({ database, grants: new Grants(database) }));
  const { passed, failed } = await at.race(count, nouns, (one) =>
    one.database.transaction((db) => work(one.grants, db)),
  );
  expect(failed).toEqual([]);
  return passed;
}

/** Returns how many calls changed something. */
const changed = (results: readonly boolean[]) => results.filter(Boolean).length;

/** Returns the ids of all users. */
async function users(): Promise<string[]> {
  return sorted((await at.two.db.selectFrom("sallyport_users").select("id").execute()).map(({ id }) => id));
}

describe("a grant", () => {
  test("is a change if it or its end is new, and then stores author and reason", async () => {
    const until = Date.now() + HOUR_MS;
    const give = (options: Parameters<Grants["grant"]>[3]) =>
      change((db) => grants.grant(db, "ann", chat.read, options));
    expect(await give({ by: "boss", reason: "first" })).toBe(true);
    expect(await give({ by: "eve", reason: "again" })).toBe(false);
    const rows = () =>
      at.two.db
        .selectFrom("sallyport_user_permissions")
        .select(["user_id", "permission", "until_at", "granted_by", "reason"])
        .execute();
    const row = { user_id: "ann", permission: "chat.read" };
    expect(await rows()).toEqual([{ ...row, until_at: null, granted_by: "boss", reason: "first" }]);
    expect(await give({ until: new Date(until) })).toBe(true);
    expect(await give({ until })).toBe(false);
    expect(await rows()).toEqual([{ ...row, until_at: until, granted_by: null, reason: null }]);
    expect(await give({ until: 8.64e15 })).toBe(true);
    expect(await give({})).toBe(true);
    expect(await rows()).toMatchObject([{ until_at: null }]);
  });

  test("that many processes make at once is a change for one of them", async () => {
    await addGroups(at.one.db, "Crew");
    expect(changed(await atOnce(20, (each, db) => each.grant(db, "ann", chat.read, {})))).toBe(1);
    expect(changed(await atOnce(20, (each, db) => each.grant(db, { group: "Crew" }, chat.read, {})))).toBe(1);
    expect(changed(await atOnce(20, (each, db) => each.addToGroup(db, "ann", "Crew", {})))).toBe(1);
    expect((await rights.subject(at.two.db, "ann")).permissions).toEqual(["chat.read", "chat.read"]);
    expect(changed(await atOnce(20, (each, db) => each.revoke(db, "ann", chat.read)))).toBe(1);
    expect(changed(await atOnce(20, (each, db) => each.revoke(db, { group: "Crew" }, chat.read)))).toBe(1);
    expect(changed(await atOnce(20, (each, db) => each.removeFromGroup(db, "ann", "Crew")))).toBe(1);
    expect(await rights.get("ann")).toMatchObject({ groups: [], grants: [] });
  });

  test("needs an end in the future by the database clock, not by the process clock", async () => {
    const now = Date.now();
    vi.useFakeTimers({ toFake: ["Date"], now: now + 48 * HOUR_MS });
    const until = now + HOUR_MS;
    expect(await change((db) => grants.grant(db, "ann", chat.read, { until }))).toBe(true);
    vi.useRealTimers();
    vi.useFakeTimers({ toFake: ["Date"], now: now - 48 * HOUR_MS });
    const past = now - HOUR_MS;
    await expect(change((db) => grants.grant(db, "bob", chat.read, { until: past }))).rejects.toThrow(
      /has passed/,
    );
    expect(await users()).toEqual(["ann"]);
  });

  test("of an unknown permission or group is rejected and stores nothing, not even the user", async () => {
    await expect(change((db) => grants.grant(db, "ann", "chat.none" as never, {}))).rejects.toThrow(
      /foreign/i,
    );
    await expect(change((db) => grants.addToGroup(db, "ann", "crew", {}))).rejects.toThrow(/foreign/i);
    await expect(change((db) => grants.grant(db, { group: "crew" }, chat.read, {}))).rejects.toThrow(
      /foreign/i,
    );
    expect(await users()).toEqual([]);
  });

  test("is removed from its holder only, and not from similar names", async () => {
    await addGroups(at.one.db, ...ALIKE_TRIMMED);
    for (const id of ALIKE_USERS) await change((db) => grants.grant(db, id, chat.read, {}));
    for (const group of ALIKE_TRIMMED) {
      await change((db) => grants.grant(db, { group }, chat.write, {}));
      await change((db) => grants.addToGroup(db, "ann", group, {}));
    }
    const left = new Set(ALIKE_USERS);
    for (const id of ALIKE_USERS.slice(0, 10)) {
      expect(await change((db) => grants.revoke(db, id, chat.read))).toBe(true);
      left.delete(id);
      expect(sorted(await rights.holders(chat.read))).toEqual(sorted(left));
    }
    const groups = new Set(ALIKE_TRIMMED);
    for (const group of ALIKE_TRIMMED.slice(0, 10)) {
      expect(await change((db) => grants.removeFromGroup(db, "ann", group))).toBe(true);
      groups.delete(group);
      const shown = await rights.get("ann");
      expect(sorted(shown?.groups.map(({ name }) => name) ?? [])).toEqual(sorted(groups));
    }
  });
});

describe("a user", () => {
  test("that many processes add at once has one row, which stays unchanged", async () => {
    await change((db) => grants.setFlag(db, "eve", "is_superuser", true));
    await atOnce(20, (each, db) => each.ensureUser(db, "eve"));
    const nouns = at.each((database) => ({ database, grants: new Grants(database) }));
    const beside = await at.race(20, nouns, (one) =>
      one.database.sharedTransaction((db) => one.grants.ensureUser(db, "ann")),
    );
    expect(beside.failed).toEqual([]);
    expect(await users()).toEqual(["ann", "eve"]);
    expect(await rights.get("eve")).toMatchObject({ isSuperuser: true, isActive: true });
  });

  test("has flags that one of many concurrent calls changes, and defaults that are no change", async () => {
    const set = (flag: "is_active" | "is_superuser", value: boolean) =>
      atOnce(10, (each, db) => each.setFlag(db, "ann", flag, value));
    expect(changed(await set("is_active", true))).toBe(0);
    expect(changed(await set("is_superuser", false))).toBe(0);
    expect(await users()).toEqual([]);
    expect(changed(await set("is_active", false))).toBe(1);
    expect(changed(await set("is_superuser", true))).toBe(1);
    expect(await rights.get("ann")).toMatchObject({ isActive: false, isSuperuser: true });
    expect(changed(await set("is_active", true))).toBe(1);
    expect(await rights.get("ann")).toMatchObject({ isActive: true, isSuperuser: true });
  });

  test("is deleted once by concurrent calls, with its own rows only", async () => {
    await addGroups(at.one.db, "Crew");
    for (const id of ["ann", "Ann"]) {
      await change((db) => grants.grant(db, id, chat.read, {}));
      await change((db) => grants.addToGroup(db, id, "Crew", {}));
    }
    expect(changed(await atOnce(10, (each, db) => each.deleteUser(db, "ann")))).toBe(1);
    expect(await users()).toEqual(["Ann"]);
    expect(await rights.get("Ann")).toMatchObject({
      groups: [{ name: "Crew" }],
      grants: [{ via: "direct" }],
    });
    await change((db) => grants.ensureUser(db, "ann"));
    expect(await rights.get("ann")).toMatchObject({ groups: [], grants: [] });
  });
});

describe("a group", () => {
  test("is created once by concurrent calls, separate from groups with similar names", async () => {
    expect(changed(await atOnce(20, (each, db) => each.createGroup(db, "Crew")))).toBe(1);
    for (const name of ["crew", "Créw", "Cre%", "Cre_"]) {
      expect(await grants.hasGroup(at.two.db, name)).toBe(false);
      expect(await change((db) => grants.createGroup(db, name))).toBe(true);
    }
    expect(await grants.hasGroup(at.two.db, "Crew")).toBe(true);
  });

  test("is deleted with its grants and memberships, and no other group is", async () => {
    await addGroups(at.one.db, "Crew", "crew", "Cre_");
    for (const group of ["Crew", "crew"]) {
      await change((db) => grants.grant(db, { group }, chat.read, {}));
      await change((db) => grants.addToGroup(db, "ann", group, {}));
    }
    await change((db) => grants.deleteGroup(db, "Cre_"));
    await change((db) => grants.deleteGroup(db, "Crew"));
    expect(await groupsIn(at.two.db)).toEqual(["crew"]);
    expect(await rights.groups()).toEqual([
      { name: "crew", members: 1, permissions: [{ name: "chat.read", until: null }] },
    ]);
    await change((db) => grants.createGroup(db, "Crew"));
    expect((await rights.groups()).find(({ name }) => name === "Crew")).toMatchObject({
      members: 0,
      permissions: [],
    });
  });
});

describe("expired grants", () => {
  test("are returned once, to one of many concurrent calls, with the time of expiry", async () => {
    await addGroups(at.one.db, "Crew");
    const until = Date.now() + HOUR_MS;
    for (let index = 0; index < 50; index++) {
      await change((db) => grants.grant(db, `user ${index}`, chat.read, index < 30 ? { until } : {}));
    }
    await change((db) => grants.grant(db, { group: "Crew" }, chat.read, { until }));
    await change((db) => grants.addToGroup(db, "ann", "Crew", { until }));
    expect(await grants.hasExpired()).toBe(false);
    expect(await atOnce(2, (each, db) => each.expire(db, 500))).toEqual([[], []]);
    vi.useFakeTimers({ toFake: ["Date"], now: until + HOUR_MS });
    expect(await grants.hasExpired()).toBe(false);
    expect(await atOnce(2, (each, db) => each.expire(db, 500))).toEqual([[], []]);
    vi.useRealTimers();

    const ends = Date.now() - HOUR_MS;
    for (const table of ["user_permissions", "group_permissions", "user_groups"] as const) {
      const over = at.one.db.updateTable(`sallyport_${table}`).set({ until_at: ends });
      await over.where("until_at", "is not", null).execute();
      expect(await grants.hasExpired()).toBe(true);
    }
    const results = (await atOnce(10, (each, db) => each.expire(db, 500))).filter(
      (expired) => expired.length > 0,
    );
    expect(results).toHaveLength(1);
    const expired = Array.from({ length: 30 }, (_, index) => {
      return { user: `user ${index}`, group: null, permission: "chat.read", until: ends };
    });
    const ofGroup = { group: "Crew", until: ends };
    const others = [
      { user: null, permission: "chat.read", ...ofGroup },
      { user: "ann", permission: null, ...ofGroup },
    ];
    expect(results[0]).toHaveLength(32);
    expect(results[0]).toEqual(expect.arrayContaining([...expired, ...others]));
    expect(await grants.hasExpired()).toBe(false);
    expect(await rights.holders(chat.read)).toHaveLength(20);
  });
});

describe("a change that is rolled back", () => {
  const nouns = (database: Database) => ({
    audit: new Audit(database),
    changeLog: new ChangeLog(database),
    evictions: new RevocationQueue(database, "app"),
  });

  test("leaves no number, no audit entry and no revocation", async () => {
    const { audit, changeLog, evictions } = nouns(at.one);
    const made = async (db: Db) => {
      await grants.grant(db, "ann", chat.read, {});
      const number = await changeLog.append(db, [{ scope: "user", subject: "ann" }]);
      await audit.record(db, number, { action: "grant", user: "ann" });
      await evictions.record(db, { scope: "users", users: ["ann"] }, number);
      return number;
    };
    const undone = change(async (db) => {
      await made(db);
      throw new Error("half-way");
    });
    await expect(undone).rejects.toThrow("half-way");
    expect(await at.one.rollbackTransaction(made)).toBe(1);
    const other = nouns(at.two);
    expect(await users()).toEqual([]);
    expect(await other.audit.list()).toEqual([]);
    expect(await other.changeLog.last(at.two.db)).toBe(0);
    expect(await at.two.db.selectFrom("sallyport_changes").selectAll().execute()).toEqual([]);
    expect(await evictions.dequeue({ except: new Set() })).toBeUndefined();
    expect(await at.two.db.selectFrom("sallyport_revocation_users").selectAll().execute()).toEqual([]);
    expect(await change(made)).toBe(1);
    expect(await other.audit.list()).toMatchObject([{ number: 1, user: "ann" }]);
  });
});
