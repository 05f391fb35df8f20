import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { RevocationQueue } from "../../src/revocation/queue.ts";
import type { Database } from "../../src/storage/database.ts";
import { ChangeLog } from "../../src/storage/sql/change-log.ts";
import { SqlGrants } from "../../src/storage/sql/grants.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import { ensureUser } from "../../src/storage/sql/users.ts";
import type { UserStore } from "../../src/storage/stores/users.ts";
import { Changes, chat, type GrantedBy, rightsGiven } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, type Db, groupsIn } from "./tables.ts";
import { ALIKE_TRIMMED, ALIKE_USERS } from "./texts.ts";

const HOUR_MS = 3_600_000;

const at = twoProcesses();
let rights: UserStore;
let changes: Changes;
beforeEach(async () => {
  rights = await rightsGiven(at);
  changes = new Changes(at.one);
});
afterEach(() => {
  vi.useRealTimers();
});

/** Makes the same change concurrently in both processes, and returns all results. */
async function atOnce<Result>(
  count: number,
  work: (changes: Changes, database: Database) => Promise<Result>,
) {
  const nouns = at.each((database) => ({ database, changes: new Changes(database) }));
  const { passed, failed } = await at.race(count, nouns, (one) => work(one.changes, one.database));
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
    const give = (options: GrantedBy) => changes.grant("ann", chat.read, options);
    expect(await give({ by: "boss", reason: "first" })).toBe(true);
    expect(await give({ by: "eve", reason: "again" })).toBe(false);
    const rows = () =>
      at.two.db
        .selectFrom("sallyport_user_permissions")
        .select(["user_id", "permission", "until_at", "granted_by", "reason"])
        .execute();
    const row = { user_id: "ann", permission: "chat.read" };
    expect(await rows()).toEqual([{ ...row, until_at: null, granted_by: "boss", reason: "first" }]);
    expect(await give({ until })).toBe(true);
    expect(await give({ until })).toBe(false);
    expect(await rows()).toEqual([{ ...row, until_at: until, granted_by: null, reason: null }]);
    expect(await give({ until: 8.64e15 })).toBe(true);
    expect(await give({})).toBe(true);
    expect(await rows()).toMatchObject([{ until_at: null }]);
  });

  test("that many processes make at once is a change for one of them", async () => {
    await addGroups(at.one.db, "Crew");
    expect(changed(await atOnce(20, (each) => each.grant("ann", chat.read)))).toBe(1);
    expect(changed(await atOnce(20, (each) => each.grant({ group: "Crew" }, chat.read)))).toBe(1);
    expect(changed(await atOnce(20, (each) => each.addToGroup("ann", "Crew")))).toBe(1);
    expect((await rights.subject("ann")).permissions).toEqual(["chat.read", "chat.read"]);
    expect(changed(await atOnce(20, (each) => each.revoke("ann", chat.read)))).toBe(1);
    expect(changed(await atOnce(20, (each) => each.revoke({ group: "Crew" }, chat.read)))).toBe(1);
    expect(changed(await atOnce(20, (each) => each.removeFromGroup("ann", "Crew")))).toBe(1);
    expect(await rights.get("ann")).toMatchObject({ groups: [], grants: [] });
  });

  test("needs an end in the future by the database clock, not by the process clock", async () => {
    const now = Date.now();
    vi.useFakeTimers({ toFake: ["Date"], now: now + 48 * HOUR_MS });
    const until = now + HOUR_MS;
    expect(await changes.grant("ann", chat.read, { until })).toBe(true);
    vi.useRealTimers();
    vi.useFakeTimers({ toFake: ["Date"], now: now - 48 * HOUR_MS });
    const past = now - HOUR_MS;
    await expect(changes.grant("bob", chat.read, { until: past })).rejects.toThrow(/has passed/);
    expect(await users()).toEqual(["ann"]);
  });

  test("of an unknown permission or group is rejected and stores nothing, not even the user", async () => {
    const grants = new SqlGrants(at.one);
    const terms = { until: null, by: undefined, reason: undefined };
    const rejected = (work: (db: Db) => Promise<unknown>) =>
      expect(at.one.transaction(work)).rejects.toThrow(/foreign/i);
    await rejected((db) => grants.grant(db, "ann", "chat.none", terms));
    await rejected((db) => grants.addToGroup(db, "ann", "crew", terms));
    await rejected((db) => grants.grant(db, { group: "crew" }, chat.read, terms));
    expect(await users()).toEqual([]);
  });

  test("is removed from its holder only, and not from similar names", async () => {
    await addGroups(at.one.db, ...ALIKE_TRIMMED);
    for (const id of ALIKE_USERS) await changes.grant(id, chat.read);
    for (const group of ALIKE_TRIMMED) {
      await changes.grant({ group }, chat.write);
      await changes.addToGroup("ann", group);
    }
    const left = new Set(ALIKE_USERS);
    for (const id of ALIKE_USERS.slice(0, 10)) {
      expect(await changes.revoke(id, chat.read)).toBe(true);
      left.delete(id);
      expect(sorted(await rights.holders(chat.read))).toEqual(sorted(left));
    }
    const groups = new Set(ALIKE_TRIMMED);
    for (const group of ALIKE_TRIMMED.slice(0, 10)) {
      expect(await changes.removeFromGroup("ann", group)).toBe(true);
      groups.delete(group);
      const shown = await rights.get("ann");
      expect(sorted(shown?.groups.map(({ name }) => name) ?? [])).toEqual(sorted(groups));
    }
  });
});

