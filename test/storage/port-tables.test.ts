import { type Kysely, sql } from "kysely";
import { describe, expect, onTestFinished, test } from "vitest";
import { StorageError } from "../../src/errors.ts";
import type { Database } from "../../src/storage/database.ts";
import { runMigrations } from "../../src/storage/migration-runner.ts";
import { emptyDatabase, sqlAt, storageAt, watchedStorageAt } from "../postgres/database.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, type Db, groupsIn } from "./tables.ts";

const at = twoProcesses();

/** Opens a storage on a database without tables. */
async function unmigrated(): Promise<Database & { readonly run: (statement: string) => Promise<unknown> }> {
  const database = await emptyDatabase();
  const storage = storageAt(database.source);
  onTestFinished(async () => {
    await storage.close();
    await database.drop();
  });
  return Object.assign(storage, { run: (statement: string) => sqlAt(database.source, statement) });
}

describe("failure", () => {
  const thrownBy = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      (error: unknown) => error,
    );
  const unknownTable = (name: string) => thrownBy(sql`select * from ${sql.table(name)}`.execute(at.one.db));

  test("of a missing Sallyport table contains the command to run, for every method", async () => {
    const storage = await unmigrated();
    const notMigrated = {
      code: "SALLYPORT_NOT_MIGRATED",
      status: 503,
      message: expect.stringContaining("npx sallyport migrate"),
    };
    const error = await groupsIn(storage.db).catch((thrown: unknown) => thrown);
    expect(error).not.toBeInstanceOf(StorageError);
    const failure = storage.failure(error);
    expect(failure).toBeInstanceOf(StorageError);
    expect(failure).toMatchObject({ ...notMigrated, cause: error });
    for (const way of ["transaction", "sharedTransaction", "execute", "rollbackTransaction"] as const) {
      await expect(storage[way](groupsIn)).rejects.toMatchObject(notMigrated);
    }
  });

  test("returns other errors unchanged", async () => {
    const dateless = { name: "Other", created_at: null as never };
    await addGroups(at.one.db, "Crew");
    const errors = [
      new Error("an app's own"),
      new TypeError("no such table: sallyport_users"),
      new StorageError("told already"),
      undefined,
      null,
      "text",
      await unknownTable("notes"),
      await thrownBy(sql`selekt`.execute(at.one.db)),
      await thrownBy(addGroups(at.one.db, "Crew")),
      await thrownBy(at.one.db.insertInto("sallyport_groups").values(dateless).execute()),
    ];
    expect(errors.filter((error) => error === undefined)).toHaveLength(1);
    for (const error of errors) expect(at.one.failure(error)).toBe(error);
  });

  test("returns an error about a missing table of the app unchanged, despite a similar name", async () => {
    const error = await unknownTable("not_sallyport_notes");
    expect(at.one.failure(error)).toBe(error);
  });
});

