import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { changedStorage, sqliteDatabase } from "../../../test/postgres/storage-at.ts";
import { ConfigurationError } from "../../errors.ts";
import type { Database } from "../../storage/database.ts";
import { withLease } from "./lease.ts";

let folder: string;
let path: string;
let database: Database;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-lease-"));
  path = join(folder, "test.db");
  database = changedStorage(sqliteDatabase(path), { now });
  await database.migrate();
});
afterEach(async () => {
  await database.close();
  await rm(folder, { recursive: true, force: true });
});

/** A database clock that always returns the same time. */
const now = sql<number>`1700000000000`;

/** Makes the lease older by a number of milliseconds. */
const age = (ms: number) =>
  database.db
    .updateTable("sallyport_counters")
    .set((eb) => ({ window_started_at: eb("window_started_at", "-", ms) }))
    .execute();

function latch(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

test("a lease blocks a second run for its gateway, but not for other gateways", async () => {
  await withLease(database.store.gateways, "chat", async () => {
    await expect(withLease(database.store.gateways, "chat", async () => undefined)).rejects.toThrow(
      /^Another run provisions gateway "chat" now, or was interrupted 0 s ago\. Try again in 60 s\.$/,
    );
    expect(await withLease(database.store.gateways, "other", async () => "done")).toBe("done");
  });
});

test("a lease that begins in the future, after the clock was set back, blocks no run", async () => {
  const { opened, open } = latch();
  const running = withLease(database.store.gateways, "chat", () => opened).catch(() => undefined);
  await expect
    .poll(() => database.db.selectFrom("sallyport_counters").select("key").execute())
    .toHaveLength(1);
  await age(-3_600_000);
  expect(await withLease(database.store.gateways, "chat", async () => "done")).toBe("done");
  open();
  await running;
});

test("a lease is released when the work fails", async () => {
  await expect(
    withLease(database.store.gateways, "chat", async () => {
      throw new Error("it failed");
    }),
  ).rejects.toThrow("it failed");
  expect(await withLease(database.store.gateways, "chat", async () => "done")).toBe("done");
});

test("a lease expires 60 s after its last renewal, and its former owner cannot renew it", async () => {
  await withLease(database.store.gateways, "chat", async (renew) => {
    await age(50_000);
    await renew();
    await age(50_000);
    await expect(withLease(database.store.gateways, "chat", async () => undefined)).rejects.toThrow(
      /Try again in/,
    );
    await age(20_000);
    expect(await withLease(database.store.gateways, "chat", async () => "taken over")).toBe("taken over");
    await expect(renew()).rejects.toThrow(/this one did not renew its lease in time/);
  });
});

test("of eight runs that start at once in four processes, exactly one executes", async () => {
  const processes = Array.from({ length: 4 }, () => changedStorage(sqliteDatabase(path), { now }));
  const end = latch();
  let begun = 0;
  const rejections: unknown[] = [];
  const runs = [...processes, ...processes].map((each) =>
    withLease(each.store.gateways, "chat", async () => {
      begun += 1;
      await end.opened;
      return "done";
    }).catch((error: unknown) => {
      if (rejections.push(error) === 7) end.open();
    }),
  );
  expect((await Promise.all(runs)).filter((result) => result === "done")).toHaveLength(1);
  expect(begun).toBe(1);
  for (const rejection of rejections) expect(rejection).toBeInstanceOf(ConfigurationError);
  await Promise.all(processes.map((each) => each.close()));
});

test("a lease leaves no row after success or failure, and passes on the error", async () => {
  const failure = new Error("half-way");
  const rows = () => database.db.selectFrom("sallyport_counters").selectAll().execute();
  await withLease(database.store.gateways, "chat", async () => expect(await rows()).toHaveLength(1));
  expect(await rows()).toEqual([]);
  const failing = withLease(database.store.gateways, "chat", async () => {
    throw failure;
  });
  await expect(failing).rejects.toBe(failure);
  expect(await rows()).toEqual([]);
});

test("the error contains the age of the lease and the seconds until it expires", async () => {
  await withLease(database.store.gateways, "chat", async () => {
    await age(50_000);
    await expect(withLease(database.store.gateways, "chat", async () => undefined)).rejects.toThrow(
      /was interrupted 50 s ago\. Try again in 10 s\.$/,
    );
  });
});

test("a lease that was taken over is not released by its former owner", async () => {
  const [begun, end] = [latch(), latch()];
  let second: Promise<string> | undefined;
  await withLease(database.store.gateways, "chat", async (renew) => {
    await age(60_000);
    second = withLease(database.store.gateways, "chat", async (renewSecond) => {
      begun.open();
      await end.opened;
      await renewSecond();
      return "done";
    });
    await begun.opened;
    await expect(renew()).rejects.toBeInstanceOf(ConfigurationError);
  });
  await expect(withLease(database.store.gateways, "chat", async () => undefined)).rejects.toThrow(
    /^Another run provisions/,
  );
  end.open();
  expect(await second).toBe("done");
  expect(await withLease(database.store.gateways, "chat", async () => "next")).toBe("next");
});

test("an expired lease that was not taken over can be renewed", async () => {
  await withLease(database.store.gateways, "chat", async (renew) => {
    await age(80_000);
    await renew();
    await expect(withLease(database.store.gateways, "chat", async () => undefined)).rejects.toThrow(
      /Try again in 60 s/,
    );
  });
});

test("a lease is renewed by a timer while the run waits for AWS", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    await withLease(database.store.gateways, "chat", async () => {
      await age(50_000);
      vi.advanceTimersByTime(15_000);
      const rejection = () => withLease(database.store.gateways, "chat", async () => undefined).catch(String);
      await expect.poll(rejection).toMatch(/Try again in 60 s/);
    });
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
