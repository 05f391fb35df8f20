import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Sallyport } from "sallyport";
import { benchApp, chat, prepare } from "./bench-app.js";
import { storageOf } from "./event-app.js";
import { pair, type Row } from "./pairs.js";

/** Length of one reading, in milliseconds. */
const READING_MS = 3000;
/** Interval of the timer whose delay is measured, in milliseconds. */
const INTERVAL_MS = 10;

/**
 * Measures how late timers fire in a process that writes to a SQLite file while a second process writes to it as well, against a
 * process that writes alone. A process that waits for the file's lock must not block its event loop.
 */
export async function twoWriters(): Promise<readonly Row[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const source = join(folder, "two-writers.db");
  const storage = storageOf(source);
  const app = benchApp(storage);
  await prepare(app, storage);
  const ours = async () => {
    const other = fork(join(import.meta.dirname, "second-writer.js"), [source]);
    await once(other, "message");
    const latest = await latestTimer(app);
    other.kill();
    await once(other, "exit");
    return latest;
  };
  const row = await pair(
    "two-writers",
    "ms late",
    { ours, floor: () => latestTimer(app) },
    { promise: { most: 100, of: "value" } },
  );
  await app.close();
  await rm(folder, { recursive: true, force: true });
  return [row];
}

/** The largest delay of a timer, in milliseconds, while the app writes. */
async function latestTimer(app: Sallyport): Promise<number> {
  let [latest, expected] = [0, performance.now() + INTERVAL_MS];
  const timer = setInterval(() => {
    latest = Math.max(latest, performance.now() - expected);
    expected = performance.now() + INTERVAL_MS;
  }, INTERVAL_MS);
  const until = performance.now() + READING_MS;
  while (performance.now() < until) {
    await app.access.grant("u2", chat.broadcast);
    await app.access.revoke("u2", chat.broadcast);
    await sleep(1);
  }
  clearInterval(timer);
  return latest;
}
