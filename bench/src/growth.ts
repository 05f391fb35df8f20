import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import type { Sallyport } from "sallyport";
import type { Database } from "../../build/storage/database.js";
import { benchApp, connectionIdAt, insertConnections, prepareDatabase, SECRET } from "./bench-app.js";
import { type Comparison, compare } from "./comparison.js";
import { openDatabase } from "./database.js";
import { internalsOf } from "./internals.js";
import { startServer } from "./postgres-server.js";

const SIZES = [1000, 100_000, 1_000_000];
const ROWS_PER_INSERT = 100_000;
const MESSAGES = 2000;

/**
 * Measures the time of sequential messages with 1 000, 100 000 and 1 000 000 open connections, in
 * microseconds per message, without HTTP. The baseline is the same with 1 000.
 */
export async function growth(): Promise<readonly Comparison[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const sqliteRows = await measureGrowth("sqlite", join(folder, "small.db"), join(folder, "large.db"));
  await rm(folder, { recursive: true, force: true });
  const server = await startServer(true);
  const createSchema = async (name: string) => {
    const storage = openDatabase(server.url);
    await sql`create schema ${sql.id(name)}`.execute(storage.db);
    await storage.close();
    const url = new URL(server.url);
    url.searchParams.set("options", `-c search_path=${name}`);
    return url.href;
  };
  const postgresRows = await measureGrowth(
    "postgres",
    await createSchema("small"),
    await createSchema("large"),
  );
  await server.stop();
  return [...sqliteRows, ...postgresRows];
}

async function measureGrowth(
  name: string,
  smallSource: string,
  largeSource: string,
): Promise<readonly Comparison[]> {
  const small = await open(smallSource);
  const large = await open(largeSource);
  await insertConnections(small.storage, 1, 1000);
  const rows: Comparison[] = [];
  let inserted = 0;
  for (const size of SIZES) {
    for (; inserted < size; inserted = Math.min(size, inserted + ROWS_PER_INSERT)) {
      await insertConnections(large.storage, inserted + 1, Math.min(size, inserted + ROWS_PER_INSERT));
    }
    for (const { storage } of [small, large]) await sql`analyze`.execute(storage.db);
    rows.push(
      await compare(
        `growth-${name}-${size}`,
        "µs/message",
        { sallyport: () => messageCost(large.app, size), baseline: () => messageCost(small.app, 1000) },
        { goal: { max: 1.15 } },
      ),
    );
  }
  await small.app.close();
  await large.app.close();
  return rows;
}

async function open(source: string): Promise<{ app: Sallyport; storage: Database }> {
  const storage = openDatabase(source);
  const app = benchApp(storage);
  await prepareDatabase(app, storage);
  return { app, storage };
}

/** Returns the time of a message of a random connection, in microseconds. */
async function messageCost(app: Sallyport, connections: number): Promise<number> {
  const body = Buffer.from('{"handler":"ping"}');
  const url = new URL("http://bench/ws/chat/default");
  const startedAt = performance.now();
  for (let n = 0; n < MESSAGES; n++) {
    const connection = connectionIdAt(1 + Math.floor(Math.random() * connections));
    const response = await internalsOf(app).answer({
      method: "POST",
      url,
      header: (name) =>
        name === "connectionId" ? connection : name === "x-sallyport-secret" ? SECRET : undefined,
      body: async () => body,
      get request(): Request {
        throw new Error("The benchmark has no Request object.");
      },
    });
    if (response?.status !== 200) throw new Error(`A message failed: ${JSON.stringify(response)}`);
  }
  return ((performance.now() - startedAt) * 1000) / MESSAGES;
}
