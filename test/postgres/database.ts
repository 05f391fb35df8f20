import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool, types } from "pg";
import { inject } from "vitest";
import { searching, sqlOnce } from "./storage-at.ts";

export {
  changedStorage,
  observedStorageAt,
  searching,
  storageAt,
  watchedStorageAt,
  withHeldLooks,
} from "./storage-at.ts";

/** Whether this project's tests run on PostgreSQL. */
export const isPostgres = process.env.TEST_STORAGE === "postgres";

/** Connections to the server of all tests, for statements that are not part of what a test examines. A new one takes longer than most of them. */
let beside: Pool | undefined;
const MOST_BESIDE = 4;
const INT8 = 20;

/**
 * Runs a statement on a database without any storage of the test. In a database of a test's own, the statement has its own connection,
 * and elsewhere it uses one that is kept.
 */
export async function sqlAt(source: string, statement: string): Promise<unknown[]> {
  const url = new URL(searching(source), "file:");
  const server = isPostgres ? new URL(inject("postgres")) : undefined;
  if (url.host !== server?.host || url.pathname !== server.pathname) return sqlOnce(source, statement);
  beside ??= new Pool({
    connectionString: server.href,
    max: MOST_BESIDE,
    allowExitOnIdle: true,
    types: {
      getTypeParser: ((oid: number, format?: "text" | "binary") =>
        oid === INT8 ? Number : types.getTypeParser(oid, format as "text")) as never,
    },
  });
  // A test may end every connection of the server.
  if (beside.listenerCount("error") === 0) beside.on("error", () => undefined);
  const client = await beside.connect();
  try {
    const path = url.searchParams.get("options")?.replace("-c search_path=", "") ?? "default";
    await client.query(`reset all; set search_path = ${path}`);
    return (await client.query<object>(statement)).rows;
  } finally {
    client.release();
  }
}

/** The database's clock in its own SQL. */
export const NOW = isPostgres
  ? "(extract(epoch from clock_timestamp()) * 1000)::bigint"
  : "cast(unixepoch('subsec') * 1000 as integer)";

/** The time by the clock of the database at a source, in epoch milliseconds. */
export async function databaseTime(source: string): Promise<number> {
  const [row] = (await sqlAt(source, `select ${NOW} as now`)) as { now: number }[];
  return Number(row?.now);
}

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

/** A PostgreSQL database of a test's own, for tests that look at every connection or lock of a database. */
export async function ownDatabase(): Promise<TestDatabase> {
  const server = inject("postgres");
  const name = `own_${randomBytes(8).toString("hex")}`;
  await sqlAt(server, `create database ${name}`);
  const source = new URL(server);
  source.pathname = `/${name}`;
  return {
    source: source.href,
    drop: async () => {
      await sqlAt(server, `drop database ${name} with (force)`);
    },
  };
}
