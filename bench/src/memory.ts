import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ManagementApi } from "sallyport";
import { sqlite } from "sallyport/storage/sqlite";
import { benchApp, openSessions, prepare } from "./bench-app.js";
import { pair, type Row } from "./pairs.js";

const ROWS_AT_ONCE = 100_000;

/** By how many MiB a process grows at most while it sends to a million, against ten thousand. */
export async function memory(): Promise<readonly Row[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const database = async (size: number) => {
    const path = join(folder, `${size}.db`);
    const storage = sqlite(path);
    const app = benchApp(storage);
    await prepare(app, storage);
    for (let from = 1; from <= size; from += ROWS_AT_ONCE) {
      await openSessions(storage, from, Math.min(size, from + ROWS_AT_ONCE - 1));
    }
    await app.close();
    return path;
  };
  const [large, small] = [await database(1_000_000), await database(10_000)];
  const row = await pair(
    "fanout-memory",
    "MiB",
    { ours: () => inChild(large), floor: () => inChild(small) },
    { rounds: 3, promise: { most: 150, of: "value" } },
  );
  await rm(folder, { recursive: true, force: true });
  return [row];
}

function inChild(path: string): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), ["send", path]);
  return new Promise((resolve, reject) => {
    child.once("message", (mebibytes) => resolve(mebibytes as number));
    child.once("error", reject);
  });
}

/** A gateway that takes everything a moment later. */
const gateway: ManagementApi = {
  post: () => new Promise((resolve) => setImmediate(() => resolve({ kind: "ok" }))),
  delete: async () => ({ kind: "ok" }),
  close: async () => undefined,
};

async function growthOf(path: string): Promise<number> {
  const app = benchApp(sqlite(path), { apiGateway: { client: gateway, maxRequestsPerSecond: false } });
  await app.to({ channel: "rooms/all" }).preview();
  const before = process.memoryUsage.rss();
  let most = before;
  const look = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 5);
  const { sent, recipients } = await app.to({ channel: "rooms/all" }).send({ type: "news" });
  clearInterval(look);
  most = Math.max(most, process.memoryUsage.rss());
  await app.close();
  if (sent !== recipients) throw new Error(`only ${sent} of ${recipients} were sent`);
  return (most - before) / 2 ** 20;
}

if (process.argv[2] === "send") process.send?.(await growthOf(process.argv[3] as string));
