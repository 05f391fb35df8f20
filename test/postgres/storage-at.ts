import { CompiledQuery } from "kysely";
import type { Database } from "../../src/storage/database.ts";
import { postgres } from "../../src/storage/postgres.ts";
import { sqlite } from "../../src/storage/sqlite.ts";

/** The storage at a test database's source. */
export function storageAt(source: string): Database {
  return source.startsWith("postgres:") ? postgres(source) : sqlite(source);
}

/** Runs a statement on a database behind everybody's back. */
export async function sqlAt(source: string, statement: string): Promise<unknown[]> {
  const storage = storageAt(source);
  try {
    return (await storage.db.executeQuery<unknown>(CompiledQuery.raw(statement))).rows;
  } finally {
    await storage.close();
  }
}
