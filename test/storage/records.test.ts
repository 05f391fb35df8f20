import { describe, expect, test } from "vitest";
import { type AuditFilter, listAudit } from "../../src/audit/audit-log.ts";
import { type DeclaredRule, parseStoredRules, storedRules } from "../../src/permissions/declared-rules.ts";
import type { Database } from "../../src/storage/database.ts";
import { SqlDeclarations } from "../../src/storage/sql/declarations.ts";
import { storeOf } from "../../src/storage/sql/sql-store.ts";
import type { AuditSubject } from "../../src/storage/stores/audit.ts";
import { chat } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { ALIKE } from "./texts.ts";

const at = twoProcesses();

describe("the audit", () => {
  const list = (filter?: AuditFilter) => listAudit(at.two.store.audit, filter);
  const record = (number: number, subject: AuditSubject) =>
    at.one.transaction((db) => storeOf(at.one).audit.record(db, number, subject));
  /** Records entries that are numbered from 1, each with its number as the time in milliseconds. */
  async function recordMany(count: number): Promise<void> {
    await at.one.transaction(async (db) => {
      for (let number = 1; number <= count; number++)
        await storeOf(at.one).audit.record(db, number, { action: "recheck" });
      await db
        .updateTable("sallyport_audit")
        .set(({ ref }) => ({ at: ref("number") }))
        .execute();
    });
  }
  const numbers = async (filter?: AuditFilter) => (await list(filter)).map(({ number }) => number);

  test("stores all text unchanged, and null for missing values", async () => {
    for (const [index, text] of ALIKE.entries()) {
      const details = { [text]: text, list: [text, null, 2 ** 40, true], nested: { text } };
      const subject = { by: text, reason: text, user: text, group: text, permission: text, details };
      await record(index + 1, { action: "grant", ...subject });
      const [entry] = await list({ limit: 1 });
      expect(entry).toEqual({ number: index + 1, at: entry?.at, action: "grant", ...subject });
    }
    const before = await at.time();
    await record(2 ** 40, { action: "expired" });
    const nothing = { by: null, reason: null, user: null, group: null, permission: null, details: {} };
    const [entry] = await list();
    expect(entry).toEqual({ number: 2 ** 40, at: expect.any(Number), action: "expired", ...nothing });
    expect(before <= (entry?.at ?? 0) && (entry?.at ?? 0) <= (await at.time())).toBe(true);
  });

  test("is filtered by exact names", async () => {
    // Changes store the name of a group in Unicode's composed form.
    const groups = ALIKE.map((text) => text.normalize("NFC"));
    for (const [index, text] of ALIKE.entries()) {
      const group = groups[index] as string;
      await record(index + 1, { action: "grant", by: text, user: text, group, permission: text });
    }
    for (const [index, text] of ALIKE.entries()) {
      const found = await Promise.all(
        (["by", "user", "permission"] as const).map((name) => numbers({ [name]: text })),
      );
      expect([text, found]).toEqual([text, Array(3).fill([index + 1])]);
      const sameGroup = ALIKE.flatMap((_, other) => (groups[other] === groups[index] ? [other + 1] : []));
      expect([text, sorted(await numbers({ group: text }))]).toEqual([text, sorted(sameGroup)]);
    }
    expect(await numbers({ by: "Ann", user: "ann" })).toEqual([]);
  });

  test("is paged from the newest to the oldest without a gap, while entries are added", async () => {
    await recordMany(250);
    const seen: number[] = [];
    for (let before: number | undefined; ; ) {
      const page = await numbers({ before, limit: 40 });
      if (page.length === 0) break;
      seen.push(...page);
      before = page.at(-1);
      await record(1000 - seen.length, { action: "recheck" });
    }
    expect(seen).toEqual(Array.from({ length: 250 }, (_, index) => 250 - index));
    expect(await numbers()).toHaveLength(100);
    expect(await numbers({ since: 249, before: 251 })).toEqual([250, 249]);
    expect(await numbers({ since: new Date(249), before: 251 })).toEqual([250, 249]);
  });

  test("accepts each number once, and nothing of a second change", async () => {
    await record(1, { action: "grant", user: "ann" });
    await expect(record(1, { action: "grant", user: "bob" })).rejects.toThrow(/unique/i);
    expect(await list()).toMatchObject([{ number: 1, user: "ann" }]);
  });

  test("removes its oldest entries up to a limit, each one once, and no newer entries", async () => {
    await recordMany(50);
    await record(51, { action: "recheck" });
    const [one, two] = at.each((database) => database.store.audit);
    expect(await one.removeOlder(60_000, 10)).toBe(10);
    expect((await numbers()).at(-1)).toBe(11);
    const { passed } = await at.race(6, [one, two], (each) => each.removeOlder(60_000, 8));
    let removed = passed.reduce((sum, count) => sum + count, 0);
    for (let more = 1; more > 0; removed += more) more = await two.removeOlder(60_000, 8);
    expect(removed).toBe(40);
    expect(await numbers()).toEqual([51]);
    expect(await one.removeOlder(Date.now() * 2, 10)).toBe(0);
  });
});

