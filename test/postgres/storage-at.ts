import { CompiledQuery } from "kysely";
import type { Database } from "../../src/storage/database.ts";
import { postgres } from "../../src/storage/postgres.ts";
import { sqlite } from "../../src/storage/sqlite.ts";

/** The storage at a test database's source: a SQLite file's path, or a connection string that may name a `schema`. */
export function storageAt(source: string): Database {
  if (!source.startsWith("postgres:")) return sqlite(source);
  const url = new URL(source);
  const schema = url.searchParams.get("schema");
  url.searchParams.delete("schema");
  return postgres(url.href, schema === null ? {} : { schema });
}

/** The same source, where the schema is found by the connection's search path. */
export function searching(source: string): string {
  if (!source.startsWith("postgres:")) return source;
  const url = new URL(source);
  const schema = url.searchParams.get("schema");
  url.searchParams.delete("schema");
  if (schema !== null) url.searchParams.set("options", `-c search_path=${schema}`);
  return url.href;
}

/** Runs a statement on a database behind everybody's back. */
export async function sqlAt(source: string, statement: string): Promise<unknown[]> {
  const storage = storageAt(searching(source));
  try {
    return (await storage.db.executeQuery<unknown>(CompiledQuery.raw(statement))).rows;
  } finally {
    await storage.close();
  }
}
