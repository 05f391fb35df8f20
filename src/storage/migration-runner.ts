import type { Kysely } from "kysely";
import { StorageError } from "../errors.ts";

/**
 * A change of the schema. It only adds, so that the previous version of Sallyport continues to
 * work.
 */
export interface Migration {
  /** Four digits and a description. Migrations run in the order of their names. */
  readonly name: string;
  up(db: Kysely<unknown>): Promise<void>;
}

/** The columns of the table. Kysely's Migrator created them in earlier versions. */
interface MigrationTables {
  sallyport_migrations: { name: string; timestamp: string };
}

/**
 * Runs the migrations that a database lacks, in order, and records each one.
 *
 * The caller starts a transaction that excludes other calls, and commits it. Unknown migrations in
 * the database belong to a newer version. They are ignored.
 *
 * @param hasTable whether the table `sallyport_migrations` exists. If not, it is created
 * @returns the names of the migrations that ran
 * @throws StorageError if the database has a later migration than one that it lacks, or was created
 *   by Sallyport 0.1
 */
export async function runMigrations(
  transaction: Kysely<never>,
  migrations: readonly Migration[],
  hasTable: boolean,
): Promise<readonly string[]> {
  const db = transaction as unknown as Kysely<MigrationTables>;
  if (!hasTable) await createMigrationTable(db);
  const pending = await findPending(transaction, migrations);
  for (const { name, up } of pending) {
    await up(transaction as unknown as Kysely<unknown>);
    const timestamp = new Date().toISOString();
    await db.insertInto("sallyport_migrations").values({ name, timestamp }).execute();
  }
  return pending.map(({ name }) => name);
}

/**
 * Returns the migrations that a database lacks, in order.
 *
 * @throws StorageError see {@link runMigrations}
 */
export async function findPending(
  reader: Kysely<never>,
  migrations: readonly Migration[],
): Promise<readonly Migration[]> {
  const db = reader as unknown as Kysely<MigrationTables>;
  const rows = await db.selectFrom("sallyport_migrations").select("name").execute();
  const done = new Set(rows.map(({ name }) => name));
  const pending = migrations.filter(({ name }) => !done.has(name));
  checkVersion(done);
  checkOrder(done, pending);
  return pending;
}

/**
 * Creates the table of migrations. CREATE TABLE IF NOT EXISTS needs the CREATE privilege even if
 * the table exists, so the caller checks first.
 */
async function createMigrationTable(db: Kysely<MigrationTables>): Promise<void> {
  await db.schema
    .createTable("sallyport_migrations")
    .addColumn("name", "text", (column) => column.notNull().primaryKey())
    .addColumn("timestamp", "text", (column) => column.notNull())
    .execute();
}

/** The first migration of Sallyport 0.1. That version was never released. */
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
      "Migrations run in order, so another program has changed the table sallyport_migrations, or a migration of " +
      "a newer version does not build on this one. Restore the table from a backup, or run the version of Sallyport " +
      `that contains "${last}".`,
  );
}
