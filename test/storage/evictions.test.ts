import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Eviction, Evictions, type Touched } from "../../src/access/evictions.ts";
import { MAX_SESSION_MS } from "../../src/protocol/quotas.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, addUsers, type Db } from "./tables.ts";
import { ALIKE, idsOfAllForms } from "./texts.ts";

const at = twoProcesses();
let evictions: readonly [Evictions, Evictions];
beforeEach(() => {
  evictions = at.each((database) => new Evictions(database, "app"));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const NOTHING = new Set<string>();

const of = (subject: string): Touched => ({ scope: "user", subject });
const record = (touched: Touched, change: number | null = null, by = evictions[0]) =>
  at.one.write((db) => by.record(db, touched, change));
const recordMany = async (count: number) => {
  const ids: string[] = [];
  for (let index = 0; index < count; index++) ids.push(await record(of(`user ${index}`)));
  return ids;
};

/** As if whoever claimed them had been silent for longer than a lease. */
const abandon = () =>
  at.one.db
    .updateTable("sallyport_evictions")
    .set(({ eb }) => ({ claimed_until: eb(at.one.now, "-", 1) }))
    .execute();

const rowOf = (id: string) =>
  at.two.db.selectFrom("sallyport_evictions").selectAll().where("id", "=", id).executeTakeFirst();

/** Claims as long as there is anything, as a process does that keeps what it has claimed in hand. */
async function claimAll(by: Evictions): Promise<Eviction[]> {
  const claimed: Eviction[] = [];
  for (;;) {
    const eviction = await by.claim({ except: new Set(claimed.map(({ id }) => id)) });
    if (!eviction) return claimed;
    claimed.push(eviction);
  }
}

describe("a record", () => {
  test("is whose change made it until the lease is over, and then one other's", async () => {
    const id = await record(of("ann"), 7);
    expect(await evictions[1].claim({ except: NOTHING })).toBeUndefined();
    const mine = { id, scope: "user", subject: "ann", change: 7, isTakenOver: false };
    expect(await evictions[0].claim({ except: NOTHING })).toEqual(mine);
    expect(await evictions[0].claim({ except: new Set([id]) })).toBeUndefined();
    await abandon();
    expect(await evictions[1].claim({ except: NOTHING })).toEqual({ ...mine, isTakenOver: true });
    expect(await evictions[0].claim({ except: NOTHING })).toBeUndefined();
    expect(await evictions[1].claim({ except: NOTHING })).toEqual(mine);
  });

  test("is told as it was written, whatever it is of", async () => {
    const scopes = ["user", "deleted-user", "group", "login", "channel", "view"] as const;
    const touched = [...scopes.flatMap((scope) => ALIKE.slice(0, 8).map((subject) => ({ scope, subject })))];
    for (const subject of ALIKE) touched.push({ scope: "user", subject });
    for (const one of touched) await record(one);
    await record({ scope: "everyone" });
    await abandon();
    const claimed = await claimAll(evictions[1]);
    const told = claimed.map(({ scope, subject, change, isTakenOver }) => [
      scope,
      subject,
      change,
      isTakenOver,
    ]);
    const expected = [...touched, { scope: "everyone", subject: "" }];
    expect(sorted(told.map((one) => JSON.stringify(one)))).toEqual(
      sorted(expected.map(({ scope, subject }) => JSON.stringify([scope, subject, null, true]))),
    );
  });

  test("is never claimed by two of many at once", async () => {
    const ids = await recordMany(30);
    await abandon();
    const claimants = Array.from(
      { length: 6 },
      (_, index) => new Evictions(index % 2 ? at.one : at.two, "app"),
    );
    const { passed, failed } = await at.race(6, claimants, claimAll);
    expect(failed).toEqual([]);
    expect(sorted(passed.flat().map(({ id }) => id))).toEqual(sorted(ids));
    await abandon();
    const only = ids[3] as string;
    const given = await at.race(10, claimants.slice(0, 5), async (each, index) =>
      (await each.claim({ except: NOTHING, only })) ? index % 5 : undefined,
    );
    expect(new Set(given.passed.filter((claimant) => claimant !== undefined)).size).toBe(1);
  });

  test("is claimed the oldest first, or as it is named", async () => {
    const ids = await recordMany(5);
    for (const [index, id] of ids.entries()) {
      const at_ = at.one.db.updateTable("sallyport_evictions").set({ created_at: 1000 - index });
      await at_.where("id", "=", id).execute();
    }
    expect((await claimAll(evictions[0])).map(({ id }) => id)).toEqual([...ids].reverse());
    const only = ids[2] as string;
    expect(await evictions[0].claim({ except: NOTHING, only })).toMatchObject({ id: only });
    expect(await evictions[0].claim({ except: NOTHING, only: "another" })).toBeUndefined();
    expect(await evictions[0].claim({ except: new Set(ids) })).toBeUndefined();
  });

  test("is kept for as long as work on it comes further, and by nobody who has lost it", async () => {
    const id = await record(of("ann"));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
    const claimedUntil = async () => (await rowOf(id))?.claimed_until ?? 0;
    /** Long enough for a renewal that is under way. */
    const someStatements = async (meanwhile: () => void = () => undefined) => {
      for (let times = 0; times < 5; times++) {
        meanwhile();
        await at.one.write(async () => undefined);
      }
    };
    const nothingComesOfIt = async (advanced: () => void = () => undefined) => {
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
        expect(await evictions[1].claim({ except: NOTHING })).toBeUndefined();
      }
      await someStatements();
      const monotonic = performance.now.bind(performance);
      vi.spyOn(performance, "now").mockImplementation(() => monotonic() + 3_600_000);
      await abandon();
      await nothingComesOfIt();
      expect(await evictions[1].claim({ except: NOTHING })).toMatchObject({ id, isTakenOver: true });
      await nothingComesOfIt(advanced);
      return "done";
    });
    expect(result).toBe("done");
    const failing = evictions[1].withLease(id, () => Promise.reject(new Error("half-way")));
    await expect(failing).rejects.toThrow("half-way");
    await abandon();
    await nothingComesOfIt();
  });

  test("that could not be enforced is anybody's when the lease is over", async () => {
    const id = await record(of("ann"));
    await evictions[0].postpone(id);
    expect(await evictions[0].claim({ except: NOTHING })).toBeUndefined();
    await abandon();
    expect(await evictions[0].claim({ except: NOTHING })).toMatchObject({ id, isTakenOver: true });
  });

  test("that is finished is gone with its users, and no other is", async () => {
    const [done, other] = [
      await record({ scope: "users", users: ["ann", "bob"] }),
      await record({ scope: "users", users: ["ann"] }),
    ];
    await evictions[0].finish(done);
    await evictions[0].finish(done);
    expect(await evictions[1].listed(at.two.db, done)).toEqual([]);
    expect(await evictions[1].listed(at.two.db, other)).toEqual(["ann"]);
    expect((await claimAll(evictions[0])).map(({ id }) => id)).toEqual([other]);
  });

  test("that another process has claimed since is neither finished, nor postponed, nor left to others", async () => {
    const id = await record({ scope: "users", users: ["ann"] });
    await abandon();
    expect(await evictions[1].claim({ except: NOTHING })).toMatchObject({ id });
    const theirs = await rowOf(id);
    for (const end of ["finish", "postpone", "leaveToOthers"] as const) {
      await evictions[0][end](id);
      expect([end, await rowOf(id)]).toEqual([end, theirs]);
    }
    expect(await evictions[1].listed(at.two.db, id)).toEqual(["ann"]);
    expect(await evictions[1].claim({ except: NOTHING })).toMatchObject({ id, isTakenOver: false });
  });
});

