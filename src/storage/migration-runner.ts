import type { Kysely } from "kysely";
import { StorageError } from "../errors.ts";

/** One step of the schema's history. It only adds, so that the previous version of Sallyport keeps working. */
export interface Migration {
  /** Four digits and a description. Migrations run in the order of their names. */
  readonly name: string;
  up(db: Kysely<unknown>): Promise<void>;
}

/** Columns as Kysely's Migrator created them, which kept this table before. */
interface MigrationTables {
  sallyport_migrations: { name: string; timestamp: string };
}

/**
 * Runs the migrations that a database lacks, in order, and records each one.
 *
 * The caller has begun a transaction that excludes other calls, and commits it. A migration that the database has and
 * this version does not know belongs to a newer version. It stays as it is.
 *
 * @param hasTable whether `sallyport_migrations` exists; created if not
 * @returns the names of the migrations that ran
 * @throws StorageError if the database has a migration that comes after one that it lacks, or was created by Sallyport 0.1
 */
export async function runMigrations(
  transaction: Kysely<never>,
  migrations: readonly Migration[],
  hasTable: boolean,
): Promise<readonly string[]> {
  const db = transaction as unknown as Kysely<MigrationTables>;
  if (!hasTable) await createMigrationTable(db);
  const rows = await db.selectFrom("sallyport_migrations").select("name").execute();
  const done = new Set(rows.map(({ name }) => name));
  const pending = migrations.filter(({ name }) => !done.has(name));
  checkVersion(done);
  checkOrder(done, pending);
  for (const { name, up } of pending) {
    await up(transaction as unknown as Kysely<unknown>);
    const timestamp = new Date().toISOString();
    await db.insertInto("sallyport_migrations").values({ name, timestamp }).execute();
  }
  return pending.map(({ name }) => name);
}

/** CREATE TABLE IF NOT EXISTS needs the CREATE privilege even if the table exists, so the caller checks first. */
async function createMigrationTable(db: Kysely<MigrationTables>): Promise<void> {
  await db.schema
    .createTable("sallyport_migrations")
    .addColumn("name", "text", (column) => column.notNull().primaryKey())
    .addColumn("timestamp", "text", (column) => column.notNull())
    .execute();
}

/** The first migration of Sallyport 0.1, which was never released. */
const FIRST_OF_0_1 = "0001_first_tables";

function checkVersion(done: ReadonlySet<string>): void {
  if (!done.has(FIRST_OF_0_1)) return;
  throw new StorageError(
    `The database was created by Sallyport 0.1 (it has the migration "${FIRST_OF_0_1}"), and its tables cannot be upgraded. ` +
      "Create a new database, or a new schema on PostgreSQL, and run: npx sallyport migrate",
  );
}

function checkOrder(done: ReadonlySet<string>, pending: readonly Migration[]): void {
  const last = [...done].sort().at(-1);
  const missing = pending.find(({ name }) => last !== undefined && name < last);
  if (!missing) return;
  throw new StorageError(
    `The database has the migration "${last}", but lacks "${missing.name}", which comes before it. ` +
      "Migrations run in order, so the table sallyport_migrations was changed by something else, or a migration of " +
      "a newer version does not build on this one. Restore the table from a backup, or run the version of Sallyport " +
      `that made "${last}".`,
  );
}
