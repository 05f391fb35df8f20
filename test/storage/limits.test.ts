import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ConnectLimits } from "../../src/access/connect-limits.ts";
import { Evictions } from "../../src/access/evictions.ts";
import { type Limits, limitsSchema, RateLimits } from "../../src/access/rate-limits.ts";
import type { Rights } from "../../src/access/rights.ts";
import { Tokens } from "../../src/access/tokens.ts";
import { RefusedError } from "../../src/errors.ts";
import { parseOptions } from "../../src/options.ts";
import { rightsGiven } from "./people.ts";
import { type Outcome, sorted, twoProcesses } from "./processes.ts";
import { ALIKE } from "./texts.ts";

const MINUTE_MS = 60_000;

const at = twoProcesses();
let limits: readonly [RateLimits, RateLimits];
beforeEach(() => {
  limits = at.each((database) => new RateLimits(database));
});
afterEach(() => {
  vi.useRealTimers();
});

function expectRefusals({ failed }: Outcome<unknown>, count: number): void {
  expect(failed).toHaveLength(count);
  for (const error of failed) {
    expect(error).toBeInstanceOf(RefusedError);
    expect(error).toMatchObject({ reason: "limit", status: 429 });
  }
}

/** Has a window begin so long ago. */
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
  test("lets exactly as many of those who race through as it says", async () => {
    for (const limit of [1, 7, 39]) {
      const outcome = await at.race(40, limits, (each) => each.takeAlone(`of ${limit}`, limit));
      expect(outcome.passed).toHaveLength(limit);
      expectRefusals(outcome, 40 - limit);
    }
    expect(await counted()).toEqual({ "of 1": 1, "of 7": 7, "of 39": 39 });
  });

  test("does so within transactions too, and where a transaction is undone nothing was counted", async () => {
    const nouns = at.each((database) => ({ database, limits: new RateLimits(database) }));
    const outcome = await at.race(40, nouns, (each, index) =>
      each.database.writeBeside(async (db) => {
        await each.limits.take(db, "key", 5);
        if (index < 3) throw new Error("undone");
      }),
    );
    const undone = outcome.failed.filter((error) => (error as Error).message === "undone");
    expect(outcome.passed).toHaveLength(5);
    expectRefusals(
      { ...outcome, failed: outcome.failed.filter((error) => !undone.includes(error)) },
      35 - undone.length,
    );
    expect(await counted()).toEqual({ key: 5 });
  });

  test("of nothing is never passed, and without one nothing is counted", async () => {
    expectRefusals(await at.race(4, limits, (each) => each.takeAlone("never", 0)), 4);
    expectRefusals(await at.race(4, limits, (each) => each.check(at.one.db, "never", 0)), 4);
    await limits[0].takeAlone("always", false);
    await limits[0].check(at.one.db, "always", false);
    expect(await counted()).toEqual({});
  });

  test("is looked at without being counted", async () => {
    await limits[0].takeAlone("key", 2);
    for (let times = 0; times < 5; times++) await limits[1].check(at.two.db, "key", 2);
    await limits[1].takeAlone("key", 2);
    expectRefusals(await at.race(2, limits, (each) => each.check(at.two.db, "key", 2)), 2);
    expect(await counted()).toEqual({ key: 2 });
  });

  test("is each key's own, however alike", async () => {
    for (const key of ALIKE) await limits[0].takeAlone(key, 1);
    for (const key of ALIKE)
      expectRefusals(await at.race(1, [limits[1]], (each) => each.takeAlone(key, 1)), 1);
    expect(await counted()).toEqual(Object.fromEntries(ALIKE.map((key) => [key, 1])));
  });

  test("begins anew a minute after its first by the database's clock, for exactly as many again", async () => {
    await at.race(3, limits, (each) => each.takeAlone("key", 3));
    await begun("key", MINUTE_MS - 20_000);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10 * MINUTE_MS });
    const [error] = (await at.race(1, [limits[1]], (each) => each.takeAlone("key", 3))).failed;
    expect((error as RefusedError).retryAfterSeconds).toBeGreaterThan(1);
    expect((error as RefusedError).retryAfterSeconds).toBeLessThanOrEqual(20);
    await begun("key", MINUTE_MS);
    await limits[1].check(at.two.db, "key", 3);
    const outcome = await at.race(20, limits, (each) => each.takeAlone("key", 3));
    expect(outcome.passed).toHaveLength(3);
    expectRefusals(outcome, 17);
    expect(await counted()).toEqual({ key: 3 });
  });

  test("may be as large as anybody likes", async () => {
    const limit = 2 ** 40;
    await limits[0].takeAlone("key", limit);
    await at.one.db
      .updateTable("sallyport_counters")
      .set({ count: limit - 2 })
      .execute();
    const outcome = await at.race(10, limits, (each) => each.takeAlone("key", limit));
    expect(outcome.passed).toHaveLength(2);
    expect(await counted()).toEqual({ key: limit });
  });
});

describe("windows that are over", () => {
  test("are removed after a while up to a limit, each by one of two at once, and never the count of changes", async () => {
    const evictions = new Evictions(at.one, "app");
    await at.one.write((db) => evictions.number(db));
    for (let index = 0; index < 30; index++) {
      await limits[0].takeAlone(`key ${index}`, 5);
      if (index < 25) await begun(`key ${index}`, 11 * MINUTE_MS);
    }
    await begun("key 29", 9 * MINUTE_MS);
    expect(await limits[0].removeOver(10)).toBe(10);
    const { passed } = await at.race(6, limits, (each) => each.removeOver(4));
    let removed = passed.reduce((sum, count) => sum + count, 0);
    for (let more = 1; more > 0; removed += more) more = await limits[1].removeOver(4);
    expect(removed).toBe(15);
    expect(sorted(Object.keys(await counted()))).toEqual(
      sorted(["changes recorded", ...[25, 26, 27, 28, 29].map((index) => `key ${index}`)]),
    );
    expect(await evictions.changes(at.two.db)).toBe(1);
  });
});

