import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { emptyDatabase, isPostgres, searching, sqlAt } from "../postgres/database.ts";

type Layout = "default" | "custom" | "package";

/** A database with the tables of Django: a SQLite file, or a schema of PostgreSQL. */
export interface TestDjango {
  /** The value of `--database`. */
  readonly url: string;
  /** Runs SQL statements. */
  run(sql: string): Promise<void>;
  drop(): Promise<void>;
}

const require = createRequire(import.meta.url);

/** Creates a database with the given tables, and the permissions of an app `shop`. */
export async function djangoDatabase(...layouts: readonly Layout[]): Promise<TestDjango> {
  const database = await emptyDatabase();
  const url = isPostgres ? searching(database.source) : database.source;
  const run = (sql: string) => executeSql(database.source, sql);
  for (const layout of layouts) await run(await layoutSql(layout));
  await run(`
    insert into django_content_type (id, app_label, model) values (1, 'shop', 'article'), (2, 'news', 'article');
    insert into auth_permission (id, content_type_id, codename, name) values
      (1, 1, 'add_article', 'Can add article'), (2, 1, 'change_article', 'Can change article'),
      (3, 2, 'add_article', 'Can add article');
  `);
  return { url, run, drop: database.drop };
}

/** Returns the SQL of a layout for the database of this project. */
export function layoutSql(layout: Layout): Promise<string> {
  const file = `${layout}-${isPostgres ? "postgres" : "sqlite"}.sql`;
  return readFile(join(import.meta.dirname, "layout", file), "utf8");
}

/** Runs SQL statements on a test database. */
export async function executeSql(source: string, sql: string): Promise<void> {
  if (isPostgres) {
    await sqlAt(source, sql);
    return;
  }
  const Database = require("libsql") as new (path: string) => { exec(sql: string): void; close(): void };
  const database = new Database(source);
  try {
    database.exec(sql);
  } finally {
    database.close();
  }
}

/** A user of Django. */
export interface DjangoUser {
  /** A number, or a UUID with hyphens. */
  readonly id: number | string;
  readonly username?: string;
  readonly email?: string;
  readonly active?: boolean;
  readonly superuser?: boolean;
}

/** Returns SQL that creates users. */
export function usersSql(users: readonly DjangoUser[], table = "auth_user"): string {
  const rows = users.map(
    ({ id, username = `user${id}`, email = "", active = true, superuser = false }) =>
      `(${[idSql(id), text(username), text(email), flag(active), flag(superuser)].join(", ")}, '', '', '', ${flag(false)}, '2030-01-01 00:00:00+00')`,
  );
  return `insert into ${table} (id, username, email, is_active, is_superuser, password, first_name, last_name, is_staff, date_joined) values ${rows.join(", ")};`;
}

/** Returns SQL for a primary key. SQLite stores a UUID without hyphens. */
export function idSql(id: number | string): string {
  return typeof id === "number" ? String(id) : text(isPostgres ? id : id.replaceAll("-", ""));
}

/** Returns SQL for a text. */
export function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** Returns SQL for a truth value. */
export function flag(value: boolean): string {
  return isPostgres ? String(value) : value ? "1" : "0";
}
