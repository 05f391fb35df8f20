import { describe, expect, test } from "vitest";
import { Evictions } from "../../src/access/evictions.ts";
import { Rights, USER_PAGE } from "../../src/access/rights.ts";
import { rightsGiven, usersOf } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, addUsers } from "./tables.ts";
import { idsOfAllForms } from "./texts.ts";

const at = twoProcesses();

describe("pages of users", () => {
  const ids = idsOfAllForms(2 * USER_PAGE + 7);

  test("are complete and repeat nobody, whatever order the database puts the ids in", async () => {
    await addUsers(at.one.db, ids);
    const rights = new Rights(at.two);
    const pages: number[] = [];
    const seen: string[] = [];
    for await (const page of rights.pages(at.two.db, { kind: "all" })) {
      pages.push(page.length);
      seen.push(...page.map(({ userId }) => `${userId}`));
    }
    expect(pages).toEqual([USER_PAGE, USER_PAGE, 7]);
    expect(sorted(seen)).toEqual(sorted(ids));
    expect(await rights.subjects(at.two.db, { kind: "all" }, seen.at(-1) ?? "")).toEqual([]);
  });

  test("end when their number of users is just that of a page", async () => {
    await addUsers(at.one.db, ids.slice(0, USER_PAGE));
    expect(sorted(await usersOf(new Rights(at.two), at.two.db, { kind: "all" }))).toEqual(
      sorted(ids.slice(0, USER_PAGE)),
    );
  });

  test("miss nobody who stays and repeat nobody, while others come and go", async () => {
    await addUsers(at.one.db, ids);
    const [staying, leaving] = [ids.slice(0, 600), ids.slice(600)];
    const seen: string[] = [];
    let came = 0;
    for await (const page of new Rights(at.two).pages(at.two.db, { kind: "all" })) {
      seen.push(...page.map(({ userId }) => `${userId}`));
      const coming = idsOfAllForms(60).map((id) => `${id} came ${came}`);
      came += coming.length;
      if (came < 300) await addUsers(at.one.db, coming);
      const gone = leaving.splice(0, 40);
      await at.one.db
        .deleteFrom("sallyport_users")
        .where("id", "in", [...gone, ""])
        .execute();
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(staying.filter((id) => !seen.includes(id))).toEqual([]);
  });

  test("are of a group's members, of a record's users, or of those who are named", async () => {
    const many = ids.slice(0, USER_PAGE + 1);
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew", "crew");
      await addUsers(db, ids);
      for (const id of many) await grants.addToGroup(db, id, "Crew", {});
      await grants.addToGroup(db, ids.at(-1) ?? "", "crew", {});
    });
    const evictions = new Evictions(at.one, "app");
    const users = [...many, "who has no row"];
    const evictionId = await at.one.write((db) => evictions.record(db, { scope: "users", users }, null));
    await at.one.write((db) => evictions.record(db, { scope: "users", users: ids.slice(-1) }, null));
    expect(sorted(await usersOf(rights, at.two.db, { kind: "group", group: "Crew" }))).toEqual(sorted(many));
    expect(sorted(await usersOf(rights, at.two.db, { kind: "listed", evictionId }))).toEqual(sorted(many));
    const named = [...ids.slice(-USER_PAGE + 1), "who has no row"];
    expect(sorted(await usersOf(rights, at.two.db, { kind: "these", ids: named }))).toEqual(
      sorted(named.slice(0, -1)),
    );
    expect(await usersOf(rights, at.two.db, { kind: "these", ids: [] })).toEqual([]);
    expect(await usersOf(rights, at.two.db, { kind: "user", userId: ids[3] as string })).toEqual([ids[3]]);
  });
});
