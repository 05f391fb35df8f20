import type { Kysely } from "kysely";
import { type PostgresOptions, postgres } from "sallyport/storage/postgres";
import { sqlite } from "sallyport/storage/sqlite";
import type { Database } from "../../build/storage/database.js";

/** Opens a SQLite database, with its internal members. */
export function sqliteDatabase(source: string | Kysely<never>): Database {
  return sqlite(source) as unknown as Database;
}

/** Opens a PostgreSQL database, with its internal members. */
export function postgresDatabase(source: string | Kysely<never>, options?: PostgresOptions): Database {
  return postgres(source, options) as unknown as Database;
}

/** Opens a PostgreSQL database by its URL, or a SQLite database by its path. */
export function openDatabase(source: string): Database {
  return source.startsWith("postgres:") ? postgresDatabase(source) : sqliteDatabase(source);
}
