import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import type { Sallyport } from "sallyport";
import type { Database } from "sallyport/storage/sqlite";
import { benchApp, connectionOf, openSessions, prepare, SECRET } from "./bench-app.js";
import { storageOf } from "./event-app.js";
import { internalsOf } from "./internals.js";
import { pair, type Row } from "./pairs.js";
import { startServer } from "./postgres-server.js";

const SIZES = [1000, 100_000, 1_000_000];
const ROWS_AT_ONCE = 100_000;
const MESSAGES = 2000;

/** What a message costs, one after another, where so many sessions are open, against a thousand. */
export async function growth(): Promise<readonly Row[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const rows = await grow("sqlite", join(folder, "small.db"), join(folder, "large.db"));
  await rm(folder, { recursive: true, force: true });
  const server = await startServer(true);
  const schema = async (name: string) => {
    const storage = storageOf(server.url);
    await sql`create schema ${sql.id(name)}`.execute(storage.db);
    await storage.close();
    const url = new URL(server.url);
    url.searchParams.set("options", `-c search_path=${name}`);
    return url.href;
  };
  const more = await grow("postgres", await schema("small"), await schema("large"));
  await server.stop();
  return [...rows, ...more];
}

async function grow(name: string, smallSource: string, largeSource: string): Promise<readonly Row[]> {
  const small = await open(smallSource);
  const large = await open(largeSource);
  await openSessions(small.storage, 1, 1000);
  const rows: Row[] = [];
  let there = 0;
  for (const size of SIZES) {
    for (; there < size; there = Math.min(size, there + ROWS_AT_ONCE)) {
      await openSessions(large.storage, there + 1, Math.min(size, there + ROWS_AT_ONCE));
    }
    for (const { storage } of [small, large]) await sql`analyze`.execute(storage.db);
    rows.push(
      await pair(
        `growth-${name}-${size}`,
        "µs/message",
        { ours: () => cost(large.app, size), floor: () => cost(small.app, 1000) },
        { promise: { most: 1.15 } },
      ),
    );
  }
  await small.app.close();
  await large.app.close();
  return rows;
}

async function open(source: string): Promise<{ app: Sallyport; storage: Database }> {
  const storage = storageOf(source);
  const app = benchApp(storage);
  await prepare(app, storage);
  return { app, storage };
}

/** Microseconds a message, each of another session. */
async function cost(app: Sallyport, sessions: number): Promise<number> {
  const body = Buffer.from('{"handler":"ping"}');
  const url = new URL("http://bench/ws/chat/default");
  const begun = performance.now();
  for (let n = 0; n < MESSAGES; n++) {
    const connection = connectionOf(1 + Math.floor(Math.random() * sessions));
    const answer = await internalsOf(app).answer({
      method: "POST",
      url,
      header: (name) =>
        name === "connectionId" ? connection : name === "x-sallyport-secret" ? SECRET : undefined,
      body: async () => body,
      get request(): Request {
        throw new Error("no request is needed");
      },
    });
    if (answer?.status !== 200) throw new Error(`a message was answered ${JSON.stringify(answer)}`);
  }
  return ((performance.now() - begun) * 1000) / MESSAGES;
}
