import { beforeEach, describe, expect, test } from "vitest";
import { Audit } from "../../src/access/audit.ts";
import { Evictions } from "../../src/access/evictions.ts";
import { breathe, type Database } from "../../src/storage/database.ts";
import { twoProcesses } from "./processes.ts";

const at = twoProcesses();
let evictions: readonly [Evictions, Evictions];
beforeEach(() => {
  evictions = at.each((database) => new Evictions(database, "app"));
});

const nouns = (database: Database) => ({
  database,
  audit: new Audit(database),
  evictions: new Evictions(database, "app"),
});

describe("changes", () => {
  test("are numbered in the order in which they are committed, and nobody ever sees a gap", async () => {
    let isOver = false;
    const looks: number[][] = [];
    const looking = (async () => {
      for (; !isOver; await breathe()) {
        looks.push((await new Audit(at.two).list()).map(({ number }) => number).reverse());
      }
    })();
    const { passed, failed } = await at.race(40, at.each(nouns), (each, index) =>
      each.database.write(async (db) => {
        const number = await each.evictions.number(db);
        await each.audit.record(db, number, { action: "grant", user: `${index}` });
        const rows = await db.selectFrom("sallyport_audit").select("number").execute();
        if (index % 4 === 3) throw new Error("undone");
        return { number, seen: rows.length };
      }),
    );
    isOver = true;
    await looking;
    expect(failed.map((error) => (error as Error).message)).toEqual(Array(10).fill("undone"));
    expect(passed.map(({ number }) => number).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 30 }, (_, index) => index + 1),
    );
    expect(passed.filter(({ number, seen }) => number !== seen)).toEqual([]);
    for (const numbers of looks) expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    expect(await evictions[1].changes(at.two.db)).toBe(30);
  });

  test("are counted beyond what a small number holds", async () => {
    expect(await evictions[0].changes(at.one.db)).toBe(0);
    expect(await at.one.write((db) => evictions[0].number(db))).toBe(1);
    await at.one.db
      .updateTable("sallyport_counters")
      .set({ count: 2 ** 31 - 1 })
      .execute();
    const number = await at.two.write((db) => evictions[1].number(db));
    expect(number).toBe(2 ** 31);
    const touched = { scope: "user", subject: "ann" } as const;
    const id = await at.one.write((db) => evictions[0].record(db, touched, number));
    expect(await evictions[0].claim({ except: new Set(), only: id })).toMatchObject({ change: 2 ** 31 });
    expect(await evictions[0].changes(at.one.db)).toBe(2 ** 31);
  });

  test("that a process committed itself are told to it once, and to no other", () => {
    evictions[0].committed();
    evictions[0].committed();
    expect([evictions[0].takeOwn(), evictions[0].takeOwn(), evictions[1].takeOwn()]).toEqual([2, 0, 0]);
  });
});
