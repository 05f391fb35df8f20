import { beforeEach, describe, expect, test } from "vitest";
import { RevocationQueue } from "../../src/revocation/queue.ts";
import type { Database } from "../../src/storage/database.ts";
import { type Affected, ChangeLog } from "../../src/storage/sql/change-log.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import { type ChangedSubject, EVERYONE } from "../../src/storage/stores/changes.ts";
import { yieldToEventLoop } from "../../src/timing.ts";
import { twoProcesses } from "./processes.ts";
import { addGroups, addUsers } from "./tables.ts";
import { ALIKE } from "./texts.ts";

const at = twoProcesses();
let logs: readonly [ChangeLog, ChangeLog];
beforeEach(() => {
  logs = at.each((database) => new ChangeLog(database));
});

const nouns = (database: Database) => ({
  database,
  audit: storeOf(database).audit,
  log: new ChangeLog(database),
});
const append = (subjects: readonly ChangedSubject[], options: { removes?: boolean } = {}) =>
  at.one.transaction((db) => logs[0].append(db, subjects, options));
const user = (subject: string) => ({ scope: "user", subject }) as const;

describe("changes", () => {
  test("are numbered in commit order, and no process reads a gap", async () => {
    let isOver = false;
    const reads: number[][] = [];
    const reading = (async () => {
      for (; !isOver; await yieldToEventLoop()) {
        reads.push((await at.two.store.audit.list({ limit: 100 })).map(({ number }) => number).reverse());
      }
    })();
    const { passed, failed } = await at.race(40, at.each(nouns), (each, index) =>
      each.database.transaction(async (db) => {
        const number = await each.log.append(db, [user(`${index}`)]);
        await each.audit.record(db, number, { action: "grant", user: `${index}` });
        const rows = await db.selectFrom("sallyport_audit").select("number").execute();
        if (index % 4 === 3) throw new Error("undone");
        return { number, seen: rows.length };
      }),
    );
    isOver = true;
    await reading;
    expect(failed.map((error) => (error as Error).message)).toEqual(Array(10).fill("undone"));
    expect(passed.map(({ number }) => number).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 30 }, (_, index) => index + 1),
    );
    expect(passed.filter(({ number, seen }) => number !== seen)).toEqual([]);
    for (const numbers of reads) expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    expect(await at.two.store.changes.last()).toBe(30);
    expect((await at.two.store.changes.since(0)).subjects).toHaveLength(30);
  });

  test("can have numbers above 2^31", async () => {
    expect(await at.one.store.changes.last()).toBe(0);
    expect(await append([user("ann")])).toBe(1);
    await at.one.db
      .updateTable("sallyport_counters")
      .set({ count: 2 ** 31 - 1 })
      .execute();
    const number = await at.two.transaction((db) => logs[1].append(db, [user("ann")]));
    expect(number).toBe(2 ** 31);
    const { revocations } = storeOf(at.one);
    const evictions = new RevocationQueue(revocations, "app");
    const id = await at.one.transaction((db) =>
      revocations.record(db, user("ann"), number, evictions.claimant.id),
    );
    expect(await evictions.dequeue({ except: new Set(), only: id })).toMatchObject({ change: 2 ** 31 });
    expect(await at.one.store.changes.last()).toBe(2 ** 31);
    expect(await at.two.store.changes.since(2 ** 31 - 1)).toEqual({
      number: 2 ** 31,
      subjects: [user("ann")],
    });
  });

  test("can reserve several numbers at once", async () => {
    const first = await at.one.transaction(async (db) => {
      const number = await logs[0].numbers(db, 3);
      const changes = ["ann", "bob", "eve"].map((id, index) => ({
        number: number + index,
        subjects: [user(id)],
        removes: true,
      }));
      await logs[0].record(db, changes);
      return number;
    });
    expect(first).toBe(1);
    expect(await append([user("zoe")])).toBe(4);
    const subjects = ["bob", "eve", "zoe"].map(user);
    expect(await at.two.store.changes.since(1)).toEqual({ number: 4, subjects });
  });
});

