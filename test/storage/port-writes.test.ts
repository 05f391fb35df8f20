import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { StorageError } from "../../src/errors.ts";
import type { Database } from "../../src/storage/database.ts";
import { yieldToEventLoop } from "../../src/timing.ts";
import { twoProcesses } from "./processes.ts";
import { addGroups, type Db, groupsIn } from "./tables.ts";

const at = twoProcesses();

const setCounter = (db: Db, count: number) =>
  db
    .insertInto("sallyport_counters")
    .values({ key: "counted", window_started_at: 0, count })
    .onConflict((conflict) => conflict.column("key").doUpdateSet({ count }))
    .execute();

async function counterIn(db: Db): Promise<number> {
  const query = db.selectFrom("sallyport_counters").select("count").where("key", "=", "counted");
  return (await query.executeTakeFirst())?.count ?? 0;
}

/** Counts correctly only if no other write runs at the same time. */
async function countSlowly(db: Db): Promise<void> {
  const count = await counterIn(db);
  await yieldToEventLoop();
  await setCounter(db, count + 1);
}

describe("transaction", () => {
  test("returns the result of its callback, and rolls back if the callback throws", async () => {
    const error = new Error("half-way");
    const failing = at.one.transaction(async (db) => {
      await addGroups(db, "Crew");
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(await at.one.transaction(groupsIn)).toEqual([]);
    const written = at.one.transaction(async (db) => {
      await addGroups(db, "Crew");
      return groupsIn(db);
    });
    expect(await written).toEqual(["Crew"]);
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });

  test("rolls back if a statement fails, and throws the error of the statement", async () => {
    const failing = at.one.transaction(async (db) => {
      await addGroups(db, "Crew");
      await addGroups(db, "crew", "crew");
    });
    await expect(failing).rejects.toThrow(/unique/i);
    await expect(failing).rejects.not.toBeInstanceOf(StorageError);
    expect(await groupsIn(at.two.db)).toEqual([]);
  });

  test("runs alone, so that no increment is lost", async () => {
    const { failed } = await at.race(40, [at.one, at.two], (database) => database.transaction(countSlowly));
    expect(failed).toEqual([]);
    expect(await counterIn(at.one.db)).toBe(40);
  });
});

describe("sharedTransaction", () => {
  test("returns the result of its callback, and rolls back if the callback throws", async () => {
    const error = new Error("half-way");
    const failing = at.one.sharedTransaction(async (db) => {
      await addGroups(db, "Crew");
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(await at.one.sharedTransaction(groupsIn)).toEqual([]);
    await at.one.sharedTransaction((db) => addGroups(db, "Crew"));
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });

  test("sees no effect of another write between two of its statements", async () => {
    let writing: Promise<unknown> = Promise.resolve();
    const [before, after] = await at.one.sharedTransaction(async (db) => {
      const first = await counterIn(db);
      writing = at.two.transaction((other) => setCounter(other, 7));
      await at.passTime();
      return [first, await counterIn(db)];
    });
    expect([before, after]).toEqual([0, 0]);
    await writing;
    expect(await at.one.sharedTransaction(counterIn)).toBe(7);
  });

  test("waits for a write in flight, and reads its result", async () => {
    let beside: Promise<number> | undefined;
    await at.one.transaction(async (db) => {
      await setCounter(db, 1);
      beside = at.two.sharedTransaction(counterIn);
      await at.passTime();
      await setCounter(db, 2);
    });
    expect(await beside).toBe(2);
  });

  test("runs alone among calls with the same lock, so that no increment is lost", async () => {
    const lock = "connections of o'neil 😀\\'; select 1";
    const { failed } = await at.race(40, [at.one, at.two], (database) =>
      database.sharedTransaction(countSlowly, { lock }),
    );
    expect(failed).toEqual([]);
    expect(await counterIn(at.one.db)).toBe(40);
  });

  test("also waits for a write in flight if it has a lock", async () => {
    let beside: Promise<number> | undefined;
    await at.one.transaction(async (db) => {
      await setCounter(db, 1);
      beside = at.two.sharedTransaction(counterIn, { lock: "ann" });
      await at.passTime();
      await setCounter(db, 2);
    });
    expect(await beside).toBe(2);
  });
});

/** Returns a statement that adds a group, unless there are `max` groups. */
const addGroup = (db: Db, name: string, max = 100) =>
  db
    .insertInto("sallyport_groups")
    .columns(["name", "created_at"])
    .expression(
      db.selectNoFrom([sql<string>`cast(${name} as text)`.as("name"), sql.lit(1).as("created_at")]).where(
        db.selectFrom("sallyport_groups").select(({ fn }) => fn.countAll<number>().as("count")),
        "<",
        max,
      ),
    )
    .onConflict((conflict) => conflict.doNothing())
    .returning("name")
    .compile();

describe("executeBatch", () => {
  test("returns the number of rows of the first statement, and commits all statements", async () => {
    const [{ db }, { db: other }] = [at.one, at.two];
    expect(await at.one.executeBatch([addGroup(db, "Crew"), addGroup(db, "Team")])).toBe(1);
    expect(await at.two.executeBatch([addGroup(other, "Crew"), addGroup(other, "'; 😀")])).toBe(0);
    expect(await groupsIn(at.one.db)).toEqual(["'; 😀", "Crew", "Team"]);
  });

  test("rolls back if a statement fails, and the next call succeeds", async () => {
    const { db } = at.one;
    for (let round = 0; round < 6; round++) {
      const failing = at.one.executeBatch([addGroup(db, "Crew"), sql`select * from not_a_table`.compile(db)]);
      await expect(failing).rejects.toThrow(/not_a_table/);
      await expect(failing).rejects.not.toBeInstanceOf(StorageError);
      expect(await groupsIn(at.two.db)).toEqual([]);
    }
    expect(await at.one.executeBatch([addGroup(db, "Crew")])).toBe(1);
  });

  test("waits for a write in flight, and its statements read the result", async () => {
    for (const lock of [undefined, "ann"]) {
      let trip: Promise<number> | undefined;
      await at.one.transaction(async (db) => {
        await db.deleteFrom("sallyport_groups").execute();
        trip = at.two.executeBatch([addGroup(at.two.db, "last", 1)], { lock });
        await at.passTime();
        await addGroups(db, "first");
      });
      expect(await trip).toBe(0);
      expect(await groupsIn(at.one.db)).toEqual(["first"]);
    }
  });

  test("runs alone among calls with the same lock, so that a maximum holds", async () => {
    const lock = "connections of o'neil 😀\\'; select 1";
    const { passed, failed } = await at.race(40, [at.one, at.two], (database, index) =>
      index % 4 === 0
        ? database.sharedTransaction(
            async (db) => (await db.executeQuery(addGroup(db, `${index}`, 5))).rows.length,
            { lock },
          )
        : database.executeBatch([addGroup(database.db, `${index}`, 5)], { lock }),
    );
    expect(failed).toEqual([]);
    expect(passed.reduce((sum, rows) => sum + rows)).toBe(5);
    expect(await groupsIn(at.one.db)).toHaveLength(5);
  });

  test("rejects when the storage is closed", async () => {
    const third = at.open();
    await groupsIn(third.db);
    await third.close();
    await expect(third.executeBatch([addGroup(at.one.db, "Crew")])).rejects.toThrow();
    expect(await groupsIn(at.one.db)).toEqual([]);
  });
});

describe("asyncCommit", () => {
  test("can be selected by a statement that other processes see immediately", async () => {
    const adding = at.one.execute((db) =>
      db
        .insertInto("sallyport_groups")
        .values({ name: "Crew", created_at: 1 })
        .returning(["name", at.one.asyncCommit.as("later")])
        .execute(),
    );
    expect(await adding).toMatchObject([{ name: "Crew" }]);
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });
});

describe("execute", () => {
  test("returns the result of its statement, and other processes see it immediately", async () => {
    const add = (database: Database, name: string) =>
      database.execute((db) =>
        db
          .insertInto("sallyport_groups")
          .values({ name, created_at: 1 })
          .onConflict((conflict) => conflict.doNothing())
          .returning("name")
          .execute(),
      );
    expect(await add(at.one, "Crew")).toEqual([{ name: "Crew" }]);
    expect(await add(at.two, "Crew")).toEqual([]);
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });

  test("rolls back a statement that fails", async () => {
    await addGroups(at.one.db, "Crew");
    const failing = at.two.execute((db) => addGroups(db, "a", "b", "Crew"));
    await expect(failing).rejects.toThrow(/unique/i);
    await expect(failing).rejects.not.toBeInstanceOf(StorageError);
    expect(await groupsIn(at.one.db)).toEqual(["Crew"]);
  });

  test("loses no increment of two processes", async () => {
    await setCounter(at.one.db, 0);
    const { failed } = await at.race(100, [at.one, at.two], (database) =>
      database.execute((db) =>
        db
          .updateTable("sallyport_counters")
          .set(({ eb }) => ({ count: eb("count", "+", 1) }))
          .execute(),
      ),
    );
    expect(failed).toEqual([]);
    expect(await counterIn(at.one.db)).toBe(100);
  });
});

describe("supportsWritableCte", () => {
  test("is true if a `with` clause can write, and then the rows exist", async () => {
    const writing = (db: Db) =>
      db
        .with("made", (cte) =>
          cte.insertInto("sallyport_groups").values({ name: "Crew", created_at: 1 }).returning("name"),
        )
        .selectFrom("made")
        .select("name")
        .execute();
    const didWrite = await at.one.transaction(writing).then(
      (rows) => rows.length === 1,
      () => false,
    );
    expect(didWrite).toBe(at.one.supportsWritableCte);
    expect(await groupsIn(at.two.db)).toEqual(didWrite ? ["Crew"] : []);
  });
});

describe("rollbackTransaction", () => {
  test("returns the result of its callback, which reads its own writes, and rolls back", async () => {
    await addGroups(at.one.db, "old");
    const seen = await at.one.rollbackTransaction(async (db) => {
      await addGroups(db, "new");
      await db.deleteFrom("sallyport_groups").where("name", "=", "old").execute();
      return groupsIn(db);
    });
    expect(seen).toEqual(["new"]);
    expect(await groupsIn(at.one.db)).toEqual(["old"]);
    expect(await at.two.transaction(groupsIn)).toEqual(["old"]);
  });

  test("can roll back to a savepoint", async () => {
    const seen = await at.one.rollbackTransaction(async (db) => {
      await addGroups(db, "before");
      await sql`savepoint before_change`.execute(db);
      await addGroups(db, "change");
      const changed = await groupsIn(db);
      await sql`rollback to savepoint before_change`.execute(db);
      return [changed, await groupsIn(db)];
    });
    expect(seen).toEqual([["before", "change"], ["before"]]);
    expect(await groupsIn(at.two.db)).toEqual([]);
  });

  test("throws the error of its callback, and the next call succeeds", async () => {
    const error = new Error("half-way");
    const failing = at.one.rollbackTransaction(async (db) => {
      await addGroups(db, "Crew");
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(await at.one.rollbackTransaction(groupsIn)).toEqual([]);
  });

  test("has no effect on others, and no write runs during it", async () => {
    const { failed } = await at.race(20, [at.one, at.two], (database, index) =>
      index < 10 ? database.rollbackTransaction(countSlowly) : database.transaction(countSlowly),
    );
    expect(failed).toEqual([]);
    expect(await counterIn(at.one.db)).toBe(10);
    for (const way of ["transaction", "sharedTransaction"] as const) {
      const before = await counterIn(at.one.db);
      let writing: Promise<unknown> = Promise.resolve();
      const counts = await at.one.rollbackTransaction(async (db) => {
        const first = await counterIn(db);
        writing = at.two[way]((other) => setCounter(other, before + 1));
        await at.passTime();
        return [first, await counterIn(db)];
      });
      expect([way, counts]).toEqual([way, [before, before]]);
      await writing;
      expect(await counterIn(at.one.db)).toBe(before + 1);
    }
  });
});

describe("checkWritable", () => {
  test("resolves for several processes at once, and leaves no row", async () => {
    await Promise.all([at.one, at.two, at.one].map((storage) => storage.checkWritable()));
    const rows = await at.one.db.selectFrom("sallyport_counters").select("key").execute();
    expect(rows).toEqual([]);
  });

  test("rejects when the storage is closed", async () => {
    const storage = at.open();
    await storage.checkWritable();
    await storage.close();
    await expect(storage.checkWritable()).rejects.toThrow();
  });
});
