import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ConnectLimits } from "../../src/auth/connect-limits.ts";
import { type CountedLimit, limitKey, parseLimitKey } from "../../src/auth/limit-keys.ts";
import { LimitSettings, type Limits, limitsSchema, RateLimits } from "../../src/auth/limits.ts";
import { RequestError } from "../../src/errors.ts";
import { parseOptions } from "../../src/options.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import type { CountedKey } from "../../src/storage/stores/limits.ts";
import { type Outcome, sorted, twoProcesses } from "./processes.ts";
import { ALIKE } from "./texts.ts";

const MINUTE_MS = 60_000;

const at = twoProcesses();
let limits: readonly [RateLimits, RateLimits];
beforeEach(() => {
  limits = at.each(({ store }) => new RateLimits(store.limits));
});
afterEach(() => {
  vi.useRealTimers();
});

function expectRejections({ failed }: Outcome<unknown>, count: number): void {
  expect(failed).toHaveLength(count);
  for (const error of failed) {
    expect(error).toBeInstanceOf(RequestError);
    expect(error).toMatchObject({ reason: "limit", status: 429 });
  }
}

/** Moves the start of a window into the past. */
const begun = (key: string, agoMs: number) =>
  at.one.db
    .updateTable("sallyport_counters")
    .set(({ eb }) => ({ window_started_at: eb(at.one.now, "-", agoMs) }))
    .where("key", "=", key)
    .execute();

async function counted(): Promise<Record<string, number>> {
  const rows = await at.two.db.selectFrom("sallyport_counters").select(["key", "count"]).execute();
  return Object.fromEntries(rows.map(({ key, count }) => [key, count]));
}