describe("a record that one app has done what it can for", () => {
  test("is left to others, once to each app, however many processes it has", async () => {
    const stranger = new Evictions(at.two, "another app");
    const id = await record(of("ann"));
    await evictions[0].leaveToOthers(id);
    expect(await evictions[0].claim({ except: NOTHING })).toBeUndefined();
    expect(await evictions[1].claim({ except: NOTHING })).toBeUndefined();
    expect(await stranger.claim({ except: NOTHING })).toMatchObject({ id, isTakenOver: true });
    await stranger.leaveToOthers(id);
    expect(await stranger.claim({ except: NOTHING })).toBeUndefined();
    expect(await evictions[1].claim({ except: NOTHING })).toBeUndefined();
    expect(await new Evictions(at.one, "App").claim({ except: NOTHING })).toMatchObject({ id });
  });

  test("is kept for as long as a socket of then can live", async () => {
    const [old, young, last] = [
      await record({ scope: "users", users: ["ann"] }),
      await record(of("b")),
      await record(of("c")),
    ];
    const aged = async (id: string, ms: number) => {
      const created = at.one.db
        .updateTable("sallyport_evictions")
        .set(({ eb }) => ({ created_at: eb(at.one.now, "-", ms) }));
      await created.where("id", "=", id).execute();
    };
    await aged(old, MAX_SESSION_MS + 1);
    await aged(young, MAX_SESSION_MS - 60_000);
    await evictions[0].leaveToOthers(last);
    expect(await rowOf(old)).toBeUndefined();
    expect(await evictions[0].listed(at.one.db, old)).toEqual([]);
    expect(await rowOf(young)).toMatchObject({ id: young });
    expect(await rowOf(last)).toMatchObject({ claimed_by: null, claimed_until: null });
  });
});

describe("a record's users", () => {
  test("are listed as they are, however many there are", async () => {
    for (const users of [
      [],
      ["ann"],
      ALIKE,
      idsOfAllForms(5000),
      idsOfAllForms(5001),
      idsOfAllForms(70_000),
    ]) {
      const id = await record({ scope: "users", users });
      expect(sorted(await evictions[1].listed(at.two.db, id))).toEqual(sorted(users));
    }
  });

  test("are those whom a subquery names as the change is made", async () => {
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
    const id = await at.one.write(async (db) => {
      const made = await evictions[0].record(db, { scope: "users", users: members(db) }, 1);
      await db.deleteFrom("sallyport_groups").where("name", "=", "Crew").execute();
      return made;
    });
    expect(sorted(await evictions[1].listed(at.two.db, id))).toEqual(sorted(users.slice(0, 1199)));
  });
});
