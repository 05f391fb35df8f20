import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sql } from "kysely";
import { describe, expect, test } from "vitest";
import { type Database, parseList } from "../../src/storage/database.ts";
import { ChangeLog } from "../../src/storage/sql/change-log.ts";
import { isPostgres } from "../postgres/database.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, type Db, groupsIn } from "./tables.ts";
import { ALIKE } from "./texts.ts";

const at = twoProcesses();

/** Records a permission change, as other processes detect it. */
const announce = (database: Database) => database.transaction((db) => new ChangeLog(database).number(db));

describe("db", () => {
  test("reads committed rows of another process, and no uncommitted ones", async () => {
    const meanwhile = await at.one.transaction(async (db) => {
      await addGroups(db, "Crew");
      return groupsIn(at.two.db);
    });
    expect(meanwhile).toEqual([]);
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
  });

  test("stores text unchanged, and matches only the exact text", async () => {
    await addGroups(at.one.db, ...ALIKE);
    expect(await groupsIn(at.two.db)).toEqual(sorted(ALIKE));
    for (const text of ALIKE) {
      const named = at.two.db.selectFrom("sallyport_groups").select("name").where("name", "=", text);
      expect(await named.execute()).toEqual([{ name: text }]);
    }
  });

  test("rejects text that it cannot store unchanged, and does not match it with another", async () => {
    await addGroups(at.one.db, "admin");
    await expect(addGroups(at.one.db, "admin\0evil")).rejects.toThrow();
    const named = at.two.db.selectFrom("sallyport_groups").select("name").where("name", "=", "admin\0evil");
    await expect(named.execute()).rejects.toThrow();
    expect(await groupsIn(at.two.db)).toEqual(["admin"]);
  });

  test("returns integers as numbers, up to the largest safe integer", async () => {
    const numbers = [0, -1, 2 ** 31, -(2 ** 31) - 1, 2 ** 32 + 1, 8.64e15, Number.MAX_SAFE_INTEGER];
    for (const [index, count] of numbers.entries()) {
      const row = { key: `${index}`, window_started_at: count, count };
      await at.one.db.insertInto("sallyport_counters").values(row).execute();
    }
    const rows = await at.two.db.selectFrom("sallyport_counters").selectAll().orderBy("key").execute();
    expect(rows.map(({ count }) => count)).toEqual(numbers);
    expect(rows.map(({ window_started_at }) => window_started_at)).toEqual(numbers);
  });
});

describe("now", () => {
  test("is epoch milliseconds, and advances within a transaction", async () => {
    const read = async (db: Db) => (await db.selectNoFrom(at.one.now.as("at")).executeTakeFirstOrThrow()).at;
    const [first, second] = await at.one.transaction(async (db) => {
      const before = await read(db);
      for (;;) {
        const after = await read(db);
        if (after !== before) return [before, after];
      }
    });
    expect(String(first)).toMatch(/^\d{13}$/);
    expect(second).toBeGreaterThan(first);
  });

  test("is the same within one statement, also for 100 000 rows", async () => {
    const { rows } = await sql<{ first: number; last: number; rows: number }>`
      with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 100000),
        told as (select n, ${at.one.now} as at from numbers)
      select min(at) as first, max(at) as last, count(*) as rows from told where at = ${at.one.now}
    `.execute(at.one.db);
    expect(rows).toEqual([{ first: rows[0]?.last, last: rows[0]?.last, rows: 100_000 }]);
  });
});