describe("a limit", () => {
  test("B28 allows exactly its number of concurrent calls", async () => {
    for (const limit of [1, 7, 39]) {
      const outcome = await at.race(40, limits, (each) => each.take(`of ${limit}`, limit));
      expect(outcome.passed).toHaveLength(limit);
      expectRejections(outcome, 40 - limit);
    }
    expect(await counted()).toEqual({ "of 1": 1, "of 7": 7, "of 39": 39 });
  });

  test("also holds within transactions, and does not count a transaction that is rolled back", async () => {
    const outcome = await at.race(40, [at.one, at.two], (database, index) =>
      database.sharedTransaction(async (db) => {
        if (!(await storeOf(database).limits.takeIn(db, { key: "key", limit: 5 }))) return "rejected";
        if (index < 3) throw new Error("undone");
        return "counted";
      }),
    );
    for (const error of outcome.failed) expect((error as Error).message).toBe("undone");
    expect(outcome.passed.filter((result) => result === "counted")).toHaveLength(5);
    expect(outcome.passed.filter((result) => result === "rejected")).toHaveLength(35 - outcome.failed.length);
    expect(await counted()).toEqual({ key: 5 });
  });

  test("of 0 rejects every call, and without a limit nothing is counted", async () => {
    expectRejections(await at.race(4, limits, (each) => each.take("never", 0)), 4);
    expectRejections(await at.race(4, limits, (each) => each.check("never", 0)), 4);
    const [error] = (await at.race(1, limits, (each) => each.take("never", 0))).failed;
    expect(error).toMatchObject({ reason: "limit", status: 429, retryAfterSeconds: 60 });
    expect(
      await at.one.transaction((db) => storeOf(at.one).limits.takeIn(db, { key: "never", limit: 0 })),
    ).toBe(false);
    const [user, address] = ["user", "address"].map((key) => ({ key, limit: 0 })) as [CountedKey, CountedKey];
    expect(await at.one.store.limits.takeBoth(user, { ...address, limit: 1 })).toEqual(new Set());
    expect(await at.one.store.limits.takeBoth({ ...user, limit: 1 }, address)).toEqual(new Set());
    await limits[0].take("always", false);
    await limits[0].check("always", false);
    expect(await counted()).toEqual({});
  });

  test("is checked without counting", async () => {
    await limits[0].take("key", 2);
    for (let times = 0; times < 5; times++) await limits[1].check("key", 2);
    await limits[1].take("key", 2);
    expectRejections(await at.race(2, limits, (each) => each.check("key", 2)), 2);
    expect(await counted()).toEqual({ key: 2 });
  });

  test("applies to each key separately, also to similar keys", async () => {
    for (const key of ALIKE) await limits[0].take(key, 1);
    for (const key of ALIKE) expectRejections(await at.race(1, [limits[1]], (each) => each.take(key, 1)), 1);
    expect(await counted()).toEqual(Object.fromEntries(ALIKE.map((key) => [key, 1])));
  });

  test("starts a new window after one minute by the database clock", async () => {
    await at.race(3, limits, (each) => each.take("key", 3));
    await begun("key", MINUTE_MS - 20_000);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10 * MINUTE_MS });
    const [error] = (await at.race(1, [limits[1]], (each) => each.take("key", 3))).failed;
    expect((error as RequestError).retryAfterSeconds).toBeGreaterThan(1);
    expect((error as RequestError).retryAfterSeconds).toBeLessThanOrEqual(20);
    await begun("key", MINUTE_MS);
    await limits[1].check("key", 3);
    const outcome = await at.race(20, limits, (each) => each.take("key", 3));
    expect(outcome.passed).toHaveLength(3);
    expectRejections(outcome, 17);
    expect(await counted()).toEqual({ key: 3 });
  });

  test("does not last longer when the database clock is set back, nor shorter after a small step", async () => {
    await at.race(3, limits, (each) => each.take("key", 3));
    // The rows as they are after the clock was set back.
    await begun("key", -4_000);
    const [error] = (await at.race(1, [limits[1]], (each) => each.take("key", 3))).failed;
    expect((error as RequestError).retryAfterSeconds).toBe(60);
    await begun("key", -60 * MINUTE_MS);
    await limits[1].check("key", 3);
    const outcome = await at.race(20, limits, (each) => each.take("key", 3));
    expect(outcome.passed).toHaveLength(3);
    expectRejections(outcome, 17);
    // The window begins at the new time.
    await begun("key", MINUTE_MS - 20_000);
    const [later] = (await at.race(1, [limits[1]], (each) => each.take("key", 3))).failed;
    expect((later as RequestError).retryAfterSeconds).toBeLessThanOrEqual(20);
  });

  test("can be as large as 2^40", async () => {
    const limit = 2 ** 40;
    await limits[0].take("key", limit);
    await at.one.db
      .updateTable("sallyport_counters")
      .set({ count: limit - 2 })
      .execute();
    const outcome = await at.race(10, limits, (each) => each.take("key", limit));
    expect(outcome.passed).toHaveLength(2);
    expect(await counted()).toEqual({ key: limit });
  });
});

describe("expired windows", () => {
  test("are removed after ten minutes up to a limit, but never the count of changes", async () => {
    await at.one.store.audit.append({ action: "provision" });
    for (let index = 0; index < 30; index++) {
      await limits[0].take(`key ${index}`, 5);
      if (index < 25) await begun(`key ${index}`, 11 * MINUTE_MS);
    }
    await begun("key 29", 9 * MINUTE_MS);
    expect(await at.one.store.limits.removeEnded(10)).toBe(10);
    const { passed } = await at.race(6, [at.one, at.two], ({ store }) => store.limits.removeEnded(4));
    let removed = passed.reduce((sum, count) => sum + count, 0);
    for (let more = 1; more > 0; removed += more) more = await at.two.store.limits.removeEnded(4);
    expect(removed).toBe(15);
    expect(sorted(Object.keys(await counted()))).toEqual(
      sorted(["changes recorded", ...[25, 26, 27, 28, 29].map((index) => `key ${index}`)]),
    );
    expect(await at.two.store.changes.last()).toBe(1);
  });
});

