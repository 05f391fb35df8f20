import { CompiledQuery, Kysely, type LogEvent, PostgresDialect } from "kysely";
import { Pool } from "pg";
import type { Database } from "../../src/storage/database.ts";
import { type PostgresOptions, postgres } from "../../src/storage/postgres.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import { LibsqlDialect, sqlite } from "../../src/storage/sqlite.ts";

/** `sqlite()`, with the members that only Sallyport itself uses. */
export const sqliteDatabase = <Own>(source: string | Kysely<Own>) => sqlite(source) as Database;

/** `postgres()`, with the members that only Sallyport itself uses. */
export const postgresDatabase = <Own>(source: string | Kysely<Own> | undefined, options?: PostgresOptions) =>
  postgres(source, options) as Database;

/** Opens the storage of a test database: a SQLite file, or a connection string with a `schema`. */
export function storageAt(source: string): Database {
  if (!source.startsWith("postgres:")) return sqliteDatabase(source);
  const { url, options } = schemaOf(source);
  return postgresDatabase(url, options);
}

/** Opens the storage over a Kysely instance that reports each statement it sends. */
export function watchedStorageAt(
  source: string,
  onStatement: (sql: string, query: CompiledQuery) => void,
): Database & AsyncDisposable {
  const log = (event: LogEvent) => onStatement(event.query.sql, event.query);
  const { url, options } = schemaOf(source);
  const kysely = source.startsWith("postgres:")
    ? new Kysely({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: url }) }), log })
    : new Kysely({ dialect: new LibsqlDialect({ path: source }), log });
  const storage = source.startsWith("postgres:") ? postgresDatabase(kysely, options) : sqliteDatabase(kysely);
  return Object.assign(storage, { [Symbol.asyncDispose]: () => kysely.destroy() });
}

/** Returns the storage with some of its methods replaced. */
export function changedStorage(storage: Database, changes: Partial<Database>): Database {
  const changed: Database = new Proxy(storage, {
    get(target, name) {
      if (name in changes) return Reflect.get(changes, name) as unknown;
      // The operations of the store must use the changed methods.
      if (name === "store") return storeOf(changed);
      const value = Reflect.get(target, name, target) as unknown;
      // The template tag `sql` has its own functions, such as `sql.lit`.
      return typeof value === "function" && name !== "sql" ? value.bind(target) : value;
    },
  });
  return changed;
}

/**
 * Opens the storage and reports each poll for changes of other processes.
 * A poll has finished when the next one begins.
 */
export function observedStorageAt(source: string, onLook: () => void): Database {
  const storage = storageAt(source);
  return changedStorage(storage, {
    pollExternalChanges: () => {
      onLook();
      return storage.pollExternalChanges();
    },
  });
}

/**
 * Opens storages with polls that do not finish before `release` is called.
 * Call `release` before the storages are closed.
 */
export function withHeldLooks(): { readonly storage: (source: string) => Database; release(): void } {
  let release: () => void = () => undefined;
  const held = new Promise<boolean>((resolve) => {
    release = () => resolve(false);
  });
  return {
    storage: (source) => changedStorage(storageAt(source), { pollExternalChanges: () => held }),
    release,
  };
}

function schemaOf(source: string): { readonly url: string; readonly options: { readonly schema?: string } } {
  if (!source.startsWith("postgres:")) return { url: source, options: {} };
  const url = new URL(source);
  const schema = url.searchParams.get("schema");
  url.searchParams.delete("schema");
  return { url: url.href, options: schema === null ? {} : { schema } };
}

/** Returns the source with its schema as the search path of the connection. */
export function searching(source: string): string {
  if (!source.startsWith("postgres:")) return source;
  const { url, options } = schemaOf(source);
  if (options.schema === undefined) return url;
  const found = new URL(url);
  found.searchParams.set("options", `-c search_path=${options.schema}`);
  return found.href;
}

/** Runs a statement on a database over a new connection. */
export async function sqlOnce(source: string, statement: string): Promise<unknown[]> {
  const storage = storageAt(searching(source));
  try {
    return (await storage.db.executeQuery<unknown>(CompiledQuery.raw(statement))).rows;
  } finally {
    await storage.close();
  }
}