describe("the declared rules", () => {
  const rule = { signedIn: true, anyOf: [[chat.read, chat.Read]], allOf: [chat.write], hasAuthorize: false };
  const rules = (names: readonly string[]): DeclaredRule[] =>
    names.flatMap((name) => [
      { kind: "view", name, rule },
      { kind: "channel", name, rule: { ...rule, hasAuthorize: true, allOf: [] } },
    ]);
  const inOrder = (list: readonly DeclaredRule[]) => sorted(list.map((one) => JSON.stringify(one)));

  /** Stores rules as `migrate` does. */
  const declare = (database: Database, declared: readonly DeclaredRule[]) =>
    database.store.changes.declare({ permissions: [], rules: storedRules(declared) }, () => undefined, {
      claimedBy: "test",
    });
  const rulesIn = async (database: Database) => parseStoredRules(await database.store.changes.rules());

  test("are returned as they were last recorded, by kind and exact name", async () => {
    expect(await rulesIn(at.two)).toEqual([]);
    await declare(at.one, rules(ALIKE));
    expect(inOrder(await rulesIn(at.two))).toEqual(inOrder(rules(ALIKE)));
    await declare(at.one, rules(["/ws/chat"]));
    expect(inOrder(await rulesIn(at.two))).toEqual(inOrder(rules(["/ws/chat"])));
  });

  test("are readable in the transaction that replaces them, and stay if it is rolled back", async () => {
    await declare(at.one, rules(["old"]));
    const declarations = new SqlDeclarations(at.one);
    const undone = at.one.transaction(async (db) => {
      await declarations.replaceRules(db, storedRules(rules(["new"])));
      const within = parseStoredRules(await declarations.rules(db));
      expect(inOrder(within)).toEqual(inOrder(rules(["new"])));
      expect(inOrder(await rulesIn(at.two))).toEqual(inOrder(rules(["old"])));
      throw new Error("half-way");
    });
    await expect(undone).rejects.toThrow("half-way");
    expect(inOrder(await rulesIn(at.two))).toEqual(inOrder(rules(["old"])));
  });

  test("stay if the comparison with the stored ones fails, without an audit entry", async () => {
    await declare(at.one, rules(["old"]));
    const undone = at.one.store.changes.declare(
      { permissions: [{ name: "chat.read", label: "Can read" }], rules: storedRules(rules(["new"])) },
      (stored) => {
        expect(inOrder(parseStoredRules(stored))).toEqual(inOrder(rules(["old"])));
        throw new Error("half-way");
      },
      { claimedBy: "test" },
    );
    await expect(undone).rejects.toThrow("half-way");
    expect(inOrder(await rulesIn(at.two))).toEqual(inOrder(rules(["old"])));
    expect(await at.two.store.changes.permissions()).toEqual([]);
    expect(await at.two.store.audit.list({ limit: 100 })).toEqual([]);
  });

  test("are those of exactly one of several concurrent calls", async () => {
    const databases = at.each((database) => database);
    const { failed } = await at.race(8, databases, (database, index) =>
      declare(database, rules(Array.from({ length: 5 }, (_, n) => `${index} ${n}`))),
    );
    expect(failed).toEqual([]);
    const recorded = await rulesIn(at.one);
    expect(recorded).toHaveLength(10);
    expect(new Set(recorded.map(({ name }) => name.split(" ")[0])).size).toBe(1);
  });
});