describe("listOf", () => {
  async function listed(...columns: ("key" | "count")[]): Promise<readonly unknown[]> {
    const { db } = at.two;
    const rows = db
      .selectFrom("sallyport_counters as c")
      .select(["c.key", "c.count"])
      .where("c.count", ">", 0);
    const row = await db.selectNoFrom(at.two.listOf(rows, ...columns).as("list")).executeTakeFirstOrThrow();
    return parseList<unknown>(row.list);
  }

  test("lists text unchanged, for one column or several", async () => {
    for (const [index, key] of ALIKE.entries()) {
      const row = { key, window_started_at: 0, count: 2 ** 40 + index };
      await at.one.db.insertInto("sallyport_counters").values(row).execute();
    }
    expect(sorted((await listed("key")) as string[])).toEqual(sorted(ALIKE));
    const pairs = ALIKE.map((key, index) => [2 ** 40 + index, key]);
    expect(sorted((await listed("count", "key")) as [number, string][])).toEqual(sorted(pairs));
  });

  test("has an entry for each row, also for equal rows", async () => {
    for (const key of ["a", "b", "c"]) {
      const row = { key, window_started_at: 0, count: key === "c" ? 2 : 1 };
      await at.one.db.insertInto("sallyport_counters").values(row).execute();
    }
    expect(sorted((await listed("count")) as number[])).toEqual([1, 1, 2]);
    expect(sorted((await listed("count", "count")) as number[][])).toEqual([
      [1, 1],
      [1, 1],
      [2, 2],
    ]);
  });

  test("is empty without rows, and keeps the order of its subquery", async () => {
    expect(await listed("key")).toEqual([]);
    expect(await listed("key", "count")).toEqual([]);
    await addGroups(at.one.db, "b", "c", "a");
    for (const order of ["asc", "desc"] as const) {
      const names = at.one.db.selectFrom("sallyport_groups as g").select("g.name").orderBy("g.name", order);
      const row = await at.one.db
        .selectNoFrom(at.one.listOf(names, "name").as("list"))
        .executeTakeFirstOrThrow();
      expect(parseList(row.list)).toEqual(order === "asc" ? ["a", "b", "c"] : ["c", "b", "a"]);
    }
  });

  test("is built for each row of the outer statement, with null for null values", async () => {
    await addGroups(at.one.db, "Crew", "crew", "none");
    const user = (id: string) => ({ id, is_active: 1, is_superuser: 0, created_at: 1 }) as const;
    await at.one.db
      .insertInto("sallyport_users")
      .values([user("ann"), user("bob")])
      .execute();
    const member = (user_id: string, group_name: string, until_at: number | null) => {
      return { user_id, group_name, until_at, granted_at: 1, granted_by: null, reason: null };
    };
    await at.one.db
      .insertInto("sallyport_user_groups")
      .values([member("ann", "Crew", null), member("bob", "Crew", 2 ** 41), member("ann", "crew", 5)])
      .execute();
    const rows = await at.two.db
      .selectFrom("sallyport_groups as g")
      .select((eb) => {
        const members = eb
          .selectFrom("sallyport_user_groups as m")
          .select(["m.user_id", "m.until_at"])
          .whereRef("m.group_name", "=", "g.name")
          .orderBy("m.user_id");
        return ["g.name", at.two.listOf(members, "user_id", "until_at").as("list")];
      })
      .execute();
    expect(Object.fromEntries(rows.map(({ name, list }) => [name, parseList<unknown>(list)]))).toEqual({
      Crew: [
        ["ann", null],
        ["bob", 2 ** 41],
      ],
      crew: [["ann", 5]],
      none: [],
    });
  });
});

describe("pollExternalChanges", () => {
  test("returns true once after permission changes of another process, and false otherwise", async () => {
    const three = at.open();
    const pollers = [at.one, three];
    const poll = () => Promise.all(pollers.map((database) => database.pollExternalChanges()));
    await poll();
    for (let round = 0; round < 3; round++) {
      expect(await poll()).toEqual([false, false]);
      await announce(at.two);
      await announce(at.two);
      expect(await poll()).toEqual([true, true]);
    }
    expect(await poll()).toEqual([false, false]);
  });

  test("returns true for a change before the first poll", async () => {
    await announce(at.two);
    expect(await at.one.pollExternalChanges()).toBe(true);
  });
});

describe("notification", () => {
  test("can be selected in a change, with or without a listener", async () => {
    const end = at.two.listen(() => undefined);
    const named = at.one.transaction((db) =>
      db
        .insertInto("sallyport_groups")
        .values({ name: "Crew", created_at: 1 })
        .returning(["name", at.one.notification.as("notified")])
        .execute(),
    );
    expect(await named).toEqual([expect.objectContaining({ name: "Crew" })]);
    await at.two.transaction((db) => db.selectNoFrom(at.two.notification.as("notified")).execute());
    const undone = at.one.transaction(async (db) => {
      await db.selectNoFrom(at.one.notification.as("notified")).execute();
      throw new Error("half-way");
    });
    await expect(undone).rejects.toThrow("half-way");
    expect(await groupsIn(at.two.db)).toEqual(["Crew"]);
    await end();
  });
});

/** Resolves when a later listener has been notified. SQLite notifies no listener. */
async function anotherIsNotified(): Promise<void> {
  if (!isPostgres) return;
  let woken = 0;
  const end = at.one.listen(() => woken++);
  await expect.poll(() => woken).toBeGreaterThan(0);
  const before = woken;
  await announce(at.two);
  await expect.poll(() => woken).toBeGreaterThan(before);
  await end();
}

describe("listen", () => {
  test("returns a function that ends the notifications, and the storage still works", async () => {
    let woken = 0;
    const ends = [1, 2].map(() => at.one.listen(() => woken++));
    await announce(at.two);
    for (const end of ends) await end();
    const until = woken;
    for (let round = 0; round < 5; round++) await announce(at.two);
    expect(await new ChangeLog(at.one).last(at.one.db)).toBe(6);
    await anotherIsNotified();
    expect(woken).toBe(until);
  });

  test("can be ended before it has begun", async () => {
    let woken = 0;
    await at.one.listen(() => woken++)();
    await announce(at.two);
    await anotherIsNotified();
    expect(woken).toBe(0);
  });
});

