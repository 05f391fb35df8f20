import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { StorageError } from "../../src/errors.ts";
import { breathe, type Database } from "../../src/storage/database.ts";
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

/** Right only for whom nobody comes between. */
async function countSlowly(db: Db): Promise<void> {
  const count = await counterIn(db);
  await breathe();
  await setCounter(db, count + 1);
}

describe("write", () => {
  test("gives what its work gives, and undoes everything where the work throws", async () => {
    const error = new Error("half-way");
    const failing = at.one.write(async (db) => {
      await addGroups(db, "Crew");
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(await at.one.write(groupsIn)).toEqual([]);
    const written = at.one.write(async (db) => {
      await addGroups(db, "Crew");
      return groupsIn(db);
    });
    expect(await written).toEqual(["Crew"]);
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });

  test("undoes everything where a statement fails, which is the caller's to hear", async () => {
    const failing = at.one.write(async (db) => {
      await addGroups(db, "Crew");
      await addGroups(db, "crew", "crew");
    });
    await expect(failing).rejects.toThrow(/unique/i);
    await expect(failing).rejects.not.toBeInstanceOf(StorageError);
    expect(await groupsIn(at.two.db)).toEqual([]);
  });

  test("excludes every other write: none loses what another one counted", async () => {
    const { failed } = await at.race(40, [at.one, at.two], (database) => database.write(countSlowly));
    expect(failed).toEqual([]);
    expect(await counterIn(at.one.db)).toBe(40);
  });
});

describe("writeBeside", () => {
  test("gives what its work gives, and undoes everything where the work throws", async () => {
    const error = new Error("half-way");
    const failing = at.one.writeBeside(async (db) => {
      await addGroups(db, "Crew");
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(await at.one.writeBeside(groupsIn)).toEqual([]);
    await at.one.writeBeside((db) => addGroups(db, "Crew"));
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });

  test("sees no write begin or end between two of its statements", async () => {
    let writing: Promise<unknown> = Promise.resolve();
    const [before, after] = await at.one.writeBeside(async (db) => {
      const first = await counterIn(db);
      writing = at.two.write((other) => setCounter(other, 7));
      await at.passTime();
      return [first, await counterIn(db)];
    });
    expect([before, after]).toEqual([0, 0]);
    await writing;
    expect(await at.one.writeBeside(counterIn)).toBe(7);
  });

  test("waits for a write that is under way, and sees what it wrote", async () => {
    let beside: Promise<number> | undefined;
    await at.one.write(async (db) => {
      await setCounter(db, 1);
      beside = at.two.writeBeside(counterIn);
      await at.passTime();
      await setCounter(db, 2);
    });
    expect(await beside).toBe(2);
  });

  test("excludes others with the same lock: none loses what another one counted", async () => {
    const lock = "connections of o'neil 😀\\'; select 1";
    const { failed } = await at.race(40, [at.one, at.two], (database) =>
      database.writeBeside(countSlowly, { lock }),
    );
    expect(failed).toEqual([]);
    expect(await counterIn(at.one.db)).toBe(40);
  });

  test("with a lock still waits for a write that is under way", async () => {
    let beside: Promise<number> | undefined;
    await at.one.write(async (db) => {
      await setCounter(db, 1);
      beside = at.two.writeBeside(counterIn, { lock: "ann" });
      await at.passTime();
      await setCounter(db, 2);
    });
    expect(await beside).toBe(2);
  });
});

/** Adds a group, unless there are as many as `max`. */
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

describe("writeInOneTrip", () => {
  test("returns how many rows the first statement returned, and others see what all of them wrote", async () => {
    const [{ db }, { db: other }] = [at.one, at.two];
    expect(await at.one.writeInOneTrip([addGroup(db, "Crew"), addGroup(db, "Team")])).toBe(1);
    expect(await at.two.writeInOneTrip([addGroup(other, "Crew"), addGroup(other, "'; 😀")])).toBe(0);
    expect(await groupsIn(at.one.db)).toEqual(["'; 😀", "Crew", "Team"]);
  });

  test("undoes everything where a statement fails, and the next trip works", async () => {
    const { db } = at.one;
    for (let round = 0; round < 6; round++) {
      const failing = at.one.writeInOneTrip([
        addGroup(db, "Crew"),
        sql`select * from not_a_table`.compile(db),
      ]);
      await expect(failing).rejects.toThrow(/not_a_table/);
      await expect(failing).rejects.not.toBeInstanceOf(StorageError);
      expect(await groupsIn(at.two.db)).toEqual([]);
    }
    expect(await at.one.writeInOneTrip([addGroup(db, "Crew")])).toBe(1);
  });

  test("waits for a write that is under way, and its statements see what it wrote", async () => {
    for (const lock of [undefined, "ann"]) {
      let trip: Promise<number> | undefined;
      await at.one.write(async (db) => {
        await db.deleteFrom("sallyport_groups").execute();
        trip = at.two.writeInOneTrip([addGroup(at.two.db, "last", 1)], { lock });
        await at.passTime();
        await addGroups(db, "first");
      });
      expect(await trip).toBe(0);
      expect(await groupsIn(at.one.db)).toEqual(["first"]);
    }
  });

  test("excludes others with the same lock: none adds more than all of them may", async () => {
    const lock = "connections of o'neil 😀\\'; select 1";
    const { passed, failed } = await at.race(40, [at.one, at.two], (database, index) =>
      index % 4 === 0
        ? database.writeBeside(
            async (db) => (await db.executeQuery(addGroup(db, `${index}`, 5))).rows.length,
            { lock },
          )
        : database.writeInOneTrip([addGroup(database.db, `${index}`, 5)], { lock }),
    );
    expect(failed).toEqual([]);
    expect(passed.reduce((sum, rows) => sum + rows)).toBe(5);
    expect(await groupsIn(at.one.db)).toHaveLength(5);
  });

  test("rejects when the storage is closed", async () => {
    const third = at.open();
    await groupsIn(third.db);
    await third.close();
    await expect(third.writeInOneTrip([addGroup(at.one.db, "Crew")])).rejects.toThrow();
    expect(await groupsIn(at.one.db)).toEqual([]);
  });
});

describe("commitsLater", () => {
  test("can be selected by a statement, whose work others see at once", async () => {
    const adding = at.one.writeOne((db) =>
      db
        .insertInto("sallyport_groups")
        .values({ name: "Crew", created_at: 1 })
        .returning(["name", at.one.commitsLater.as("later")])
        .execute(),
    );
    expect(await adding).toMatchObject([{ name: "Crew" }]);
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });
});

describe("writeOne", () => {
  test("gives what its statement gives, which others see at once", async () => {
    const add = (database: Database, name: string) =>
      database.writeOne((db) =>
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

  test("leaves nothing of a statement that fails half-way", async () => {
    await addGroups(at.one.db, "Crew");
    const failing = at.two.writeOne((db) => addGroups(db, "a", "b", "Crew"));
    await expect(failing).rejects.toThrow(/unique/i);
    await expect(failing).rejects.not.toBeInstanceOf(StorageError);
    expect(await groupsIn(at.one.db)).toEqual(["Crew"]);
  });

  test("loses nothing of what statements in two processes count together", async () => {
    await setCounter(at.one.db, 0);
    const { failed } = await at.race(100, [at.one, at.two], (database) =>
      database.writeOne((db) =>
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

describe("writesInWith", () => {
  test("says whether a `with` may write, and then what it wrote is there", async () => {
    const writing = (db: Db) =>
      db
        .with("made", (cte) =>
          cte.insertInto("sallyport_groups").values({ name: "Crew", created_at: 1 }).returning("name"),
        )
        .selectFrom("made")
        .select("name")
        .execute();
    const didWrite = await at.one.write(writing).then(
      (rows) => rows.length === 1,
      () => false,
    );
    expect(didWrite).toBe(at.one.writesInWith);
    expect(await groupsIn(at.two.db)).toEqual(didWrite ? ["Crew"] : []);
  });
});

describe("rehearse", () => {
  test("gives what its work gives, which saw what it wrote, and leaves nothing of it", async () => {
    await addGroups(at.one.db, "old");
    const seen = await at.one.rehearse(async (db) => {
      await addGroups(db, "new");
      await db.deleteFrom("sallyport_groups").where("name", "=", "old").execute();
      return groupsIn(db);
    });
    expect(seen).toEqual(["new"]);
    expect(await groupsIn(at.one.db)).toEqual(["old"]);
    expect(await at.two.write(groupsIn)).toEqual(["old"]);
  });

  test("takes part of itself back at a savepoint", async () => {
    const seen = await at.one.rehearse(async (db) => {
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

  test("passes on what its work throws, and the next one works", async () => {
    const error = new Error("half-way");
    const failing = at.one.rehearse(async (db) => {
      await addGroups(db, "Crew");
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(await at.one.rehearse(groupsIn)).toEqual([]);
  });

  test("is no write to others, and none comes between", async () => {
    const { failed } = await at.race(20, [at.one, at.two], (database, index) =>
      index < 10 ? database.rehearse(countSlowly) : database.write(countSlowly),
    );
    expect(failed).toEqual([]);
    expect(await counterIn(at.one.db)).toBe(10);
    for (const way of ["write", "writeBeside"] as const) {
      const before = await counterIn(at.one.db);
      let writing: Promise<unknown> = Promise.resolve();
      const counts = await at.one.rehearse(async (db) => {
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