describe("open windows", () => {
  const keyOf = (limit: CountedLimit, subject: string, gatewayId: string | null = "g") =>
    limitKey({ limit, subject, gatewayId, view: null });
  const taken = async (key: string, times = 1) => {
    for (let time = 0; time < times; time++) await limits[0].take(key, 100);
  };
  const keys = async (
    of: { user?: string; address?: string },
    limit = 1000,
    after?: { key: string; count: number },
  ) => (await limits[1].windows(of, limit, after)).map(({ key }) => key);
  const clear = (of: { user?: string; address?: string }) =>
    limits[0].clear(of, (cleared) => ({ action: "clear-limits", details: { cleared } }));

  test("are listed with the highest counts first, and with the time until they end", async () => {
    const [a, b, c, over] = ["a", "b", "c", "over"].map((subject) => keyOf("connectsPerUser", subject));
    await taken(b as string, 3);
    await taken(a as string, 3);
    await taken(c as string, 5);
    await taken(over as string, 9);
    await taken("another counter", 9);
    await begun(b as string, MINUTE_MS - 20_000);
    await begun(over as string, MINUTE_MS);
    const [first, ...others] = await limits[1].windows({}, 10);
    expect([first, ...others]).toMatchObject([
      { key: c, count: 5 },
      { key: a, count: 3 },
      { key: b, count: 3 },
    ]);
    expect(first?.secondsLeft).toBeGreaterThan(20);
    expect(first?.secondsLeft).toBeLessThanOrEqual(60);
    expect(others[1]?.secondsLeft).toBeGreaterThan(1);
    expect(others[1]?.secondsLeft).toBeLessThanOrEqual(20);
    expect(await keys({}, 1, { key: c as string, count: 5 })).toEqual([a]);
    expect(await keys({}, 1000, { key: b as string, count: 3 })).toEqual([]);
  });

  test("are filtered by exactly one user or one address, over all gateways", async () => {
    for (const text of ALIKE) await taken(keyOf("connectsPerUser", text));
    await taken(keyOf("tokensPerUser", "ann", null));
    await taken(keyOf("connectsPerUser", "ann", "another"));
    for (const address of ["ann", "192.0.2.1", "192.0.2.10"]) {
      await taken(keyOf("connectsPerIp", address));
      await taken(keyOf("failedConnectsPerIp", address));
    }
    for (const user of ALIKE.filter((text) => text !== "ann")) {
      expect(await keys({ user }), user).toEqual([keyOf("connectsPerUser", user)]);
    }
    expect(sorted(await keys({ user: "ann" }))).toEqual(
      sorted([
        keyOf("connectsPerUser", "ann"),
        keyOf("connectsPerUser", "ann", "another"),
        keyOf("tokensPerUser", "ann", null),
      ]),
    );
    expect(sorted(await keys({ address: "192.0.2.1" }))).toEqual(
      sorted([keyOf("connectsPerIp", "192.0.2.1"), keyOf("failedConnectsPerIp", "192.0.2.1")]),
    );
    expect(await keys({ address: "Ann" })).toEqual([]);
    expect(await keys({})).toHaveLength(ALIKE.length + 8);
  });

  test("are cleared for a user, an address or all, and their number is returned", async () => {
    await at.one.store.audit.append({ action: "provision" });
    const kept = [keyOf("connectsPerUser", "Ann"), keyOf("connectsPerIp", "ann")];
    const ended = keyOf("tokensPerUser", "ann", null);
    for (const key of [...kept, ended, keyOf("connectsPerUser", "ann")]) await taken(key, 2);
    await begun(ended, MINUTE_MS);
    expect(await clear({ user: "ann" })).toBe(1);
    expect(sorted(await keys({}))).toEqual(sorted(kept));
    expect(await counted()).not.toHaveProperty([ended]);
    expect(await clear({ address: "ann" })).toBe(1);
    expect(await clear({ address: "ann" })).toBe(0);
    expect(await keys({})).toEqual([kept[0]]);
    await taken("another counter");
    await taken(keyOf("connectsPerUser", "bob"));
    expect(await clear({})).toBe(2);
    expect(sorted(Object.keys(await counted()))).toEqual(["another counter", "changes recorded"]);
    const entries = await at.two.store.audit.list({ limit: 4 });
    expect(entries.map(({ details }) => details)).toEqual([2, 0, 1, 1].map((cleared) => ({ cleared })));
  });
});

