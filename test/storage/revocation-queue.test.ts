import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { MAX_CONNECTION_ROW_AGE_MS } from "../../src/protocol/quotas.ts";
import { RevocationQueue } from "../../src/revocation/queue.ts";
import type { RecordedTarget } from "../../src/storage/sql/revocations.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import type { Revocation } from "../../src/storage/stores/revocations.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, addUsers, type Db } from "./tables.ts";
import { ALIKE, idsOfAllForms } from "./texts.ts";

const at = twoProcesses();
let evictions: readonly [RevocationQueue, RevocationQueue];
beforeEach(() => {
  evictions = at.each((database) => new RevocationQueue(database.store.revocations, "app"));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const NOTHING = new Set<string>();

const of = (subject: string): RecordedTarget => ({ scope: "user", subject });
const recordIn = (db: Db, touched: RecordedTarget, change: number | null) =>
  storeOf(at.one).revocations.record(db, touched, change, evictions[0].claimant.id);
const record = (touched: RecordedTarget, change: number | null = null) =>
  at.one.transaction((db) => recordIn(db, touched, change));
/** Returns the users that a record lists, as the second process reads them. */
const listed = (id: string) => storeOf(at.two).revocations.listed(at.two.db, id);
const recordMany = async (count: number) => {
  const ids: string[] = [];
  for (let index = 0; index < count; index++) ids.push(await record(of(`user ${index}`)));
  return ids;
};

/** Makes every lease expire, as if its owner had stopped. */
const abandon = () =>
  at.one.db
    .updateTable("sallyport_revocations")
    .set(({ eb }) => ({ claimed_until: eb(at.one.now, "-", 1) }))
    .execute();

const rowOf = (id: string) =>
  at.two.db.selectFrom("sallyport_revocations").selectAll().where("id", "=", id).executeTakeFirst();

/** Claims revocations until none is left, and keeps all of them. */
async function claimAll(by: RevocationQueue): Promise<Revocation[]> {
  const claimed: Revocation[] = [];
  for (;;) {
    const eviction = await by.dequeue({ except: new Set(claimed.map(({ id }) => id)) });
    if (!eviction) return claimed;
    claimed.push(eviction);
  }
}

describe("a revocation", () => {
  test("belongs to its creator until the lease expires, and then to one other process", async () => {
    const id = await record(of("ann"), 7);
    expect(await evictions[1].dequeue({ except: NOTHING })).toBeUndefined();
    const mine = { id, scope: "user", subject: "ann", change: 7, addsOnly: false, isTakenOver: false };
    expect(await evictions[0].dequeue({ except: NOTHING })).toEqual(mine);
    expect(await evictions[0].dequeue({ except: new Set([id]) })).toBeUndefined();
    await abandon();
    expect(await evictions[1].dequeue({ except: NOTHING })).toEqual({ ...mine, isTakenOver: true });
    expect(await evictions[0].dequeue({ except: NOTHING })).toBeUndefined();
    expect(await evictions[1].dequeue({ except: NOTHING })).toEqual(mine);
  });

  test("is returned as it was written, for every scope", async () => {
    const scopes = ["user", "deleted-user", "group", "session", "channel", "view"] as const;
    const touched = [...scopes.flatMap((scope) => ALIKE.slice(0, 8).map((subject) => ({ scope, subject })))];
    for (const subject of ALIKE) touched.push({ scope: "user", subject });
    for (const one of touched) await record(one);
    await record({ scope: "everyone" });
    await abandon();
    const claimed = await claimAll(evictions[1]);
    const returned = claimed.map(({ scope, subject, change, isTakenOver }) => [
      scope,
      subject,
      change,
      isTakenOver,
    ]);
    const expected = [...touched, { scope: "everyone", subject: "" }];
    expect(sorted(returned.map((one) => JSON.stringify(one)))).toEqual(
      sorted(expected.map(({ scope, subject }) => JSON.stringify([scope, subject, null, true]))),
    );
  });

  test("is never claimed twice by concurrent processes", async () => {
    const ids = await recordMany(30);
    await abandon();
    const claimants = Array.from(
      { length: 6 },
      (_, index) => new RevocationQueue((index % 2 ? at.one : at.two).store.revocations, "app"),
    );
    const { passed, failed } = await at.race(6, claimants, claimAll);
    expect(failed).toEqual([]);
    expect(sorted(passed.flat().map(({ id }) => id))).toEqual(sorted(ids));
    await abandon();
    const only = ids[3] as string;
    const given = await at.race(10, claimants.slice(0, 5), async (each, index) =>
      (await each.dequeue({ except: NOTHING, only })) ? index % 5 : undefined,
    );
    expect(new Set(given.passed.filter((claimant) => claimant !== undefined)).size).toBe(1);
  });

  test("is claimed oldest first, or by its id", async () => {
    const ids = await recordMany(5);
    for (const [index, id] of ids.entries()) {
      const at_ = at.one.db.updateTable("sallyport_revocations").set({ created_at: 1000 - index });
      await at_.where("id", "=", id).execute();
    }
    expect((await claimAll(evictions[0])).map(({ id }) => id)).toEqual([...ids].reverse());
    const only = ids[2] as string;
    expect(await evictions[0].dequeue({ except: NOTHING, only })).toMatchObject({ id: only });
    expect(await evictions[0].dequeue({ except: NOTHING, only: "another" })).toBeUndefined();
    expect(await evictions[0].dequeue({ except: new Set(ids) })).toBeUndefined();
  });

  test("keeps its lease while work on it advances, and never after the lease was lost", async () => {
    const id = await record(of("ann"));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const claimedUntil = async () => (await rowOf(id))?.claimed_until ?? 0;
    /** Waits long enough for a renewal in flight. */
    const someStatements = async (meanwhile: () => void = () => undefined) => {
      for (let times = 0; times < 5; times++) {
        meanwhile();
        await at.one.transaction(async () => undefined);
      }
    };
    const expectNoRenewal = async (advanced: () => void = () => undefined) => {
      const until = await claimedUntil();
      await someStatements(() => {
        advanced();
        vi.advanceTimersByTime(4000);
      });
      expect(await claimedUntil()).toBe(until);
    };
    const result = await evictions[0].withLease(id, async (advanced) => {
      for (let times = 0; times < 3; times++) {
        await abandon();
        const until = await claimedUntil();
        const renewed = expect.poll(() => {
          advanced();
          vi.advanceTimersByTime(4000);
          return claimedUntil();
        });
        await renewed.toBeGreaterThan(until);
        expect(await evictions[1].dequeue({ except: NOTHING })).toBeUndefined();
      }
      await someStatements();
      const monotonic = performance.now.bind(performance);
      vi.spyOn(performance, "now").mockImplementation(() => monotonic() + 3_600_000);
      await abandon();
      await expectNoRenewal();
      expect(await evictions[1].dequeue({ except: NOTHING })).toMatchObject({ id, isTakenOver: true });
      await expectNoRenewal(advanced);
      return "done";
    });
    expect(result).toBe("done");
    const failing = evictions[1].withLease(id, () => Promise.reject(new Error("half-way")));
    await expect(failing).rejects.toThrow("half-way");
    await abandon();
    await expectNoRenewal();
  });

  test("that could not be enforced can be claimed by any process after the lease", async () => {
    const id = await record(of("ann"));
    await evictions[0].postpone(id);
    expect(await evictions[0].dequeue({ except: NOTHING })).toBeUndefined();
    await abandon();
    expect(await evictions[0].dequeue({ except: NOTHING })).toMatchObject({ id, isTakenOver: true });
  });

  test("that is finished is removed with its users, and no other one is", async () => {
    const [done, other] = [
      await record({ scope: "users", users: ["ann", "bob"] }),
      await record({ scope: "users", users: ["ann"] }),
    ];
    await evictions[0].finish(done);
    await evictions[0].finish(done);
    expect(await listed(done)).toEqual([]);
    expect(await listed(other)).toEqual(["ann"]);
    expect((await claimAll(evictions[0])).map(({ id }) => id)).toEqual([other]);
  });

  test("that another process has claimed is neither finished, postponed nor left to others", async () => {
    const id = await record({ scope: "users", users: ["ann"] });
    await abandon();
    expect(await evictions[1].dequeue({ except: NOTHING })).toMatchObject({ id });
    const theirs = await rowOf(id);
    for (const end of ["finish", "postpone", "completeForThisApp"] as const) {
      await evictions[0][end](id);
      expect([end, await rowOf(id)]).toEqual([end, theirs]);
    }
    expect(await listed(id)).toEqual(["ann"]);
    expect(await evictions[1].dequeue({ except: NOTHING })).toMatchObject({ id, isTakenOver: false });
  });
});

describe("a revocation that one app has processed", () => {
  test("is left to other apps, once for each app", async () => {
    const otherApp = new RevocationQueue(at.two.store.revocations, "another app");
    const id = await record(of("ann"));
    await evictions[0].completeForThisApp(id);
    expect(await evictions[0].dequeue({ except: NOTHING })).toBeUndefined();
    expect(await evictions[1].dequeue({ except: NOTHING })).toBeUndefined();
    expect(await otherApp.dequeue({ except: NOTHING })).toMatchObject({ id, isTakenOver: true });
    await otherApp.completeForThisApp(id);
    expect(await otherApp.dequeue({ except: NOTHING })).toBeUndefined();
    expect(await evictions[1].dequeue({ except: NOTHING })).toBeUndefined();
    const similarApp = new RevocationQueue(at.one.store.revocations, "App");
    expect(await similarApp.dequeue({ except: NOTHING })).toMatchObject({ id });
  });

  test("is kept as long as a connection of its time can last", async () => {
    const [old, young, last] = [
      await record({ scope: "users", users: ["ann"] }),
      await record(of("b")),
      await record(of("c")),
    ];
    const aged = async (id: string, ms: number) => {
      const created = at.one.db
        .updateTable("sallyport_revocations")
        .set(({ eb }) => ({ created_at: eb(at.one.now, "-", ms) }));
      await created.where("id", "=", id).execute();
    };
    await aged(old, MAX_CONNECTION_ROW_AGE_MS + 1);
    await aged(young, MAX_CONNECTION_ROW_AGE_MS - 60_000);
    await evictions[0].completeForThisApp(last);
    expect(await rowOf(old)).toBeUndefined();
    expect(await listed(old)).toEqual([]);
    expect(await rowOf(young)).toMatchObject({ id: young });
    expect(await rowOf(last)).toMatchObject({ claimed_by: null, claimed_until: null });
  });
});

describe("the users of a revocation", () => {
  test("are listed unchanged, up to 70 000 of them", async () => {
    for (const users of [
      [],
      ["ann"],
      ALIKE,
      idsOfAllForms(5000),
      idsOfAllForms(5001),
      idsOfAllForms(70_000),
    ]) {
      const id = await record({ scope: "users", users });
      expect(sorted(await listed(id))).toEqual(sorted(users));
    }
  });

  test("are those that a subquery selects at the time of the change", async () => {
    await addGroups(at.one.db, "Crew", "crew");
    const users = idsOfAllForms(1200);
    await addUsers(at.one.db, users);
    const member = (user_id: string, index: number) => {
      const group_name = index < 1199 ? "Crew" : "crew";
      return { user_id, group_name, until_at: null, granted_at: 1, granted_by: null, reason: null };
    };
    await at.one.db.insertInto("sallyport_user_groups").values(users.map(member)).execute();
    const members = (db: Db) =>
      db.selectFrom("sallyport_user_groups").select("user_id").where("group_name", "=", "Crew");
    const id = await at.one.transaction(async (db) => {
      const made = await recordIn(db, { scope: "users", users: members(db) }, 1);
      await db.deleteFrom("sallyport_groups").where("name", "=", "Crew").execute();
      return made;
    });
    expect(sorted(await listed(id))).toEqual(sorted(users.slice(0, 1199)));
  });
});
