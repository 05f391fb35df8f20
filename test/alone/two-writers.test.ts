import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sqlite } from "../../src/storage/sqlite.ts";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-writers-"));
  path = join(folder, "test.db");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("two processes writing at once for ten seconds: no error, and no timer late by more than 100 ms", {
  timeout: 40_000,
}, async () => {
  const storage = sqlite(path);
  await storage.migrate();
  const script = join(import.meta.dirname, "../processes/writer.mjs");
  const writer = fork(script, [path], { stdio: ["ignore", "ignore", "pipe", "ipc"] });
  let complaints = "";
  writer.stderr?.on("data", (data) => {
    complaints += data;
  });
  const ended = new Promise<number | null>((resolve) => writer.on("exit", resolve));
  await new Promise((resolve) => writer.once("message", resolve));

  let latest = 0;
  let expected = performance.now() + 10;
  const timer = setInterval(() => {
    latest = Math.max(latest, performance.now() - expected);
    expected = performance.now() + 10;
  }, 10);
  const until = Date.now() + 10_000;
  let written = 0;
  while (Date.now() < until) {
    const name = `mine ${written++}`;
    await storage.write(async (db) => {
      await db.insertInto("sallyport_groups").values({ name, created_at: storage.now }).execute();
      await db.selectFrom("sallyport_groups").select("name").where("name", "=", name).execute();
    });
    // An app comes back to its event loop between events.
    await new Promise((resolve) => setImmediate(resolve));
  }
  clearInterval(timer);
  expect(await ended).toBe(0);
  expect(complaints).toBe("");
  const { rows } = await sql<{ mine: number; theirs: number }>`
    select sum(name like 'mine %') mine, sum(name like 'theirs %') theirs from sallyport_groups`.execute(
    storage.db,
  );
  expect(rows[0]?.mine).toBe(written);
  expect(rows[0]?.theirs).toBeGreaterThan(100);
  expect(latest).toBeLessThan(100);
  await storage.close();
});
