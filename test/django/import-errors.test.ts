import { spawn } from "node:child_process";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/cli/main.ts";
import { bin, commandLineWith, document, root } from "../integration/command-line.ts";
import { isPostgres, sqlAt, type TestDatabase } from "../postgres/database.ts";
import { migratedDatabase } from "../postgres/migrated-database.ts";
import { djangoDatabase, type TestDjango, usersSql } from "./django-database.ts";

let folder: string;
let target: TestDatabase;
let django: TestDjango;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-import-"));
  [target, django] = await Promise.all([migratedDatabase(), djangoDatabase("default")]);
  expect((await command("migrate")).code).toBe(0);
});
afterAll(async () => {
  await Promise.all([target.drop(), django.drop(), rm(folder, { recursive: true, force: true })]);
});

const command = (...args: readonly string[]) =>
  commandLineWith(args, { TEST_DATABASE: target.source }, folder);

/** Runs the command in this process, which is faster. */
async function failure(...args: readonly string[]): Promise<string> {
  const [printed, complaints]: [string[], string[]] = [[], []];
  process.env.TEST_DATABASE = target.source;
  const app = ["--app", join(root, "test/processes/app.ts")];
  const code = await run(
    [...app, "import-django", ...args],
    (line) => printed.push(line),
    (line) => complaints.push(line),
  );
  expect({ code, printed, lines: complaints.length }).toEqual({ code: 1, printed: [], lines: 1 });
  expect(complaints[0]).not.toMatch(/[\n\r]/);
  return complaints[0] ?? "";
}

describe("errors of import-django are one line with advice", () => {
  test.each([
    ["mysql://root:secret@localhost/shop", /MySQL database.*SQLite file.*manage\.py dumpdata/],
    ["oracle://root:secret@localhost/shop", /Oracle database.*manage\.py loaddata/],
    ["mysql+pymysql://root:secret@localhost/shop", /MySQL database/],
    ["https://root:secret@example.com/", /is a https: URL.*Correct the URL/],
    ["postgis://root:secret@localhost/shop", /is a postgis: URL.*Correct the URL/],
    ["postgres://root:secret@127.0.0.1:1/shop", /127\.0\.0\.1:1\/shop.*ECONNREFUSED.*Check the host/],
    ["postgres://root:sec%ret@[/shop", /no valid URL.*percent-encode/],
    ["", /is empty/],
    ["  ", /is empty/],
    ["a\0b", /NUL/],
    [":memory:", /names no file/],
    ["sqlite:", /names no file/],
    ["file://%zz", /no valid file: URL|names no file/],
    ["sqlite:%zz", /no valid sqlite: URL/],
    ["no-such.sqlite3", /no-such\.sqlite3 is not a file.*Pass the path/],
    [".", /is not a file/],
  ])("%j", async (url, message) => {
    const line = await failure("--database", url);
    expect(line).toMatch(message);
    expect(line).not.toContain("secret");
  });

  test("a missing option", async () => {
    expect(await failure()).toContain("required option '--database <url>' not specified");
  });

  test("a file that is no database", async () => {
    const file = join(folder, "text.sqlite3");
    await writeFile(file, "This is no database. ".repeat(100));
    expect(await failure("--database", file)).toMatch(
      /text\.sqlite3.*not a database.*Check that it is the SQLite/,
    );
  });

  test("a database without the tables of Django", async () => {
    expect(await failure("--database", isPostgres ? `${django.url}_no_schema` : target.source)).toMatch(
      /has no table auth_group, so it does not contain the tables of django\.contrib\.auth\. .*search_path/,
    );
  });

  test("a user table that does not exist, with a name that must be quoted", async () => {
    expect(await failure("--database", django.url, "--user-table", 'x"; drop table auth_user; --')).toMatch(
      /has no table "x"; drop table auth_user; --"\. These look like user tables: auth_user\./,
    );
    expect(await failure("--database", django.url, "--user-table", "")).toMatch(/--user-table is empty/);
  });

  test("a column that does not exist, which SQLite would read as a text", async () => {
    expect(await failure("--database", django.url, "--user-id-column", "e-mail")).toMatch(
      /has no column "e-mail"\. Pass one of these to --user-id-column: .*email/,
    );
  });

  test("a table of the user model with an unknown column", async () => {
    const broken = await djangoDatabase("default");
    await broken.run("alter table auth_user_groups add column extra integer");
    expect(await failure("--database", broken.url)).toMatch(/"auth_user_groups" must have.*extra.*Restore/);
    await broken.drop();
  });

  test("a column that many users share", async () => {
    const shared = await djangoDatabase("default");
    const users = Array.from({ length: 2004 }, (_, id) => ({ id: id + 1, email: `user${id >> 1}` }));
    await shared.run(usersSql(users));
    const { code, err } = await command(
      "import-django",
      "--database",
      shared.url,
      "--user-id-column",
      "email",
    );
    expect(code).toBe(1);
    expect(err).toMatch(
      /^sallyport: More than 1000 values of the column "email" belong to several users.*Pass another column.*\n$/,
    );
    await shared.drop();
  });

  test.runIf(isPostgres)("a wrong password (PostgreSQL only)", async () => {
    const url = new URL(django.url);
    [url.username, url.password] = ["nobody", "wrong-secret"];
    const line = await failure("--database", url.href);
    expect(line).toMatch(/\(28P01\).*Correct the user and the password/);
    expect(line).not.toContain("wrong-secret");
  });

  test.runIf(isPostgres)("a database that does not exist (PostgreSQL only)", async () => {
    const url = new URL(django.url);
    url.pathname = "/no_such_database";
    expect(await failure("--database", url.href)).toMatch(/\(3D000\).*Correct the name of the database/);
  });
});

