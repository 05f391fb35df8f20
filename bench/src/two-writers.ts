import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Sallyport } from "sallyport";
import { benchApp, chat, prepareDatabase } from "./bench-app.js";
import { type Comparison, compare } from "./comparison.js";
import { openDatabase } from "./database.js";

/** Length of one reading, in milliseconds. */
const READING_MS = 3000;
/** Interval of the measured timer, in milliseconds. */
const INTERVAL_MS = 10;

/**
 * Measures the largest delay of a timer, in milliseconds, while two processes write to a SQLite
 * file. The baseline is one process that writes. A process that waits for the lock of the file must
 * not block its event loop.
 */
export async function twoWriters(): Promise<readonly Comparison[]> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
  const source = join(folder, "two-writers.db");
  const storage = openDatabase(source);
  const app = benchApp(storage);
  await prepareDatabase(app, storage);
  const withSecondWriter = async () => {
    const other = fork(join(import.meta.dirname, "second-writer.js"), [source]);
    await once(other, "message");
    const delayMs = await maxTimerDelay(app);
    other.kill();
    await once(other, "exit");
    return delayMs;
  };
  const comparison = await compare(
    "two-writers",
    "ms late",
    { sallyport: withSecondWriter, baseline: () => maxTimerDelay(app) },
    { goal: { max: 100, of: "value" } },
  );
  await app.close();
  await rm(folder, { recursive: true, force: true });
  return [comparison];
}

/** Returns the largest delay of a timer while the app writes, in milliseconds. */
async function maxTimerDelay(app: Sallyport): Promise<number> {
  let [maxDelayMs, expected] = [0, performance.now() + INTERVAL_MS];
  const timer = setInterval(() => {
    maxDelayMs = Math.max(maxDelayMs, performance.now() - expected);
    expected = performance.now() + INTERVAL_MS;
  }, INTERVAL_MS);
  const until = performance.now() + READING_MS;
  while (performance.now() < until) {
    await app.access.grant("u2", chat.broadcast);
    await app.access.revoke("u2", chat.broadcast);
    await sleep(1);
  }
  clearInterval(timer);
  return maxDelayMs;
}
