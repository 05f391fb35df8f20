import { type CompiledQuery, sql } from "kysely";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Decision, newReference } from "../../src/audit/decision.ts";
import { DecisionLog, type DecisionLogOptions, decisionLogSchema } from "../../src/audit/decision-log.ts";
import { parseOptions } from "../../src/options.ts";
import type { DecisionCounts, DecisionStore } from "../../src/storage/stores/decisions.ts";
import { isPostgres, watchedStorageAt } from "../postgres/database.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { ALIKE } from "./texts.ts";

const DAY_MS = 24 * 60 * 60_000;

const at = twoProcesses();
let errors: { readonly error: unknown; readonly where: string }[];
/** The decisions that onDecision received. */
let received: Decision[];
beforeEach(() => {
  errors = [];
  received = [];
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  expect(errors).toEqual([]);
});

const logs = (options: DecisionLogOptions = {}) =>
  at.each(
    (database) =>
      new DecisionLog(database.store.decisions, parseOptions("decisionLog", decisionLogSchema, options), {
        onDecision: (one) => received.push(one),
        onError: (error, where) => errors.push({ error, where }),
      }),
  );

const decision = (given: Partial<Decision> = {}): Decision => ({
  event: "message",
  path: "/ws/chat/default",
  reference: newReference(),
  at: Date.now(),
  verdict: "allowed",
  status: 200,
  reason: undefined,
  message: "No check was required.",
  missing: [],
  steps: [],
  tookMs: 1.25,
  repeats: 0,
  ...given,
});
const rejected = (given: Partial<Decision> = {}) =>
  decision({ verdict: "denied", status: 403, reason: "permission", userId: "ann", ...given });

async function keep(log: DecisionLog, decisions: readonly Decision[]): Promise<void> {
  for (const one of decisions) log.add(one);
  await log.flush();
}

async function references(): Promise<string[]> {
  const rows = await at.two.db.selectFrom("sallyport_decisions").select("reference").execute();
  return sorted(rows.map(({ reference }) => reference));
}

describe("a decision", () => {
  test("is found unchanged by its reference in another process", async () => {
    const [one, two] = logs();
    for (const text of ALIKE) {
      const kept = decision({
        userId: text,
        connectionKey: text,
        view: text,
        handler: text,
        channel: text,
        message: text,
        missing: [text],
        steps: [{ kind: "authorize", what: text, allowed: false }],
        change: 2 ** 40,
      });
      await keep(one, [kept]);
      expect(await two.find(kept.reference)).toEqual(kept);
    }
    const row = { event: "message", verdict: "denied", reason: "limit", user_id: "u", connection_key: "s" };
    const place = { view: "/v", handler: "h", channel: "c", at: 7, repeats: 0 };
    const fields = { userId: "u", connectionKey: "s", view: "/v", handler: "h", channel: "c", at: 7 };
    await keep(one, [
      rejected({ ...fields, reason: "limit", reference: "row" }),
      decision({ reference: "none" }),
    ]);
    const rows = await at.two.db
      .selectFrom("sallyport_decisions")
      .selectAll()
      .where("reference", "in", ["row", "none"])
      .orderBy("reference", "desc")
      .execute();
    expect(rows.map((one) => ({ ...one, at: Number(one.at) }))).toMatchObject([
      { ...row, ...place },
      {
        verdict: "allowed",
        reason: null,
        user_id: null,
        connection_key: null,
        view: null,
        handler: null,
        channel: null,
      },
    ]);
    await keep(one, [decision({ reference: "abcdef" })]);
    for (const other of ["ABCDEF", "abcde", "abcdef ", "%", "abcde_"]) {
      expect(await two.find(other)).toBeUndefined();
    }
  });

  test("is listed newest first, filtered by exact user, verdict, reason and time", async () => {
    const [one, two] = logs();
    const users = ALIKE.map((userId, index) =>
      decision({ userId, at: 2 ** 41 + index, reference: `${index}` }),
    );
    await keep(one, [...users, rejected({ userId: "Ann", at: 1, reference: "rejected" })]);
    await keep(one, [
      decision({ userId: "Ann", at: 0, reference: "b" }),
      decision({ at: 0, reference: "a" }),
    ]);
    const listed = async (filter: Parameters<DecisionLog["list"]>[0]) =>
      (await two.list(filter)).map(({ reference }) => reference);
    for (const [index, user] of ALIKE.entries()) {
      const mine = user === "Ann" ? [`${index}`, "rejected", "b"] : [`${index}`];
      expect([user, await listed({ user })]).toEqual([user, mine]);
    }
    expect(await listed({ verdict: "denied" })).toEqual(["rejected"]);
    expect(await listed({ reason: "permission" })).toEqual(["rejected"]);
    expect(await listed({ reason: "Permission" })).toEqual([]);
    expect(await listed({ user: "Ann", verdict: "allowed", limit: 1 })).toEqual(["0"]);
    const since = 2 ** 41 + ALIKE.length - 2;
    expect(await listed({ since })).toEqual([`${ALIKE.length - 1}`, `${ALIKE.length - 2}`]);
    expect((await listed({ limit: 1000 })).slice(-3)).toEqual(["rejected", "a", "b"]);
  });
});

