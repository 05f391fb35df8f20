import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ConfigurationError } from "../../errors.ts";
import { loadingFailure } from "../../optional-packages.ts";
import {
  type Column,
  cannotRead,
  type DjangoDatabase,
  MAX_TEXT,
  type PageQuery,
  quoteName,
} from "./database.ts";

/** The part of the `libsql` package that is used here. */
interface LibsqlDatabase {
  prepare(sql: string): { all(parameters: readonly unknown[]): unknown[] };
  close(): void;
}
type LibsqlConstructor = new (path: string, options: { timeout: number }) => LibsqlDatabase;

/** How long a read waits for a write of Django, in milliseconds. */
const BUSY_TIMEOUT_MS = 5000;
/** The maximum number of bytes of a character in UTF-8. */
const CHARACTER_BYTES = 4;
const NO_FILE = "Pass the path of the SQLite file, such as db.sqlite3.";

/**
 * Returns the path of a SQLite file from a path, a `file:` URL or a `sqlite:` URL.
 *
 * As in dj-database-url, `sqlite:///db.sqlite3` is relative and `sqlite:////srv/db.sqlite3` is
 * absolute.
 *
 * @throws ConfigurationError if the URL names no file
 */
export function fileOfUrl(url: string): string {
  const path = pathOf(url);
  if (path === "" || path === ":memory:") {
    throw new ConfigurationError(`--database names no file. ${NO_FILE}`);
  }
  const absolute = `/${path}`;
  const isWrittenAbsolute = /^sqlite:\/\/\//i.test(url) && !existsSync(path) && existsSync(absolute);
  return resolve(isWrittenAbsolute ? absolute : path);
}

function pathOf(url: string): string {
  const [, scheme, rest = ""] = /^(sqlite|file):(.*)$/is.exec(url) ?? [];
  if (scheme === undefined) return url;
  const [path = ""] = rest.split(/[?#]/);
  try {
    if (scheme.toLowerCase() === "file" && path.startsWith("//")) return fileURLToPath(`file:${path}`);
    return decodeURIComponent(path.replace(/^\/\/\//, "").replace(/^\/\//, ""));
  } catch {
    throw new ConfigurationError(`--database is no valid ${scheme}: URL. ${NO_FILE}`);
  }
}

/**
 * Opens a SQLite file for reading only.
 *
 * @throws ConfigurationError if the file does not exist or is no SQLite database
 */
export async function openSqliteSource(path: string): Promise<DjangoDatabase> {
  // libsql would create a missing file.
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new ConfigurationError(`The Django database ${path} is not a file. ${NO_FILE}`);
  }
  let module: { default: LibsqlConstructor };
  try {
    module = (await import("libsql")) as unknown as { default: LibsqlConstructor };
  } catch (cause) {
    throw new ConfigurationError(
      loadingFailure({ name: "libsql", neededBy: "The import from SQLite" }, cause),
      { cause },
    );
  }
  try {
    // libsql ignores its option `readonly`, but SQLite respects the mode of a URI.
    const database = new module.default(`${pathToFileURL(path).href}?mode=ro`, { timeout: BUSY_TIMEOUT_MS });
    const source = new SqliteSource(path, database);
    await source.tablesWith("id");
    return source;
  } catch (cause) {
    if (cause instanceof ConfigurationError) throw cause;
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): ConfigurationError {
  return cannotRead(path, cause, "Check that it is the SQLite database of Django, and that you can read it.");
}

class SqliteSource implements DjangoDatabase {
  readonly name: string;
  readonly #database: LibsqlDatabase;

  constructor(path: string, database: LibsqlDatabase) {
    this.name = path;
    this.#database = database;
  }

  async columns(table: string): Promise<readonly Column[]> {
    const rows = this.#all("select name, type, pk from pragma_table_info(?)", [table]);
    return rows.map(({ name, type, pk }) => ({
      name: String(name),
      type: String(type).toLowerCase(),
      isPrimaryKey: Number(pk) > 0,
    }));
  }

  async tablesWith(column: string): Promise<readonly string[]> {
    const rows = this.#all(
      "select m.name from sqlite_master as m, pragma_table_info(m.name) as c where m.type = 'table' and c.name = ? order by m.name",
      [column],
    );
    return rows.map(({ name }) => String(name));
  }

  /** Pages are read by rowid, because a key can be a text that cannot be bound. */
  async page({ values, from, after, limit }: PageQuery) {
    const selected = Object.entries(values).map(
      ([name, value]) => `, ${bytesOf(value)} as ${quoteName(name)}`,
    );
    const rows = this.#all(
      `select cast(t.rowid as text) as "row key"${selected.join("")} from ${from} ${
        after === undefined ? "" : "where t.rowid > ?"
      } order by t.rowid limit ${limit}`,
      after === undefined ? [] : [after],
    );
    return rows.map(({ "row key": key, ...texts }) => ({
      key: String(key),
      values: Object.fromEntries(Object.entries(texts).map(([name, hex]) => [name, textOf(hex)])),
    }));
  }

  async count(table: string): Promise<number> {
    return Number(this.#all(`select count(*) as n from ${quoteName(table)}`)[0]?.n);
  }

  async duplicates(table: string, column: string, limit: number): Promise<readonly string[]> {
    const value = `t.${quoteName(column)}`;
    const rows = this.#all(
      `select ${bytesOf(value)} as "value" from ${quoteName(table)} as t where typeof(${value}) not in ('null', 'blob') group by cast(${value} as text) having count(*) > 1 limit ${limit}`,
    );
    return rows.flatMap(({ value: hex }) => textOf(hex) ?? []);
  }

  async close(): Promise<void> {
    this.#database.close();
  }

  #all(sql: string, parameters: readonly unknown[] = []): readonly Record<string, unknown>[] {
    try {
      return this.#database.prepare(sql).all(parameters) as Record<string, unknown>[];
    } catch (cause) {
      throw unreadable(this.name, cause);
    }
  }
}

/**
 * Returns SQL for the bytes of a value as hexadecimal text. libsql cuts a text at a NUL character,
 * so that one user id could become another.
 */
function bytesOf(value: string): string {
  const bytes = `substr(cast(cast(${value} as text) as blob), 1, ${MAX_TEXT * CHARACTER_BYTES})`;
  return `case when typeof(${value}) in ('null', 'blob') then null else hex(${bytes}) end`;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Returns the text of hexadecimal bytes, or null if they are not UTF-8. */
function textOf(hex: unknown): string | null {
  if (typeof hex !== "string") return null;
  const bytes = Buffer.from(hex, "hex");
  // A longer text was cut, possibly within a character. It is too long for every use.
  if (bytes.length >= MAX_TEXT * CHARACTER_BYTES) return bytes.toString("utf8");
  try {
    return UTF8.decode(bytes);
  } catch {
    return null;
  }
}