describe("migrate", () => {
  const record = (storage: Database, name: string, timestamp: string) =>
    storage.db
      .insertInto("sallyport_migrations" as never)
      .values({ name, timestamp } as never)
      .execute();
  const recorded = async (storage: Database) => {
    const rows = await storage.db
      .selectFrom("sallyport_migrations" as never)
      .select("name" as never)
      .execute();
    return sorted(rows.map(({ name }) => name));
  };

  test("ignores migrations of a newer version, so that an older version can run again", async () => {
    const storage = await unmigrated();
    await storage.migrate();
    await record(storage, "9999_from_the_future", new Date().toISOString());
    expect(await storage.migrate()).toEqual([]);
  });

  test("creates the tables once, and returns the migrations that ran", async () => {
    const storage = await unmigrated();
    const ran = await storage.migrate();
    expect(ran.length).toBeGreaterThan(0);
    expect(sorted(ran)).toEqual(ran);
    expect(await storage.migrate()).toEqual([]);
    expect(await groupsIn(storage.db)).toEqual([]);
    expect(await at.two.migrate()).toEqual([]);
  });

  test("runs once when several processes begin together, also on a missing database", async () => {
    for (let round = 0; round < 6; round++) {
      const database = await emptyDatabase();
      const storages = Array.from({ length: 8 }, () => storageAt(database.source));
      onTestFinished(async () => {
        for (const storage of storages) await storage.close();
        await database.drop();
      });
      await database.drop();
      // All storages are connected first, so that they begin at the same time.
      for (const storage of storages) await sql`select 1`.execute(storage.db);
      const { passed, failed } = await at.race(8, storages, (storage) => storage.migrate());
      expect(failed).toEqual([]);
      expect(passed.filter((names) => names.length > 0)).toHaveLength(1);
      for (const storage of storages) expect(await groupsIn(storage.db)).toEqual([]);
    }
  });

  /** Replaces the table of migrations with the tables as Kysely 0.28 created them. */
  const replaceWithTablesOfKysely = async ({ run }: Awaited<ReturnType<typeof unmigrated>>) => {
    await run("drop table sallyport_migrations");
    await run(
      "create table sallyport_migrations (name varchar(255) not null primary key, timestamp varchar(255) not null)",
    );
    await run(
      "create table sallyport_migrations_lock (id varchar(255) not null primary key, is_locked integer default 0 not null)",
    );
  };

  test("continues a history that Kysely's Migrator began, for any order of its rows", async () => {
    const storage = await unmigrated();
    const names = [...(await storage.migrate()), "9998_later", "9999_last"];
    await replaceWithTablesOfKysely(storage);
    for (const name of names.slice(0, -1).reverse()) await record(storage, name, "2026-11-02T00:00:00.000Z");
    const all = names.map((name) => ({ name, up: (db: Kysely<unknown>) => addGroups(db as Db, name) }));
    const run = () => storage.transaction((db) => runMigrations(db as unknown as Kysely<never>, all, true));
    expect(await run()).toEqual(names.slice(-1));
    expect(await run()).toEqual([]);
    expect(await groupsIn(storage.db)).toEqual(["9999_last"]);
    expect(await recorded(storage)).toEqual(names);
    expect(await storage.migrate()).toEqual([]);
  });

  test("rejects a database of Sallyport 0.1, and changes nothing", async () => {
    const storage = await unmigrated();
    const names = await storage.migrate();
    await replaceWithTablesOfKysely(storage);
    for (const name of ["0002_reasons_and_records", "0001_first_tables"]) {
      await record(storage, name, "2026-11-02T00:00:00.000Z");
    }
    const attempt = storage.migrate();
    await expect(attempt).rejects.toBeInstanceOf(StorageError);
    await expect(attempt).rejects.toThrow(
      'The database was created by Sallyport 0.1 (it has the migration "0001_first_tables"), and its tables cannot be upgraded.',
    );
    expect(await recorded(storage)).toEqual(["0001_first_tables", "0002_reasons_and_records"]);
    await record(storage, names[0] as string, "2026-11-02T00:00:00.000Z");
    await expect(storage.migrate()).rejects.toThrow("was created by Sallyport 0.1");
  });

  test("rejects a history that lacks a migration before the last one, and changes nothing", async () => {
    const storage = await unmigrated();
    const names = [...(await storage.migrate()), "9999_from_the_future"];
    const [first] = names;
    await record(storage, "9999_from_the_future", new Date().toISOString());
    await storage.run(`delete from sallyport_migrations where name = '${first}'`);
    const attempt = storage.migrate();
    await expect(attempt).rejects.toBeInstanceOf(StorageError);
    await expect(attempt).rejects.toThrow(`has the migration "${names.at(-1)}", but lacks "${first}"`);
    expect(await recorded(storage)).toEqual(names.filter((name) => name !== first));
  });

  test("rolls back all migrations of a run that fails, and runs them all the next time", async () => {
    const storage = await unmigrated();
    await storage.run("create table sallyport_rules (kind text)");
    await expect(storage.migrate()).rejects.toThrow(/sallyport_rules.* already exists/);
    await expect(groupsIn(storage.db)).rejects.toThrow();
    await storage.run("drop table sallyport_rules");
    expect(await storage.migrate()).toEqual(await (await unmigrated()).migrate());
  });

  test("keeps the rows of the tables", async () => {
    await addGroups(at.one.db, "Crew");
    await at.two.migrate();
    expect(await groupsIn(at.one.db)).toEqual(["Crew"]);
  });
});

describe("pendingMigrations", () => {
  test("returns the migrations that migrate would run, and changes nothing", async () => {
    const storage = await unmigrated();
    const pending = await storage.pendingMigrations();
    expect(await storage.pendingMigrations()).toEqual(pending);
    expect(await storage.migrate()).toEqual(pending);
    expect(await storage.pendingMigrations()).toEqual([]);
    await storage.run("delete from sallyport_migrations");
    expect(await storage.pendingMigrations()).toEqual(pending);
  });

  test("rejects a database that cannot be migrated", async () => {
    const storage = await unmigrated();
    await storage.migrate();
    await storage.run(
      "update sallyport_migrations set name = '0001_first_tables' where name = '0001_baseline'",
    );
    await expect(storage.pendingMigrations()).rejects.toThrow("was created by Sallyport 0.1");
    await storage.run(
      "update sallyport_migrations set name = '9999_from_the_future' where name = '0001_first_tables'",
    );
    await expect(storage.pendingMigrations()).rejects.toThrow('lacks "0001_baseline"');
  });
});

describe("close", () => {
  test("closes a storage permanently, and no other one", async () => {
    const three = at.open();
    await three.transaction((db) => addGroups(db, "Crew"));
    await three.close();
    await expect(groupsIn(three.db)).rejects.toThrow();
    await expect(three.transaction(groupsIn)).rejects.toThrow();
    await three.close();
    expect(await groupsIn(at.one.db)).toEqual(["Crew"]);
  });

  test("resolves for a storage that was never used", async () => {
    await expect(at.open().close()).resolves.toBeUndefined();
  });

  test("does not close a Kysely instance of the app", async () => {
    await using own = watchedStorageAt(at.source, () => undefined);
    await own.transaction((db) => addGroups(db, "Crew"));
    await own.close();
    expect(await groupsIn(own.db)).toEqual(["Crew"]);
  });
});