describe("a user", () => {
  test("that many processes add at once has one row, which stays unchanged", async () => {
    await changes.setSuperuser("eve", true);
    await atOnce(20, (_, database) => database.transaction((db) => ensureUser(database, db, "eve")));
    const databases = at.each((database) => database);
    const beside = await at.race(20, databases, (database) =>
      database.sharedTransaction((db) => ensureUser(database, db, "ann")),
    );
    expect(beside.failed).toEqual([]);
    expect(await users()).toEqual(["ann", "eve"]);
    expect(await rights.get("eve")).toMatchObject({ isSuperuser: true, isActive: true });
  });

  test("has flags that one of many concurrent calls changes, and defaults that are no change", async () => {
    const set = (flag: "setActive" | "setSuperuser", value: boolean) =>
      atOnce(10, (each) => each[flag]("ann", value));
    expect(changed(await set("setActive", true))).toBe(0);
    expect(changed(await set("setSuperuser", false))).toBe(0);
    expect(await users()).toEqual([]);
    expect(changed(await set("setActive", false))).toBe(1);
    expect(changed(await set("setSuperuser", true))).toBe(1);
    expect(await rights.get("ann")).toMatchObject({ isActive: false, isSuperuser: true });
    expect(changed(await set("setActive", true))).toBe(1);
    expect(await rights.get("ann")).toMatchObject({ isActive: true, isSuperuser: true });
  });

  test("is deleted once by concurrent calls, with its own rows only", async () => {
    await addGroups(at.one.db, "Crew");
    for (const id of ["ann", "Ann"]) {
      await changes.grant(id, chat.read);
      await changes.addToGroup(id, "Crew");
    }
    const deleted = await atOnce(10, (each) => each.apply({ kind: "delete-user", user: "ann" }));
    expect(changed(deleted.map((one) => one.changed))).toBe(1);
    expect(await users()).toEqual(["Ann"]);
    expect(await rights.get("Ann")).toMatchObject({
      groups: [{ name: "Crew" }],
      grants: [{ via: "direct" }],
    });
    await at.one.transaction((db) => ensureUser(at.one, db, "ann"));
    expect(await rights.get("ann")).toMatchObject({ groups: [], grants: [] });
  });
});

describe("a group", () => {
  test("is created once by concurrent calls, separate from groups with similar names", async () => {
    const create = async (each: Changes, group: string) =>
      (await each.apply({ kind: "create-group", group })).changed;
    const hasGroup = (name: string) => new SqlGrants(at.two).hasGroup(at.two.db, name);
    expect(changed(await atOnce(20, (each) => create(each, "Crew")))).toBe(1);
    for (const name of ["crew", "Créw", "Cre%", "Cre_"]) {
      expect(await hasGroup(name)).toBe(false);
      expect(await create(changes, name)).toBe(true);
    }
    expect(await hasGroup("Crew")).toBe(true);
  });

  test("is deleted with its grants and memberships, and no other group is", async () => {
    await addGroups(at.one.db, "Crew", "crew", "Cre_");
    for (const group of ["Crew", "crew"]) {
      await changes.grant({ group }, chat.read);
      await changes.addToGroup("ann", group);
    }
    await changes.apply({ kind: "delete-group", group: "Cre_" });
    await changes.apply({ kind: "delete-group", group: "Crew" });
    expect(await groupsIn(at.two.db)).toEqual(["crew"]);
    expect(await rights.groups()).toEqual([
      { name: "crew", members: 1, permissions: [{ name: "chat.read", until: null }] },
    ]);
    await changes.apply({ kind: "create-group", group: "Crew" });
    expect((await rights.groups()).find(({ name }) => name === "Crew")).toMatchObject({
      members: 0,
      permissions: [],
    });
  });
});

