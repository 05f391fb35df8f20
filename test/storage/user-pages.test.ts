import { describe, expect, test } from "vitest";
import { USER_PAGE, UserPermissions } from "../../src/permissions/effective.ts";
import { RevocationQueue } from "../../src/revocation/queue.ts";
import { rightsGiven, usersOf } from "./people.ts";
import { sorted, twoProcesses } from "./processes.ts";
import { addGroups, addUsers } from "./tables.ts";
import { idsOfAllForms } from "./texts.ts";

const at = twoProcesses();

describe("pages of users", () => {
  const ids = idsOfAllForms(2 * USER_PAGE + 7);

  test("are complete and without duplicates, for any order of ids in the database", async () => {
    await addUsers(at.one.db, ids);
    const rights = new UserPermissions(at.two);
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

  test("end if the number of users is exactly one page", async () => {
    await addUsers(at.one.db, ids.slice(0, USER_PAGE));
    expect(sorted(await usersOf(new UserPermissions(at.two), at.two.db, { kind: "all" }))).toEqual(
      sorted(ids.slice(0, USER_PAGE)),
    );
  });

  test("contain each remaining user once while others are added and deleted", async () => {
    await addUsers(at.one.db, ids);
    const [staying, leaving] = [ids.slice(0, 600), ids.slice(600)];
    const seen: string[] = [];
    let came = 0;
    for await (const page of new UserPermissions(at.two).pages(at.two.db, { kind: "all" })) {
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

  test("can be the members of a group, the users of a revocation, or given ids", async () => {
    const many = ids.slice(0, USER_PAGE + 1);
    const rights = await rightsGiven(at, async (grants, db) => {
      await addGroups(db, "Crew", "crew");
      await addUsers(db, ids);
      for (const id of many) await grants.addToGroup(db, id, "Crew", {});
      await grants.addToGroup(db, ids.at(-1) ?? "", "crew", {});
    });
    const evictions = new RevocationQueue(at.one, "app");
    const users = [...many, "who has no row"];
    const revocationId = await at.one.transaction((db) =>
      evictions.record(db, { scope: "users", users }, null),
    );
    await at.one.transaction((db) => evictions.record(db, { scope: "users", users: ids.slice(-1) }, null));
    expect(sorted(await usersOf(rights, at.two.db, { kind: "group", group: "Crew" }))).toEqual(sorted(many));
    expect(sorted(await usersOf(rights, at.two.db, { kind: "listed", revocationId }))).toEqual(sorted(many));
    const named = [...ids.slice(-USER_PAGE + 1), "who has no row"];
    expect(sorted(await usersOf(rights, at.two.db, { kind: "these", ids: named }))).toEqual(
      sorted(named.slice(0, -1)),
    );
    expect(await usersOf(rights, at.two.db, { kind: "these", ids: [] })).toEqual([]);
    expect(await usersOf(rights, at.two.db, { kind: "user", userId: ids[3] as string })).toEqual([ids[3]]);
  });
});
