import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { changedStorage } from "../../test/postgres/storage-at.ts";
import { ConfigurationError } from "../errors.ts";
import type { Database } from "../storage/database.ts";
import { sqlite } from "../storage/sqlite.ts";
import { withLease } from "./lease.ts";

let folder: string;
let path: string;
let database: Database;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-lease-"));
  path = join(folder, "test.db");
  database = changedStorage(sqlite(path), { now });
  await database.migrate();
});
afterEach(async () => {
  await database.close();
  await rm(folder, { recursive: true, force: true });
});

/** The database's clock, which stands still. */
const now = sql<number>`1700000000000`;

/** Makes the lease as old as a run that was killed some time ago. */
const age = (ms: number) =>
  database.db
    .updateTable("sallyport_counters")
    .set((eb) => ({ window_started_at: eb("window_started_at", "-", ms) }))
    .execute();

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

test("a second run is told how long to wait, and other gateways have nothing to do with it", async () => {
  await withLease(database, "chat", async () => {
    await expect(withLease(database, "chat", async () => undefined)).rejects.toThrow(
      /^Another run provisions gateway "chat" now, or was cut off 0 s ago\. Try again in 60 s\.$/,
    );
    expect(await withLease(database, "other", async () => "done")).toBe("done");
  });
});

test("it does not outlive a run that was killed before the clock was set back by an hour", async () => {
  const { opened, open } = gate();
  const running = withLease(database, "chat", () => opened).catch(() => undefined);
  await expect
    .poll(() => database.db.selectFrom("sallyport_counters").select("key").execute())
    .toHaveLength(1);
  await age(-3_600_000);
  expect(await withLease(database, "chat", async () => "done")).toBe("done");
  open();
  await running;
});

test("it is over when the work is, well or not", async () => {
  await expect(
    withLease(database, "chat", async () => {
      throw new Error("it failed");
    }),
  ).rejects.toThrow("it failed");
  expect(await withLease(database, "chat", async () => "done")).toBe("done");
});

test("what was cut off keeps others out for a minute, and a run that goes on for as long as it does", async () => {
  await withLease(database, "chat", async (renew) => {
    await age(50_000);
    await renew();
    await age(50_000);
    await expect(withLease(database, "chat", async () => undefined)).rejects.toThrow(/Try again in/);
    await age(20_000);
    expect(await withLease(database, "chat", async () => "taken over")).toBe("taken over");
    await expect(renew()).rejects.toThrow(/this one was too slow/);
  });
});

test("of many that begin at once in several processes exactly one works, and the others do not begin", async () => {
  const processes = Array.from({ length: 4 }, () => changedStorage(sqlite(path), { now }));
  const end = gate();
  let begun = 0;
  const refusals: unknown[] = [];
  const runs = [...processes, ...processes].map((each) =>
    withLease(each, "chat", async () => {
      begun += 1;
      await end.opened;
      return "done";
    }).catch((error: unknown) => {
      if (refusals.push(error) === 7) end.open();
    }),
  );
  expect((await Promise.all(runs)).filter((result) => result === "done")).toHaveLength(1);
  expect(begun).toBe(1);
  for (const refusal of refusals) expect(refusal).toBeInstanceOf(ConfigurationError);
  await Promise.all(processes.map((each) => each.close()));
});

test("nothing of it is left behind, and a failure is the work's own", async () => {
  const failure = new Error("half-way");
  const rows = () => database.db.selectFrom("sallyport_counters").selectAll().execute();
  await withLease(database, "chat", async () => expect(await rows()).toHaveLength(1));
  expect(await rows()).toEqual([]);
  const failing = withLease(database, "chat", async () => {
    throw failure;
  });
  await expect(failing).rejects.toBe(failure);
  expect(await rows()).toEqual([]);
});

test("reports the age of the lease, and when it expires", async () => {
  await withLease(database, "chat", async () => {
    await age(50_000);
    await expect(withLease(database, "chat", async () => undefined)).rejects.toThrow(
      /was cut off 50 s ago\. Try again in 10 s\.$/,
    );
  });
});

test("one that was lost is not given back by its former owner", async () => {
  const [begun, end] = [gate(), gate()];
  let second: Promise<string> | undefined;
  await withLease(database, "chat", async (renew) => {
    await age(60_000);
    second = withLease(database, "chat", async (renewSecond) => {
      begun.open();
      await end.opened;
      await renewSecond();
      return "done";
    });
    await begun.opened;
    await expect(renew()).rejects.toBeInstanceOf(ConfigurationError);
  });
  await expect(withLease(database, "chat", async () => undefined)).rejects.toThrow(/^Another run provisions/);
  end.open();
  expect(await second).toBe("done");
  expect(await withLease(database, "chat", async () => "next")).toBe("next");
});

test("one that is old and that nobody took goes on when it is renewed", async () => {
  await withLease(database, "chat", async (renew) => {
    await age(80_000);
    await renew();
    await expect(withLease(database, "chat", async () => undefined)).rejects.toThrow(/Try again in 60 s/);
  });
});

test("waiting for AWS is a sign of life too", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    await withLease(database, "chat", async () => {
      await age(50_000);
      vi.advanceTimersByTime(15_000);
      const refusal = () => withLease(database, "chat", async () => undefined).catch(String);
      await expect.poll(refusal).toMatch(/Try again in 60 s/);
    });
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
