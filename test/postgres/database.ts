import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject } from "vitest";
import { sqlAt } from "./storage-at.ts";

export { changedStorage, searching, sqlAt, storageAt, watchedStorageAt } from "./storage-at.ts";

/** Whether this project's tests run on PostgreSQL. */
export const isPostgres = process.env.TEST_STORAGE === "postgres";

/** The database's clock in its own SQL. */
export const NOW = isPostgres
  ? "(extract(epoch from clock_timestamp()) * 1000)::bigint"
  : "cast(unixepoch('subsec') * 1000 as integer)";

/** A number in SQL, with zeros before it. */
export function padded(number: string, length: number): string {
  return isPostgres ? `lpad((${number})::text, ${length}, '0')` : `printf('%0${length}d', ${number})`;
}

/** An empty database of a test's own. */
export interface TestDatabase {
  /** The SQLite file's path, or a connection string that names a `schema` of its own: for `storageAt`. */
  readonly source: string;
  drop(): Promise<void>;
}

export async function emptyDatabase(): Promise<TestDatabase> {
  if (!isPostgres) {
    const folder = await mkdtemp(join(tmpdir(), "sallyport-test-"));
    return {
      source: join(folder, "test.db"),
      drop: () => rm(folder, { recursive: true, force: true }),
    };
  }
  const server = inject("postgres");
  const schema = `t_${randomBytes(8).toString("hex")}`;
  await sqlAt(server, `create schema ${schema}`);
  const source = new URL(server);
  source.searchParams.set("schema", schema);
  return {
    source: source.href,
    drop: async () => {
      await sqlAt(server, `drop schema ${schema} cascade`);
    },
  };
}
