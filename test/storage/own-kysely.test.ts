import { Kysely, PostgresDialect, sql } from "kysely";
import { Kysely as KyselyNext, PostgresDialect as PostgresDialectNext } from "kysely-next";
import { Pool } from "pg";
import { expect, onTestFinished, test } from "vitest";
import { LibsqlDialect } from "../../src/storage/sqlite.ts";
import { emptyDatabase, isPostgres, searching } from "../postgres/database.ts";
import { postgresDatabase, sqliteDatabase } from "../postgres/storage-at.ts";

const copies = [
  { origin: "the same package", Kysely, PostgresDialect },
  // The types of two copies differ, but an app with two copies can pass either.
  {
    origin: "another copy, of version 0.29",
    Kysely: KyselyNext,
    PostgresDialect: PostgresDialectNext as never,
  },
] as unknown as readonly {
  readonly origin: string;
  readonly Kysely: typeof Kysely;
  readonly PostgresDialect: typeof PostgresDialect;
}[];

test.each(copies)("works on a Kysely instance of the app from $origin", async (copy) => {
  const database = await emptyDatabase();
  const dialect = isPostgres
    ? new copy.PostgresDialect({ pool: new Pool({ connectionString: searching(database.source) }) })
    : new LibsqlDialect({ path: database.source });
  const own = new copy.Kysely<Record<string, never>>({ dialect });
  onTestFinished(async () => {
    await own.destroy();
    await database.drop();
  });
  const storage = isPostgres ? postgresDatabase(own) : sqliteDatabase(own);
  expect((await storage.migrate())[0]).toBe("0001_baseline");
  const counter = { key: "a", window_started_at: 2 ** 40, count: 1 };
  await storage.transaction((db) => db.insertInto("sallyport_counters").values(counter).execute());
  await expect(
    storage.transaction(async (db) => {
      await db.deleteFrom("sallyport_counters").execute();
      await sql`select * from not_a_table`.execute(db);
    }),
  ).rejects.toThrow(/not_a_table/);
  expect(await storage.db.selectFrom("sallyport_counters").selectAll().execute()).toEqual([counter]);
  expect(await storage.migrate()).toEqual([]);
});
