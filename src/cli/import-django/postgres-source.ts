import type { Client, QueryResult } from "pg";
import { ConfigurationError } from "../../errors.ts";
import { exportsOf, loadingFailure } from "../../optional-packages.ts";
import {
  type Column,
  cannotRead,
  type DjangoDatabase,
  MAX_TEXT,
  type PageQuery,
  quoteName,
} from "./database.ts";

/** The maximum time to open the connection, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;
/** The maximum time of a statement, in milliseconds. */
const STATEMENT_TIMEOUT_MS = 120_000;

/** What to do about errors, by SQLSTATE or by the code of Node.js. */
const ADVICE: Readonly<Record<string, string>> = {
  "28P01": "Correct the user and the password in --database, or set PGPASSWORD.",
  "28000": "Correct the user in --database.",
  "3D000": "Correct the name of the database in --database.",
  "42501": "Grant SELECT on the tables of Django to this user.",
  "57014": "A statement took longer than two minutes. Run the command again when the server has less load.",
};
const UNREACHABLE = "Check the host and the port in --database, and that the server runs.";

/**
 * Connects to a PostgreSQL database for reading only.
 *
 * @throws ConfigurationError if the server cannot be reached or denies the connection
 */
export async function openPostgresSource(url: string): Promise<DjangoDatabase> {
  const name = nameOf(url);
  const { Client } = await loadDriver();
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: "sallyport import-django",
  });
  // A lost connection is also reported by the next statement.
  client.on("error", () => undefined);
  try {
    await client.connect();
  } catch (cause) {
    throw unreadable(name, cause);
  }
  return new PostgresSource(name, client);
}

async function loadDriver(): Promise<typeof import("pg")> {
  try {
    return exportsOf(await import("pg"));
  } catch (cause) {
    throw new ConfigurationError(
      loadingFailure({ name: "pg", neededBy: "The import from PostgreSQL" }, cause),
      { cause },
    );
  }
}

/** Returns host and database of a URL. The user and the password are left out. */
function nameOf(url: string): string {
  try {
    const { host, pathname, searchParams } = new URL(url);
    const server = host || searchParams.get("host") || "localhost";
    return `${server}${decodeURIComponent(pathname)}`;
  } catch {
    throw new ConfigurationError(
      "--database is no valid URL. Write postgres://user@host:5432/database, and percent-encode special characters of a password.",
    );
  }
}

function unreadable(name: string, cause: unknown): ConfigurationError {
  const { code } = cause as { readonly code?: unknown };
  return cannotRead(name, cause, ADVICE[String(code)] ?? UNREACHABLE);
}

class PostgresSource implements DjangoDatabase {
  readonly name: string;
  readonly #client: Client;

  constructor(name: string, client: Client) {
    this.name = name;
    this.#client = client;
  }

  async columns(table: string): Promise<readonly Column[]> {
    const rows = await this.#all(
      `select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, i.indrelid is not null as pk
       from pg_attribute as a
       left join pg_index as i on i.indrelid = a.attrelid and i.indisprimary and a.attnum = any(i.indkey)
       where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped order by a.attnum`,
      [quoteName(table)],
    );
    return rows.map(({ name, type, pk }) => ({
      name: String(name),
      type: String(type).toLowerCase(),
      isPrimaryKey: pk === true,
    }));
  }

  async tablesWith(column: string): Promise<readonly string[]> {
    const rows = await this.#all(
      `select c.relname as name from pg_class as c join pg_attribute as a on a.attrelid = c.oid
       where c.relkind in ('r', 'p') and a.attname = $1 and pg_table_is_visible(c.oid) order by c.relname`,
      [column],
    );
    return rows.map(({ name }) => String(name));
  }

  async page({ values, from, key, after, limit }: PageQuery) {
    const id = `t.${quoteName(key)}`;
    const selected = Object.entries(values).map(
      ([name, value]) => `, ${textOf(value)} as ${quoteName(name)}`,
    );
    const rows = await this.#all(
      `select cast(${id} as text) as "row key"${selected.join("")} from ${from} ${
        after === undefined ? "" : `where ${id} > $1`
      } order by ${id} limit ${limit}`,
      after === undefined ? [] : [after],
    );
    return rows.map(({ "row key": rowKey, ...texts }) => ({
      key: String(rowKey),
      values: texts as Record<string, string | null>,
    }));
  }

  async count(table: string): Promise<number> {
    const [row] = await this.#all(`select count(*)::text as n from ${quoteName(table)}`);
    return Number(row?.n);
  }

  async duplicates(table: string, column: string, limit: number): Promise<readonly string[]> {
    const value = `t.${quoteName(column)}`;
    const rows = await this.#all(
      `select ${textOf(value)} as "value" from ${quoteName(table)} as t where ${value} is not null group by ${value} having count(*) > 1 limit ${limit}`,
    );
    return rows.map(({ value: text }) => String(text));
  }

  async close(): Promise<void> {
    await this.#client.end().catch(() => undefined);
  }

  /** Each statement has its own read-only transaction, so this also works behind a pooler. */
  async #all(sql: string, parameters: readonly string[] = []): Promise<readonly Record<string, unknown>[]> {
    try {
      await this.#client.query(
        `begin transaction read only; set local statement_timeout = ${STATEMENT_TIMEOUT_MS}`,
      );
      const { rows }: QueryResult<Record<string, unknown>> = await this.#client.query(sql, [...parameters]);
      await this.#client.query("commit");
      return rows;
    } catch (cause) {
      throw unreadable(this.name, cause);
    }
  }
}

/** Returns SQL for a value as text. */
function textOf(value: string): string {
  return `left(cast(${value} as text), ${MAX_TEXT})`;
}