describe("import-django as a command", () => {
  test("prints one JSON document with --json, and leaves the database of Django unchanged", async () => {
    const before = isPostgres ? undefined : await stat(django.url);
    await django.run(usersSql([{ id: 1 }]));
    const size = isPostgres ? undefined : await stat(django.url);
    expect(document(await command("import-django", "--database", django.url, "--json"))).toMatchObject({
      applied: false,
      counts: { users: { added: 1 } },
      gateways: [],
    });
    if (before) expect((await stat(django.url)).mtimeMs).toBe(size?.mtimeMs);
    const { code, out } = await command("import-django", "--database", django.url);
    expect([code, out.split("\n")[0]]).toEqual([0, "Dry run, nothing has changed. With --apply:"]);
  });

  test("finishes the rest after SIGKILL in the middle", async () => {
    const users = Array.from({ length: 20_000 }, (_, id) => ({ id: id + 1, active: id % 3 > 0 }));
    const large = await djangoDatabase("default");
    await large.run("insert into auth_group (id, name) values (1, 'Crew')");
    for (let from = 0; from < users.length; from += 5000) {
      const page = users.slice(from, from + 5000);
      const members = page.map(({ id }) => `(${id}, ${id}, 1)`).join(", ");
      await large.run(
        `${usersSql(page)} insert into auth_user_groups (id, user_id, group_id) values ${members};`,
      );
    }
    const count = async (table: string) =>
      Number(((await sqlAt(target.source, `select count(*) as n from ${table}`)) as { n: number }[])[0]?.n);
    const child = spawn(process.execPath, [bin, "import-django", "--database", large.url, "--apply"], {
      env: {
        ...process.env,
        SALLYPORT_APP: join(root, "test/processes/app.ts"),
        TEST_DATABASE: target.source,
      },
      cwd: folder,
      stdio: "ignore",
    });
    const ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? code)));
    while ((await count("sallyport_user_groups")) === 0 && child.exitCode === null) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    child.kill("SIGKILL");
    expect(await ended).toBe("SIGKILL");
    expect(await count("sallyport_user_groups")).toBeLessThan(users.length);
    const second = document(await command("import-django", "--database", large.url, "--apply", "--json"));
    expect((second as { counts: { memberships: { kept: number } } }).counts.memberships.kept).toBeGreaterThan(
      0,
    );
    const third = document(await command("import-django", "--database", large.url, "--json"));
    expect(third).toMatchObject({
      counts: {
        users: { kept: users.length, added: 0, changed: 0 },
        memberships: { kept: users.length, added: 0 },
      },
    });
    await large.drop();
  });
});