test("decisions are listed in pages, each after the last decision of the page before", async () => {
  const [one, two] = logs();
  const made = ["d", "a", "c", "b", "e", "f"].map((reference, index) =>
    decision({ reference, at: 100 + Math.floor(index / 4), userId: reference === "f" ? "bob" : "ann" }),
  );
  await keep(one, made);
  const all = await two.list();
  expect(all.map(({ reference }) => reference)).toEqual(["e", "f", "a", "b", "c", "d"]);
  for (const [index, last] of all.entries()) {
    expect(await two.list({ after: last })).toEqual(all.slice(index + 1));
    expect(await two.list({ after: last, limit: 2 })).toEqual(all.slice(index + 1, index + 3));
  }
  expect(await two.list({ after: all[0], user: "ann", since: 101 })).toEqual([]);
  // The last decision of a page may have been removed since.
  expect(await two.list({ after: { at: 100, reference: "bb" } })).toEqual(all.slice(4));
  for (const after of [null, "a", {}, { at: 1 }, { at: "1", reference: "a" }, { at: 1, reference: "\0" }])
    await expect(two.list({ after: after as never })).rejects.toThrow(
      /after must be the last decision of the previous page, with at and reference/,
    );
});

describe("decisions", () => {
  test("of two processes are all stored when 11 002 are written at once", async () => {
    const decisions = Array.from({ length: 11_002 }, () => decision());
    const both = logs();
    for (const [index, one] of decisions.entries()) both[index % 2]?.add(one);
    await Promise.all(both.map((log) => log.flush()));
    expect(await references()).toEqual(sorted(decisions.map(({ reference }) => reference)));
  });

  test("of one kind are counted on the last stored one, separately in each process", async () => {
    const both = logs();
    const returned = both.map((log) => Array.from({ length: 100 }, () => log.add(rejected())));
    const others = both.map((log) => log.add(rejected({ userId: "Ann" })));
    await Promise.all(both.map((log) => log.flushWithCounts()));
    await Promise.all(both.map((log) => log.flushWithCounts()));
    const stored = [...returned.flatMap((mine) => mine.slice(0, 60)), ...others];
    expect(await references()).toEqual(sorted(stored));
    for (const [index, mine] of returned.entries()) {
      expect(new Set(mine.slice(60))).toEqual(new Set([`${mine[59]}+`]));
      expect(await both[1 - index]?.find(mine[59] as string)).toMatchObject({ repeats: 40 });
      expect(await both[1 - index]?.find(mine[58] as string)).toMatchObject({ repeats: 0 });
    }
    for (let times = 0; times < 5; times++) both[0].add(rejected());
    expect(await both[0].find(returned[0]?.[59] as string)).toMatchObject({ repeats: 45 });
  });

  test("that were only counted are reported once per second, also when the clock is set back", async () => {
    const [log, other] = logs();
    const start = Date.now();
    const stored = Array.from({ length: 60 }, () => log.add(rejected())).at(-1) as string;
    const repeats = async () => (await other.find(stored))?.repeats;
    await log.flushWithCountsWhenDue(start);
    const steps = [
      [start + 999, 0],
      [start + 1000, 2],
      [start + 1999, 2],
      [start + 1, 2],
      [start, 5],
    ] as const;
    for (const [now, expected] of steps) {
      log.add(rejected());
      const allowed = decision();
      log.add(allowed);
      await log.flushWithCountsWhenDue(now);
      expect(await references()).toContain(allowed.reference);
      expect([now - start, await repeats()]).toEqual([now - start, expected]);
    }
  });

  test("are written together with counted ones, which are reported with their count", async () => {
    const [log, other] = logs();
    const stored = Array.from({ length: 60 }, () => log.add(rejected())).at(-1) as string;
    await log.flushWithCounts();
    received.length = 0;
    const allowed = decision();
    log.add(allowed);
    log.add(rejected());
    expect(received).toEqual([allowed]);
    await log.flushWithCounts();
    expect(received.slice(1)).toMatchObject([{ reference: stored, repeats: 1, userId: "ann" }]);
    expect(await other.find(allowed.reference)).toEqual(allowed);
    expect(await other.find(stored)).toMatchObject({ repeats: 1 });
  });

  test("that are counted without a stored one are only reported", async () => {
    const [log] = logs();
    const denied = Array.from({ length: 603 }, (_, index) =>
      log.add(rejected({ userId: undefined, sourceIp: `10.0.${index >> 8}.${index & 255}` })),
    );
    received.length = 0;
    await log.flushWithCounts();
    expect(received).toMatchObject([{ repeats: 3 }]);
    expect(`${received[0]?.reference}+`).toBe(denied.at(-1));
    expect(await references()).toHaveLength(600);
  });

  test("of allowed events are sampled by sampleAllowed", () => {
    const random = vi.spyOn(Math, "random");
    for (const [sampleAllowed, value, isSampled] of [
      [0, 0, false],
      [0.5, 0.49, true],
      [0.5, 0.5, false],
      [1, 0.999, true],
    ] as const) {
      random.mockReturnValue(value);
      expect([sampleAllowed, value, logs({ sampleAllowed })[0].isSampled()]).toEqual([
        sampleAllowed,
        value,
        isSampled,
      ]);
    }
  });

  test("of a batch that cannot be stored are reported as one error, and later ones are stored", async () => {
    const [one, two] = logs();
    await keep(one, [decision({ reference: "taken" })]);
    await keep(
      two,
      ["first", "taken", "last"].map((reference) => decision({ reference })),
    );
    expect(errors.splice(0)).toEqual([{ error: expect.any(Error), where: "storing 3 decisions" }]);
    expect(await references()).toEqual(["taken"]);
    await keep(two, [decision({ reference: "later" })]);
    expect(await references()).toEqual(["later", "taken"]);
  });
});