describe("another process reads", () => {
  test("the subjects of every scope, but not of changes that only add permissions", async () => {
    const scopes = ["user", "group", "session", "connection", "channel", "view"] as const;
    const subjects = scopes.flatMap((scope) => ALIKE.map((subject) => ({ scope, subject })));
    const before = await at.two.store.changes.since(undefined);
    expect(before).toEqual({ number: 0, subjects: EVERYONE });
    for (const subject of subjects) await append([subject]);
    await append([user("only added")], { removes: false });
    await append([]);
    const read = await at.two.store.changes.since(before.number);
    expect(read).toEqual({ number: subjects.length + 2, subjects });
    expect(await at.two.store.changes.since(read.number)).toEqual({ number: read.number, subjects: [] });
  });

  test("a change for everyone if a number has no subject, as with an older version", async () => {
    await append([user("ann")]);
    await at.one.transaction((db) => logs[0].number(db));
    expect((await at.two.store.changes.since(0)).subjects).toEqual(EVERYONE);
    expect((await at.two.store.changes.since(1)).subjects).toEqual(EVERYONE);
    await append([user("bob")]);
    expect((await at.two.store.changes.since(2)).subjects).toEqual([user("bob")]);
  });

  test("a change for everyone if a change has too many subjects, or there are too many changes", async () => {
    const users = (count: number) => Array.from({ length: count }, (_, index) => user(`user ${index}`));
    await append(users(200));
    expect((await at.two.store.changes.since(0)).subjects).toHaveLength(200);
    await append(users(201));
    expect((await at.two.store.changes.since(1)).subjects).toEqual(EVERYONE);
    await at.one.transaction(async (db) => {
      const first = await logs[0].numbers(db, 1000);
      const changes = users(1000).map((one, index) => ({
        number: first + index,
        subjects: [one],
        removes: true,
      }));
      await logs[0].record(db, changes);
    });
    expect((await at.two.store.changes.since(2)).subjects).toEqual(EVERYONE);
    expect((await at.two.store.changes.since(3)).subjects).toHaveLength(999);
  });

  test("a change for everyone if older changes were removed, which happens after ten minutes", async () => {
    for (const id of ["ann", "bob", "eve"]) await append([user(id)]);
    expect(await at.one.store.changes.removeOld(10)).toBe(0);
    await at.one.db
      .updateTable("sallyport_changes")
      .set(({ eb }) => ({ recorded_at: eb(at.one.now, "-", 10 * 60_000 + 1000) }))
      .where("number", "<=", 2)
      .execute();
    const removed = await Promise.all(at.each((database) => database.store.changes.removeOld(10)));
    expect(removed[0] + removed[1]).toBe(2);
    expect((await at.two.store.changes.since(0)).subjects).toEqual(EVERYONE);
    expect((await at.two.store.changes.since(1)).subjects).toEqual(EVERYONE);
    expect((await at.two.store.changes.since(2)).subjects).toEqual([user("eve")]);
  });
});

describe("a change affects a connection", () => {
  const ann: Affected = { userId: "ann", sessionId: "s1", view: "/ws/chat", channel: "rooms/general" };
  const anonymous: Affected = { userId: null, sessionId: null, view: "/ws/open", channel: undefined };
  const isAffected = async (affected: Affected, since: number) =>
    (await logs[1].check(at.two.db, affected, since)).isAffected;

  beforeEach(async () => {
    await addUsers(at.one.db, ["ann", "bob"]);
    await addGroups(at.one.db, "Crew", "Staff");
    await at.one.db
      .insertInto("sallyport_user_groups")
      .values({
        user_id: "ann",
        group_name: "Crew",
        until_at: null,
        granted_at: 0,
        granted_by: null,
        reason: null,
      })
      .execute();
  });

  test.each([
    [user("ann"), true, false],
    [user("bob"), false, false],
    [user("s1"), false, false],
    [{ scope: "group", subject: "Crew" }, true, false],
    [{ scope: "group", subject: "Staff" }, false, false],
    [{ scope: "session", subject: "s1" }, true, false],
    [{ scope: "session", subject: "ann" }, false, false],
    [{ scope: "connection", subject: "ann" }, false, false],
    [{ scope: "channel", subject: "rooms/general" }, true, false],
    [{ scope: "channel", subject: "rooms/other" }, false, false],
    [{ scope: "view", subject: "/ws/chat" }, true, false],
    [{ scope: "view", subject: "/ws/open" }, false, true],
    [EVERYONE[0] as ChangedSubject, true, true],
  ] as const)("%j: of a user %s, of an anonymous client %s", async (subject, ofAnn, ofAnonymous) => {
    await append([user("ann")]);
    const number = await append([subject]);
    expect(await isAffected(ann, 1)).toBe(ofAnn);
    expect(await isAffected(anonymous, 1)).toBe(ofAnonymous);
    expect(await logs[1].check(at.two.db, ann, number)).toEqual({ last: number, isAffected: false });
    await append([subject], { removes: false });
    expect(await isAffected(ann, number)).toBe(false);
  });

  test("if the change has no subject", async () => {
    await at.one.transaction((db) => logs[0].number(db));
    expect([await isAffected(ann, 0), await isAffected(anonymous, 0), await isAffected(ann, 1)]).toEqual([
      true,
      true,
      false,
    ]);
  });
});
