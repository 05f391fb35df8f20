import { execFile } from "node:child_process";
import { chmod, lstat, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sqliteDatabase } from "../../test/postgres/storage-at.ts";

const run = promisify(execFile);
const BUILT = JSON.stringify(pathToFileURL(join(import.meta.dirname, "../../dist/storage/sqlite.js")).href);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-file-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function modeOf(path: string): Promise<string> {
  return ((await stat(path)).mode & 0o777).toString(8);
}

/** Creates the database and returns the modes of its three files while it is open. */
async function created(source: string, path: string): Promise<readonly string[]> {
  const storage = sqliteDatabase(source);
  await storage.migrate();
  const modes = await Promise.all([path, `${path}-wal`, `${path}-shm`].map(modeOf));
  await storage.close();
  return modes;
}

const PRIVATE = ["600", "600", "600"];

test("creates the file and its folders for the owner only", async () => {
  const path = join(folder, "a", "b", "app.db");
  expect(await created(path, path)).toEqual(PRIVATE);
  expect(await modeOf(join(folder, "a"))).toBe("700");
  expect(await modeOf(join(folder, "a", "b"))).toBe("700");
});

test.each(["0", "022", "077"])(
  "does not depend on the umask %s, and accepts a relative path",
  async (umask) => {
    const script = `
    process.umask(0o${umask});
    const { LibsqlDialect } = await import(${BUILT});
    const driver = new LibsqlDialect({ path: "data/app.db" }).createDriver();
    await driver.init();
    await driver.destroy();`;
    await run(process.execPath, ["--input-type=module", "-e", script], { cwd: folder });
    expect([await modeOf(join(folder, "data")), await modeOf(join(folder, "data/app.db"))]).toEqual([
      "700",
      "600",
    ]);
  },
);

test("is never readable by others, not even before the first table exists", async () => {
  const path = join(folder, "app.db");
  const storage = sqliteDatabase(path);
  const modes = new Set<string>();
  const look = async () => {
    for (const name of await readdir(folder)) {
      // SQLite can remove its journal between the two calls.
      const mode = await modeOf(join(folder, name)).catch(() => undefined);
      if (mode !== undefined) modes.add(mode);
    }
  };
  let isOpen = false;
  const opened = sql`select 1`.execute(storage.db).then(() => {
    isOpen = true;
  });
  while (!isOpen) await look();
  await opened;
  await look();
  await storage.migrate();
  await storage.close();
  expect([...modes]).toEqual(["600"]);
});

test("keeps the modes of existing files and folders, and uses the file's mode for -wal and -shm", async () => {
  const path = join(folder, "shared", "app.db");
  await mkdir(join(folder, "shared"));
  await chmod(join(folder, "shared"), 0o755);
  await writeFile(path, "");
  await chmod(path, 0o640);
  expect(await created(path, path)).toEqual(["640", "640", "640"]);
  expect(await modeOf(join(folder, "shared"))).toBe("755");
});

test("creates the file that a symbolic link names for the owner only", async () => {
  await symlink("there/app.db", join(folder, "linked.db"));
  await symlink("linked.db", join(folder, "link.db"));
  await mkdir(join(folder, "there"));
  const path = join(folder, "link.db");
  const storage = sqliteDatabase(path);
  await storage.migrate();
  await storage.close();
  expect((await lstat(path)).isSymbolicLink()).toBe(true);
  expect(await modeOf(join(folder, "there/app.db"))).toBe("600");
});

test.each([
  ["file:", ""],
  ["file:", "?mode=rwc"],
  ["file:", "?cache=private#x"],
])("creates the file of a %s…%s URI for the owner only", async (scheme, query) => {
  const path = join(folder, "new folder", "app.db");
  expect(await created(`${scheme}${encodeURI(path)}${query}`, path)).toEqual(PRIVATE);
});

test.each([":memory:", "file::memory:", "file:app.db?mode=memory"])(
  "creates no file for %s",
  async (source) => {
    const before = await readdir(".");
    const storage = sqliteDatabase(source);
    await storage.migrate();
    await storage.close();
    expect(await readdir(".")).toEqual(before);
  },
);

test("does not create a file that the URI says must exist", async () => {
  const storage = sqliteDatabase(`file:${folder}/app.db?mode=rw`);
  await expect(storage.migrate()).rejects.toThrow(/Cannot open the SQLite database/);
  expect(await readdir(folder)).toEqual([]);
});

test("keeps the locks of another connection of this process to the file", async () => {
  const path = join(folder, "app.db");
  const first = sqliteDatabase(path);
  await first.migrate();
  await first.db.connection().execute(async (db) => {
    await sql`begin immediate`.execute(db);
    await sql`create table held (a)`.execute(db);
    // A second connection of this process opens the file while the first one holds the write lock.
    const second = sqliteDatabase(path);
    await sql`select 1`.execute(second.db);
    const script = `
      const { LibsqlDialect } = await import(${BUILT});
      const driver = new LibsqlDialect({ path: ${JSON.stringify(path)}, busyTimeoutMs: 1 }).createDriver();
      await driver.init();
      const connection = await driver.acquireConnection();
      await driver.beginTransaction(connection, {}).then(() => console.log("begun"), (error) => console.log(error.code));
      await driver.destroy();`;
    const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script]);
    expect(stdout.trim()).toBe("SQLITE_BUSY");
    await sql`commit`.execute(db);
    await second.close();
  });
  await first.close();
});

test("reports the path and the reason if the file cannot be created", async () => {
  await writeFile(join(folder, "file"), "");
  const storage = sqliteDatabase(join(folder, "file", "app.db"));
  await expect(storage.migrate()).rejects.toThrow(
    /^Cannot create the SQLite database .*app\.db: .*(EEXIST|ENOTDIR)/,
  );
});