/** Runs all steps of a sweep, and returns how many rows it removed. */
async function removeOld(log: DecisionLog): Promise<number> {
  let removed = 0;
  for await (const count of log.removeOld()) removed += count;
  return removed;
}

describe("decisions that are too old or too many", () => {
  const aged = (count: number, ageMs: number) =>
    Array.from({ length: count }, (_, index) => decision({ at: Date.now() - ageMs - index }));

  test("are removed once by concurrent processes", async () => {
    const both = logs({ keepDays: 2 });
    const young = aged(5, DAY_MS);
    await keep(both[0], [...aged(40, 3 * DAY_MS), ...young]);
    const { passed } = await at.race(6, both, removeOld);
    expect(passed.reduce((sum, count) => sum + count, 0)).toBe(40);
    expect(await references()).toEqual(sorted(young.map(({ reference }) => reference)));
  });

  test("are removed oldest first until maxRows are left", async () => {
    const both = logs({ maxRows: 20 });
    const decisions = aged(70, 0);
    await keep(both[0], decisions);
    expect(await removeOld(both[1])).toBe(50);
    expect(await references()).toEqual(sorted(decisions.slice(0, 20).map(({ reference }) => reference)));
    expect(await removeOld(both[0])).toBe(0);
  });

  test("are removed from the users who have the most", async () => {
    const [log] = logs({ maxRows: 30 });
    expect(await removeOld(log)).toBe(0);
    const many = aged(40, 0).map((one) => ({ ...one, userId: "ann" }));
    const few = aged(5, 1000).map((one) => ({ ...one, userId: "Ann" }));
    const unknown = aged(5, 2000);
    await keep(log, [...many, ...few, ...unknown]);
    expect(await removeOld(log)).toBe(20);
    const kept = [...many.slice(0, 20), ...few, ...unknown];
    expect(await references()).toEqual(sorted(kept.map(({ reference }) => reference)));
  });

  test("are removed evenly from 1000 users", async () => {
    const [log] = logs({ maxRows: 3600 });
    const users = Array.from({ length: 1000 }, (_, index) => `user ${index}`);
    await keep(
      log,
      users.flatMap((userId) => aged(4, 0).map((one) => ({ ...one, userId }))),
    );
    expect(await removeOld(log)).toBe(400);
    const rows = await at.one.db
      .selectFrom("sallyport_decisions")
      .select(({ fn }) => ["user_id", fn.countAll<number>().as("count")])
      .groupBy("user_id")
      .execute();
    expect(rows.reduce((sum, { count }) => sum + Number(count), 0)).toBe(3600);
    expect(Math.min(...rows.map(({ count }) => Number(count)))).toBe(3);
    expect(rows).toHaveLength(1000);
  });

  test("are removed by statements that read at most 1000 rows each, in the order of an index", async () => {
    const statements: CompiledQuery[] = [];
    await using storage = watchedStorageAt(at.source, (_sql, query) => statements.push(query));
    const pages: number[] = [];
    const store: DecisionStore = new Proxy(storage.store.decisions, {
      get(target, name) {
        const value = Reflect.get(target, name, target) as (...given: unknown[]) => unknown;
        return async (...given: unknown[]) => {
          const result = await value.apply(target, given);
          if (name === "countByUser")
            pages.push((result as DecisionCounts).counts.reduce((sum, { count }) => sum + count, 0));
          return result;
        };
      },
    });
    const log = (maxRows: number) =>
      new DecisionLog(store, parseOptions("decisionLog", decisionLogSchema, { maxRows }), {
        onDecision: () => undefined,
        onError: (error, where) => errors.push({ error, where }),
      });
    await keep(log(1), [
      ...aged(2500, 0).map((one) => ({ ...one, userId: "ann" })),
      ...aged(1200, 0),
      ...aged(1300, 0).map((one, index) => ({ ...one, userId: `user ${index}` })),
    ]);
    statements.length = 0;
    // Ann keeps 1400 rows, and the clients without a user keep 1200.
    expect(await removeOld(log(3900))).toBe(1100);
    expect(pages).toEqual([1000, 200, 1000, 1000, 1000, 800]);
    const selects = statements.filter(({ sql }) => sql.startsWith("select"));
    expect(selects.length).toBeGreaterThan(pages.length * 2);
    for (const { sql, parameters } of statements) {
      expect(parameters.length, sql).toBeLessThanOrEqual(60);
      const limits = parameters.filter((value) => typeof value === "number" && value < 1_000_000);
      expect(Math.max(...(limits as number[]), 0), sql).toBeLessThanOrEqual(1000);
    }
    await storage.db.connection().execute(async (db) => {
      if (isPostgres) {
        const [table = ""] = /\S*sallyport_decisions"?/.exec(selects[0]?.sql ?? "") ?? [];
        await sql.raw(`analyze ${table}`).execute(db);
        for (const kind of ["seqscan", "bitmapscan", "sort", "incremental_sort"])
          await sql.raw(`set enable_${kind} = off`).execute(db);
      }
      for (const query of selects.filter(({ sql }) => sql.includes("user_id"))) {
        const text = `explain ${isPostgres ? "(costs off)" : "query plan"} ${query.sql}`;
        const { rows } = await db.executeQuery<object>({ ...query, sql: text });
        const plan = JSON.stringify(rows);
        expect(plan, text).toContain("sallyport_decisions_user_id_at_reference");
        expect(plan, text).not.toMatch(/SCAN sallyport|Seq Scan|ORDER BY|Sort/);
      }
    });
  });

  test("are removed only down to maxRows by concurrent sweeps", async () => {
    const both = logs({ maxRows: 50 });
    const decisions = aged(400, 0);
    await keep(both[0], decisions);
    const { passed } = await at.race(6, both, removeOld);
    expect(passed.reduce((sum, count) => sum + count, 0)).toBe(350);
    expect(await references()).toEqual(sorted(decisions.slice(0, 50).map(({ reference }) => reference)));
  });

  test("are swept again after exactly one minute, and a sweep that fails is reported", async () => {
    const now = Date.now();
    vi.useFakeTimers({ toFake: ["Date", "performance"], now });
    const [log] = logs({ maxRows: 1 });
    await keep(log, aged(3, 0));
    vi.advanceTimersByTime(59_999);
    await log.sweep();
    expect(await references()).toHaveLength(3);
    // The clock of the machine has no influence.
    vi.setSystemTime(now - 3_600_000);
    vi.advanceTimersByTime(1);
    await log.sweep();
    expect(await references()).toHaveLength(1);
    await at.one.db.schema.dropTable("sallyport_decisions").execute();
    vi.advanceTimersByTime(60_000);
    await log.sweep();
    expect(errors.splice(0)).toEqual([{ error: expect.any(Error), where: "removing old decisions" }]);
  });

  test("are swept by any process, at most once per minute", async () => {
    vi.useFakeTimers({ toFake: ["Date", "performance"] });
    const both = logs({ maxRows: 10 });
    await keep(both[0], aged(2100, 0));
    await Promise.all(both.map((log) => log.sweep()));
    expect(await references()).toHaveLength(2100);
    vi.advanceTimersByTime(61_000);
    await Promise.all(both.map((log) => log.sweep()));
    // One call does not do all the work, because its caller has other work.
    expect((await references()).length).toBeGreaterThan(10);
    for (let call = 0; call < 20; call++) await Promise.all(both.map((log) => log.sweep()));
    expect(await references()).toHaveLength(10);
  });
});
