import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Database } from "../storage/database.ts";
import { sqlite } from "../storage/sqlite.ts";
import { withLease } from "./lease.ts";

let folder: string;
let database: Database;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-lease-"));
  database = sqlite(join(folder, "test.db"));
  await database.migrate();
});
afterEach(async () => {
  await database.close();
  await rm(folder, { recursive: true, force: true });
});

/** Makes the lease as old as a run that was killed some time ago. */
const age = (ms: number) =>
  database.db
    .updateTable("sallyport_counters")
    .set((eb) => ({ window_started_at: eb("window_started_at", "-", ms) }))
    .execute();

test("a second run is told how long to wait, and other gateways have nothing to do with it", async () => {
  await withLease(database, "chat", async () => {
    await expect(withLease(database, "chat", async () => undefined)).rejects.toThrow(
      /^Another run provisions gateway "chat" now, or was cut off \d s ago\. Try again in 1(79|80) s\.$/,
    );
    expect(await withLease(database, "other", async () => "done")).toBe("done");
  });
});

test("it is over when the work is, well or not", async () => {
  await expect(
    withLease(database, "chat", async () => {
      throw new Error("it failed");
    }),
  ).rejects.toThrow("it failed");
  expect(await withLease(database, "chat", async () => "done")).toBe("done");
});

test("what was cut off keeps others out for three minutes, and a run that goes on for as long as it does", async () => {
  await withLease(database, "chat", async (renew) => {
    await age(170_000);
    await renew();
    await age(170_000);
    await expect(withLease(database, "chat", async () => undefined)).rejects.toThrow(/Try again in/);
    await age(20_000);
    expect(await withLease(database, "chat", async () => "taken over")).toBe("taken over");
    await expect(renew()).rejects.toThrow(/this one was too slow/);
  });
});