describe("expired grants", () => {
  test("are returned once, to one of many concurrent calls, with the time of expiry", async () => {
    const expire = (_: Changes, database: Database) =>
      database.store.changes.expireGrants(500, { claimedBy: "test" });
    await addGroups(at.one.db, "Crew");
    const until = Date.now() + HOUR_MS;
    for (let index = 0; index < 50; index++) {
      await changes.grant(`user ${index}`, chat.read, index < 30 ? { until } : {});
    }
    await changes.grant({ group: "Crew" }, chat.read, { until });
    await changes.addToGroup("ann", "Crew", { until });
    expect(await at.one.store.changes.hasExpired()).toBe(false);
    expect(await atOnce(2, expire)).toEqual([[], []]);
    vi.useFakeTimers({ toFake: ["Date"], now: until + HOUR_MS });
    expect(await at.one.store.changes.hasExpired()).toBe(false);
    expect(await atOnce(2, expire)).toEqual([[], []]);
    vi.useRealTimers();

    const ends = Date.now() - HOUR_MS;
    for (const table of ["user_permissions", "group_permissions", "user_groups"] as const) {
      const over = at.one.db.updateTable(`sallyport_${table}`).set({ until_at: ends });
      await over.where("until_at", "is not", null).execute();
      expect(await at.one.store.changes.hasExpired()).toBe(true);
    }
    const results = (await atOnce(10, expire)).filter((expired) => expired.length > 0);
    expect(results).toHaveLength(1);
    const expired = Array.from({ length: 30 }, (_, index) => {
      return { user: `user ${index}`, group: null, permission: "chat.read", until: ends };
    });
    const ofGroup = { group: "Crew", until: ends };
    const others = [
      { user: null, permission: "chat.read", ...ofGroup },
      { user: "ann", permission: null, ...ofGroup },
    ];
    const subjects = [
      ...expired.map(({ user }) => ({ scope: "user", subject: user })),
      { scope: "group", subject: "Crew" },
      { scope: "user", subject: "ann" },
    ];
    expect(results[0]).toHaveLength(32);
    expect(results[0]).toEqual(expect.arrayContaining(subjects));
    const entries = (await at.two.store.audit.list({ limit: 100 })).flatMap(
      ({ action, user, group, permission, details }) =>
        action === "expired" ? [{ user, group, permission, until: details.until }] : [],
    );
    expect(entries).toHaveLength(32);
    expect(entries).toEqual(expect.arrayContaining([...expired, ...others]));
    expect(await at.one.store.changes.hasExpired()).toBe(false);
    expect(await rights.holders(chat.read)).toHaveLength(20);
  });
});

describe("a change that is rolled back", () => {
  test("leaves no number, no audit entry and no revocation", async () => {
    const grants = new SqlGrants(at.one);
    const changeLog = new ChangeLog(at.one);
    const { audit, revocations } = storeOf(at.one);
    const evictions = new RevocationQueue(revocations, "app");
    const made = async (db: Db) => {
      await grants.grant(db, "ann", chat.read, { until: null, by: undefined, reason: undefined });
      const number = await changeLog.append(db, [{ scope: "user", subject: "ann" }]);
      await audit.record(db, number, { action: "grant", user: "ann" });
      await revocations.record(db, { scope: "users", users: ["ann"] }, number, evictions.claimant.id);
      return number;
    };
    const undone = at.one.transaction(async (db) => {
      await made(db);
      throw new Error("half-way");
    });
    await expect(undone).rejects.toThrow("half-way");
    expect(await at.one.rollbackTransaction(made)).toBe(1);
    const other = at.two.store;
    expect(await users()).toEqual([]);
    expect(await other.audit.list({ limit: 100 })).toEqual([]);
    expect(await other.changes.last()).toBe(0);
    expect(await at.two.db.selectFrom("sallyport_changes").selectAll().execute()).toEqual([]);
    expect(await evictions.dequeue({ except: new Set() })).toBeUndefined();
    expect(await at.two.db.selectFrom("sallyport_revocation_users").selectAll().execute()).toEqual([]);
    expect(await at.one.transaction(made)).toBe(1);
    expect(await other.audit.list({ limit: 100 })).toMatchObject([{ number: 1, user: "ann" }]);
  });

  test("is made completely, or not at all", async () => {
    await changes.addToGroup("ann", "Crew");
    const origin = { by: "boss", reason: undefined, claimedBy: "test" };
    const undone = at.one.transaction(async (db) => {
      await storeOf(at.one).changes.applyIn(db, { kind: "delete-group", group: "Crew" }, origin);
      throw new Error("half-way");
    });
    await expect(undone).rejects.toThrow("half-way");
    expect(await rights.get("ann")).toMatchObject({ groups: [{ name: "Crew" }] });
    expect(await at.two.store.changes.last()).toBe(1);
    expect(await at.two.store.audit.list({ limit: 100 })).toMatchObject([{ number: 1 }]);
    expect(await at.two.db.selectFrom("sallyport_revocations").selectAll().execute()).toEqual([]);
    const applied = await changes.apply({ kind: "delete-group", group: "Crew" }, { by: "boss" });
    expect(applied).toMatchObject({ changed: true, number: 2, affected: { scope: "users" } });
    expect(applied.subjects).toEqual([{ scope: "user", subject: "ann" }]);
    const preview = await at.one.store.changes.preview({ kind: "delete-user", user: "ann" });
    expect(preview).toMatchObject({ applied: { changed: true, number: 0 }, before: [{ userId: "ann" }] });
    expect(preview.after).toEqual([]);
    expect(await users()).toEqual(["ann"]);
  });
});
