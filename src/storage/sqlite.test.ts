import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kysely, sql } from "kysely";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { sqliteDatabase } from "../../test/postgres/storage-at.ts";
import { ConfigurationError, StorageError } from "../errors.ts";
import { LibsqlDialect } from "./sqlite.ts";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-sqlite-"));
  path = join(folder, "deep", "er", "test.db");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const MIGRATIONS = ["0001_baseline", "0002_lost_channels"];

describe("the SQLite storage", () => {
  test("creates the folder of the file, and its tables once", async () => {
    const storage = sqliteDatabase(path);
    expect(await storage.migrate()).toEqual(MIGRATIONS);
    expect(await storage.migrate()).toEqual([]);
    await storage.close();
  });

  test("rejects the URL of another database, and does not repeat its password", () => {
    const given = () => sqliteDatabase("postgres://app:secret@db.example.com/app");
    expect(given).toThrow(ConfigurationError);
    expect(given).toThrow(/but received a postgres: URL.*write postgres\(source\)/);
    expect(given).not.toThrow(/secret/);
  });

  test("migrates once when several storages start at the same time", async () => {
    const storages = Array.from({ length: 5 }, () => sqliteDatabase(path));
    const ran = await Promise.all(storages.map((storage) => storage.migrate()));
    expect(ran.flat()).toEqual(MIGRATIONS);
    await Promise.all(storages.map((storage) => storage.close()));
  });

  test("rejects a call inside a transaction that waits for the same connection", async () => {
    const storage = sqliteDatabase(path);
    await storage.migrate();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const nested = storage.transaction(() =>
        storage.db.selectFrom("sallyport_users").selectAll().execute(),
      );
      const rejected = expect(nested).rejects.toThrow(/connection was not free for 20 s/);
      await vi.advanceTimersByTimeAsync(20_000);
      await rejected;
    } finally {
      vi.useRealTimers();
    }
    expect(await storage.migrate()).toEqual([]);
    await storage.close();
  });

  test("reports the command to run if the tables are missing", async () => {
    const storage = sqliteDatabase(path);
    const attempt = storage.transaction((db) => db.selectFrom("sallyport_users").selectAll().execute());
    await expect(attempt).rejects.toThrow(/npx sallyport migrate/);
    await expect(attempt).rejects.toBeInstanceOf(StorageError);
    await storage.close();
  });

  test("reports the path of a file that cannot be opened", async () => {
    const storage = sqliteDatabase(folder);
    await expect(storage.migrate()).rejects.toThrow(folder);
  });

  test("rolls back a transaction that fails, and keeps the connection usable", async () => {
    const storage = sqliteDatabase(path);
    await storage.migrate();
    const user = { id: "a", is_active: 1, is_superuser: 0, created_at: 1 } as const;
    const failing = storage.transaction(async (db) => {
      await db.insertInto("sallyport_users").values(user).execute();
      throw new Error("half-way");
    });
    await expect(failing).rejects.toThrow("half-way");
    expect(await storage.db.selectFrom("sallyport_users").selectAll().execute()).toEqual([]);
    await storage.transaction((db) => db.insertInto("sallyport_users").values(user).execute());
    await storage.close();
  });

  test("executes 200 concurrent writes of one process", async () => {
    const storage = sqliteDatabase(path);
    await storage.migrate();
    await Promise.all(
      Array.from({ length: 200 }, (_, n) =>
        storage.transaction((db) =>
          db
            .insertInto("sallyport_users")
            .values({ id: `u${n}`, is_active: 1, is_superuser: 0, created_at: storage.now })
            .execute(),
        ),
      ),
    );
    const { rows } = await sql<{ n: number }>`select count(*) n from sallyport_users`.execute(storage.db);
    expect(rows[0]?.n).toBe(200);
    await storage.close();
  });

  test("uses a Kysely instance of the app and does not close it", async () => {
    const db = new Kysely<{ own: { id: number } }>({ dialect: new LibsqlDialect({ path }) });
    await db.schema.createTable("own").addColumn("id", "integer").execute();
    const storage = sqliteDatabase(db);
    await storage.migrate();
    await storage.transaction((trx) =>
      trx.insertInto("sallyport_groups").values({ name: "g", created_at: 1 }).execute(),
    );
    await storage.close();
    await db.insertInto("own").values({ id: 1 }).execute();
    expect(await db.selectFrom("own").selectAll().execute()).toEqual([{ id: 1 }]);
    await db.destroy();
  });

  test("detects writes of another connection, but not its own", async () => {
    const [mine, other] = [sqliteDatabase(path), sqliteDatabase(path)];
    await mine.migrate();
    await mine.pollExternalChanges();
    expect(await mine.pollExternalChanges()).toBe(false);
    await mine.transaction((db) =>
      db.insertInto("sallyport_groups").values({ name: "own", created_at: 1 }).execute(),
    );
    expect(await mine.pollExternalChanges()).toBe(false);
    await other.transaction((db) =>
      db.insertInto("sallyport_groups").values({ name: "other", created_at: 1 }).execute(),
    );
    expect(await mine.pollExternalChanges()).toBe(true);
    await mine.close();
    await other.close();
  });

  test("returns current column names after another connection changed the table", async () => {
    const [db, other] = [1, 2].map(() => new Kysely<never>({ dialect: new LibsqlDialect({ path }) }));
    if (!db || !other) throw new Error("unreachable");
    await sql`create table people (id integer, old text, role text)`.execute(db);
    await sql`insert into people values (1, 'x', 'admin')`.execute(db);
    const reads = [
      sql<Record<string, unknown>>`select * from people`,
      sql<Record<string, unknown>>`select p.* from people p`,
      sql<Record<string, unknown>>`select id, * from people`,
      sql<Record<string, unknown>>`update people set id = 1 returning *`,
      sql<Record<string, unknown>>`select /* some */ * from people`,
    ];
    for (const read of reads) {
      expect((await read.execute(db)).rows).toEqual([{ id: 1, old: "x", role: "admin" }]);
    }
    await sql`alter table people drop column old`.execute(other);
    await sql`alter table people add column bio text default 'hello'`.execute(other);
    for (const read of reads) {
      expect((await read.execute(db)).rows).toEqual([{ id: 1, role: "admin", bio: "hello" }]);
    }
    const counted = sql`select count(*) as n, max(id) * 2 as twice, (id) * 3 as thrice from people`;
    expect((await counted.execute(db)).rows).toEqual([{ n: 1, twice: 2, thrice: 3 }]);
    await db.destroy();
    await other.destroy();
  });

  test("returns bytes as a Buffer, by name or by *", async () => {
    const db = new Kysely<never>({ dialect: new LibsqlDialect({ path }) });
    await sql`create table blobs (bytes blob)`.execute(db);
    await sql`insert into blobs values (${new Uint8Array([1, 2])})`.execute(db);
    for (const read of [sql`select bytes from blobs`, sql`select * from blobs`]) {
      expect((await read.execute(db)).rows).toEqual([{ bytes: Buffer.from([1, 2]) }]);
    }
    await db.destroy();
  });

  test("binds or rejects values that would crash the driver", async () => {
    const db = new Kysely<never>({ dialect: new LibsqlDialect({ path }) });
    const { rows } =
      await sql`select ${true} t, ${false} f, ${null} n, ${undefined} u, ${new Date(0)} d`.execute(db);
    expect(rows).toEqual([{ t: 1, f: 0, n: null, u: null, d: "1970-01-01T00:00:00.000Z" }]);
    await expect(sql`select ${{ a: 1 }} o`.execute(db)).rejects.toThrow(/type object/);
    // libsql cuts such text off at the NUL when it reads it, so one user id could pass for another.
    await expect(sql`select ${"admin\u0000evil"} o`.execute(db)).rejects.toThrow(/NUL/);
    await expect(sql`select ${Symbol("s")} o`.execute(db)).rejects.toThrow(/type symbol/);
    await db.destroy();
  });
});