describe("readRow", () => {
  const rowOf = (key: string) =>
    at.one.db.selectFrom("sallyport_counters").select(["key", "count"]).where("key", "=", key).compile();
  const add = (key: string, count: number) =>
    at.two.db.insertInto("sallyport_counters").values({ key, count, window_started_at: 0 }).execute();

  test.skipIf(isPostgres)("reads at most one row synchronously, with its current values", async () => {
    await add("a", 1);
    await add("b", 2);
    // Kysely reads with another call of the driver.
    await at.one.db.executeQuery(rowOf("a"));
    expect(at.one.readRow?.(rowOf("b"))).toEqual({ row: { key: "b", count: 2 } });
    expect(at.one.readRow?.(rowOf("none"))).toEqual({ row: undefined });
    await at.two.db.updateTable("sallyport_counters").set({ count: 7 }).execute();
    expect(at.one.readRow?.(rowOf("a"))).toEqual({ row: { key: "a", count: 7 } });
  });

  test.skipIf(isPostgres)("returns undefined while a transaction has the connection", async () => {
    await add("a", 1);
    await at.one.transaction(async (db) => {
      await db.updateTable("sallyport_counters").set({ count: 2 }).execute();
      expect(at.one.readRow?.(rowOf("a"))).toBeUndefined();
    });
    expect(at.one.readRow?.(rowOf("a"))).toEqual({ row: { key: "a", count: 2 } });
  });

  test.skipIf(!isPostgres)(
    "reads at most one row in one round trip outside a transaction, and throws driver errors",
    async () => {
      await add("a", 1);
      await at.one.transaction(async (db) => {
        await db.updateTable("sallyport_counters").set({ count: 2 }).execute();
        expect(await at.one.readRow?.(rowOf("a"))).toEqual({ row: { key: "a", count: 1 } });
      });
      expect(await at.one.readRow?.(rowOf("a"))).toEqual({ row: { key: "a", count: 2 } });
      expect(await at.one.readRow?.(rowOf("none"))).toEqual({ row: undefined });
      const wrong = at.one.db
        .selectFrom("sallyport_none" as "sallyport_counters")
        .selectAll()
        .compile();
      await expect(at.one.readRow?.(wrong)).rejects.toMatchObject({ code: "42P01" });
    },
  );

  test.skipIf(!isPostgres)("waits behind statements that are part of an event", async () => {
    const order: string[] = [];
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let held = 0;
    const busy = Array.from({ length: 10 }, () =>
      at.one.sharedTransaction(() => {
        held++;
        return released;
      }),
    );
    await expect.poll(() => held).toBe(10);
    const first = Array.from({ length: 50 }, async () => {
      await at.one.readRow?.(rowOf("a"));
      order.push("first");
    });
    const later = (async () => {
      await at.one.db.selectFrom("sallyport_counters").selectAll().execute();
      order.push("later");
    })();
    release();
    await Promise.all([...busy, ...first, later]);
    // Ten of the first reads may have requested a connection before it.
    expect(order.indexOf("later")).toBeLessThan(25);
  });
});

describe("unreachable", () => {
  test("is undefined while connections can be opened", async () => {
    await at.one.db.selectFrom("sallyport_counters").selectAll().execute();
    expect(at.one.unreachable).toBeUndefined();
  });
});

describe("sql", () => {
  test("is Kysely's template tag", async () => {
    const { rows } = await at.one.sql<{ one: number }>`select ${at.one.sql.lit(1)} as one`.execute(at.one.db);
    expect(rows).toEqual([{ one: 1 }]);
  });
});

test("every member of the Database interface has tests with its name", () => {
  const read = (path: string) => readFileSync(join(import.meta.dirname, path), "utf8");
  const membersOf = (name: string, path: string) => {
    const [, body = ""] =
      new RegExp(`^export interface ${name} .*?\\{\\n(.*?)^\\}`, "ms").exec(read(path)) ?? [];
    return [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??[(:<]/gm)].map(([, member]) => member);
  };
  // The operations of `store` have tests of their own.
  const members = [
    ...membersOf("Database", "../../src/storage/database.ts"),
    ...membersOf("Storage", "../../src/storage/store.ts").filter((name) => name !== "store"),
  ];
  const described = ["port.test.ts", "port-writes.test.ts", "port-tables.test.ts"].flatMap((file) =>
    [...read(file).matchAll(/^describe\("(\w+)"/gm)].map(([, name]) => name),
  );
  expect(members.length).toBeGreaterThan(10);
  expect(described.sort()).toEqual(members.sort());
});
