import { readFile, writeFile } from "node:fs/promises";
import { emptyDatabase, isPostgres, sqlAt, storageAt, type TestDatabase } from "./database.ts";

let template: Promise<Buffer> | undefined;
/** Schemas that were migrated and used by an earlier test of this file. They have no rows. */
const spare: Schema[] = [];

interface Schema {
  readonly database: TestDatabase;
  /** The result of {@link formOf} after the migrations. */
  readonly form: string;
}

/**
 * Creates a migrated database without rows for one test.
 * To save time, a SQLite file is copied, and a PostgreSQL schema is emptied and reused.
 */
export async function migratedDatabase(): Promise<TestDatabase> {
  if (!isPostgres) {
    const database = await emptyDatabase();
    template ??= migratedFile();
    await writeFile(database.source, await template, { mode: 0o600 });
    return database;
  }
  const schema = spare.pop() ?? (await migratedSchema());
  const { source } = schema.database;
  return {
    source,
    drop: async () => {
      // A test may have changed tables to those of an earlier version.
      if ((await formOf(source)) !== schema.form) return schema.database.drop();
      await empty(source);
      spare.push(schema);
    },
  };
}

async function migrate(source: string): Promise<void> {
  const storage = storageAt(source);
  await storage.migrate();
  await storage.close();
}

async function migratedFile(): Promise<Buffer> {
  const database = await emptyDatabase();
  await migrate(database.source);
  await sqlAt(database.source, "pragma wal_checkpoint(truncate)");
  const bytes = await readFile(database.source);
  await database.drop();
  return bytes;
}

async function migratedSchema(): Promise<Schema> {
  const database = await emptyDatabase();
  await migrate(database.source);
  return { database, form: await formOf(database.source) };
}

/**
 * Returns a text that changes with the tables, columns, indexes, triggers, functions and
 * migrations of a schema.
 */
async function formOf(source: string): Promise<string> {
  const rows = await sqlAt(
    source,
    `select coalesce(string_agg(form, ',' order by form), '') as form from (
      select relname || '.' || attname || ' ' || atttypid || ' ' || attnotnull as form
        from pg_class join pg_attribute on attrelid = pg_class.oid
        where relnamespace = current_schema()::regnamespace and attnum > 0 and not attisdropped
      union all select tgname from pg_trigger join pg_class on pg_class.oid = tgrelid
        where relnamespace = current_schema()::regnamespace
      union all select proname from pg_proc where pronamespace = current_schema()::regnamespace
      union all select name from sallyport_migrations
    ) as forms`,
  ).catch(() => [{ form: "no migrations" }]);
  return (rows as { form: string }[])[0]?.form ?? "";
}

async function empty(source: string): Promise<void> {
  const tables = (await sqlAt(
    source,
    "select tablename from pg_tables where schemaname = current_schema() and tablename <> 'sallyport_migrations'",
  )) as { tablename: string }[];
  const deleting = tables.map(({ tablename }) => `delete from "${tablename}"`).join("; ");
  // Foreign keys are disabled, so the order of the tables does not matter.
  await sqlAt(source, `set local session_replication_role = replica; ${deleting}`);
}