test("parseLimitKey() parses what limitKey() returned, and no other text", () => {
  for (const subject of ALIKE) {
    const key = { limit: "connectsPerUser", subject, gatewayId: "g", view: "/ws" } as const;
    expect(parseLimitKey(limitKey(key))).toEqual(key);
  }
  for (const key of [
    "changes recorded",
    "",
    "null",
    "{}",
    "7",
    '"connectsPerUser"',
    "[]",
    '["connectsPerUser"',
    '["messagesPerUser","ann",null,null]',
    '[["connectsPerUser"],"ann",null,null]',
  ]) {
    expect(parseLimitKey(key), key).toBeUndefined();
  }
});

describe("connects", () => {
  const IP = "192.0.2.1";
  const attempt = { gatewayId: "g", view: "/ws", block: IP };

  const connectLimits = (given: Partial<Limits>) =>
    at.each(
      ({ store }) =>
        new ConnectLimits(
          store.limits,
          new LimitSettings(parseOptions("limits", limitsSchema, given), new Map()),
          new RateLimits(store.limits),
        ),
    );
  const keyOf = (limit: CountedLimit, subject: string, gatewayId = "g") =>
    limitKey({ limit, subject, gatewayId, view: null });

  test("of an address are limited, with users and without", async () => {
    const each = connectLimits({ connectsPerIp: 6, connectsPerUser: 1000 });
    const outcome = await at.race(40, each, (one, index) =>
      one.take(attempt, index % 2 === 0 ? "ann" : null),
    );
    expect(outcome.passed).toHaveLength(6);
    expectRejections(outcome, 34);
    expectRejections(await at.race(2, each, (one) => one.take(attempt, "eve")), 2);
    expect(await counted()).not.toHaveProperty([keyOf("connectsPerUser", "eve")]);
    await each[1].take({ ...attempt, gatewayId: "G" }, null);
    await each[1].take({ ...attempt, block: "192.0.2.10" }, null);
  });

  test("get a new window when the database clock is set back by an hour", async () => {
    const each = connectLimits({ connectsPerIp: 2, connectsPerUser: 2 });
    expectRejections(await at.race(3, each, (one) => one.take(attempt, "ann")), 1);
    for (const key of [keyOf("connectsPerUser", "ann"), keyOf("connectsPerIp", attempt.block)]) {
      await begun(key, -60 * MINUTE_MS);
    }
    expectRejections(await at.race(3, each, (one) => one.take(attempt, "ann")), 1);
    const open = await limits[0].windows({}, 10);
    expect(open.map(({ count, secondsLeft }) => [count, secondsLeft <= 60])).toEqual([
      [2, true],
      [2, true],
    ]);
  });

  test("of a user are limited, and rejected ones are not counted for an address", async () => {
    const each = connectLimits({ connectsPerIp: 1000, connectsPerUser: 7 });
    const outcome = await at.race(40, each, (one, index) =>
      one.take({ ...attempt, block: `192.0.2.${index % 5}` }, "ann"),
    );
    expect(outcome.passed).toHaveLength(7);
    expectRejections(outcome, 33);
    const windows = Object.entries(await counted());
    const ofAddresses = windows.filter(([key]) => parseLimitKey(key)?.limit === "connectsPerIp");
    expect(ofAddresses.reduce((sum, [, count]) => sum + count, 0)).toBe(7);
    for (const userId of ["Ann", "ann ", "an_", "%", "o'neil 😀", '"]']) {
      await each[0].take(attempt, userId);
      expect(await counted()).toHaveProperty([keyOf("connectsPerUser", userId)], 1);
    }
  });

  test("of a user are counted only for the user if addresses have no limit", async () => {
    const each = connectLimits({ connectsPerIp: false, failedConnectsPerIp: false, connectsPerUser: 3 });
    const outcome = await at.race(20, each, (one) => one.take(attempt, "o'neil 😀"));
    expect(outcome.passed).toHaveLength(3);
    expect(await counted()).toEqual({ [keyOf("connectsPerUser", "o'neil 😀")]: 3 });
  });

  test("are not counted if neither has a limit", async () => {
    const each = connectLimits({ connectsPerIp: false, connectsPerUser: false });
    expect((await at.race(10, each, (one) => one.take(attempt, "ann"))).passed).toHaveLength(10);
    await each[0].take(attempt, null);
    expect(await counted()).toEqual({});
  });

  test("of an address are limited if users are not", async () => {
    const each = connectLimits({ connectsPerIp: 3, connectsPerUser: false });
    const outcome = await at.race(20, each, (one, index) => one.take(attempt, `user ${index}`));
    expect(outcome.passed).toHaveLength(3);
    expectRejections(outcome, 17);
    expect(await counted()).toEqual({ [keyOf("connectsPerIp", IP)]: 3 });
  });

  test("of an anonymous client have no user limit", async () => {
    const each = connectLimits({ connectsPerUser: 0 });
    await each[0].take(attempt, null);
    expect(await counted()).toEqual({ [keyOf("connectsPerIp", IP)]: 1 });
  });

  test("that failed have their own limit, without effect on others", async () => {
    const each = connectLimits({ failedConnectsPerIp: 4 });
    const outcome = await at.race(40, each, (one) => one.failed(attempt));
    expect(outcome.passed).toHaveLength(4);
    expectRejections(outcome, 36);
    expect((await at.race(10, each, (one) => one.take(attempt, "ann"))).passed).toHaveLength(10);
    await each[0].failed({ ...attempt, block: "192.0.2.2" });
    expect(await counted()).toEqual({
      [keyOf("connectsPerIp", IP)]: 10,
      [keyOf("connectsPerUser", "ann")]: 10,
      [keyOf("failedConnectsPerIp", IP)]: 4,
      [keyOf("failedConnectsPerIp", "192.0.2.2")]: 1,
    });
    await begun(keyOf("failedConnectsPerIp", IP), MINUTE_MS);
    await each[1].failed(attempt);
  });

  test("are counted again when the window that was reached has ended", async () => {
    const each = connectLimits({ connectsPerIp: 2, connectsPerUser: 1 });
    await each[0].take(attempt, "ann");
    expectRejections(await at.race(2, each, (one) => one.take(attempt, "ann")), 2);
    await begun(keyOf("connectsPerUser", "ann"), MINUTE_MS);
    await each[1].take(attempt, "ann");
    expectRejections(await at.race(2, each, (one) => one.take(attempt, "eve")), 2);
    await begun(keyOf("connectsPerIp", IP), MINUTE_MS);
    await each[1].take(attempt, "eve");
    expect(await counted()).toMatchObject({
      [keyOf("connectsPerIp", IP)]: 1,
      [keyOf("connectsPerUser", "eve")]: 1,
    });
  });

  test("are all rejected if a limit is 0", async () => {
    for (const given of [
      { connectsPerIp: 0 },
      { connectsPerUser: 0 },
      { connectsPerUser: 0, connectsPerIp: 0 },
    ]) {
      expectRejections(await at.race(4, connectLimits(given), (one) => one.take(attempt, "ann")), 4);
    }
    expectRejections(
      await at.race(4, connectLimits({ failedConnectsPerIp: 0 }), (one) => one.failed(attempt)),
      4,
    );
    expect(await counted()).toEqual({});
  });
});
