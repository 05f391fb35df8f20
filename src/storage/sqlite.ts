import { type CompiledQuery, type Expression, Kysely, type RawBuilder, sql } from "kysely";
import { ConfigurationError, StorageError } from "../errors.ts";
import { formatValue } from "../format-value.ts";
import { type Database, isKysely, type RowRead, runInOrder, type Tables, WRITE_CHECK } from "./database.ts";
import { LibsqlDialect } from "./libsql-dialect.ts";
import { runMigrations } from "./migration-runner.ts";
import { migrations } from "./migrations.ts";

export { LibsqlDialect, type LibsqlDialectOptions } from "./libsql-dialect.ts";

/**
 * Storage in one SQLite file.
 *
 * @param source the file's path, opened at the first query through `libsql`; or a Kysely that the app already
 *   has for the file, which it shares and keeps. One process should have one Kysely to a file. It has one connection,
 *   so inside a transaction of the app's own no call of Sallyport may be awaited
 * @throws ConfigurationError for a URL, such as PostgreSQL's
 */
export function sqlite<Own>(source: string | Kysely<Own>): Database {
  if (typeof source === "string" ? source.trim() === "" : !isKysely(source)) {
    throw new ConfigurationError(
      `sqlite(): the source must be the path of a file, ":memory:" or a Kysely instance, but received ${formatValue(source)}. Write sqlite("data/app.db").`,
    );
  }
  if (typeof source === "string" && /^[a-z][a-z0-9+.-]+:\/\//i.test(source)) {
    // Not repeated: it may hold a password.
    throw new ConfigurationError(
      `sqlite(): the source must be the path of a file, but received a ${source.slice(0, source.indexOf("/"))} URL. For PostgreSQL write postgres(source).`,
    );
  }
  if (typeof source !== "string") return new SqliteDatabase(source as unknown as Kysely<Tables>);
  const dialect = new LibsqlDialect({ path: source });
  return new SqliteDatabase(new Kysely<Tables>({ dialect }), dialect);
}

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

  /** @param own the dialect of `db`, if it was made here and is closed with this */
  constructor(db: Kysely<Tables>, own?: LibsqlDialect) {
    this.db = db;
    this.#own = own;
  }

  readRow(query: CompiledQuery): RowRead | undefined {
    return this.#own?.readRow(query);
  }

  listOf(subquery: Expression<unknown>, ...columns: readonly string[]) {
    const refs = columns.map((column) => sql`listed.${sql.ref(column)}`);
    const item = refs.length === 1 ? refs[0] : sql`json_array(${sql.join(refs)})`;
    return sql<unknown>`(select json_group_array(${item}) from ${subquery} as listed)`;
  }

  transaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.#transaction(work, sql`commit`);
  }

  /** SQLite has one writer, which also excludes transactions with the same lock. */
  sharedTransaction<Result>(work: (db: Kysely<Tables>) => Promise<Result>): Promise<Result> {
    return this.transaction(work);
  }

  executeBatch(statements: readonly CompiledQuery[]): Promise<number> {
    return this.transaction((db) => runInOrder(db, statements));
  }

  readonly supportsWritableCte = false;

  // SQLite in WAL mode syncs at checkpoints, for all transactions alike.
  readonly commitsLater = sql`null`;

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
        // IMMEDIATE takes the write lock before anything is read, so no later statement can find itself outrun.
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

  /** Committed, so that the disk has to take it. */
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

  /** A file tells nobody; looking at it is cheap. */
  listen(): () => Promise<void> {
    return async () => undefined;
  }

  async migrate(): Promise<readonly string[]> {
    return this.transaction(async (db) => {
      const all = migrations((table) => table.modifyEnd(sql`without rowid`));
      return runMigrations(db as unknown as Kysely<never>, all, await hasMigrationTable(db));
    });
  }

  async close(): Promise<void> {
    if (this.#own) await this.db.destroy();
  }

  failure(error: unknown): unknown {
    const code = (error as { code?: unknown } | null)?.code;
    if (typeof code !== "string" || !code.startsWith("SQLITE_")) return error;
    const message = (error as Error).message;
    if (/no such table: sallyport_/.test(message)) {
      return new StorageError(`${message}. Run: npx sallyport migrate`, {
        cause: error,
        code: "SALLYPORT_NOT_MIGRATED",
      });
    }
    // What an app's own statement does wrong, such as breaking its own constraint, is the app's to hear.
    if (!/^SQLITE_(BUSY|LOCKED|IOERR|FULL|CORRUPT|CANTOPEN|READONLY|NOTADB|PROTOCOL)/.test(code))
      return error;
    return new StorageError(`SQLite failed (${code}): ${message}`, { cause: error });
  }
}