describe("connects", () => {
  const IP = "192.0.2.1";
  let tokens: Tokens;
  let rights: Rights;
  beforeEach(async () => {
    rights = await rightsGiven(at);
    tokens = new Tokens(at.one, 60, rights);
  });

  const connectLimits = (given: Partial<Limits>) =>
    at.each((database) => {
      const ofUsers = new Tokens(database, 60, rights);
      return new ConnectLimits(
        database,
        parseOptions("limits", limitsSchema, given),
        new RateLimits(database),
        ofUsers,
      );
    });
  const issue = (userId: string) =>
    tokens.issue(at.one.db, { userId, loginId: null, origin: null, gatewayId: null });
  const issueMany = (count: number, userId: string) =>
    Promise.all(Array.from({ length: count }, () => issue(userId)));

  test("of an address are let through as many as the limit says, with tokens and without", async () => {
    const each = connectLimits({ connectsPerIp: 6, connectsPerUser: 1000 });
    const brought = await issueMany(20, "ann");
    const outcome = await at.race(40, each, (one, index) =>
      one.take({ gatewayId: "g", block: IP, token: index % 2 === 0 ? brought[index / 2] : undefined }),
    );
    expect(outcome.passed).toHaveLength(6);
    expectRefusals(outcome, 34);
    const token = await issue("eve");
    expectRefusals(await at.race(2, each, (one) => one.take({ gatewayId: "g", block: IP, token })), 2);
    expect(await counted()).not.toHaveProperty(["connect g eve"]);
    await each[1].take({ gatewayId: "G", block: IP, token: undefined });
    await each[1].take({ gatewayId: "g", block: "192.0.2.10", token: undefined });
  });

  test("of a user are let through as many as the limit says, whatever addresses they come from", async () => {
    const each = connectLimits({ connectsPerIp: 1000, connectsPerUser: 7 });
    const brought = await issueMany(40, "ann");
    const outcome = await at.race(40, each, async (one, index) => {
      const counted = await one.take({
        gatewayId: "g",
        block: `192.0.2.${index % 5}`,
        token: brought[index],
      });
      await one.demandUser("g", "ann", counted);
    });
    expect(outcome.passed).toHaveLength(7);
    expectRefusals(outcome, 33);
    for (const userId of ["Ann", "ann ", "an_", "%"]) {
      const keys = await each[0].take({ gatewayId: "g", block: IP, token: await issue(userId) });
      expect([...keys].some((key) => key.endsWith(` ${userId}`))).toBe(true);
      await each[0].demandUser("g", userId, keys);
    }
  });

  test("of a user are counted by the user's own limit alone where addresses have none", async () => {
    const each = connectLimits({ connectsPerIp: false, failedConnectsPerIp: false, connectsPerUser: 3 });
    const brought = await issueMany(20, "o'neil 😀");
    const outcome = await at.race(20, each, async (one, index) => {
      const keys = await one.take({ gatewayId: "g", block: IP, token: brought[index] });
      await one.demandUser("g", "o'neil 😀", keys);
    });
    expect(outcome.passed).toHaveLength(3);
    expect(await counted()).toEqual({ "connect g o'neil 😀": 3 });
  });

  test("with a token that nobody can spend count for no user", async () => {
    const each = connectLimits({});
    const token = await issue("ann");
    await tokens.spend(token);
    for (const bad of [token, "a".repeat(64), "no token", undefined]) {
      const keys = await each[1].take({ gatewayId: "g", block: IP, token: bad });
      expect([...keys]).toEqual([`connect ip g ${IP}`]);
    }
    expect(await counted()).toEqual({ [`connect ip g ${IP}`]: 4 });
  });

  test("that failed are let through as many as the limit says, and then the address not at all", async () => {
    const each = connectLimits({ failedConnectsPerIp: 4 });
    const knock = { gatewayId: "g", block: IP, token: undefined };
    const outcome = await at.race(40, each, (one) => one.failed(knock));
    expect(outcome.passed).toHaveLength(4);
    expectRefusals(outcome, 36);
    const token = await issue("ann");
    expectRefusals(await at.race(10, each, (one) => one.take({ ...knock, token })), 10);
    await each[0].take({ ...knock, block: "192.0.2.2" });
    expect(await counted()).toEqual({ [`failed connect g ${IP}`]: 4, "connect ip g 192.0.2.2": 1 });
    await begun(`failed connect g ${IP}`, MINUTE_MS);
    await each[1].take({ ...knock, token });
  });

  test("are not let through at all where the limit is none", async () => {
    for (const given of [{ connectsPerIp: 0 }, { failedConnectsPerIp: 0 }]) {
      const token = await issue("ann");
      const take = at.race(4, connectLimits(given), (one) => one.take({ gatewayId: "g", block: IP, token }));
      expectRefusals(await take, 4);
    }
    const each = connectLimits({ connectsPerUser: 0 });
    const keys = await each[0].take({ gatewayId: "g", block: IP, token: await issue("ann") });
    expectRefusals(await at.race(4, each, (one) => one.demandUser("g", "ann", keys)), 4);
    expect(await counted()).toEqual({ [`connect ip g ${IP}`]: 1 });
  });
});
