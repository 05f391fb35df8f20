import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ManagementApi } from "sallyport";
import { benchApp, insertConnections, prepareDatabase } from "./bench-app.js";
import { type Comparison, compare } from "./comparison.js";
import { sqliteDatabase } from "./database.js";

const ROWS_PER_INSERT = 100_000;

/**
 * Measures the peak memory that a process adds during a send to 1 000 000 connections, in MiB. The
 * baseline is a send to 10 000.
 */
export async function memory(): Promise<readonly Comparison[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const createDatabase = async (size: number) => {
    const path = join(folder, `${size}.db`);
    const storage = sqliteDatabase(path);
    const app = benchApp(storage);
    await prepareDatabase(app, storage);
    for (let from = 1; from <= size; from += ROWS_PER_INSERT) {
      await insertConnections(storage, from, Math.min(size, from + ROWS_PER_INSERT - 1));
    }
    await app.close();
    return path;
  };
  const [large, small] = [await createDatabase(1_000_000), await createDatabase(10_000)];
  const comparison = await compare(
    "fanout-memory",
    "MiB",
    { sallyport: () => inChild(large), baseline: () => inChild(small) },
    { rounds: 3, goal: { max: 150, of: "value" } },
  );
  await rm(folder, { recursive: true, force: true });
  return [comparison];
}

function inChild(path: string): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), ["send", path]);
  return new Promise((resolve, reject) => {
    child.once("message", (mebibytes) => resolve(mebibytes as number));
    child.once("error", reject);
  });
}

/** A Management API that accepts each call asynchronously. */
const managementApi: ManagementApi = {
  post: () => new Promise((resolve) => setImmediate(() => resolve({ kind: "ok" }))),
  delete: async () => ({ kind: "ok" }),
  close: async () => undefined,
};

async function measureGrowth(path: string): Promise<number> {
  const app = benchApp(sqliteDatabase(path), {
    apiGateway: { client: managementApi, maxRequestsPerSecond: false },
  });
  await app.to({ channel: "rooms/all" }).preview();
  const before = process.memoryUsage.rss();
  let peak = before;
  const sampling = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 5);
  const { sent, recipients } = await app.to({ channel: "rooms/all" }).send({ type: "news" });
  clearInterval(sampling);
  peak = Math.max(peak, process.memoryUsage.rss());
  await app.close();
  if (sent !== recipients) throw new Error(`Only ${sent} of ${recipients} messages were sent.`);
  return (peak - before) / 2 ** 20;
}

if (process.argv[2] === "send") process.send?.(await measureGrowth(process.argv[3] as string));
