import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Activity } from "../../src/connections/activity.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGateway, addMemberships, addSessions } from "./tables.ts";
import { ALIKE, idsOfAllForms } from "./texts.ts";

const at = twoProcesses();
let errors: { readonly error: unknown; readonly where: string }[];
let activities: readonly [Activity, Activity];
beforeEach(() => {
  errors = [];
  activities = at.each(({ store }) => new Activity(store, (error, where) => errors.push({ error, where })));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  expect(errors).toEqual([]);
});

async function add(ids: readonly string[], last_seen_at = 1): Promise<void> {
  const gateway_id = await addGateway(at.one);
  await addSessions(
    at.one,
    ids.map((id) => ({ id, gateway_id, last_seen_at })),
  );
}

async function seen(): Promise<Record<string, { readonly count: number; readonly at: number }>> {
  const rows = await at.two.db
    .selectFrom("sallyport_connections")
    .select(["id", "request_count", "last_seen_at"])
    .execute();
  return Object.fromEntries(rows.map((row) => [row.id, { count: row.request_count, at: row.last_seen_at }]));
}

const counts = async () =>
  Object.fromEntries(Object.entries(await seen()).map(([id, { count }]) => [id, count]));

describe("messages", () => {
  test("of each connection are counted over all processes, and not for similar ids", async () => {
    await add(ALIKE);
    for (const [index, id] of ALIKE.entries()) {
      for (const activity of activities) for (let times = 0; times < index; times++) activity.touch(id);
    }
    activities[0].touch("nobody's");
    await Promise.all(activities.map((activity) => activity.write()));
    await Promise.all(activities.map((activity) => activity.write()));
    expect(await counts()).toEqual(Object.fromEntries(ALIKE.map((id, index) => [id, 2 * index])));
    activities[1].touch("Ann");
    await activities[1].write();
    expect((await seen()).Ann).toMatchObject({ count: 1 });
  });

  test("of thousands of connections are all counted when two processes write at once", async () => {
    const ids = idsOfAllForms(2500);
    await add(ids);
    for (let index = 0; index < 22_000; index++) activities[0].touch(`nobody's ${index}`);
    for (let round = 0; round < 3; round++) {
      for (const id of ids) activities[0].touch(id);
      for (const id of [...ids].reverse()) activities[1].touch(id);
      await Promise.all(activities.map((activity) => activity.write()));
    }
    expect(new Set(Object.values(await counts()))).toEqual(new Set([6]));
  });

  test("B64 set the last activity by the database clock, and never to an earlier time", async () => {
    const before = await at.time();
    const ahead = Date.now() + 3_600_000;
    await add(["early"]);
    const [row] = await at.one.db.selectFrom("sallyport_connections").select("gateway_id").execute();
    await addSessions(at.one, [{ id: "ahead", gateway_id: row?.gateway_id as string, last_seen_at: ahead }]);
    vi.useFakeTimers({ toFake: ["Date"], now: ahead });
    for (const id of ["early", "ahead"]) activities[0].touch(id);
    await activities[0].write();
    vi.useRealTimers();
    const { early, ahead: later } = await seen();
    expect(later).toEqual({ count: 1, at: ahead });
    expect(early?.count).toBe(1);
    expect(before <= (early?.at ?? 0) && (early?.at ?? 0) <= (await at.time())).toBe(true);
  });

  test("set the time of the message, also if it is written later", async () => {
    await add(["early", "late"]);
    vi.useFakeTimers({ toFake: ["performance"] });
    activities[0].touch("early");
    vi.advanceTimersByTime(600_000);
    activities[0].touch("late");
    await activities[0].write();
    vi.useRealTimers();
    const { early, late } = await seen();
    expect((late?.at ?? 0) - (early?.at ?? 0)).toBe(600_000);
  });

  test("are written after five seconds, or when 20 000 are collected", async () => {
    const ids = idsOfAllForms(1000);
    await add(ids);
    activities[0].touch("1");
    await activities[0].writeWhenDue();
    expect((await counts())["1"]).toBe(0);
    // Eleven days after the process started.
    vi.spyOn(performance, "now").mockReturnValue(1_000_000_000);
    await activities[0].writeWhenDue();
    expect((await counts())["1"]).toBe(1);
    for (const id of ids) activities[0].touch(id);
    for (let n = ids.length; n < 19_999; n++) activities[0].touch(`gone ${n}`);
    await activities[0].writeWhenDue();
    expect((await counts())["1"]).toBe(1);
    activities[0].touch("one more");
    await activities[0].writeWhenDue();
    expect((await counts())["1"]).toBe(2);
  });
});

describe("connections that have disconnected", () => {
  test("leave their channels, thousands of them and no others", async () => {
    const ids = idsOfAllForms(2600);
    const [departed, staying] = [ids.slice(0, 2500), ids.slice(2500)];
    await add(ids);
    await addMemberships(
      at.one.db,
      ids.flatMap((connection_key) => ["room", "Room"].map((channel) => ({ connection_key, channel }))),
    );
    for (const [index, id] of departed.entries()) activities[index % 2]?.disconnected(id);
    for (let index = 0; index < 66_000; index++) activities[index % 2]?.disconnected(`nobody's ${index}`);
    await Promise.all(activities.map((activity) => activity.write()));
    const rows = await at.two.db.selectFrom("sallyport_memberships").select("connection_key").execute();
    expect(sorted(rows.map(({ connection_key }) => connection_key))).toEqual(
      sorted([...staying, ...staying]),
    );
  });
});

test("activity that cannot be written is reported and dropped, and later activity is written", async () => {
  await add(["a"]);
  const closed = at.open();
  await closed.pollExternalChanges();
  const reported: { readonly error: unknown; readonly where: string }[] = [];
  const broken = new Activity(closed.store, (error, where) => reported.push({ error, where }));
  await closed.close();
  broken.touch("a");
  broken.disconnected("a");
  await broken.write();
  expect(reported).toEqual([{ error: expect.any(Error), where: "storing the activity of 1 connections" }]);
  await broken.write();
  expect(reported).toHaveLength(1);
  activities[0].touch("a");
  await activities[0].write();
  expect(await counts()).toEqual({ a: 1 });
});
