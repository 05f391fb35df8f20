import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { BackgroundCleanup, SteadyClock } from "../../src/admin/background-cleanup.ts";
import { CHANGES } from "../../src/storage/database.ts";
import { twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions } from "./tables.ts";

const HOUR_MS = 3_600_000;

const at = twoProcesses();
let errors: unknown[];
let gateway: string;
beforeEach(async () => {
  errors = [];
  gateway = await addGateway(at.one);
});
afterEach(() => {
  vi.restoreAllMocks();
  expect(errors).toEqual([]);
});

/** A clean-up in each of two processes. */
const cleanups = (steadyForMs = 0) =>
  at.each(
    ({ store }) => new BackgroundCleanup({ store, onError: (error) => errors.push(error) }, { steadyForMs }),
  );

async function addOld(count: number): Promise<void> {
  const { db, now } = at.one;
  const ids = Array.from({ length: count }, (_, n) => `old-${String(n).padStart(5, "0")}`);
  await addSessions(
    at.one,
    ids.map((id) => ({ id, gateway_id: gateway })),
  );
  await addMemberships(
    db,
    ids.map((id) => ({ connection_key: id, channel: "rooms/a" })),
  );
  await db
    .updateTable("sallyport_connections")
    .set(({ eb }) => ({ connected_at: eb(now, "-", 25 * HOUR_MS) }))
    .execute();
  await addSessions(at.one, [{ id: "young", gateway_id: gateway }]);
  for (let from = 0; from < count; from += 100) {
    await db
      .insertInto("sallyport_counters")
      .values(({ eb }) =>
        ids
          .slice(from, from + 100)
          .map((key) => ({ key, count: 1, window_started_at: eb(now, "-", HOUR_MS) })),
      )
      .execute();
  }
  await db
    .insertInto("sallyport_counters")
    .values([{ key: "running", count: 1, window_started_at: now }])
    .execute();
}

const keysOf = async (table: "sallyport_connections" | "sallyport_counters", column: "id" | "key") =>
  (
    await at.two.db
      .selectFrom(table)
      .select(column as never)
      .execute()
  )
    .map((row) => (row as Record<string, string>)[column])
    .filter((key) => key !== CHANGES);

describe("the clean-up of a process that serves events", () => {
  test("removes old rows in small batches, in two processes at once, and nothing else", async () => {
    await addOld(450);
    for (const number of [1, 2, 3]) {
      const change = { number, scope: "user", subject: "ann", removes: 1 } as const;
      const recorded_at = number < 3 ? 0 : at.one.now;
      await at.one.db
        .insertInto("sallyport_changes")
        .values({ ...change, recorded_at })
        .execute();
    }
    const [one, other] = cleanups();
    one.begin();
    other.begin();
    await Promise.all([one.idle(), other.idle()]);
    expect(await keysOf("sallyport_connections", "id")).toEqual(["young"]);
    expect(await keysOf("sallyport_counters", "key")).toEqual(["running"]);
    expect(await at.one.db.selectFrom("sallyport_memberships").selectAll().execute()).toEqual([]);
    expect(await at.one.db.selectFrom("sallyport_changes").select("number").execute()).toEqual([
      { number: 3 },
    ]);
  });

  test("runs once per minute, measured by the monotonic clock", async () => {
    const [cleanup] = cleanups();
    const clock = vi.spyOn(performance, "now");
    clock.mockReturnValue(1_000);
    cleanup.begin();
    await cleanup.idle();
    await addOld(1);
    clock.mockReturnValue(60_999);
    cleanup.begin();
    await cleanup.idle();
    expect(await keysOf("sallyport_counters", "key")).toHaveLength(2);
    clock.mockReturnValue(61_000);
    cleanup.begin();
    await cleanup.idle();
    expect(await keysOf("sallyport_counters", "key")).toEqual(["running"]);
  });

  test("issues no further statement when it is paused", async () => {
    await addOld(450);
    const [cleanup] = cleanups();
    cleanup.begin();
    await cleanup.pause();
    expect((await keysOf("sallyport_connections", "id")).length).toBe(451);
  });

  test("removes no rows of connections until the database clock has been even for long enough", async () => {
    await addOld(1);
    const [cleanup] = cleanups(600_000);
    cleanup.begin();
    await cleanup.idle();
    expect(await keysOf("sallyport_connections", "id")).toHaveLength(2);
    expect(await keysOf("sallyport_counters", "key")).toEqual(["running"]);
  });
});

test("a clock is even once it has not stepped for the required time", () => {
  const clock = new SteadyClock(100_000);
  clock.read(1_000_000, 0);
  expect(clock.isSteady).toBe(false);
  clock.read(1_060_000, 60_000);
  expect(clock.isSteady).toBe(false);
  clock.read(1_120_000, 120_000);
  expect(clock.isSteady).toBe(true);
  // The clock steps 30 hours ahead and is then even for less than the required time.
  clock.read(109_180_000, 180_000);
  expect(clock.isSteady).toBe(false);
  clock.read(109_240_000, 240_000);
  expect(clock.isSteady).toBe(false);
  clock.read(1_300_000, 300_000);
  expect(clock.isSteady).toBe(false);
  clock.read(1_400_000, 400_000);
  expect(clock.isSteady).toBe(true);
});
