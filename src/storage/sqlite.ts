import { type CompiledQuery, type Expression, Kysely, type RawBuilder, sql } from "kysely";
import { ConfigurationError, StorageError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { type Database, isKysely, type RowRead, runInOrder, type Tables, WRITE_CHECK } from "./database.ts";
import { LibsqlDialect } from "./libsql-dialect.ts";
import { findPending, runMigrations } from "./migration-runner.ts";
import { migrations } from "./migrations.ts";
import { storeOf } from "./sql/sql-store.ts";
import type { Storage, Store } from "./store.ts";

export { LibsqlDialect, type LibsqlDialectOptions } from "./libsql-dialect.ts";

/**
 * Returns a storage in a single SQLite file.
 *
 * Use one Kysely instance per file and process. It has one connection. Do not await a call of
 * Sallyport inside a transaction of the app.
 *
 * @param source the path of the file, which `libsql` opens at the first query, or `":memory:"`. Or
 *   the Kysely instance of the app for the file. `close()` does not close such an instance
 * @throws ConfigurationError for any other value, such as the URL of another database
 */
export function sqlite<Own>(source: string | Kysely<Own>): Storage {
  if (typeof source === "string" ? source.trim() === "" : !isKysely(source)) {
    throw new ConfigurationError(
      `sqlite(): the source must be the path of a file, ":memory:" or a Kysely instance, but received ${formatValue(source)}. Write sqlite("data/app.db").`,
    );
  }
  if (typeof source === "string" && /^[a-z][a-z0-9+.-]+:\/\//i.test(source)) {
    // The URL is not repeated in the message, because it may contain a password.
    throw new ConfigurationError(
      `sqlite(): the source must be the path of a file, but received a ${source.slice(0, source.indexOf("/"))} URL. For PostgreSQL, write postgres(source).`,
    );
  }
  if (typeof source !== "string") return new SqliteDatabase(source as unknown as Kysely<Tables>);
  const dialect = new LibsqlDialect({ path: source });
  return new SqliteDatabase(new Kysely<Tables>({ dialect }), dialect);
}

const MIGRATIONS = migrations((table) => table.modifyEnd(sql`without rowid`));

async function hasMigrationTable(db: Kysely<Tables>): Promise<boolean> {
  const { rows } = await sql`select 1 from sqlite_master where name = 'sallyport_migrations'`.execute(db);
  return rows.length > 0;
}

class SqliteDatabase implements Database {
  readonly db: Kysely<Tables>;
  readonly sql = sql;
  readonly now = sql<number>`cast(unixepoch('subsec') * 1000 as integer)`;
  readonly notification = sql`null`;
  readonly #own: LibsqlDialect | undefined;
  #dataVersion: number | undefined;

  /** @param own the dialect of `db` if `sqlite()` created it. It is closed with this object */
  constructor(db: Kysely<Tables>, own?: LibsqlDialect) {
    this.db = db;
    this.#own = own;
  }

  readRow(query: CompiledQuery): RowRead | undefined {
    return this.#own?.readRow(query);
  }

  get store(): Store {
    return storeOf(this);
  }

  listOf(subquery: Expression<unknown>, ...columns: readonly string[]) {
    const refs = columns.map((column) => sql`listed.${sql.ref(column)}`);
    const item = refs.length === 1 ? refs[0] : sql`json_array(${sql.join(refs)})`;
    return sql<unknown>`(select json_group_array(${item}) from ${subquery} as listed)`;
  }

  transaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction(work, sql`commit`);
  }

  /** SQLite has one writer, so the locks of other transactions are respected as well. */
  sharedTransaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.transaction(work);
  }

  executeBatch(statements: readonly CompiledQuery[]): Promise<number> {
    return this.transaction((db) => runInOrder(db, statements));
  }

  readonly supportsWritableCte = false;

  // SQLite in WAL mode syncs at checkpoints only, for all transactions.
  readonly asyncCommit = sql`null`;

  async execute<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    try {
      return await work(this.db);
    } catch (error) {
      throw this.failure(error);
    }
  }

  rollbackTransaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction(work, sql`rollback`);
  }

  async #transaction<Result>(
    work: (db: Kysely<Tables>) => Promise<Result>,
    end: RawBuilder<unknown>,
  ): Promise<Result> {
    try {
      return await this.db.connection().execute(async (connection) => {
        // IMMEDIATE acquires the write lock before the first read, so no other write can occur
        // between.
        await sql`begin immediate`.execute(connection);
        try {
          const result = await work(connection);
          await end.execute(connection);
          return result;
        } catch (error) {
          await sql`rollback`.execute(connection).catch(() => undefined);
          throw error;
        }
      });
    } catch (error) {
      throw this.failure(error);
    }
  }

  async pollExternalChanges(): Promise<boolean> {
    const { rows } = await sql<{ data_version: number }>`pragma data_version`.execute(this.db);
    const version = rows[0]?.data_version;
    const changed = version !== this.#dataVersion;
    this.#dataVersion = version;
    return changed;
  }

  /** Commits the write, so that a full or read-only disk is detected. */
  async checkWritable(): Promise<void> {
    await this.transaction(async (db) => {
      const row = { key: WRITE_CHECK, window_started_at: 0, count: 0 };
      await db
        .insertInto("sallyport_counters")
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      await db.deleteFrom("sallyport_counters").where("key", "=", WRITE_CHECK).execute();
    });
  }

  /** SQLite has no notifications. Polling a file is cheap. */
  listen(): () => Promise<void> {
    return async () => undefined;
  }

  async migrate(): Promise<readonly string[]> {
    return this.transaction(async (db) => {
      return runMigrations(db as unknown as Kysely<never>, MIGRATIONS, await hasMigrationTable(db));
    });
  }

  /** The first statement would create a missing file. */
  async pendingMigrations(): Promise<readonly string[]> {
    const { db } = this;
    const isEmpty = this.#own?.isMissing === true || !(await hasMigrationTable(db));
    const pending = isEmpty ? MIGRATIONS : await findPending(db as unknown as Kysely<never>, MIGRATIONS);
    return pending.map(({ name }) => name);
  }

  async close(): Promise<void> {
    if (this.#own) await this.db.destroy();
  }

  failure(error: unknown): unknown {
    const code = (error as { code?: unknown } | null)?.code;
    if (typeof code !== "string" || !code.startsWith("SQLITE_")) return error;
    const message = (error as Error).message;
    // The message of an insert names the table of a column.
    if (/no such table: sallyport_|table sallyport_\w+ has no column/.test(message)) {
      return new StorageError(`${message}. Run: npx sallyport migrate`, {
        cause: error,
        code: "SALLYPORT_NOT_MIGRATED",
      });
    }
    // Errors of the app's statements, such as a violated constraint, are passed to the app
    // unchanged.
    if (!/^SQLITE_(BUSY|LOCKED|IOERR|FULL|CORRUPT|CANTOPEN|READONLY|NOTADB|PROTOCOL)/.test(code))
      return error;
    return new StorageError(
      `SQLite failed (${code}): ${String(message).replace(/\.$/, "")}. Check that the file is available and writable, then retry.`,
      { cause: error },
    );
  }
}
