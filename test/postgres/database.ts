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

/** True if the tests of this project run on PostgreSQL. */
export const isPostgres = process.env.TEST_STORAGE === "postgres";

/**
 * Connections to the server of all tests, for statements that a test does not examine.
 * They are kept, because opening a connection takes longer than most statements.
 */
let helperPool: Pool | undefined;
const MAX_HELPER_CONNECTIONS = 4;
const INT8 = 20;

/**
 * Runs a statement on a database without using the storage of the test.
 * The database of a single test gets a new connection each time. The shared server uses a kept one.
 */
export async function sqlAt(source: string, statement: string): Promise<unknown[]> {
  const url = new URL(searching(source), "file:");
  const server = isPostgres ? new URL(inject("postgres")) : undefined;
  if (url.host !== server?.host || url.pathname !== server.pathname) return sqlOnce(source, statement);
  helperPool ??= new Pool({
    connectionString: server.href,
    max: MAX_HELPER_CONNECTIONS,
    allowExitOnIdle: true,
    types: {
      getTypeParser: ((oid: number, format?: "text" | "binary") =>
        oid === INT8 ? Number : types.getTypeParser(oid, format as "text")) as never,
    },
  });
  // A test may end every connection of the server.
  if (helperPool.listenerCount("error") === 0) helperPool.on("error", () => undefined);
  const client = await helperPool.connect();
  try {
    const path = url.searchParams.get("options")?.replace("-c search_path=", "") ?? "default";
    await client.query(`reset all; set search_path = ${path}`);
    return (await client.query<object>(statement)).rows;
  } finally {
    client.release();
  }
}

/** The SQL expression for the database clock. */
export const NOW = isPostgres
  ? "(extract(epoch from clock_timestamp()) * 1000)::bigint"
  : "cast(unixepoch('subsec') * 1000 as integer)";

/** Returns the time of the database clock, in epoch milliseconds. */
export async function databaseTime(source: string): Promise<number> {
  const [row] = (await sqlAt(source, `select ${NOW} as now`)) as { now: number }[];
  return Number(row?.now);
}

/** Returns the SQL expression for a number with leading zeros. */
export function padded(number: string, length: number): string {
  return isPostgres ? `lpad((${number})::text, ${length}, '0')` : `printf('%0${length}d', ${number})`;
}

/** An empty database for one test. */
export interface TestDatabase {
  /** The path of the SQLite file, or a connection string with a `schema` parameter, for `storageAt`. */
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

/** Creates a PostgreSQL database for one test that reads all connections or locks of a database. */
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
